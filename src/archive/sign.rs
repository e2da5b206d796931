//! Signs with the archive's OpenPGP keys: they sign every Release, and apt checks it with them.
//!
//! There may be several: while clients change from one key to the next, both sign. A key may live
//! elsewhere, behind a command that the service calls as one calls gpg(1).

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use openpgp::cert::{CertBuilder, CipherSuite};
use openpgp::crypto::KeyPair;
use openpgp::parse::stream::{
    DetachedVerifierBuilder, MessageLayer, MessageStructure, VerificationHelper, VerifierBuilder,
};
use openpgp::parse::{PacketParserBuilder, PacketParserResult, Parse};
use openpgp::policy::StandardPolicy;
use openpgp::serialize::stream::{Armorer, Message, Signer};
use openpgp::serialize::{Serialize, SerializeInto};
use openpgp::types::KeyFlags;
use openpgp::{Cert, Fingerprint, KeyHandle, Packet, armor};
use sequoia_openpgp as openpgp;

use invirtibuilder_core::config::SigningKey;
use invirtibuilder_system::subprocess::Cmd;

/// The longest that a signing command may take: a person may have to touch a token.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The time before its end at which the service warns of a key: clients need time to get another.
const SOON: Duration = Duration::from_secs(60 * 86_400);

/// The line that separates a signed text from its signature (RFC 9580 section 7).
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";

/// One key of the archive.
struct Key {
    /// The file that has its certificate.
    path: PathBuf,
    cert: Cert,
    /// The command that signs with it; `None`: the certificate has its secret.
    command: Option<Vec<String>>,
}

/// The keys that sign now, and those that cannot any more.
pub struct ArchiveKeys {
    keys: Vec<Key>,
}

/// A Release file's two signed forms.
pub struct Signed {
    /// InRelease: the text with its signatures around it.
    pub inline: Vec<u8>,
    /// Release.gpg: the signatures alone.
    pub detached: Vec<u8>,
}

