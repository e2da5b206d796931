//! What upstream tarballs hold, as dpkg-source unpacks them: as far as it can be told without
//! unpacking.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Result, ensure};
use git2::{ObjectType, Oid, Repository};
use liblzma::stream::{CONCATENATED, Stream};

use crate::source::tree::{FileKind, TreeEntry};

/// Larger tarballs are not read before the source package is made, in bytes: packed and unpacked.
const PACKED: u64 = 32 << 20;
const UNPACKED: u64 = 256 << 20;

/// What unpacking may take of memory.
const MEMORY: u64 = 128 << 20;

/// Files and symbolic links by their paths; `None`: what stands there is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing(pub BTreeMap<Vec<u8>, Option<TreeEntry>>);

impl Listing {
    /// By the names in a delta of pristine-tar, and by the tree that it was made against. Contents
    /// are taken from the tree only if it has these names and no others: then it is what was
    /// unpacked, and not a later state of it.
    pub fn of_delta(repo: &Repository, members: &[Vec<u8>], tree: Option<Oid>) -> Self {
        let names: Vec<Vec<u8>> = members.iter().filter_map(|name| plain(name)).collect();
        let names = below_top(names, |name| name);
        let mut listing: BTreeMap<Vec<u8>, Option<TreeEntry>> = names
            .into_iter()
            .filter(|name| !name.ends_with(b"/"))
            .map(|name| (name, None))
            .collect();
        let entries = tree
            .and_then(|id| repo.find_tree(id).ok())
            .and_then(|tree| super::tree::entries(repo, &tree).ok());
        if let Some(entries) = entries.filter(|entries| entries.keys().eq(listing.keys())) {
            listing = entries.into_iter().map(|(path, entry)| (path, Some(entry))).collect();
        }
        Self(listing)
    }

    /// By reading a tarball; `None` where that takes too long, or is dpkg-source's affair.
    pub fn of_tarball(path: &Path) -> Result<Option<Self>> {
        let file = File::open(path)?;
        let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
        if file.metadata()?.len() > PACKED {
            return Ok(None);
        }
        let unpacked: Box<dyn Read> = match suffix {
            "gz" => Box::new(flate2::read::MultiGzDecoder::new(file)),
            "xz" => {
                let stream = Stream::new_stream_decoder(MEMORY, CONCATENATED)?;
                Box::new(liblzma::read::XzDecoder::new_stream(file, stream))
            }
            _ => return Ok(None),
        };
        // What cannot be read here, tar may read.
        Ok(read(unpacked).ok())
    }

    /// Puts a component's tarball into its directory, in place of what the main one has there.
    pub fn add_component(&mut self, name: &str, component: Listing) {
        let dir = format!("{name}/").into_bytes();
        self.0.retain(|path, _| !path.starts_with(&dir));
        self.0.extend(
            component.0.into_iter().map(|(path, entry)| ([&dir[..], &path].concat(), entry)),
        );
    }
}

fn read(unpacked: impl Read) -> Result<Listing> {
    let mut archive = tar::Archive::new(unpacked.take(UNPACKED));
    let mut found: Vec<(Vec<u8>, Option<TreeEntry>)> = Vec::new();
    let mut files: HashMap<Vec<u8>, TreeEntry> = HashMap::new();
    let mut bytes = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() || kind.is_pax_local_extensions() {
            // What "git archive" says of the commit is no member.
            continue;
        }
        let Some(mut path) = plain(&entry.path_bytes()) else { continue };
        let here = if kind.is_dir() {
            if !path.ends_with(b"/") {
                path.push(b'/');
            }
            None
        } else if kind.is_symlink() {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            Some(TreeEntry {
                id: Oid::hash_object(ObjectType::Blob, &target)?,
                kind: FileKind::Link,
            })
        } else if kind.is_hard_link() {
            let target = entry.link_name_bytes().and_then(|name| plain(&name));
            target.and_then(|target| files.get(&target).copied())
        } else if kind.is_file() {
            bytes += entry.size();
            ensure!(bytes <= UNPACKED, "it is too large");
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            let executable = entry.header().mode()? & 0o111 != 0;
            let file = TreeEntry {
                id: Oid::hash_object(ObjectType::Blob, &content)?,
                kind: FileKind::File { executable },
            };
            files.insert(path.clone(), file);
            Some(file)
        } else {
            None
        };
        found.push((path, here));
    }
    let found = below_top(found, |(path, _)| path);
    Ok(Listing(found.into_iter().filter(|(path, _)| !path.ends_with(b"/")).collect()))
}

