//! Lists what can be known of who has access, without asking about anybody in particular.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::unistd::Group;

use crate::acl::file::{self, AclLine};
use crate::acl::program::{EntryPrograms, Members};
use crate::acl::syntax::{Parsed, Scheme, parse, shown};
use invirtibuilder_api::acl::{Access, Effect};

/// Walks the entries of an ACL, and lists whom they are about.
pub struct AccessListing<'a> {
    programs: &'a EntryPrograms<'a>,
    found: Vec<Access>,
    open: Vec<PathBuf>,
    looked_at: usize,
}

/// The most lines that a listing has, and the most entries that it looks at for them.
const MAX_LISTED: usize = 10_000;

impl<'a> AccessListing<'a> {
    /// Starts a listing that has nothing yet.
    pub fn new(programs: &'a EntryPrograms<'a>) -> Self {
        Self { programs, found: Vec::new(), open: Vec::new(), looked_at: 0 }
    }

    /// Returns everything that was found. Of several lines that say the same of the same people it
    /// keeps the first.
    pub fn into_found(self) -> Vec<Access> {
        let mut seen = BTreeSet::new();
        self.found
            .into_iter()
            .filter(|access| access.effect == Effect::Error || seen.insert(access.who.clone()))
            .collect()
    }

    fn add(&mut self, place: &str, effect: Effect, who: impl Into<String>) {
        if self.found.len() < MAX_LISTED {
            self.found.push(Access { who: who.into(), effect, place: place.to_owned() });
        }
    }

    /// Adds those that an entry is about.
    pub fn entry(&mut self, place: &str, entry: &[u8], default: Scheme, effect: Effect) {
        self.looked_at += 1;
        if self.looked_at > MAX_LISTED {
            return;
        }
        let text =
            |bytes: &[u8]| invirtibuilder_core::text::one_line(&String::from_utf8_lossy(bytes));
        match parse(entry, default) {
            Err(why) => self.add(place, Effect::Error, why),
            Ok(Parsed::Princ(name)) => self.add(place, effect, text(name)),
            Ok(Parsed::AnyUser { anonymous: true }) => {
                self.add(place, effect, "anybody, also the anonymous principal");
            }
            Ok(Parsed::AnyUser { anonymous: false }) => {
                self.add(place, effect, "anybody but the anonymous principal");
            }
            Ok(Parsed::Regex(pattern)) => {
                self.add(place, effect, format!("names that match {} (POSIX)", shown(pattern)));
            }
            Ok(Parsed::Pcre(pattern)) => {
                self.add(place, effect, format!("names that match {} (PCRE)", shown(pattern)));
            }
            Ok(Parsed::LocalGroup(group)) => self.local_group(place, group, effect),
            Ok(Parsed::Exec(program)) if self.open.is_empty() => {
                self.members(place, self.programs.exec(program), effect);
            }
            Ok(Parsed::Other(_)) if self.open.is_empty() => {
                self.members(place, self.programs.locator(entry), effect);
            }
            Ok(Parsed::Exec(_) | Parsed::Other(_)) => {
                self.add(
                    place,
                    Effect::Error,
                    format!("the scheme of {} is not known in ACL files", shown(entry)),
                );
            }
            Ok(Parsed::File(path)) => self.file(place, path, effect),
            // What denies a denial says nothing.
            Ok(Parsed::Deny(inner)) => match effect {
                Effect::Allow => self.entry(place, inner, Scheme::Princ, Effect::Deny),
                Effect::Deny | Effect::Error => {}
            },
        }
    }

    fn local_group(&mut self, place: &str, name: &[u8], effect: Effect) {
        let group =
            std::str::from_utf8(name).ok().and_then(|name| Group::from_name(name).ok().flatten());
        match group {
            Some(group) => {
                let users =
                    if group.mem.is_empty() { "nobody".to_owned() } else { group.mem.join(", ") };
                let who = format!(
                    "whoever auth_to_local maps into group {} ({users}, or as primary group)",
                    group.name
                );
                self.add(place, effect, who);
            }
            None => self.add(place, effect, format!("nobody: there is no group {}", shown(name))),
        }
    }

    fn members(&mut self, place: &str, members: Result<Members, String>, effect: Effect) {
        match members {
            Ok(members) => members.iter().for_each(|name| self.add(place, effect, name)),
            Err(why) => self.add(place, Effect::Error, why),
        }
    }

    fn file(&mut self, place: &str, path: &Path, effect: Effect) {
        if self.open.iter().any(|open| open == path) || self.open.len() >= file::MAX_DEPTH {
            return self.add(place, Effect::Error, format!("{} includes itself", path.display()));
        }
        if let Some(why) = super::trust::untrusted(path) {
            return self.add(place, Effect::Error, format!("{}: {why}", path.display()));
        }
        self.open.push(path.to_owned());
        if path.is_dir() {
            match file::names(path) {
                Ok(names) => {
                    names.iter().for_each(|name| self.file(place, &path.join(name), effect));
                }
                Err(error) => {
                    self.add(place, Effect::Error, format!("{}: {error}", path.display()));
                }
            }
        } else {
            match file::read(path) {
                Ok(bytes) => self.lines(path, &bytes, effect),
                Err(why) => self.add(place, Effect::Error, format!("{}: {why}", path.display())),
            }
        }
        self.open.pop();
    }

    fn lines(&mut self, path: &Path, bytes: &[u8], effect: Effect) {
        for (number, line) in file::parse(bytes) {
            if self.looked_at > MAX_LISTED {
                return;
            }
            let place = format!("{}:{number}", path.display());
            match line {
                AclLine::Entry(entry, default) => self.entry(&place, &entry, default, effect),
                AclLine::Bad(why) => self.add(&place, Effect::Error, why),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::acl::show::*;
    use invirtibuilder_core::config::Config;

    #[test]
    fn includes_are_followed_and_places_are_those_of_the_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("inner"), "# us\nalice@R\ndeny:princ:mallory@R\nregex:^x\n").unwrap();
        std::fs::write(
            path("outer"),
            format!(
                "include {}\nalice@R\nnonsense:x\ndeny:file:{}\n",
                path("inner"),
                path("outer")
            ),
        )
        .unwrap();
        let config = Config::default();
        let programs = EntryPrograms::new(&config, "prod");
        let mut listing = AccessListing::new(&programs);
        listing.entry(
            "config.yaml:3",
            format!("file:{}", path("outer")).as_bytes(),
            Scheme::File,
            Effect::Allow,
        );
        listing.entry("config.yaml:4", b"anyuser:auth", Scheme::File, Effect::Allow);
        let lines: Vec<String> = listing
            .into_found()
            .iter()
            .map(|access| {
                format!(
                    "{:?} {} {}",
                    access.effect,
                    access.who,
                    access.place.rsplit('/').next().unwrap()
                )
            })
            .collect();
        assert_eq!(lines[0], "Allow alice@R inner:2");
        assert_eq!(lines[1], "Deny mallory@R inner:3");
        assert_eq!(lines[2], "Allow names that match '^x' (POSIX) inner:4");
        assert!(lines[3].starts_with("Error ") && lines[3].ends_with("outer:3"), "{lines:?}");
        assert!(lines[4].contains("includes itself"), "{lines:?}");
        assert_eq!(lines[5], "Allow anybody but the anonymous principal config.yaml:4");
        assert_eq!(lines.len(), 6);
    }
}