/// Makes a key that does not expire, in a new file that only we may read. It is of Ed25519, as
/// Debian's own for releases is since bookworm: a signature costs a hundredth of RSA's.
pub fn generate(path: &Path, origin: &str) -> Result<()> {
    let (cert, _) = CertBuilder::new()
        .add_userid(format!("{origin} archive signing key"))
        .set_cipher_suite(CipherSuite::Cv25519)
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

impl ArchiveKeys {
    /// Reads the keys that the configuration names.
    pub fn open(configured: &[SigningKey]) -> Result<Self> {
        let read = |path: &Path| {
            Cert::from_file(path).with_context(|| {
                format!("cannot read the signing key {}; 'init' makes one", path.display())
            })
        };
        let keys = configured.iter().map(|key| match key {
            SigningKey::File(path) => {
                Ok(Key { path: path.clone(), cert: read(path)?, command: None })
            }
            SigningKey::Command(elsewhere) => Ok(Key {
                path: elsewhere.certificate.clone(),
                cert: read(&elsewhere.certificate)?.strip_secret_key_material(),
                command: Some(elsewhere.command.clone()),
            }),
        });
        Ok(Self { keys: keys.collect::<Result<_>>()? })
    }

    /// Lists the keys that can sign now: an expired or revoked one does not keep the others from
    /// it.
    fn able(&self) -> Result<Vec<&Key>> {
        let able: Vec<&Key> = self.keys.iter().filter(|key| key.is_alive()).collect();
        ensure!(
            !able.is_empty(),
            "no signing key can sign now: each has expired, is revoked or has no secret part"
        );
        Ok(able)
    }

    /// Lists the fingerprints of the keys that can sign now, which tell one set of keys from
    /// another.
    pub fn signers(&self) -> Result<String> {
        let fingerprints: Vec<String> =
            self.able()?.iter().map(|key| key.cert.fingerprint().to_hex()).collect();
        Ok(fingerprints.join(" "))
    }

    /// Lists the fingerprints of all keys, of those that cannot sign now, too.
    pub fn fingerprints(&self) -> impl Iterator<Item = String> {
        self.keys.iter().map(|key| key.cert.fingerprint().to_hex())
    }

    /// Lists the fingerprint of each key with when it was made and when it expires, if ever.
    pub fn dates(&self) -> impl Iterator<Item = (String, SystemTime, Option<SystemTime>)> {
        self.keys.iter().map(|key| {
            let made = key.cert.primary_key().key().creation_time();
            (key.cert.fingerprint().to_hex(), made, key.expiry())
        })
    }

    /// Refuses keys that no client of Debian 12 can use together, and one that can never sign.
    pub fn check(&self) -> Result<()> {
        let is_new = |key: &&Key| matches!(key.cert.fingerprint(), Fingerprint::V6(_));
        if let (Some(new), Some(old)) =
            (self.keys.iter().find(is_new), self.keys.iter().find(|key| !is_new(key)))
        {
            bail!(
                "the key in {} is an OpenPGP key of version 6, beside {} of version 4: gpgv of Debian 12, and so its apt, reads \
                 neither of them in one file: name keys of version 4 alone, as 'init' makes them",
                new.path.display(),
                old.path.display()
            );
        }
        for key in &self.keys {
            if let Some(why) = key.never_signs() {
                bail!("the key in {} cannot sign: {why}", key.path.display());
            }
        }
        self.able().map(drop)
    }

    /// Writes a sentence for each key that not every client can read.
    pub fn caveats(&self) -> Vec<String> {
        let is_new = |key: &&Key| matches!(key.cert.fingerprint(), Fingerprint::V6(_));
        let caveat = |key: &Key| {
            format!(
                "the key in {} is an OpenPGP key of version 6, which apt of Debian 12 cannot read",
                key.path.display()
            )
        };
        self.keys.iter().filter(is_new).map(caveat).collect()
    }

    /// Writes a sentence for each key that has expired or will within 60 days.
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let warning = |key: &Key| {
            let at = key.expiry()?;
            let name = key.cert.fingerprint();
            match at.duration_since(now) {
                Err(_) => Some(format!(
                    "signing key {name} has expired: take it out of archive.signing_key"
                )),
                Ok(left) if left < SOON => Some(format!(
                    "signing key {name} expires in {} days: add another to archive.signing_key, and give clients time",
                    left.as_secs() / 86_400
                )),
                Ok(_) => None,
            }
        };
        self.keys.iter().filter_map(warning).collect()
    }

    /// Signs `text` with every key that can, and checks that the result verifies.
    pub fn sign(&self, text: &str) -> Result<Signed> {
        let (mut inline, mut detached) = (Vec::new(), Vec::new());
        for key in self.able()? {
            let (message, apart) = key.sign(text);
            let message = message?;
            let (body, signature) = split(&message)?;
            ensure!(body == text.trim_end_matches('\n'), "the signing command changed the text");
            inline.extend(signatures(signature.as_bytes())?);
            detached.extend(signatures(&apart?)?);
        }
        let mut hashes: Vec<String> = inline.iter().filter_map(hash_of).collect();
        hashes.sort();
        hashes.dedup();
        let mut message =
            format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: {}\n\n", hashes.join(","))
                .into_bytes();
        for line in text.trim_end_matches('\n').lines() {
            let escape = if line.starts_with('-') { "- " } else { "" };
            message.extend(format!("{escape}{line}\n").into_bytes());
        }
        message.extend(armored(&inline)?);
        let signed = Signed { inline: message, detached: armored(&detached)? };
        for key in self.able()? {
            key.check(text, &signed)?;
        }
        Ok(signed)
    }

    /// Signs `text` with the first key that can, and checks the signature: armored, apart from the
    /// text. Git takes no more than one signature of a tag.
    pub fn sign_once(&self, text: &str) -> Result<String> {
        let able = self.able()?;
        let key = able.first().context("there is no key")?;
        let signature = key.detached(text)?;
        key.check_detached(text, &signature)?;
        String::from_utf8(signature).context("the signing command printed no text")
    }

    /// Checks that one of our keys signed both forms of `text`. The error says what is wrong, if
    /// none did.
    pub fn verify(&self, text: &str, signed: &Signed) -> Result<()> {
        let results: Vec<Result<()>> =
            self.keys.iter().map(|key| key.check(text, signed)).collect();
        match results.iter().any(Result::is_ok) {
            true => Ok(()),
            false => results.into_iter().next().unwrap_or_else(|| bail!("there is no key")),
        }
    }

    /// Tells whether one of these keys has made this armored signature of a text.
    #[cfg(any(test, feature = "testing"))]
    pub fn have_signed(&self, text: &str, signature: &str) -> bool {
        self.keys.iter().any(|key| key.check_detached(text, signature.as_bytes()).is_ok())
    }

    /// Writes the public certificates, armored as one block, for apt's `Signed-By`.
    pub fn public(&self) -> Result<Vec<u8>> {
        let mut writer = armor::Writer::new(Vec::new(), armor::Kind::PublicKey)?;
        for key in &self.keys {
            key.cert.clone().strip_secret_key_material().serialize(&mut writer)?;
        }
        Ok(writer.finalize()?)
    }
}

