//! Reads which ssh key belongs to which principal: `ssh.keys` of the configuration.
//!
//! That is a directory, where the file `alice@EXAMPLE.ORG` holds that principal's public keys one a
//! line, or a YAML map from principals to lists of them. Lines are as in a `.pub` file: type, key,
//! comment. Options are not taken: they are ours.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::identity;
use invirtibuilder_core::error::Error;

/// The largest file that is a list of keys, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Keys, each with its principal, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SshKeys {
    found: Vec<(String, PublicKey)>,
    /// The keys that several principals have: they belong to nobody.
    disputed: Vec<PublicKey>,
    /// The keys and files that could not be used, each with the reason.
    pub problems: Vec<String>,
}

/// One public key of ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: String,
    key: String,
}

impl PublicKey {
    /// Reads `TYPE KEY [COMMENT]`; the key itself has to name the same type (RFC 4253 section 6.6).
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let (Some(kind), Some(key)) = (words.next(), words.next()) else {
            return Err("it is not TYPE KEY COMMENT as in a .pub file".to_owned());
        };
        let plain = kind.bytes().all(|c| c.is_ascii_alphanumeric() || b"-@.".contains(&c));
        let blob = STANDARD
            .decode(key)
            .ok()
            .filter(|_| plain)
            .ok_or("it has options, or its key is not base64")?;
        let named = blob.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize);
        if named.and_then(|length| blob.get(4..)?.get(..length)) != Some(kind.as_bytes()) {
            return Err(format!("its key is not of type {kind}"));
        }
        Ok(Self { kind: kind.to_owned(), key: key.to_owned() })
    }
}

impl SshKeys {
    /// Reads the directory or the YAML file. It leaves out what cannot be used and tells of it in
    /// `problems`; an error means that none can be used.
    pub fn read(path: &Path, realm: Option<&str>) -> Result<Self, Error> {
        let fail = |why: String| Error::config(format!("ssh.keys: {}: {why}", path.display()));
        if let Some(why) = crate::acl::untrusted(path) {
            return Err(fail(why));
        }
        if !path.is_dir() {
            let text = text(path).map_err(fail)?;
            return Self::parse_yaml(&text, realm).map_err(fail);
        }
        let entries = std::fs::read_dir(path).map_err(|error| fail(error.to_string()))?;
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        let mut keys = Self::default();
        for name in names {
            let name = name.to_string_lossy();
            if name.starts_with('.') || name.ends_with('~') {
                continue;
            }
            let file = path.join(&*name);
            match crate::acl::untrusted(&file).map_or_else(|| text(&file), Err) {
                Ok(text) => {
                    let lines = text
                        .lines()
                        .map(str::trim)
                        .filter(|line| !line.is_empty() && !line.starts_with('#'));
                    lines.for_each(|line| keys.add(&name, line, realm));
                }
                Err(why) => keys.problems.push(format!("{}: {why}", file.display())),
            }
        }
        Ok(keys)
    }

    /// Reads a YAML map from principals to lists of keys.
    pub fn parse_yaml(text: &str, realm: Option<&str>) -> Result<Self, String> {
        let map: BTreeMap<String, Vec<String>> =
            serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        let mut keys = Self::default();
        for (name, lines) in &map {
            lines.iter().for_each(|line| keys.add(name, line, realm));
        }
        Ok(keys)
    }

    fn add(&mut self, name: &str, line: &str, realm: Option<&str>) {
        // It is going to stand in a command that sshd gives to a shell.
        let plain = name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._/@+-".contains(&c))
            && !name.starts_with('-');
        let added = match identity::qualified(name, realm) {
            Ok(principal) if plain => {
                PublicKey::parse(line).map(|key| (String::from(principal), key))
            }
            Ok(_) => Err(
                "only letters, digits and . _ / @ + - can be in the name of a principal with a key"
                    .to_owned(),
            ),
            Err(error) => Err(error.to_string()),
        };
        match added {
            Ok((principal, key)) if self.disputed.contains(&key) => {
                self.problems
                    .push(format!("{principal}: others have the same key: it is nobody's"));
            }
            Ok((principal, key)) => {
                match self.found.iter().find(|(other, known)| *known == key && *other != principal)
                {
                    Some((other, _)) => {
                        // Whose it is cannot be told, so it is nobody's.
                        self.problems.push(format!(
                            "{principal}: {other} has the same key: it is taken from both"
                        ));
                        self.found.retain(|(_, known)| *known != key);
                        self.disputed.push(key);
                    }
                    None => self.found.push((principal, key)),
                }
            }
            Err(why) => self
                .problems
                .push(format!("a key of {}: {why}", invirtibuilder_core::text::quoted(name))),
        }
    }

