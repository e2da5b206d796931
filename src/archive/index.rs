//! Keeps one index file, Packages or Sources, as buckets of entries in name order.
//!
//! Adding a package rewrites and recompresses the one bucket that its name falls into; the rest of
//! the file is copied, a bucket at a time. Compressing is what takes long, so it can be done before
//! anybody has to wait for it: see [`Foreseen`].

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Mutex;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use rusqlite::{Connection, Transaction};
use sha2::{Digest, Sha256};

use crate::xz;
use invirtibuilder_core::domain::SuiteId;
use invirtibuilder_core::error::Failure;
use invirtibuilder_store::buckets::{self, Body, BucketId, NewBucket, RecordedBucket};

/// The most entries of a bucket that is not split.
const BUCKET: usize = 256;

/// The most bytes of a bucket that is not split. Debian's entries have 850 bytes on average.
const BYTES: usize = 512 << 10;

/// The edits of an index, by the names of entries: `None` takes one away.
pub type Edits = BTreeMap<String, Option<String>>;

/// A piece of an index file.
#[derive(Debug)]
pub struct Bucket {
    /// The name of the first entry.
    first: String,
    /// The size of the entries in bytes.
    pub size: u64,
    /// The size of the xz block without padding.
    pub unpadded: u64,
    /// The entries.
    entries: BucketEntries,
}

/// The entries of a bucket.
#[derive(Debug)]
enum BucketEntries {
    /// The record has them.
    Recorded(BucketId),
    /// An edit has made them.
    New(Body),
}

/// The buckets that were compressed before anybody knew whether they would be needed, by the hash
/// of what they hold. An index that needs one that is not there compresses it then.
#[derive(Debug, Default)]
pub struct Foreseen(Mutex<HashMap<[u8; 32], Packed>>);

/// The compressed forms of a bucket, and the size of the second without padding.
type Packed = (Vec<u8>, Vec<u8>, u64);

impl Foreseen {
    /// Keeps what an index has compressed.
    pub fn keep(&self, index: Index) {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for bucket in index.buckets {
            if let BucketEntries::New(body) = bucket.entries {
                all.insert(Sha256::digest(&body.plain).into(), (body.gz, body.xz, bucket.unpadded));
            }
        }
    }

    /// Takes out the compressed forms of a bucket.
    fn take(&self, plain: &[u8]) -> Option<Packed> {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if all.is_empty() {
            return None;
        }
        all.remove::<[u8; 32]>(&Sha256::digest(plain).into())
    }

    /// Returns how many buckets are left.
    #[cfg(test)]
    pub fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// An index file after some edits.
#[derive(Debug)]
pub struct Index {
    /// The path below `dists/<suite>`, without a suffix.
    pub path: String,
    /// The buckets of the index, in order.
    pub buckets: Vec<Bucket>,
    /// The buckets of the record that the index has no longer.
    gone: Vec<BucketId>,
}

impl Index {
    /// Edits the index that the record has. A name that is added while another entry has it is a
    /// conflict.
    pub fn edited(
        db: &Connection,
        suite: &SuiteId,
        path: &str,
        edits: &Edits,
        foreseen: &Foreseen,
    ) -> Result<Self, Failure> {
        let buckets = buckets::of_index(db, suite, path)?.into_iter().map(Bucket::from).collect();
        let mut index = Self { path: path.to_owned(), buckets, gone: Vec::new() };
        if !edits.is_empty() {
            index.edit(Some(db), edits, foreseen)?;
        }
        Ok(index)
    }

    /// Makes an index that holds nothing but what the edits add.
    pub fn fresh(path: &str, edits: &Edits) -> Result<Self, Failure> {
        let mut index = Self { path: path.to_owned(), buckets: Vec::new(), gone: Vec::new() };
        index.edit(None, edits, &Foreseen::default())?;
        Ok(index)
    }

    fn edit(
        &mut self,
        db: Option<&Connection>,
        edits: &Edits,
        foreseen: &Foreseen,
    ) -> Result<(), Failure> {
        let mut by_bucket: BTreeMap<usize, Vec<(&String, &Option<String>)>> = BTreeMap::new();
        for (name, entry) in edits {
            let place =
                self.buckets.partition_point(|bucket| bucket.first <= *name).saturating_sub(1);
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
                    match bucket.entries {
                        BucketEntries::Recorded(id) => self.gone.push(id),
                        BucketEntries::New(_) => {}
                    }
                    after.extend(pack(apply(entries, edits), foreseen)?);
                }
            }
        }
        self.buckets = after;
        Ok(())
    }

    /// Records what the edits have changed.
    pub fn record(&self, tx: &Transaction, suite: &SuiteId) -> Result<()> {
        for id in &self.gone {
            buckets::forget(tx, *id)?;
        }
        for bucket in &self.buckets {
            let BucketEntries::New(body) = &bucket.entries else { continue };
            let new = NewBucket { first: &bucket.first, unpadded: bucket.unpadded, body };
            buckets::add(tx, suite, &self.path, &new)?;
        }
        Ok(())
    }
}

