-- Packages that were taken out of pockets, and hooks that hear of it.

-- What a pocket had when somebody took it out: what is older may not come back where it may not go back.
CREATE TABLE removed (
    pocket    TEXT NOT NULL,
    package   TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    version   TEXT NOT NULL,
    job       INTEGER NOT NULL REFERENCES job (id),     -- the job that had brought it there
    at        INTEGER NOT NULL,
    by        TEXT NOT NULL,
    reason    TEXT NOT NULL,
    PRIMARY KEY (pocket, package)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    id      INTEGER PRIMARY KEY,
    job     INTEGER NOT NULL REFERENCES job (id),
    event   TEXT NOT NULL CHECK (event IN ('submitted', 'started', 'published', 'failed', 'cancelled', 'removed')),
    at      INTEGER NOT NULL,
    by      TEXT,                                       -- who did it, if that is not the job's principal
    reason  TEXT,                                       -- why
    done    INTEGER                                     -- when the last hook of the event had ended
) STRICT;
INSERT INTO event (id, job, event, at, done) SELECT id, job, event, at, done FROM hook_event;
CREATE TABLE run (
    id         INTEGER PRIMARY KEY,
    hook_event INTEGER NOT NULL REFERENCES event (id),
    name       TEXT NOT NULL,
    started    INTEGER NOT NULL,
    finished   INTEGER NOT NULL,
    outcome    TEXT NOT NULL                            -- 'ok', or what went wrong in a few words
) STRICT;
INSERT INTO run SELECT id, hook_event, name, started, finished, outcome FROM hook_run;
DROP TABLE hook_run;
DROP TABLE hook_event;
ALTER TABLE event RENAME TO hook_event;
ALTER TABLE run RENAME TO hook_run;
CREATE INDEX hook_event_owed ON hook_event (id) WHERE done IS NULL;
CREATE INDEX hook_event_job ON hook_event (job);
CREATE INDEX hook_run_event ON hook_run (hook_event);
