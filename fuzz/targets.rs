//! What each fuzzer does with an input, and what has to hold whatever it is. `tests/corpus.rs` replays every input that is
//! kept.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use invirtibuilder::acl;
use invirtibuilder::config::{self, AclEntry, Config};
use invirtibuilder::names::{PocketName, Principal};
use invirtibuilder::{archive, source, ssh, stanza};

/// An ACL file, and its lines as entries of the configuration. No program is run: none can be named.
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
    entries.extend(text.lines().filter(|line| !line.contains("exec:")).take(20).map(|line| line.to_owned().into()));
    let pocket: PocketName = "prod".parse().unwrap();
    let mut config = Config { state_dir: dir.path().to_owned(), ..Config::default() };
    for name in ["alice@EXAMPLE.ORG", "WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS"] {
        let who = Principal::from_authenticated(name).unwrap();
        for n in 0..entries.len() {
            config.build.pockets.entry(pocket.clone()).or_default().acl = entries[n..].to_vec();
            let explained = acl::explain(&config, &pocket, &who);
            assert_eq!(acl::authorize(&config, &pocket, &who).is_ok(), explained.admitted);
            // Whoever is admitted is so by an entry that matches.
            assert!(!explained.admitted || explained.steps.iter().any(|step| step.result == "match"));
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
            let inside = word.as_bytes().iter().flat_map(|&c| if c == b'\'' { b"'\\''".to_vec() } else { vec![c] });
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
            config.build.pockets.keys().for_each(|pocket| drop((config.suite(pocket), config.branch(pocket))));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(problem.file.starts_with(dir.path()) && problem.line > 0 && problem.column > 0, "{problem}");
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
