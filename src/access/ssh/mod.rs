//! Lets requests in by ssh, the other way: finds who stands behind a login, and what they ask for.
//!
//! sshd authenticates, by a key or by Kerberos, and runs `invirt-build ssh-command` whatever the
//! client asks for. From there on a request is the same as over remctl.

mod keys;
mod login;
mod words;

pub use keys::{SshKeys, line};
pub use login::principal;
pub use words::split;
