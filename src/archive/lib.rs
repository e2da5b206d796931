//! Writes the APT archive: a pool that is only ever added to, and suites that change by one flip.
//!
//! What a suite shows is in the record; `dists/` is a projection of it. [`Archive::prepare`] writes
//! the next *generation* of a suite, a complete directory that nothing shows yet; the caller
//! commits it to the record ([`Archive::record`]) and then flips the symbolic link `dists/<suite>`
//! to it ([`Archive::flip`]). Index files also have their names by hash, of the last generations
//! too, so that a reader who took InRelease before a flip finds what it names after it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;

mod admit;
mod beside;
mod control_tar;
pub mod dates;
mod deb;
mod flip;
mod generation;
mod index;
mod inspect;
mod kept;
mod pool;
mod prepare;
pub mod seal;
mod sign;
mod site;
mod states;
mod suite;
mod xz;

pub use admit::{Admission, Admitted};
use beside::Text;
pub use deb::control;
pub use index::Foreseen;
use invirtibuilder_api::archive::PoolFile;
use invirtibuilder_core::config::archive::PUBLIC_KEY;
use invirtibuilder_core::config::{Config, SigningKey};
use invirtibuilder_core::domain::SuiteId;
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::names::DomainName;
use invirtibuilder_store::beside::Beside;
use invirtibuilder_store::contents::Content;
use invirtibuilder_system::files;
use invirtibuilder_system::unsynced::Unsynced;
pub use prepare::{Prepared, SuiteChange};
pub use sign::{ArchiveKeys, Signed};
pub use suite::SuiteSpec;

/// The files and links that the archive does not have yet of a version beside the pool.
pub struct MissingFiles {
    beside: Vec<Beside>,
    texts: Vec<Text>,
}

impl MissingFiles {
    /// Lists the paths that they will have, below the archive's root.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.beside.iter().map(|it| &it.path[..])
    }
}

/// The archive of a domain, below one directory.
pub struct Archive {
    domain: DomainName,
    root: PathBuf,
    origin: String,
    label: String,
    keys: Vec<SigningKey>,
    valid_for: Option<Duration>,
    /// The place where apt finds the directory that `changelogs/` is in.
    changelogs: String,
    /// The URL at which clients find the archive.
    url: String,
    /// The last states of a suite that have a URL.
    states: u32,
    /// What Release says of the URLs of states; `None`: nothing.
    state_url: Option<String>,
}

impl Archive {
    /// Opens the archive that the configuration describes for a domain.
    pub fn open(config: &Config, domain: &DomainName) -> Result<Self> {
        let archive = config.archive_of(domain).with_context(|| {
            format!("the configuration does not describe domain {domain} any more: archives: does")
        })?;
        Ok(Self {
            domain: domain.clone(),
            root: archive.root.clone(),
            origin: archive.origin.clone(),
            label: archive.label.clone(),
            keys: archive.signing_key.clone(),
            valid_for: archive.valid_for,
            url: archive.clients_url(),
            states: archive.states,
            state_url: archive.url.as_deref().filter(|_| archive.states > 0).map(states::url),
            changelogs: match &archive.url {
                // apt shows no changelog that its method `file` has fetched: it looks for a copy.
                Some(url) => url.trim_end_matches('/').replacen("file:", "copy:", 1),
                None => format!(
                    "copy:{}",
                    invirtibuilder_core::text::one_line(&archive.root.display().to_string())
                ),
            },
        })
    }

    /// Makes a signing key in a new file that only its owner may read.
    pub fn generate_key(path: &Path, origin: &str) -> Result<()> {
        sign::generate(path, origin)
    }

    /// Opens the keys that sign.
    pub fn keys(&self) -> Result<ArchiveKeys> {
        ArchiveKeys::open(&self.keys)
    }

