-- Who may ask by HTTP without a ticket, and what those who leaf through jobs need. Secrets are kept as their SHA-256 only.

-- Tokens of programs. One that has ended stays, to be listed, until another takes its name.
CREATE TABLE token (
    principal TEXT NOT NULL,                            -- whose rights it has
    name      TEXT NOT NULL,
    secret    BLOB NOT NULL UNIQUE,
    pockets   TEXT NOT NULL,                            -- JSON list of those that it may change; empty: all
    verbs     TEXT NOT NULL,                            -- JSON list of what it may do
    by        TEXT NOT NULL,                            -- who made it
    created   INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    revoked   INTEGER,
    PRIMARY KEY (principal, name)
) STRICT, WITHOUT ROWID;

-- Sessions of people who have signed in with a ticket.
CREATE TABLE login (
    secret    BLOB PRIMARY KEY,
    principal TEXT NOT NULL,
    created   INTEGER NOT NULL,
    expires   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX login_expires ON login (expires);

CREATE INDEX job_by_pocket ON job (pocket, id);
CREATE INDEX job_by_principal ON job (principal, id);
CREATE INDEX job_by_commit ON job (commit_id);
CREATE INDEX job_failed ON job (id) WHERE state = 'failed';
CREATE INDEX job_cancelled ON job (id) WHERE state = 'cancelled';

-- What the pool of each domain had on the last look of a day.
CREATE TABLE pool_day (
    domain TEXT NOT NULL,
    day    INTEGER NOT NULL,                            -- its beginning
    files  INTEGER NOT NULL,
    bytes  INTEGER NOT NULL,
    PRIMARY KEY (domain, day)
) STRICT, WITHOUT ROWID;
