//! Upstream tarballs that the service makes itself of a tree in Git: that of a tag of upstream's
//! version, or the commit's own without `debian/`. The same tree makes the same bytes: entries in
//! the order of their paths, of nobody's, all of one time. Like all that is made of objects, it
//! heeds no attributes: what git-archive(1) would leave out is there.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path as FilePath;

use anyhow::Context;
use git2::{Oid, Repository};
use liblzma::stream::{Check, Stream};
use liblzma::write::XzEncoder;

use crate::source::listing::Listing;
use crate::source::object::{self, is_debian};
use crate::source::tree::{self, Entries, FileKind};
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_core::names::CommitId;

/// Where the tree of such a tarball comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeOf {
    /// A tag of upstream's version.
    Tag {
        /// Its name, without `refs/tags/`.
        name: String,
        /// The commit that it leads to.
        commit: CommitId,
    },
    /// The commit that is built: its files outside of `debian/`.
    Commit,
}

/// A tree of upstream's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTree {
    /// The tree.
    pub id: Oid,
    /// Where it comes from.
    pub of: TreeOf,
    /// The time of all files, in seconds since 1970-01-01 UTC: that of the tree's commit.
    pub time: i64,
}

impl UpstreamTree {
    fn entries(&self, repo: &Repository) -> Result<Entries, Failure> {
        let tree = repo.find_tree(self.id)?;
        let mut entries = tree::entries(repo, &tree).map_err(|failure| match &self.of {
            TreeOf::Tag { name, .. } => Failure::new(
                FailureKind::Upstream,
                format!("no tarball can be made of tag {name}: {}", failure.text),
            ),
            TreeOf::Commit => failure,
        })?;
        if self.of == TreeOf::Commit {
            entries.retain(|path, _| !is_debian(path));
        }
        Ok(entries)
    }

    /// Lists what the tarball holds.
    pub fn listing(&self, repo: &Repository) -> Result<Listing, Failure> {
        let entries = self.entries(repo)?;
        Ok(Listing(entries.into_iter().map(|(path, entry)| (path, Some(entry))).collect()))
    }

    /// Writes the tarball to the new file `path`, whose ending says how it is compressed. Its files
    /// are in the directory `top`. Nothing is written if they have more than `room` bytes.
    pub fn write(
        &self,
        repo: &Repository,
        path: &FilePath,
        top: &str,
        room: u64,
    ) -> Result<(), Failure> {
        let entries = self.entries(repo)?;
        let odb = repo.odb()?;
        let mut bytes = 0;
        for entry in entries.values() {
            bytes += odb.read_header(entry.id)?.0 as u64;
        }
        if bytes > room {
            let text = format!("upstream's files have more than {} MiB (limits.disk)", room >> 20);
            return Err(Failure::new(FailureKind::Tree, text));
        }
        let cannot = || format!("cannot write {}", path.display());
        let file = BufWriter::new(File::create_new(path).with_context(cannot)?);
        let file = if path.extension().is_some_and(|suffix| suffix == "gz") {
            let gz = flate2::GzBuilder::new().write(file, flate2::Compression::best());
            self.tar(repo, &entries, top, gz)?.finish().with_context(cannot)?
        } else {
            let stream = Stream::new_easy_encoder(6, Check::Crc64).with_context(cannot)?;
            let xz = XzEncoder::new_stream(file, stream);
            self.tar(repo, &entries, top, xz)?.finish().with_context(cannot)?
        };
        file.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(cannot)?;
        Ok(())
    }

    fn tar<W: Write>(
        &self,
        repo: &Repository,
        entries: &Entries,
        top: &str,
        to: W,
    ) -> Result<W, Failure> {
        let mut tar = tar::Builder::new(to);
        let append =
            |tar: &mut tar::Builder<W>, kind: tar::EntryType, mode, path: &[u8], content: &[u8]| {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(kind);
                header.set_mode(mode);
                header.set_uid(0);
                header.set_gid(0);
                header.set_mtime(self.time.max(0) as u64);
                let path = format_path(top, path);
                if kind.is_symlink() {
                    header.set_size(0);
                    tar.append_link(&mut header, os(&path), os(content))
                } else {
                    header.set_size(content.len() as u64);
                    tar.append_data(&mut header, os(&path), content)
                }
            };
        let failed = |error: std::io::Error| {
            anyhow::Error::from(error).context("a tarball cannot be written")
        };
        append(&mut tar, tar::EntryType::Directory, 0o755, b"", b"").map_err(failed)?;
        for (path, entry) in entries {
            let blob = repo.find_blob(entry.id)?;
            let (kind, mode) = match entry.kind {
                FileKind::Link => (tar::EntryType::Symlink, 0o777),
                FileKind::File { executable: true } => (tar::EntryType::Regular, 0o755),
                FileKind::File { executable: false } => (tar::EntryType::Regular, 0o644),
            };
            append(&mut tar, kind, mode, path, blob.content()).map_err(failed)?;
        }
        Ok(tar.into_inner().map_err(failed)?)
    }
}

fn format_path(top: &str, path: &object::Path) -> Vec<u8> {
    [top.as_bytes(), b"/", path].concat()
}

fn os(bytes: &[u8]) -> &FilePath {
    use std::os::unix::ffi::OsStrExt;
    FilePath::new(std::ffi::OsStr::from_bytes(bytes))
}