/// Finds a member's name without empty parts and `.`; with a slash at its end if it has one. `None`
/// for the top itself.
fn plain(name: &[u8]) -> Option<Vec<u8>> {
    let parts = name.split(|&c| c == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut plain = parts.collect::<Vec<_>>().join(&b'/');
    if name.ends_with(b"/") && !plain.is_empty() {
        plain.push(b'/');
    }
    (!plain.is_empty()).then_some(plain)
}

/// Takes the top directory off, if all is in one.
fn below_top<T>(mut all: Vec<T>, path: impl Fn(&mut T) -> &mut Vec<u8>) -> Vec<T> {
    let top = |path: &[u8]| path.split(|&c| c == b'/').next().unwrap_or_default().to_owned();
    let tops: BTreeSet<Vec<u8>> = all.iter_mut().map(|one| top(path(one))).collect();
    let Some(only) = tops.first().filter(|_| tops.len() == 1).cloned() else { return all };
    let is_file = |name: &[u8]| name == &only[..];
    if all.iter_mut().any(|one| is_file(path(one))) {
        return all;
    }
    for one in &mut all {
        let path = path(one);
        path.drain(..=only.len().min(path.len() - 1));
    }
    all.retain_mut(|one| !path(one).is_empty());
    all
}

#[cfg(test)]
mod tests {
    use crate::source::listing::*;

    fn tarball(members: &[(&str, &str, u32)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, text, mode) in members {
            let mut header = tar::Header::new_gnu();
            header.set_mode(*mode);
            if name.ends_with('/') {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                tar.append_data(&mut header, name, &[][..]).unwrap();
            } else if *mode == 0o777 {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                tar.append_link(&mut header, name, text).unwrap();
            } else {
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, name, text.as_bytes()).unwrap();
            }
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn one_top_directory_is_taken_off() {
        let list = |members: &[(&str, &str, u32)]| read(&tarball(members)[..]).unwrap().0;
        let one = list(&[
            ("x-1.0/", "", 0o755),
            ("x-1.0/a", "text", 0o755),
            ("x-1.0/d/l", "../a", 0o777),
        ]);
        assert_eq!(one.keys().map(|path| &path[..]).collect::<Vec<_>>(), [&b"a"[..], b"d/l"]);
        let id = Oid::hash_object(ObjectType::Blob, b"text").unwrap();
        assert_eq!(
            one[&b"a"[..]],
            Some(TreeEntry { id, kind: FileKind::File { executable: true } })
        );
        assert_eq!(one[&b"d/l"[..]].unwrap().kind, FileKind::Link);
        let two = list(&[("x/a", "", 0o644), ("y/b", "", 0o644)]);
        assert_eq!(two.keys().map(|path| &path[..]).collect::<Vec<_>>(), [&b"x/a"[..], b"y/b"]);
        assert_eq!(list(&[("./x/a", "", 0o644), ("./x/b", "", 0o644)]).len(), 2);
        let odd = list(&[("x//./a", "", 0o654), ("x/./d//b", "", 0o644)]);
        assert_eq!(odd.keys().map(|path| &path[..]).collect::<Vec<_>>(), [&b"a"[..], b"d/b"]);
        assert_eq!(odd[&b"a"[..]].unwrap().kind, FileKind::File { executable: true });
        assert_eq!(list(&[("alone", "", 0o644)]).keys().next().unwrap(), b"alone");
    }

    #[test]
    fn a_component_is_a_directory() {
        let names = |all: &[&str]| {
            Listing(all.iter().map(|name| (name.as_bytes().to_vec(), None)).collect())
        };
        let mut main = names(&["a", "lib/old", "library"]);
        main.add_component("lib", names(&["new"]));
        assert_eq!(main, names(&["a", "lib/new", "library"]));
    }
}
