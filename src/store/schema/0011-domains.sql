-- Domains: archives that share nothing. Whatever is an archive's own has the name of its domain in its key; what was there
-- before is main's.

-- The domain that each pocket is in. Only 'archive move' changes it.
CREATE TABLE pocket_domain (
    pocket TEXT PRIMARY KEY,
    domain TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO pocket_domain SELECT pocket, 'main' FROM job UNION SELECT pocket, 'main' FROM pocket_package;

-- The domain that a job's pocket was in when somebody queued it.
ALTER TABLE job ADD COLUMN domain TEXT NOT NULL DEFAULT 'main';
DROP INDEX job_of_commit;
CREATE INDEX job_of_commit ON job (domain, package, commit_id, turn)
    WHERE state IN ('queued', 'preparing', 'building', 'publishing');

CREATE TABLE new_version (
    domain    TEXT NOT NULL,
    package   TEXT NOT NULL,
    version   TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    distro    TEXT NOT NULL,                            -- what its binaries were built in
    job       INTEGER NOT NULL REFERENCES job (id),     -- the job that built it
    tag       TEXT,                                     -- what its tag points at; NULL: no pocket that tags had it
    tag_name  TEXT,                                     -- of its tag, that is there or not; NULL: DEP-14's name of the version alone
    PRIMARY KEY (domain, package, version)
) STRICT, WITHOUT ROWID;
INSERT INTO new_version SELECT 'main', package, version, commit_id, distro, job, tag, tag_name FROM version;
DROP TABLE version;
ALTER TABLE new_version RENAME TO version;

CREATE TABLE new_version_source (
    domain  TEXT NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    sha256  TEXT NOT NULL,
    dsc     TEXT,                                       -- NULL: it was published by a release that did not keep it
    PRIMARY KEY (domain, package, version)
) STRICT, WITHOUT ROWID;
INSERT INTO new_version_source SELECT 'main', package, version, sha256, dsc FROM version_source;
DROP TABLE version_source;
ALTER TABLE new_version_source RENAME TO version_source;

-- The pool.
CREATE TABLE new_pool_version (
    domain   TEXT NOT NULL,
    source   TEXT NOT NULL,
    version  TEXT NOT NULL,
    changes  TEXT NOT NULL,                             -- its .changes, below the archive's root
    built_by INTEGER REFERENCES job (id),               -- the job whose build the pool has; NULL: an older release published it
    PRIMARY KEY (domain, source, version)
) STRICT, WITHOUT ROWID;
INSERT INTO new_pool_version SELECT 'main', source, version, changes, built_by FROM pool_version;

CREATE TABLE new_pool_part (
    domain       TEXT NOT NULL,
    source       TEXT NOT NULL,
    version      TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('dsc', 'deb', 'udeb')),
    name         TEXT NOT NULL,
    architecture TEXT NOT NULL,                         -- empty for a source package
    component    TEXT NOT NULL,
    stanza       TEXT NOT NULL,
    PRIMARY KEY (domain, source, version, kind, name, architecture),
    FOREIGN KEY (domain, source, version) REFERENCES new_pool_version (domain, source, version)
) STRICT, WITHOUT ROWID;
INSERT INTO new_pool_part SELECT 'main', source, version, kind, name, architecture, component, stanza FROM pool_part;

CREATE TABLE new_pool_file (
    domain TEXT NOT NULL,
    path   TEXT NOT NULL,                               -- below the archive's root
    size   INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (domain, path)
) STRICT, WITHOUT ROWID;
INSERT INTO new_pool_file SELECT 'main', path, size, sha256 FROM pool_file;

CREATE TABLE new_pool_version_file (
    domain  TEXT NOT NULL,
    source  TEXT NOT NULL,
    version TEXT NOT NULL,
    path    TEXT NOT NULL,
    PRIMARY KEY (domain, source, version, path),
    FOREIGN KEY (domain, path) REFERENCES new_pool_file (domain, path),
    FOREIGN KEY (domain, source, version) REFERENCES new_pool_version (domain, source, version)
) STRICT, WITHOUT ROWID;
INSERT INTO new_pool_version_file SELECT 'main', source, version, path FROM pool_version_file;

CREATE TABLE new_pool_intent (
    domain TEXT NOT NULL,
    path   TEXT NOT NULL,
    PRIMARY KEY (domain, path)
) STRICT, WITHOUT ROWID;
INSERT INTO new_pool_intent SELECT 'main', path FROM pool_intent;

