//! What each fuzzer does with an input, and what has to hold whatever it is. `tests/corpus.rs`
//! replays every input that is kept.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

mod packages;

use invirtibuilder_access::{acl, ssh};
use invirtibuilder_archive as archive;
use invirtibuilder_builder::source;
use invirtibuilder_core::config::{self, AclEntry, Config};
use invirtibuilder_core::names::{PackageName, PocketName, Principal, Version};
use invirtibuilder_core::stanza;

/// An ACL file, and its lines as entries of the configuration. No program is run: none can be
/// named.
pub fn acl(input: &[u8]) {
    // Counted repetitions within each other take the C library's memory, as they take remctld's.
    if input.iter().filter(|&&c| c == b'{').count() > 2 {
        return;
    }
    // A directory of the machine has as many files as it has, and none of them is ours to read.
    let text = String::from_utf8_lossy(input);
    let words = text.split(|c: char| c.is_whitespace() || c == ':');
    if words.filter(|word| word.contains('/')).any(|word| Path::new(word).is_dir()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("acl");
    fs::write(&file, input).unwrap();
    let mut entries = vec![AclEntry::from(format!("file:{}", file.display()))];
    entries.extend(
        text.lines()
            .filter(|line| !line.contains("exec:"))
            .take(20)
            .map(|line| line.to_owned().into()),
    );
    let pocket: PocketName = "prod".parse().unwrap();
    let mut config = Config { state_dir: dir.path().to_owned(), ..Config::default() };
    for name in ["alice@EXAMPLE.ORG", "WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS"] {
        let who = Principal::from_authenticated(name).unwrap();
        for n in 0..entries.len() {
            config.build.pockets.entry(pocket.clone()).or_default().acl = entries[n..].to_vec();
            let explained = acl::explain(&config, &pocket, &who);
            assert_eq!(acl::authorize(&config, &pocket, &who).is_ok(), explained.admitted);
            // Whoever is admitted is so by an entry that matches.
            assert!(
                !explained.admitted || explained.steps.iter().any(|step| step.result == "match")
            );
            if n > 1 {
                break;
            }
        }
    }
    acl::show(&config, &pocket);
    acl::lint(&config);
}

/// `$SSH_ORIGINAL_COMMAND`: words that are quoted again are the same words.
pub fn ssh_command(input: &[u8]) {
    let Ok(words) = ssh::split(input) else { return };
    let quoted: Vec<Vec<u8>> = words
        .iter()
        .map(|word| {
            let inside = word
                .as_bytes()
                .iter()
                .flat_map(|&c| if c == b'\'' { b"'\\''".to_vec() } else { vec![c] });
            [&b"'"[..], &inside.collect::<Vec<u8>>(), b"'"].concat()
        })
        .collect();
    if let Ok(again) = ssh::split(&quoted.join(&b' ')) {
        assert_eq!(again, words);
    }
}

/// A configuration file: it is read or it has problems, each with a place.
pub fn config(input: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    fs::write(&file, input).unwrap();
    match config::load(&file) {
        Ok(config) => {
            config
                .build
                .pockets
                .keys()
                .for_each(|pocket| drop((config.suite(pocket), config.branch(pocket))));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(
                    problem.file.starts_with(dir.path()) && problem.line > 0 && problem.column > 0,
                    "{problem}"
                );
            }
        }
    }
}

/// `debian/changelog`: what is read of it is safe to name files and refs with.
pub fn changelog(input: &[u8]) {
    if let Ok(found) = source::first_entry(input) {
        assert!(!found.source.as_str().contains('/') && !found.version.as_str().contains('/'));
        assert!(found.version.cmp_dpkg(&found.version).is_eq());
    }
}

/// A binary package's control file, inside the package.
pub fn control(input: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.deb");
    fs::write(&file, input).unwrap();
    if let Ok((_, text)) = archive::control(Path::new(&file), &mut (256 << 20))
        && let Ok(kept) = stanza::Stanza::read(&text).unwrap().of_binary()
    {
        assert!(kept.len() <= text.len() + 1);
    }
}

/// A binary package, made as the input says, before dpkg and before us. Of what we admit dpkg reads
/// the same control file and the same fields, and it can list what is in it. An honest one is
/// admitted.
pub fn deb(input: &[u8]) {
    let mut choices = packages::Choices::of(input);
    let made = packages::package(&mut choices);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.deb");
    fs::write(&file, &made).unwrap();
    let ours = archive::control(&file, &mut (256 << 20)).and_then(|(fields, text)| {
        let kept = stanza::Stanza::read(&text)?.of_binary()?;
        // As whoever admits it.
        let field = |name: &str| fields.get(name).unwrap_or_default();
        let _name: PackageName = field("Package").parse()?;
        let _version: Version = field("Version").parse()?;
        anyhow::ensure!(["all", "amd64"].contains(&field("Architecture")), "another architecture");
        Ok((fields, text, kept))
    });
    let (fields, text, kept) = match ours {
        Ok(ours) => ours,
        Err(why) => {
            assert!(!choices.honest, "an honest package is refused: {why:#}");
            return;
        }
    };
    let dpkg = |args: &[&str]| {
        let done = Command::new("dpkg-deb")
            .arg(args[0])
            .arg(&file)
            .args(&args[1..])
            .env("TMPDIR", dir.path())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            done.status.success(),
            "dpkg-deb {} does not read what we admit: {said}\n{text}",
            args[0]
        );
        (done.stdout, said)
    };
    assert_eq!(
        String::from_utf8_lossy(&dpkg(&["--field"]).0),
        text,
        "dpkg-deb finds another control file"
    );
    dpkg(&["--info"]);
    if choices.data_is_whole {
        dpkg(&["--contents"]);
    }
    let names: BTreeSet<&str> = kept
        .lines()
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| Some(line.split_once(':')?.0))
        .collect();
    for name in names.into_iter().chain(["Package", "Source"]) {
        let theirs = String::from_utf8(dpkg(&["--field", name]).0).unwrap();
        assert_eq!(words(fields.get(name).unwrap_or_default()), words(&theirs), "{name}: {text}");
    }
}

/// What a field says: dpkg writes the space between words as it likes.
fn words(value: &str) -> String {
    value.chars().filter(|c| !c.is_whitespace()).collect()
}
