//! Writes one generation of a suite: index files, their names by hash, Release and its signatures.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rusqlite::{Connection, Transaction};
use sha2::{Digest, Sha256};

use crate::index::Index;
use crate::sign::ArchiveKeys;
use crate::{Prepared, dates, site, xz};
use invirtibuilder_core::domain::SuiteId;
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_core::time::now;
use invirtibuilder_store::buckets::Body;
use invirtibuilder_store::generations::{self, ListedFile};
use invirtibuilder_store::snapshots;
use invirtibuilder_system::files;
use invirtibuilder_system::unsynced::Unsynced;

/// The directory of generations, below `dists`.
pub const DIRECTORY: &str = ".generations";

/// The number of generations whose index files readers can still get by hash, however old they are.
const BY_HASH: i64 = 8;

/// The time for which readers can still get the index files of a generation by hash after it was
/// shown, in milliseconds: a reader of its InRelease asks for them next.
const LATE: i64 = 120_000;

/// The forms that each index file has.
const SUFFIXES: [&str; 3] = ["", ".gz", ".xz"];

/// Writes the generation that `prepared` is. The indexes in `kept` are those of the generation
/// before. `sources` is the file that makes apt read the suite.
pub fn write(
    (root, unsynced): (&Path, &Unsynced),
    db: &Connection,
    prepared: &Prepared,
    kept: &[String],
    (keys, sources): (&ArchiveKeys, &str),
) -> Result<Vec<ListedFile>> {
    let base = root.join("dists").join(DIRECTORY).join(prepared.suite.suite.as_str());
    let dir = base.join(prepared.generation().to_string());
    let before = base.join((prepared.generation() - 1).to_string());
    if dir.exists() {
        // Somebody died before it was recorded.
        fs::remove_dir_all(&dir)?;
    }
    unsynced.make_dirs(&base)?;
    let mut listed = Vec::new();
    for file in generations::files(db, &prepared.suite, prepared.from)? {
        if kept.iter().any(|path| {
            file.path.strip_prefix(path.as_str()).is_some_and(|rest| SUFFIXES.contains(&rest))
        }) {
            let home = home(&file);
            link(&before.join(&home), &dir.join(&home))?;
            listed.push(file);
        }
    }
    for index in &prepared.indexes {
        listed.extend(write_index(&dir, db, index, unsynced)?);
    }
    listed.sort_by(|a, b| a.path.cmp(&b.path));
    by_hash(&before, &dir, db, prepared, &listed)?;
    reach(Point::SuiteIndexed)?;
    let release = release(prepared, &listed);
    let signed = keys.sign(&release)?;
    let time = Some(time_after(&before));
    unsynced.write_new(&dir.join("Release"), release.as_bytes(), time)?;
    reach(Point::SuiteReleaseWritten)?;
    unsynced.write_new(&dir.join("InRelease"), &signed.inline, time)?;
    unsynced.write_new(&dir.join("Release.gpg"), &signed.detached, time)?;
    let name = site::sources_name(&prepared.suite.suite);
    if fs::read(before.join(&name)).is_ok_and(|shown| shown == sources.as_bytes()) {
        link(&before.join(&name), &dir.join(&name))?;
    } else {
        unsynced.write_new(&dir.join(&name), sources.as_bytes(), None)?;
    }
    unsynced.add_tree(&dir)?;
    reach(Point::SuiteSigned)?;
    Ok(listed)
}

/// Returns the time of the files that are fetched by name: a second later than that of the ones
/// before at least. HTTP compares whole seconds: a reader who has the ones before would hear for
/// ever that nothing has changed.
fn time_after(before: &Path) -> SystemTime {
    let last = fs::metadata(before.join("InRelease")).and_then(|meta| meta.modified());
    let now = SystemTime::now();
    last.map_or(now, |last| now.max(last + Duration::from_secs(1)))
}

/// The bytes of entries that are handed on at once, and how often that is done before a form of an
/// index is written that far.
const PORTION: usize = 1 << 20;
const AHEAD: usize = 2;

