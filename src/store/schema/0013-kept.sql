-- Older versions that a suite's indexes have beside the one that the suite shows (`keep` of a pocket).

-- From snapshot `since` until before snapshot `until` (NULL: they have it still).
CREATE TABLE suite_kept (
    domain  TEXT NOT NULL,
    suite   TEXT NOT NULL,
    source  TEXT NOT NULL,
    version TEXT NOT NULL,
    since   INTEGER NOT NULL,
    until   INTEGER CHECK (until > since),
    PRIMARY KEY (domain, suite, source, version, since),
    FOREIGN KEY (domain, suite) REFERENCES suite (domain, name),
    FOREIGN KEY (domain, source, version) REFERENCES pool_version (domain, source, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX suite_kept_version ON suite_kept (domain, source, version);

ALTER TABLE suite ADD COLUMN keep INTEGER NOT NULL DEFAULT 1;   -- how many versions the indexes have, to notice a change