impl Key {
    fn is_alive(&self) -> bool {
        let policy = StandardPolicy::new();
        let keys = self
            .cert
            .keys()
            .with_policy(&policy, None)
            .supported()
            .alive()
            .revoked(false)
            .for_signing();
        match self.command {
            None => keys.unencrypted_secret().next().is_some(),
            Some(_) => keys.count() > 0,
        }
    }

    /// Says why the key could not sign at any time; `None`: it could, or could once.
    fn never_signs(&self) -> Option<&'static str> {
        let policy = StandardPolicy::new();
        let (secret, command) = (self.cert.is_tsk(), self.command.is_some());
        let signing: Vec<_> =
            self.cert.keys().with_policy(&policy, None).supported().for_signing().collect();
        if self.cert.with_policy(&policy, None).is_err() {
            return Some(
                "its own signatures are not to be trusted any more (SHA-1, say): make another",
            );
        }
        if signing.is_empty() {
            return Some("neither it nor a part of it is for signing");
        }
        if command {
            return None;
        }
        if !secret || signing.iter().all(|key| !key.key().has_secret()) {
            return Some(
                "it has no secret part, so it is what others get: name the file with the secret",
            );
        }
        let open = signing.iter().any(|key| key.key().has_unencrypted_secret());
        (!open).then_some(
            "its secret part has a passphrase, which nobody could type: take it off, or use a signing command",
        )
    }

    fn expiry(&self) -> Option<SystemTime> {
        let policy = StandardPolicy::new();
        let valid = self.cert.with_policy(&policy, None).ok()?;
        // The latest day on which some part of it can still sign.
        let own = valid.primary_key().key_expiration_time();
        let part = |key: openpgp::cert::amalgamation::key::ValidErasedKeyAmalgamation<_>| {
            key.key_expiration_time()
        };
        let parts: Vec<Option<SystemTime>> = valid.keys().for_signing().map(part).collect();
        let last = if parts.iter().any(Option::is_none) {
            None
        } else {
            parts.into_iter().flatten().max()
        };
        [own, last].into_iter().flatten().min()
    }

    fn pair(&self) -> Result<KeyPair> {
        let policy = StandardPolicy::new();
        let keys =
            self.cert.keys().unencrypted_secret().with_policy(&policy, None).supported().alive();
        let key = keys
            .revoked(false)
            .for_signing()
            .next()
            .context("the signing key has no secret part")?;
        key.key().clone().into_keypair()
    }

    /// Signs a text in both forms. A key of ours makes both at once; a signing command is asked for
    /// one after the other, for what it asks may take no two requests.
    fn sign(&self, text: &str) -> (Result<String>, Result<Vec<u8>>) {
        match self.command {
            None => rayon::join(|| self.clear_sign(text), || self.detached(text)),
            Some(_) => (self.clear_sign(text), self.detached(text)),
        }
    }

    fn clear_sign(&self, text: &str) -> Result<String> {
        let bytes = match &self.command {
            Some(command) => ask(command, "--clearsign", text)?,
            None => {
                let mut out = Vec::new();
                let mut message =
                    Signer::new(Message::new(&mut out), self.pair()?)?.cleartext().build()?;
                // The newline before the signature is not part of what is signed.
                message.write_all(text.trim_end_matches('\n').as_bytes())?;
                message.finalize()?;
                out
            }
        };
        String::from_utf8(bytes).context("the signing command printed no text")
    }

    fn detached(&self, text: &str) -> Result<Vec<u8>> {
        if let Some(command) = &self.command {
            return ask(command, "--detach-sign", text);
        }
        let mut out = Vec::new();
        let message = armor_writer(&mut out)?;
        let mut message = Signer::new(message, self.pair()?)?.detached().build()?;
        message.write_all(text.as_bytes())?;
        message.finalize()?;
        Ok(out)
    }

    /// Checks that this key signed the text.
    fn check_detached(&self, text: &str, signature: &[u8]) -> Result<()> {
        let policy = StandardPolicy::new();
        let helper = Helper { cert: &self.cert };
        let mut verifier =
            DetachedVerifierBuilder::from_bytes(signature)?.with_policy(&policy, None, helper)?;
        verifier.verify_bytes(text)?;
        Ok(())
    }

    /// Checks that this key signed both forms, and that they hold this text.
    fn check(&self, text: &str, signed: &Signed) -> Result<()> {
        let policy = StandardPolicy::new();
        let helper = || Helper { cert: &self.cert };
        let mut reader =
            VerifierBuilder::from_bytes(&signed.inline)?.with_policy(&policy, None, helper())?;
        let mut inside = Vec::new();
        reader.read_to_end(&mut inside)?;
        ensure!(
            text.trim_end_matches('\n').as_bytes() == inside.trim_ascii_end(),
            "InRelease holds another text"
        );
        self.check_detached(text, &signed.detached)
    }
}

