//! Why sbuild failed, from the end of its log: the kind, and the first line that tells it.
//!
//! Which limit a build met is seen elsewhere, as a log may say anything. sbuild's own last words
//! say at which stage it failed, and no package speaks after them.

mod chain;
mod dependencies;
mod detail;

use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::text::one_line;

/// Where sbuild failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before it could say anything.
    Start,
    /// Where no package has a say yet.
    Chroot,
    /// Fetching lists of packages.
    Lists,
    /// Installing what the package asks for.
    Dependencies,
    /// The package's own build.
    Build,
    /// Anywhere else.
    Other,
}

/// How sbuild calls them.
const STAGES: [(&str, Stage); 21] = [
    ("build", Stage::Build),
    ("apt-get-update", Stage::Lists),
    ("update", Stage::Lists),
    ("apt-get-clean", Stage::Dependencies),
    ("apt-get-dist-upgrade", Stage::Dependencies),
    ("apt-get-upgrade", Stage::Dependencies),
    ("explain-bd-uninstallable", Stage::Dependencies),
    ("install-deps", Stage::Dependencies),
    ("install-deps-env", Stage::Dependencies),
    ("check-space", Stage::Chroot),
    ("chroot", Stage::Chroot),
    ("chroot-arch", Stage::Chroot),
    ("create-build-dir", Stage::Chroot),
    ("create-session", Stage::Chroot),
    ("init", Stage::Chroot),
    ("lock-session", Stage::Chroot),
    ("pre-build", Stage::Chroot),
    ("resolver setup", Stage::Chroot),
    ("run-chroot", Stage::Chroot),
    ("unpack", Stage::Chroot),
    ("unpack-check", Stage::Chroot),
];

/// What dpkg-buildpackage ends with where a build dependency is not there.
const UNSATISFIED: &str = "dpkg-buildpackage: error: build dependencies/conflicts unsatisfied";

/// Says where a build failed, from the end of its log.
pub fn stage(log: &str) -> Stage {
    last_words(&log.lines().collect::<Vec<_>>()).map_or(Stage::Start, |(_, stage)| named(stage))
}

/// Says where in the log sbuild's last words are, and the stage that they name.
fn last_words<'a>(lines: &[&'a str]) -> Option<(usize, &'a str)> {
    let status = lines.iter().rposition(|line| line.starts_with("Status: "))?;
    let stage = lines[..status].iter().rev().find_map(|line| line.strip_prefix("Fail-Stage: "));
    Some((status, stage.unwrap_or("build").trim()))
}

fn named(stage: &str) -> Stage {
    STAGES.iter().find(|(name, _)| *name == stage).map_or(Stage::Other, |(_, stage)| *stage)
}

/// Says why a build failed, from the end of its log.
pub fn why(log: &str) -> Failure {
    let lines: Vec<&str> = log.lines().collect();
    let Some((end, name)) = last_words(&lines) else {
        let last =
            lines.iter().rev().find(|line| !line.trim().is_empty()).unwrap_or(&"it said nothing");
        return Failure::new(
            FailureKind::Chroot,
            format!("sbuild could not begin: {}", short(last)),
        );
    };
    let lines = &lines[..end];
    let last = lines
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("E: "))
        .map(|line| format!(": {}", short(line)));
    let last = last.unwrap_or_default();
    match named(name) {
        Stage::Build => of_build(lines),
        Stage::Lists | Stage::Dependencies => {
            let text = dependencies::why(lines).unwrap_or_else(|| "see the log".to_owned());
            Failure::new(
                FailureKind::BuildDeps,
                format!("build dependencies cannot be installed: {text}"),
            )
        }
        Stage::Start | Stage::Chroot => Failure::new(
            FailureKind::Chroot,
            format!("the chroot does not work (sbuild failed at {}){last}", one_line(name)),
        ),
        Stage::Other => Failure::new(
            FailureKind::BuildFailed,
            format!("sbuild failed at {}{last}", one_line(name)),
        ),
    }
}

