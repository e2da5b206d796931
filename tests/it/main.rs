//! The whole service as its users meet it: the real `remctl` client talks to a real remctld, which
//! runs the real backend; the real daemon builds with the real sbuild; real Git and real apt look
//! at what came out.
//!
//! The stories run in a world of their own (`script/lib/README.md`), which `script/test --only e2e`
//! makes. They share it, one after the other, and each begins with an empty service.

mod acl;
mod stories;
mod world;

/// Names PCRE2 before libgit2 does: see `build.rs` of `invirt-build`.
#[used]
static DEBIANS_PCRE2: unsafe extern "C" fn(u32, *mut std::ffi::c_void) -> i32 =
    pcre2_sys::pcre2_config_8;
