//! Sessions of schroot(1): named by us, so that those of a dead daemon are known, and ended with
//! everything in them.
//!
//! Only schroot itself, which is setuid root, can end what a maintainer script left running: it
//! looks for processes whose root is the session's, asks each to end, and waits five seconds for
//! it. So what is ours is killed first.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

use invirtibuilder_sandbox::schroot::SCHROOT;
use invirtibuilder_system::processes;
use invirtibuilder_system::subprocess::{CancellationToken, Cmd};

/// How long ending one may take: five seconds for each process that does not want to, and a root on
/// a slow disk.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// How long our own processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often schroot is asked to end a session: what was just killed may hold a mount for a moment.
const ATTEMPTS: usize = 5;

/// A session, which may exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchrootSession {
    name: String,
}

impl SchrootSession {
    /// Makes the one of the build that has this slot, by the daemon of this state directory.
    pub fn of(state_dir: &Path, slot: u32) -> Self {
        Self { name: format!("{}{slot}", prefix(state_dir)) }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends it with everything that runs in it. Fine if there is none.
    pub async fn end(&self) -> Result<()> {
        let mut problem = String::new();
        for _ in 0..ATTEMPTS {
            if !all().await?.contains(&self.name) {
                return Ok(());
            }
            let root =
                schroot(&["--location", "--chroot", &format!("session:{}", self.name)]).await?;
            kill_own(Path::new(String::from_utf8_lossy(&root).trim())).await?;
            let ended = Cmd::new(SCHROOT)
                .args(["--quiet", "--end-session", "--chroot"])
                .arg(format!("session:{}", self.name))
                .total(LIMIT)
                .run(&CancellationToken::new())
                .await?;
            if !ended.ok() {
                problem = ended.describe();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        if all().await?.contains(&self.name) {
            bail!("the schroot session {} cannot be ended: {problem}", self.name);
        }
        Ok(())
    }
}

/// Ends every session of an earlier daemon of this state directory.
pub async fn end_all(state_dir: &Path) -> Result<()> {
    if !Path::new(SCHROOT).exists() {
        return Ok(());
    }
    for name in all().await?.into_iter().filter(|name| name.starts_with(&prefix(state_dir))) {
        SchrootSession { name }.end().await?;
    }
    Ok(())
}

/// Sessions belong to the whole machine, and there may be several daemons on it.
fn prefix(state_dir: &Path) -> String {
    let hash = Sha256::digest(state_dir.as_os_str().as_encoded_bytes());
    format!("invirtibuilder-{}-", invirtibuilder_core::text::hex(&hash[..4]))
}

/// Lists the names of all sessions on this machine.
async fn all() -> Result<Vec<String>> {
    let list = schroot(&["--list", "--all-sessions"]).await?;
    let list = String::from_utf8_lossy(&list);
    Ok(list.lines().filter_map(|line| line.strip_prefix("session:")).map(str::to_owned).collect())
}

/// Returns what schroot says to these arguments.
pub async fn schroot(args: &[&str]) -> Result<Vec<u8>> {
    let done = Cmd::new(SCHROOT).args(args).run(&CancellationToken::new()).await?;
    done.success().context("schroot cannot be asked")
}

/// Kills the processes of our own user whose root this is. They may make more of themselves
/// meanwhile.
async fn kill_own(root: &Path) -> Result<()> {
    // What has no directory has no processes, and nothing may be taken for the root of all of them.
    let Ok(root) = fs::canonicalize(root) else { return Ok(()) };
    if root == Path::new("/") {
        bail!("schroot says that the root of a session is /");
    }
    let start = Instant::now();
    loop {
        let pids = inside(&root)?;
        if pids.is_empty() || start.elapsed() > PATIENCE {
            return Ok(());
        }
        for pid in pids {
            // It may have ended meanwhile.
            let _ = kill(pid, Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn inside(root: &PathBuf) -> Result<Vec<Pid>> {
    processes::of_ours(|process| {
        fs::read_link(process.join("root")).is_ok_and(|there| there == *root)
    })
}

#[cfg(test)]
mod tests {
    use crate::executor::schroot::session::*;

    #[test]
    fn sessions_are_known_by_daemon_and_slot() {
        let (one, other) =
            (SchrootSession::of(Path::new("/a"), 1), SchrootSession::of(Path::new("/b"), 1));
        assert!(one.name().starts_with(&prefix(Path::new("/a"))) && one != other, "{one:?}");
        assert!(
            !SchrootSession::of(Path::new("/a"), 11).name().starts_with(&prefix(Path::new("/b")))
        );
        assert!(one.name().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{one:?}");
    }

    #[tokio::test]
    async fn the_root_of_all_is_nobodys_session() {
        assert!(kill_own(Path::new("/")).await.is_err());
        assert!(kill_own(Path::new("/proc/../")).await.is_err());
        kill_own(Path::new("/nonexistent/root")).await.unwrap();
        // schroot said nothing: an empty path is no directory.
        kill_own(Path::new("")).await.unwrap();
    }
}