fn armor_writer<'a>(out: &'a mut Vec<u8>) -> Result<Message<'a>> {
    Armorer::new(Message::new(out)).kind(armor::Kind::Signature).build()
}

/// Accepts what has a good signature of one certificate.
struct Helper<'a> {
    cert: &'a Cert,
}

impl VerificationHelper for Helper<'_> {
    fn get_certs(&mut self, _: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
        Ok(vec![self.cert.clone()])
    }

    fn check(&mut self, structure: MessageStructure) -> openpgp::Result<()> {
        let mut why = "it has not signed".to_owned();
        for layer in structure {
            let MessageLayer::SignatureGroup { results } = layer else { continue };
            for result in results {
                match result {
                    Ok(_) => return Ok(()),
                    Err(error) => why = error.to_string(),
                }
            }
        }
        bail!("there is no good signature of key {}: {why}", self.cert.fingerprint())
    }
}

/// Runs a signing command as gpg(1) is run: it gets the text on standard input, and prints the
/// result, armored, on standard output.
fn ask(command: &[String], how: &str, text: &str) -> Result<Vec<u8>> {
    let (program, args) = command.split_first().context("the signing command is empty")?;
    let cmd = Cmd::new(program)
        .args(args)
        .args(["--armor", how])
        .input(text)
        .total(TIMEOUT)
        .capture(1 << 20);
    // Whoever publishes is in a thread of its own, which may wait.
    cmd.run_blocking()
        .and_then(invirtibuilder_system::subprocess::Finished::success)
        .with_context(|| format!("the signing command {program} does not sign"))
}

/// Splits a signed message into its text, and its armored signature.
fn split(message: &str) -> Result<(String, &str)> {
    let at = message.find(SIGNATURE).context("the signing command printed no signature")?;
    let (head, signature) = message.split_at(at);
    let (_, body) =
        head.split_once("\n\n").context("the signing command printed no signed message")?;
    // Lines that start with a dash are escaped (RFC 9580 section 7.2).
    let lines: Vec<&str> = body
        .trim_end_matches('\n')
        .lines()
        .map(|line| line.strip_prefix("- ").unwrap_or(line))
        .collect();
    Ok((lines.join("\n"), signature))
}

/// Reads the signature packets of an armored block.
fn signatures(armored: &[u8]) -> Result<Vec<Packet>> {
    let mut packets = Vec::new();
    let mut parser = PacketParserBuilder::from_bytes(armored)?.build()?;
    while let PacketParserResult::Some(at) = parser {
        let (packet, next) = at.next()?;
        ensure!(
            matches!(packet, Packet::Signature(_)),
            "the signing command printed something besides signatures"
        );
        packets.push(packet);
        parser = next;
    }
    ensure!(!packets.is_empty(), "the signing command printed no signature");
    Ok(packets)
}

fn hash_of(packet: &Packet) -> Option<String> {
    match packet {
        Packet::Signature(signature) => Some(signature.hash_algo().to_string()),
        _ => None,
    }
}

