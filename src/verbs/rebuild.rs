//! `verify --rebuild`: whether what was published can be built again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::progress;
use crate::build::{Builder, Places, Request, remove_tree};
use crate::confined;
use crate::error::{Error, Exit};
use crate::rebuild::{self, Compared, Original, Verdict};
use crate::record::chroots;
use crate::session::Session;
use crate::subprocess::CancellationToken;
use crate::text;

/// Looks into packages and says where they differ (diffoscope(1)).
const DIFFOSCOPE: &str = "/usr/bin/diffoscope";

/// Where programs find libraries (ldconfig(8)).
const LIBRARIES: &str = "/etc/ld.so.cache";

/// How long it may look at one package.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// The most bytes of what it says that are shown of one package.
const SHOWN: usize = 8 << 10;

/// The longest file that it may write.
const ROOM: u64 = 4 << 30;

/// Builds again what a job has published: exit 0 if the packages are the same, 1 if not.
pub fn run(session: &mut Session, job: &str) -> Result<Exit> {
    let job = session.job(job)?;
    let config = session.config.clone();
    if !config.build.pockets.contains_key(&job.pocket) {
        let text = format!("the pocket {} of job {} is not configured any more", job.pocket, job.id);
        return Err(Error::invalid(text).into());
    }
    let original = Original::of(&config, session.record.db(), &job)?;
    let dir = config.scratch().join(format!("rebuild-{}-{}", job.id, std::process::id()));
    let (scratch, output) = (dir.join("build"), dir.join("output"));
    let log = config.job_logs(job.id).join("rebuild.log");
    let compared = progress::with_log(&log, async |cancel| {
        fs::create_dir_all(&scratch)?;
        fs::create_dir_all(&output)?;
        let places = Places { scratch: scratch.clone(), output: output.clone(), log: log.clone() };
        let request = Request::new(&config, &job.pocket, (&job.package, &job.version), Vec::new(), places);
        Ok(original.build_again(&Builder::new(&config)?, request, &original.bases, &cancel).await?)
    });
    let shown = compared.and_then(|compared| {
        if compared.iter().all(|one| one.verdict == Verdict::Same) {
            let (isolation, built_in) = (rebuild::isolation(&original.bases), rebuild::built_in(&original.bases));
            session.write(|tx| {
                let packages = &original.packages;
                chroots::set_reproduced(tx, &job.package, &job.version, isolation, &built_in, packages)
            })?;
        }
        show(session, &original, &output, &compared)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(remove_tree(&dir))?;
    shown
}

fn show(session: &Session, original: &Original, output: &Path, compared: &[Compared]) -> Result<Exit> {
    let same = compared.iter().all(|one| one.verdict == Verdict::Same);
    let exit = if same { Exit::Ok } else { Exit::JobFailed };
    let (package, version, job) = (&original.job.package, &original.job.version, original.job.id);
    let environment = installed(original, output)?;
    if session.json {
        let chroots: Vec<_> = original.bases.iter().map(|base| &base.manifest().digest).collect();
        session.print_json(
            &json!({ "job": job, "chroots": chroots, "packages": compared, "same": same, "environment": environment }),
        )?;
        return Ok(exit);
    }
    for one in compared {
        let verdict = match one.verdict {
            Verdict::Same => "is the same",
            Verdict::Differs => "differs",
            Verdict::Missing => "was not built again",
            Verdict::Extra => "was not built before",
        };
        session.line(format!("{} {verdict}", one.file))?;
        if one.verdict == Verdict::Differs {
            session.line(look(&original.pool[&one.file], &output.join(&one.file))?)?;
        }
    }
    if !environment.is_empty() {
        session.line("what was installed is not what was installed then:")?;
        environment.iter().try_for_each(|line| session.line(format!("  {line}")))?;
    }
    match same {
        true => session.line(format!("{package} {version} of job {job} can be built again, bit by bit"))?,
        false => session.line(format!("{package} {version} of job {job} cannot be built again as it was"))?,
    }
    Ok(exit)
}

/// What was installed in one of the two builds only.
fn installed(original: &Original, output: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (name, old) in original.pool.iter().filter(|(name, _)| name.ends_with(".buildinfo")) {
        let new = output.join(name);
        if new.exists() {
            lines.extend(rebuild::environment(&fs::read_to_string(old)?, &fs::read_to_string(new)?));
        }
    }
    Ok(lines.iter().map(|line| text::one_line(line)).collect())
}

/// Where two packages differ. Nobody vouches for either: whoever looks into them is shut in.
fn look(first: &Path, second: &Path) -> Result<String> {
    if !Path::new(DIFFOSCOPE).exists() {
        return Ok("  diffoscope would say where: 'apt-get install diffoscope-minimal'".to_owned());
    }
    let work = tempfile::tempdir()?;
    // It looks its libraries up in that file.
    let seen = [(first, "/first.deb"), (second, "/second.deb"), (Path::new(LIBRARIES), LIBRARIES)];
    let cmd = confined::command(Path::new("/"), work.path(), ROOM, &seen, DIFFOSCOPE)
        .args(["--no-progress", "--max-diff-block-lines=20", "--text=-"])
        .args(["/first.deb", "/second.deb"])
        .total(LIMIT)
        .capture(SHOWN);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(cmd.run(&CancellationToken::new())).context("cannot run diffoscope")?;
    let said = if done.stdout.is_empty() { done.describe().into_bytes() } else { done.stdout };
    let said = text::for_terminal(&said);
    Ok(said.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"))
}
