//! One file, replaced as a whole or not at all.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::filesystem::{TEMPORARY_SUFFIX, temporary_prefix};
use crate::{ByteSink, Code, FileKind, FileSink, Filesystem, Result, WeightsError, WritableFile, storage_error};

/// Writes a file such that at any moment, also after a kill, a full disk or a loss of power,
/// `target` holds either all of its old content (or its old absence) or all of the new.
///
/// The content goes to a temporary file in the same folder, which is synced and then renamed.
/// The temporary file has a name and a lock, rather than no name (`O_TMPFILE`): a nameless file
/// can be linked in as a new name but cannot replace an existing one, and it exists on some
/// Linux file systems only, so a second way would be needed anyway. What a killed process leaves
/// is recognized by the free lock and removed by the next save to the same target.
///
/// `target` may be a symbolic link: the file it points to is replaced, the link stays. Other hard
/// links to an old file keep the old content. The new file gets the old one's permissions.
///
/// `overwrite: false` never replaces a file, not even one that appears while we write.
/// `len` is the exact length, if known beforehand: room is reserved before any work is done.
///
/// # Errors
/// [`Code::Exists`] when not overwriting; [`Code::NotFound`] for a missing folder;
/// [`Code::Io`] for a target that is no file or may not be written, and for failing steps;
/// whatever `write` itself fails with. Before the last step, a sync of the folder, `target`
/// is as it was; when that sync itself fails the new content is in place.
pub fn commit_file(
    fs: &dyn Filesystem,
    target: &Path,
    overwrite: bool,
    len: Option<u64>,
    write: &mut dyn FnMut(&mut dyn ByteSink) -> Result<()>,
) -> Result<()> {
    // Before links are followed: where `/dev/stdout` leads, there is nothing to rename to.
    check_target(fs, target, overwrite)?;
    let target = &fs.resolve_links(target).map_err(|error| storage_error("follow the link", target, &error))?;
    let prefix = temporary_prefix(target).ok_or_else(|| {
        WeightsError::new(Code::Argument, format!("'{}' does not name a file", target.display()))
            .file(target.display().to_string())
    })?;
    let folder = folder_of(target);
    sweep(fs, &folder, &prefix);

    let mut temporary = Temporary::create(fs, target)?;
    fill(&mut *temporary.file, target, len, write)?;
    let renamed = if overwrite {
        fs.rename_replace(temporary.file.path(), target)
    } else {
        fs.rename_new(temporary.file.path(), target)
    };
    renamed.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists if !overwrite => exists(target),
        _ => storage_error("rename a temporary file to", target, &error),
    })?;
    temporary.renamed = true;
    fs.sync_folder(&folder).map_err(|error| {
        let cause = storage_error("sync the folder of", target, &error);
        WeightsError::new(
            cause.code(),
            format!(
                "{}; the new file is complete and in place, but might not survive a loss of power",
                cause.message()
            ),
        )
        .file(target.display().to_string())
    })
}

/// Refuses early what the end would refuse, and what a rename would not: a rename replaces
/// even a file that is write-protected.
fn check_target(fs: &dyn Filesystem, target: &Path, overwrite: bool) -> Result<()> {
    let info = match fs.metadata(target) {
        Ok(Some(info)) => info,
        Ok(None) => return Ok(()),
        Err(error) => return Err(storage_error("inspect", target, &error)),
    };
    let refuse = |what: &str| {
        Err(WeightsError::new(Code::Io, format!("could not write {}: {what}", target.display()))
            .file(target.display().to_string()))
    };
    match info.kind {
        FileKind::Folder => refuse("it is a folder; give the path of a file in it"),
        FileKind::Other => refuse("it is not a regular file"),
        FileKind::File if !overwrite => Err(exists(target)),
        FileKind::File if !info.writable => refuse("the file there is write-protected"),
        FileKind::File => Ok(()),
    }
}

fn exists(target: &Path) -> WeightsError {
    WeightsError::new(Code::Exists, format!("{} exists and may not be overwritten", target.display()))
        .file(target.display().to_string())
}

fn folder_of(target: &Path) -> PathBuf {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Removes what killed processes left of earlier saves to the same target.
/// Nothing here may stop a save, so failures are left for the next one.
fn sweep(fs: &dyn Filesystem, folder: &Path, prefix: &str) {
    for name in fs.list(folder).unwrap_or_default() {
        if is_temporary(&name, prefix) {
            // A file that is still locked, or that cannot be removed, stays.
            let _removed = fs.remove_if_abandoned(&folder.join(&name));
        }
    }
}

/// Only names that we make ourselves: prefix, 16 hexadecimal digits, suffix.
fn is_temporary(name: &OsStr, prefix: &str) -> bool {
    name.to_str()
        .and_then(|name| name.strip_prefix(prefix)?.strip_suffix(TEMPORARY_SUFFIX))
        .is_some_and(|random| random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn fill(
    file: &mut dyn WritableFile,
    target: &Path,
    len: Option<u64>,
    write: &mut dyn FnMut(&mut dyn ByteSink) -> Result<()>,
) -> Result<()> {
    if let Some(len) = len {
        file.preallocate(len)
            .map_err(|error| storage_error(&format!("reserve {len} bytes for"), target, &error).expected(len))?;
    }
    let mut sink = FileSink::new(file, target);
    write(&mut sink)?;
    sink.flush()?;
    let written = sink.position();
    // Reserved room beyond the content would show as zeros at the end of the file.
    if let Some(len) = len.filter(|&len| len != written) {
        return Err(WeightsError::new(
            Code::Internal,
            format!("{len} bytes were planned for {}, but {written} were written", target.display()),
        )
        .file(target.display().to_string())
        .expected(len)
        .found(written));
    }
    file.sync().map_err(|error| storage_error("sync", target, &error))
}

/// The temporary file; removed on every way out but a successful rename, unwinding included.
struct Temporary<'f> {
    fs: &'f dyn Filesystem,
    file: Box<dyn WritableFile>,
    renamed: bool,
}

impl<'f> Temporary<'f> {
    fn create(fs: &'f dyn Filesystem, target: &Path) -> Result<Self> {
        let file = fs.create_temporary(target).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                let folder = folder_of(target);
                return WeightsError::new(
                    Code::NotFound,
                    format!(
                        "could not write {}: the folder {} does not exist; create it first",
                        target.display(),
                        folder.display()
                    ),
                )
                .file(target.display().to_string());
            }
            storage_error("create a temporary file beside", target, &error)
        })?;
        Ok(Temporary { fs, file, renamed: false })
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // The reason for being here is already on its way to the caller; what cannot be
            // removed now is swept by the next save.
            let _removed = self.fs.remove(self.file.path());
        }
    }
}