    /// Returns the directory of the archive.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn dists(&self) -> PathBuf {
        self.root.join("dists")
    }

    /// Lists what an operator should know of the signing keys of all domains; nothing of those that
    /// cannot be read, for signing says so.
    pub fn warnings(config: &Config) -> Vec<String> {
        let now = std::time::SystemTime::now();
        each_keys(config).filter_map(Result::ok).flat_map(|(_, keys)| keys.warnings(now)).collect()
    }

    /// Refuses signing keys that clients cannot use together, such as cannot sign, and one that
    /// signs for two domains. It signs nothing. The error comes with the domain whose key it is.
    pub fn check_keys(config: &Config) -> Result<(), (DomainName, anyhow::Error)> {
        let mut known: BTreeMap<String, DomainName> = BTreeMap::new();
        for keys in each_keys(config) {
            let (domain, keys) = keys?;
            keys.check().map_err(|error| (domain.clone(), error))?;
            for signer in keys.fingerprints() {
                let other = known.insert(signer.clone(), domain.clone());
                if let Some(other) = other.filter(|other| *other != domain) {
                    let text = format!(
                        "key {signer} signs for domain {other} too: machines that trust one of them shall not have to trust both"
                    );
                    return Err((domain, anyhow::Error::msg(text)));
                }
            }
        }
        Ok(())
    }

    /// Signs a text with every key that shall sign, for nobody: then the service can publish. The
    /// error comes with the domain whose key it is.
    pub fn try_keys(config: &Config) -> Result<(), (DomainName, anyhow::Error)> {
        Self::check_keys(config)?;
        for keys in each_keys(config) {
            let (domain, keys) = keys?;
            keys.sign("It can sign.\n").map_err(|error| (domain, error))?;
        }
        Ok(())
    }

    /// Lists what an operator should know of signing keys that are good; nothing of those that
    /// cannot be read.
    pub fn key_caveats(config: &Config) -> Vec<String> {
        each_keys(config).filter_map(Result::ok).flat_map(|(_, keys)| keys.caveats()).collect()
    }

    /// Puts the public keys where apt finds them.
    pub fn publish_key(&self) -> Result<()> {
        let path = self.root.join(PUBLIC_KEY);
        let key = self.keys()?.public()?;
        if fs::read(&path).ok().as_deref() == Some(&key) {
            return Ok(());
        }
        files::write_whole(&path, &key)
    }

    /// Writes the page that says what the archive has.
    pub fn publish_page(&self, suites: &[SuiteSpec]) -> Result<()> {
        let page = site::page(&self.label, &self.url, suites);
        let path = self.root.join("index.html");
        if fs::read(&path).ok().as_deref() == Some(page.as_bytes()) {
            return Ok(());
        }
        files::write_whole(&path, page.as_bytes())
    }

    /// Checks what a build has made, and changes nothing. It does not need the record, and nobody
    /// has to wait for it.
    pub fn examine(admission: &Admission) -> Result<Admitted, Failure> {
        admit::read(admission)
    }

    /// Checks that the pool can take what [`Archive::examine`] has found.
    pub fn fits(&self, db: &Connection, admitted: &mut Admitted) -> Result<(), Failure> {
        admit::fits(db, admitted)
    }

    /// Checks that the pool of a domain can take a file: it has no other one of that name, never
    /// had, and has not let go of these bytes.
    pub fn fits_pool(db: &Connection, domain: &DomainName, file: &PoolFile) -> Result<(), Failure> {
        admit::fits_pool(db, domain, file)
    }

    /// Copies what another archive has of a version into this one, and refuses files that are not
    /// what was published. Each of its paths is an intent of the record already.
    /// [`Archive::prepare_foreseen`] waits until the disk has it.
    pub fn transfer(
        &self,
        from: &Self,
        content: &Content,
        unsynced: &Unsynced,
    ) -> Result<(), Failure> {
        pool::transfer(&from.root, &self.root, content, unsynced)
    }

    /// Puts what [`Archive::examine`] has found into the pool. Each of its files is an intent of
    /// the record already. [`Archive::prepare_foreseen`] waits until the disk has it.
    pub fn store(&self, admitted: &Admitted, unsynced: &Unsynced) -> Result<(), Failure> {
        pool::store(&self.root, admitted, unsynced)
    }

    /// Adds to a published version what the archive has of it beside the pool when `suite` shows
    /// it. It writes nothing yet: [`Archive::store_beside`] does that.
    pub fn complete(
        &self,
        content: &mut Content,
        suite: &SuiteId,
        changelog: &[u8],
    ) -> Result<MissingFiles, Failure> {
        let known = content.beside.len();
        let changes = beside::published_changes(&self.root, content)?;
        let mut texts = beside::add_changes(content, &suite.suite, changes);
        texts.extend(beside::add_changelog(content, changelog));
        Ok(MissingFiles { beside: content.beside[known..].to_vec(), texts })
    }

    /// Writes what was missing. Each of its paths is an intent of the record already.
    /// [`Archive::prepare_foreseen`] waits until the disk has it.
    pub fn store_beside(&self, missing: &MissingFiles, unsynced: &Unsynced) -> Result<(), Failure> {
        pool::store_beside(&self.root, &missing.beside, &missing.texts, unsynced)
    }

    /// Does what [`Archive::store_beside`] does, for many versions: all are durable when this
    /// returns.
    pub fn store_all_beside<'a>(
        &self,
        all: impl Iterator<Item = &'a MissingFiles>,
    ) -> Result<(), Failure> {
        pool::store_all_beside(
            &self.root,
            all.map(|missing| (&missing.beside[..], &missing.texts[..])),
        )
    }

    /// Writes an entry of Sources with the MD5 sums of its files. Those of tarballs are what the
    /// `.dsc` says.
    pub fn with_sums(&self, stanza: &str, files: &[PoolFile]) -> Result<String> {
        let dsc = files
            .iter()
            .find(|file| file.path.ends_with(".dsc"))
            .context("the pool has no .dsc of it")?;
        let path = self.root.join(&dsc.path);
        let sums = files::sums(&path)?;
        ensure!(sums.sha256 == dsc.sha256, "{} is not what was published", dsc.path);
        beside::with_sums(stanza, &fs::read_to_string(&path)?, &sums)
    }

    /// Removes files whose way into the pool, or out of it, was cut short. Nobody but the caller
    /// writes to the pool, and the caller forgets the intents then.
    pub fn sweep_pool(&self, db: &Connection) -> Result<(), Failure> {
        pool::sweep(&self.root, &self.domain, db)
    }
}

/// Opens the keys of every domain, one after the other.
fn each_keys(
    config: &Config,
) -> impl Iterator<Item = Result<(DomainName, ArchiveKeys), (DomainName, anyhow::Error)>> {
    config.domains().map(|(domain, archive)| match ArchiveKeys::open(&archive.signing_key) {
        Ok(keys) => Ok((domain, keys)),
        Err(error) => Err((domain, error)),
    })
}

#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(test)]
mod tests;
