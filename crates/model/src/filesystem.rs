//! What we ask of a file system, one small step per method, so that a test can make any step fail.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{ByteSource, Code, Result, WeightsError};

/// What stands at a path, links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// A file, a folder or something else.
    pub kind: FileKind,
    /// Bytes of a regular file.
    pub len: u64,
    /// Whether this process may write to it.
    pub writable: bool,
}

/// Kinds of things at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A device, pipe or socket.
    Other,
}

/// An open file that is being written, from its start to its end.
pub trait WritableFile: Send {
    /// Where it is.
    fn path(&self) -> &Path;

    /// Reserves room for `len` bytes, so that a full disk shows before any work is done.
    /// Does nothing where the file system cannot. May set the length of the file to `len`.
    ///
    /// # Errors
    /// The operating system's, such as `StorageFull`.
    fn preallocate(&mut self, len: u64) -> io::Result<()>;

    /// Appends some of `bytes` and says how many, as `write(2)`.
    ///
    /// # Errors
    /// The operating system's; `Interrupted` may be tried again.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Returns once content and length would survive a loss of power. After an error
    /// nothing is known of the content, and trying again proves nothing: kernels mark
    /// pages clean even when writing them back failed.
    ///
    /// # Errors
    /// The operating system's.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file without a name, for what is needed only while a file is being made: first written,
/// then read. Its room is free again once it is dropped, also when the process is killed.
pub trait ScratchFile: WritableFile {
    /// Ends the writing.
    ///
    /// # Errors
    /// The operating system's.
    fn into_source(self: Box<Self>) -> io::Result<Arc<dyn ByteSource>>;
}

/// A file system. Steps that change something report the operating system's own error:
/// the caller knows what it was about to do and makes the [`WeightsError`] (see [`storage_error`]).
pub trait Filesystem: Send + Sync {
    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::Io`], or [`Code::NotWeights`] for a folder or device.
    fn open(&self, path: &Path) -> Result<Arc<dyn ByteSource>>;

    /// What stands at `path`, links followed; `None` when nothing does.
    ///
    /// # Errors
    /// The operating system's.
    fn metadata(&self, path: &Path) -> io::Result<Option<FileInfo>>;

    /// The path behind a symbolic link (or a chain of them), whether or not anything stands
    /// there; `path` itself when it is no link.
    ///
    /// # Errors
    /// The operating system's; links that go round in a circle.
    fn resolve_links(&self, path: &Path) -> io::Result<PathBuf>;

    /// Creates a new file beside `target`, named `.<name>.<random>.kw-tmp`, and holds a lock
    /// on it until it is dropped. When `target` exists, the new file gets its permissions.
    ///
    /// # Errors
    /// The operating system's.
    fn create_temporary(&self, target: &Path) -> io::Result<Box<dyn WritableFile>>;

    /// Creates a scratch file on the file system of `target`: there is room for large files
    /// there, which `/tmp` need not have.
    ///
    /// # Errors
    /// The operating system's.
    fn create_scratch(&self, target: &Path) -> io::Result<Box<dyn ScratchFile>>;

    /// Creates a file under its final name.
    ///
    /// # Errors
    /// `AlreadyExists`, or the operating system's other errors.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn WritableFile>>;

    /// Renames in one step; a file called `to` is replaced.
    ///
    /// # Errors
    /// The operating system's.
    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames; fails when anything is called `to`, however late it came.
    ///
    /// # Errors
    /// `AlreadyExists`, or the operating system's other errors.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The operating system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, in no order.
    ///
    /// # Errors
    /// The operating system's.
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// Returns once the names in `folder` would survive a loss of power. Does nothing where
    /// folders cannot be synced.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// The same file system, for whoever opens files after a call has returned.
    fn shared(&self) -> Arc<dyn Filesystem>;

    /// Removes a temporary file whose writer is certainly gone; says whether it did.
    ///
    /// # Errors
    /// The operating system's.
    fn remove_if_abandoned(&self, path: &Path) -> io::Result<bool>;
}

/// The end of the names of temporary files.
pub(crate) const TEMPORARY_SUFFIX: &str = ".kw-tmp";

/// The start of the names of temporary files for a target called `name`.
/// It is cut so that the whole name stays under the 255 bytes that most file systems allow;
/// two targets may then share it, which does no harm: whose file it is, the lock says.
pub(crate) fn temporary_prefix(target: &Path) -> Option<String> {
    let name = target.file_name()?.to_string_lossy();
    let mut end = name.len().min(200);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    Some(format!(".{}.", name.get(..end).unwrap_or_default()))
}

/// An error of the operating system on `path` while doing `action` (a verb: "write", "sync"),
/// with what it means for the user where its own words do not say it.
pub fn storage_error(action: &str, path: &Path, error: &io::Error) -> WeightsError {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full: free some space or save elsewhere",
        io::ErrorKind::QuotaExceeded => "the disk quota is used up: free some space or save elsewhere",
        io::ErrorKind::FileTooLarge => "this file system or a limit of the process forbids files of this size",
        io::ErrorKind::PermissionDenied => "this process has no permission to write there",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        io::ErrorKind::IsADirectory => "it is a folder",
        _ => return WeightsError::io(action, path, error),
    };
    WeightsError::new(Code::Io, format!("could not {action} {}: {hint} ({error})", path.display()))
        .file(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::{storage_error, temporary_prefix};
    use crate::Code;

    #[test]
    fn prefixes_are_hidden_and_bounded() {
        assert_eq!(temporary_prefix(Path::new("a/b.h5")).as_deref(), Some(".b.h5."));
        assert_eq!(temporary_prefix(Path::new("..")), None);
        let long = "ä".repeat(120);
        let prefix = temporary_prefix(Path::new(&long)).expect("a name");
        assert_eq!(prefix, format!(".{}.", "ä".repeat(100)));
    }

    #[test]
    fn messages_say_what_to_do() {
        let cases = [
            (io::ErrorKind::StorageFull, Code::Io, "the disk is full"),
            (io::ErrorKind::ReadOnlyFilesystem, Code::Io, "read-only"),
            (io::ErrorKind::PermissionDenied, Code::Io, "no permission"),
            (io::ErrorKind::NotFound, Code::NotFound, "could not write a/b"),
            (io::ErrorKind::AlreadyExists, Code::Exists, "could not write a/b"),
        ];
        for (kind, code, words) in cases {
            let error = storage_error("write", Path::new("a/b"), &kind.into());
            assert_eq!(error.code(), code, "{kind:?}");
            assert!(error.message().contains(words), "{kind:?}: {}", error.message());
            assert_eq!(error.context().file.as_deref(), Some("a/b"));
        }
    }
}
