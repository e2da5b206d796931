//! One index file, Packages or Sources, as buckets of entries in name order.
//!
//! Adding a package rewrites and recompresses the one bucket that its name falls into; the rest of the file is copied, a bucket at a time.
//! Compressing is what takes long, so it can be done before anybody has to wait for it: see [`Foreseen`].

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Mutex;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};

use super::xz;
use crate::error::Failure;
use crate::names::Suite;

/// Entries of a bucket that is split no further.
const BUCKET: usize = 256;

/// Bytes of a bucket that is split no further. Debian's entries have 850 bytes on average.
const BYTES: usize = 512 << 10;

/// What is to happen to the entries of some names: `None` takes one away.
pub type Edits = BTreeMap<String, Option<String>>;

/// A piece of the file.
#[derive(Debug)]
pub struct Bucket {
    /// Its number in the record; `None`: it is new.
    id: Option<i64>,
    /// The name of its first entry.
    first: String,
    /// The bytes of its entries.
    pub size: u64,
    /// The size of its xz block without padding.
    pub unpadded: u64,
    /// What it holds; `None`: what the record has.
    body: Option<Body>,
}

/// What a bucket holds, in every form that the file has.
#[derive(Debug)]
pub struct Body {
    /// The entries.
    pub plain: Vec<u8>,
    /// The same as a gzip member.
    pub gz: Vec<u8>,
    /// The same as an xz block.
    pub xz: Vec<u8>,
}

/// Buckets that were compressed before anybody knew whether they would be needed, by the hash of what they hold. Whoever needs one that
/// is not there compresses it then.
#[derive(Debug, Default)]
pub struct Foreseen(Mutex<HashMap<[u8; 32], Packed>>);

/// The compressed forms of a bucket, and the size of the second without padding.
type Packed = (Vec<u8>, Vec<u8>, u64);

impl Foreseen {
    /// Keeps what an index has compressed.
    pub fn keep(&self, index: Index) {
        let mut all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for bucket in index.buckets {
            if let Some(body) = bucket.body {
                all.insert(Sha256::digest(&body.plain).into(), (body.gz, body.xz, bucket.unpadded));
            }
        }
    }

    /// Takes out the forms of what a bucket holds.
    fn take(&self, plain: &[u8]) -> Option<Packed> {
        let mut all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if all.is_empty() {
            return None;
        }
        all.remove::<[u8; 32]>(&Sha256::digest(plain).into())
    }

    /// How many are left.
    #[cfg(test)]
    pub fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// An index file after some edits.
#[derive(Debug)]
pub struct Index {
    /// Its path below `dists/<suite>`, without a suffix.
    pub path: String,
    /// Its buckets, in order.
    pub buckets: Vec<Bucket>,
    /// Buckets of the record that are there no more.
    gone: Vec<i64>,
}

impl Index {
    /// The index as the record has it, edited. A name that is added while another entry has it is a conflict.
    pub fn edited(
        db: &Connection,
        suite: &Suite,
        path: &str,
        edits: &Edits,
        foreseen: &Foreseen,
    ) -> Result<Self, Failure> {
        let mut index = Self { path: path.to_owned(), buckets: load(db, suite, path)?, gone: Vec::new() };
        if !edits.is_empty() {
            index.edit(Some(db), edits, foreseen)?;
        }
        Ok(index)
    }

    /// An index that holds nothing but what the edits add.
    pub fn fresh(path: &str, edits: &Edits) -> Result<Self, Failure> {
        let mut index = Self { path: path.to_owned(), buckets: Vec::new(), gone: Vec::new() };
        index.edit(None, edits, &Foreseen::default())?;
        Ok(index)
    }

    fn edit(&mut self, db: Option<&Connection>, edits: &Edits, foreseen: &Foreseen) -> Result<(), Failure> {
        let mut by_bucket: BTreeMap<usize, Vec<(&String, &Option<String>)>> = BTreeMap::new();
        for (name, entry) in edits {
            let place = self.buckets.partition_point(|bucket| bucket.first <= *name).saturating_sub(1);
            by_bucket.entry(place).or_default().push((name, entry));
        }
        let mut after = Vec::new();
        if self.buckets.is_empty() {
            let edits = by_bucket.remove(&0).unwrap_or_default();
            after = pack(apply(BTreeMap::new(), edits), foreseen)?;
        }
        for (place, bucket) in std::mem::take(&mut self.buckets).into_iter().enumerate() {
            match by_bucket.remove(&place) {
                None => after.push(bucket),
                Some(edits) => {
                    let db = db.context("only the record has buckets")?;
                    let entries = entries(&bucket.plain(db)?)?;
                    self.gone.extend(bucket.id);
                    after.extend(pack(apply(entries, edits), foreseen)?);
                }
            }
        }
        self.buckets = after;
        Ok(())
    }

