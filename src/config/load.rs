//! Reads the files, merges them and reports every problem with file, line and column.

use std::path::{Path, PathBuf};

use super::Config;

/// One thing that is wrong in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file it is in.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// One sentence.
    pub message: String,
}

/// Reads `path` and its `conf.d`.
pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
    let _ = path;
    todo!()
}
