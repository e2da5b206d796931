//! Keeps the versions that an administrator let go: their numbers may be used again, but never for
//! the bytes that were published under them.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::jobs;
use crate::kept;
use crate::pockets::{self, KnownVersion};
use invirtibuilder_api::archive::Released;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::{CommitId, DomainName, PocketName, Suite};

const COLUMNS: &str = "released.package, released.version, released.commit_id, released.job, released.at, released.by, released.reason, \
                       released.domain";

fn released_from(row: &Row) -> rusqlite::Result<Released> {
    Ok(Released {
        package: row.get(0)?,
        version: row.get(1)?,
        commit: row.get(2)?,
        job: row.get(3)?,
        at: row.get(4)?,
        by: row.get(5)?,
        reason: row.get(6)?,
        domain: row.get(7)?,
    })
}

/// Finds the version of this commit, if it was let go: the service never publishes the commit under
/// that number again.
pub fn of_commit(db: &Connection, id: &Identity, commit: &CommitId) -> Result<Option<Released>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM released WHERE domain = ? AND package = ? AND version = ? AND commit_id = ?
         ORDER BY id DESC LIMIT 1"
    );
    Ok(db
        .prepare_cached(&sql)?
        .query_row(params![id.domain, id.package, id.version, commit], released_from)
        .optional()?)
}

/// Finds the version of a domain that had this file when it was let go, if there is one.
fn of_file(db: &Connection, domain: &DomainName, sha256: &str) -> Result<Option<Released>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM past_file JOIN released ON released.id = past_file.released
         WHERE past_file.domain = ? AND sha256 = ? AND past_file.released IS NOT NULL LIMIT 1"
    );
    Ok(db.prepare_cached(&sql)?.query_row(params![domain, sha256], released_from).optional()?)
}

/// Refuses a file that a version of the domain had when it was let go.
pub fn demand_new(
    db: &Connection,
    domain: &DomainName,
    file: &str,
    sha256: &str,
) -> Result<(), Failure> {
    let Some(old) = of_file(db, domain, sha256)? else { return Ok(()) };
    let text = format!(
        "{file} has the bytes of a file of {} {}, which was let go: they are never published again, so change what the package is made \
         of, or raise the version in debian/changelog",
        old.package, old.version
    );
    Err(Failure::new(FailureKind::Conflict, text))
}

/// Finds a version that a snapshot had and that was let go since.
pub fn of_snapshot(db: &Connection, suite: &SuiteId, number: i64) -> Result<Option<Released>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM released_source JOIN released ON released.id = released_source.released
         WHERE released_source.domain = ?1 AND suite = ?2 AND since <= ?3 AND until > ?3 LIMIT 1"
    );
    let key = params![suite.domain, suite.suite, number];
    Ok(db.prepare_cached(&sql)?.query_row(key, released_from).optional()?)
}

