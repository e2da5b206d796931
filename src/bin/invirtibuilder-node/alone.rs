//! The program has nothing of the service's but how to build: no database, no Kerberos.

#![allow(unused_crate_dependencies, reason = "the test looks at the program that has them")]

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_invirtibuilder-node");

#[test]
fn neither_a_database_nor_kerberos_is_linked() {
    let done = Command::new("nm").arg(PROGRAM).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let symbols = String::from_utf8(done.stdout).unwrap();
    assert!(symbols.contains("invirtibuilder_node"), "nm sees no symbols of the program");
    let names: Vec<&str> =
        symbols.lines().filter_map(|line| line.split_whitespace().next_back()).collect();
    for library in ["sqlite3_", "gss_", "krb5_"] {
        let linked: Vec<_> = names.iter().filter(|name| name.starts_with(library)).collect();
        assert!(linked.is_empty(), "{linked:?}");
    }
}