    /// Records what has changed.
    pub fn record(&self, tx: &Transaction, suite: &Suite) -> Result<()> {
        for id in &self.gone {
            tx.prepare_cached("DELETE FROM bucket WHERE id = ?")?.execute([id])?;
        }
        for (bucket, body) in self.buckets.iter().filter_map(|bucket| Some((bucket, bucket.body.as_ref()?))) {
            tx.prepare_cached(
                "INSERT INTO bucket (suite, path, first, plain, gz, xz, unpadded) VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                suite,
                self.path,
                bucket.first,
                body.plain,
                body.gz,
                body.xz,
                bucket.unpadded as i64
            ])?;
        }
        Ok(())
    }
}

impl Bucket {
    fn plain(&self, db: &Connection) -> Result<Vec<u8>> {
        match &self.body {
            Some(body) => Ok(body.plain.clone()),
            None => Ok(db
                .prepare_cached("SELECT plain FROM bucket WHERE id = ?")?
                .query_row([self.id], |row| row.get(0))?),
        }
    }

    /// Does something with what it holds, which is in memory no longer than that.
    pub fn look<T>(&self, db: &Connection, look: impl FnOnce(&Body) -> Result<T>) -> Result<T> {
        if let Some(body) = &self.body {
            return look(body);
        }
        let body = db
            .prepare_cached("SELECT plain, gz, xz FROM bucket WHERE id = ?")?
            .query_row([self.id], |row| Ok(Body { plain: row.get(0)?, gz: row.get(1)?, xz: row.get(2)? }))?;
        look(&body)
    }
}

/// Finds entries of the record, one name after the other. The bucket that was looked into last is kept: it is likely to be the next one's.
pub struct Finder<'a> {
    db: &'a Connection,
    suite: &'a Suite,
    last: HashMap<String, (i64, Vec<u8>)>,
}

impl<'a> Finder<'a> {
    /// A finder in the indexes of a suite.
    pub fn new(db: &'a Connection, suite: &'a Suite) -> Self {
        Self { db, suite, last: HashMap::new() }
    }

    /// The entry that the record has for a name.
    pub fn find(&mut self, path: &str, name: &str) -> Result<Option<String>> {
        let sql = "SELECT id FROM bucket WHERE suite = ? AND path = ? AND first <= ? ORDER BY first DESC LIMIT 1";
        let mut statement = self.db.prepare_cached(sql)?;
        let id: Option<i64> = statement.query_row(params![self.suite, path, name], |row| row.get(0)).optional()?;
        let Some(id) = id else { return Ok(None) };
        if self.last.get(path).is_none_or(|(last, _)| *last != id) {
            let sql = "SELECT plain FROM bucket WHERE id = ?";
            let plain = self.db.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
            self.last.insert(path.to_owned(), (id, plain));
        }
        let text = std::str::from_utf8(&self.last[path].1)?;
        let begin = format!("Package: {name}\n");
        let at = match text.starts_with(&begin) {
            true => Some(0),
            false => text.find(&format!("\n\n{begin}")).map(|at| at + 2),
        };
        Ok(at.map(|at| text[at..].split_inclusive("\n\n").next().unwrap_or_default().to_owned()))
    }
}

/// The whole file, as the record has it.
pub fn plain(db: &Connection, suite: &Suite, path: &str) -> Result<Vec<u8>> {
    let mut statement = db.prepare_cached("SELECT plain FROM bucket WHERE suite = ? AND path = ? ORDER BY first")?;
    let pieces = statement.query_map(params![suite, path], |row| row.get::<_, Vec<u8>>(0))?;
    Ok(pieces.collect::<Result<Vec<_>, _>>()?.concat())
}

