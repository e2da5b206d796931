//! One attack a file, in tests/hostile/attacks: a repository that is hostile itself, or what a
//! build of it returns or says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

use super::Range;
use crate::world::{Answer, BUILD, Machine, Tiny, World, eventually, processes};

/// What is to become of an attack, as its file says.
struct Attack {
    name: String,
    path: PathBuf,
    /// How it ends: `push`, `refused`, a failure's kind or the beginning of one, `published`.
    end: String,
    /// What is said then.
    words: String,
    /// Shell commands that have to succeed afterwards, outside.
    checks: Vec<String>,
    /// Whether it is about a real build; the others are built by `script/lib/sbuild-stub`, which
    /// returns what they like.
    really: bool,
    /// Whether it is about what it costs the daemon to look at it.
    heavy: bool,
}

impl Attack {
    fn read(path: PathBuf) -> Self {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let head: Vec<&str> = text
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with("# "))
            .map(|line| &line[2..])
            .collect();
        assert!(head.len() >= 2 && head[0].ends_with('.'), "{name} does not say what it tries");
        let value = |key: &str| {
            head.iter()
                .filter_map(|line| line.strip_prefix(key))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let expect =
            value("expect: ").pop().unwrap_or_else(|| panic!("{name} does not say how it ends"));
        let (end, words) = expect.split_once(' ').unwrap_or((&expect, ""));
        let (end, words) = (end.to_owned(), words.to_owned());
        let is = |word: &str| head.contains(&word);
        Self {
            name,
            path,
            end,
            words,
            checks: value("check: "),
            really: is("really"),
            heavy: is("heavy"),
        }
    }

    fn all() -> Vec<Self> {
        let only = std::env::var("IB_ATTACK").ok();
        let mut all: Vec<Self> =
            fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/hostile/attacks"))
                .unwrap()
                .map(|entry| Self::read(entry.unwrap().path()))
                .filter(|attack| {
                    only.as_ref().is_none_or(|only| attack.name.contains(only.as_str()))
                })
                .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Makes the repository, and submits it as far as it gets; the job if there is one.
    fn begin(&self, world: &World) -> Option<String> {
        let repo = world.repo(&self.name);
        repo.tiny("1.0", Tiny::Works);
        let attacks = self.path.parent().unwrap();
        let made = Command::new("sh")
            .args(["-eu", self.path.to_str().unwrap(), &self.name])
            .current_dir(&repo.dir)
            .env("ATTACKS", attacks)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&made.stderr));
        let commit = fs::read_to_string(repo.dir.join(".git/attack")).map_or_else(
            |_| {
                repo.git(&["add", "-A"]);
                repo.git(&["commit", "-q", "--allow-empty", "-m", "an attack"]);
                repo.git(&["rev-parse", "HEAD"])
            },
            |commit| commit.trim().to_owned(),
        );
        let lines =
            |file: &str| fs::read_to_string(repo.dir.join(".git").join(file)).unwrap_or_default();
        let refs = lines("push");
        let main = format!("{commit}:refs/heads/main");
        if self.end == "push" && !refs.is_empty() {
            // Its objects are there already: it is the name that is refused.
            repo.push("origin", &[&main]).ok();
            for refspec in refs.lines() {
                let pushed = repo.push("origin", &[refspec]);
                assert!(
                    pushed.code != 0 && pushed.err.contains(&self.words),
                    "{}: {refspec}: {}",
                    self.name,
                    pushed.err
                );
                plain(&self.name, &pushed);
            }
            return None;
        }
        for refspec in refs.lines() {
            repo.push("origin", &[refspec]).ok();
        }
        let pushed = repo.push("origin", &[&main]);
        assert_eq!(
            pushed.code != 0,
            self.end == "push",
            "{}: {}{}",
            self.name,
            pushed.out,
            pushed.err
        );
        if self.end == "push" {
            return None;
        }
        let word = lines("submit");
        let what = if word.is_empty() { &commit } else { word.trim() };
        let answer = world.build("alice", &["--json", "submit", "prod", &self.name, what]);
        plain(&self.name, &answer);
        if self.end == "refused" {
            let answer = answer.refused(65, &[&self.words]);
            assert!(!answer.err.contains("root:"), "{}: {}", self.name, answer.err);
            return None;
        }
        Some(answer.ok().json()["job"].to_string())
    }

    /// It ended as its file says, and says so in words that harm nobody who reads them.
    fn ended(&self, world: &World, job: &str) -> anyhow::Result<()> {
        let status = world.status(job);
        let log = world.build("alice", &["log", job]);
        plain(&self.name, &world.build("alice", &["status", job]));
        plain(&self.name, &log);
        let end = match status["job"]["state"].as_str().unwrap() {
            "failed" => status["job"]["failure"].as_str().unwrap(),
            state => state,
        };
        let text = status["job"]["reason"].as_str().unwrap_or_default();
        let right = end.starts_with(&self.end)
            && text.contains(&self.words)
            && !text.chars().any(char::is_control);
        ensure!(right, "{} ended as {end}: {text:?}\n{}", self.name, tail(&log.out));
        for check in &self.checks {
            let pool = format!("/srv/apt/pool/main/{}/{}", &self.name[..1], self.name);
            let done = Answer::of(
                Command::new("bash").args(["-o", "pipefail", "-c", check]).env("POOL", pool),
            );
            ensure!(done.code == 0, "{}: {check}: {}{}", self.name, done.out, done.err);
        }
        Ok(())
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// Nothing in an answer moves a reader's cursor.
fn plain(name: &str, answer: &Answer) {
    for text in [&answer.out, &answer.err] {
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'),
            "{name}: {text:?}"
        );
        assert!(!text.contains('\u{202e}'), "{name}: {text:?}");
    }
}

