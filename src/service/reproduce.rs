//! Whether what was published can be built again, bit by bit. For administrators on the server.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::progress::Progress;
use crate::reproduction::{self, Original};
use crate::session::AtServer;
use invirtibuilder_api::builds::{
    ComparedPackage, PackageVerdict, RebuildDetail, RebuildRequest, Rebuilt,
};
use invirtibuilder_builder::{BuildPaths, BuildRequest, Builder};
use invirtibuilder_core::error::Error;
use invirtibuilder_core::text;
use invirtibuilder_store::chroots;
use invirtibuilder_system::confined;
use invirtibuilder_system::remove::remove_tree;
use invirtibuilder_system::runtime::block_on;
use invirtibuilder_system::subprocess::CancellationToken;

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

/// Builds again what a job has published, in the same chroots, and compares the packages bit by
/// bit. The record learns of a version that can be built again.
pub fn reproduce_job(
    session: &mut AtServer,
    request: &RebuildRequest,
    progress: &impl Progress,
) -> Result<Rebuilt> {
    let job = session.job(&request.job.to_string())?;
    let config = session.config.clone();
    let Some(pocket) = config.find_pocket(&job.pocket) else {
        let text =
            format!("the pocket {} of job {} is not configured any more", job.pocket, job.id);
        return Err(Error::invalid(text).into());
    };
    let original = Original::of(&config, session.record.db(), &job)?;
    let dir = config.scratch().join(format!("rebuild-{}-{}", job.id, std::process::id()));
    let (scratch, output) = (dir.join("build"), dir.join("output"));
    let log = config.job_logs(job.id).join("rebuild.log");
    let compared = progress.follow(&log, async |cancel| {
        fs::create_dir_all(&scratch)?;
        fs::create_dir_all(&output)?;
        let places =
            BuildPaths { scratch: scratch.clone(), output: output.clone(), log: log.clone() };
        let request =
            BuildRequest::new(&config, pocket, (&job.package, &job.version), Vec::new(), places);
        Ok(original
            .build_again(&Builder::new(&config)?, request, &original.environments, &cancel)
            .await?)
    });
    let rebuilt = compared.and_then(|compared| {
        let same = compared.iter().all(|one| one.verdict == PackageVerdict::Same);
        if same {
            let (isolation, built_in) = (
                reproduction::isolation(&original.environments),
                reproduction::built_in(&original.environments),
            );
            session.write(|tx| {
                let packages = &original.packages;
                chroots::set_reproduced(tx, &job.identity(), isolation, &built_in, packages)
            })?;
        }
        Ok(Rebuilt {
            chroots: original.environments.iter().map(|it| it.manifest().digest.clone()).collect(),
            environment: installed(&original, &output)?,
            job: original.job.id,
            package: original.job.package.clone(),
            version: original.job.version.clone(),
            contents: match request.detail {
                RebuildDetail::Verdict => BTreeMap::new(),
                RebuildDetail::Contents => look_into(&original, &output, &compared)?,
            },
            packages: compared,
            same,
        })
    });
    block_on(remove_tree(&dir))?;
    rebuilt
}

/// Lists what was installed in one of the two builds only.
fn installed(original: &Original, output: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (name, old) in original.pool.iter().filter(|(name, _)| name.ends_with(".buildinfo")) {
        let new = output.join(name);
        if new.exists() {
            lines.extend(reproduction::environment(
                &fs::read_to_string(old)?,
                &fs::read_to_string(new)?,
            ));
        }
    }
    Ok(lines.iter().map(|line| text::one_line(line)).collect())
}

/// Says of each package that differs where it does.
fn look_into(
    original: &Original,
    output: &Path,
    compared: &[ComparedPackage],
) -> Result<BTreeMap<String, String>> {
    let differ = compared.iter().filter(|one| one.verdict == PackageVerdict::Differs);
    let one = |ComparedPackage { file, .. }: &ComparedPackage| {
        Ok((file.clone(), look(&original.pool[file], &output.join(file))?))
    };
    differ.map(one).collect()
}

/// Says where two packages differ. Nobody vouches for either: whoever looks into them is shut in.
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
    let done = block_on(cmd.run(&CancellationToken::new())).context("cannot run diffoscope")?;
    let said = if done.stdout.is_empty() { done.describe().into_bytes() } else { done.stdout };
    let said = text::for_terminal(&said);
    Ok(said.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"))
}
