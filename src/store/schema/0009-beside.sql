-- What the archive has of a version beside its pool: changelogs, and for each suite that shows it its .changes with links to what
-- these list. Either a file or a link, by path below the archive's root.

CREATE TABLE beside (
    path    TEXT PRIMARY KEY,
    source  TEXT NOT NULL,
    version TEXT NOT NULL,
    size    INTEGER,                                    -- of a file
    sha256  TEXT,
    target  TEXT,                                       -- of a link, as it stands in it
    FOREIGN KEY (source, version) REFERENCES pool_version (source, version),
    CHECK ((target IS NULL) = (sha256 IS NOT NULL) AND (size IS NULL) = (sha256 IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX beside_version ON beside (source, version);
