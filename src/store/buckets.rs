//! Keeps the buckets of index files: an index, Packages or Sources, is its buckets in name order.
//!
//! A bucket never changes. An edited index has other buckets in place of some of its old ones.

use anyhow::Result;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use invirtibuilder_core::domain::SuiteId;

/// The number of a recorded bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketId(i64);

impl ToSql for BucketId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for BucketId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

/// A recorded bucket, without its entries.
#[derive(Debug)]
pub struct RecordedBucket {
    /// The bucket's number.
    pub id: BucketId,
    /// The name of the first entry.
    pub first: String,
    /// The size of the entries in bytes.
    pub size: u64,
    /// The size of the xz block without padding.
    pub unpadded: u64,
}

impl RecordedBucket {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            first: row.get(1)?,
            size: row.get::<_, i64>(2)? as u64,
            unpadded: row.get::<_, i64>(3)? as u64,
        })
    }
}

/// The entries of a bucket, in every form that the file has.
#[derive(Debug, Clone)]
pub struct Body {
    /// The entries as text.
    pub plain: Vec<u8>,
    /// The entries as a gzip member.
    pub gz: Vec<u8>,
    /// The entries as an xz block.
    pub xz: Vec<u8>,
}

/// A bucket to record.
#[derive(Debug)]
pub struct NewBucket<'a> {
    /// The name of the first entry.
    pub first: &'a str,
    /// The size of the xz block without padding.
    pub unpadded: u64,
    /// The entries.
    pub body: &'a Body,
}

/// The query of [`of_index`]: the index that it names has all of it, so no bucket is read.
const OF_INDEX: &str =
    "SELECT id, first, length(plain), unpadded FROM bucket INDEXED BY bucket_sizes
                        WHERE domain = ? AND suite = ? AND path = ? ORDER BY first";

/// Lists the buckets of an index, in order.
pub fn of_index(db: &Connection, suite: &SuiteId, path: &str) -> Result<Vec<RecordedBucket>> {
    let mut statement = db.prepare_cached(OF_INDEX)?;
    let key = params![suite.domain, suite.suite, path];
    let rows = statement.query_map(key, RecordedBucket::from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Finds the bucket of an index that has the entry of this name, if any has it.
pub fn holding(
    db: &Connection,
    suite: &SuiteId,
    path: &str,
    name: &str,
) -> Result<Option<BucketId>> {
    let sql = "SELECT id FROM bucket WHERE domain = ? AND suite = ? AND path = ? AND first <= ?
               ORDER BY first DESC LIMIT 1";
    let mut statement = db.prepare_cached(sql)?;
    let key = params![suite.domain, suite.suite, path, name];
    Ok(statement.query_row(key, |row| row.get(0)).optional()?)
}

/// Reads the entries of a bucket as text.
pub fn plain(db: &Connection, id: BucketId) -> Result<Vec<u8>> {
    let mut statement = db.prepare_cached("SELECT plain FROM bucket WHERE id = ?")?;
    Ok(statement.query_row([id], |row| row.get(0))?)
}

/// Reads the entries of a bucket in every form.
pub fn body(db: &Connection, id: BucketId) -> Result<Body> {
    let mut statement = db.prepare_cached("SELECT plain, gz, xz FROM bucket WHERE id = ?")?;
    let body = |row: &Row| Ok(Body { plain: row.get(0)?, gz: row.get(1)?, xz: row.get(2)? });
    Ok(statement.query_row([id], body)?)
}

/// Reads a whole index as text.
pub fn plain_index(db: &Connection, suite: &SuiteId, path: &str) -> Result<Vec<u8>> {
    let sql = "SELECT plain FROM bucket WHERE domain = ? AND suite = ? AND path = ? ORDER BY first";
    let mut statement = db.prepare_cached(sql)?;
    let key = params![suite.domain, suite.suite, path];
    let pieces = statement.query_map(key, |row| row.get::<_, Vec<u8>>(0))?;
    Ok(pieces.collect::<Result<Vec<_>, _>>()?.concat())
}

/// Records a bucket of an index.
pub fn add(tx: &Transaction, suite: &SuiteId, path: &str, bucket: &NewBucket) -> Result<()> {
    let body = bucket.body;
    tx.prepare_cached(
        "INSERT INTO bucket (domain, suite, path, first, plain, gz, xz, unpadded) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        suite.domain,
        suite.suite,
        path,
        bucket.first,
        body.plain,
        body.gz,
        body.xz,
        bucket.unpadded as i64
    ])?;
    Ok(())
}

/// Forgets a bucket.
pub fn forget(tx: &Transaction, id: BucketId) -> Result<()> {
    tx.prepare_cached("DELETE FROM bucket WHERE id = ?")?.execute([id])?;
    Ok(())
}

/// Forgets the buckets of all indexes of a suite.
pub fn forget_suite(tx: &Transaction, suite: &SuiteId) -> Result<()> {
    let sql = "DELETE FROM bucket WHERE domain = ? AND suite = ?";
    tx.execute(sql, params![suite.domain, suite.suite])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Record;
    use crate::buckets::*;

    #[test]
    fn a_list_of_buckets_reads_none_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::open(&dir.path().join("db")).unwrap();
        let mut plan = record.db().prepare(&format!("EXPLAIN QUERY PLAN {OF_INDEX}")).unwrap();
        let steps = plan.query_map(["main", "stable", "x"], |row| row.get::<_, String>(3));
        let steps: Vec<String> = steps.unwrap().collect::<Result<_, _>>().unwrap();
        assert!(steps.len() == 1 && steps[0].contains("USING COVERING INDEX"), "{steps:?}");
    }
}
