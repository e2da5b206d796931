-- What source packages are made of, and what was proven of them.

-- What a job's source package is made of: decided at submission, completed when it was made.
CREATE TABLE job_source (
    job       INTEGER PRIMARY KEY REFERENCES job (id),
    branch    TEXT,                                     -- where pristine-tar was; NULL: nothing is taken from it
    layout    TEXT,                                     -- a Layout; NULL: it was not found out yet
    isolation TEXT,                                     -- of the build
    suites    TEXT,                                     -- JSON: the service's own suites that build dependencies might come from
    programs  TEXT,                                     -- the chroot or image whose dpkg-source made it; NULL: the host's did
    dsc       TEXT,                                     -- the .dsc
    dsc_sha256 TEXT,
    proven    INTEGER NOT NULL DEFAULT 0,               -- 1: it was unpacked and compared with the commit
    extra     TEXT NOT NULL,                            -- JSON: paths that a tarball has and the commit has not
    notes     TEXT NOT NULL                             -- JSON: what was left out or let go, each a sentence
) STRICT;

-- Its upstream tarballs, the main one first.
CREATE TABLE job_tarball (
    job    INTEGER NOT NULL REFERENCES job (id),
    turn   INTEGER NOT NULL,
    name   TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('pool', 'pristine-tar')),
    brought INTEGER,                                    -- the job that brought the pool's
    delta  TEXT,                                        -- the blob on the branch
    tree   TEXT,                                        -- the tree that the delta was made against
    sha256 TEXT,                                        -- NULL: it was not made yet, and its delta does not say
    bound  TEXT,                                        -- a Bound; NULL: it holds nothing that the commit has not
    PRIMARY KEY (job, turn)
) STRICT, WITHOUT ROWID;

-- The first .dsc that a version was published with: there is no other one, ever.
CREATE TABLE version_source (
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    sha256  TEXT NOT NULL,
    dsc     TEXT,                                       -- NULL: it was published by a release that did not keep it
    PRIMARY KEY (package, version)
) STRICT, WITHOUT ROWID;

INSERT INTO version_source (package, version, sha256)
    SELECT source, version, sha256 FROM pool_version_file JOIN pool_file USING (path) WHERE path LIKE '%.dsc';
