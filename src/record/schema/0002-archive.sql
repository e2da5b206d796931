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

-- Suites, and the generation that shows what is recorded.
CREATE TABLE suite (
    name       TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    release    TEXT NOT NULL                            -- what Release says about the suite, to notice a change
) STRICT, WITHOUT ROWID;

CREATE TABLE suite_source (
    suite   TEXT NOT NULL REFERENCES suite (name),
    source  TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (suite, source),
    FOREIGN KEY (source, version) REFERENCES pool_version (source, version)
) STRICT, WITHOUT ROWID;

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
