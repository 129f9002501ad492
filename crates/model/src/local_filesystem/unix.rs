//! The parts that Linux, macOS and other Unix systems do in their own way.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

/// How long a file must not have been written to before its free lock is believed,
/// where the lock of another machine might not be seen.
const UNSURE_LOCK_AGE: Duration = Duration::from_secs(15 * 60);

/// Read, write and execute for owner, group and others.
const PERMISSION_BITS: u32 = 0o777;

pub(super) fn is_writable(path: &Path, _metadata: &Metadata) -> bool {
    rustix::fs::access(path, Access::WRITE_OK).is_ok()
}

/// Creates a file and locks it. `AlreadyExists` asks for another name.
pub(super) fn create_locked(path: &Path, replaced: Option<&Metadata>) -> io::Result<File> {
    // Never more open than the old file, not even for a moment.
    let mode = replaced.map_or(0o666, |old| old.mode() & PERMISSION_BITS);
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    lock_new(&file, path)?;
    if let Some(old) = replaced {
        copy_permissions(&file, old).inspect_err(|_| {
            let _removed = fs::remove_file(path);
        })?;
    }
    Ok(file)
}

/// Creates a file for this process alone and takes its name away. A process that is killed
/// in between leaves an unlocked temporary file to the next sweep.
pub(super) fn create_nameless(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    match fs::remove_file(path) {
        // A sweep was faster.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(file),
    }
}

fn lock_new(file: &File, path: &Path) -> io::Result<()> {
    let locked = match flock(file, FlockOperation::NonBlockingLockExclusive) {
        // A sweep in another process may have locked, removed and released it before us.
        Ok(()) => file.metadata()?.nlink() > 0,
        Err(Errno::WOULDBLOCK) => false,
        // Without locks, no sweep can lock the file either, and leaves it alone.
        Err(_) => true,
    };
    if locked {
        return Ok(());
    }
    let _removed = fs::remove_file(path);
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Owner, group and permission bits, as far as this process may set them.
/// A group that cannot be kept must not pass its rights on to another group.
fn copy_permissions(file: &File, old: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    let mut mode = old.mode() & PERMISSION_BITS;
    if new.uid() != old.uid() {
        let _changed = fchown(file, Some(old.uid()), None);
    }
    if new.gid() != old.gid() && fchown(file, None, Some(old.gid())).is_err() {
        mode &= !0o070 | ((mode & 0o007) << 3);
    }
    if file.metadata()?.mode() & PERMISSION_BITS != mode {
        match file.set_permissions(Permissions::from_mode(mode)) {
            // File systems without permission bits say one of these.
            Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => {}
            result => return result,
        }
    }
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple"))]
pub(super) fn preallocate(file: &File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    loop {
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
            Err(Errno::INTR) => {}
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) => return Err(error.into()),
            // Everything else says that this file system cannot; the writes will show what it can.
            Ok(()) | Err(_) => return Ok(()),
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple")))]
pub(super) fn preallocate(_file: &File, _len: u64) -> io::Result<()> {
    Ok(())
}

/// `sync_all` asks macOS for a flush down to the medium, which its network file systems refuse:
/// there, an ordinary `fsync` is all there is.
pub(super) fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all().or_else(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOTSUP | Errno::INVAL | Errno::NOTTY) => Ok(rustix::fs::fsync(file)?),
        _ => Err(error),
    })
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    let file = match File::open(folder) {
        // A folder may be writable without being readable; it then cannot be synced.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        file => file?,
    };
    match sync_file(&file).map_err(|error| (error.raw_os_error().map(Errno::from_raw_os_error), error)) {
        // FUSE and network file systems without such a request.
        Err((Some(Errno::NOTSUP | Errno::INVAL | Errno::NOSYS), _)) | Ok(()) => Ok(()),
        Err((_, error)) => Err(error),
    }
}

pub(super) fn rename_replace(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags};

    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => super::rename_new_by_link(from, to),
        result => Ok(result?),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    super::rename_new_by_link(from, to)
}

pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::symlink_metadata(one), fs::symlink_metadata(other)) {
        (Ok(one), Ok(other)) => one.dev() == other.dev() && one.ino() == other.ino(),
        _ => false,
    }
}

/// Removes a file that nobody has locked. The lock is held while it is removed, so a writer
/// that has just created it sees either the lock or that its file is gone.
pub(super) fn remove_if_abandoned(path: &Path) -> io::Result<bool> {
    // Not a link, and not a pipe to wait for, whatever somebody put there.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() || flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    if !locks_reach_everyone(&file) {
        let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
        if age < UNSURE_LOCK_AGE {
            return Ok(false);
        }
    }
    fs::remove_file(path)?;
    Ok(true)
}

/// Whether everyone who can write here shares one kernel, and so sees the same locks.
/// Network and FUSE file systems may keep locks to one machine.
#[cfg(target_os = "linux")]
fn locks_reach_everyone(file: &File) -> bool {
    /// Magic numbers from statfs(2): ext2/3/4, XFS, Btrfs, tmpfs, overlayfs, F2FS, ZFS, bcachefs.
    const LOCAL: [u32; 8] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e];
    // Magic numbers have 32 bits; the width and sign of the field differ by processor.
    rustix::fs::fstatfs(file)
        .is_ok_and(|stat| LOCAL.iter().any(|&magic| i128::from(stat.f_type) & 0xffff_ffff == i128::from(magic)))
}

#[cfg(target_vendor = "apple")]
fn locks_reach_everyone(file: &File) -> bool {
    /// `MNT_LOCAL` of statfs(2): not a network file system.
    const LOCAL: u32 = 0x1000;
    rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_flags & LOCAL != 0)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn locks_reach_everyone(_file: &File) -> bool {
    false
}