fn load(db: &Connection, suite: &Suite, path: &str) -> Result<Vec<Bucket>> {
    let mut statement = db.prepare_cached(
        "SELECT id, first, length(plain), unpadded FROM bucket WHERE suite = ? AND path = ? ORDER BY first",
    )?;
    let rows = statement.query_map(params![suite, path], |row| {
        Ok(Bucket {
            id: Some(row.get(0)?),
            first: row.get(1)?,
            size: row.get::<_, i64>(2)? as u64,
            unpadded: row.get::<_, i64>(3)? as u64,
            body: None,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The entries of a bucket by name: each begins with its `Package` field and ends with an empty line.
pub fn entries(plain: &[u8]) -> Result<BTreeMap<String, String>> {
    let text = std::str::from_utf8(plain)?;
    Ok(text
        .split_inclusive("\n\n")
        .map(|entry| {
            let name = entry.lines().next().and_then(|line| line.strip_prefix("Package: ")).unwrap_or_default();
            (name.to_owned(), entry.to_owned())
        })
        .collect())
}

fn apply(mut entries: BTreeMap<String, String>, edits: Vec<(&String, &Option<String>)>) -> BTreeMap<String, String> {
    for (name, entry) in edits {
        match entry {
            Some(entry) => drop(entries.insert(name.clone(), format!("{entry}\n"))),
            None => drop(entries.remove(name)),
        }
    }
    entries
}

/// Entries as buckets: one, or when they have become too many or too large, several.
fn pack(entries: BTreeMap<String, String>, foreseen: &Foreseen) -> Result<Vec<Bucket>, Failure> {
    use rayon::prelude::*;
    let entries: Vec<(String, String)> = entries.into_iter().collect();
    let parts = split(&entries);
    let bucket = |part: &&[(String, String)]| -> Result<Bucket> {
        let plain = part.iter().map(|(_, entry)| entry.as_str()).collect::<String>().into_bytes();
        let (gz, xz, unpadded) = match foreseen.take(&plain) {
            Some(packed) => packed,
            None => compress(&plain)?,
        };
        let (first, size) = (part[0].0.clone(), plain.len() as u64);
        Ok(Bucket { id: None, first, size, unpadded, body: Some(Body { plain, gz, xz }) })
    };
    Ok(parts.par_iter().map(bucket).collect::<Result<_>>()?)
}

fn split(entries: &[(String, String)]) -> Vec<&[(String, String)]> {
    let size = |entries: &[(String, String)]| entries.iter().map(|(_, entry)| entry.len()).sum::<usize>();
    if !entries.is_empty() && entries.len() <= 2 * BUCKET && size(entries) <= 2 * BYTES {
        return vec![entries];
    }
    let (mut parts, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (at, (_, entry)) in entries.iter().enumerate() {
        if at > begin && (at - begin == BUCKET || bytes + entry.len() > BYTES) {
            parts.push(&entries[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += entry.len();
    }
    if begin < entries.len() {
        parts.push(&entries[begin..]);
    }
    parts
}

fn compress(plain: &[u8]) -> Result<Packed> {
    let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(9));
    gz.write_all(plain)?;
    let (xz, unpadded) = xz::compress(plain)?;
    Ok((gz.finish()?, xz, unpadded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_a_most_of_entries_and_of_bytes() {
        let entries = |number: usize, size: usize| -> Vec<(String, String)> {
            (0..number).map(|n| (format!("p{n:05}"), "x".repeat(size))).collect()
        };
        let sizes = |number, size| split(&entries(number, size)).iter().map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(sizes(0, 1), [0; 0]);
        assert_eq!((sizes(512, 800), sizes(513, 800)), (vec![512], vec![256, 256, 1]));
        assert_eq!(sizes(4, 300 << 10), [1, 1, 1, 1]);
        assert_eq!(sizes(20, 100 << 10), [5, 5, 5, 5]);
        assert_eq!(sizes(1, 2 << 20), [1]);
    }

    #[test]
    fn what_was_compressed_beforehand_is_taken_once() {
        let entries = || BTreeMap::from([("a".to_owned(), "Package: a\n\n".to_owned())]);
        let foreseen = Foreseen::default();
        let buckets = pack(entries(), &foreseen).unwrap();
        foreseen.keep(Index { path: String::new(), buckets, gone: Vec::new() });
        assert_eq!(foreseen.left(), 1);
        let again = pack(entries(), &foreseen).unwrap();
        assert_eq!(foreseen.left(), 0);
        let fresh = pack(entries(), &foreseen).unwrap();
        let body =
            |buckets: &[Bucket]| buckets[0].body.as_ref().map(|body| (body.gz.clone(), body.xz.clone())).unwrap();
        assert_eq!(body(&again), body(&fresh));
        assert_eq!(again[0].unpadded, fresh[0].unpadded);
    }
}
