//! Removes what jobs leave, no matter who owns it.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::slot;
use crate::subprocess::{CancellationToken, Cmd};

/// The longest that a removal may take: a disk can need long for a whole root.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Removes a directory with all that is in it; fine if there is none. Root of a user namespace that
/// has all of our subordinate ids removes what belongs to one of them, or is in a directory that
/// even its owner may not write.
pub async fn remove_tree(dir: &Path) -> Result<()> {
    let error = match std::fs::remove_dir_all(dir) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => error,
    };
    if error.kind() != ErrorKind::PermissionDenied {
        return Err(error).with_context(|| format!("cannot remove {}", dir.display()));
    }
    let done = Cmd::new("unshare")
        .args(["--user", "--map-root-user"])
        .args(slot::everybody()?)
        .args(["--", "rm", "--recursive", "--force", "--one-file-system", "--"])
        .arg(dir)
        .total(LIMIT)
        .run(&CancellationToken::new())
        .await?;
    done.success().with_context(|| format!("cannot remove {}", dir.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::remove::*;

    #[tokio::test]
    async fn what_is_not_there_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        remove_tree(&dir.path().join("a")).await.unwrap();
        remove_tree(&dir.path().join("a")).await.unwrap();
    }
}
