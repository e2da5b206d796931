//! Upgrades an older release's database: copies it, then migrates it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags};

use crate::{MIGRATIONS, Record};

/// Migrates the database at `path`, if there is one and an older release has written it. Returns
/// the path of the copy of what it was.
pub fn upgrade(path: &Path) -> Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(None);
    }
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .with_context(|| format!("cannot open the database {}", path.display()))?;
    db.busy_timeout(super::BUSY)?;
    let have: usize = db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))? as usize;
    Record::open(path)?;
    Ok((0 < have && have < MIGRATIONS.len()).then(|| copy_of(path, have)))
}

fn copy_of(path: &Path, schema: usize) -> PathBuf {
    PathBuf::from(format!("{}.schema-{schema}", path.display()))
}

/// Copies the database to `<path>.schema-<number>` before a process migrates it. The copy is whole
/// and of one moment, and only the service's user may read it.
pub(super) fn copy(db: &Connection, path: &Path, schema: usize) -> Result<()> {
    let copy = copy_of(path, schema);
    let part = PathBuf::from(format!("{}.{}", copy.display(), std::process::id()));
    let _ = std::fs::remove_file(&part);
    invirtibuilder_system::private::create_file(&part)?;
    db.execute("VACUUM INTO ?1", [part.to_str().context("the database's path is not UTF-8")?])
        .with_context(|| format!("cannot copy the database to {}", part.display()))?;
    std::fs::File::open(&part)?.sync_all()?;
    std::fs::rename(&part, &copy)?;
    let dir = copy.parent().context("a file has a directory")?;
    Ok(std::fs::File::open(dir)?.sync_all()?)
}

#[cfg(test)]
mod tests {
    use crate::upgrade::*;

    #[test]
    fn an_older_database_is_copied_before_it_is_migrated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        assert_eq!(upgrade(&path).unwrap(), None);
        let old = Connection::open(&path).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        let before: i64 =
            old.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).unwrap();
        let copy = upgrade(&path).unwrap().expect("it is copied");
        assert_eq!(copy, dir.path().join("db.schema-1"));
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&copy).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        let kept = Connection::open(&copy).unwrap();
        let count = |db: &Connection| {
            db.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        };
        assert_eq!(count(&kept), Ok(before));
        assert_eq!(Record::open(&path).unwrap().user_version().unwrap(), MIGRATIONS.len());
        assert_eq!(upgrade(&path).unwrap(), None, "there is nothing to do");

        old.pragma_update(None, "user_version", 1000).unwrap();
        assert!(upgrade(&path).is_err(), "a newer database is left alone");
    }
}
