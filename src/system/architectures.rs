//! Finds for which architectures a source package is, by dpkg's own tables: names and wildcards
//! such as `any`, `linux-any` and `any-amd64` (Debian policy 11.1, dpkg-architecture(1)).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::subprocess::{CancellationToken, Cmd};
use invirtibuilder_core::config::Pocket;
use invirtibuilder_core::names::{Architecture, PocketName};

/// The directory that has dpkg's tables.
const DPKG: &str = "/usr/share/dpkg";

/// The binary packages that a build makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Binaries {
    /// The packages of its architecture.
    Own,
    /// The packages that are for all architectures.
    All,
    /// Both.
    Both,
}

/// The names that dpkg knows, each with its ABI, libc, operating system and processor. They are
/// only taken apart when a wildcard asks: most source packages have none.
#[derive(Debug)]
pub struct Table {
    cpus: String,
    tuples: String,
    known: OnceLock<DpkgTuples>,
}

type DpkgTuples = BTreeMap<String, [String; 4]>;

impl Table {
    /// Reads the table of this machine's dpkg.
    pub fn read() -> Result<Self> {
        Self::of(Path::new(DPKG))
    }

    fn of(dir: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Self { cpus: text("cputable")?, tuples: text("tupletable")?, known: OnceLock::new() })
    }

    fn known(&self) -> &DpkgTuples {
        self.known.get_or_init(|| Self::parse(&self.cpus, &self.tuples))
    }

    fn parse(cpus: &str, tuples: &str) -> DpkgTuples {
        let lines = |text: &'_ str| -> Vec<Vec<String>> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
        };
        let cpus: Vec<String> =
            lines(cpus).into_iter().filter_map(|words| words.into_iter().next()).collect();
        let mut known = BTreeMap::new();
        for words in lines(tuples) {
            let [tuple, name, ..] = &words[..] else { continue };
            let generic = tuple.contains("<cpu>");
            for cpu in cpus.iter().filter(|cpu| generic || *cpu == &cpus[0]) {
                let (tuple, name) = (tuple.replace("<cpu>", cpu), name.replace("<cpu>", cpu));
                if let Some(tuple) = parts(&tuple) {
                    // The first line that gives a name is the one that counts.
                    known.entry(name).or_insert(tuple);
                }
            }
        }
        known
    }

    /// Tells whether one of these words of a field `Architecture` means this architecture.
    pub fn covers<'a>(
        &self,
        words: impl IntoIterator<Item = &'a str>,
        architecture: &Architecture,
    ) -> bool {
        words.into_iter().any(|word| self.means(word, architecture.as_str()))
    }

    fn means(&self, word: &str, name: &str) -> bool {
        if word == name || word == "any" {
            return true;
        }
        if !word.contains('-') {
            // Another name is another architecture.
            return false;
        }
        let Some(real) = self.known().get(name) else { return false };
        let Some(wanted) = self.wanted(word) else { return false };
        real.iter().zip(&wanted).all(|(real, wanted)| wanted == "any" || real == wanted)
    }

    fn wanted(&self, word: &str) -> Option<[String; 4]> {
        let split: Vec<&str> = word.splitn(4, '-').collect();
        if !split.contains(&"any") {
            // An old way to write it.
            return self.known().get(word.strip_prefix("linux-").unwrap_or(word)).cloned();
        }
        // What is left out on the left may be anything; a lone word is "any" itself.
        let mut all: [String; 4] = std::array::from_fn(|_| "any".to_owned());
        for (place, part) in all[4 - split.len()..].iter_mut().zip(split) {
            part.clone_into(place);
        }
        Some(all)
    }
}

fn parts(tuple: &str) -> Option<[String; 4]> {
    let parts: Vec<String> = tuple.splitn(4, '-').map(str::to_owned).collect();
    parts.try_into().ok()
}

/// Lists the architectures that a pocket builds for: this machine's own, if it names none.
pub fn of_pocket(pocket: &Pocket) -> Vec<Architecture> {
    if pocket.architectures.is_empty() { vec![host()] } else { pocket.architectures.clone() }
}

/// Lists on which of a pocket's architectures a source package is built, and what is built there:
/// those that it names. The packages for all architectures are built with the first, or by
/// themselves if the source package names none of them. It is built on none, if it has nothing for
/// any of them.
pub fn to_build(
    table: &Table,
    words: &[&str],
    architectures: &[Architecture],
) -> Vec<(Architecture, Binaries)> {
    let named = architectures
        .iter()
        .filter(|architecture| table.covers(words.iter().copied(), architecture));
    let mut all: Vec<_> = named.map(|architecture| (architecture.clone(), Binaries::Own)).collect();
    if words.contains(&"all") {
        match (all.first_mut(), architectures.first()) {
            (Some((_, binaries)), _) => *binaries = Binaries::Both,
            // sbuild skips a package that names other architectures, unless it is told to leave
            // those out.
            (None, Some(first)) => {
                let binaries = if words == ["all"] { Binaries::Both } else { Binaries::All };
                all.push((first.clone(), binaries));
            }
            (None, None) => {}
        }
    }
    all
}

/// Says in a sentence why a source package cannot be built in a pocket at all.
pub fn nothing_for(pocket: &PocketName, words: &[&str], architectures: &[Architecture]) -> String {
    let ours: Vec<&str> = architectures.iter().map(Architecture::as_str).collect();
    format!(
        "its binary packages are for {}, and {pocket} builds for {}: submit it to a pocket that builds for one of those, or add one to \
         the pocket's architectures",
        words.join(", "),
        ours.join(", ")
    )
}

