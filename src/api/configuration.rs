//! The configuration: what is wrong with it.

use std::path::PathBuf;

use serde::Serialize;

use crate::acl::Finding;
use invirtibuilder_core::config::ConfigProblem;

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigReport {
    /// What authors of the ACLs that it names should know.
    pub acl: Vec<Finding>,
    /// The file.
    pub file: PathBuf,
    /// The problems: the service does not start with one.
    pub problems: Vec<ConfigProblem>,
    /// What is no problem, and should be known.
    pub warnings: Vec<String>,
}
