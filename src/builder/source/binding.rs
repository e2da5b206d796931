//! Whether a commit binds a tarball: then the tarball may hold more than the commit.
//!
//! It does so by the tarball's SHA-256 in `debian/upstream/sha256sums`, lines as sha256sum(1)
//! writes, or by a key in `debian/upstream/signing-key.asc` (Debian policy 4.11) that has signed
//! the tarball.

use std::path::Path;

use anyhow::{Context, Result, bail};
use openpgp::cert::CertParser;
use openpgp::parse::Parse;
use openpgp::parse::stream::{
    DetachedVerifierBuilder, MessageLayer, MessageStructure, VerificationHelper,
};
use openpgp::policy::StandardPolicy;
use openpgp::{Cert, KeyHandle};
use sequoia_openpgp as openpgp;

use crate::source::links::Links;
use invirtibuilder_core::error::{Failure, FailureKind};

/// Where the sums are.
pub const SUMS: &str = "debian/upstream/sha256sums";

/// Where upstream's keys are.
pub const KEYS: &str = "debian/upstream/signing-key.asc";

/// Larger files are none of these.
const MOST: u64 = 4 << 20;

/// What a commit binds tarballs by.
#[derive(Debug, Default)]
pub struct Binding {
    sums: Vec<(String, String)>,
    keys: Option<Vec<u8>>,
}

impl Binding {
    /// Reads what this tree has.
    pub fn of(links: &Links) -> Result<Self, Failure> {
        let read =
            |path| Ok::<_, Failure>(links.file(path, MOST)?.map(|blob| blob.content().to_vec()));
        let sums =
            read(SUMS)?.map(|text| sums(&String::from_utf8_lossy(&text))).unwrap_or_default();
        Ok(Self { sums, keys: read(KEYS)? })
    }

    /// Tells whether a tarball has a sum of its own here.
    pub fn names(&self, name: &str) -> bool {
        self.sums.iter().any(|(_, of)| of == name)
    }

    /// Tells whether a tarball whose name begins so has a sum here.
    pub fn names_start(&self, start: &str) -> bool {
        self.sums.iter().any(|(_, name)| name.starts_with(start))
    }

    /// Tells whether there are any sums.
    pub fn has_sums(&self) -> bool {
        !self.sums.is_empty()
    }

    /// Tells whether there are keys that a signature can be by.
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Tells whether a tarball of this name and SHA-256 is bound by its sum.
    pub fn has_sum(&self, name: &str, sha256: &str) -> bool {
        self.sums.iter().any(|(sum, of)| of == name && sum == sha256)
    }

    /// Refuses a tarball that the commit has another sum of.
    pub fn demand(&self, name: &str, sha256: Option<&str>) -> Result<(), Failure> {
        let Some(sha256) = sha256.filter(|sha256| self.names(name) && !self.has_sum(name, sha256))
        else {
            return Ok(());
        };
        let text = format!(
            "{name} has SHA-256 {sha256}, and {SUMS} of the commit has another sum of it: commit the right sum, or the right tarball \
             with 'pristine-tar commit'"
        );
        Err(Failure::new(FailureKind::Upstream, text))
    }

    /// Tells whether one of the keys has made this signature over this file.
    pub fn verify(&self, file: &Path, signature: &Path) -> Result<()> {
        let keys = self.keys.as_ref().with_context(|| format!("the commit has no {KEYS}"))?;
        let certs = CertParser::from_bytes(keys)?.filter_map(Result::ok).collect();
        let policy = StandardPolicy::new();
        let mut verifier = DetachedVerifierBuilder::from_file(signature)?.with_policy(
            &policy,
            None,
            CommitKeys { certs },
        )?;
        verifier.verify_file(file)
    }
}

/// Lines of a sum, a space, a space or a star, and a name. Others are passed over, as a comment is.
fn sums(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (sum, name) = line.split_at_checked(64)?;
        let name = name.strip_prefix("  ").or_else(|| name.strip_prefix(" *"))?;
        sum.bytes()
            .all(|c| c.is_ascii_hexdigit())
            .then(|| (sum.to_ascii_lowercase(), name.trim_end().to_owned()))
    };
    text.lines().filter_map(line).collect()
}

struct CommitKeys {
    certs: Vec<Cert>,
}

impl VerificationHelper for CommitKeys {
    fn get_certs(&mut self, _: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
        Ok(self.certs.clone())
    }

    fn check(&mut self, structure: MessageStructure) -> openpgp::Result<()> {
        let mut why = None;
        for layer in structure {
            let MessageLayer::SignatureGroup { results } = layer else { continue };
            for result in results {
                match result {
                    Ok(_) => return Ok(()),
                    Err(error) => why = Some(error.to_string()),
                }
            }
        }
        bail!(why.unwrap_or_else(|| "there is no signature".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use crate::source::binding::*;

    #[test]
    fn sums_are_as_sha256sum_writes_them() {
        let (a, b) = ("a".repeat(64), "B".repeat(64));
        let text =
            format!("# comment\n{a}  x_1.0.orig.tar.gz\n{b} *y_1.orig.tar.xz\n{a} z\nshort  w\n");
        let binding = Binding { sums: sums(&text), keys: None };
        assert!(
            binding.has_sum("x_1.0.orig.tar.gz", &a)
                && binding.has_sum("y_1.orig.tar.xz", &b.to_lowercase())
        );
        assert!(
            !binding.has_sum("x_1.0.orig.tar.gz", &b.to_lowercase())
                && !binding.names("z")
                && !binding.names("w")
        );
        assert!(binding.has_sums() && !binding.has_keys());
    }
}
