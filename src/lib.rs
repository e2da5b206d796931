//! Invirtibuilder: from a Git commit to an APT archive, for teams that own a Kerberos realm.
//!
//! The library behind `invirt-build` (the command backend) and `invirtibuilderd` (the daemon). `docs/design.md`
//! explains how the modules fit together.

pub mod config;
pub mod error;
pub mod gitrecord;
pub mod names;
pub mod record;
mod stored;
pub mod subprocess;
pub mod text;