fn carry_out(range: &Range, attacks: &[Attack]) {
    let jobs: Vec<_> =
        attacks.iter().filter_map(|attack| Some((attack, attack.begin(&range.world)?))).collect();
    let mut wrong = Vec::new();
    for (attack, job) in &jobs {
        eventually(&format!("{} has ended", attack.name), BUILD * 2, || {
            ["failed", "published"].contains(&&range.world.state(job)[..])
        });
        wrong.extend(attack.ended(&range.world, job).err().map(|error| format!("{error:#}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    for left in ["planted", "sleep 636"] {
        assert_eq!(processes(left), Vec::<String>::new());
    }
    for place in ["/srv", "/tmp", "/etc", "/var/lib/invirtibuilder", "/srv/apt", "/run"] {
        assert!(!Path::new(place).join("planted").exists(), "{place}/planted");
    }
    eventually("the work of the attacks is removed", BUILD, || {
        fs::read_dir("/var/lib/invirtibuilder/work").unwrap().flatten().count() == 0
    });
}

#[test]
fn no_repository_and_no_result_of_a_build_does_harm() {
    let mut range = Range::new();
    let attacks = Attack::all();
    assert!(attacks.len() > 1 || std::env::var_os("IB_ATTACK").is_some());
    let daemon = range.daemon();
    range.honest_build();
    let before = Machine::now();
    let (real, made_up): (Vec<Attack>, Vec<Attack>) =
        attacks.into_iter().partition(|attack| attack.really);
    carry_out(&range, &real);
    range.world.stub_sbuild();
    let (heavy, light): (Vec<Attack>, Vec<Attack>) =
        made_up.into_iter().partition(|attack| attack.heavy);
    carry_out(&range, &light);
    // All of it together, so that what several cost at once counts.
    let rest = daemon.memory("VmRSS");
    daemon.forget_peak();
    carry_out(&range, &heavy);
    let peak = daemon.memory("VmHWM");
    println!("the daemon has {rest} KiB at rest, and {peak} KiB at its peak");
    assert!(peak < rest + (128 << 10), "the daemon went from {rest} KiB to {peak} KiB");
    range.world.unstub_sbuild();
    range.honest_build();
    before.is_untouched();
    range.world.agrees();
    drop(daemon);
}
