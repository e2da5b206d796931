//! `explain`: the chain from a principal to published bytes, with every sum that it takes to check
//! it elsewhere.

use anyhow::Result;

use crate::session::CliSession;
use invirtibuilder_api::explain::Provenance;
use invirtibuilder_api::source::JobSource;
use invirtibuilder_builder::source::SUMS;
use invirtibuilder_core::domain::SuiteId;
use invirtibuilder_core::error::Exit;
use invirtibuilder_core::facts::{Bound, Layout};
use invirtibuilder_core::time::utc;
use invirtibuilder_service::explain::explain_job;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The number that submit printed
    #[arg(allow_negative_numbers = true)]
    job: String,
}

/// Runs the verb.
pub fn answer(session: &mut CliSession, args: &ExplainArgs) -> Result<Exit> {
    let provenance = explain_job(session, args.job.parse()?)?;
    if session.wants_json() {
        session.print_json(&provenance)?;
    } else {
        print(session, &provenance)?;
    }
    Ok(Exit::Ok)
}

fn print(session: &CliSession, provenance: &Provenance) -> Result<()> {
    let line = |key: &str, value: &str| session.line(format!("{key:<11} {value}"));
    let job = &provenance.job;
    line(
        "job",
        &format!(
            "{}: {} for {}, {}",
            job.id,
            super::submit::named(&job.package, &job.version, &job.written),
            job.pocket,
            job.state
        ),
    )?;
    line("principal", job.principal.as_str())?;
    line("commit", job.commit.as_str())?;
    if let Some(built) = &provenance.built_by {
        line(
            "built by",
            &format!("job {} for {}, submitted by {}", built.job, built.pocket, built.principal),
        )?;
    }
    match &provenance.source {
        Some(source) => of_source(&line, source)?,
        None => line("source", "nothing is recorded: it was not made yet, or by an older release")?,
    }
    for chroot in &provenance.chroots {
        line("built in", &format!("{} {}", chroot.architecture, chroot.digest.as_str()))?;
    }
    for given in &provenance.given {
        line(
            "given",
            &format!(
                "{} {} {} from {}",
                given.package, given.version, given.architecture, given.suite
            ),
        )?;
        line("", &format!("SHA-256 {}", given.sha256))?;
    }
    if let Some(proof) = &provenance.reproduced {
        let isolation = proof
            .isolation
            .map_or("isolation that is not recorded", |isolation| isolation.as_str());
        line("built again", &format!("with the same result, {} ({isolation})", utc(proof.at)))?;
    }
    if let Some(word) = &provenance.vouched {
        line("vouched", &format!("by {}: {}", word.by, word.reason))?;
    }
    for file in &provenance.files {
        line("file", &file.path)?;
        line("", &format!("SHA-256 {}", file.sha256))?;
    }
    if let (Some(tag), Some(name)) = (&provenance.tag, &provenance.tag_name) {
        line("tag", &format!("{name} -> {tag}"))?;
    }
    if let Some(suite) = &provenance.suite {
        line("suite", &suite.to_string())?;
    }
    for entry in &provenance.audit {
        line("audit", &format!("{} {} {}", entry.id, entry.event, entry.hash))?;
    }
    Ok(())
}

fn of_source(line: &dyn Fn(&str, &str) -> std::io::Result<()>, source: &JobSource) -> Result<()> {
    line("layout", source.layout.map_or("not known yet", Layout::as_str))?;
    for tarball in &source.tarballs {
        line("tarball", &tarball.name)?;
        line("", &format!("SHA-256 {}", tarball.sha256.as_deref().unwrap_or("not known yet")))?;
        let from = match (&tarball.brought_by, &tarball.delta, &tarball.tree, &source.branch) {
            (Some(job), ..) => format!("from the pool, where job {job} brought it"),
            (None, Some(delta), Some(tree), Some(branch)) => {
                line("", &format!("from pristine-tar at {branch}"))?;
                line("", &format!("by the delta {delta}"))?;
                format!("and the tree {tree}")
            }
            (None, None, Some(tree), _) => match &tarball.tag {
                Some(tag) => format!("made of tag {tag}, tree {tree}"),
                None => "made of the commit's own files".to_owned(),
            },
            _ => format!("from {}", tarball.origin),
        };
        line("", &from)?;
        let bound = match tarball.bound.map(Bound::as_str) {
            Some("sha256sums") => format!("the commit binds it by its sum in {SUMS}"),
            Some("history") => "the tag is in the commit's history, which binds it".to_owned(),
            Some(how) => format!("the commit binds it by upstream's {how}"),
            None if source.proven => "the commit has all that is in it".to_owned(),
            None => "it was not compared with the commit".to_owned(),
        };
        line("", &bound)?;
    }
    for path in &source.extra {
        line("only there", path)?;
    }
    for note in &source.notes {
        line("note", note)?;
    }
    if let Some(sum) = &source.dsc_sha256 {
        line(".dsc", &format!("SHA-256 {sum}"))?;
        let by =
            source.programs.as_ref().map_or("this machine's dpkg-source", |digest| digest.as_str());
        line("made by", by)?;
    }
    if let Some(isolation) = &source.isolation {
        line("isolation", isolation.as_str())?;
        let suites: Vec<String> = source.suites.iter().map(SuiteId::to_string).collect();
        line("suites", &format!("build dependencies might also come from {}", suites.join(", ")))?;
    }
    Ok(())
}
