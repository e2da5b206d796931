//! What signs the archive, and how long its past is kept.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

/// One of the keys that sign the archive.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "the path of a key, or a map with certificate and command")]
pub enum SigningKey {
    /// An OpenPGP secret key without a passphrase, ASCII-armored, readable by the service's user alone.
    File(PathBuf),
    /// A key that lives elsewhere.
    Command(SigningCommand),
}

/// A key that lives elsewhere, behind a command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningCommand {
    /// Its certificate: the public part.
    pub certificate: PathBuf,
    /// The program and its first arguments. It is called as gpg(1) is, with `--armor --clearsign` or `--armor
    /// --detach-sign` behind them, gets the text on standard input and prints what it made of it.
    pub command: Vec<String>,
}

impl SigningKey {
    /// Where its public part is.
    pub fn certificate(&self) -> &Path {
        match self {
            SigningKey::File(path) => path,
            SigningKey::Command(elsewhere) => &elsewhere.certificate,
        }
    }
}

/// One key, or a list of them.
pub(super) fn signing_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SigningKey>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "the path of a key, a map with certificate and command, or a list of these")]
    enum OneOrMany {
        One(SigningKey),
        Many(Vec<SigningKey>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(key) => vec![key],
        OneOrMany::Many(keys) => keys,
    })
}

/// `archive.keep:` a published state of a suite is kept if one of these says so; without any, each is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// So many of the latest states.
    pub versions: Option<u32>,
    /// Those that are younger than so many days.
    pub days: Option<u32>,
}
