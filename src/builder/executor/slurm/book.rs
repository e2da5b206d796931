//! What is written down of builds on Slurm. The builder knows no record: whoever has one gives it.

use anyhow::Result;

use invirtibuilder_core::names::{Architecture, JobId};

/// The record, as far as builds on Slurm need it. Each change is durable when it returns.
pub trait SlurmBook: Send + Sync {
    /// Writes down that a submission is about to be sent, and the SHA-256 of its right.
    fn sent(&self, name: &str, build: &BookedBuild<'_>, bootstrap: &[u8; 32]) -> Result<()>;

    /// Writes down how it is there, in words.
    fn said(&self, name: &str, number: Option<u64>, node: Option<&str>, words: &str) -> Result<()>;

    /// Gives the session of a submission to a start, in place of an earlier start's. Returns
    /// whether it got it: none gets it twice, and none late.
    fn start(&self, name: &str, start: &NodeStart, session: &[u8; 32]) -> Result<bool>;

    /// Takes the results of a session. Returns whether they are taken: they are of the session that
    /// the record names, and for the first time.
    fn admit(&self, name: &str, session: &[u8; 32]) -> Result<bool>;

    /// Writes down that a submission is over: nothing of it counts any more.
    fn ended(&self, name: &str) -> Result<()>;

    /// Tells the operators of what was refused to somebody.
    fn refused(&self, name: &str, peer: &str, why: &str);
}

/// What is built.
#[derive(Debug, Clone, Copy)]
pub struct BookedBuild<'a> {
    /// The job of the service.
    pub job: JobId,
    /// Its attempt.
    pub attempt: i64,
    /// The architecture.
    pub architecture: &'a Architecture,
}

/// A start of a job of Slurm's on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStart {
    /// Slurm's number of the job.
    pub number: u64,
    /// How often Slurm has started it again.
    pub again: u32,
    /// The node, by Slurm's name.
    pub node: String,
}