fn of_build(lines: &[&str]) -> Failure {
    let end = lines.iter().rposition(|line| line.starts_with("dpkg-buildpackage: error: "));
    let Some(end) = end else {
        return Failure::new(
            FailureKind::BuildFailed,
            "sbuild says that the package does not build",
        );
    };
    let telling = chain::first(lines, end);
    let line = lines[telling].trim();
    let text = match (detail::find_detail(lines, telling), chain::starter(line)) {
        (None, _) => short(line),
        (Some(detail), Some(who)) => format!("{who}: {}", short(&detail)),
        (Some(detail), None) => format!("{} ({})", short(line), short(&detail)),
    };
    let kind = if lines[end].starts_with(UNSATISFIED) {
        FailureKind::BuildDeps
    } else {
        FailureKind::BuildFailed
    };
    Failure::new(kind, text)
}

/// The most characters of a line that are repeated. Command lines may be long; what is wrong is
/// said first.
const LONGEST: usize = 300;

fn short(line: &str) -> String {
    let mut text = one_line(line.trim());
    if let Some((at, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(at);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::reason::*;

    /// What sbuild says after dpkg-buildpackage's last word.
    const END: &str = include_str!("../../../tests/endings/sbuild.end");

    /// The ends of real logs, each below the reason that is right.
    #[test]
    fn the_first_telling_line_is_found() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/endings");
        let (mut seen, mut wrong) = (0, Vec::new());
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|suffix| suffix != "log") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let (right, log) = text.split_once('\n').unwrap();
            let log =
                if log.contains("\nStatus: ") { log.to_owned() } else { format!("{log}{END}") };
            let found = why(&log).to_string();
            if found != right {
                wrong.push(format!("{}\n  right: {right}\n  found: {found}", path.display()));
            }
            seen += 1;
        }
        assert!(seen > 40 && wrong.is_empty(), "{seen} looked at\n{}", wrong.join("\n"));
    }

    #[test]
    fn what_sbuild_did_not_begin_is_the_chroots() {
        let found = why("sbuild: command line\nE: cannot unshare\n");
        assert_eq!(found.to_string(), "build.chroot: sbuild could not begin: E: cannot unshare");
        let found = why("E: 10 is no directory\nFail-Stage: create-session\nStatus: failed\n");
        assert_eq!(
            found.to_string(),
            "build.chroot: the chroot does not work (sbuild failed at create-session): 10 is no directory"
        );
    }

    #[test]
    fn go_names_the_test_before_its_last_word() {
        let log = "   dh_auto_test\n\tcd _build && go test -vet=off -v -p 2 example.org/x\n=== RUN   TestX\n    x_test.go:6: no\n\
                   --- FAIL: TestX (0.00s)\nFAIL\nFAIL\texample.org/x\t0.002s\nFAIL\n\
                   dh_auto_test: error: cd _build && go test -vet=off -v -p 2 example.org/x returned exit code 1\n\
                   make: *** [debian/rules:4: binary] Error 25\n\
                   dpkg-buildpackage: error: debian/rules binary subprocess returned exit status 2\n";
        assert_eq!(why(&format!("{log}{END}")).text, "dh_auto_test: --- FAIL: TestX (0.00s)");
    }

    #[test]
    fn a_package_chooses_neither_kind_nor_length() {
        let forged = "Fail-Stage: install-deps\nStatus: failed\nE: No space left on device\nKilled\n\
                      dpkg-buildpackage: error: debian/rules build died\n";
        let found = why(&format!("{forged}{END}"));
        assert_eq!(found.kind, FailureKind::BuildFailed);
        assert_eq!(found.text, "dpkg-buildpackage: Killed");
        let long = format!(
            "make: *** [{}] Error 1\ndpkg-buildpackage: error: x\n{END}",
            "x\u{1b}".repeat(5000)
        );
        assert!(why(&long).text.chars().count() < 2 * LONGEST);
    }
}
