//! How old the lists of packages may be that a build installs by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which lists of packages a build installs by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// Those that are there, if they are young.
    Kept,
    /// What the mirrors say now.
    Anew,
}

/// Notes that something old was given to a build, or that a mirror did not have what it had said.
#[derive(Debug, Clone, Default)]
pub struct Stale(Arc<AtomicBool>);

impl Stale {
    /// Notes it.
    pub fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Tells whether it was noted.
    pub fn was_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
