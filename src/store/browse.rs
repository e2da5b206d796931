//! Reads the record for those who leaf through it. Each question costs what its answer has, not
//! what the history has.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, named_params, params};

use crate::jobs::{self, COLUMNS, job_from};
use invirtibuilder_api::browse::{ArchiveSize, DayOutcome, EarlierVersion, JobFilter, MatrixRow};
use invirtibuilder_api::job::{Job, State};
use invirtibuilder_api::pocket::Held;
use invirtibuilder_core::names::{JobId, PackageName, PocketName, Principal};

/// A day, in milliseconds.
pub const DAY: i64 = 86_400_000;

/// The jobs that somebody wants to see.
#[derive(Debug, Clone, Default)]
pub struct JobQuery {
    /// Which.
    pub show: Option<JobFilter>,
    /// Those of this pocket only.
    pub pocket: Option<PocketName>,
    /// Those of this source package only.
    pub package: Option<PackageName>,
    /// Those of this principal only.
    pub principal: Option<Principal>,
    /// Those older than this one only.
    pub before: Option<JobId>,
}

/// Lists jobs, the newest first, at most so many.
pub fn list_jobs(db: &Connection, query: &JobQuery, most: u32) -> Result<Vec<Job>> {
    let JobQuery { show, pocket, package, principal, before } = query;
    let narrowing: [(&str, Option<&dyn ToSql>); 4] = [
        ("id < ?", before.as_ref().map(|it| it as _)),
        ("package = ?", package.as_ref().map(|it| it as _)),
        ("principal = ?", principal.as_ref().map(|it| it as _)),
        ("pocket = ?", pocket.as_ref().map(|it| it as _)),
    ];
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    for (condition, value) in narrowing {
        conditions.extend(value.map(|_| condition));
        values.extend(value);
    }
    values.push(&most);
    conditions.push(match show.unwrap_or(JobFilter::All) {
        JobFilter::All => "TRUE",
        JobFilter::Open => "state IN ('queued', 'preparing', 'building', 'publishing')",
        JobFilter::Ended => "finished IS NOT NULL",
        JobFilter::Published => "state = 'published'",
        JobFilter::Failed => "state = 'failed'",
        JobFilter::Cancelled => "state = 'cancelled'",
    });
    // Those that are open are few beside those that have ended: they are found first and sorted.
    let order = if *show == Some(JobFilter::Open) { "+id" } else { "id" };
    let conditions = conditions.join(" AND ");
    let sql = format!("SELECT {COLUMNS} FROM job WHERE {conditions} ORDER BY {order} DESC LIMIT ?");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(&values[..], job_from)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists jobs of which the commit begins with these digits, the newest first, at most so many.
pub fn of_commit(db: &Connection, digits: &str, most: u32) -> Result<Vec<Job>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM job WHERE commit_id >= ?1 AND commit_id < ?1 || 'g' ORDER BY id DESC LIMIT ?2"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params![digits, most], job_from)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The packages that somebody wants to see.
#[derive(Debug, Clone, Default)]
pub struct MatrixQuery {
    /// Those whose names begin with this only.
    pub prefix: String,
    /// Those that this pocket has only.
    pub pocket: Option<PocketName>,
    /// Those whose names come after this one only.
    pub after: String,
}

/// Lists packages with what each pocket has of them, by name, at most so many.
pub fn matrix(db: &Connection, query: &MatrixQuery, most: u32) -> Result<Vec<MatrixRow>> {
    let names = if query.pocket.is_some() {
        "SELECT package FROM pocket_package WHERE pocket = :pocket"
    } else {
        "SELECT DISTINCT package FROM pocket_package WHERE :pocket IS NULL"
    };
    // The names first: they come from an index alone.
    let sql = format!(
        "SELECT pocket, package, commit_id, version, job FROM pocket_package WHERE package IN (
             {names} AND package > :after AND package >= :prefix AND package < :prefix || '~'
             ORDER BY package LIMIT :most)
         ORDER BY package, pocket"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(
        named_params! {
            ":pocket": query.pocket, ":after": query.after, ":prefix": query.prefix, ":most": most,
        },
        |row| {
            Ok(Held {
                pocket: row.get(0)?,
                package: row.get(1)?,
                commit: row.get(2)?,
                version: row.get(3)?,
                job: row.get(4)?,
            })
        },
    )?;
    let mut matrix: Vec<MatrixRow> = Vec::new();
    for held in rows {
        let held = held?;
        match matrix.last_mut() {
            Some(last) if last.package == held.package => last.held.push(held),
            _ => matrix.push(MatrixRow { package: held.package.clone(), held: vec![held] }),
        }
    }
    Ok(matrix)
}

