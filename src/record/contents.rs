//! What the pool has of each version, and what each suite shows of it.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use deb822_fast::Deb822;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::beside::{self, Beside};
use super::pool::{self, PoolFile};
use crate::names::{PackageName, Suite, Version};
use crate::stored::stored_enum;

/// A version of a source package, by name.
pub type Named = (PackageName, Version);

stored_enum! {
    /// What a part of a version is.
    pub enum Kind {
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
    /// What it is.
    pub kind: Kind,
    /// Its package name.
    pub name: String,
    /// Its architecture; empty for a source package.
    pub architecture: String,
    /// The component it belongs to.
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
    /// The source package.
    pub source: PackageName,
    /// Its version.
    pub version: Version,
    /// Its `.changes`, below the archive's root.
    pub changes: String,
    /// Its parts.
    pub parts: Vec<Part>,
    /// Its files.
    pub files: Vec<PoolFile>,
    /// What the archive has of it beside the pool.
    pub beside: Vec<Beside>,
}

impl Content {
    /// The path below the archive's root of everything that it has.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| &file.path[..]).chain(self.beside.iter().map(|it| &it.path[..]))
    }
}

/// What the pool has of this version, if it was ever published.
pub fn content(db: &Connection, source: &PackageName, version: &Version) -> Result<Option<Content>> {
    let Some(changes) = changes(db, source, version)? else { return Ok(None) };
    let mut statement = db.prepare_cached(
        "SELECT kind, name, architecture, component, stanza FROM pool_part WHERE source = ? AND version = ?",
    )?;
    let parts = statement.query_map(params![source, version], Part::from_row)?.collect::<Result<_, _>>()?;
    let files = pool::of_version(db, source, version)?;
    let beside = beside::of_version(db, source, version)?;
    Ok(Some(Content { source: source.clone(), version: version.clone(), changes, parts, files, beside }))
}

/// The parts of a version without their entries, but for the source package's: what is asked of many versions at once.
pub fn outline(db: &Connection, source: &PackageName, version: &Version) -> Result<Vec<Part>> {
    let mut statement = db.prepare_cached(
        "SELECT kind, name, architecture, component, iif(kind = 'dsc', stanza, '') FROM pool_part WHERE source = ? AND version = ?",
    )?;
    Ok(statement.query_map(params![source, version], Part::from_row)?.collect::<Result<_, _>>()?)
}

/// The `.changes` of this version, below the archive's root.
pub fn changes(db: &Connection, source: &PackageName, version: &Version) -> Result<Option<String>> {
    Ok(db
        .prepare_cached("SELECT changes FROM pool_version WHERE source = ? AND version = ?")?
        .query_row(params![source, version], |row| row.get(0))
        .optional()?)
}

