//! `complete`: what may come next on a command line, for shells. Hidden: the completions that the
//! package installs ask it, over remctl as well.

use anyhow::Result;
use clap::Command;

use crate::session::CliSession;
use invirtibuilder_api::browse::{JobFilter, JobsRequest, MatrixRequest};
use invirtibuilder_core::error::Exit;
use invirtibuilder_service::browse::{list_jobs, list_matrix};

/// The most words that are offered.
const MOST: u32 = 200;

/// Arguments of `complete`.
#[derive(Debug, clap::Args)]
pub struct CompleteArgs {
    /// The words so far; the last one is being typed, and may be empty
    #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
    words: Vec<String>,
}

/// Runs the verb: prints each word that may stand in place of the last one, on a line.
pub fn answer(session: &CliSession, command: &Command, args: &CompleteArgs) -> Result<Exit> {
    let (typed, before) =
        args.words.split_last().map_or(("", &[][..]), |(last, rest)| (last, rest));
    let mut verb = command;
    let mut values = Vec::new();
    for word in before {
        match verb.find_subcommand(word) {
            Some(found) => (verb, values) = (found, Vec::new()),
            None if word.starts_with('-') => {}
            None => values.push(word.as_str()),
        }
    }
    let mut offered: Vec<String> = Vec::new();
    if typed.starts_with('-') {
        let options = verb.get_arguments().filter(|arg| !arg.is_hide_set());
        offered.extend(options.filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")));
    } else if verb.has_subcommands() {
        let verbs = verb.get_subcommands().filter(|verb| !verb.is_hide_set());
        offered.extend(verbs.map(|verb| verb.get_name().to_owned()));
    } else {
        let mut positionals = verb.get_positionals();
        let last = verb.get_positionals().last();
        let wanted = positionals.nth(values.len()).or(last.filter(|arg| {
            // The last one may be there several times.
            arg.get_num_args().is_some_and(|range| range.max_values() > 1)
        }));
        let wanted = wanted.map(|arg| arg.get_id().as_str()).unwrap_or_default();
        offered = named(session, wanted, typed)?;
    }
    offered.retain(|word| word.starts_with(typed));
    offered.sort();
    let text: String = offered.iter().take(MOST as usize).map(|word| format!("{word}\n")).collect();
    session.out().write_all(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// Lists what an argument of this name may be.
fn named(session: &CliSession, name: &str, typed: &str) -> Result<Vec<String>> {
    Ok(match name {
        "pocket" | "from" | "to" | "left" | "right" => {
            session.config.pockets().map(|pocket| pocket.name().to_string()).collect()
        }
        "package" => {
            let request = MatrixRequest {
                prefix: Some(typed.to_owned()),
                limit: Some(MOST),
                ..MatrixRequest::default()
            };
            let page = list_matrix(session, &request)?;
            page.items.into_iter().map(|row| row.package.to_string()).collect()
        }
        "job" | "jobs" => {
            let request = JobsRequest {
                show: Some(JobFilter::All),
                limit: Some(MOST),
                ..JobsRequest::default()
            };
            let page = list_jobs(session, &request)?;
            page.items.into_iter().map(|job| job.id.to_string()).collect()
        }
        _ => Vec::new(),
    })
}
