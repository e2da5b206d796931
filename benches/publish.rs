//! Publishing one package into a suite that has many: `publish N` prints the median time in
//! milliseconds; `publish debs DIR FROM COUNT` makes tiny binary packages for the peers that
//! `script/bench publish` measures beside us.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use invirtibuilder_archive::{Admission, Archive, Foreseen, SuiteChange, SuiteSpec};
use invirtibuilder_core::config::{Automatic, Config, SigningKey};
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::names::DomainName;
use invirtibuilder_store::contents::{Content, Part, PartKind};
use invirtibuilder_store::{Record, pool};
use invirtibuilder_system::unsynced::Unsynced;

/// How often one package is added.
const TIMES: usize = 7;

fn main() -> Result<()> {
    // `cargo bench` adds an option of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["debs", dir, from, count] => debs(Path::new(dir), from.parse()?, count.parse()?),
        [n] => ours(n.parse()?),
        _ => {
            println!(
                "usage: publish N | publish debs DIR FROM COUNT; script/bench publish runs it"
            );
            Ok(())
        }
    }
}

fn name(n: usize) -> String {
    // Spread over the alphabet, as names are.
    format!("{}pkg{n:06}", char::from(b'a' + (n % 26) as u8))
}

/// A control file about as long as Debian's are.
fn control(name: &str) -> String {
    let depends: Vec<String> = (0..12).map(|k| format!("lib{name}{k} (>= 1.{k})")).collect();
    format!(
        "Package: {name}\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: A Maintainer <a@example.org>\nInstalled-Size: 100\n\
         Depends: {}\nSection: misc\nPriority: optional\nHomepage: https://example.org/{name}\nDescription: package {name}\n{}",
        depends.join(", "),
        format!(" A line of the description of {name}, of about the usual length.\n").repeat(5),
    )
}

