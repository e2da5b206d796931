//! The archive's OpenPGP key: made once, and used for each Release.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::armor;
use openpgp::cert::{CertBuilder, CipherSuite};
use openpgp::crypto::KeyPair;
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::SerializeInto;
use openpgp::serialize::stream::{Armorer, Message, Signer};
use openpgp::types::KeyFlags;

/// A certificate with its secret key.
pub struct SigningKey {
    cert: Cert,
}

impl SigningKey {
    /// Makes a key that does not expire, in a new file that only we may read.
    pub fn generate(path: &Path, origin: &str) -> Result<()> {
        let (cert, _) = CertBuilder::new()
            .add_userid(format!("{origin} archive signing key"))
            .set_cipher_suite(CipherSuite::RSA4k)
            .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
            .set_validity_period(None)
            .generate()?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        file.write_all(&cert.as_tsk().armored().to_vec()?)?;
        file.sync_all()?;
        Ok(())
    }

    /// Reads the key.
    pub fn open(path: &Path) -> Result<Self> {
        let cert = Cert::from_file(path)
            .with_context(|| format!("cannot read the signing key {}; 'init' makes one", path.display()))?;
        Ok(Self { cert })
    }

    fn pair(&self) -> Result<KeyPair> {
        let policy = StandardPolicy::new();
        let key = self
            .cert
            .keys()
            .unencrypted_secret()
            .with_policy(&policy, None)
            .supported()
            .alive()
            .revoked(false)
            .for_signing()
            .next()
            .context("the signing key has no secret part that can sign now")?;
        key.key().clone().into_keypair()
    }

    /// `text` as a message with its signature around it: InRelease.
    pub fn clear_sign(&self, text: &str) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut message = Signer::new(Message::new(&mut out), self.pair()?)?.cleartext().build()?;
        message.write_all(text.as_bytes())?;
        message.finalize()?;
        Ok(out)
    }

    /// The signature of `text` by itself: Release.gpg.
    pub fn detached(&self, text: &str) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let message = Armorer::new(Message::new(&mut out)).kind(armor::Kind::Signature).build()?;
        let mut message = Signer::new(message, self.pair()?)?.detached().build()?;
        message.write_all(text.as_bytes())?;
        message.finalize()?;
        Ok(out)
    }

    /// The public certificate, armored, for apt's `Signed-By`.
    pub fn public(&self) -> Result<Vec<u8>> {
        self.cert.clone().strip_secret_key_material().armored().to_vec()
    }
}
