//! A bounded way for bytes from JavaScript's thread to a thread of the pool.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use kw_model::{Code, Result, WeightsError};

use crate::pool::lock;

/// Pieces on the way at most. With the pieces' size this bounds the extra memory of a save.
const SLOTS: usize = 3;
/// Bytes of one piece: what JavaScript's thread copies in one turn.
pub const PIECE: usize = 4 << 20;

/// Called once when there is room again, or when there never will be.
type Waiter = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    queue: VecDeque<(usize, Vec<u8>)>,
    free: Vec<Vec<u8>>,
    taken: usize,
    closed: bool,
    waiter: Option<Waiter>,
}

/// The ring. JavaScript puts pieces in and never waits; the writer takes them out and waits.
#[derive(Default)]
pub struct Ring {
    state: Mutex<State>,
    filled: Condvar,
}

impl Ring {
    /// Copies a piece of tensor `tensor` in; false when the ring is full or closed.
    ///
    /// # Errors
    /// [`Code::Memory`] when there is no memory for it.
    pub fn put(&self, tensor: usize, bytes: &[u8]) -> Result<bool> {
        let mut state = lock(&self.state);
        if state.closed || state.queue.len() + state.taken >= SLOTS {
            return Ok(false);
        }
        let mut slot = state.free.pop().unwrap_or_default();
        slot.clear();
        slot.try_reserve_exact(bytes.len()).map_err(|_| {
            WeightsError::new(Code::Memory, format!("{} bytes of memory could not be had", bytes.len()))
        })?;
        slot.extend_from_slice(bytes);
        state.queue.push_back((tensor, slot));
        drop(state);
        self.filled.notify_one();
        Ok(true)
    }

    /// Waits for the next piece, hands it to `out` and frees its place.
    ///
    /// # Errors
    /// [`Code::Aborted`] when the ring was closed; those of `out`.
    pub fn take(&self, out: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        let mut state = lock(&self.state);
        let (tensor, slot) = loop {
            if state.closed {
                return Err(WeightsError::new(Code::Aborted, "the save was aborted"));
            }
            if let Some(piece) = state.queue.pop_front() {
                break piece;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.taken += 1;
        drop(state);
        let outcome = out(tensor, &slot);
        let mut state = lock(&self.state);
        state.taken -= 1;
        state.free.push(slot);
        let waiter = state.waiter.take();
        drop(state);
        if let Some(waiter) = waiter {
            waiter();
        }
        outcome
    }

    /// Calls `waiter` when there is room or the ring is closed, at once if so already.
    pub fn when_room(&self, waiter: Waiter) {
        let mut state = lock(&self.state);
        let waiter = if state.closed || state.queue.len() + state.taken < SLOTS {
            Some(waiter)
        } else {
            state.waiter.replace(waiter)
        };
        drop(state);
        if let Some(waiter) = waiter {
            waiter();
        }
    }

    /// Ends both sides: nothing goes in any more, and the writer stops waiting.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.queue.clear();
        state.free.clear();
        let waiter = state.waiter.take();
        drop(state);
        self.filled.notify_all();
        if let Some(waiter) = waiter {
            waiter();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use kw_model::Code;

    use super::{Ring, SLOTS};

    #[test]
    fn pieces_arrive_in_order_and_a_full_ring_refuses() {
        let ring = Ring::default();
        for number in 0..SLOTS {
            assert_eq!(ring.put(number, &[1, 2]).ok(), Some(true));
        }
        assert_eq!(ring.put(9, &[3]).ok(), Some(false));
        for number in 0..SLOTS {
            ring.take(&mut |tensor, bytes| {
                assert_eq!((tensor, bytes), (number, [1, 2].as_slice()));
                Ok(())
            })
            .expect("there");
        }
        assert_eq!(ring.put(9, &[3]).ok(), Some(true));
    }

    #[test]
    fn who_waits_for_room_is_told() {
        let ring = Arc::new(Ring::default());
        let (sender, receiver) = mpsc::channel();
        let told = |name: &'static str| {
            let sender = sender.clone();
            Box::new(move || sender.send(name).expect("heard"))
        };
        ring.when_room(told("empty"));
        assert_eq!(receiver.try_recv(), Ok("empty"));
        for number in 0..SLOTS {
            ring.put(number, &[0]).expect("room");
        }
        ring.when_room(told("full"));
        assert!(receiver.try_recv().is_err());
        ring.take(&mut |_, _| Ok(())).expect("there");
        assert_eq!(receiver.try_recv(), Ok("full"));
        ring.put(0, &[0]).expect("room");
        ring.when_room(told("closed"));
        ring.close();
        assert_eq!(receiver.try_recv(), Ok("closed"));
    }

    #[test]
    fn closing_wakes_a_waiting_writer() {
        let ring = Arc::new(Ring::default());
        let writer = {
            let ring = Arc::clone(&ring);
            std::thread::spawn(move || ring.take(&mut |_, _| Ok(())).map_err(|error| error.code()))
        };
        ring.close();
        assert_eq!(writer.join().expect("ended"), Err(Code::Aborted));
        assert_eq!(ring.put(0, &[1]).ok(), Some(false));
    }
}
