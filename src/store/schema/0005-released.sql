-- Versions that were let go: their numbers may be used again, what was published under them may not.

-- A version that an administrator let go. A number can be let go more than once.
CREATE TABLE released (
    id        INTEGER PRIMARY KEY,
    package   TEXT NOT NULL,
    version   TEXT NOT NULL,
    commit_id TEXT NOT NULL,                            -- what it named until then
    job       INTEGER NOT NULL REFERENCES job (id),     -- the job that built it
    at        INTEGER NOT NULL,
    by        TEXT NOT NULL,
    reason    TEXT NOT NULL
) STRICT;
CREATE INDEX released_version ON released (package, version);

-- Files that a version had and the pool has no longer, for ever.
CREATE TABLE past_file (
    package  TEXT NOT NULL,
    version  TEXT NOT NULL,
    path     TEXT NOT NULL,
    sha256   TEXT NOT NULL,
    released INTEGER REFERENCES released (id),          -- NULL: 'archive gc' removed it, and it may come again
    PRIMARY KEY (package, version, path, sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX past_file_released ON past_file (sha256) WHERE released IS NOT NULL;

-- What snapshots had of them: such a snapshot cannot be had again.
CREATE TABLE released_source (
    released INTEGER NOT NULL REFERENCES released (id),
    suite    TEXT NOT NULL REFERENCES suite (name),
    since    INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    PRIMARY KEY (released, suite, since)
) STRICT, WITHOUT ROWID;
