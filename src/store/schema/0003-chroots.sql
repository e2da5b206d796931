-- Which chroots jobs were built in.

-- A chroot, for as long as a job names it, also when its tarball is gone.
CREATE TABLE chroot (
    digest   TEXT PRIMARY KEY,                          -- SHA-256 of its tarball
    manifest TEXT NOT NULL                              -- JSON
) STRICT, WITHOUT ROWID;

-- The chroot of a job's last attempt, for each architecture that it was built for.
CREATE TABLE job_chroot (
    job          INTEGER NOT NULL REFERENCES job (id),
    architecture TEXT NOT NULL,
    turn         INTEGER NOT NULL,                      -- 0: what has no architecture was built in this one
    digest       TEXT NOT NULL REFERENCES chroot (digest),
    PRIMARY KEY (job, architecture)
) STRICT, WITHOUT ROWID;

-- Versions that were built twice, with the same packages both times.
CREATE TABLE reproduced (
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (package, version)
) STRICT, WITHOUT ROWID;
