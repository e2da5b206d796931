//! How much of the disk a build holds by its proxy: files that are fetched for it, and those that
//! it was given and has not read to the end. They stay on the disk so long, also where the cache
//! has dropped them or never kept them, and nothing in the sandbox shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one build may hold, and holds.
#[derive(Debug, Clone)]
pub struct ProxyRoom(Arc<(u64, AtomicU64)>);

/// A part of it, given back when it is dropped.
#[derive(Debug)]
pub struct HeldBytes {
    room: ProxyRoom,
    bytes: u64,
}

impl ProxyRoom {
    /// So many bytes.
    pub fn new(most: u64) -> Self {
        Self(Arc::new((most, AtomicU64::new(0))))
    }

    /// Begins to hold it, with nothing of it yet.
    pub fn hold(&self) -> HeldBytes {
        HeldBytes { room: self.clone(), bytes: 0 }
    }
}

impl HeldBytes {
    /// Makes this part so large, if there is room for it; whether there was.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let (most, held) = &*self.room.0;
        let more = bytes.saturating_sub(self.bytes);
        let with = |held: u64| held.checked_add(more).filter(|sum| more == 0 || sum <= most);
        let grown = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with).is_ok();
        self.bytes += if grown { more } else { 0 };
        grown
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.room.0.1.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::proxy::held::*;

    #[test]
    fn what_is_held_is_no_more_than_the_room() {
        let room = ProxyRoom::new(10);
        let (mut one, mut two) = (room.hold(), room.hold());
        assert!(one.grow(4) && one.grow(6) && one.grow(5) && two.grow(4));
        assert!(!two.grow(5) && two.grow(4) && !one.grow(u64::MAX));
        drop(one);
        assert!(two.grow(10) && !room.hold().grow(1) && room.hold().grow(0));
    }
}
