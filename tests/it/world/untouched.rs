//! What an attack could have changed outside of its build: files, processes, ports, mounts, kernel
//! settings, chroots, keyrings.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::{STATE, World, run};

/// The machine as it was at one time, by kind of thing.
#[derive(Debug, PartialEq, Eq)]
pub struct Machine(BTreeMap<&'static str, String>);

impl Machine {
    /// Looks. The service's own directories are not among it, but for the chroots: `verify` knows
    /// what has to be there.
    pub fn now() -> Self {
        let sh = |script: &str| run("sh", &["-c", script]);
        let mut all = BTreeMap::new();
        // Whatever was ever written in the world is in the upper layers. A time of change cannot be
        // forged.
        // Slurm writes down each of its jobs.
        let slurm = "-path '*/upper/lib/slurm' -o -path '*/upper/log/slurm' -o -path '*/upper/spool/slurmd'";
        let files = format!(
            "find /run/world/overlay/*/upper \\( {slurm} \\) -prune -o \\( -type d -printf '%p %m %U\\n' \\) -o -printf '%p %y %m %U %s %C@ %l\\n' | sort; \
                     find /run /dev/shm /tmp -maxdepth 1 -printf '%p\\n' | grep -vE '^/(tmp|dev/shm)/[.]tmp' | sort"
        );
        all.insert("files", sh(&files));
        all.insert(
            "state",
            sh(&format!(
                "ls -A -I layers -I wanted -I followers -I 'ready-*' {STATE} /srv /srv/apt /srv/git {STATE}/work"
            )),
        );
        all.insert("chroots", chroots());
        // Machines start from none.
        let look = "find . -printf '%p %y %m %U %s %C@ %l\\n' | sort | sha256sum";
        let roots = format!("if test -e {STATE}/roots; then cd {STATE}/roots && {look}; fi");
        all.insert("unpacked chroots", sh(&roots));
        all.insert("processes", processes());
        all.insert(
            "ports",
            sh("ss -H -lntup | grep users: | sed 's/  */ /g; s/fd=[0-9]*//' | sort"),
        );
        all.insert("mounts", sh("cut -d' ' -f4- /proc/self/mountinfo | sort"));
        let settings = "cat /proc/sys/kernel/hostname /proc/sys/kernel/core_pattern /proc/sys/kernel/panic /proc/sys/vm/swappiness \
                        /proc/sys/kernel/modprobe; date +%Z";
        all.insert("settings", sh(settings));
        all.insert("keys", sh("grep -c canary /proc/keys || true"));
        Self(all)
    }

    /// It is as it was; what builds leave running has a moment to end.
    #[track_caller]
    pub fn is_untouched(&self) {
        let mut now = Self::now();
        for _ in 0..10 {
            if now == *self {
                return;
            }
            std::thread::sleep(Duration::from_millis(500));
            now = Self::now();
        }
        let mut changes = String::new();
        for (kind, before) in &self.0 {
            let after = &now.0[kind];
            let lacks = |text: &str, line: &str| !text.lines().any(|other| other == line);
            let gone = before
                .lines()
                .filter(|line| lacks(after, line))
                .map(|line| format!("{kind}: - {line}\n"));
            let new = after
                .lines()
                .filter(|line| lacks(before, line))
                .map(|line| format!("{kind}: + {line}\n"));
            changes.extend(gone.chain(new));
            if before != after && changes.is_empty() {
                changes = format!("{kind}: in another order or number\n{after}");
            }
        }
        // It may have come to rest by the last look.
        assert!(changes.is_empty(), "the machine has changed:\n{changes}");
    }
}

/// Every byte, owner, mode and time in the directory of chroots.
fn chroots() -> String {
    let script = format!(
        "cd {STATE}/chroots && find . \\( -name '*.lock' \\) -o -printf '%p %y %m %U %s %T@ %l\\n' | sort | sha256sum && \
         find . -maxdepth 1 -name 'bookworm-amd64*' -not -name '*.lock' | sort | xargs tar --numeric-owner --sort=name -cf - | sha256sum"
    );
    run("sh", &["-c", &script])
}

/// Command lines of the world, but for our own and those that come and go.
fn processes() -> String {
    let mut lines = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if !line.is_empty() {
            lines.push(line);
        }
    }
    lines.sort();
    lines.join("\n")
}

impl World {
    /// Record, Git and archive agree, down to every byte of the pool.
    #[track_caller]
    pub fn agrees(&self) {
        self.local(&["verify", "--deep"]).ok();
    }
}
