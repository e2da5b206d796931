//! A pocket that moves between two domains while no daemon runs, by a command that is killed over it.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use invirtibuilder_core::failpoint::Point;

/// Where the command dies, one after the other.
const DEATHS: [Point; 11] = {
    use Point::*;
    [
        SuiteWritten,
        PublishPrepared,
        PublishUncommitted,
        PublishCommitted,
        MoveSuite,
        SuiteStateNamed,
        SuiteLinked,
        SuiteFlipped,
        SuiteUnlinked,
        MovedSuite,
        MovesUnrecorded,
    ]
};

/// The pocket that moves.
pub const ROAM: &str = "roam";

/// What has become of it.
#[derive(Debug)]
pub struct Wanderer {
    domain: &'static str,
    turn: usize,
    /// Moves that were made.
    pub moves: usize,
    /// Moves that what the other domain has did not allow.
    pub refused: usize,
}

impl Wanderer {
    /// It is in main at first.
    pub fn new() -> Result<Self> {
        let wanderer = Self { domain: "main", turn: 0, moves: 0, refused: 0 };
        wanderer.configure(wanderer.domain).map(|()| wanderer)
    }

    fn configure(&self, domain: &str) -> Result<()> {
        let text = format!(
            "build: {{ pockets: {{ {ROAM}: {{ domain: {domain}, acl: [ 'princ:alice@EXAMPLE.ORG', 'princ:carol@EXAMPLE.ORG' ], \
             distro: bookworm, architectures: [amd64], allow_backtracking: true }} }} }}\n"
        );
        Ok(fs::write("/etc/invirtibuilder/conf.d/roam.yaml", text)?)
    }

    /// Moves it to the other domain, with no daemon and no open job. Returns where it was killed.
    pub fn wander(&mut self) -> Result<Option<Point>> {
        let to = if self.domain == "main" { "lab" } else { "main" };
        self.configure(to)?;
        let point = DEATHS[self.turn % DEATHS.len()];
        self.turn += 1;
        let (first, said) = relocate(to, Some(point))?;
        // Killed by a signal, it has no exit code.
        let killed = first.is_none().then_some(point);
        let (code, again) = if killed.is_some() { relocate(to, None)? } else { (first, said) };
        match code {
            Some(0) => {}
            // It was committed before it died: the next daemon does the rest.
            Some(65) if again.contains("is in domain") => {}
            Some(65 | 69) => {
                ensure!(killed.is_none() || again.contains("cannot come into"), "{again}");
                self.refused += 1;
                self.configure(self.domain)?;
                return Ok(killed);
            }
            code => anyhow::bail!("archive move {ROAM} {to} got exit {code:?}: {again}"),
        }
        self.domain = to;
        self.moves += 1;
        Ok(killed)
    }
}

/// Runs the command; its exit code, and what it said.
fn relocate(to: &str, death: Option<Point>) -> Result<(Option<i32>, String)> {
    let failpoints = death.map_or(String::new(), |point| format!("{}=return(kill)", point.name()));
    let done = Command::new("invirt-build")
        .args(["archive", "move", ROAM, to])
        .env("FAILPOINTS", failpoints)
        .env_remove("REMOTE_USER")
        .stdin(Stdio::null())
        .output()?;
    Ok((done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned()))
}
