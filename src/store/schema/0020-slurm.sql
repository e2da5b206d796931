-- What is, or was, with Slurm: a row for each submission.
CREATE TABLE slurm_job (
    name         TEXT PRIMARY KEY,                      -- the job's name there; no two submissions share one
    job          INTEGER NOT NULL REFERENCES job (id),
    attempt      INTEGER NOT NULL,
    architecture TEXT NOT NULL,
    bootstrap    BLOB NOT NULL,                         -- SHA-256 of the right that the script has
    sent         INTEGER NOT NULL,
    number       INTEGER,                               -- Slurm's own, for people
    node         TEXT,
    said         TEXT,                                  -- how it is there, in words
    start_number INTEGER,                               -- the start that has the session: Slurm's number,
    start_again  INTEGER,                               -- and how often Slurm had started it again
    session      BLOB,                                  -- SHA-256 of the key of that start's session
    admitted     INTEGER,                               -- when the results of that session were taken
    ended        INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX slurm_job_of ON slurm_job (job, attempt, sent);
CREATE INDEX slurm_job_open ON slurm_job (name) WHERE ended IS NULL;