/// Writes an index in every form, each by a thread of its own, while this one reads the record. A
/// few portions of it are in memory at a time.
fn write_index(
    dir: &Path,
    db: &Connection,
    index: &Index,
    unsynced: &Unsynced,
) -> Result<Vec<ListedFile>> {
    let blocks =
        index.buckets.iter().map(|it| xz::Block { unpadded: it.unpadded, uncompressed: it.size });
    let (header, footer) = xz::frame(blocks);
    let mut forms = SUFFIXES
        .iter()
        .map(|suffix| IndexFile::new(dir, index, suffix))
        .collect::<Result<Vec<_>>>()?;
    forms[2].add(&header)?;
    let parts: [fn(&Body) -> &[u8]; 3] = [|body| &body.plain, |body| &body.gz, |body| &body.xz];
    let mut forms = thread::scope(|scope| {
        let writers: Vec<_> = forms
            .into_iter()
            .zip(parts)
            .map(|(mut form, part)| {
                let (to, portions) = mpsc::sync_channel::<Arc<Vec<Cow<Body>>>>(AHEAD);
                let write = move || {
                    for portion in portions {
                        portion.iter().try_for_each(|body| form.add(part(body)))?;
                    }
                    Ok(form)
                };
                (to, scope.spawn(write))
            })
            .collect();
        let (mut portion, mut size) = (Vec::new(), 0);
        for (n, bucket) in index.buckets.iter().enumerate() {
            portion.push(bucket.body(db)?);
            size += bucket.size as usize;
            if size >= PORTION || n + 1 == index.buckets.len() {
                let whole = Arc::new(std::mem::take(&mut portion));
                size = 0;
                // A writer that has ended says why below.
                if writers.iter().any(|(to, _)| to.send(whole.clone()).is_err()) {
                    break;
                }
            }
        }
        let ended = writers.into_iter().map(|(to, writer)| {
            drop(to);
            writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ended.collect::<Result<Vec<IndexFile>>>()
    })?;
    if index.buckets.is_empty() {
        forms[1].add(&empty_gzip()?)?;
    }
    forms[2].add(&footer)?;
    forms.into_iter().map(|form| form.finish(dir, unsynced)).collect()
}

/// A file of an index that the service is writing.
struct IndexFile {
    path: String,
    temporary: PathBuf,
    file: fs::File,
    hash: Sha256,
    size: u64,
}

impl IndexFile {
    fn new(dir: &Path, index: &Index, suffix: &str) -> Result<Self> {
        let path = format!("{}{suffix}", index.path);
        let target = dir.join(&path);
        let name = target.file_name().context("an index has a name")?.to_string_lossy();
        let temporary = target.with_file_name(format!(".{name}.new"));
        fs::create_dir_all(target.parent().context("an index has a directory")?)?;
        Ok(Self {
            path,
            file: files::create_new(&temporary)?,
            temporary,
            hash: Sha256::new(),
            size: 0,
        })
    }

    fn add(&mut self, part: &[u8]) -> Result<()> {
        self.hash.update(part);
        self.size += part.len() as u64;
        Ok(self.file.write_all(part)?)
    }

    /// Gives the file its name: where that is may depend on its hash.
    fn finish(self, dir: &Path, unsynced: &Unsynced) -> Result<ListedFile> {
        let listed = ListedFile {
            path: self.path,
            size: self.size,
            sha256: invirtibuilder_core::text::hex(&self.hash.finalize()),
        };
        let target = dir.join(home(&listed));
        fs::create_dir_all(target.parent().context("an index has a directory")?)?;
        fs::rename(&self.temporary, &target)?;
        unsynced.add_file(&target, self.file)?;
        reach(Point::SuiteIndexWritten)?;
        Ok(listed)
    }
}

fn empty_gzip() -> Result<Vec<u8>> {
    Ok(flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::new(9)).finish()?)
}

fn link(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file has a directory")?)?;
    fs::hard_link(from, to)
        .with_context(|| format!("cannot link {} to {}", to.display(), from.display()))
}

/// Gives every listed file its name by hash, and keeps those of the last generations.
fn by_hash(
    before: &Path,
    dir: &Path,
    db: &Connection,
    prepared: &Prepared,
    listed: &[ListedFile],
) -> Result<()> {
    let mut late = late(db, &prepared.suite, prepared.generation())?;
    for file in listed {
        let name = hashed(file);
        let target = dir.join(&name);
        // Two empty files of one directory have one name.
        if !target.exists() {
            link(&dir.join(home(file)), &target)?;
        }
        late.remove(&name);
    }
    for name in late {
        if before.join(&name).exists() {
            link(&before.join(&name), &dir.join(&name))?;
        }
    }
    Ok(())
}

/// Lists what late readers of the generations before this one may still ask for, by hash.
pub fn late(db: &Connection, suite: &SuiteId, generation: i64) -> Result<BTreeSet<String>> {
    let mut late = BTreeSet::new();
    for before in first_late(db, suite, generation)?..generation {
        late.extend(generations::files(db, suite, before)?.into_iter().map(|file| hashed(&file)));
    }
    Ok(late)
}

/// Finds the first generation whose files readers may still ask for when `generation` is shown.
fn first_late(db: &Connection, suite: &SuiteId, generation: i64) -> Result<i64> {
    // The newest of those that are old was shown until the next came.
    let newest_old = snapshots::newest_before(db, suite, now() - LATE)?;
    Ok((generation - BY_HASH).min(newest_old.unwrap_or(1)).max(1))
}

/// Returns where a listed file is, below the generation. One that is not compressed has no name but
/// that by hash: apt would take it in place of the compressed one that it has found by hash,
/// although after a flip it is another's.
pub fn home(file: &ListedFile) -> String {
    let compressed =
        SUFFIXES.iter().any(|suffix| !suffix.is_empty() && file.path.ends_with(suffix));
    if compressed { file.path.clone() } else { hashed(file) }
}

/// Returns the name of a listed file by hash, below the generation.
pub fn hashed(file: &ListedFile) -> String {
    let dir = file.path.rsplit_once('/').map_or("", |(dir, _)| dir);
    format!("{dir}/by-hash/SHA256/{}", file.sha256)
}

/// Writes the part of Release that lists files.
pub fn sums(listed: &[ListedFile]) -> String {
    let line = |file: &ListedFile| format!(" {} {} {}\n", file.sha256, file.size, file.path);
    format!("SHA256:\n{}", listed.iter().map(line).collect::<String>())
}

fn release(prepared: &Prepared, listed: &[ListedFile]) -> String {
    let mut text = format!("{}Date: {}\n", prepared.to.release, dates::write(prepared.date));
    if let Some(until) = prepared.to.valid_until {
        text.push_str(&format!("Valid-Until: {}\n", dates::write(until / 1000)));
    }
    text.push_str(&sums(listed));
    text
}

/// Records the files of a generation, and forgets those that by-hash has no longer.
pub fn record(
    tx: &Transaction,
    suite: &SuiteId,
    generation: i64,
    listed: &[ListedFile],
) -> Result<()> {
    generations::forget_files_before(tx, suite, first_late(tx, suite, generation)?)?;
    generations::add_files(tx, suite, generation, listed)
}
