//! The thread that answers for all leases of the process.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Instant;

use super::{Lease, LeaseState, lock, seal, system};

/// Seconds between two looks at everything, should a signal have been lost.
const ROUND: u8 = 5;

/// What the kernel's side of a lease needs.
pub(super) struct Kernel {
    /// Size and times of the file when the lease was taken.
    stamp: Option<Stamp>,
    /// When it was noticed that a writer waits.
    broken: OnceLock<Instant>,
}

/// Size and modification time, the latter in seconds and nanoseconds.
type Stamp = (u64, i64, i64);

fn stamp(file: &File) -> Option<Stamp> {
    file.metadata().ok().map(|data| (data.len(), data.mtime(), data.mtime_nsec()))
}

/// All leases, each with the address of its open file: a file that is open once has one lease.
static LEASES: Mutex<Vec<(usize, Weak<Lease>)>> = Mutex::new(Vec::new());

fn key(file: &Arc<File>) -> usize {
    Arc::as_ptr(file) as usize
}

/// The number of the guard's thread, which runs from now on; `None` when it could not be started.
/// It keeps neither the event loop nor the process alive.
fn guard() -> Option<libc::pid_t> {
    static GUARD: OnceLock<Option<libc::pid_t>> = OnceLock::new();
    *GUARD.get_or_init(|| {
        static NUMBER: AtomicI32 = AtomicI32::new(0);
        let run = || {
            NUMBER.store(system::become_guard(), Ordering::Release);
            loop {
                system::wait(ROUND);
                serve();
            }
        };
        std::thread::Builder::new().name("keras-lease".to_owned()).spawn(run).ok()?;
        loop {
            match NUMBER.load(Ordering::Acquire) {
                // It needs some microseconds to begin.
                0 => std::thread::yield_now(),
                number => return Some(number),
            }
        }
    })
}

/// The lease of an open file, taken when it has none.
pub(super) fn lease(file: &Arc<File>, name: &str) -> Option<Arc<Lease>> {
    let guard = guard()?;
    let mut leases = lock(&LEASES);
    let known = leases.iter().find(|(address, _)| *address == key(file));
    if let Some(lease) = known.and_then(|(_, lease)| lease.upgrade()) {
        return Some(lease);
    }
    // Under the lock: the guard must not see it before it is held.
    if !system::take(file, guard) {
        return None;
    }
    let kernel = Kernel { stamp: stamp(file), broken: OnceLock::new() };
    let lease = Arc::new(Lease {
        file: Arc::clone(file),
        name: name.to_owned(),
        state: AtomicU8::new(LeaseState::Held as u8),
        pages: Mutex::default(),
        kernel,
    });
    forget(&mut leases, key(file));
    leases.push((key(file), Arc::downgrade(&lease)));
    Some(lease)
}

fn forget(leases: &mut MutexGuard<'_, Vec<(usize, Weak<Lease>)>>, key: usize) {
    leases.retain(|(address, _)| *address != key);
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = lock(&LEASES);
        // A new lease on the same open file may have come in between; then it is no longer ours to give up.
        if leases.iter().any(|(_, lease)| std::ptr::eq(lease.as_ptr(), self)) {
            forget(&mut leases, key(&self.file));
            // Not left to the closing: a child process that inherited the file would keep the lease.
            system::release(&self.file);
        }
    }
}

/// The leases that a writer waits for, or whose file has changed in spite of them.
fn broken() -> Vec<Arc<Lease>> {
    let held: Vec<Arc<Lease>> = lock(&LEASES).iter().filter_map(|(_, lease)| lease.upgrade()).collect();
    held.into_iter().filter(|lease| lease.state() == LeaseState::Held && lease.notice()).collect()
}

fn serve() {
    for lease in broken() {
        lease.give_up();
    }
}

impl Lease {
    /// True when it has to be given up; takes down since when.
    fn notice(&self) -> bool {
        // A file opened for reading and yet cut (O_RDONLY with O_TRUNC) breaks no lease.
        let whole =
            system::is_whole(&self.file) && stamp(&self.file).map(|now| now.0) == self.kernel.stamp.map(|then| then.0);
        if !whole {
            self.kernel.broken.get_or_init(Instant::now);
        }
        !whole
    }

    /// Makes all mappings private and lets the writer go on.
    fn give_up(&self) {
        let allowed = system::break_time().mul_f32(0.7);
        let since = self.kernel.broken.get().copied().unwrap_or_else(Instant::now);
        let (kept, bytes) = self.seal(since + allowed);
        let whole = system::release(&self.file);
        // Released in time, nobody wrote. Otherwise the kernel had lost patience, and the copies may be of the new content.
        let lost = !kept || !(whole || stamp(&self.file) == self.kernel.stamp);
        if lost {
            self.set_state(LeaseState::Lost);
        }
        if bytes > 0 {
            self.tell(bytes, lost);
        }
    }

    /// Whether every mapping shows what it did before, and the bytes that were mapped.
    pub(super) fn seal(&self, until: Instant) -> (bool, usize) {
        let all = {
            let pages = lock(&self.pages);
            // From here on none enters.
            self.set_state(LeaseState::Leaving);
            pages.clone()
        };
        let bytes = all.iter().map(|pages| pages.len()).sum();
        let until = if seal::has_memory(bytes) { until } else { Instant::now() };
        // The deadlines of others begin when they are noticed.
        let done: Vec<usize> = all.iter().map(|pages| seal::seal(pages, until, &|| drop(broken()))).collect();
        let kept = all.iter().zip(&done).all(|(pages, done)| *done == pages.len());
        // Before the first wrong value can be read: whoever reads in Rust looks at the state afterwards.
        self.set_state(if kept { LeaseState::Private } else { LeaseState::Lost });
        for (pages, done) in all.iter().zip(done) {
            // Nothing more can be done when even this is refused.
            let _ = seal::spoil(pages, done);
        }
        (kept, bytes)
    }
}
