//! Facts of a source package that stages tell each other and the record keeps: how the commit holds
//! it, and what the service has made and proven.

use std::collections::BTreeMap;
use std::path::PathBuf;

crate::stored_in_json!(Layout);
crate::stored_in_json!(Bound);

crate::stored_enum! {
    /// The layout of a tree: how it holds the source package.
    pub enum Layout {
        /// The tree is all there is.
        Native = "native",
        /// Format 1.0 without an upstream tarball: the tree is all there is.
        NativeOne = "native-1.0",
        /// Upstream's files with all patches applied.
        Applied = "patches-applied",
        /// Upstream's files as they are, and the patches beside them, if there are any.
        Unapplied = "patches-unapplied",
        /// Nothing but `debian/`: upstream's files are in the tarball only.
        Bare = "bare-debian",
        /// Format 1.0 with an upstream tarball: changes become one diff.
        Diff = "diff",
    }
}

crate::stored_enum! {
    /// The way in which a commit binds a tarball.
    pub enum Bound {
        /// By its sum.
        Sum = "sha256sums",
        /// By upstream's signature.
        Signature = "signature",
        /// It is made of a tag's tree, and the tag is in the commit's history.
        History = "history",
    }
}

/// A source package.
#[derive(Debug, Clone, Default)]
pub struct SourcePackage {
    /// The `.dsc`.
    pub dsc: PathBuf,
    /// The paths of all its files, the `.dsc` among them.
    pub files: Vec<PathBuf>,
    /// The architectures that it builds for, as its `.dsc` has them.
    pub architectures: Vec<String>,
    /// The SHA-256 of each upstream tarball, by name.
    pub tarballs: Vec<(String, String)>,
    /// The notes about the source package, each a sentence.
    pub notes: Vec<String>,
}

/// The result of the proof.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// The layout that the proof has found.
    pub layout: Option<Layout>,
    /// Paths that a tarball has and the commit has not.
    pub extra: Vec<String>,
    /// The way in which the commit binds each tarball that it binds, by name.
    pub bound: BTreeMap<String, Bound>,
    /// The notes on what the proof let go, each a sentence.
    pub notes: Vec<String>,
}

/// Tells whether a file of a version is a binary package, by its name.
pub fn is_binary(name: &str) -> bool {
    [".deb", ".udeb", ".ddeb"].iter().any(|suffix| name.ends_with(suffix))
}

/// Tells whether a file of a version is one of its source package, by its name.
pub fn is_source(name: &str) -> bool {
    !is_binary(name) && !name.ends_with(".changes") && !name.ends_with(".buildinfo")
}

#[cfg(test)]
mod tests {
    use crate::facts::*;

    #[test]
    fn spellings_are_pinned() {
        let layouts: Vec<_> = Layout::ALL.iter().map(|layout| layout.as_str()).collect();
        assert_eq!(
            layouts,
            ["native", "native-1.0", "patches-applied", "patches-unapplied", "bare-debian", "diff"]
        );
        let bound: Vec<_> = Bound::ALL.iter().map(|bound| bound.as_str()).collect();
        assert_eq!(bound, ["sha256sums", "signature", "history"]);
    }
}
