//! Our own threads. Long work on libuv's four would hold up every `fs` call of the process.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use kw_model::{Code, Result, WeightsError};

/// Threads at most, for the whole process and all its workers.
const THREADS: usize = 2;

type Work = Box<dyn FnOnce() + Send>;

struct Queue {
    waiting: VecDeque<Work>,
    threads: usize,
    idle: usize,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { waiting: VecDeque::new(), threads: 0, idle: 0 });
static WAKE: Condvar = Condvar::new();

/// A lock whose holder panicked is still a lock: what it guards is only ever replaced whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` on a thread of the pool, in the order of the calls. Threads start when first needed
/// and wait for ever: they keep neither the event loop nor the process alive. `work` must not panic.
///
/// # Errors
/// [`Code::Memory`] when there is no thread yet and none can be started.
pub fn submit(work: Work) -> Result<()> {
    let mut queue = lock(&QUEUE);
    if queue.idle <= queue.waiting.len() && queue.threads < THREADS {
        match std::thread::Builder::new().name("keras-weights".to_owned()).spawn(serve) {
            Ok(_) => queue.threads += 1,
            Err(error) if queue.threads == 0 => {
                return Err(WeightsError::new(Code::Memory, format!("no thread could be started: {error}")));
            }
            // The ones there are will come to it.
            Err(_) => {}
        }
    }
    queue.waiting.push_back(work);
    WAKE.notify_one();
    Ok(())
}

fn serve() {
    let mut queue = lock(&QUEUE);
    loop {
        if let Some(work) = queue.waiting.pop_front() {
            drop(queue);
            work();
            queue = lock(&QUEUE);
        } else {
            queue.idle += 1;
            queue = WAKE.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc;

    use super::{THREADS, submit};

    #[test]
    fn all_work_is_done_by_few_threads() {
        let (sender, receiver) = mpsc::channel();
        for number in 0..100 {
            let sender = sender.clone();
            submit(Box::new(move || {
                sender.send((number, std::thread::current().id())).expect("received");
            }))
            .expect("submitted");
        }
        drop(sender);
        let done: Vec<_> = receiver.iter().collect();
        let mut numbers: Vec<i32> = done.iter().map(|row| row.0).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        assert!(done.iter().map(|row| row.1).collect::<HashSet<_>>().len() <= THREADS);
    }
}
