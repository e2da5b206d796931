//! dpkg-source, which makes the source package from the tree and the upstream tarballs.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use chrono::DateTime;
use deb822_fast::Paragraph;

use crate::source::notes::named;
use crate::source::options::VERSION_CONTROL;
use crate::source::{Format, SourcePlan, SourceRequest, Subject, sandbox};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::facts::{Layout, SourcePackage};
use invirtibuilder_core::stanza::{self, Stanza};
use invirtibuilder_system::subprocess::CancellationToken;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Runs `dpkg-source --build` over the commit's files in the request's work directory.
pub async fn build(
    request: &SourceRequest,
    cancel: &CancellationToken,
) -> Result<SourcePackage, Failure> {
    let subject = &request.subject;
    let cmd = sandbox::command(request, "dpkg-source")
        .env("SOURCE_DATE_EPOCH", request.plan.timestamp.to_string())
        .arg("--build")
        .args(arguments(&request.plan))
        .args(["--", &request.tree()])
        .total(LIMIT)
        .log(&request.log, 64 << 20);
    let done = sandbox::run_confined(request, cmd, cancel).await?;
    if !done.ok() {
        let output = String::from_utf8_lossy(&done.stderr).into_owned();
        return Err(Failure::new(
            FailureKind::DpkgSource,
            complaint(&output).unwrap_or_else(|| done.describe()),
        ));
    }
    let dsc =
        request.work.join(format!("{}_{}.dsc", subject.package, subject.version.without_epoch()));
    let size = std::fs::metadata(&dsc)
        .with_context(|| format!("dpkg-source did not make {}", dsc.display()))?
        .len();
    if size > stanza::LARGEST_SOURCE {
        let (is, most) = (size >> 10, stanza::LARGEST_SOURCE >> 10);
        let text = format!(
            "the .dsc has {is} KiB, and {most} KiB, four times what Debian's largest has, are the most"
        );
        return Err(Failure::new(FailureKind::Tree, text));
    }
    let text = std::fs::read_to_string(&dsc)
        .with_context(|| format!("{} cannot be read", dsc.display()))?;
    Stanza::read(&text)
        .and_then(|stanza| stanza.of_source())
        .map_err(|error| Failure::new(FailureKind::Tree, format!("the .dsc {error:#}")))?;
    collect(request, &dsc, &text)
}

/// A pattern of files to leave out that no file has: control characters are refused in names.
const NO_FILE: &str = "--tar-ignore=\u{1}";

/// Options that switch off what dpkg-source leaves out without being asked. What the package asks
/// for stays.
fn arguments(plan: &SourcePlan) -> Vec<String> {
    let (mut arguments, options) = (Vec::new(), &plan.options);
    if plan.format == Format::One {
        return arguments;
    }
    if !options.has_tar_ignore() {
        arguments.push(NO_FILE.to_owned());
    }
    if plan.format == Format::Quilt && !options.has_diff_ignore() {
        arguments.push(format!("--diff-ignore={VERSION_CONTROL}"));
        // Given once more: the option before puts itself in the place of what was said until then.
        arguments.extend(
            options.extend_diff_ignore().map(|pattern| format!("--extend-diff-ignore={pattern}")),
        );
    }
    if matches!(plan.layout, Some(Layout::Bare | Layout::Applied)) {
        // There is nothing to apply patches to, or they are applied: it would only try the first
        // one to find that out.
        arguments.push("--no-preparation".to_owned());
    }
    arguments
}

/// Gives a patch that dpkg-source generates a header with the commit's date: its own would have
/// today's.
pub fn date_generated_patch(request: &SourceRequest, dir: &Path) -> Result<(), Failure> {
    let (options, subject, source) =
        (&request.plan.options, &request.subject, dir.join("debian/source"));
    let is_there = |name: &str| source.join(name).symlink_metadata().is_ok();
    let has_header = options.is_single_patch() || HEADERS.iter().any(|name| is_there(name));
    if request.plan.format != Format::Quilt || !options.generates_patch() || has_header {
        return Ok(());
    }
    let date =
        DateTime::from_timestamp(request.plan.timestamp, 0).unwrap_or_default().format("%Y-%m-%d");
    let text = format!(
        "Description: changes of upstream files in {} {}\n This patch was generated from the commit {}.\nLast-Update: {date}\n\n",
        subject.package, subject.version, subject.commit
    );
    std::fs::create_dir_all(&source)?;
    Ok(std::fs::write(source.join(HEADERS[0]), text)?)
}

/// Where dpkg-source looks for the header of a generated patch; the first is never packed.
const HEADERS: [&str; 2] = ["local-patch-header", "patch-header"];

/// Says what dpkg-source says is wrong, with the files that it names before.
fn complaint(output: &str) -> Option<String> {
    let lines: Vec<&str> = output.lines().collect();
    let errors: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("dpkg-source: error: ")).collect();
    let (last, before) = errors.split_last()?;
    let modified =
        lines.iter().skip_while(|line| !line.ends_with("the modified files are:")).skip(1);
    let modified: Vec<&str> =
        modified.take_while(|line| line.starts_with(' ')).map(|line| line.trim()).collect();
    // Each begins with the directory's name.
    let modified: Vec<&[u8]> = modified
        .iter()
        .map(|path| path.split_once('/').map_or(*path, |(_, path)| path).as_bytes())
        .collect();
    let text = if last.starts_with("aborting due to unexpected upstream changes")
        && !modified.is_empty()
    {
        format!(
            "upstream files are not what the tarball and the patches make of them: {}: commit the change as a patch in debian/patches",
            named(&modified)
        )
    } else {
        let all = before.iter().take(SHOWN).chain(std::iter::once(last));
        all.map(|line| invirtibuilder_core::text::one_line(line)).collect::<Vec<_>>().join("; ")
    };
    Some(format!("dpkg-source: {text}"))
}

/// How many errors before the last one are repeated.
const SHOWN: usize = 5;

fn collect(request: &SourceRequest, dsc: &Path, text: &str) -> Result<SourcePackage, Failure> {
    let fail = |text: String| Failure::new(FailureKind::DpkgSource, text);
    let control: Paragraph =
        text.parse().map_err(|error| fail(format!("the .dsc does not parse: {error}")))?;
    let field = |name: &str| control.get(name).unwrap_or_default();
    let Subject { package, version, .. } = &request.subject;
    if field("Source") != package.as_str() || field("Version") != version.as_str() {
        return Err(fail(format!(
            "the .dsc is of {} {}, not of {package} {version}: do debian/control and debian/changelog agree?",
            invirtibuilder_core::text::quoted(field("Source")),
            invirtibuilder_core::text::quoted(field("Version"))
        )));
    }
    let names = field("Checksums-Sha256").lines().filter_map(|line| line.split_whitespace().nth(2));
    let mut files: Vec<_> = names.map(|name| request.work.join(name)).collect();
    files.push(dsc.to_owned());
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        return Err(fail(format!("dpkg-source lists {}, which is not there", missing.display())));
    }
    let architectures = field("Architecture").split_whitespace().map(str::to_owned).collect();
    Ok(SourcePackage {
        dsc: dsc.to_owned(),
        files,
        architectures,
        tarballs: Vec::new(),
        notes: Vec::new(),
    })
}
