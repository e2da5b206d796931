//! How long the source package takes: `source N DIR` makes a native package of N files of 12 KiB in
//! DIR and prints the seconds of the plan, of making the package and of proving that it is the
//! commit. `script/bench source` runs it beside a floor.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use git2::{Repository, Signature, Time};

use invirtibuilder_builder::source::{self, PlanInputs, SourceRequest, Subject};
use invirtibuilder_git as git;
use invirtibuilder_git::create_package_repo;
use invirtibuilder_system::subprocess::CancellationToken;

/// The files of one directory.
const WIDE: usize = 50;

fn main() -> Result<()> {
    // `cargo bench` adds an option of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [n, dir] => measure(n.parse()?, Path::new(dir)),
        _ => {
            println!("usage: source N DIR; script/bench source runs it");
            Ok(())
        }
    }
}

fn measure(n: usize, dir: &Path) -> Result<()> {
    let repo = dir.join("large.git");
    create_package_repo(&repo)?;
    fill(&repo, n)?;
    let commit = git::resolve::resolve(&git::open(&repo)?, &"large".parse()?, "main")?;
    let subject = Subject {
        repo,
        commit,
        package: "large".parse()?,
        version: "1.0".parse()?,
        written: "1.0".parse()?,
        distro: "trixie".parse()?,
        why: None,
    };
    let start = Instant::now();
    let inputs = PlanInputs {
        subject: &subject,
        pool: &[],
        branch: source::Branch::Now,
        scratch: None,
        orig: &[],
    };
    let plan = source::plan(&git::open(&subject.repo)?, &inputs)?;
    let planned = start.elapsed().as_secs_f64();
    let request = SourceRequest::on_host(subject, plan, dir, 64 << 30)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (made, proven) = runtime.block_on(async {
        let start = Instant::now();
        let package = source::make(&request, &CancellationToken::new()).await?;
        let made = start.elapsed().as_secs_f64();
        let start = Instant::now();
        source::prove(&request, &package, &CancellationToken::new()).await?;
        anyhow::Ok((made, start.elapsed().as_secs_f64()))
    })?;
    println!("{planned:.2} {made:.2} {proven:.2}");
    Ok(())
}

/// A package of so many files, in directories of [`WIDE`].
fn fill(path: &Path, n: usize) -> Result<()> {
    let repo = Repository::open(path)?;
    let mut random = fastrand::Rng::with_seed(1);
    let odb = repo.odb()?;
    let pack = odb.add_new_mempack_backend(1000)?;
    let words: Vec<String> =
        (0..2000).map(|_| (0..random.usize(2..9)).map(|_| random.lowercase()).collect()).collect();
    let mut root = repo.treebuilder(None)?;
    for (at, first) in (0..n).step_by(WIDE).enumerate() {
        let mut dir = repo.treebuilder(None)?;
        for file in first..n.min(first + WIDE) {
            let mut text = String::new();
            while text.len() < 12 << 10 {
                text.push_str(&words[random.usize(..words.len())]);
                text.push(if random.u8(..10) == 0 { '\n' } else { ' ' });
            }
            dir.insert(format!("file-{file}.c"), repo.blob(text.as_bytes())?, 0o100644)?;
        }
        root.insert(format!("dir-{at}"), dir.write()?, 0o040000)?;
    }
    let mut debian = repo.treebuilder(None)?;
    let mut source = repo.treebuilder(None)?;
    source.insert("format", repo.blob(b"3.0 (native)\n")?, 0o100644)?;
    for (name, text) in [
        (
            "changelog",
            "large (1.0) unstable; urgency=medium\n\n  * x\n\n -- A <a@example.org>  Mon, 02 Jan 2023 03:04:05 +0000\n",
        ),
        (
            "control",
            "Source: large\nMaintainer: A <a@example.org>\n\nPackage: large\nArchitecture: all\nDescription: x\n y\n",
        ),
        ("rules", "#!/usr/bin/make -f\n"),
    ] {
        debian.insert(
            name,
            repo.blob(text.as_bytes())?,
            if name == "rules" { 0o100755 } else { 0o100644 },
        )?;
    }
    debian.insert("source", source.write()?, 0o040000)?;
    root.insert("debian", debian.write()?, 0o040000)?;
    let tree = repo.find_tree(root.write()?)?;
    let me = Signature::new("A", "a@example.org", &Time::new(1_700_000_000, 0))?;
    repo.commit(Some("refs/heads/main"), &me, &me, "large", &tree, &[])?;
    // As a push leaves it: in one pack.
    let mut buffer = git2::Buf::new();
    pack.dump(&repo, &mut buffer)?;
    let mut writer = odb.packwriter()?;
    std::io::Write::write_all(&mut writer, &buffer)?;
    writer.commit()?;
    Ok(())
}
