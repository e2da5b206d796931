//! Keeps what the pool has of each version, and what each suite shows of it.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use deb822_fast::Deb822;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::beside::{self, Beside};
use crate::pool;
use crate::rows::identity;
use invirtibuilder_api::archive::PoolFile;
use invirtibuilder_core::domain::{Identity, SuiteId};
use invirtibuilder_core::names::{DomainName, PackageName, Version};
use invirtibuilder_core::relations::provided;
use invirtibuilder_core::stored_enum;

stored_enum! {
    /// The kind of a part of a version.
    pub enum PartKind {
        /// The source package.
        Dsc = "dsc",
        /// A binary package.
        Deb = "deb",
        /// A binary package for the installer.
        Udeb = "udeb",
    }
}

/// One entry of Sources or Packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The kind of the part.
    pub kind: PartKind,
    /// The name of the package.
    pub name: String,
    /// The architecture of the package; empty for a source package.
    pub architecture: String,
    /// The component that it belongs to.
    pub component: String,
    /// The entry, with its last newline.
    pub stanza: String,
}

impl Part {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            kind: row.get(0)?,
            name: row.get(1)?,
            architecture: row.get(2)?,
            component: row.get(3)?,
            stanza: row.get(4)?,
        })
    }
}

/// Everything that the pool has of one version of a source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The version.
    pub id: Identity,
    /// The path of the `.changes`, below the archive's root.
    pub changes: String,
    /// The entries of Sources and Packages.
    pub parts: Vec<Part>,
    /// The files of the pool.
    pub files: Vec<PoolFile>,
    /// The files and links that the archive has of it beside the pool.
    pub beside: Vec<Beside>,
}

impl Content {
    /// Lists the paths below the archive's root of everything that it has.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .map(|file| &file.path[..])
            .chain(self.beside.iter().map(|it| &it.path[..]))
    }
}

/// Reads what the pool has of this version, if it was ever published.
pub fn content(db: &Connection, id: &Identity) -> Result<Option<Content>> {
    let Some(changes) = changes(db, id)? else { return Ok(None) };
    let mut statement = db.prepare_cached(
        "SELECT kind, name, architecture, component, stanza FROM pool_part
         WHERE domain = ? AND source = ? AND version = ?",
    )?;
    let parts = statement
        .query_map(params![id.domain, id.package, id.version], Part::from_row)?
        .collect::<Result<_, _>>()?;
    let files = pool::of_version(db, id)?;
    let beside = beside::of_version(db, id)?;
    Ok(Some(Content { id: id.clone(), changes, parts, files, beside }))
}

