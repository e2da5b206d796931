//! Invirtibuilder: from a Git commit to an APT archive, for teams that own a Kerberos realm.
//!
//! The library behind `invirt-build` (the command backend) and `invirtibuilderd` (the daemon). `docs/design.md`
//! explains how the modules fit together.

pub mod acl;
mod architectures;
pub mod archive;
pub mod build;
pub mod chroot;
pub mod cli;
pub mod config;
mod confined;
mod copies;
pub mod daemon;
mod disk;
pub mod error;
pub mod failpoint;
pub mod fairness;
mod filter;
mod followers;
pub mod gitrecord;
pub mod hooks;
pub mod identity;
pub mod log;
pub mod manual;
pub mod names;
pub mod private;
pub mod privilege;
mod processes;
pub mod publish;
pub mod readiness;
pub mod rebuild;
pub mod record;
mod relations;
pub mod session;
pub mod source;
pub mod ssh;
pub mod stanza;
mod stored;
pub mod subprocess;
pub mod text;
pub mod validate;
pub mod verbs;
pub mod verify;
pub mod waiting;
pub mod wake;
