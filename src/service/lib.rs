//! Use cases over the whole service, each a function with a typed request and a typed result.
//!
//! A front end parses, calls one of these, and renders what comes back; it decides nothing.

pub mod acl;
pub mod archive;
pub mod audit;
pub mod browse;
pub mod caller;
pub mod cancel;
pub mod chroots;
pub mod configuration;
pub mod create_repo;
pub mod desk;
pub mod explain;
pub mod follow;
pub mod history;
pub mod login;
pub mod metrics;
pub mod pockets;
pub mod progress;
pub mod readiness;
pub mod remove;
pub mod reproduce;
pub mod reproduction;
pub mod retry;
mod session;
pub mod setup;
pub mod sources;
pub mod status;
pub mod submit;
#[cfg(test)]
mod tests;
pub mod tokens;
pub mod user;
pub mod verify;
pub mod waiting;

pub use session::{AtServer, Session, decision};
