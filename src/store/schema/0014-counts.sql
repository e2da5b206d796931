-- What is counted of jobs, and of the buckets of an index. Every transition keeps the former, so that whoever asks often need not look
-- at history. What the columns mean is in src/store/measures.rs.

ALTER TABLE job ADD COLUMN since INTEGER;               -- when it entered its state; NULL: before this schema

-- How many jobs have come to each end; a job that is retried comes to another one.
CREATE TABLE ended (
    pocket  TEXT NOT NULL,
    state   TEXT NOT NULL CHECK (state IN ('published', 'failed', 'cancelled')),
    failure TEXT NOT NULL CHECK ((failure <> '') = (state = 'failed')),     -- a FailureKind
    jobs    INTEGER NOT NULL,
    PRIMARY KEY (pocket, state, failure)
) STRICT, WITHOUT ROWID;
INSERT INTO ended SELECT pocket, state, coalesce(failure, ''), count(*) FROM job WHERE finished IS NOT NULL GROUP BY 1, 2, 3;

-- How long jobs were in the other states until they left them, by upper bound.
CREATE TABLE phase_time (
    pocket TEXT NOT NULL,
    state  TEXT NOT NULL CHECK (state IN ('queued', 'preparing', 'building', 'publishing')),
    bound  INTEGER NOT NULL,                            -- milliseconds
    jobs   INTEGER NOT NULL,
    ms     INTEGER NOT NULL,                            -- of all of them together
    PRIMARY KEY (pocket, state, bound)
) STRICT, WITHOUT ROWID;

-- What the list of an index's buckets has, beside what stands in them: reading past that takes as long as reading it.
CREATE INDEX bucket_sizes ON bucket (domain, suite, path, first, length(plain), unpadded);
