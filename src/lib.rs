//! Invirtibuilder: from a Git commit to an APT archive, for teams that own a Kerberos realm.
//!
//! The library behind `invirt-build` (the command backend) and `invirtibuilderd` (the daemon). `docs/design.md`
//! explains how the modules fit together.

pub mod acl;
pub mod archive;
pub mod config;
pub mod error;
pub mod gitrecord;
pub mod hooks;
pub mod identity;
pub mod log;
pub mod names;
pub mod privilege;
pub mod record;
pub mod source;
mod stored;
pub mod subprocess;
pub mod text;
pub mod wake;
