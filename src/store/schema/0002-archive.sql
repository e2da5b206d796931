-- What the pool has, what every suite shows, and the pieces that its index files are put together from.

-- One version of a source package in the pool.
CREATE TABLE pool_version (
    source  TEXT NOT NULL,
    version TEXT NOT NULL,
    changes TEXT NOT NULL,                              -- its .changes, below the archive's root
    PRIMARY KEY (source, version)
) STRICT, WITHOUT ROWID;

-- Its parts, each with its entry in Sources or Packages.
CREATE TABLE pool_part (
    source       TEXT NOT NULL,
    version      TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('dsc', 'deb', 'udeb')),
    name         TEXT NOT NULL,
    architecture TEXT NOT NULL,                         -- empty for a source package
    component    TEXT NOT NULL,
    stanza       TEXT NOT NULL,
    PRIMARY KEY (source, version, kind, name, architecture),
    FOREIGN KEY (source, version) REFERENCES pool_version (source, version)
) STRICT, WITHOUT ROWID;

-- The files of the pool, by path below the archive's root; those of a version are in pool_version_file.
CREATE TABLE pool_file (
    path   TEXT PRIMARY KEY,
    size   INTEGER NOT NULL,
    sha256 TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pool_version_file (
    source  TEXT NOT NULL,
    version TEXT NOT NULL,
    path    TEXT NOT NULL REFERENCES pool_file (path),
    PRIMARY KEY (source, version, path),
    FOREIGN KEY (source, version) REFERENCES pool_version (source, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX pool_version_file_path ON pool_version_file (path);

-- Paths in the pool that are written or removed right now: what pool_file does not name is removed by whoever comes next.
CREATE TABLE pool_intent (
    path TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Suites, and the generation that shows what is recorded.
CREATE TABLE suite (
    name        TEXT PRIMARY KEY,
    generation  INTEGER NOT NULL,
    release     TEXT NOT NULL,                          -- what Release says about the suite, to notice a change
    signers     TEXT NOT NULL,                          -- fingerprints of the keys that signed it, to notice a rotation
    valid_until INTEGER                                 -- Valid-Until, if it has one
) STRICT, WITHOUT ROWID;

-- Every state of a suite that was published. Its number is that of the generation that showed it first.
CREATE TABLE snapshot (
    suite  TEXT NOT NULL REFERENCES suite (name),
    number INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    note   TEXT NOT NULL,                               -- what made it
    PRIMARY KEY (suite, number)
) STRICT, WITHOUT ROWID;

-- What a suite shows and has shown: from snapshot `since` until before snapshot `until` (NULL: it does still).
CREATE TABLE suite_source (
    suite   TEXT NOT NULL REFERENCES suite (name),
    source  TEXT NOT NULL,
    version TEXT NOT NULL,
    since   INTEGER NOT NULL,
    until   INTEGER CHECK (until > since),
    PRIMARY KEY (suite, source, since),
    FOREIGN KEY (source, version) REFERENCES pool_version (source, version)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX suite_source_shown ON suite_source (suite, source) WHERE until IS NULL;
CREATE INDEX suite_source_version ON suite_source (source, version);

-- An index file is the concatenation of its buckets in name order, in each compression.
CREATE TABLE bucket (
    id       INTEGER PRIMARY KEY,
    suite    TEXT NOT NULL REFERENCES suite (name),
    path     TEXT NOT NULL,                             -- such as main/binary-amd64/Packages
    first    TEXT NOT NULL,                             -- name of its first entry
    plain    BLOB NOT NULL,
    gz       BLOB NOT NULL,                             -- a gzip member
    xz       BLOB NOT NULL,                             -- an xz block
    unpadded INTEGER NOT NULL                           -- the block's size without padding, for the xz index
) STRICT;
CREATE UNIQUE INDEX bucket_place ON bucket (suite, path, first);

-- The files of a generation, for those of the next that stay the same, and for by-hash.
CREATE TABLE suite_file (
    suite      TEXT NOT NULL REFERENCES suite (name),
    generation INTEGER NOT NULL,
    path       TEXT NOT NULL,
    size       INTEGER NOT NULL,
    sha256     TEXT NOT NULL,
    PRIMARY KEY (suite, generation, path)
) STRICT, WITHOUT ROWID;
