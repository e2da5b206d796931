//! The pages, by what they show.

pub mod job;
pub mod jobs;
pub mod log;
pub mod login;
pub mod overview;
pub mod packages;
pub mod pockets;
pub mod search;
pub mod statistics;
pub mod steer;
pub mod tokens;
