//! Long work, and those who wait for it.

use std::path::Path;

use anyhow::Result;

use invirtibuilder_api::progress::Done;
use invirtibuilder_system::subprocess::CancellationToken;

/// One who waits for long work: how they follow it, stop it, and hear of its steps.
pub trait Progress {
    /// Starts with an empty log and does work to its end. Meanwhile they see what the log gains,
    /// and may cancel the work.
    fn follow<T, F>(&self, log: &Path, work: impl FnOnce(CancellationToken) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>;

    /// Tells them of a step that is done.
    fn tell(&self, done: &Done) -> Result<()>;
}
