//! The program uses Debian's PCRE2 for everything, and libgit2's copy for nothing: see `build.rs`.

#![allow(unused_crate_dependencies, reason = "the test looks at the program that has them")]

use std::process::Command;

/// Each program has this test; cargo tells it where that one is.
const PROGRAM: &str = match (
    option_env!("CARGO_BIN_EXE_invirt-build"),
    option_env!("CARGO_BIN_EXE_invirtibuilderd"),
    option_env!("CARGO_BIN_EXE_invirtibuilder-api"),
) {
    (Some(path), ..) | (_, Some(path), _) | (.., Some(path)) => path,
    (None, None, None) => panic!("this is a test of a program"),
};

/// The symbols of PCRE2, each with nm(1)'s letter for where it is defined: `U` if nowhere.
fn symbols(options: &[&str]) -> Vec<(String, String)> {
    let nm = Command::new("nm").args(options).arg(PROGRAM).output().unwrap();
    assert!(nm.status.success(), "{}", String::from_utf8_lossy(&nm.stderr));
    let text = String::from_utf8(nm.stdout).unwrap();
    let lines = text.lines().filter(|line| line.contains("pcre2_"));
    let lines = lines.map(|line| line.split_whitespace().rev());
    let pairs = lines.map(|mut words| (words.next().unwrap(), words.next().unwrap()));
    pairs.map(|(name, letter)| (name.to_owned(), letter.to_owned())).collect()
}

#[test]
fn one_pcre2_is_linked_and_it_is_the_shared_library() {
    let shared = symbols(&["--dynamic"]);
    for needed in ["pcre2_compile_8", "pcre2_match_8"] {
        let letter = shared.iter().find(|(name, _)| name == needed).map(|(_, letter)| &letter[..]);
        assert_eq!(letter, Some("U"), "{needed}: {shared:?}");
    }
    // Rust's own names end in a hash and are no functions of the library.
    let own: Vec<_> = symbols(&[])
        .into_iter()
        .filter(|(name, letter)| {
            letter != "U" && name.starts_with("pcre2_") && name.ends_with("_8")
        })
        .collect();
    assert_eq!(own, []);
}
