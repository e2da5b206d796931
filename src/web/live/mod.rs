//! What happens, as it happens: server-sent events.
//!
//! However many follow a job, there is one connection to the API for it. What comes there goes to
//! all of them (`hub`); each follower asks the API for what it has missed (`follower`), by its own
//! rights.

pub mod events;
pub mod follower;
pub mod hub;
pub mod sse;
