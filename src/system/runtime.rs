//! Runs something asynchronous in a program that waits for it.

use anyhow::Result;

/// Runs work to its end, and does nothing else meanwhile.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
