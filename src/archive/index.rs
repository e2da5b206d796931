//! One index file, Packages or Sources, as buckets of entries in name order.
//!
//! Adding a package rewrites and recompresses the one bucket that its name falls into; the rest of the file is copied.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::xz;
use crate::error::Failure;
use crate::names::Suite;

/// Entries of a bucket that is split no further.
const BUCKET: usize = 256;

/// What is to happen to the entries of some names: `None` takes one away.
pub type Edits = BTreeMap<String, Option<String>>;

/// A piece of the file in every form that the file has.
#[derive(Debug)]
pub struct Bucket {
    /// Its number in the record; `None`: it is new.
    pub id: Option<i64>,
    /// The name of its first entry.
    pub first: String,
    /// The entries.
    pub plain: Vec<u8>,
    /// The same as a gzip member.
    pub gz: Vec<u8>,
    /// The same as an xz block.
    pub xz: Vec<u8>,
    /// The block's size without padding.
    pub unpadded: u64,
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
    pub fn edited(db: &Connection, suite: &Suite, path: &str, edits: &Edits) -> Result<Self, Failure> {
        let mut index = Self { path: path.to_owned(), buckets: load(db, suite, path)?, gone: Vec::new() };
        if !edits.is_empty() {
            index.edit(edits)?;
        }
        Ok(index)
    }

    /// An index that holds nothing but what the edits add.
    pub fn fresh(path: &str, edits: &Edits) -> Result<Self, Failure> {
        let mut index = Self { path: path.to_owned(), buckets: Vec::new(), gone: Vec::new() };
        index.edit(edits)?;
        Ok(index)
    }

    fn edit(&mut self, edits: &Edits) -> Result<(), Failure> {
        let mut by_bucket: BTreeMap<usize, Vec<(&String, &Option<String>)>> = BTreeMap::new();
        for (name, entry) in edits {
            let place = self.buckets.partition_point(|bucket| bucket.first <= *name).saturating_sub(1);
            by_bucket.entry(place).or_default().push((name, entry));
        }
        let mut after = Vec::new();
        if self.buckets.is_empty() {
            let edits = by_bucket.remove(&0).unwrap_or_default();
            after = pack(apply(BTreeMap::new(), edits))?;
        }
        for (place, bucket) in std::mem::take(&mut self.buckets).into_iter().enumerate() {
            match by_bucket.remove(&place) {
                None => after.push(bucket),
                Some(edits) => {
                    self.gone.extend(bucket.id);
                    after.extend(pack(apply(entries(&bucket.plain)?, edits))?);
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
        for bucket in self.buckets.iter().filter(|bucket| bucket.id.is_none()) {
            tx.prepare_cached(
                "INSERT INTO bucket (suite, path, first, plain, gz, xz, unpadded) VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                suite,
                self.path,
                bucket.first,
                bucket.plain,
                bucket.gz,
                bucket.xz,
                bucket.unpadded as i64
            ])?;
        }
        Ok(())
    }
}

/// The entry that the record has for a name.
pub fn find(db: &Connection, suite: &Suite, path: &str, name: &str) -> Result<Option<String>> {
    let bucket: Option<Vec<u8>> = db
        .prepare_cached(
            "SELECT plain FROM bucket WHERE suite = ? AND path = ? AND first <= ? ORDER BY first DESC LIMIT 1",
        )?
        .query_row(params![suite, path, name], |row| row.get(0))
        .optional()?;
    Ok(bucket.map(|plain| entries(&plain)).transpose()?.and_then(|mut entries| entries.remove(name)))
}

/// The whole file, as the record has it.
pub fn plain(db: &Connection, suite: &Suite, path: &str) -> Result<Vec<u8>> {
    let mut statement = db.prepare_cached("SELECT plain FROM bucket WHERE suite = ? AND path = ? ORDER BY first")?;
    let pieces = statement.query_map(params![suite, path], |row| row.get::<_, Vec<u8>>(0))?;
    Ok(pieces.collect::<Result<Vec<_>, _>>()?.concat())
}

fn load(db: &Connection, suite: &Suite, path: &str) -> Result<Vec<Bucket>> {
    let mut statement = db.prepare_cached(
        "SELECT id, first, plain, gz, xz, unpadded FROM bucket WHERE suite = ? AND path = ? ORDER BY first",
    )?;
    let rows = statement.query_map(params![suite, path], |row| {
        Ok(Bucket {
            id: Some(row.get(0)?),
            first: row.get(1)?,
            plain: row.get(2)?,
            gz: row.get(3)?,
            xz: row.get(4)?,
            unpadded: row.get::<_, i64>(5)? as u64,
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

/// Entries as buckets: one, or when they have become too many, several.
fn pack(entries: BTreeMap<String, String>) -> Result<Vec<Bucket>, Failure> {
    let entries: Vec<(String, String)> = entries.into_iter().collect();
    let most = if entries.len() > 2 * BUCKET { BUCKET } else { 2 * BUCKET };
    let bucket = |part: &[(String, String)]| -> Result<Bucket> {
        let plain: String = part.iter().map(|(_, entry)| entry.as_str()).collect();
        let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(9));
        gz.write_all(plain.as_bytes())?;
        let (xz, unpadded) = xz::compress(plain.as_bytes())?;
        Ok(Bucket { id: None, first: part[0].0.clone(), plain: plain.into_bytes(), gz: gz.finish()?, xz, unpadded })
    };
    use rayon::prelude::*;
    Ok(entries.par_chunks(most).map(bucket).collect::<Result<_>>()?)
}
