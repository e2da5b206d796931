//! How long `verify` takes: `verify N DIR` makes a service of N packages in three pockets in DIR,
//! each with a repository of its own, and prints the median time of a check in seconds.
//! `script/bench verify` runs it beside a floor.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

use invirtibuilder_api::archive::PoolFile;
use invirtibuilder_api::pocket::Held;
use invirtibuilder_archive::{Archive, SuiteChange};
use invirtibuilder_core::config::{Config, Pocket, SigningKey};
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::names::{
    CommitId, DomainName, JobId, PackageName, PocketName, Principal, Version,
};
use invirtibuilder_git as git;
use invirtibuilder_git::Stamp;
use invirtibuilder_publish::{Publisher, suite_spec};
use invirtibuilder_service::verify::{self, Deep};
use invirtibuilder_store::Record;
use invirtibuilder_store::contents::{Content, Part, PartKind};
use invirtibuilder_store::jobs::{self, NewJob};
use invirtibuilder_store::pockets::{self, KnownVersion};

/// How often it is checked.
const TIMES: usize = 3;

fn main() -> Result<()> {
    // `cargo bench` adds an option of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [n, dir] => measure(n.parse()?, Path::new(dir)),
        _ => {
            println!("usage: verify N DIR; script/bench verify runs it");
            Ok(())
        }
    }
}

fn measure(n: usize, dir: &Path) -> Result<()> {
    let config = configure(dir)?;
    let mut record = Record::open(&config.database())?;
    let publisher = Publisher::new(Record::open(&config.database())?);
    fill(&config, &mut record, n)?;
    publisher.project(&config)?;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let start = Instant::now();
        let compared = verify::check(&config, &mut record, &Deep::none())?;
        times.push(start.elapsed().as_secs_f64());
        ensure!(
            compared.packages == n && compared.faults.is_empty(),
            "{:?}",
            compared.faults.first()
        );
    }
    times.sort_by(f64::total_cmp);
    println!("{:.2}", times[times.len() / 2]);
    Ok(())
}

fn configure(dir: &Path) -> Result<Config> {
    let mut config = Config { state_dir: dir.join("state"), ..Config::default() };
    config.git.packages = dir.join("packages");
    config.git.superproject = dir.join("packages.git");
    config.archive.root = dir.join("apt");
    let key = dir.join("key.asc");
    config.archive.signing_key = vec![SigningKey::File(key.clone())];
    for pocket in ["prod", "staging", "dev"] {
        config.build.pockets.insert(pocket.parse()?, Pocket::default());
    }
    for made in [&config.state_dir, &config.git.packages, &config.archive.root] {
        fs::create_dir_all(made)?;
    }
    Archive::generate_key(&key, "Bench")?;
    git::init_superproject(&config.git.superproject)?;
    Ok(config)
}

/// Puts the packages where publications would have put them.
fn fill(config: &Config, record: &mut Record, n: usize) -> Result<()> {
    let stamp = Stamp { name: "A".into(), email: "a@example.org".into(), time: 1_700_000_000 };
    let pockets: Vec<PocketName> = config.build.pockets.keys().cloned().collect();
    let version: Version = "1.0-1".parse()?;
    let mut known = Vec::new();
    for k in 0..n {
        let package: PackageName =
            format!("{}pkg{k:06}", char::from(b'a' + (k % 26) as u8)).parse()?;
        known.push((package.clone(), repository(config, &pockets, &package, &version, &stamp)?));
    }
    let job = record.write(|tx| {
        let job = NewJob {
            pocket: pockets[0].clone(),
            domain: DomainName::main(),
            package: known[0].0.clone(),
            commit: known[0].1.0.clone(),
            version: version.clone(),
            written: version.clone(),
            why: None,
            principal: Principal::from_authenticated("alice@EXAMPLE.ORG")?,
        };
        jobs::enqueue(tx, &job)
    })?;
    let archive = Archive::open(config, &DomainName::main())?;
    for pocket in &pockets {
        let links: Vec<git::SubmoduleChange> = known
            .iter()
            .map(|(package, (commit, _))| git::SubmoduleChange {
                package: package.clone(),
                commit: Some(commit.clone()),
            })
            .collect();
        let (repo, url) = (&config.git.superproject, &config.git.submodule_url);
        let mv = git::write_superproject(
            repo,
            &git::NewCommit {
                branch: pocket.as_str(),
                parent: None,
                changes: &links,
                submodule_url: url,
                message: "all\n",
            },
            &stamp,
        )?;
        git::apply(&mv)?;
        let changes = known
            .iter()
            .map(|(package, _)| Ok(SuiteChange::Put(content(config, package, &version)?)));
        let changes: Vec<SuiteChange> = changes.collect::<Result<_>>()?;
        let configured = config.pocket(pocket.as_str())?;
        let prepared = archive.prepare(record.db(), &suite_spec(configured), &changes)?;
        record.write(|tx| {
            Archive::record(tx, &prepared, "bench")?;
            pockets::set_superproject(
                tx,
                pocket.as_str(),
                &mv.new.map(CommitId::from).expect("a commit"),
            )?;
            known.iter().try_for_each(|(package, (commit, tag))| {
                let distro = configured.settings().distro.clone();
                let names = KnownVersion {
                    commit: commit.clone(),
                    distro,
                    job,
                    tag: Some(tag.clone()),
                    tag_name: version.tag(),
                };
                pockets::tie(tx, &Identity::main(package.clone(), version.clone()), &names)?;
                pockets::set_held(tx, &held(pocket, package, commit, &version, job))
            })
        })?;
        archive.flip(prepared.suite(), prepared.generation())?;
    }
    Ok(())
}

