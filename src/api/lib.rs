//! Requests and results of every use case, as values: what the command line prints as JSON, and
//! what other front ends show. There is no logic here.

pub mod acl;
#[cfg(test)]
mod administration_tests;
pub mod archive;
pub mod audit;
pub mod browse;
pub mod builds;
pub mod caller;
pub mod chroots;
pub mod configuration;
pub mod events;
#[cfg(test)]
mod examples;
pub mod explain;
pub mod follow;
pub mod job;
pub mod login;
pub mod metrics;
pub mod page;
pub mod pocket;
pub mod problem;
pub mod progress;
pub mod readiness;
pub mod repository;
pub mod slurm;
pub mod source;
pub mod status;
pub mod submit;
pub mod tokens;
pub mod verify;
pub mod wait;
