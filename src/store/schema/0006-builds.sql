-- What builds had, and who says that another pocket may have one all the same.

-- The job whose build the pool has; NULL: an older release published it.
ALTER TABLE pool_version ADD COLUMN built_by INTEGER REFERENCES job (id);

-- The packages of suites of our own that a job's build was given.
CREATE TABLE job_given (
    job          INTEGER NOT NULL REFERENCES job (id),
    path         TEXT NOT NULL,                         -- below the archive's root
    sha256       TEXT NOT NULL,
    suite        TEXT NOT NULL,                         -- whose index named it
    package      TEXT NOT NULL,
    version      TEXT NOT NULL,
    architecture TEXT NOT NULL,
    PRIMARY KEY (job, path, sha256)
) STRICT, WITHOUT ROWID;

-- Builds that an administrator answers for.
CREATE TABLE vouched (
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    pocket  TEXT NOT NULL,                              -- that may have it; empty: each
    at      INTEGER NOT NULL,
    by      TEXT NOT NULL,
    reason  TEXT NOT NULL,
    PRIMARY KEY (package, version, pocket)
) STRICT, WITHOUT ROWID;

-- Under what a second build gave the same packages.
ALTER TABLE reproduced ADD COLUMN isolation TEXT;       -- NULL: an older release did not say
ALTER TABLE reproduced ADD COLUMN chroots TEXT;         -- JSON: digests of chroots or images
