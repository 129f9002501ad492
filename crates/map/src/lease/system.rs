//! The calls that no safe wrapper has.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::fs::{StatFs, fstatfs};

/// Types of `fcntl` that the C library has no struct for.
#[repr(C)]
struct Owner {
    kind: libc::c_int,
    id: libc::pid_t,
}

/// `F_SETSIG` and `F_SETOWN_EX`, the same on every architecture that Node runs on.
const SET_SIGNAL: libc::c_int = 10;
const SET_OWNER: libc::c_int = 15;
/// `F_OWNER_TID`: signals go to one thread.
const OWNER_THREAD: libc::c_int = 0;

/// File systems on which a lease is known to hold: every change passes this kernel, and breaks it.
/// Network and FUSE file systems grant leases, too, and break them for some of the writers only.
fn is_trusted(statistics: &StatFs) -> bool {
    // ext2 to ext4, xfs, btrfs, f2fs, tmpfs, overlay
    const TRUSTED: [u64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994, 0x794c_7630];
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "the kernel's type differs by platform")]
    let kind = statistics.f_type as u64 & 0xffff_ffff;
    TRUSTED.contains(&kind)
}

/// The signal that the kernel wakes the guard with. Only the guard's thread can get it, and it never runs a handler.
pub(super) fn wake_signal() -> libc::c_int {
    libc::SIGRTMAX() - 3
}

/// Takes a read lease whose break is signalled to the thread `guard`. False when the kernel gives none.
pub(super) fn take(file: &File, guard: libc::pid_t) -> bool {
    if !fstatfs(file).is_ok_and(|statistics| is_trusted(&statistics)) {
        return false;
    }
    let fd = file.as_raw_fd();
    let owner = Owner { kind: OWNER_THREAD, id: guard };
    // In this order there is no moment in which the signal would be SIGIO, or go to another thread.
    // SAFETY: `fd` is open as long as `file` lives, and `owner` outlives the call that reads it.
    unsafe {
        libc::fcntl(fd, SET_SIGNAL, wake_signal()) == 0
            && libc::fcntl(fd, SET_OWNER, &raw const owner) == 0
            && libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) == 0
    }
}

/// False when somebody waits for the lease to be given up, or no longer waits.
pub(super) fn is_whole(file: &File) -> bool {
    // SAFETY: `file` is open.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) == libc::F_RDLCK }
}

/// Gives the lease up. True proves that it was ours until now, so that nobody wrote.
pub(super) fn release(file: &File) -> bool {
    // SAFETY: `file` is open.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) == 0 }
}

/// How long the kernel makes a writer wait for us.
pub(super) fn break_time() -> Duration {
    let seconds = std::fs::read_to_string("/proc/sys/fs/lease-break-time").ok();
    Duration::from_secs(seconds.and_then(|text| text.trim().parse().ok()).unwrap_or(45))
}

/// Blocks every signal in this thread, so that handlers of Node run in threads of Node, and gives its number.
pub(super) fn become_guard() -> libc::pid_t {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigfillset` initialises the set before it is used; the other call has no preconditions.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
    }
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Waits until the kernel wakes us, or so many seconds.
pub(super) fn wait(seconds: u8) {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: all zero is a valid timespec.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    time.tv_sec = seconds.into();
    // SAFETY: `sigemptyset` initialises the set before it is used; nobody wants the signal's details.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), wake_signal());
        libc::sigtimedwait(set.as_ptr(), std::ptr::null_mut(), &raw const time);
    }
}
