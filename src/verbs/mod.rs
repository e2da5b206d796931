//! The verbs of `invirt-build`, one file each. A verb that prints data prints it as JSON too.

pub mod acl;
pub mod archive;
pub mod audit;
pub mod cancel;
pub mod check_config;
pub mod chroot;
pub mod create_repo;
pub mod diff;
pub mod follow;
pub mod generate;
pub mod history;
pub mod init;
pub mod log;
pub mod package_setup;
pub mod packages;
pub mod pockets;
pub mod progress;
pub mod promote;
pub mod rebuild;
pub mod retry;
pub mod ssh;
pub mod status;
pub mod submit;
pub mod update_hook;
pub mod verify;
pub mod whoami;
