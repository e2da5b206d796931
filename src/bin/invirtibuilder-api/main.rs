//! Answers commands and HTTP: see `invirtibuilder-api(8)`.

use std::process::ExitCode;

/// Names PCRE2 before libgit2 does: see `build.rs`.
#[used]
static DEBIANS_PCRE2: unsafe extern "C" fn(u32, *mut std::ffi::c_void) -> i32 =
    pcre2_sys::pcre2_config_8;

fn main() -> ExitCode {
    invirtibuilder_server::main(std::env::args_os())
}
