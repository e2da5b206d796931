//! What the service itself says in a job's build log.

use anyhow::Result;

use invirtibuilder_builder as builder;
use invirtibuilder_builder::source;
use invirtibuilder_core::facts::{Layout, Proof};
use invirtibuilder_environment::programs;

/// Says in a build's log what its source package is made of.
pub fn say_plan(
    build: &builder::BuildRequest,
    source: &source::SourceRequest,
    from: &programs::From,
) -> Result<()> {
    let by = match from.manifest() {
        Some(manifest) => format!("{} ({})", manifest.distro, manifest.digest.short()),
        None => "this machine".to_owned(),
    };
    build.say(&format!(
        "Source package of commit {}, by dpkg-source of {by}.",
        source.subject.commit
    ))?;
    say_each(
        build,
        source
            .plan
            .tarballs
            .iter()
            .map(|tarball| format!("{} from {}", tarball.name, tarball.from())),
    )?;
    say_each(build, &source.plan.notes)
}

/// Says in a build's log what was proven of its source package.
pub fn say_proof(build: &builder::BuildRequest, proof: &Proof) -> Result<()> {
    build.say("")?;
    let layout = proof.layout.map_or("unknown", Layout::as_str);
    build.say(&format!("The source package is the commit, path by path (layout: {layout})."))?;
    say_each(build, &proof.notes)?;
    say_each(
        build,
        proof.bound.iter().map(|(name, bound)| format!("{name} is bound by the commit ({bound})")),
    )?;
    say_each(
        build,
        proof.extra.iter().take(NAMED).map(|path| format!("only in a tarball: {path}")),
    )?;
    let more = proof.extra.len().saturating_sub(NAMED);
    say_each(build, (more > 0).then(|| format!("and {more} more: 'explain' has them")))
}

/// Says details in a build's log, each on one line.
pub fn say_each(
    build: &builder::BuildRequest,
    details: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<()> {
    details.into_iter().try_for_each(|detail| {
        build.say(&format!("  {}", invirtibuilder_core::text::one_line(detail.as_ref())))
    })
}

/// The number of paths of tarballs that a log names.
const NAMED: usize = 1000;