impl From<RecordedBucket> for Bucket {
    fn from(recorded: RecordedBucket) -> Self {
        let RecordedBucket { id, first, size, unpadded } = recorded;
        Self { first, size, unpadded, entries: BucketEntries::Recorded(id) }
    }
}

impl Bucket {
    fn plain(&self, db: &Connection) -> Result<Vec<u8>> {
        match &self.entries {
            BucketEntries::New(body) => Ok(body.plain.clone()),
            BucketEntries::Recorded(id) => buckets::plain(db, *id),
        }
    }

    /// Returns the entries in every form.
    pub fn body(&self, db: &Connection) -> Result<Cow<'_, Body>> {
        match &self.entries {
            BucketEntries::New(body) => Ok(Cow::Borrowed(body)),
            BucketEntries::Recorded(id) => Ok(Cow::Owned(buckets::body(db, *id)?)),
        }
    }
}

/// Finds entries of the record, one name after the other. It keeps the bucket that it looked into
/// last: that is likely to be the next one's.
pub struct Finder<'a> {
    db: &'a Connection,
    suite: &'a SuiteId,
    last: HashMap<String, (BucketId, Vec<u8>)>,
}

impl<'a> Finder<'a> {
    /// Makes a finder in the indexes of a suite.
    pub fn new(db: &'a Connection, suite: &'a SuiteId) -> Self {
        Self { db, suite, last: HashMap::new() }
    }

    /// Finds the entry that the record has for a name.
    pub fn find(&mut self, path: &str, name: &str) -> Result<Option<String>> {
        let Some(id) = buckets::holding(self.db, self.suite, path, name)? else {
            return Ok(None);
        };
        if self.last.get(path).is_none_or(|(last, _)| *last != id) {
            self.last.insert(path.to_owned(), (id, buckets::plain(self.db, id)?));
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

/// Splits a bucket into its entries by name: each begins with its `Package` field and ends with an
/// empty line.
pub fn entries(plain: &[u8]) -> Result<BTreeMap<String, String>> {
    let mut entries: BTreeMap<String, String> = BTreeMap::new();
    for entry in std::str::from_utf8(plain)?.split_inclusive("\n\n") {
        let first = entry.lines().next();
        let name = first.and_then(|line| line.strip_prefix("Package: ")).unwrap_or_default();
        // Older versions of it stand behind the newest.
        entries.entry(name.to_owned()).or_default().push_str(entry);
    }
    Ok(entries)
}

fn apply(
    mut entries: BTreeMap<String, String>,
    edits: Vec<(&String, &Option<String>)>,
) -> BTreeMap<String, String> {
    for (name, entry) in edits {
        match entry {
            Some(entry) => drop(entries.insert(name.clone(), format!("{entry}\n"))),
            None => drop(entries.remove(name)),
        }
    }
    entries
}

/// Packs entries into buckets: one, or when they have become too many or too large, several.
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
        Ok(Bucket { first, size, unpadded, entries: BucketEntries::New(Body { plain, gz, xz }) })
    };
    Ok(parts.par_iter().map(bucket).collect::<Result<_>>()?)
}

fn split(entries: &[(String, String)]) -> Vec<&[(String, String)]> {
    let size =
        |entries: &[(String, String)]| entries.iter().map(|(_, entry)| entry.len()).sum::<usize>();
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
    use crate::index::*;

    #[test]
    fn buckets_have_a_most_of_entries_and_of_bytes() {
        let entries = |number: usize, size: usize| -> Vec<(String, String)> {
            (0..number).map(|n| (format!("p{n:05}"), "x".repeat(size))).collect()
        };
        let sizes = |number, size| {
            split(&entries(number, size)).iter().map(|part| part.len()).collect::<Vec<_>>()
        };
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
        let body = |buckets: &[Bucket]| match &buckets[0].entries {
            BucketEntries::New(body) => (body.gz.clone(), body.xz.clone()),
            BucketEntries::Recorded(_) => unreachable!("pack reads no record"),
        };
        assert_eq!(body(&again), body(&fresh));
        assert_eq!(again[0].unpadded, fresh[0].unpadded);
    }
}
