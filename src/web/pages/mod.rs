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

use serde::Deserialize;

/// Where a list goes on.
#[derive(Debug, Deserialize)]
pub struct ListPlace {
    after: Option<String>,
}

impl ListPlace {
    /// Writes the query that asks the API for so many items from here on.
    pub fn query(&self, limit: u32) -> String {
        let after = self.after.clone().map(|after| ("after", after));
        let query: Vec<_> = [("limit", limit.to_string())].into_iter().chain(after).collect();
        serde_urlencoded::to_string(query).unwrap_or_default()
    }
}
