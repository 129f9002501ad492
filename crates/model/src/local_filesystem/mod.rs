//! The file system of this machine.

use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::filesystem::{TEMPORARY_SUFFIX, temporary_prefix};
use crate::{ByteSource, FileInfo, FileKind, FileSource, Filesystem, Result, ScratchFile, WritableFile};

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod platform;

/// Names tried for one temporary file; a second is only ever needed when a sweep
/// caught the first between its creation and its lock.
const NAME_ATTEMPTS: usize = 16;

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// Local and mounted files, through the operating system.
#[derive(Debug, Default, Clone, Copy)]
pub struct LocalFilesystem;

impl Filesystem for LocalFilesystem {
    fn shared(&self) -> Arc<dyn Filesystem> {
        Arc::new(*self)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn ByteSource>> {
        Ok(Arc::new(FileSource::open(path)?))
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<FileInfo>> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = if metadata.is_file() {
            FileKind::File
        } else if metadata.is_dir() {
            FileKind::Folder
        } else {
            FileKind::Other
        };
        Ok(Some(FileInfo { kind, len: metadata.len(), writable: platform::is_writable(path, &metadata) }))
    }

    fn resolve_links(&self, path: &Path) -> io::Result<PathBuf> {
        let mut path = path.to_path_buf();
        for _ in 0..MAX_LINKS {
            // Whatever is wrong with a path that is no link shows when it is used.
            if !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
                return Ok(path);
            }
            let to = fs::read_link(&path)?;
            path.pop();
            path.push(to);
        }
        Err(io::Error::other("too many levels of symbolic links"))
    }

    fn create_temporary(&self, target: &Path) -> io::Result<Box<dyn WritableFile>> {
        let replaced = fs::metadata(target).ok().filter(fs::Metadata::is_file);
        let (file, path) = create_beside(target, |path| platform::create_locked(path, replaced.as_ref()))?;
        Ok(Box::new(LocalFile { file, path }))
    }

    fn create_scratch(&self, target: &Path) -> io::Result<Box<dyn ScratchFile>> {
        let (file, path) = create_beside(target, platform::create_nameless)?;
        Ok(Box::new(LocalFile { file, path }))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn WritableFile>> {
        let file = File::create_new(path)?;
        Ok(Box::new(LocalFile { file, path: path.to_path_buf() }))
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        platform::rename_replace(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        platform::rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        platform::sync_folder(folder)
    }

    fn remove_if_abandoned(&self, path: &Path) -> io::Result<bool> {
        platform::remove_if_abandoned(path)
    }
}

struct LocalFile {
    file: File,
    path: PathBuf,
}

impl WritableFile for LocalFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn preallocate(&mut self, len: u64) -> io::Result<()> {
        platform::preallocate(&self.file, len)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        platform::sync_file(&self.file)
    }
}

impl ScratchFile for LocalFile {
    fn into_source(self: Box<Self>) -> io::Result<Arc<dyn ByteSource>> {
        Ok(Arc::new(FileSource::new(self.file, &self.path).map_err(io::Error::other)?))
    }
}

/// Creates a temporary file of a name that is free.
fn create_beside(target: &Path, create: impl Fn(&Path) -> io::Result<File>) -> io::Result<(File, PathBuf)> {
    let prefix =
        temporary_prefix(target).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let path = target.with_file_name(format!("{prefix}{:016x}{TEMPORARY_SUFFIX}", random()));
        match create(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempts < NAME_ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
}

/// A number that nobody can guess: the keys of the standard library's hash maps are
/// random for each process and differ for each map.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A no-replace rename in ways that every file system has: a hard link; where there
/// are no links, an empty file that claims the name and is then replaced.
fn rename_new_by_link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => {}
        // A network file system may carry out a request, lose the answer and be asked again.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && platform::is_same_file(from, to) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported | io::ErrorKind::TooManyLinks
            ) =>
        {
            return rename_new_by_claim(from, to);
        }
        Err(error) => return Err(error),
    }
    // The new name stands. What is left of the old one is an abandoned temporary file.
    let _removed = fs::remove_file(from);
    Ok(())
}

fn rename_new_by_claim(from: &Path, to: &Path) -> io::Result<()> {
    drop(File::create_new(to)?);
    platform::rename_replace(from, to).inspect_err(|_| {
        let _removed = fs::remove_file(to);
    })
}
