-- Which jobs may run next, and whose turn it is: kept by every transition, so that a claim looks neither at jobs that wait
-- nor at history. What the columns mean is in src/store/queue.rs.

ALTER TABLE job ADD COLUMN priority INTEGER NOT NULL DEFAULT 0 CHECK (priority IN (0, 1));
-- 1: queued, and no earlier job of its package is in its way
ALTER TABLE job ADD COLUMN ready INTEGER NOT NULL DEFAULT 0 CHECK (ready IN (0, state = 'queued'));

-- The first of a package in a pocket, and of a commit in any pocket.
CREATE INDEX job_in_pocket ON job (package, pocket, turn)
    WHERE state IN ('queued', 'preparing', 'building', 'publishing');
CREATE INDEX job_of_commit ON job (package, commit_id, turn)
    WHERE state IN ('queued', 'preparing', 'building', 'publishing');
CREATE INDEX job_of_principal ON job (principal) WHERE state IN ('queued', 'preparing', 'building', 'publishing');
CREATE INDEX job_running ON job (pocket, principal) WHERE state IN ('preparing', 'building', 'publishing');
CREATE INDEX job_ready ON job (pocket, principal, turn) WHERE ready = 1;
CREATE INDEX job_urgent ON job (pocket, turn) WHERE ready = 1 AND priority = 1;

-- How much of the places each pocket has used, in microseconds divided by its share.
CREATE TABLE pocket_use (
    pocket TEXT PRIMARY KEY,
    used   INTEGER NOT NULL,
    clock  INTEGER NOT NULL,                            -- `used` of the principal of it that was served last
    ready  INTEGER NOT NULL                             -- jobs of it that are ready
) STRICT, WITHOUT ROWID;

-- The same for each principal in a pocket, in milliseconds.
CREATE TABLE principal_use (
    pocket    TEXT NOT NULL,
    principal TEXT NOT NULL,
    used      INTEGER NOT NULL,
    ready     INTEGER NOT NULL,
    oldest    INTEGER,                                  -- turn of the oldest one that is ready; NULL: none is
    PRIMARY KEY (pocket, principal),
    CHECK ((ready = 0) = (oldest IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX principal_use_next ON principal_use (pocket, used, oldest) WHERE ready > 0;

-- `used` of the pocket that was served last. One row.
CREATE TABLE queue_clock (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    clock INTEGER NOT NULL
) STRICT;
INSERT INTO queue_clock VALUES (1, 0);

-- What running jobs were charged when they were claimed. It is put right when they end.
CREATE TABLE charge (
    job   INTEGER PRIMARY KEY REFERENCES job (id),
    ms    INTEGER NOT NULL,
    share INTEGER NOT NULL                              -- of the pocket; 0: a reserved place, which costs the pocket nothing
) STRICT;

-- How long jobs took from claim to publication, lately: of a package in a pocket, and of a pocket (package is empty).
CREATE TABLE pace (
    pocket  TEXT NOT NULL,
    package TEXT NOT NULL,
    ms      INTEGER NOT NULL,
    PRIMARY KEY (pocket, package)
) STRICT, WITHOUT ROWID;

-- When a job that had to wait was expected to start, as it was first told.
CREATE TABLE forecast (
    job   INTEGER PRIMARY KEY REFERENCES job (id),
    at    INTEGER NOT NULL,
    start INTEGER NOT NULL,
    started INTEGER                                     -- when it did; NULL: it waits still, or was cancelled
) STRICT;

UPDATE job SET ready = 1 WHERE state = 'queued'
    AND NOT EXISTS (SELECT 1 FROM job AS other WHERE other.package = job.package AND other.pocket = job.pocket
        AND other.state IN ('queued', 'preparing', 'building', 'publishing') AND other.turn < job.turn)
    AND NOT EXISTS (SELECT 1 FROM job AS other WHERE other.package = job.package AND other.commit_id = job.commit_id
        AND other.state IN ('queued', 'preparing', 'building', 'publishing') AND other.turn < job.turn);
INSERT INTO pocket_use
    SELECT pocket, 0, 0, sum(ready) FROM job WHERE state IN ('queued', 'preparing', 'building', 'publishing') GROUP BY pocket;
INSERT INTO principal_use
    SELECT pocket, principal, 0, sum(ready), min(iif(ready, turn, NULL)) FROM job
    WHERE state IN ('queued', 'preparing', 'building', 'publishing') GROUP BY pocket, principal;
INSERT INTO charge
    SELECT id, 1000, 1 FROM job WHERE state IN ('preparing', 'building', 'publishing');
INSERT INTO pace
    SELECT pocket, package, CAST(avg(finished - started) AS INTEGER) FROM (
        SELECT pocket, package, started, finished, row_number() OVER (PARTITION BY pocket, package ORDER BY id DESC) AS n
        FROM job WHERE state = 'published' AND started IS NOT NULL)
    WHERE n <= 3 GROUP BY pocket, package;
INSERT INTO pace SELECT pocket, '', CAST(avg(ms) AS INTEGER) FROM pace GROUP BY pocket;
