//! Does what only the operating system can: programs that run, files that last, users, control
//! groups, system calls.

pub mod architectures;
pub mod beneath;
pub mod cgroup;
pub mod confined;
pub mod disk;
pub mod files;
pub mod filter;
pub mod followers;
pub mod log;
pub mod private;
pub mod privilege;
pub mod processes;
pub mod relay;
pub mod remove;
pub mod runtime;
pub mod shares;
pub mod slot;
pub mod subids;
pub mod subprocess;
pub mod unsynced;
pub mod wake;
