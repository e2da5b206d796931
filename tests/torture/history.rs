//! Packages with long histories: every commit is a version of its own, and now and then two commits
//! have one version.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::service::{as_service, run};

/// How builds of a package go; `script/lib/sbuild-stub` reads the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Most succeed at once, some at the second or third try.
    Mixed,
    /// All succeed.
    Good,
    /// None succeeds.
    Broken,
    /// Each takes some seconds, in which it can be cancelled.
    Slow,
}

/// One version: its commit, and for some another commit with the same version.
#[derive(Debug, Clone)]
pub struct Release {
    /// The commit on `main`.
    pub commit: String,
    /// A commit with the same version and other contents.
    pub rival: Option<String>,
}

/// A package and its releases.
pub struct History {
    /// The package.
    pub package: &'static str,
    /// How its builds go.
    pub manner: Manner,
    /// Its releases, the oldest first; release `n` is version `1.n`.
    pub releases: Vec<Release>,
    /// The first that was not submitted yet.
    pub next: usize,
}

/// Releases that are made at a time.
const BATCH: usize = 40;

impl History {
    /// A new package, made by alice through remctl.
    pub fn new(package: &'static str, manner: Manner) -> Result<Self> {
        run(Command::new("as").args(["alice", "build", "create-repo", package]))?;
        Ok(Self { package, manner, releases: Vec::new(), next: 0 })
    }

    /// The next release that was not taken yet.
    pub fn take(&mut self, random: &mut fastrand::Rng) -> Result<Release> {
        if self.next == self.releases.len() {
            self.extend(random)?;
        }
        self.next += 1;
        Ok(self.releases[self.next - 1].clone())
    }

    /// Adds releases with one `git fast-import`.
    fn extend(&mut self, random: &mut fastrand::Rng) -> Result<()> {
        let first = self.releases.len();
        let mut stream = String::new();
        let mut order = Vec::new();
        for n in first..first + BATCH {
            let word = match self.manner {
                Manner::Mixed if random.u8(..8) == 0 => "flaky",
                Manner::Mixed | Manner::Good => "works",
                Manner::Broken => "broken",
                Manner::Slow => "slow",
            };
            let parent = if n == 0 { String::new() } else { "from refs/heads/main^0\n".to_owned() };
            // The rival first: main's head is still the parent of both.
            if n > 0 && random.u8(..5) == 0 {
                let from = if n == first {
                    parent.clone()
                } else {
                    format!("from :{}\n", 2 * (n - 1) + 1)
                };
                stream += &self.commit(n, Some("rival"), "works", &from);
                order.push((n, true));
            }
            let parent = if n == first { parent } else { format!("from :{}\n", 2 * (n - 1) + 1) };
            stream += &self.commit(n, None, word, &parent);
            order.push((n, false));
        }
        // Tags of people's, which are right, wrong, or in the way of ours.
        for n in first..first + BATCH {
            let (name, mark) = match random.u8(..6) {
                0 => (format!("1.{n}"), n),
                1 | 2 => (format!("1.{n}"), first + random.usize(..BATCH)),
                3 => (format!("1.{n}/x"), n),
                _ => continue,
            };
            let _ = write!(stream, "reset refs/tags/{name}\nfrom :{}\n\n", 2 * mark + 1);
        }
        for (n, rival) in &order {
            let _ = writeln!(stream, "get-mark :{}", if *rival { 2 * n + 2 } else { 2 * n + 1 });
        }
        let ids = self.import(&stream)?;
        for ((n, rival), id) in order.into_iter().zip(ids) {
            if self.releases.len() <= n {
                self.releases.push(Release { commit: String::new(), rival: None });
            }
            if rival {
                self.releases[n].rival = Some(id);
            } else {
                self.releases[n].commit = id;
            }
        }
        Ok(())
    }

    /// The commit of release `n` on `main`, or of its rival on a branch of its own.
    fn commit(&self, n: usize, rival: Option<&str>, word: &str, from: &str) -> String {
        let name = self.package;
        let (branch, mark) = match rival {
            Some(rival) => (format!("{rival}-{n}"), 2 * n + 2),
            None => ("main".to_owned(), 2 * n + 1),
        };
        let files = [
            ("debian/changelog", changelog(name, &format!("1.{n}"))),
            ("debian/source/format", "3.0 (native)\n".to_owned()),
            ("debian/control", control(name)),
            ("debian/rules", "#!/usr/bin/make -f\n%:\n\tfalse\n".to_owned()),
            ("debian/torture", format!("{word}\n")),
            ("branch", format!("{branch}\n")),
        ];
        let mut text = format!("commit refs/heads/{branch}\nmark :{mark}\n");
        let time = 1_700_000_000 + n;
        let _ = writeln!(
            text,
            "committer A Developer <a@example.org> {time} +0000\ndata 2\nc\n{from}deleteall"
        );
        for (path, content) in files {
            let mode = if path == "debian/rules" { "100755" } else { "100644" };
            let _ = writeln!(text, "M {mode} inline {path}\ndata {}\n{content}", content.len());
        }
        text
    }

    fn import(&self, stream: &str) -> Result<Vec<String>> {
        let mut child = as_service("git")
            .args([
                "-C",
                &format!("/srv/git/packages/{}.git", self.package),
                "fast-import",
                "--quiet",
            ])
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().expect("it was asked for");
        // The answers fit into the pipe.
        stdin.write_all(stream.as_bytes())?;
        drop(stdin);
        let done = child.wait_with_output()?;
        if !done.status.success() {
            bail!("git fast-import ended with {}", done.status);
        }
        Ok(String::from_utf8(done.stdout)?.lines().map(str::to_owned).collect())
    }
}

fn changelog(source: &str, version: &str) -> String {
    format!(
        "{source} ({version}) unstable; urgency=medium\n\n  * A change.\n\n \
         -- Alice <alice@example.org>  Mon, 06 Jan 2025 12:00:00 +0000\n"
    )
}

fn control(name: &str) -> String {
    format!(
        "Source: {name}\nSection: misc\nPriority: optional\nMaintainer: Alice <alice@example.org>\n\
         Standards-Version: 4.6.2\nRules-Requires-Root: no\n\nPackage: {name}\nArchitecture: all\n\
         Description: small package\n It is there to be published.\n"
    )
}
