//! Has a program use Debian's PCRE2, and no other.
//!
//! libgit2 brings a PCRE2 of its own, of another version and with the same symbols. The linker gets
//! the libraries of crates before shared ones, so it would take most functions from there and the
//! rest from Debian's. The program names a function of PCRE2 in its own code, and here it gets the
//! shared library right behind that code: the linker then needs nothing of libgit2's copy. An ACL
//! means what it means to remctld, which has the same library, and Debian mends it. The test
//! `linked` looks at the programs.

fn main() {
    println!("cargo::rustc-link-lib=pcre2-8");
    println!("cargo::rerun-if-changed=build.rs");
}
