//! The stories, by what their users want.

mod archive;
mod audit;
mod daemon;
mod debian;
mod disk;
mod hooks;
mod hostile;
mod jobs;
mod main_job;
mod privilege;
mod pushes;
mod reading;
mod refusals;
mod set_up;
mod ssh;
