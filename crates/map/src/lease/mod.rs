//! Read leases: the kernel holds whoever wants to write to a mapped file until the mapping no longer needs it.
//!
//! A lease belongs to an open file. Mappings of that file enter it; when a writer comes, one thread of ours is
//! told, puts private copies in the place of the pages, and lets the writer go on. See `docs/decisions/0009`.

#[cfg(target_os = "linux")]
mod guard;
#[cfg(target_os = "linux")]
mod seal;
#[cfg(target_os = "linux")]
mod system;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use kw_model::{Code, Result, WeightsError};

use crate::region::Pages;

/// What has become of the mappings that entered a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// They are pages of the file, and nobody can change it unnoticed.
    Held,
    /// A writer waits, and they are being copied.
    Leaving,
    /// The file may be changed by now; they are private memory with the values from before.
    Private,
    /// The file was changed before all could be copied: what was not copied reads as NaN.
    Lost,
}

/// Something happened to a mapped file.
#[derive(Debug, Clone)]
pub struct LeaseEvent {
    /// What the file is called in messages.
    pub name: String,
    /// Bytes that were mapped.
    pub bytes: u64,
    /// True when the values could not be kept.
    pub lost: bool,
}

static LISTENER: OnceLock<fn(LeaseEvent)> = OnceLock::new();

/// Who is told, on a thread of ours. The first one asked for stays.
pub fn on_lease_event(listener: fn(LeaseEvent)) {
    let _ = LISTENER.set(listener);
}

/// A read lease on an open file, and the mappings under it.
pub struct Lease {
    file: Arc<File>,
    name: String,
    state: AtomicU8,
    /// Changed together with the state.
    pages: Mutex<Vec<Arc<Pages>>>,
    #[cfg(target_os = "linux")]
    kernel: guard::Kernel,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("name", &self.name).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// A lock whose holder panicked is still a lock: what it guards is changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lease {
    /// The lease on an open file: the one it has, or a new one. `None` where none can be had (somebody is writing,
    /// the file is another user's, the file system cannot be trusted with it, no Linux) or the one it had is used up.
    pub fn of(file: &Arc<File>, name: &str) -> Option<Arc<Self>> {
        #[cfg(target_os = "linux")]
        return guard::lease(file, name).filter(|lease| lease.state() == LeaseState::Held);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (file, name);
            None
        }
    }

    /// What has become of the mappings.
    pub fn state(&self) -> LeaseState {
        match self.state.load(Ordering::Acquire) {
            0 => LeaseState::Held,
            1 => LeaseState::Leaving,
            2 => LeaseState::Private,
            _ => LeaseState::Lost,
        }
    }

    fn set_state(&self, state: LeaseState) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Guards a mapping from now on; false when the lease has gone, and the mapping must not be used.
    pub(crate) fn enter(&self, pages: &Arc<Pages>) -> bool {
        let mut all = lock(&self.pages);
        if self.state() != LeaseState::Held {
            return false;
        }
        all.push(Arc::clone(pages));
        true
    }

    /// The mapping is no longer wanted. Should it be in the middle of being copied, it goes after that.
    pub(crate) fn leave(&self, pages: &Arc<Pages>) {
        lock(&self.pages).retain(|other| !Arc::ptr_eq(other, pages));
    }

    /// Fails when the values could not be kept.
    pub(crate) fn check(&self) -> Result<()> {
        if self.state() != LeaseState::Lost {
            return Ok(());
        }
        Err(WeightsError::new(
            Code::Changed,
            format!(
                "{} was changed by another program while it was mapped, and its values could not be kept",
                self.name
            ),
        )
        .file(&self.name))
    }

    #[cfg(target_os = "linux")]
    fn tell(&self, bytes: usize, lost: bool) {
        if let Some(listener) = LISTENER.get() {
            listener(LeaseEvent { name: self.name.clone(), bytes: bytes as u64, lost });
        }
    }
}