CREATE TABLE new_beside (
    domain  TEXT NOT NULL,
    path    TEXT NOT NULL,
    source  TEXT NOT NULL,
    version TEXT NOT NULL,
    size    INTEGER,                                    -- of a file
    sha256  TEXT,
    target  TEXT,                                       -- of a link, as it stands in it
    PRIMARY KEY (domain, path),
    FOREIGN KEY (domain, source, version) REFERENCES new_pool_version (domain, source, version),
    CHECK ((target IS NULL) = (sha256 IS NOT NULL) AND (size IS NULL) = (sha256 IS NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO new_beside SELECT 'main', path, source, version, size, sha256, target FROM beside;

-- Suites.
CREATE TABLE new_suite (
    domain      TEXT NOT NULL,
    name        TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    release     TEXT NOT NULL,                          -- what Release says about the suite, to notice a change
    signers     TEXT NOT NULL,                          -- fingerprints of the keys that signed it, to notice a rotation
    valid_until INTEGER,                                -- Valid-Until, if it has one
    PRIMARY KEY (domain, name)
) STRICT, WITHOUT ROWID;
INSERT INTO new_suite SELECT 'main', name, generation, release, signers, valid_until FROM suite;

CREATE TABLE new_snapshot (
    domain TEXT NOT NULL,
    suite  TEXT NOT NULL,
    number INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    note   TEXT NOT NULL,                               -- what made it
    PRIMARY KEY (domain, suite, number),
    FOREIGN KEY (domain, suite) REFERENCES new_suite (domain, name)
) STRICT, WITHOUT ROWID;
INSERT INTO new_snapshot SELECT 'main', suite, number, at, note FROM snapshot;

CREATE TABLE new_suite_source (
    domain  TEXT NOT NULL,
    suite   TEXT NOT NULL,
    source  TEXT NOT NULL,
    version TEXT NOT NULL,
    since   INTEGER NOT NULL,
    until   INTEGER CHECK (until > since),
    PRIMARY KEY (domain, suite, source, since),
    FOREIGN KEY (domain, suite) REFERENCES new_suite (domain, name),
    FOREIGN KEY (domain, source, version) REFERENCES new_pool_version (domain, source, version)
) STRICT, WITHOUT ROWID;
INSERT INTO new_suite_source SELECT 'main', suite, source, version, since, until FROM suite_source;

CREATE TABLE new_bucket (
    id       INTEGER PRIMARY KEY,
    domain   TEXT NOT NULL,
    suite    TEXT NOT NULL,
    path     TEXT NOT NULL,                             -- such as main/binary-amd64/Packages
    first    TEXT NOT NULL,                             -- name of its first entry
    plain    BLOB NOT NULL,
    gz       BLOB NOT NULL,                             -- a gzip member
    xz       BLOB NOT NULL,                             -- an xz block
    unpadded INTEGER NOT NULL,                          -- the block's size without padding, for the xz index
    FOREIGN KEY (domain, suite) REFERENCES new_suite (domain, name)
) STRICT;
INSERT INTO new_bucket SELECT id, 'main', suite, path, first, plain, gz, xz, unpadded FROM bucket;

CREATE TABLE new_suite_file (
    domain     TEXT NOT NULL,
    suite      TEXT NOT NULL,
    generation INTEGER NOT NULL,
    path       TEXT NOT NULL,
    size       INTEGER NOT NULL,
    sha256     TEXT NOT NULL,
    PRIMARY KEY (domain, suite, generation, path),
    FOREIGN KEY (domain, suite) REFERENCES new_suite (domain, name)
) STRICT, WITHOUT ROWID;
INSERT INTO new_suite_file SELECT 'main', suite, generation, path, size, sha256 FROM suite_file;

CREATE TABLE new_released_source (
    released INTEGER NOT NULL REFERENCES released (id),
    domain   TEXT NOT NULL,
    suite    TEXT NOT NULL,
    since    INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    PRIMARY KEY (released, domain, suite, since),
    FOREIGN KEY (domain, suite) REFERENCES new_suite (domain, name)
) STRICT, WITHOUT ROWID;
INSERT INTO new_released_source SELECT released, 'main', suite, since, until FROM released_source;

-- What names another table goes before it.
DROP TABLE pool_part;
DROP TABLE pool_version_file;
DROP TABLE pool_intent;
DROP TABLE pool_file;
DROP TABLE beside;
DROP TABLE suite_source;
DROP TABLE pool_version;
DROP TABLE snapshot;
DROP TABLE bucket;
DROP TABLE suite_file;
DROP TABLE released_source;
DROP TABLE suite;
ALTER TABLE new_pool_version RENAME TO pool_version;
ALTER TABLE new_pool_part RENAME TO pool_part;
ALTER TABLE new_pool_file RENAME TO pool_file;
ALTER TABLE new_pool_version_file RENAME TO pool_version_file;
ALTER TABLE new_pool_intent RENAME TO pool_intent;
ALTER TABLE new_beside RENAME TO beside;
ALTER TABLE new_suite RENAME TO suite;
ALTER TABLE new_snapshot RENAME TO snapshot;
ALTER TABLE new_suite_source RENAME TO suite_source;
ALTER TABLE new_bucket RENAME TO bucket;
ALTER TABLE new_suite_file RENAME TO suite_file;
ALTER TABLE new_released_source RENAME TO released_source;
CREATE INDEX pool_version_file_path ON pool_version_file (domain, path);
CREATE INDEX beside_version ON beside (domain, source, version);
CREATE UNIQUE INDEX suite_source_shown ON suite_source (domain, suite, source) WHERE until IS NULL;
CREATE INDEX suite_source_version ON suite_source (domain, source, version);
CREATE UNIQUE INDEX bucket_place ON bucket (domain, suite, path, first);

-- What was let go or removed.
ALTER TABLE released ADD COLUMN domain TEXT NOT NULL DEFAULT 'main';
DROP INDEX released_version;
CREATE INDEX released_version ON released (domain, package, version);

CREATE TABLE new_past_file (
    domain   TEXT NOT NULL,
    package  TEXT NOT NULL,
    version  TEXT NOT NULL,
    path     TEXT NOT NULL,
    sha256   TEXT NOT NULL,
    released INTEGER REFERENCES released (id),          -- NULL: 'archive gc' removed it, and it may come again
    PRIMARY KEY (domain, package, version, path, sha256)
) STRICT, WITHOUT ROWID;
INSERT INTO new_past_file SELECT 'main', package, version, path, sha256, released FROM past_file;
DROP TABLE past_file;
ALTER TABLE new_past_file RENAME TO past_file;
CREATE INDEX past_file_released ON past_file (domain, sha256) WHERE released IS NOT NULL;

-- Builds.
CREATE TABLE new_job_given (
    job          INTEGER NOT NULL REFERENCES job (id),
    domain       TEXT NOT NULL,                         -- whose archive had the package
    path         TEXT NOT NULL,                         -- below the archive's root
    sha256       TEXT NOT NULL,
    suite        TEXT NOT NULL,                         -- whose index named it
    package      TEXT NOT NULL,
    version      TEXT NOT NULL,
    architecture TEXT NOT NULL,
    PRIMARY KEY (job, domain, path, sha256)
) STRICT, WITHOUT ROWID;
INSERT INTO new_job_given SELECT job, 'main', path, sha256, suite, package, version, architecture FROM job_given;
DROP TABLE job_given;
ALTER TABLE new_job_given RENAME TO job_given;

CREATE TABLE new_vouched (
    domain  TEXT NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    pocket  TEXT NOT NULL,                              -- that may have it; empty: each
    at      INTEGER NOT NULL,
    by      TEXT NOT NULL,
    reason  TEXT NOT NULL,
    PRIMARY KEY (domain, package, version, pocket)
) STRICT, WITHOUT ROWID;
INSERT INTO new_vouched SELECT 'main', package, version, pocket, at, by, reason FROM vouched;
DROP TABLE vouched;
ALTER TABLE new_vouched RENAME TO vouched;

CREATE TABLE new_reproduced (
    domain    TEXT NOT NULL,
    package   TEXT NOT NULL,
    version   TEXT NOT NULL,
    at        INTEGER NOT NULL,
    isolation TEXT,                                     -- NULL: an older release did not say
    chroots   TEXT,                                     -- JSON: digests of chroots or images
    packages  TEXT,                                     -- SHA-256 of their names and hashes; NULL: an older release did not say
    PRIMARY KEY (domain, package, version)
) STRICT, WITHOUT ROWID;
INSERT INTO new_reproduced SELECT 'main', package, version, at, isolation, chroots, packages FROM reproduced;
DROP TABLE reproduced;
ALTER TABLE new_reproduced RENAME TO reproduced;

-- Moves of suites say whose suite it is.
CREATE TABLE new_owed_move (
    id        INTEGER PRIMARY KEY,
    job       INTEGER REFERENCES job (id),
    kind      TEXT NOT NULL CHECK (kind IN ('ref', 'suite')),
    domain    TEXT,                                     -- of a suite
    place     TEXT NOT NULL,                            -- the repository's path, or the suite
    name      TEXT NOT NULL,                            -- the ref's full name, or empty
    old_value TEXT,                                     -- NULL: does not exist yet
    new_value TEXT,                                     -- NULL: is to be deleted
    CHECK ((kind = 'suite') = (domain IS NOT NULL))
) STRICT;
INSERT INTO new_owed_move
    SELECT id, job, kind, iif(kind = 'suite', 'main', NULL), place, name, old_value, new_value FROM owed_move;
DROP TABLE owed_move;
ALTER TABLE new_owed_move RENAME TO owed_move;

-- Domains share the places first, then the pockets of each.
ALTER TABLE pocket_use ADD COLUMN domain TEXT NOT NULL DEFAULT 'main';
ALTER TABLE charge ADD COLUMN domain_share INTEGER NOT NULL DEFAULT 1;  -- of the domain, as `share` is of the pocket
CREATE TABLE domain_use (
    domain TEXT PRIMARY KEY,
    used   INTEGER NOT NULL,                            -- of the places, in microseconds divided by its share
    clock  INTEGER NOT NULL                             -- `used` of the pocket of it that was served last
) STRICT, WITHOUT ROWID;
INSERT INTO domain_use SELECT 'main', 0, clock FROM queue_clock;
UPDATE queue_clock SET clock = 0;                       -- `used` of the domain that was served last
