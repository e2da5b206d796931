//! dpkg-source, which makes the source package from the tree and the upstream tarballs.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use deb822_fast::Paragraph;

use super::{Request, SourcePackage, sandbox};
use crate::error::{Failure, FailureKind};
use crate::subprocess::CancellationToken;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Runs `dpkg-source --build` over the directory `tree` in the request's work directory.
pub async fn build(
    request: &Request,
    tree: &str,
    timestamp: i64,
    cancel: &CancellationToken,
) -> Result<SourcePackage, Failure> {
    let cmd = sandbox::command(request, &[], "dpkg-source")
        .env("SOURCE_DATE_EPOCH", timestamp.to_string())
        .args(["--build", "--", tree])
        .total(LIMIT)
        .log(&request.log, 64 << 20);
    let done = sandbox::run(request, cmd, cancel).await?;
    if !done.ok() {
        let output = String::from_utf8_lossy(&done.stderr).into_owned();
        return Err(Failure::new(FailureKind::DpkgSource, complaint(&output).unwrap_or_else(|| done.describe())));
    }
    let dsc = request.work.join(format!("{}_{}.dsc", request.package, request.version.without_epoch()));
    let text = std::fs::read_to_string(&dsc).with_context(|| format!("dpkg-source did not make {}", dsc.display()))?;
    collect(request, &dsc, &text)
}

/// The error that dpkg-source ends with; its last line is advice or a summary.
fn complaint(output: &str) -> Option<String> {
    let error = output.lines().rev().find_map(|line| line.strip_prefix("dpkg-source: error: "))?;
    Some(format!("dpkg-source: {}", crate::text::one_line(error)))
}

fn collect(request: &Request, dsc: &Path, text: &str) -> Result<SourcePackage, Failure> {
    let fail = |text: String| Failure::new(FailureKind::DpkgSource, text);
    let control: Paragraph = text.parse().map_err(|error| fail(format!("the .dsc does not parse: {error}")))?;
    let field = |name: &str| control.get(name).unwrap_or_default();
    if field("Source") != request.package.as_str() || field("Version") != request.version.as_str() {
        return Err(fail(format!(
            "the .dsc is of {} {}, not of {} {}: do debian/control and debian/changelog agree?",
            crate::text::quoted(field("Source")),
            crate::text::quoted(field("Version")),
            request.package,
            request.version
        )));
    }
    let names = field("Checksums-Sha256").lines().filter_map(|line| line.split_whitespace().nth(2));
    let mut files: Vec<_> = names.map(|name| request.work.join(name)).collect();
    files.push(dsc.to_owned());
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        return Err(fail(format!("dpkg-source lists {}, which is not there", missing.display())));
    }
    let architectures = field("Architecture").split_whitespace().map(str::to_owned).collect();
    Ok(SourcePackage { dsc: dsc.to_owned(), files, architectures })
}
