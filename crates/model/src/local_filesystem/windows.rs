//! The parts that Windows does in its own way.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Others may rename or remove the file, but neither read nor write it: this is the lock.
/// The server keeps it, so it holds on network drives too.
const FILE_SHARE_DELETE: u32 = 4;

/// The system removes the file when its last handle is closed, however that comes about.
const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;

/// What a rename says while a virus scanner or a reader has the old file open.
const ACCESS_DENIED: i32 = 5;
const SHARING_VIOLATION: i32 = 32;
const LOCK_VIOLATION: i32 = 33;

/// Two seconds in all, doubling from 2 ms.
const RENAME_RETRIES: u32 = 10;

pub(super) fn is_writable(_path: &Path, metadata: &Metadata) -> bool {
    !metadata.permissions().readonly()
}

/// Permissions come from the folder, as for every new file.
pub(super) fn create_locked(path: &Path, _replaced: Option<&Metadata>) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).share_mode(FILE_SHARE_DELETE).open(path)
}

pub(super) fn create_nameless(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .share_mode(FILE_SHARE_DELETE)
        .custom_flags(FILE_FLAG_DELETE_ON_CLOSE)
        .open(path)
}

/// Setting a length reserves the room on NTFS.
pub(super) fn preallocate(file: &File, len: u64) -> io::Result<()> {
    file.set_len(len)
}

pub(super) fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// Folders cannot be synced; NTFS keeps its names in a journal.
#[expect(clippy::unnecessary_wraps, reason = "the other platforms can fail here")]
pub(super) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Waits for those who hold the old file for a moment. It is never deleted first:
/// that would be a moment without either file.
pub(super) fn rename_replace(from: &Path, to: &Path) -> io::Result<()> {
    let mut attempt = 0;
    loop {
        match fs::rename(from, to) {
            Err(error)
                if attempt < RENAME_RETRIES
                    && matches!(error.raw_os_error(), Some(ACCESS_DENIED | SHARING_VIOLATION | LOCK_VIOLATION)) =>
            {
                std::thread::sleep(Duration::from_millis(2 << attempt));
                attempt += 1;
            }
            result => return result,
        }
    }
}

pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    super::rename_new_by_link(from, to)
}

/// Only asked after answers that get lost on Unix network file systems.
pub(super) fn is_same_file(_one: &Path, _other: &Path) -> bool {
    false
}

pub(super) fn remove_if_abandoned(path: &Path) -> io::Result<bool> {
    // Fails while the writer has it open.
    let _lock = OpenOptions::new().read(true).write(true).share_mode(FILE_SHARE_DELETE).open(path)?;
    fs::remove_file(path)?;
    Ok(true)
}
