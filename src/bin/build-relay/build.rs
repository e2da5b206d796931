//! Links GCC's unwinder into the program: remctld starts it for every command, and loading a shared
//! library takes a fifth of the time that it runs.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let dir = std::env::var("OUT_DIR").expect("cargo names a directory");
    // The standard library asks for the shared one; this stands in its place (ld(1), "linker
    // scripts").
    std::fs::write(Path::new(&dir).join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n")
        .expect("a file can be written");
    println!("cargo::rustc-link-search=native={dir}");
}
