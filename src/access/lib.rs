//! Decides who asks, and whether they may: remctl, ssh, Kerberos principals and ACLs.

pub mod acl;
pub mod grant;
pub mod identity;
pub mod spnego;
pub mod ssh;