/// Records what the archive has; what is recorded already stays as it is.
pub fn add(tx: &Transaction, content: &Content) -> Result<()> {
    let new = tx
        .prepare_cached("INSERT INTO pool_version (source, version, changes) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![content.source, content.version, content.changes])?;
    let add_beside = || content.beside.iter().try_for_each(|it| beside::add(tx, &content.source, &content.version, it));
    if new == 0 {
        return add_beside();
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO pool_part (source, version, kind, name, architecture, component, stanza) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?;
    for part in &content.parts {
        insert.execute(params![
            content.source,
            content.version,
            part.kind,
            part.name,
            part.architecture,
            part.component,
            part.stanza
        ])?;
    }
    content.files.iter().try_for_each(|file| pool::add(tx, &content.source, &content.version, file))?;
    add_beside()
}

/// The version of a source package that a suite shows.
pub fn shown(db: &Connection, suite: &Suite, source: &PackageName) -> Result<Option<Version>> {
    Ok(db
        .prepare_cached("SELECT version FROM suite_source WHERE suite = ? AND source = ? AND until IS NULL")?
        .query_row(params![suite, source], |row| row.get(0))
        .optional()?)
}

/// Every source package of a suite, with its version.
pub fn sources(db: &Connection, suite: &Suite) -> Result<Vec<(PackageName, Version)>> {
    let mut statement = db
        .prepare_cached("SELECT source, version FROM suite_source WHERE suite = ? AND until IS NULL ORDER BY source")?;
    Ok(statement.query_map([suite], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// Names of the binary packages that suites show, and of what they provide.
pub fn names(db: &Connection, suites: &[Suite]) -> Result<HashSet<String>> {
    let mut statement = db.prepare_cached(
        "SELECT name, iif(instr(stanza, char(10) || 'Provides:'), stanza, NULL)
         FROM suite_source JOIN pool_part USING (source, version) WHERE suite = ? AND until IS NULL AND kind = 'deb'",
    )?;
    let mut names = HashSet::new();
    for suite in suites {
        let mut rows = statement.query([suite])?;
        while let Some(row) = rows.next()? {
            names.insert(row.get(0)?);
            if let Some(stanza) = row.get::<_, Option<String>>(1)? {
                let stanza: Deb822 = stanza.parse().context("an entry of Packages does not parse")?;
                let provides = stanza.iter().filter_map(|entry| entry.get("Provides"));
                names.extend(provides.flat_map(provided));
            }
        }
    }
    Ok(names)
}

/// The names in a field `Provides` (Debian policy 7.5).
pub fn provided(field: &str) -> impl Iterator<Item = String> {
    let names =
        field.split(',').map(|one| one.trim().split([' ', '(', ':', '\n']).next().unwrap_or_default().to_owned());
    names.filter(|name| !name.is_empty())
}

/// What the record says of a suite besides its contents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SuiteState {
    /// The generation that shows what is recorded; 0: there is none yet.
    pub generation: i64,
    /// What its Release says about the suite.
    pub release: String,
    /// Fingerprints of the keys that signed it.
    pub signers: String,
    /// Its Valid-Until; milliseconds since 1970-01-01 UTC.
    pub valid_until: Option<i64>,
}

/// Every suite that the record knows, by name.
pub fn suites(db: &Connection) -> Result<Vec<Suite>> {
    let mut statement = db.prepare_cached("SELECT name FROM suite ORDER BY name")?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Every version that the pool has.
pub fn versions(db: &Connection) -> Result<Vec<(PackageName, Version)>> {
    let mut statement = db.prepare_cached("SELECT source, version FROM pool_version ORDER BY source, version")?;
    Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// Versions that the pool has and no snapshot of any suite.
pub fn versions_not_shown(db: &Connection) -> Result<Vec<(PackageName, Version)>> {
    let mut statement = db.prepare_cached(
        "SELECT source, version FROM pool_version WHERE NOT EXISTS (
             SELECT 1 FROM suite_source AS shown
             WHERE shown.source = pool_version.source AND shown.version = pool_version.version)",
    )?;
    Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// Versions whose entries in Sources have no MD5 sums: those that an older release has published.
pub fn sources_without_sums(db: &Connection) -> Result<Vec<Named>> {
    let sql = "SELECT source, version FROM pool_part WHERE kind = 'dsc' AND NOT instr(stanza, char(10) || 'Files:')
               ORDER BY source, version";
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

/// The entry of a version in Sources.
pub fn source_stanza(db: &Connection, source: &PackageName, version: &Version) -> Result<String> {
    let sql = "SELECT stanza FROM pool_part WHERE source = ? AND version = ? AND kind = 'dsc'";
    Ok(db.prepare_cached(sql)?.query_row(params![source, version], |row| row.get(0))?)
}

/// Replaces the entry of a version in Sources. What suites that show it say of themselves is forgotten: they are written anew.
pub fn replace_stanza(tx: &Transaction, source: &PackageName, version: &Version, stanza: &str) -> Result<()> {
    tx.prepare_cached("UPDATE pool_part SET stanza = ? WHERE source = ? AND version = ? AND kind = 'dsc'")?
        .execute(params![stanza, source, version])?;
    tx.prepare_cached(
        "UPDATE suite SET release = '' WHERE name IN
             (SELECT suite FROM suite_source WHERE source = ? AND version = ? AND until IS NULL)",
    )?
    .execute(params![source, version])?;
    Ok(())
}

/// Which versions of source packages binary packages of the pool were built with parts of: their licences may demand that those
/// sources stay (Debian policy 7.8). Each with the version whose binary package says so.
pub fn built_using(db: &Connection) -> Result<Vec<(Named, Named)>> {
    let mut statement = db.prepare_cached(
        "SELECT source, version, stanza FROM pool_part WHERE kind <> 'dsc' AND stanza LIKE '%built-using:%'",
    )?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let by: Named = (row.get(0)?, row.get(1)?);
        let stanza: Deb822 = row.get::<_, String>(2)?.parse().context("an entry of Packages does not parse")?;
        let fields = stanza.iter().flat_map(|entry| ["Built-Using", "Static-Built-Using"].map(|name| entry.get(name)));
        for one in fields.flatten().flat_map(|field| field.split(',')) {
            let named =
                one.trim().trim_end_matches(')').split_once(" (=").map(|(name, version)| (name.trim(), version.trim()));
            if let Some((Ok(source), Ok(version))) = named.map(|(source, version)| (source.parse(), version.parse())) {
                all.push(((source, version), by.clone()));
            }
        }
    }
    Ok(all)
}

/// A suite's state; `None`: the record does not know the suite.
pub fn suite(db: &Connection, suite: &Suite) -> Result<Option<SuiteState>> {
    Ok(db
        .prepare_cached("SELECT generation, release, signers, valid_until FROM suite WHERE name = ?")?
        .query_row([suite], |row| {
            Ok(SuiteState {
                generation: row.get(0)?,
                release: row.get(1)?,
                signers: row.get(2)?,
                valid_until: row.get(3)?,
            })
        })
        .optional()?)
}

/// Takes a suite from generation `from` to a later one; an error if it is not at `from` (0: it is new).
pub fn advance_suite(tx: &Transaction, suite: &Suite, from: i64, to: &SuiteState) -> Result<()> {
    let changed = if from == 0 {
        tx.execute(
            "INSERT INTO suite (name, generation, release, signers, valid_until) VALUES (?, ?, ?, ?, ?)",
            params![suite, to.generation, to.release, to.signers, to.valid_until],
        )?
    } else {
        tx.execute(
            "UPDATE suite SET generation = ?, release = ?, signers = ?, valid_until = ? WHERE name = ? AND generation = ?",
            params![to.generation, to.release, to.signers, to.valid_until, suite, from],
        )?
    };
    if changed != 1 {
        bail!("suite {suite} was changed by somebody else");
    }
    Ok(())
}

/// Sets the version of a source package that a suite shows from this snapshot on.
pub fn show(tx: &Transaction, suite: &Suite, source: &PackageName, version: &Version, since: i64) -> Result<()> {
    hide(tx, suite, source, since)?;
    tx.prepare_cached("INSERT INTO suite_source (suite, source, version, since) VALUES (?, ?, ?, ?)")?
        .execute(params![suite, source, version, since])?;
    Ok(())
}

/// A suite shows no version of a source package from this snapshot on.
pub fn hide(tx: &Transaction, suite: &Suite, source: &PackageName, until: i64) -> Result<()> {
    tx.prepare_cached("UPDATE suite_source SET until = ? WHERE suite = ? AND source = ? AND until IS NULL")?
        .execute(params![until, suite, source])?;
    Ok(())
}
