//! `submit`: brings a commit of a package into a pocket.

use anyhow::Result;

use crate::session::CliSession;
use crate::verbs::follow;
use invirtibuilder_api::job::State;
use invirtibuilder_api::submit::{Manner, Preview, Submission, Submitted};
use invirtibuilder_core::error::Exit;
use invirtibuilder_core::facts::Layout;
use invirtibuilder_core::names::{PackageName, Version};
use invirtibuilder_service::submit::{preview_submission, submit_commit};

/// Arguments of `submit`.
#[derive(Debug, clap::Args)]
pub struct SubmitArgs {
    /// Where it goes
    pocket: String,
    /// The source package
    package: String,
    /// A commit id, an abbreviated one, a branch or a tag
    commit: String,
    #[command(flatten)]
    how: How,
}

/// How something is submitted.
#[derive(Debug, clap::Args)]
pub struct How {
    /// Follow the job to its end; exit 1 if it fails
    #[arg(long)]
    wait: bool,
    /// Say what would happen, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Go before the pocket's other jobs; for those whom the pocket's list "priority" admits
    #[arg(long)]
    priority: bool,
}

impl How {
    /// Returns the manner in which the job is to be queued.
    pub fn manner(&self) -> Manner {
        Manner { priority: self.priority, follow: self.wait }
    }
}

impl SubmitArgs {
    /// Tells whether the command stays until the job has ended.
    pub fn stays(&self) -> bool {
        self.how.manner().follow
    }
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &SubmitArgs) -> Result<Exit> {
    let SubmitArgs { pocket, package, commit, how } = args;
    let submission = Submission {
        pocket: pocket.clone(),
        package: package.clone(),
        commit: commit.clone(),
        manner: how.manner(),
    };
    if how.dry_run {
        let preview = preview_submission(session, &submission)?;
        return show_preview(session, &preview);
    }
    let submitted = submit_commit(session, &submission)?;
    show_submitted(session, &submitted, submission.manner)
}

/// Shows what was submitted, and follows it if somebody waits: `promote` ends here too.
pub fn show_submitted(session: &CliSession, submitted: &Submitted, manner: Manner) -> Result<Exit> {
    let Submitted { queue, job, state, .. } = submitted;
    if session.wants_json() {
        session.print_json(submitted)?;
    } else {
        let how = match queue {
            Some(queue) => {
                let place = if queue.ahead.0 == 0 {
                    "next in line".to_owned()
                } else {
                    format!("{} ahead of it", queue.ahead)
                };
                let daemon =
                    if queue.daemon { "" } else { "; no daemon runs, it starts when one does" };
                format!("queued, {place}{daemon}")
            }
            None if *state == State::Published => "already there".to_owned(),
            None => format!("already {state}"),
        };
        let Submitted { pocket, package, version, written, commit, .. } = submitted;
        let what = named(package, version, written);
        session.line(format!("job {job}: {what} ({}) for {pocket}: {how}", commit.short()))?;
        let http = session.config.http.as_ref();
        if let Some(url) = http.and_then(|http| http.page(&format!("/jobs/{job}"))) {
            session.line(url)?;
        }
    }
    if manner.follow && *state != State::Published {
        follow::job(session, *job)
    } else {
        Ok(Exit::Ok)
    }
}

/// Shows what a submission would come to: `promote --dry-run` ends here too.
pub fn show_preview(session: &CliSession, preview: &Preview) -> Result<Exit> {
    if session.wants_json() {
        session.print_json(preview)?;
        return Ok(Exit::Ok);
    }
    let Preview { commit, package, pocket, source, version, why, written, .. } = preview;
    let what = named(package, version, written);
    session.line(format!("{what} ({}) for {pocket} {why}", commit.short()))?;
    let Some(source) = source else { return Ok(Exit::Ok) };
    let layout = source.layout.map_or("found out when the source package is made", Layout::as_str);
    session.line(format!("  layout: {layout}"))?;
    for tarball in &source.tarballs {
        session.line(format!("  {} from {}", tarball.name, tarball.origin))?;
    }
    for note in &source.notes {
        session.line(format!("  {note}"))?;
    }
    for path in &source.extra {
        session.line(format!("  only in a tarball: {path}"))?;
    }
    Ok(Exit::Ok)
}

/// Names a package with the version that is built, and the one that is written if it is another.
pub fn named(package: &PackageName, version: &Version, written: &Version) -> String {
    let of = if version == written { String::new() } else { format!(", written {written}") };
    format!("{package} {version}{of}")
}
