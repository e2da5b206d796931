//! What every verb works with: the session of the service, and where output goes.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::ops::{Deref, DerefMut};
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use invirtibuilder_access::identity::Caller;
use invirtibuilder_core::text;
use invirtibuilder_service as service;

/// The form in which a verb prints its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// Text for people.
    Text,
    /// JSON for programs.
    Json,
}

/// One request, and how its result is printed.
pub struct CliSession {
    served: service::Session,
    format: OutputFormat,
}

impl CliSession {
    /// Opens the session of the service ([`service::Session::open`]).
    pub fn open(config: Option<&Path>, format: OutputFormat, caller: &Caller) -> Result<Self> {
        Ok(Self { served: service::Session::open(config, caller)?, format })
    }

    /// Tells whether the caller wants JSON.
    pub fn wants_json(&self) -> bool {
        self.format == OutputFormat::Json
    }

    /// Prints one line of text that may hold anything.
    pub fn line(&self, line: impl Display) -> io::Result<()> {
        writeln!(io::stdout(), "{}", text::one_line(&line.to_string()))
    }

    /// Prints a value as JSON.
    pub fn print_json(&self, value: &impl Serialize) -> Result<()> {
        print_json(value)
    }
}

/// Prints a value as JSON, on a line.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

impl Deref for CliSession {
    type Target = service::Session;

    fn deref(&self) -> &Self::Target {
        &self.served
    }
}

impl DerefMut for CliSession {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.served
    }
}

/// Prints rows under a heading, aligned; long cells are cut so that a row fits 80 columns. Nothing
/// is printed for no rows.
pub fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| text::one_line(cell))).collect();
    let width: [usize; N] = std::array::from_fn(|n| {
        rows.iter().map(|row| row[n].chars().count()).chain([heading[n].len()]).max().unwrap_or(0)
    });
    let mut out = io::stdout().lock();
    let bold = out.is_terminal();
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(width).map(|(cell, width)| format!("{cell:width$}"));
        let line: String = padded.collect::<Vec<_>>().join("  ").chars().take(80).collect();
        line.trim_end().to_owned()
    };
    let head = line(heading);
    if bold {
        writeln!(out, "\x1b[1m{head}\x1b[0m")?;
    } else {
        writeln!(out, "{head}")?;
    }
    rows.iter().try_for_each(|row| writeln!(out, "{}", line(row.each_ref().map(String::as_str))))
}
