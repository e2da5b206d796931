//! `archive snapshots|rollback|gc|release|vouch|move`: what suites were, back to it, what need not
//! be kept, what is let go, who answers for a build, and which domain a pocket is in.

use std::io::Write;

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_api::archive::{
    Collected, Committed, LetGo, ReleaseRequest, Relocated, RelocationRequest, RollbackRequest,
    RolledBack, Snapshot, VouchRequest, VouchRevoked,
};
use invirtibuilder_api::builds::Build;
use invirtibuilder_core::error::Exit;
use invirtibuilder_core::names::Version;
use invirtibuilder_core::text::{self, count};
use invirtibuilder_core::time::utc;
use invirtibuilder_service::archive;

/// What can be done with the archive.
#[derive(Debug, clap::Subcommand)]
pub enum ArchiveVerb {
    /// List the published states of a suite, the newest first
    Snapshots {
        /// The suite, such as stable, or of a domain, such as dev/unstable
        suite: String,
    },
    /// Take a suite, its pocket's branches and the superproject back to a snapshot
    Rollback {
        /// The suite, such as stable, or of a domain, such as dev/unstable
        suite: String,
        /// The snapshot's number
        number: i64,
    },
    /// Forget the snapshots that archive.keep does not keep, and remove what nothing needs
    Gc,
    /// Let a version go that no suite shows and only pockets with allow_backtracking ever had
    ///
    /// Its number may then be used again, for another commit. What was published under it never is
    /// again. Snapshots that had it cannot be rolled back to.
    Release {
        /// The source package
        package: String,
        /// Its version
        version: String,
        /// The domain that it is of, if several have such a version; main, if none is named
        #[arg(long)]
        domain: Option<String>,
        /// Why, for the audit trail
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Answer for a build that another pocket could not have made itself, so that it may be copied
    /// there
    ///
    /// Look at it by 'explain JOB' first. What is said holds until it is taken back, or the
    /// archive no longer has the build.
    Vouch {
        /// The source package
        package: String,
        /// Its version
        version: String,
        /// The pocket that may have it; every pocket, if none is named
        #[arg(long)]
        pocket: Option<String>,
        /// The domain that it is of, if several have such a version; main, if none is named
        #[arg(long)]
        domain: Option<String>,
        /// Take back what was said before, for the pocket or altogether. Pockets keep what they
        /// have already
        #[arg(long)]
        revoke: bool,
        /// Why, for the audit trail
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Move a pocket into the domain that the configuration puts it into
    ///
    /// Its suite is written into that domain's archive, with copies of all that it shows now, and
    /// leaves the archive that it was in; its earlier states are forgotten. Branch and superproject
    /// stay. Change domain: of the pocket first, and build nothing there meanwhile.
    Move {
        /// The pocket
        pocket: String,
        /// The domain, as the configuration has it now
        domain: String,
    },
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, verb: &ArchiveVerb) -> Result<Exit> {
    let server = &mut session.at_server("archive")?;
    match verb {
        ArchiveVerb::Snapshots { suite } => {
            let all = archive::list_snapshots(server, suite)?;
            show_snapshots(session, &all)?;
        }
        ArchiveVerb::Rollback { suite, number } => {
            let request = RollbackRequest { suite: suite.clone(), number: *number };
            let done = archive::roll_back_suite(server, &request)?;
            show_rollback(session, &done)?;
        }
        ArchiveVerb::Gc => {
            let done = archive::collect_garbage(server)?;
            show_collected(session, &done)?;
        }
        ArchiveVerb::Release { package, version, domain, reason } => {
            let request = ReleaseRequest {
                package: package.parse()?,
                version: version.parse()?,
                domain: domain.clone(),
                reason: reason.clone(),
            };
            let done = archive::release_version(server, &request)?;
            show_release(session, &done)?;
        }
        ArchiveVerb::Move { pocket, domain } => {
            let request = RelocationRequest { pocket: pocket.clone(), domain: domain.clone() };
            let done = archive::relocate_pocket(server, &request)?;
            show_relocated(session, &done)?;
        }
        ArchiveVerb::Vouch { package, version, pocket, domain, revoke, reason } => {
            let request = VouchRequest {
                package: package.parse()?,
                version: version.parse()?,
                pocket: pocket.clone(),
                domain: domain.clone(),
                reason: reason.clone(),
            };
            if *revoke {
                let revoked = archive::revoke_vouch(server, &request)?;
                show_revoked(session, &request, &revoked)?;
            } else {
                let build = archive::vouch_for_build(server, &request)?;
                show_vouched(session, &request, &build)?;
            }
        }
    }
    Ok(Exit::Ok)
}

fn show_snapshots(session: &CliSession, all: &[Snapshot]) -> Result<()> {
    if session.wants_json() {
        return session.print_json(&all);
    }
    let row =
        |s: &Snapshot| [s.number.to_string(), utc(s.at), s.packages.to_string(), s.note.clone()];
    session.table(
        ["SNAPSHOT", "SINCE", "PACKAGES", "MADE BY"],
        &all.iter().map(row).collect::<Vec<_>>(),
    )?;
    Ok(())
}

fn show_rollback(session: &CliSession, done: &Committed<RolledBack>) -> Result<()> {
    report(session, &done.troubles)?;
    let done = &done.change;
    if session.wants_json() {
        return session.print_json(done);
    }
    for (package, from, to) in &done.changed {
        let word = |version: &Option<Version>| {
            version.as_ref().map_or("nothing".into(), ToString::to_string)
        };
        session.line(format!("{package}: {} -> {}", word(from), word(to)))?;
    }
    session.line(format!(
        "{} has again what snapshot {} had; it is snapshot {} now",
        done.suite, done.to, done.now
    ))?;
    Ok(())
}

fn show_collected(session: &CliSession, done: &Collected) -> Result<()> {
    if session.wants_json() {
        return session.print_json(done);
    }
    session.line(collected(done))?;
    Ok(())
}

fn collected(done: &Collected) -> String {
    format!(
        "removed {} and {}: {}, {} MiB; and {} that no version had",
        count(done.snapshots.len(), "snapshot"),
        count(done.versions.len(), "version"),
        count(done.files, "file"),
        done.bytes >> 20,
        count(done.strays.len(), "file")
    )
}

fn show_release(session: &CliSession, done: &Committed<LetGo>) -> Result<()> {
    report(session, &done.troubles)?;
    if session.wants_json() {
        return session.print_json(&done.change);
    }
    let LetGo { package, version, commit, files, .. } = &done.change;
    let are = if *files == 1 { "is" } else { "are" };
    session.line(format!(
        "{package} {version} no longer names commit {}, and {} {are} gone: another commit may have the version",
        commit.short(),
        count(*files, "file")
    ))?;
    Ok(())
}

fn show_relocated(session: &CliSession, done: &Committed<Relocated>) -> Result<()> {
    report(session, &done.troubles)?;
    if session.wants_json() {
        return session.print_json(&done.change);
    }
    let Relocated { pocket, from, suite, versions } = &done.change;
    session.line(format!(
        "{pocket} has left domain {from} with {}: its suite is {suite} now, and clients need that archive's address and key",
        count(versions.len(), "package")
    ))?;
    Ok(())
}

fn show_vouched(session: &CliSession, request: &VouchRequest, build: &Build) -> Result<()> {
    if session.wants_json() {
        return session.print_json(build);
    }
    let VouchRequest { package, version, .. } = request;
    session.line(format!(
        "{} may have {package} {version} as job {} has built it for {}",
        whose(request),
        build.job,
        build.pocket
    ))?;
    Ok(())
}

fn show_revoked(
    session: &CliSession,
    request: &VouchRequest,
    revoked: &VouchRevoked,
) -> Result<()> {
    if session.wants_json() {
        return session.print_json(revoked);
    }
    let VouchRequest { package, version, .. } = request;
    let but =
        if revoked.holds_for_all { "; what was said for every pocket holds still" } else { "" };
    session.line(format!(
        "nobody answers for {package} {version} for {} any more{but}",
        whose(request)
    ))?;
    Ok(())
}

fn whose(request: &VouchRequest) -> &str {
    request.pocket.as_deref().unwrap_or("every pocket")
}

/// Says what could not be done after a change was committed; the daemon goes on trying.
pub fn report(session: &CliSession, troubles: &[String]) -> Result<()> {
    for trouble in troubles {
        writeln!(session.err(), "not complete yet: {}", text::one_line(trouble))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_thing_is_said_as_one() {
        let nothing = Collected::default();
        assert_eq!(
            collected(&nothing),
            "removed 0 snapshots and 0 versions: 0 files, 0 MiB; and 0 files that no version had"
        );
        let one = Collected {
            snapshots: vec![("stable".parse().unwrap(), 1)],
            versions: vec![("hello".parse().unwrap(), "1".parse().unwrap(), Default::default())],
            strays: vec!["pool/x".to_owned()],
            files: 1,
            bytes: 1 << 20,
        };
        assert_eq!(
            collected(&one),
            "removed 1 snapshot and 1 version: 1 file, 1 MiB; and 1 file that no version had"
        );
    }
}