    /// Lists all keys, each with its principal.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &PublicKey)> {
        self.found.iter().map(|(principal, key)| (principal.as_str(), key))
    }

    /// Finds the principal of a key, given as `TYPE KEY`.
    pub fn owner(&self, text: &str) -> Option<&str> {
        let key = PublicKey::parse(text).ok()?;
        self.iter().find(|(_, known)| **known == key).map(|(principal, _)| principal)
    }
}

/// Writes the line of authorized_keys(5) that lets a key in as `principal` and do nothing but run
/// `program` for them.
pub fn line(program: &str, principal: &str, key: &PublicKey) -> String {
    // What `SshKeys` lets through needs no quotes, neither in a shell nor here.
    format!(
        "command=\"{program} ssh-command --principal {principal}\",restrict {} {}",
        key.kind, key.key
    )
}

fn text(path: &Path) -> Result<String, String> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_FILE => Err("it is larger than 4 MiB".to_owned()),
        Ok(_) => std::fs::read_to_string(path).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::ssh::keys::*;

    const ALICE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    const BOB: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBBBqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    #[test]
    fn keys_are_read_from_a_map_and_become_lines() {
        let yaml = format!("alice: ['{ALICE} alice@laptop']\nbob/admin@OTHER: ['{BOB}']\n");
        let keys = SshKeys::parse_yaml(&yaml, Some("R")).unwrap();
        assert_eq!(keys.problems, [] as [&str; 0]);
        let lines: Vec<String> =
            keys.iter().map(|(who, key)| line("/usr/bin/invirt-build", who, key)).collect();
        assert_eq!(
            lines,
            [
                format!(
                    "command=\"/usr/bin/invirt-build ssh-command --principal alice@R\",restrict {ALICE}"
                ),
                format!(
                    "command=\"/usr/bin/invirt-build ssh-command --principal bob/admin@OTHER\",restrict {BOB}"
                ),
            ]
        );
        assert_eq!(keys.owner(ALICE), Some("alice@R"));
        assert_eq!(keys.owner("ssh-rsa AAAA"), None);
    }

    #[test]
    fn keys_are_read_from_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("alice@R"), format!("# laptop\n{ALICE} x\n\n{BOB}\n"))
            .unwrap();
        std::fs::write(dir.path().join(".hidden"), "nonsense").unwrap();
        std::fs::write(dir.path().join("carol@R"), "nonsense\n").unwrap();
        let keys = SshKeys::read(dir.path(), None).unwrap();
        assert_eq!(keys.iter().map(|(who, _)| who).collect::<Vec<_>>(), ["alice@R", "alice@R"]);
        assert_eq!(keys.problems.len(), 1, "{:?}", keys.problems);
        assert!(SshKeys::read(&dir.path().join("absent"), None).is_err());
    }

    #[test]
    fn nothing_of_a_bad_line_reaches_authorized_keys() {
        for (name, key) in [
            ("alice@R", "command=\"sh\" ssh-ed25519 AAAA"),
            ("alice@R", "ssh-ed25519 AAAA\" x"),
            (
                "alice@R",
                "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
            ),
            ("alice@R", "ssh-ed25519"),
            ("alice@R", "ssh-ed25519 //////8="),
            ("a$(id)@R", ALICE),
            ("a b@R", ALICE),
            ("a\"@R", ALICE),
            ("-a@R", ALICE),
            ("local:root", ALICE),
            ("", ALICE),
        ] {
            let mut keys = SshKeys::default();
            keys.add(name, key, Some("R"));
            assert_eq!((keys.found.len(), keys.problems.len()), (0, 1), "{name} {key}");
        }
    }

    #[test]
    fn a_key_of_two_people_is_nobodys() {
        let keys =
            SshKeys::parse_yaml(&format!("a@R: ['{ALICE}']\nb@R: ['{ALICE}', '{BOB}']\n"), None)
                .unwrap();
        assert_eq!(keys.owner(ALICE), None);
        assert_eq!(keys.owner(BOB), Some("b@R"));
        let keys = SshKeys::parse_yaml(
            &format!("a@R: ['{ALICE}']\nb@R: ['{ALICE}', '{ALICE}']\nc@R: ['{ALICE}']\n"),
            None,
        );
        assert_eq!(keys.unwrap().owner(ALICE), None, "nor is one of three");
    }
}
