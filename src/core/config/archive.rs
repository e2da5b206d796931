//! The settings of the keys that sign the archive, and of how long its past is kept.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::ArchiveConfig;
use crate::config::units::PathText;

/// One of the keys that sign the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "the path of a key, or a map with certificate and command")]
pub enum SigningKey {
    /// An OpenPGP secret key without a passphrase, ASCII-armored, readable by the service's user
    /// alone.
    File(#[schemars(with = "PathText")] PathBuf),
    /// A key that lives elsewhere.
    Command(SigningCommand),
}

/// A key that lives elsewhere, behind a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigningCommand {
    /// The certificate of the key: the public part.
    #[schemars(with = "PathText")]
    pub certificate: PathBuf,
    /// The program and its first arguments. The service calls it as one calls gpg(1), with
    /// `--armor --clearsign` or `--armor --detach-sign` behind them. It gets the text on standard
    /// input and prints what it made of it.
    pub command: Vec<String>,
}

impl SigningKey {
    /// Returns the path of the key's public part.
    pub fn certificate(&self) -> &Path {
        match self {
            SigningKey::File(path) => path,
            SigningKey::Command(elsewhere) => &elsewhere.certificate,
        }
    }
}

/// Reads one key, or a list of them.
pub(super) fn signing_keys<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SigningKey>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "the path of a key, a map with certificate and command, or a list of these"
    )]
    enum SigningKeys {
        One(SigningKey),
        Many(Vec<SigningKey>),
    }
    Ok(match SigningKeys::deserialize(deserializer)? {
        SigningKeys::One(key) => vec![key],
        SigningKeys::Many(keys) => keys,
    })
}

/// Reads the archive of main, whose place and key have defaults.
pub(super) fn of_main<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ArchiveConfig, D::Error> {
    let mut archive = ArchiveConfig::deserialize(deserializer)?;
    let default = ArchiveConfig::default();
    if archive.lacks_root() {
        archive.root = default.root;
    }
    if archive.lacks_key() {
        archive.signing_key = default.signing_key;
    }
    Ok(archive)
}

/// The rules of `archive.keep`: the archive keeps a published state of a suite if `versions` or `days`
/// says so; without both, it keeps each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// The number of the latest states that are kept.
    pub versions: Option<u32>,
    /// The age in days up to which states are kept.
    pub days: Option<u32>,
    /// The number of versions of each package that stay for the tags that name them; without it all
    /// do. What a kept state has, or was built with, stays besides.
    pub versions_per_package: Option<NonZeroU32>,
}

impl Keep {
    /// Tells whether every state is kept.
    pub fn keeps_every_state(&self) -> bool {
        self.versions.is_none() && self.days.is_none()
    }
}

/// The name of the file below the archive's root that has the public keys.
pub const PUBLIC_KEY: &str = "archive-key.asc";

impl ArchiveConfig {
    /// Makes an archive of which nobody has said yet where it is and which key signs it.
    pub(super) fn unplaced() -> Self {
        let nowhere = vec![SigningKey::File(PathBuf::new())];
        Self { root: PathBuf::new(), signing_key: nowhere, ..Self::default() }
    }

    /// Tells whether nobody has said where the archive is.
    pub(super) fn lacks_root(&self) -> bool {
        self.root.as_os_str().is_empty()
    }

    /// Tells whether nobody has said which key signs the archive.
    pub(super) fn lacks_key(&self) -> bool {
        self.signing_key == Self::unplaced().signing_key
    }

    /// Names the file in which apt finds the public keys.
    pub fn public_key(&self) -> PathBuf {
        self.root.join(PUBLIC_KEY)
    }
}
