-- Jobs, what every pocket has, and what is still owed to Git and to the archive's files.
-- Times are milliseconds since 1970-01-01 UTC.

CREATE TABLE job (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    pocket      TEXT NOT NULL,
    package     TEXT NOT NULL,
    commit_id   TEXT NOT NULL,
    version     TEXT NOT NULL,
    principal   TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN
                    ('queued', 'preparing', 'building', 'publishing', 'published', 'failed', 'cancelled')),
    failure     TEXT,                                   -- a FailureKind, when state is 'failed'
    reason      TEXT,                                   -- prose: why it failed, or who cancelled it
    copied_from TEXT,                                   -- the pocket whose binaries were taken instead of a build
    turn        INTEGER NOT NULL UNIQUE,                -- order in which jobs were accepted or retried
    attempt     INTEGER NOT NULL DEFAULT 0,             -- times it was claimed
    submitted   INTEGER NOT NULL,
    started     INTEGER,
    finished    INTEGER,
    lease_until INTEGER,                                -- while claimed: after this the claim is void
    cancel_by   TEXT,                                   -- principal who asked a running job to stop
    CHECK ((state = 'failed') = (failure IS NOT NULL)),
    CHECK ((state IN ('published', 'failed', 'cancelled')) = (finished IS NOT NULL)),
    CHECK ((state IN ('preparing', 'building', 'publishing')) = (lease_until IS NOT NULL))
) STRICT;

-- Submitting what is already under way finds the job that is.
CREATE UNIQUE INDEX job_live ON job (pocket, package, commit_id)
    WHERE state IN ('queued', 'preparing', 'building', 'publishing');
CREATE INDEX job_open ON job (turn) WHERE state IN ('queued', 'preparing', 'building', 'publishing');
CREATE INDEX job_finished ON job (finished) WHERE finished IS NOT NULL;
CREATE INDEX job_package ON job (package, id);

-- Hooks owed and run. A hook is owed from the transaction that made its event true.
CREATE TABLE hook_event (
    id      INTEGER PRIMARY KEY,
    job     INTEGER NOT NULL REFERENCES job (id),
    event   TEXT NOT NULL CHECK (event IN ('submitted', 'started', 'published', 'failed', 'cancelled')),
    at      INTEGER NOT NULL,
    done    INTEGER                                     -- when the last hook of the event had ended
) STRICT;
CREATE INDEX hook_event_owed ON hook_event (id) WHERE done IS NULL;
CREATE INDEX hook_event_job ON hook_event (job);

CREATE TABLE hook_run (
    id         INTEGER PRIMARY KEY,
    hook_event INTEGER NOT NULL REFERENCES hook_event (id),
    name       TEXT NOT NULL,
    started    INTEGER NOT NULL,
    finished   INTEGER NOT NULL,
    outcome    TEXT NOT NULL                            -- 'ok', or what went wrong in a few words
) STRICT;
CREATE INDEX hook_run_event ON hook_run (hook_event);

-- The commit that a version of a package names, for ever.
CREATE TABLE version (
    package   TEXT NOT NULL,
    version   TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    distro    TEXT NOT NULL,                            -- what its binaries were built in
    job       INTEGER NOT NULL REFERENCES job (id),     -- the job that built it
    tag       TEXT,                                     -- what its tag points at; NULL: no pocket that tags had it
    PRIMARY KEY (package, version)
) STRICT, WITHOUT ROWID;

-- What every pocket has now.
CREATE TABLE pocket_package (
    pocket    TEXT NOT NULL,
    package   TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    version   TEXT NOT NULL,
    job       INTEGER NOT NULL REFERENCES job (id),     -- the job that brought it there
    PRIMARY KEY (pocket, package)
) STRICT, WITHOUT ROWID;
CREATE INDEX pocket_package_version ON pocket_package (package, version);

-- What every pocket branch of the superproject points at.
CREATE TABLE superproject (
    branch    TEXT PRIMARY KEY,
    commit_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Moves that a committed publication owes: each is a compare-and-set, made after the commit and safe to repeat.
CREATE TABLE owed_move (
    id        INTEGER PRIMARY KEY,
    job       INTEGER REFERENCES job (id),
    kind      TEXT NOT NULL CHECK (kind IN ('ref', 'suite')),
    place     TEXT NOT NULL,                            -- the repository's path, or the suite
    name      TEXT NOT NULL,                            -- the ref's full name, or empty
    old_value TEXT,                                     -- NULL: does not exist yet
    new_value TEXT                                      -- NULL: is to be deleted
) STRICT;

-- The audit trail: only ever added to, each entry chained to the one before by its hash.
CREATE TABLE audit (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    event  TEXT NOT NULL,
    job    INTEGER,                                     -- the job it is about, if any
    detail TEXT NOT NULL,                               -- a JSON object
    hash   BLOB NOT NULL                                -- SHA-256 over the previous hash and this entry
) STRICT;
-- Heads of the trail that were signed: at each publication.
CREATE TABLE audit_seal (
    id       INTEGER PRIMARY KEY,                       -- the entry that was the last
    hash     BLOB NOT NULL,
    at       INTEGER NOT NULL,
    inline   BLOB NOT NULL,                             -- the signed text
    detached BLOB NOT NULL                              -- its signature alone
) STRICT;
CREATE INDEX audit_job ON audit (job, id) WHERE job IS NOT NULL;