fn held(
    pocket: &PocketName,
    package: &PackageName,
    commit: &CommitId,
    version: &Version,
    job: JobId,
) -> Held {
    Held {
        pocket: pocket.clone(),
        package: package.clone(),
        commit: commit.clone(),
        version: version.clone(),
        job,
    }
}

/// A repository with one commit, its tag, and a branch for each pocket; the commit, and the tag's
/// object.
fn repository(
    config: &Config,
    pockets: &[PocketName],
    package: &PackageName,
    version: &Version,
    stamp: &Stamp,
) -> Result<(CommitId, String)> {
    let path = config.git.package(package);
    git::create_package_repo(&path)?;
    let repo = git2::Repository::open_bare(&path)?;
    let me = git2::Signature::new("A", "a@example.org", &git2::Time::new(stamp.time, 0))?;
    let mut tree = repo.treebuilder(None)?;
    tree.insert("name", repo.blob(package.as_str().as_bytes())?, git2::FileMode::Blob.into())?;
    let tree = repo.find_tree(tree.write()?)?;
    let commit: CommitId = repo.commit(None, &me, &me, "a change", &tree, &[])?.into();
    for pocket in pockets {
        git::apply(&git::branch_move(&path, pocket.as_str(), None, Some(&commit)))?;
    }
    let tag = git::write_tag(&path, (&version.tag(), &commit), "a tag\n", stamp, None)?;
    repo.reference(&format!("refs/tags/{}", version.tag()), tag, false, "")?;
    let tag = tag.to_string();
    git::Marks::of(&DomainName::main())
        .complete(&path, [(version.tag(), Some(&tag[..]), &commit)])?;
    Ok((commit, tag))
}

/// A source package, a binary package and their files, which are holes.
fn content(config: &Config, package: &PackageName, version: &Version) -> Result<Content> {
    let directory = format!("pool/main/{}/{package}", &package.as_str()[..1]);
    let names = [
        format!("{package}_{version}.dsc"),
        format!("{package}_1.0.orig.tar.xz"),
        format!("{package}_{version}_amd64.deb"),
        format!("{package}_{version}_amd64.changes"),
    ];
    let dir = config.archive.root.join(&directory);
    fs::create_dir_all(&dir)?;
    let mut files = Vec::new();
    for name in &names {
        fs::File::create(dir.join(name))?.set_len(20_000)?;
        files.push(PoolFile {
            path: format!("{directory}/{name}"),
            size: 20_000,
            sha256: "0".repeat(64),
        });
    }
    let more = "Maintainer: A <a@example.org>\nSection: misc\nPriority: optional\nDescription: a package\n a line\n";
    let part = |kind, architecture: &str, stanza: String| Part {
        kind,
        name: package.to_string(),
        architecture: architecture.to_owned(),
        component: "main".to_owned(),
        stanza,
    };
    let source = format!("Package: {package}\nVersion: {version}\nArchitecture: any\n{more}");
    let binary = format!(
        "Package: {package}\nVersion: {version}\nArchitecture: amd64\n{more}Filename: {directory}/{}\nSize: 20000\n",
        names[2]
    );
    Ok(Content {
        id: Identity::main(package.clone(), version.clone()),
        changes: format!("{directory}/{}", names[3]),
        parts: vec![part(PartKind::Dsc, "", source), part(PartKind::Deb, "amd64", binary)],
        files,
        beside: Vec::new(),
    })
}
