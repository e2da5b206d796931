//! Every migration runs over rows of each earlier schema.

use std::path::Path;

use rusqlite::Connection;

use crate::{
    MIGRATIONS, Record, beside, browse, builds, chroots, domains, forecast, hooks, jobs, measures,
    moves, pockets, pool, queue_check, released, slurm, snapshots, sources, tokens,
};
use invirtibuilder_api::job::State;
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::names::{CommitId, DomainName, JobId};

/// What a database of each schema has more than one of the schema before, in every table that is
/// new and every column that is.
const ROWS: [&str; 17] = [
    "INSERT INTO job (id, pocket, package, commit_id, version, principal, state, failure, reason, turn,
                      attempt, submitted, started, finished, lease_until, cancel_by) VALUES
     (1, 'dev', 'hello', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', '1.0', 'alice@R', 'published', NULL, NULL, 1, 1, 10, 20, 120, NULL, NULL),
     (2, 'dev', 'hello', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', '1.1', 'alice@R', 'failed', 'build.failed', 'no', 2, 1, 30, 40, 50, NULL, NULL),
     (3, 'dev', 'hello', 'cccccccccccccccccccccccccccccccccccccccc', '1.2', 'bob@R', 'building', NULL, NULL, 3, 2, 60, 70, NULL, 99, 'bob@R'),
     (4, 'dev', 'hello', 'dddddddddddddddddddddddddddddddddddddddd', '1.3', 'bob@R', 'queued', NULL, NULL, 4, 0, 80, NULL, NULL, NULL, NULL),
     (5, 'prod', 'world', 'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee', '2.0', 'carol@R', 'queued', NULL, NULL, 5, 0, 90, NULL, NULL, NULL, NULL),
     (6, 'prod', 'third', 'ffffffffffffffffffffffffffffffffffffffff', '3.0', 'carol@R', 'cancelled', NULL, 'by carol@R', 6, 0, 91, NULL, 92, NULL, NULL),
     (7, 'prod', 'hello', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', '1.0', 'carol@R', 'publishing', NULL, NULL, 7, 1, 93, 94, NULL, 99, NULL);
     INSERT INTO hook_event (id, job, event, at, done) VALUES (1, 1, 'published', 120, 121), (2, 5, 'submitted', 90, NULL);
     INSERT INTO hook_run (hook_event, name, started, finished, outcome) VALUES (1, 'mail', 120, 121, 'ok');
     INSERT INTO version VALUES ('hello', '1.0', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'bookworm', 1, NULL);
     INSERT INTO pocket_package VALUES ('dev', 'hello', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', '1.0', 1);
     INSERT INTO superproject VALUES ('dev', '9999999999999999999999999999999999999999');
     INSERT INTO owed_move (job, kind, place, name, old_value, new_value) VALUES (1, 'suite', 'unstable', '', NULL, '1');
     INSERT INTO audit (at, event, job, detail, hash) VALUES
     (10, 'job.state', 1, '{\"state\":\"queued\"}', x'01'), (20, 'job.state', 1, '{\"state\":\"preparing\"}', x'02');
     INSERT INTO audit_seal VALUES (2, x'02', 20, x'00', x'00');",
    "INSERT INTO pool_version (source, version, changes) VALUES ('hello', '1.0', 'pool/hello_1.0.changes');
     INSERT INTO pool_part VALUES ('hello', '1.0', 'dsc', 'hello', '', 'main', 'Package: hello\n'),
                                  ('hello', '1.0', 'deb', 'hello', 'amd64', 'main', 'Package: hello\n');
     INSERT INTO pool_file VALUES ('pool/main/h/hello/hello_1.0.dsc', 5, 'd0'), ('pool/main/h/hello/hello_1.0_amd64.deb', 6, 'd1');
     INSERT INTO pool_version_file SELECT 'hello', '1.0', path FROM pool_file;
     INSERT INTO pool_intent VALUES ('pool/main/x');
     INSERT INTO suite VALUES ('unstable', 1, 'Suite: unstable', 'F', NULL);
     INSERT INTO snapshot VALUES ('unstable', 1, 120, 'job 1');
     INSERT INTO suite_source VALUES ('unstable', 'hello', '1.0', 1, NULL);
     INSERT INTO bucket (suite, path, first, plain, gz, xz, unpadded)
         VALUES ('unstable', 'main/source/Sources', 'hello', x'00', x'00', x'00', 1);
     INSERT INTO suite_file VALUES ('unstable', 1, 'main/source/Sources', 1, 'd2');",
    "INSERT INTO chroot VALUES ('0000000000000000000000000000000000000000000000000000000000000000', '{}');
     INSERT INTO job_chroot VALUES (1, 'amd64', 0, '0000000000000000000000000000000000000000000000000000000000000000');
     INSERT INTO reproduced (package, version, at) VALUES ('hello', '1.0', 130);",
    "INSERT INTO job_source (job, branch, layout, isolation, suites, dsc, dsc_sha256, proven, extra, notes)
         VALUES (1, NULL, 'native', 'unshare', '[\"unstable\"]', 'Format: 3.0', 'd0', 1, '[]', '[\"a note\"]');
     INSERT INTO job_tarball (job, turn, name, origin) VALUES (1, 0, 'hello_1.0.orig.tar.xz', 'pool');
     INSERT OR IGNORE INTO version_source (package, version, sha256) VALUES ('hello', '1.0', 'd0');",
    "INSERT INTO released VALUES (1, 'hello', '0.9', '1111111111111111111111111111111111111111', 1, 5, 'root', 'a slip');
     INSERT INTO past_file VALUES ('hello', '0.9', 'pool/main/h/hello/hello_0.9.dsc', 'd9', 1);
     INSERT INTO released_source VALUES (1, 'unstable', 1, 2);",
    "UPDATE pool_version SET built_by = 1;
     INSERT INTO job_given VALUES (1, 'pool/main/l/lib/lib.deb', 'd3', 'unstable', 'lib', '1', 'amd64');
     INSERT INTO vouched VALUES ('hello', '1.0', 'prod', 140, 'root', 'looked at it');
     UPDATE reproduced SET isolation = 'unshare', chroots = '[]';",
    "INSERT INTO forecast VALUES (4, 80, 200, NULL);
     UPDATE job SET priority = 1 WHERE id = 5;",
    "UPDATE reproduced SET packages = 'd4';",
    "INSERT INTO beside (path, source, version, target)
         VALUES ('changes/unstable/hello_1.0/hello_1.0.dsc', 'hello', '1.0', '../x');",
    "UPDATE job SET written = '1.2-1', why = 'a new libc' WHERE id = 3;
     UPDATE version SET tag_name = 'debian/1.0';",
    "INSERT INTO pocket_domain VALUES ('lab', 'dev');
     INSERT INTO job (id, pocket, package, commit_id, version, principal, state, turn, attempt, submitted, started, finished, domain)
         VALUES (8, 'lab', 'hello', 'abababababababababababababababababababab', '1.0', 'alice@R', 'published', 8, 1, 95, 96, 97, 'dev');
     INSERT INTO version VALUES ('dev', 'hello', '1.0', 'abababababababababababababababababababab', 'sid', 8, NULL, 'dev/1.0');
     INSERT INTO pool_version VALUES ('dev', 'hello', '1.0', 'changes/x', 8);
     INSERT INTO pool_file VALUES ('dev', 'pool/main/h/hello/hello_1.0.dsc', 9, 'e0');
     INSERT INTO pool_version_file VALUES ('dev', 'hello', '1.0', 'pool/main/h/hello/hello_1.0.dsc');
     INSERT INTO suite VALUES ('dev', 'unstable', 1, 'Suite: unstable', 'F', NULL);
     INSERT INTO snapshot VALUES ('dev', 'unstable', 1, 97, 'job 8');
     INSERT INTO suite_source VALUES ('dev', 'unstable', 'hello', '1.0', 1, NULL);
     INSERT INTO owed_move (kind, domain, place, name, new_value) VALUES ('suite', 'dev', 'unstable', '', '1');
     INSERT INTO domain_use VALUES ('dev', 0, 0);",
    "INSERT INTO removed VALUES ('prod', 'hello', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', '1.0', 1, 150, 'carol@R', 'nobody uses it');",
    "INSERT INTO suite_kept VALUES ('main', 'unstable', 'hello', '1.0', 1, NULL);",
    "INSERT INTO ended VALUES ('gone', 'published', '', 3);
     INSERT INTO phase_time VALUES ('gone', 'building', 1000, 3, 900);
     UPDATE job SET since = 95 WHERE id = 3;",
    "INSERT INTO token VALUES ('alice@R', 'ci', x'07', '[]', '[]', 'alice@R', 100, 200, NULL);
     INSERT INTO login VALUES (x'08', 'alice@R', 100, 200);
     INSERT INTO pool_day VALUES ('main', 0, 2, 11);",
    "INSERT INTO slurm_job VALUES ('ib-1', 3, 2, 'amd64', x'09', 71, 12, 'n1', 'it runs', 12, 0, x'0a', NULL, NULL);",
    "UPDATE job SET version = '1.1' WHERE id = 5;",
];

/// Makes a database as the release with this schema has left it.
fn database(path: &Path, schema: usize) {
    let db = Connection::open(path).unwrap();
    for (migration, rows) in MIGRATIONS.iter().zip(ROWS).take(schema) {
        db.execute_batch(migration).unwrap();
        db.execute_batch(rows).unwrap();
    }
    db.pragma_update(None, "user_version", schema as i64).unwrap();
}

fn tables(db: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut statement = db.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn count(db: &Connection, table: &str) -> i64 {
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn every_table_has_rows_in_the_schema_that_brings_it() {
    assert_eq!(ROWS.len(), MIGRATIONS.len(), "a new migration needs rows of its own");
    let dir = tempfile::tempdir().unwrap();
    for schema in 1..=MIGRATIONS.len() {
        let path = dir.path().join(schema.to_string());
        database(&path, schema);
        let db = Connection::open(&path).unwrap();
        for table in tables(&db) {
            assert!(count(&db, &table) > 0, "{table} of schema {schema} is empty");
        }
    }
}

#[test]
fn a_database_of_any_schema_is_brought_to_this_one_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for schema in 1..=MIGRATIONS.len() {
        let path = dir.path().join(schema.to_string());
        database(&path, schema);
        let before = Connection::open(&path).unwrap();
        let counts: Vec<_> =
            tables(&before).into_iter().map(|table| (count(&before, &table), table)).collect();
        drop(before);

        let mut record = Record::open(&path).unwrap();
        // What the queue keeps is written anew by each daemon's start.
        record.write(|tx| crate::queue::mend(tx).map(drop)).unwrap();
        let db = record.db();
        let whole: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok", "schema {schema}");
        assert!(!db.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap(), "{schema}");
        for (rows, table) in counts {
            assert!(count(db, &table) >= rows, "{table} lost rows on the way from {schema}");
        }
        assert_eq!(queue_check::differences(db).unwrap(), [""; 0], "schema {schema}");
        read_everything(db, schema);
    }
}

/// Reads through the functions that the service reads by.
fn read_everything(db: &Connection, schema: usize) {
    let id = Identity::main("hello".parse().unwrap(), "1.0".parse().unwrap());
    let version = |text: &str| Identity { version: text.parse().unwrap(), ..id.clone() };
    let states: Vec<State> = (1..=7).map(|id| jobs::get(db, JobId(id)).unwrap().state).collect();
    use State::*;
    assert_eq!(states, [Published, Failed, Building, Queued, Queued, Cancelled, Publishing]);
    assert_eq!(jobs::steps(db, JobId(1)).unwrap().len(), 2);
    assert_eq!(hooks::owed(db).unwrap().len(), 1);
    assert_eq!(hooks::runs_of(db, JobId(1)).unwrap()[0].outcome, "ok");
    let held = pockets::all(db).unwrap();
    assert_eq!((held.len(), held[0].job), (1, JobId(1)));
    assert!(pockets::known(db, &id).unwrap().is_some());
    let has = |since: usize| usize::from(schema >= since);
    assert_eq!(moves::owed(db).unwrap().len(), 1 + has(11));
    for (suite, since) in [("unstable", 2), ("dev/unstable", 11)] {
        assert_eq!(snapshots::of_suite(db, &suite.parse().unwrap()).unwrap().len(), has(since));
    }
    let elsewhere = id.of(&"dev".parse().unwrap());
    assert_eq!(pockets::known(db, &elsewhere).unwrap().is_some(), schema >= 11);
    assert_eq!(pool::of_version(db, &elsewhere).unwrap().len(), has(11));
    let domain = |pocket: &str| domains::of_pocket(db, &pocket.parse().unwrap()).unwrap();
    assert_eq!(
        (domain("dev"), domain("prod")),
        (Some(DomainName::main()), Some(DomainName::main()))
    );
    assert_eq!(pool::of_version(db, &id).unwrap().len(), 2 * has(2));
    assert_eq!(chroots::chroots_of_job(db, JobId(1)).unwrap().len(), has(3));
    assert_eq!(sources::source_of_job(db, JobId(1)).unwrap().is_some(), schema >= 4);
    assert_eq!(sources::dsc_of(db, &id).unwrap().is_some(), schema >= 2);
    let gone: CommitId = "1".repeat(40).parse().unwrap();
    let old = released::of_commit(db, &version("0.9"), &gone).unwrap();
    assert_eq!(old.is_some(), schema >= 5);
    let build = builds::of_version(db, &id).unwrap();
    assert_eq!(build.is_some(), schema >= 2);
    assert_eq!(build.is_some_and(|build| build.facts.is_some()), schema >= 6);
    assert_eq!(forecast::told(db, JobId(4)).unwrap().is_some(), schema >= 7);
    assert_eq!(jobs::get(db, JobId(5)).unwrap().priority, schema >= 7);
    let proof = chroots::reproduced(db, &id).unwrap();
    // Of which packages it was a proof is known since schema 8; here it was of others.
    assert_eq!(proof.is_some(), (3..8).contains(&schema));
    assert_eq!(beside::of_version(db, &id).unwrap().len(), has(9));
    let ended: u32 = measures::ended(db).unwrap().iter().map(|it| it.jobs).sum();
    assert_eq!(ended as usize, 3 + has(11) + 3 * has(14), "those of before are counted");
    assert_eq!(measures::phase_times(db).unwrap().len(), has(14));
    assert_eq!(tokens::list(db, None).unwrap().len(), has(15));
    assert_eq!(browse::pools(db, 0).unwrap().len(), has(15));
    assert_eq!(slurm::of_attempt(db, JobId(3), 2).unwrap().len(), has(16));
}