/// Says in a sentence on which of a pocket's architectures nothing is built, as the source package
/// names others; `None`: there is none. Packages for all architectures are there too.
pub fn left_out(table: &Table, words: &[&str], architectures: &[Architecture]) -> Option<String> {
    let is_left_out = |it: &&Architecture| !table.covers(words.iter().copied(), it);
    let left_out: Vec<&str> =
        architectures.iter().filter(is_left_out).map(Architecture::as_str).collect();
    (words != ["all"] && !left_out.is_empty()).then(|| {
        format!(
            "nothing is built for {}: its binary packages are for {}",
            left_out.join(", "),
            words.join(", ")
        )
    })
}

/// Returns the architecture that this program was compiled for. It is that of this machine's own
/// packages; `init --check` asks dpkg whether it is ([`dpkgs_own`]).
pub fn host() -> Architecture {
    HOST.parse().expect("it is Debian's name of an architecture")
}

/// Debian's name of the architecture that this program is compiled for (cputable and tupletable of
/// dpkg).
const HOST: &str = {
    let is_little = cfg!(target_endian = "little");
    if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) {
        "x32"
    } else if cfg!(target_arch = "x86_64") {
        "amd64"
    } else if cfg!(target_arch = "x86") {
        "i386"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else if cfg!(all(target_arch = "arm", target_abi = "eabihf")) {
        "armhf"
    } else if cfg!(target_arch = "arm") {
        "armel"
    } else if cfg!(target_arch = "powerpc64") {
        if is_little { "ppc64el" } else { "ppc64" }
    } else if cfg!(target_arch = "riscv64") {
        "riscv64"
    } else if cfg!(target_arch = "s390x") {
        "s390x"
    } else if cfg!(target_arch = "loongarch64") {
        "loong64"
    } else {
        panic!("name this architecture here as dpkg-architecture(1) lists it")
    }
};

/// Asks dpkg for the architecture of this machine's own packages.
pub async fn dpkgs_own() -> Result<Architecture> {
    let done = Cmd::new("dpkg").arg("--print-architecture").run(&CancellationToken::new()).await?;
    let name = String::from_utf8(done.success()?)?;
    Ok(name.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::architectures::*;

    fn named(names: &[&str]) -> Vec<Architecture> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn this_programs_architecture_is_dpkgs() {
        assert_eq!(host(), dpkgs_own().await.unwrap());
    }

    #[test]
    fn wildcards_mean_what_dpkg_says() {
        let table = Table::read().unwrap();
        let known = Command::new("dpkg-architecture").arg("-L").output().unwrap();
        let known = String::from_utf8(known.stdout).unwrap();
        let words = [
            "any",
            "linux-any",
            "any-amd64",
            "any-i386",
            "hurd-any",
            "gnu-any-any",
            "musl-linux-any",
            "any-arm64",
            "any-arm",
            "amd64",
            "linux-amd64",
            "kfreebsd-amd64",
            "armhf",
            "x32",
            "all",
            "any-any",
            "base-gnu-linux-any",
            "eabihf-any-any-any",
            "none-such",
        ];
        for name in [
            "amd64",
            "i386",
            "arm64",
            "armhf",
            "armel",
            "x32",
            "hurd-i386",
            "riscv64",
            "musl-linux-amd64",
            "kfreebsd-amd64",
        ] {
            assert!(known.lines().any(|line| line == name), "{name}");
            for word in words {
                let theirs = Command::new("dpkg-architecture")
                    .args(["-a", name, "-i", word])
                    .output()
                    .unwrap();
                assert_eq!(table.means(word, name), theirs.status.success(), "{word} for {name}");
            }
        }
    }

    #[test]
    fn what_is_named_is_built_and_what_is_for_all_once() {
        let table = Table::read().unwrap();
        let ours = named(&["amd64", "i386"]);
        let plan = |words: &[&str]| {
            let all = to_build(&table, words, &ours).into_iter();
            all.map(|(architecture, binaries)| format!("{architecture} {binaries:?}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        for (words, wanted) in [
            (&["any"][..], "amd64 Own, i386 Own"),
            (&["any", "all"], "amd64 Both, i386 Own"),
            (&["amd64"], "amd64 Own"),
            (&["i386", "all"], "i386 Both"),
            (&["all"], "amd64 Both"),
            (&["all", "arm64"], "amd64 All"),
            (&["arm64"], ""),
            (&["hurd-any"], ""),
            (&["any-i386"], "i386 Own"),
            (&[], ""),
        ] {
            assert_eq!(plan(words), wanted, "{words:?}");
        }
        let left_out = |words: &[&str]| left_out(&table, words, &ours).unwrap_or_default();
        for words in [&["any"][..], &["any", "all"], &["all"], &["amd64", "i386"]] {
            assert_eq!(left_out(words), "", "{words:?}");
        }
        assert_eq!(
            left_out(&["amd64", "all"]),
            "nothing is built for i386: its binary packages are for amd64, all"
        );
        let sentence = nothing_for(&"prod".parse().unwrap(), &["arm64"], &ours);
        assert!(sentence.contains("for arm64, and prod builds for amd64, i386"), "{sentence}");
    }
}