fn armored(packets: &[Packet]) -> Result<Vec<u8>> {
    let mut writer = armor::Writer::new(Vec::new(), armor::Kind::Signature)?;
    packets.iter().try_for_each(|packet| packet.serialize(&mut writer))?;
    Ok(writer.finalize()?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::sign::*;
    use invirtibuilder_core::config::SigningCommand;

    const TEXT: &str = "Origin: x\n-- dashed\nDate: y\n";

    fn gpg(home: &Path, args: &[&str]) -> Vec<u8> {
        let done = Command::new("gpg")
            .args(["--batch", "--homedir"])
            .arg(home)
            .args(["--pinentry-mode", "loopback", "--passphrase", ""])
            .args(args)
            .output()
            .unwrap();
        assert!(done.status.success(), "gpg {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }

    /// Makes a key in a gpg home, and says how the command is called.
    fn elsewhere(dir: &Path) -> SigningKey {
        let home = dir.join("gpg");
        std::fs::create_dir(&home).unwrap();
        std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .unwrap();
        gpg(&home, &["--quick-generate-key", "elsewhere", "rsa3072", "sign", "1y"]);
        let certificate = dir.join("elsewhere.asc");
        std::fs::write(&certificate, gpg(&home, &["--armor", "--export"])).unwrap();
        let home = home.to_str().unwrap();
        let command = ["/usr/bin/gpg", "--batch", "--homedir", home, "--local-user", "elsewhere"];
        SigningKey::Command(SigningCommand {
            certificate,
            command: command.map(str::to_owned).to_vec(),
        })
    }

    /// Tells whether gpgv, and so apt, finds a good signature with each certificate alone.
    fn gpgv(dir: &Path, cert: &Cert, args: &[&Path]) -> bool {
        let ring = dir.join("ring");
        std::fs::write(&ring, cert.to_vec().unwrap()).unwrap();
        let done = Command::new("gpgv").arg("--keyring").arg(&ring).args(args).output().unwrap();
        // One good signature is what apt wants; gpgv's own status counts keys that it does not
        // have.
        String::from_utf8_lossy(&done.stderr).contains("Good signature")
    }

    #[test]
    fn every_key_signs_wherever_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first.asc"), dir.path().join("second.asc"));
        generate(&first, "x").unwrap();
        generate(&second, "x").unwrap();
        let elsewhere = elsewhere(dir.path());
        let keys =
            ArchiveKeys::open(&[SigningKey::File(first), SigningKey::File(second), elsewhere])
                .unwrap();
        assert_eq!(keys.signers().unwrap().split(' ').count(), 3);
        let signed = keys.sign(TEXT).unwrap();
        let paths = ["Release", "InRelease", "Release.gpg"].map(|name| dir.path().join(name));
        for (path, bytes) in paths.iter().zip([TEXT.as_bytes(), &signed.inline, &signed.detached]) {
            std::fs::write(path, bytes).unwrap();
        }
        for key in &keys.keys {
            key.check(TEXT, &signed).unwrap();
            assert!(gpgv(dir.path(), &key.cert, &[&paths[1]]), "InRelease");
            assert!(gpgv(dir.path(), &key.cert, &[&paths[2], &paths[0]]), "Release.gpg");
        }
        assert!(keys.verify(&TEXT.replace('x', "z"), &signed).is_err());
        // One armored block holds them all.
        let public = dir.path().join("public.asc");
        std::fs::write(&public, keys.public().unwrap()).unwrap();
        let shown = Command::new("gpg")
            .args(["--batch", "--show-keys", "--with-colons"])
            .arg(&public)
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert_eq!(shown.lines().filter(|line| line.starts_with("pub:")).count(), 3, "{shown}");
        let in_days = |days: u64| SystemTime::now() + Duration::from_secs(days * 86_400);
        assert_eq!(keys.warnings(in_days(0)), [""; 0]);
        let warned = keys.warnings(in_days(330));
        assert!(warned.len() == 1 && warned[0].contains("expires in 3"), "{warned:?}");
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(dir.path().join("gpg"))
            .args(["--kill", "all"])
            .status();
    }

    #[test]
    fn an_expired_key_does_not_keep_the_others_from_signing() {
        let dir = tempfile::tempdir().unwrap();
        let (good, old) = (dir.path().join("good.asc"), dir.path().join("old.asc"));
        generate(&good, "x").unwrap();
        let past = SystemTime::now() - Duration::from_secs(1000);
        let (cert, _) = CertBuilder::new()
            .add_userid("old")
            .set_creation_time(past)
            .set_validity_period(Duration::from_secs(100))
            .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
            .generate()
            .unwrap();
        std::fs::write(&old, cert.as_tsk().armored().to_vec().unwrap()).unwrap();
        let both =
            ArchiveKeys::open(&[SigningKey::File(old.clone()), SigningKey::File(good)]).unwrap();
        assert_eq!(both.signers().unwrap().split(' ').count(), 1);
        both.verify(TEXT, &both.sign(TEXT).unwrap()).unwrap();
        let warned = both.warnings(SystemTime::now());
        assert!(warned.len() == 1 && warned[0].contains("has expired"), "{warned:?}");
        let alone = ArchiveKeys::open(&[SigningKey::File(old)]).unwrap();
        assert!(
            alone.sign(TEXT).err().unwrap().to_string().contains("no signing key can sign now")
        );
    }

    /// Makes a key in a new file.
    fn key(
        dir: &Path,
        name: &str,
        make: impl FnOnce(CertBuilder<'static>) -> CertBuilder<'static>,
    ) -> (SigningKey, Cert) {
        let flags = KeyFlags::empty().set_certification().set_signing();
        let builder = CertBuilder::new().add_userid(name).set_primary_key_flags(flags);
        let (cert, _) = make(builder).generate().unwrap();
        let path = dir.join(name);
        std::fs::write(&path, cert.as_tsk().armored().to_vec().unwrap()).unwrap();
        (SigningKey::File(path), cert)
    }

    #[test]
    fn keys_that_clients_cannot_use_together_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (old, old_cert) = key(dir.path(), "old.asc", |it| it);
        let (new, new_cert) =
            key(dir.path(), "new.asc", |it| it.set_profile(openpgp::Profile::RFC9580).unwrap());
        let check = |keys: &[&SigningKey]| {
            let keys: Vec<SigningKey> = keys.iter().map(|key| (*key).clone()).collect();
            ArchiveKeys::open(&keys).unwrap().check().map_err(|error| error.to_string())
        };
        check(&[&old]).unwrap();
        check(&[&old, &old]).unwrap();
        check(&[&new]).unwrap();
        for both in [[&old, &new], [&new, &old]] {
            let said = check(&both).unwrap_err();
            assert!(
                said.contains("new.asc is an OpenPGP key of version 6, beside")
                    && said.contains("old.asc"),
                "{said}"
            );
        }
        // What is accepted can sign.
        let alone = ArchiveKeys::open(std::slice::from_ref(&new)).unwrap();
        alone.verify(TEXT, &alone.sign(TEXT).unwrap()).unwrap();
        assert!(alone.caveats()[0].contains("apt of Debian 12 cannot read"));
        assert_eq!(ArchiveKeys::open(std::slice::from_ref(&old)).unwrap().caveats(), [""; 0]);
        // The reason is a fact about gpgv: a good signature of the old key is not found good where
        // both are in one file.
        let signed = ArchiveKeys::open(&[old]).unwrap().sign(TEXT).unwrap();
        let inline = dir.path().join("InRelease");
        std::fs::write(&inline, &signed.inline).unwrap();
        assert!(gpgv(dir.path(), &old_cert, &[&inline]));
        let both = [old_cert.to_vec().unwrap(), new_cert.to_vec().unwrap()].concat();
        std::fs::write(dir.path().join("both"), both).unwrap();
        let done = Command::new("gpgv").arg("--version").output().unwrap();
        if String::from_utf8_lossy(&done.stdout).starts_with("gpgv (GnuPG) 2.2.") {
            let ring = dir.path().join("both");
            let done =
                Command::new("gpgv").arg("--keyring").arg(&ring).arg(&inline).output().unwrap();
            assert!(!String::from_utf8_lossy(&done.stderr).contains("Good signature"));
        }
    }

    #[test]
    fn a_key_that_can_never_sign_is_named_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let (_, cert) = key(dir.path(), "good.asc", |it| it);
        let write = |name: &str, bytes: Vec<u8>| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            SigningKey::File(path)
        };
        let public = write("public.asc", cert.armored().to_vec().unwrap());
        let (locked, _) = key(dir.path(), "locked.asc", |it| it.set_password(Some("x".into())));
        let (other, _) = key(dir.path(), "other.asc", |it| {
            it.set_primary_key_flags(KeyFlags::empty().set_certification())
        });
        for (key, word) in
            [(public, "no secret part"), (locked, "a passphrase"), (other, "is for signing")]
        {
            let path = key.certificate().display().to_string();
            let said = ArchiveKeys::open(&[key]).unwrap().check().unwrap_err().to_string();
            assert!(said.contains(word) && said.contains(&path), "{said}");
        }
    }

    #[test]
    fn a_command_that_does_not_sign_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let certificate = dir.path().join("key.asc");
        generate(&certificate, "x").unwrap();
        for program in ["/bin/true", "/bin/false", "/bin/cat", "/nonexistent"] {
            let command = vec![program.to_owned()];
            let key =
                SigningKey::Command(SigningCommand { certificate: certificate.clone(), command });
            assert!(ArchiveKeys::open(&[key]).unwrap().sign(TEXT).is_err(), "{program}");
        }
    }
}