/// Returns what a version names, if it can be let go: only pockets that allow backtracking ever had
/// it, no suite shows it, and no job is about to.
pub fn may_go(db: &Connection, config: &Config, id: &Identity) -> Result<KnownVersion, Failure> {
    let refuse = |text: String| Failure::new(FailureKind::Invalid, text);
    let Some(known) = pockets::known(db, id)? else {
        return Err(refuse(format!(
            "{id} was never published: 'history {}' shows what was",
            id.package
        )));
    };
    let for_ever = "it names its commit for ever, so raise the version in debian/changelog instead";
    if known.tag.is_some() {
        let text = format!(
            "{id} is tagged, as a pocket without allow_backtracking has had it: {for_ever}"
        );
        return Err(refuse(text));
    }
    let sql = "SELECT DISTINCT pocket FROM job WHERE domain = ? AND package = ? AND version = ?
               AND state = 'published' ORDER BY pocket";
    let mut statement = db.prepare_cached(sql)?;
    let key = params![id.domain, id.package, id.version];
    let had = statement.query_map(key, |row| row.get(0))?;
    let had: Vec<PocketName> = had.collect::<Result<_, _>>()?;
    let is_firm = |pocket: &&PocketName| {
        config.build.pockets.get(*pocket).is_some_and(|it| !it.allow_backtracking)
    };
    if let Some(pocket) = had.iter().find(is_firm) {
        let text = format!("{id} was in {pocket}, which does not allow backtracking: {for_ever}");
        return Err(refuse(text));
    }
    let sql = "SELECT suite FROM suite_source WHERE domain = ? AND source = ? AND version = ? AND until IS NULL
               ORDER BY suite LIMIT 1";
    let key = params![id.domain, id.package, id.version];
    let shown: Option<Suite> =
        db.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?;
    if let Some(suite) = shown {
        let suite = id.domain.qualify(suite.as_str());
        let text = format!(
            "suite {suite} shows {id}: submit another version to it first, or roll it back"
        );
        return Err(refuse(text));
    }
    if let Some(suite) = kept::holder(db, id)? {
        let text = format!(
            "the indexes of suite {suite} have {id} beside a newer one (keep): it can go when they have it no longer"
        );
        return Err(refuse(text));
    }
    if let Some(held) = pockets::holder(db, id)? {
        let text = format!("{} has {id}: submit another version to it first", held.pocket);
        return Err(refuse(text));
    }
    let open = jobs::open(db)?;
    if let Some(job) = open.iter().find(|job| job.identity() == *id) {
        let text =
            format!("job {} of {id} is {}: 'cancel {0}', or wait for its end", job.id, job.state);
        return Err(Failure::new(FailureKind::Conflict, text));
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use crate::Record;
    use crate::contents::{self, Content};
    use crate::forget::let_go;
    use crate::jobs::NewJob;
    use crate::released::*;
    use invirtibuilder_api::archive::PoolFile;
    use invirtibuilder_core::names::Principal;

    #[test]
    fn upstreams_tarball_may_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let by = Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap();
        let new = NewJob::example("dev", "hello", "1:2.0-1", 0);
        let id = &new.identity();
        let names = [
            "hello_2.0.orig.tar.gz",
            "hello_2.0.orig.tar.gz.asc",
            "hello_2.0.orig-more.tar.gz",
            "hello_2.0-1.debian.tar.xz",
            "hello_2.0-1.dsc",
            "hello.orig_2.0-1_all.deb",
        ];
        let file = |name: &&str| PoolFile {
            path: format!("pool/main/h/hello/{name}"),
            size: 1,
            sha256: (*name).into(),
        };
        let content = Content {
            id: id.clone(),
            changes: String::new(),
            parts: Vec::new(),
            files: names.iter().map(file).collect(),
            beside: Vec::new(),
        };
        let job = record.write(|tx| jobs::enqueue(tx, &new)).unwrap();
        let distro = "sid".parse().unwrap();
        let (commit, tag_name) = (new.commit.clone(), new.version.tag());
        let known = KnownVersion { commit, distro, job, tag: None, tag_name };
        record.write(|tx| pockets::tie(tx, id, &known)).unwrap();
        record.write(|tx| contents::add(tx, &content)).unwrap();
        let gone = record.write(|tx| let_go(tx, id, &known, &by, "why")).unwrap();
        assert_eq!(gone.len(), names.len());
        let again: Vec<&str> = names
            .into_iter()
            .filter(|it| demand_new(record.db(), &id.domain, it, it).is_ok())
            .collect();
        assert_eq!(again, names[..3]);
        let released = of_commit(record.db(), id, &new.commit).unwrap().unwrap();
        assert_eq!((released.by, &released.reason[..]), (by, "why"));
        assert_eq!(of_commit(record.db(), id, &"1".repeat(40).parse().unwrap()).unwrap(), None);
        assert_eq!(pockets::known(record.db(), id).unwrap(), None);
    }
}
