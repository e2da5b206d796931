//! Carries one stream between a machine and here, in each direction, with no more than [`WINDOW`]
//! bytes under way.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};

use crate::machine::frame::WINDOW;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes that came out of a machine and were not passed on yet.
#[derive(Default)]
pub struct Outgoing {
    state: Mutex<WaitingBytes>,
    bell: Condvar,
}

#[derive(Default)]
struct WaitingBytes {
    /// The bytes, all in one piece, so that many short ones take no more room than a few long ones.
    bytes: Vec<u8>,
    /// The number of bytes for which the machine has no credit back.
    owed: usize,
    ended: bool,
}

impl Outgoing {
    /// Takes bytes that the machine says. More than it has credit for is an error, and so is what
    /// comes after the end.
    pub fn push(&self, bytes: &[u8]) -> Result<()> {
        let mut state = locked(&self.state);
        ensure!(!state.ended, "a stream goes on after its end");
        ensure!(state.owed + bytes.len() <= WINDOW, "a stream is longer than its credit");
        state.owed += bytes.len();
        state.bytes.extend_from_slice(bytes);
        self.bell.notify_one();
        Ok(())
    }

    /// Notes that no more comes.
    pub fn end(&self) {
        locked(&self.state).ended = true;
        self.bell.notify_one();
    }

    /// Waits until there are bytes, and takes all that there are; `None` at the end.
    pub fn next(&self) -> Option<Vec<u8>> {
        let mut state = locked(&self.state);
        loop {
            if !state.bytes.is_empty() {
                return Some(std::mem::take(&mut state.bytes));
            }
            if state.ended {
                return None;
            }
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes that so many bytes were passed on: the machine is about to have credit for them.
    pub fn consumed(&self, count: usize) {
        locked(&self.state).owed -= count;
    }
}

/// The credit for what goes into a machine.
pub struct Credit {
    state: Mutex<(usize, bool)>,
    bell: Condvar,
}

impl Default for Credit {
    fn default() -> Self {
        Self { state: Mutex::new((WINDOW, true)), bell: Condvar::new() }
    }
}

impl Credit {
    /// Adds the bytes that the machine has consumed. More than were sent is an error.
    pub fn add(&self, count: usize) -> Result<()> {
        let mut state = locked(&self.state);
        ensure!(count <= WINDOW - state.0, "a stream has more credit than there is");
        state.0 += count;
        self.bell.notify_one();
        Ok(())
    }

    /// Notes that the machine does not read the stream any more.
    pub fn close(&self) {
        locked(&self.state).1 = false;
        self.bell.notify_one();
    }

    /// Waits until something may be sent. Returns how many bytes; `None` if nobody reads them any
    /// more.
    pub fn wait(&self) -> Option<usize> {
        let mut state = locked(&self.state);
        loop {
            match *state {
                (_, false) => return None,
                (0, true) => state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
                (count, true) => return Some(count),
            }
        }
    }

    /// Takes off the bytes that were sent, of those that could be.
    pub fn spend(&self, count: usize) {
        let mut state = locked(&self.state);
        state.0 = state.0.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use crate::machine::stream::*;

    #[test]
    fn a_machine_sends_no_more_than_it_may() {
        let stream = Outgoing::default();
        for _ in 0..WINDOW / 1024 {
            stream.push(&[0; 1024]).unwrap();
        }
        assert!(stream.push(&[0]).is_err());
        // Taken is not written yet.
        assert_eq!(stream.next().unwrap().len(), WINDOW);
        assert!(stream.push(&[0]).is_err());
        stream.consumed(1024);
        stream.push(&[0; 1024]).unwrap();
        assert!(stream.push(&[0]).is_err());
        stream.end();
        assert!(stream.push(&[0]).is_err(), "it has ended");
        assert_eq!(stream.next().unwrap().len(), 1024, "what was said before the end");
        assert_eq!(stream.next(), None);
    }

    #[test]
    fn short_pieces_take_no_more_room_than_long_ones() {
        let stream = Outgoing::default();
        (0..WINDOW).for_each(|_| stream.push(b"x").unwrap());
        assert!(locked(&stream.state).bytes.capacity() <= WINDOW);
        assert_eq!(stream.next().unwrap().len(), WINDOW);
    }

    #[test]
    fn credit_is_what_was_sent() {
        let credit = Credit::default();
        assert!(credit.add(1).is_err(), "nothing was sent");
        assert_eq!(credit.wait(), Some(WINDOW));
        credit.spend(10);
        assert!(credit.add(usize::MAX).is_err());
        assert!(credit.add(11).is_err());
        credit.add(10).unwrap();
        credit.close();
        assert_eq!(credit.wait(), None);
    }
}
