//! The stories, by what their users want.

mod access;
mod archive;
mod audit;
mod buildinfo;
mod chroots;
mod corpus;
mod daemon;
mod debian;
mod disk;
mod hooks;
mod hostile;
mod jobs;
mod layers;
mod limits;
mod machines;
mod main_job;
mod privilege;
mod pushes;
mod reading;
mod refusals;
mod reproducible;
mod schroot;
mod set_up;
mod ssh;
mod unpacked;
mod upgrade;
