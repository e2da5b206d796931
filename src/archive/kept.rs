//! Which older versions the indexes of a suite have, and their entries: behind that of the version
//! that the suite shows, under the same name. A binary package that the newest version does not
//! build is in no index, so that apt takes no old one for it, and another source package may have
//! its name.

use anyhow::Result;
use rusqlite::Connection;

use crate::suite::SuiteSpec;
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::names::{DomainName, PackageName, Version};
use invirtibuilder_store::contents::{self, Content, Part};
use invirtibuilder_store::kept;

/// The older versions of a source package that a suite's indexes have from now on.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The source package.
    pub source: PackageName,
    /// What the pool has of them, the newest first.
    pub contents: Vec<Content>,
}

impl Kept {
    /// Finds them for the version that the suite is to show: what it shows and what its indexes
    /// have already, as far as that is older. After a rollback nothing newer is among them.
    pub fn of(db: &Connection, spec: &SuiteSpec, id: &Identity) -> Result<Self> {
        let Identity { domain, package: source, version } = id;
        let most = spec.keep.saturating_sub(1) as usize;
        if most == 0 {
            return Ok(Self { source: source.clone(), contents: Vec::new() });
        }
        let mut older = kept::of_source(db, &spec.suite, source)?;
        older.extend(contents::shown(db, &spec.suite, source)?);
        older.retain(|older| older.precedes(version));
        older.sort_by(|a, b| b.cmp_dpkg(a));
        older.dedup();
        older.truncate(most);
        Self::recorded(db, domain, (source, older))
    }

    /// Reads what the pool of a domain has of these versions.
    pub fn recorded(
        db: &Connection,
        domain: &DomainName,
        (source, mut versions): (&PackageName, Vec<Version>),
    ) -> Result<Self> {
        versions.sort_by(|a, b| b.cmp_dpkg(a));
        let mut kept = Self { source: source.clone(), contents: Vec::new() };
        for version in versions {
            let (domain, package) = (domain.clone(), source.clone());
            kept.contents.extend(contents::content(db, &Identity { domain, package, version })?);
        }
        Ok(kept)
    }

    /// Lists the versions.
    pub fn versions(&self) -> Vec<Version> {
        self.contents.iter().map(|content| content.id.version.clone()).collect()
    }

    /// Writes the entry that an index has of a part of the newest version, with those of the same part of older ones
    /// behind it. A binary package may have a version of its own: one that is not older is left out.
    pub fn entry(&self, part: &Part, index: &str) -> String {
        let mut entry = part.stanza.clone();
        let newest = version_of(&part.stanza);
        let same = |other: &&Part| {
            (other.kind, &other.name) == (part.kind, &part.name) && is_for(other, index)
        };
        let mut seen = vec![newest.clone()];
        for older in self.contents.iter().filter_map(|content| content.parts.iter().find(same)) {
            let version = version_of(&older.stanza);
            let is_older = match (&version, &newest) {
                (Some(version), Some(newest)) => version.precedes(newest),
                _ => false,
            };
            if is_older && !seen.contains(&version) {
                entry.push('\n');
                entry += &older.stanza;
                seen.push(version);
            }
        }
        entry
    }
}

/// Tells whether a part is for the architecture of an index.
fn is_for(part: &Part, index: &str) -> bool {
    match &part.architecture[..] {
        "" | "all" => true,
        architecture => index.contains(&format!("/binary-{architecture}/")),
    }
}

/// Reads the version of an entry, which we have written: each field has a line of its own.
fn version_of(stanza: &str) -> Option<Version> {
    stanza.lines().find_map(|line| line.strip_prefix("Version: "))?.parse().ok()
}
