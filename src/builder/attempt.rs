//! How one run of sbuild is carried out: what a later run of the same build has otherwise.

use crate::proxy::{Lists, Stale};

/// How a build is run.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Where it writes.
    pub scratch: Scratch,
    /// What it takes from mirrors.
    pub lists: Lists,
    /// Whether it was given anything that mirrors may say otherwise by now.
    pub stale: Stale,
}

/// Where a build writes.
#[derive(Debug, Clone, Copy)]
pub enum Scratch {
    /// In memory, as many bytes.
    Memory(u64),
    /// On the disk.
    Disk,
}
