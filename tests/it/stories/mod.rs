//! The stories, by what their users want.

mod daemon;
mod debian;
mod hooks;
mod hostile;
mod jobs;
mod main_job;
mod reading;
mod refusals;
mod ssh;