/// Lists the packages that two pockets do not have at the same commit, by name, at most so many.
pub fn differing(
    db: &Connection,
    (left, right): (&PocketName, &PocketName),
    after: &str,
    most: u32,
) -> Result<Vec<PackageName>> {
    // Both halves come in the order of an index, and no more of them than are wanted.
    let mut statement = db.prepare_cached(
        "SELECT package FROM pocket_package AS one WHERE pocket = :left AND package > :after
             AND NOT EXISTS (SELECT 1 FROM pocket_package AS other WHERE other.pocket = :right
                 AND other.package = one.package AND other.commit_id = one.commit_id)
         UNION
         SELECT package FROM pocket_package AS one WHERE pocket = :right AND package > :after
             AND NOT EXISTS (SELECT 1 FROM pocket_package AS other WHERE other.pocket = :left
                 AND other.package = one.package)
         ORDER BY package LIMIT :most",
    )?;
    let wanted = named_params! { ":left": left, ":right": right, ":after": after, ":most": most };
    let rows = statement.query_map(wanted, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists packages that any pocket has and whose names hold a text: those first that begin with it.
pub fn search(db: &Connection, text: &str, most: u32) -> Result<Vec<PackageName>> {
    let mut statement = db.prepare_cached(
        "SELECT DISTINCT package FROM pocket_package WHERE instr(package, ?1) > 0
         ORDER BY instr(package, ?1) > 1, package LIMIT ?2",
    )?;
    let rows = statement.query_map(params![text, most], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Finds the version that the pocket of a job had when the job was submitted.
pub fn version_before(db: &Connection, job: &Job) -> Result<Option<EarlierVersion>> {
    let row = db
        .prepare_cached(
            "SELECT version, commit_id, coalesce(written, version) FROM job WHERE package = ? AND pocket = ? AND id < ?
             AND state = 'published' AND commit_id <> ? ORDER BY id DESC LIMIT 1",
        )?
        .query_row(params![job.package, job.pocket, job.id, job.commit], |row| {
            Ok(EarlierVersion { version: row.get(0)?, commit: row.get(1)?, written: row.get(2)? })
        });
    Ok(row.optional()?)
}

/// Tells how the jobs ended of each day since a time, and how long they took, the oldest day first.
/// Days without jobs are left out.
pub fn days(db: &Connection, since: i64) -> Result<Vec<DayOutcome>> {
    let mut statement = db.prepare_cached(
        "SELECT finished, state, started - submitted, finished - started FROM job
         WHERE finished >= ? ORDER BY finished",
    )?;
    let mut rows = statement.query([since])?;
    let mut days: Vec<DayOutcome> = Vec::new();
    let (mut waited, mut took) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let finished: i64 = row.get(0)?;
        let day = finished - finished.rem_euclid(DAY);
        if days.last().is_none_or(|last| last.day != day) {
            end_day(&mut days, &mut waited, &mut took);
            let (published, failed, cancelled) = (0, 0, 0);
            days.push(DayOutcome { day, published, failed, cancelled, waited: None, took: None });
        }
        let last = days.last_mut().expect("there is this day");
        waited.extend(row.get::<_, Option<i64>>(2)?);
        match row.get(1)? {
            State::Published => {
                last.published += 1;
                took.extend(row.get::<_, Option<i64>>(3)?);
            }
            State::Failed => last.failed += 1,
            _ => last.cancelled += 1,
        }
    }
    end_day(&mut days, &mut waited, &mut took);
    Ok(days)
}

fn end_day(days: &mut [DayOutcome], waited: &mut Vec<i64>, took: &mut Vec<i64>) {
    let median = |times: &mut Vec<i64>| {
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied();
        times.clear();
        median
    };
    let (waited, took) = (median(waited), median(took));
    if let Some(day) = days.last_mut() {
        (day.waited, day.took) = (waited, took);
    }
}

/// Notes what the pools have on the day of a time.
pub fn note_pools(tx: &Transaction, time: i64) -> Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO pool_day SELECT domain, ?, count(*), sum(size) FROM pool_file GROUP BY domain",
    )?
    .execute([time - time.rem_euclid(DAY)])?;
    Ok(())
}

/// Lists what the pools had on each day since a time, the oldest day first.
pub fn pools(db: &Connection, since: i64) -> Result<Vec<ArchiveSize>> {
    let mut statement = db.prepare_cached(
        "SELECT day, domain, files, bytes FROM pool_day WHERE day >= ? ORDER BY day, domain",
    )?;
    let rows = statement.query_map([since], |row| {
        Ok(ArchiveSize {
            day: row.get(0)?,
            domain: row.get(1)?,
            files: row.get(2)?,
            bytes: row.get::<_, i64>(3)? as u64,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns a number that is another one after every change of the record by somebody else.
pub fn pulse(db: &Connection) -> Result<i64> {
    Ok(db.query_row("PRAGMA data_version", [], |row| row.get(0))?)
}

/// Finds the job that was changed last, and the number of that change, if there was one after this
/// number.
pub fn changed_after(db: &Connection, entry: i64) -> Result<Option<(i64, JobId)>> {
    let row = db
        .prepare_cached(
            "SELECT id, job FROM audit WHERE id > ? AND job IS NOT NULL ORDER BY id DESC LIMIT 1",
        )?
        .query_row([entry], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(row.optional()?)
}

/// Lists the jobs that have not ended, in the order of the queue, at most so many.
pub fn open_jobs(db: &Connection, most: u32) -> Result<Vec<Job>> {
    let mut open = jobs::running(db)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM job INDEXED BY job_open
         WHERE state IN ('queued', 'preparing', 'building', 'publishing') AND state = 'queued' ORDER BY turn LIMIT ?"
    );
    let mut statement = db.prepare_cached(&sql)?;
    for job in statement.query_map([most.saturating_sub(open.len() as u32)], job_from)? {
        open.push(job?);
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use crate::Record;
    use crate::browse::*;
    use crate::jobs::{NewJob, cancelled, enqueue};
    use crate::pockets::set_held;

    #[test]
    fn jobs_are_found_by_what_they_are_for_and_how_they_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        let jobs = [("prod", "hello", 1), ("dev", "hello", 2), ("dev", "world", 3)].map(
            |(pocket, package, n)| {
                let new = NewJob::example(pocket, package, &format!("1.{n}"), n);
                record.write(|tx| enqueue(tx, &new)).unwrap()
            },
        );
        let alice = Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap();
        record.write(|tx| cancelled(tx, jobs[2], State::Queued, &alice)).unwrap();
        let found = |query: JobQuery, most| -> Vec<_> {
            let found = list_jobs(record.db(), &query, most).unwrap();
            found.into_iter().map(|job| job.id).collect()
        };
        let [first, second, third] = jobs;
        let all = JobQuery::default();
        assert_eq!(found(all.clone(), 9), [third, second, first]);
        assert_eq!(found(all.clone(), 2), [third, second]);
        assert_eq!(found(JobQuery { before: Some(second), ..all.clone() }, 9), [first]);
        let dev = JobQuery { pocket: Some("dev".parse().unwrap()), ..all.clone() };
        assert_eq!(found(dev.clone(), 9), [third, second]);
        let open = Some(JobFilter::Open);
        assert_eq!(found(JobQuery { show: open, ..dev.clone() }, 9), [second]);
        assert_eq!(found(JobQuery { show: open, ..all.clone() }, 9), [second, first]);
        assert_eq!(found(JobQuery { show: Some(JobFilter::Ended), ..all.clone() }, 9), [third]);
        assert_eq!(found(JobQuery { show: Some(JobFilter::Failed), ..all.clone() }, 9), []);
        let hello = JobQuery { package: Some("hello".parse().unwrap()), ..all.clone() };
        assert_eq!(found(hello, 9), [second, first]);
        assert_eq!(found(JobQuery { principal: Some(alice), ..dev }, 9), [third, second]);
        let digits = format!("{:039x}", 0);
        assert_eq!(of_commit(record.db(), &digits, 9).unwrap().len(), 3);
        assert_eq!(of_commit(record.db(), &format!("{digits}2"), 9).unwrap()[0].id, second);
        let today = days(record.db(), 0).unwrap();
        assert_eq!((today.len(), today[0].cancelled, today[0].took), (1, 1, None));
    }

    #[test]
    fn the_matrix_has_every_pocket_of_its_packages() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join("db")).unwrap();
        for (pocket, package) in [("dev", "aa"), ("prod", "aa"), ("dev", "ab"), ("prod", "b2")] {
            let new = NewJob::example(pocket, package, "1.0", 1);
            record
                .write(|tx| {
                    let job = enqueue(tx, &new)?;
                    let NewJob { pocket, package, commit, version, .. } = new.clone();
                    set_held(tx, &Held { pocket, package, commit, version, job })
                })
                .unwrap();
        }
        let rows = |query: MatrixQuery, most| -> Vec<_> {
            let rows = matrix(record.db(), &query, most).unwrap();
            rows.into_iter().map(|row| (row.package.to_string(), row.held.len())).collect()
        };
        let row = |package: &str, held| (package.to_owned(), held);
        let all = MatrixQuery::default();
        assert_eq!(rows(all.clone(), 9), [row("aa", 2), row("ab", 1), row("b2", 1)]);
        assert_eq!(rows(all.clone(), 1), [row("aa", 2)]);
        assert_eq!(rows(MatrixQuery { after: "aa".into(), ..all.clone() }, 1), [row("ab", 1)]);
        let prefix = MatrixQuery { prefix: "a".into(), ..all.clone() };
        assert_eq!(rows(prefix, 9), [row("aa", 2), row("ab", 1)]);
        let prod = MatrixQuery { pocket: Some("prod".parse().unwrap()), ..all };
        assert_eq!(rows(prod, 9), [row("aa", 2), row("b2", 1)], "with what the others have");
        let names = search(record.db(), "b", 9).unwrap();
        assert_eq!(names.iter().map(PackageName::as_str).collect::<Vec<_>>(), ["b2", "ab"]);

        let (dev, prod) = ("dev".parse().unwrap(), "prod".parse().unwrap());
        let differing = |pair, after, most| -> Vec<String> {
            let names = differing(record.db(), pair, after, most).unwrap();
            names.iter().map(ToString::to_string).collect()
        };
        for pair in [(&dev, &prod), (&prod, &dev)] {
            assert_eq!(differing(pair, "", 9), ["ab", "b2"], "both have the same of aa");
            assert_eq!(differing(pair, "", 1), ["ab"]);
            assert_eq!(differing(pair, "ab", 9), ["b2"]);
        }
    }
}