/// Lists the parts of a version without their entries, but for the source package's: for callers
/// that ask of many versions at once.
pub fn outline(db: &Connection, id: &Identity) -> Result<Vec<Part>> {
    let mut statement = db.prepare_cached(
        "SELECT kind, name, architecture, component, iif(kind = 'dsc', stanza, '') FROM pool_part
         WHERE domain = ? AND source = ? AND version = ?",
    )?;
    let rows = statement.query_map(params![id.domain, id.package, id.version], Part::from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Finds the `.changes` of this version, below the archive's root.
pub fn changes(db: &Connection, id: &Identity) -> Result<Option<String>> {
    let sql = "SELECT changes FROM pool_version WHERE domain = ? AND source = ? AND version = ?";
    Ok(db
        .prepare_cached(sql)?
        .query_row(params![id.domain, id.package, id.version], |row| row.get(0))
        .optional()?)
}

/// Records what the archive has of a version; what is recorded already stays as it is.
pub fn add(tx: &Transaction, content: &Content) -> Result<()> {
    let id = &content.id;
    let new = tx
        .prepare_cached(
            "INSERT INTO pool_version (domain, source, version, changes) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?
        .execute(params![id.domain, id.package, id.version, content.changes])?;
    let add_beside = || content.beside.iter().try_for_each(|it| beside::add(tx, id, it));
    if new == 0 {
        return add_beside();
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO pool_part (domain, source, version, kind, name, architecture, component, stanza)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for part in &content.parts {
        insert.execute(params![
            id.domain,
            id.package,
            id.version,
            part.kind,
            part.name,
            part.architecture,
            part.component,
            part.stanza
        ])?;
    }
    content.files.iter().try_for_each(|file| pool::add(tx, id, file))?;
    add_beside()
}

/// Finds the version of a source package that a suite shows.
pub fn shown(db: &Connection, suite: &SuiteId, source: &PackageName) -> Result<Option<Version>> {
    Ok(db
        .prepare_cached(
            "SELECT version FROM suite_source WHERE domain = ? AND suite = ? AND source = ? AND until IS NULL",
        )?
        .query_row(params![suite.domain, suite.suite, source], |row| row.get(0))
        .optional()?)
}

/// Lists every source package of a suite, with its version.
pub fn sources(db: &Connection, suite: &SuiteId) -> Result<Vec<(PackageName, Version)>> {
    let mut statement = db.prepare_cached(
        "SELECT source, version FROM suite_source WHERE domain = ? AND suite = ? AND until IS NULL ORDER BY source",
    )?;
    Ok(statement
        .query_map(params![suite.domain, suite.suite], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?)
}

/// Lists the names of the binary packages that suites show, and of what they provide.
pub fn names(db: &Connection, suites: &[SuiteId]) -> Result<HashSet<String>> {
    let mut statement = db.prepare_cached(
        "SELECT name, iif(instr(stanza, char(10) || 'Provides:'), stanza, NULL)
         FROM suite_source JOIN pool_part USING (domain, source, version)
         WHERE domain = ? AND suite = ? AND until IS NULL AND kind = 'deb'",
    )?;
    let mut names = HashSet::new();
    for suite in suites {
        let mut rows = statement.query(params![suite.domain, suite.suite])?;
        while let Some(row) = rows.next()? {
            names.insert(row.get(0)?);
            if let Some(stanza) = row.get::<_, Option<String>>(1)? {
                let stanza: Deb822 =
                    stanza.parse().context("an entry of Packages does not parse")?;
                let provides = stanza.iter().filter_map(|entry| entry.get("Provides"));
                names.extend(provides.flat_map(provided));
            }
        }
    }
    Ok(names)
}

/// The state of a suite, besides its contents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SuiteState {
    /// The generation that shows what is recorded; 0: there is none yet.
    pub generation: i64,
    /// The fields of its Release that describe the suite.
    pub release: String,
    /// The fingerprints of the keys that signed it.
    pub signers: String,
    /// The Valid-Until of its Release, in milliseconds since 1970-01-01 UTC.
    pub valid_until: Option<i64>,
    /// The number of versions of a package that its indexes have.
    pub keep: u32,
}

/// Lists every suite that the record knows, by domain and name.
pub fn suites(db: &Connection) -> Result<Vec<SuiteId>> {
    let mut statement =
        db.prepare_cached("SELECT domain, name FROM suite ORDER BY domain, name")?;
    let suite = |row: &Row| Ok(SuiteId { domain: row.get(0)?, suite: row.get(1)? });
    Ok(statement.query_map([], suite)?.collect::<Result<_, _>>()?)
}

/// Lists every version that the pools have.
pub fn versions(db: &Connection) -> Result<Vec<Identity>> {
    let sql = "SELECT domain, source, version FROM pool_version ORDER BY domain, source, version";
    Ok(db.prepare_cached(sql)?.query_map([], identity)?.collect::<Result<_, _>>()?)
}

/// Lists the versions that a domain's pool has and no snapshot of any of its suites has, in its
/// indexes either.
pub fn versions_not_shown(db: &Connection, domain: &DomainName) -> Result<Vec<Identity>> {
    let mut statement = db.prepare_cached(
        "SELECT domain, source, version FROM pool_version WHERE domain = ? AND NOT EXISTS (
             SELECT 1 FROM suite_source AS shown WHERE shown.domain = pool_version.domain
             AND shown.source = pool_version.source AND shown.version = pool_version.version)
         AND NOT EXISTS (
             SELECT 1 FROM suite_kept AS kept WHERE kept.domain = pool_version.domain
             AND kept.source = pool_version.source AND kept.version = pool_version.version)",
    )?;
    Ok(statement.query_map([domain], identity)?.collect::<Result<_, _>>()?)
}

/// Lists the versions whose entries in Sources have no MD5 sums: those that an older release has
/// published.
pub fn sources_without_sums(db: &Connection) -> Result<Vec<Identity>> {
    let sql = "SELECT domain, source, version FROM pool_part
               WHERE kind = 'dsc' AND NOT instr(stanza, char(10) || 'Files:') ORDER BY domain, source, version";
    Ok(db.prepare_cached(sql)?.query_map([], identity)?.collect::<Result<_, _>>()?)
}

/// Reads the entry of a version in Sources.
pub fn source_stanza(db: &Connection, id: &Identity) -> Result<String> {
    let sql = "SELECT stanza FROM pool_part WHERE domain = ? AND source = ? AND version = ? AND kind = 'dsc'";
    let key = params![id.domain, id.package, id.version];
    Ok(db.prepare_cached(sql)?.query_row(key, |row| row.get(0))?)
}

/// Replaces the entry of a version in Sources. It forgets what suites that show it say of
/// themselves: then the service writes them again.
pub fn replace_stanza(tx: &Transaction, id: &Identity, stanza: &str) -> Result<()> {
    tx.prepare_cached(
        "UPDATE pool_part SET stanza = ? WHERE domain = ? AND source = ? AND version = ? AND kind = 'dsc'",
    )?
    .execute(params![stanza, id.domain, id.package, id.version])?;
    tx.prepare_cached(
        "UPDATE suite SET release = '' WHERE domain = ?1 AND name IN
             (SELECT suite FROM suite_source WHERE domain = ?1 AND source = ?2 AND version = ?3 AND until IS NULL)",
    )?
    .execute(params![id.domain, id.package, id.version])?;
    Ok(())
}

/// Lists the versions of source packages that binary packages of a domain's pool were built with parts of:
/// their licences may demand that those sources stay (Debian policy 7.8). Each comes with the
/// version whose binary package says so.
pub fn built_using(db: &Connection, domain: &DomainName) -> Result<Vec<(Identity, Identity)>> {
    let mut statement = db.prepare_cached(
        "SELECT domain, source, version, stanza FROM pool_part
         WHERE domain = ? AND kind <> 'dsc' AND stanza LIKE '%built-using:%'",
    )?;
    let mut rows = statement.query([domain])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let by = identity(row)?;
        let stanza: Deb822 =
            row.get::<_, String>(3)?.parse().context("an entry of Packages does not parse")?;
        let fields = stanza
            .iter()
            .flat_map(|entry| ["Built-Using", "Static-Built-Using"].map(|name| entry.get(name)));
        for one in fields.flatten().flat_map(|field| field.split(',')) {
            let named = one
                .trim()
                .trim_end_matches(')')
                .split_once(" (=")
                .map(|(name, version)| (name.trim(), version.trim()));
            if let Some((Ok(package), Ok(version))) =
                named.map(|(source, version)| (source.parse(), version.parse()))
            {
                all.push((Identity { domain: domain.clone(), package, version }, by.clone()));
            }
        }
    }
    Ok(all)
}

/// Reads a suite's state; `None`: the record does not know the suite.
pub fn suite(db: &Connection, suite: &SuiteId) -> Result<Option<SuiteState>> {
    Ok(db
        .prepare_cached(
            "SELECT generation, release, signers, valid_until, keep FROM suite WHERE domain = ? AND name = ?",
        )?
        .query_row(params![suite.domain, suite.suite], |row| {
            Ok(SuiteState {
                generation: row.get(0)?,
                release: row.get(1)?,
                signers: row.get(2)?,
                valid_until: row.get(3)?,
                keep: row.get(4)?,
            })
        })
        .optional()?)
}

/// Takes a suite from generation `from` to a later one. It is an error if the suite is not at
/// `from` (0: it is new).
pub fn advance_suite(tx: &Transaction, suite: &SuiteId, from: i64, to: &SuiteState) -> Result<()> {
    let SuiteId { domain, suite: name } = suite;
    let changed = if from == 0 {
        tx.execute(
            "INSERT INTO suite (domain, name, generation, release, signers, valid_until, keep) VALUES (?, ?, ?, ?, ?, ?, ?)",
            params![domain, name, to.generation, to.release, to.signers, to.valid_until, to.keep],
        )?
    } else {
        tx.execute(
            "UPDATE suite SET generation = ?, release = ?, signers = ?, valid_until = ?, keep = ?
             WHERE domain = ? AND name = ? AND generation = ?",
            params![
                to.generation,
                to.release,
                to.signers,
                to.valid_until,
                to.keep,
                domain,
                name,
                from
            ],
        )?
    };
    if changed != 1 {
        bail!("suite {suite} was changed by somebody else");
    }
    Ok(())
}

/// Sets the version of a source package that a suite shows from this snapshot on.
pub fn show(
    tx: &Transaction,
    suite: &SuiteId,
    (source, version): (&PackageName, &Version),
    since: i64,
) -> Result<()> {
    hide(tx, suite, source, since)?;
    tx.prepare_cached(
        "INSERT INTO suite_source (domain, suite, source, version, since) VALUES (?, ?, ?, ?, ?)",
    )?
    .execute(params![suite.domain, suite.suite, source, version, since])?;
    Ok(())
}

/// Records that a suite shows no version of a source package from this snapshot on.
pub fn hide(tx: &Transaction, suite: &SuiteId, source: &PackageName, until: i64) -> Result<()> {
    tx.prepare_cached(
        "UPDATE suite_source SET until = ? WHERE domain = ? AND suite = ? AND source = ? AND until IS NULL",
    )?
    .execute(params![until, suite.domain, suite.suite, source])?;
    Ok(())
}

/// Forgets a suite with all of its snapshots. What the pool has stays.
pub fn forget_suite(tx: &Transaction, suite: &SuiteId) -> Result<()> {
    for table in
        ["suite_source", "suite_kept", "released_source", "snapshot", "bucket", "suite_file"]
    {
        tx.execute(
            &format!("DELETE FROM {table} WHERE domain = ? AND suite = ?"),
            params![suite.domain, suite.suite],
        )?;
    }
    tx.execute(
        "DELETE FROM suite WHERE domain = ? AND name = ?",
        params![suite.domain, suite.suite],
    )?;
    Ok(())
}
