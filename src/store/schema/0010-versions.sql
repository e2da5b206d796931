-- Versions that are built under another name than the written one, and tarballs that are made of trees.

ALTER TABLE job ADD COLUMN written TEXT;                -- what debian/changelog has; NULL: the version that is built
ALTER TABLE job ADD COLUMN why TEXT;                    -- the reason of a rebuild without changes
ALTER TABLE version ADD COLUMN tag_name TEXT;           -- of its tag, that is there or not; NULL: DEP-14's name of the version alone

CREATE TABLE tarball (
    job    INTEGER NOT NULL REFERENCES job (id),
    turn   INTEGER NOT NULL,
    name   TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('pool', 'pristine-tar', 'tag', 'commit')),
    brought INTEGER,                                    -- the job that brought the pool's
    delta  TEXT,                                        -- the blob on the branch
    tree   TEXT,                                        -- the tree that it is made of, or that the delta was made against
    tag    TEXT,                                        -- the tag that led to the tree
    sha256 TEXT,                                        -- NULL: it was not made yet, and its delta does not say
    bound  TEXT,                                        -- a Bound; NULL: it holds nothing that the commit has not
    PRIMARY KEY (job, turn)
) STRICT, WITHOUT ROWID;
INSERT INTO tarball (job, turn, name, origin, brought, delta, tree, sha256, bound)
    SELECT job, turn, name, origin, brought, delta, tree, sha256, bound FROM job_tarball;
DROP TABLE job_tarball;
ALTER TABLE tarball RENAME TO job_tarball;
