//! Seals the audit trail: it signs the trail's head with the archive's keys.
//!
//! Somebody who can write to the database can compute the chain again from any entry on. They
//! cannot sign, so what was sealed before stays as it was: at each publication the service signs
//! the number and hash of the last entry, and keeps the signature.

use anyhow::Result;
use rusqlite::Connection;

use crate::sign::{ArchiveKeys, Signed};
use invirtibuilder_core::text::hex;
use invirtibuilder_core::time::now;
use invirtibuilder_store::Record;
use invirtibuilder_store::audit::{head, walk};
use invirtibuilder_store::seals::{self, Seal};

/// Writes the text that the keys sign.
fn text(id: i64, hash: &[u8], at: i64) -> String {
    let date =
        chrono::DateTime::from_timestamp_millis(at).map_or_else(String::new, |at| at.to_rfc3339());
    format!("Invirtibuilder-Audit-Trail: 1\nEntry: {id}\nHash: {}\nDate: {date}\n", hex(hash))
}

/// Signs the head of the trail, unless one of these keys has signed it already.
pub fn seal(record: &mut Record, keys: &ArchiveKeys) -> Result<()> {
    let (id, hash) = head(record.db())?;
    let last = seals::all(record.db())?.pop().filter(|last| last.id == id);
    if id == 0 || last.is_some_and(|last| is_signed_by(&last, keys)) {
        return Ok(());
    }
    let at = now();
    // Signing may take its time: nobody waits for the record meanwhile.
    let signed = keys.sign(&text(id, &hash, at))?;
    let seal = Seal { id, hash, at, inline: signed.inline, detached: signed.detached };
    record.write(|tx| seals::keep(tx, &seal))
}

/// The result of a walk along the trail.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// The number of entries.
    pub entries: i64,
    /// The last entry whose seal a configured key has signed, and when, in milliseconds since
    /// 1970-01-01 UTC: it and all before it are as they were then.
    pub sealed: Option<(i64, i64)>,
    /// The number of seals that no configured key has signed: the keys that did may be gone.
    pub unknown: usize,
}

/// Walks the trail and compares it with its seals. `Err` names the first thing that is wrong.
pub fn verify(db: &Connection, keys: &ArchiveKeys) -> Result<Result<Verified, String>> {
    let hashes = match walk(db)? {
        Ok(hashes) => hashes,
        Err(why) => return Ok(Err(why)),
    };
    let mut verified = Verified { entries: hashes.len() as i64, sealed: None, unknown: 0 };
    for seal in seals::all(db)? {
        if !is_signed_by(&seal, keys) {
            verified.unknown += 1;
            continue;
        }
        match usize::try_from(seal.id - 1).ok().and_then(|n| hashes.get(n)) {
            Some(hash) if *hash == seal.hash => verified.sealed = Some((seal.id, seal.at)),
            Some(_) => {
                return Ok(Err(format!(
                    "entry {} of the audit trail, or one before it, is not the one that was signed: the chain was made anew",
                    seal.id
                )));
            }
            None => {
                let gone = verified.entries + 1;
                return Ok(Err(format!(
                    "entry {gone} of the audit trail is missing: entry {} was signed",
                    seal.id
                )));
            }
        }
    }
    match seals::first_due(db, verified.sealed.map_or(0, |(id, _)| id))? {
        None => Ok(Ok(verified)),
        Some(id) => Ok(Err(format!(
            "entry {id} of the audit trail is a publication, and no configured key has signed it or one after it: the daemon \
             does so when it runs, so signatures were removed, or it cannot sign"
        ))),
    }
}

fn is_signed_by(seal: &Seal, keys: &ArchiveKeys) -> bool {
    let signed = Signed { inline: seal.inline.clone(), detached: seal.detached.clone() };
    keys.verify(&text(seal.id, &seal.hash, seal.at), &signed).is_ok()
}

#[cfg(test)]
mod tests {
    use crate::Archive;
    use crate::seal::*;
    use invirtibuilder_core::config::SigningKey;
    use invirtibuilder_store::audit::AuditEntry;

    struct Trail {
        dir: tempfile::TempDir,
        record: Record,
        keys: ArchiveKeys,
    }

    impl Trail {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let key = dir.path().join("key");
            Archive::generate_key(&key, "Test").unwrap();
            let record = Record::open(&dir.path().join("db")).unwrap();
            let mut trail =
                Self { dir, record, keys: ArchiveKeys::open(&[SigningKey::File(key)]).unwrap() };
            for n in 0..6 {
                trail.record.write(|tx| AuditEntry::new("test").with("n", n).append(tx)).unwrap();
                if n % 2 == 1 {
                    seal(&mut trail.record, &trail.keys).unwrap();
                }
            }
            trail
        }

        fn verify(&self) -> Result<Verified, String> {
            verify(self.record.db(), &self.keys).unwrap()
        }

        /// Writes entries from `from` on again, as somebody would who knows how the chain is made.
        fn forge(&mut self, from: i64, last: i64) {
            self.record.db().execute("DELETE FROM audit WHERE id >= ?", [from]).unwrap();
            for _ in from..=last {
                self.record
                    .write(|tx| AuditEntry::new("test").with("n", "forged").append(tx))
                    .unwrap();
            }
            assert!(walk(self.record.db()).unwrap().is_ok());
        }
    }

    #[test]
    fn a_chain_made_anew_is_found_by_its_seals() {
        let mut trail = Trail::new();
        let verified = trail.verify().unwrap();
        assert_eq!((verified.entries, verified.sealed.unwrap().0, verified.unknown), (6, 6, 0));
        seal(&mut trail.record, &trail.keys).unwrap();
        trail.forge(3, 6);
        assert!(
            trail.verify().unwrap_err().contains("entry 4 of the audit trail, or one before it")
        );
        trail.forge(3, 3);
        assert!(
            trail
                .verify()
                .unwrap_err()
                .contains("entry 4 of the audit trail is missing: entry 4 was signed")
        );
    }

    #[test]
    fn a_publication_that_nobody_has_signed_is_found() {
        let mut trail = Trail::new();
        assert!(!seals::is_due(trail.record.db()).unwrap());
        trail.record.write(|tx| AuditEntry::new("published").append(tx)).unwrap();
        assert!(seals::is_due(trail.record.db()).unwrap());
        assert!(
            trail.verify().unwrap_err().contains("entry 7 of the audit trail is a publication")
        );
        seal(&mut trail.record, &trail.keys).unwrap();
        assert_eq!(trail.verify().unwrap().sealed.unwrap().0, 7);
        trail.record.db().execute("DELETE FROM audit_seal", []).unwrap();
        assert!(trail.verify().is_err());
    }

    #[test]
    fn a_seal_that_somebody_else_has_signed_counts_for_nothing() {
        let mut trail = Trail::new();
        let other = trail.dir.path().join("other");
        Archive::generate_key(&other, "Other").unwrap();
        let other = ArchiveKeys::open(&[SigningKey::File(other)]).unwrap();
        trail.record.db().execute("DELETE FROM audit_seal WHERE id > 2", []).unwrap();
        trail.forge(5, 6);
        seal(&mut trail.record, &other).unwrap();
        let verified = trail.verify().unwrap();
        assert_eq!((verified.sealed.unwrap().0, verified.unknown), (2, 1));
    }
}
