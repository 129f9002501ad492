//! A flag that long work looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Code, Result, WeightsError};

/// Set once, seen by every clone. Work checks it between pieces of at most a few MiB.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the work to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Fails once cancelled.
    ///
    /// # Errors
    /// [`Code::Aborted`].
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(WeightsError::new(Code::Aborted, "the work was aborted"));
        }
        Ok(())
    }
}
