//! The program has nothing that would let it decide: no database, no Git, no Kerberos.

#![allow(unused_crate_dependencies, reason = "the test looks at the program that has them")]

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_invirtibuilder-web");

fn said_by(program: &str, args: &[&str]) -> String {
    let done = Command::new(program).args(args).arg(PROGRAM).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn neither_a_database_nor_git_nor_kerberos_is_linked() {
    let symbols = said_by("nm", &[]);
    assert!(symbols.contains("invirtibuilder_web"), "nm sees no symbols of the program");
    let names: Vec<&str> =
        symbols.lines().filter_map(|line| line.split_whitespace().next_back()).collect();
    for library in ["sqlite3_", "git_libgit2", "git_repository_", "gss_", "pcre2_", "krb5_"] {
        let linked: Vec<_> = names.iter().filter(|name| name.starts_with(library)).collect();
        assert!(linked.is_empty(), "{linked:?}");
    }
}

#[test]
fn no_shared_library_but_those_of_the_system_is_needed() {
    let needed = said_by("objdump", &["-p"]);
    let needed = needed.lines().filter_map(|line| line.trim().strip_prefix("NEEDED"));
    for library in needed.map(str::trim) {
        let known = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2"];
        assert!(known.contains(&library) || library.starts_with("ld-linux"), "{library}");
    }
}
