//! Long work: started, watched, cancelled, and its result taken, all by JavaScript.
//!
//! The promise of a job resolves with nothing; the result stays on the Rust side until
//! [`Job::take`]. So a worker that ends in the middle leaves nothing behind: the result is
//! dropped by whoever is last, the job object or the thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use kw_model::{Cancel, Code, Result, WeightsError};
use napi::bindgen_prelude::Object;
use napi::{Env, JsDeferred};

use crate::failure::guarded;
use crate::pool::{lock, submit};

/// What work looks at and reports to.
#[derive(Debug, Default)]
pub struct Watch {
    /// Set when nobody wants the result any more.
    pub cancel: Cancel,
    done: AtomicU64,
    total: AtomicU64,
}

impl Watch {
    /// Bytes there are in all.
    pub fn expect(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    /// So many more bytes are done.
    pub fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes are done.
    pub fn reach(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
    }

    /// Bytes done and bytes there are.
    pub fn progress(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

type Work<T> = Box<dyn FnOnce(&Watch) -> Result<T> + Send>;

enum Stage<T> {
    Ready(Work<T>),
    Running,
    Done(Result<T>),
    Taken,
}

struct State<T> {
    watch: Watch,
    stage: Mutex<Stage<T>>,
    finished: AtomicBool,
}

impl<T> State<T> {
    /// Does the work, on whichever thread this is.
    fn run(&self) {
        let stage = std::mem::replace(&mut *lock(&self.stage), Stage::Running);
        let outcome = match stage {
            Stage::Ready(work) => guarded(|| {
                // It may have waited long in the queue.
                self.watch.cancel.check()?;
                work(&self.watch)
            }),
            Stage::Done(outcome) => outcome,
            Stage::Running | Stage::Taken => Err(misuse("the work was started twice")),
        };
        *lock(&self.stage) = Stage::Done(outcome);
        self.finished.store(true, Ordering::Release);
    }
}

fn misuse(text: &str) -> WeightsError {
    WeightsError::new(Code::Internal, text)
}

/// One piece of long work. Dropping it cancels the work.
pub struct Job<T: Send + 'static>(Arc<State<T>>);

type Settle = Box<dyn FnOnce(Env) -> napi::Result<()>>;

impl<T: Send + 'static> Job<T> {
    /// Work that has not begun.
    pub fn new(work: impl FnOnce(&Watch) -> Result<T> + Send + 'static) -> Self {
        Job(Arc::new(State {
            watch: Watch::default(),
            stage: Mutex::new(Stage::Ready(Box::new(work))),
            finished: AtomicBool::new(false),
        }))
    }

    /// Begins on a thread of the pool; the promise resolves when the result can be taken, also when it is an error.
    ///
    /// # Errors
    /// [`Code::Memory`] when there is no thread.
    pub fn start<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let deferred: napi::Result<(JsDeferred<(), Settle>, Object<'env>)> = env.create_deferred();
        let (deferred, promise) = deferred
            .map_err(|error| WeightsError::new(Code::Internal, format!("no promise could be made: {error}")))?;
        let state = Arc::clone(&self.0);
        submit(Box::new(move || {
            state.run();
            // The last reference may be this one: the result is then dropped here and not in JavaScript's thread.
            drop(state);
            deferred.resolve(Box::new(|_| Ok(())));
        }))?;
        Ok(promise)
    }

    /// Does the work here and now.
    pub fn run(&self) {
        self.0.run();
    }

    /// Asks the work to stop. It ends with [`Code::Aborted`] unless it was already past its last look.
    pub fn cancel(&self) {
        self.0.watch.cancel.cancel();
    }

    /// True once the result can be taken.
    pub fn is_finished(&self) -> bool {
        self.0.finished.load(Ordering::Acquire)
    }

    /// Bytes done and bytes there are.
    pub fn progress(&self) -> (u64, u64) {
        self.0.watch.progress()
    }

    /// The result, once.
    ///
    /// # Errors
    /// Those of the work; [`Code::Internal`] when it is not finished or was taken before.
    pub fn take(&self) -> Result<T> {
        let mut stage = lock(&self.0.stage);
        match std::mem::replace(&mut *stage, Stage::Taken) {
            Stage::Done(outcome) => outcome,
            other => {
                *stage = other;
                Err(misuse("there is no result to take"))
            }
        }
    }
}

impl<T: Send + 'static> Drop for Job<T> {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests {
    use kw_model::{Code, Result};

    use super::Job;

    #[test]
    fn a_panicking_job_is_a_failed_job() {
        let job: Job<u8> = Job::new(|_| -> Result<u8> { panic!("lost") });
        job.run();
        assert!(job.is_finished());
        assert_eq!(job.take().map_err(|error| error.code()), Err(Code::Internal));
    }

    #[test]
    fn a_result_is_taken_once_and_only_when_there_is_one() {
        let job = Job::new(|watch| {
            watch.expect(10);
            watch.advance(4);
            Ok(5)
        });
        assert_eq!(job.take().map_err(|error| error.code()), Err(Code::Internal));
        job.run();
        assert_eq!(job.progress(), (4, 10));
        assert_eq!(job.take().ok(), Some(5));
        assert_eq!(job.take().map_err(|error| error.code()), Err(Code::Internal));
    }

    #[test]
    fn a_job_cancelled_in_the_queue_does_nothing() {
        let job: Job<u8> = Job::new(|_| -> Result<u8> { unreachable!("it was cancelled") });
        job.cancel();
        job.run();
        assert_eq!(job.take().map_err(|error| error.code()), Err(Code::Aborted));
    }
}