fn ours(n: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut config = Config::default();
    config.archive.root = dir.path().join("apt");
    let key = dir.path().join("key.asc");
    config.archive.signing_key = vec![SigningKey::File(key.clone())];
    config.archive.url = Some("https://apt.example.org".to_owned());
    fs::create_dir(&config.archive.root)?;
    Archive::generate_key(&key, "Bench")?;
    let main = DomainName::main();
    let archive = Archive::open(&config, &main)?;
    let mut record = Record::open(&dir.path().join("db"))?;
    let spec = SuiteSpec {
        keep: 3,
        description: Some("packages of a benchmark".to_owned()),
        codename: "trixie".parse()?,
        automatic: Automatic::Upgrades,
        suite: "stable".parse()?,
        components: vec!["main".parse()?],
        architectures: vec!["amd64".parse()?],
    };
    let publish = |record: &mut Record, changes: Vec<SuiteChange>, unsynced| -> Result<()> {
        let foreseen = Foreseen::default();
        let prepared =
            archive.prepare_foreseen(record.db(), &spec, &changes, (&foreseen, unsynced))?;
        record.write(|tx| Archive::record(tx, &prepared, "bench"))?;
        archive.flip(prepared.suite(), prepared.generation())?;
        archive.sweep(record.db(), std::slice::from_ref(prepared.suite()))
    };
    publish(
        &mut record,
        (0..n).map(|k| content(&name(k)).map(SuiteChange::Put)).collect::<Result<_>>()?,
        Unsynced::default(),
    )?;
    let mut times = Vec::new();
    for k in 0..TIMES {
        let admission = build(dir.path(), &name(n + k * 3), &spec)?;
        let start = Instant::now();
        let admitted = Archive::examine(&admission)?;
        record.write(|tx| {
            admitted.content.paths().try_for_each(|path| pool::intend(tx, &main, path))
        })?;
        let unsynced = Unsynced::default();
        archive.store(&admitted, &unsynced)?;
        publish(&mut record, vec![SuiteChange::Put(admitted.content)], unsynced)?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    println!("{:.1}", times[times.len() / 2]);
    Ok(())
}

/// What the record has of a package that was published before.
fn content(name: &str) -> Result<Content> {
    let hash = "0".repeat(64);
    let directory = format!("pool/main/{}/{name}", &name[..1]);
    let source = format!(
        "Package: {name}\nBinary: {name}\nVersion: 1.0-1\nMaintainer: A Maintainer <a@example.org>\nFormat: 3.0 (quilt)\n\
         Architecture: any\nStandards-Version: 4.6.2\nBuild-Depends: debhelper-compat (= 13)\nDirectory: {directory}\n\
         Checksums-Sha256:\n {hash} 1000 {name}_1.0.orig.tar.xz\n {hash} 1000 {name}_1.0-1.debian.tar.xz\n"
    );
    let binary = format!(
        "{}Filename: {directory}/{name}_1.0-1_amd64.deb\nSize: 1000\nSHA256: {hash}\n",
        control(name)
    );
    let part = |kind, architecture: &str, stanza| Part {
        kind,
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        component: "main".to_owned(),
        stanza,
    };
    Ok(Content {
        id: Identity::main(name.parse()?, "1.0-1".parse()?),
        changes: format!("{directory}/{name}_1.0-1_amd64.changes"),
        parts: vec![part(PartKind::Dsc, "", source), part(PartKind::Deb, "amd64", binary)],
        files: Vec::new(),
        beside: Vec::new(),
    })
}

/// What a build would have returned.
fn build(dir: &Path, name: &str, spec: &SuiteSpec) -> Result<Admission> {
    let out = dir.join(name);
    fs::create_dir(&out)?;
    let deb = format!("{name}_1.0-1_amd64.deb");
    write_deb(&out.join(&deb), name)?;
    let tarball = format!("{name}_1.0-1.debian.tar.xz");
    fs::write(out.join(&tarball), vec![b'x'; 10_000])?;
    let sums = |file: &str| -> Result<String> {
        let bytes = fs::read(out.join(file))?;
        let hash: String =
            Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!(" {hash} {} {file}\n", bytes.len()))
    };
    let head = format!("Source: {name}\nVersion: 1.0-1\nArchitecture: amd64\nChecksums-Sha256:\n");
    fs::write(
        out.join(format!("{name}_1.0-1.dsc")),
        format!("Format: 3.0 (quilt)\nBinary: {name}\n{head}{}", sums(&tarball)?),
    )?;
    fs::write(out.join(format!("{name}_1.0-1_amd64.changes")), format!("{head}{}", sums(&deb)?))?;
    Ok(Admission {
        dir: out,
        source: name.parse()?,
        version: "1.0-1".parse()?,
        components: spec.components.clone(),
        architectures: spec.architectures.clone(),
        section: None,
        suite: spec.suite.clone(),
        changelog: format!("{name} (1.0-1) unstable; urgency=medium\n").into_bytes(),
    })
}

fn write_deb(path: &Path, name: &str) -> Result<()> {
    let tar = |files: &[(&str, &str)]| -> Result<Vec<u8>> {
        let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gz);
        for (file, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            tar.append_data(&mut header, file, text.as_bytes())?;
        }
        Ok(tar.into_inner()?.finish()?)
    };
    let mut deb = ar::Builder::new(File::create(path)?);
    let members: [(&str, Vec<u8>); 3] = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", tar(&[("./control", &control(name))])?),
        ("data.tar.gz", tar(&[(&format!("./usr/share/{name}"), "x")])?),
    ];
    for (member, bytes) in members {
        deb.append(&ar::Header::new(member.as_bytes().to_vec(), bytes.len() as u64), &bytes[..])?;
    }
    Ok(())
}

fn debs(dir: &Path, from: usize, count: usize) -> Result<()> {
    fs::create_dir_all(dir)?;
    for k in from..from + count {
        write_deb(&dir.join(format!("{}_1.0-1_amd64.deb", name(k))), &name(k))?;
    }
    // The peers read them with dpkg's tools: so must we.
    let first = dir.join(format!("{}_1.0-1_amd64.deb", name(from)));
    let read = Command::new("dpkg-deb")
        .arg("--info")
        .arg(&first)
        .output()
        .context("cannot run dpkg-deb")?;
    ensure!(read.status.success(), "dpkg-deb does not read {}", first.display());
    Ok(())
}
