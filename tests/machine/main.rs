//! What only a whole booted machine shows: systemd gives the daemon control groups, and the kernel
//! ends builds that use too much, that want out and that do not end.
//!
//! The stories happen on a machine of our packages, Debian's kernel and systemd, which
//! `script/lib/machine` boots for `script/test --only systemd`. They share it, one after the other,
//! and each begins with a daemon that runs and builds nothing. Those of a cluster have
//! two machines of their own (`EXECUTOR=slurm`).

mod cluster;
mod group;
mod packages;
mod stories;
mod world;
