//! What every verb works with: the session of the service, and where output goes.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
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

/// The place where a request's output goes.
#[derive(Debug)]
pub enum Output {
    /// This process's own standard output and error.
    Process,
    /// Those of another process, which has the request made here.
    Other {
        /// Its standard output.
        out: File,
        /// Its standard error.
        err: File,
    },
}

impl Output {
    /// Opens standard output.
    pub fn out(&self) -> Box<dyn Write + '_> {
        match self {
            Output::Process => Box::new(io::stdout()),
            Output::Other { out, .. } => Box::new(out),
        }
    }

    /// Opens standard error.
    pub fn err(&self) -> Box<dyn Write + '_> {
        match self {
            Output::Process => Box::new(io::stderr()),
            Output::Other { err, .. } => Box::new(err),
        }
    }

    /// Tells whether standard output is a terminal.
    fn is_terminal(&self) -> bool {
        match self {
            Output::Process => io::stdout().is_terminal(),
            Output::Other { out, .. } => out.is_terminal(),
        }
    }
}

/// One request, and how its result is printed.
pub struct CliSession {
    served: service::Session,
    format: OutputFormat,
    output: Output,
}

impl CliSession {
    /// Opens the session of the service ([`service::Session::open`]).
    pub fn open(config: Option<&Path>, format: OutputFormat, caller: &Caller) -> Result<Self> {
        Ok(Self::of(service::Session::open(config, caller)?, format, Output::Process))
    }

    /// Makes one of a session of the service that is open.
    pub fn of(served: service::Session, format: OutputFormat, output: Output) -> Self {
        Self { served, format, output }
    }

    /// Returns the place where output goes.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Opens standard output.
    pub fn out(&self) -> Box<dyn Write + '_> {
        self.output.out()
    }

    /// Opens standard error.
    pub fn err(&self) -> Box<dyn Write + '_> {
        self.output.err()
    }

    /// Tells whether the caller wants JSON.
    pub fn wants_json(&self) -> bool {
        self.format == OutputFormat::Json
    }

    /// Prints one line of text that may hold anything.
    pub fn line(&self, line: impl Display) -> io::Result<()> {
        // In one piece: others may write to the same place.
        self.out().write_all(format!("{}\n", text::one_line(&line.to_string())).as_bytes())
    }

    /// Prints a value as JSON.
    pub fn print_json(&self, value: &impl Serialize) -> Result<()> {
        print_json(&mut self.out(), value)
    }

    /// Prints rows under a heading, aligned; long cells are cut so that a row fits 80 columns.
    pub fn table<const N: usize>(
        &self,
        heading: [&str; N],
        rows: &[[String; N]],
    ) -> io::Result<()> {
        let rows: Vec<[String; N]> =
            rows.iter().map(|row| row.each_ref().map(|cell| text::one_line(cell))).collect();
        let width: [usize; N] = std::array::from_fn(|n| {
            let cells = rows.iter().map(|row| row[n].chars().count());
            cells.chain([heading[n].len()]).max().unwrap_or(0)
        });
        let line = |cells: [&str; N]| {
            let padded = cells.iter().zip(width).map(|(cell, width)| format!("{cell:width$}"));
            let line: String = padded.collect::<Vec<_>>().join("  ").chars().take(80).collect();
            line.trim_end().to_owned()
        };
        let mut out = BufWriter::new(self.out());
        let head = line(heading);
        if self.output.is_terminal() {
            writeln!(out, "\x1b[1m{head}\x1b[0m")?;
        } else {
            writeln!(out, "{head}")?;
        }
        for row in &rows {
            writeln!(out, "{}", line(row.each_ref().map(String::as_str)))?;
        }
        out.flush()
    }
}

/// Prints a value as JSON, on a line.
pub fn print_json(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    let mut out = BufWriter::new(out);
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    out.flush()?;
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
