//! `debian/patches`: which paths the patches of a package change, as far as their headers say
//! (dpkg-source(1), "Format: 3.0 (quilt)").

use std::collections::BTreeSet;

use crate::source::links::{Led, Links};
use crate::source::object;
use invirtibuilder_core::error::{Failure, FailureKind};

/// Of larger patches, and of more of them, it is found out when the source package is made what
/// they change; in bytes together.
const MOST: u64 = 128 << 20;

/// The patches of a tree.
#[derive(Debug, Default)]
pub struct Patches {
    /// How many there are.
    pub count: usize,
    /// The paths that they change, make or remove.
    pub touched: BTreeSet<Vec<u8>>,
    /// Whether one could not be looked into.
    pub unknown: bool,
}

impl Patches {
    /// Reads those of a tree. It is an error if one is in the list and not in the tree.
    pub fn of(links: &Links) -> Result<Self, Failure> {
        let mut patches = Self::default();
        for path in SERIES {
            let Some(series) = links.file(path, MOST)? else { continue };
            let mut room = MOST;
            for name in names(series.content()) {
                patches.count += 1;
                room = patches.look(links, path, name, room)?;
            }
            break;
        }
        Ok(patches)
    }

    /// Looks into a patch of a list, in as many bytes as there is room for; what is left of that.
    fn look(
        &mut self,
        links: &Links,
        series: &str,
        name: &[u8],
        room: u64,
    ) -> Result<u64, Failure> {
        let missing = |why: &str| {
            let name = invirtibuilder_core::text::quoted(&object::shown(name));
            Err(Failure::new(
                FailureKind::Layout,
                format!("{series} names the patch {name}, {why}"),
            ))
        };
        let id = match links.follow(b"debian/patches", name)? {
            Led::File(id) => id,
            Led::Outside => return missing("which is not in the tree"),
            // dpkg-source makes it.
            Led::Nothing if name.starts_with(GENERATED) => {
                self.unknown = true;
                return Ok(room);
            }
            _ => {
                return missing(
                    "which is no file in debian/patches: commit it, or take it out of the list",
                );
            }
        };
        // One patch may be in the list a thousand times.
        match links.blob(id, room)? {
            Some(blob) => {
                touched(blob.content(), &mut self.touched);
                Ok(room - blob.size() as u64)
            }
            None => {
                self.unknown = true;
                Ok(room)
            }
        }
    }
}

/// What the names of patches begin with that dpkg-source makes itself.
const GENERATED: &[u8] = b"debian-changes";

/// Where the list of patches may be; the first that is there counts.
pub const SERIES: [&str; 2] = ["debian/patches/debian.series", "debian/patches/series"];

/// Returns the names in a list of patches: a comment begins with `#` at the start of a line or
/// behind a space, options follow a name.
pub fn names(series: &[u8]) -> impl Iterator<Item = &[u8]> {
    series.split(|&c| c == b'\n').filter_map(|line| {
        let name = line.trim_ascii().split(u8::is_ascii_whitespace).next().unwrap_or_default();
        (!name.is_empty() && !name.starts_with(b"#")).then_some(name)
    })
}

/// Adds the paths that a patch names, without their first component. Lines of hunks are no headers,
/// whatever they look like.
fn touched(patch: &[u8], paths: &mut BTreeSet<Vec<u8>>) {
    let lines = patch.split(|&c| c == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let (mut old, mut new) = (0u64, 0u64);
    for line in lines {
        if old + new > 0 {
            match line.first() {
                Some(b'-') => old = old.saturating_sub(1),
                Some(b'+') => new = new.saturating_sub(1),
                Some(b'\\') => {}
                _ => (old, new) = (old.saturating_sub(1), new.saturating_sub(1)),
            }
        } else if let Some(counts) = hunk(line) {
            (old, new) = counts;
        } else if let Some(path) = line.strip_prefix(b"--- ").or(line.strip_prefix(b"+++ ")) {
            paths.extend(stripped(path));
        } else if let Some(rest) = line.strip_prefix(b"diff --git ") {
            // Changes of modes and empty files have no other header.
            rest.split(|&c| c == b' ').for_each(|path| paths.extend(stripped(path)));
        }
    }
}

/// Says how many lines a hunk has of the old and of the new file.
fn hunk(line: &[u8]) -> Option<(u64, u64)> {
    let rest =
        std::str::from_utf8(line.strip_prefix(b"@@ -")?.split(|&c| c == b'@').next()?).ok()?;
    let (old, new) = rest.trim_end().split_once(" +")?;
    let count =
        |range: &str| range.split_once(',').map_or(Some(1), |(_, count)| count.parse().ok());
    Some((count(old)?, count(new)?))
}

fn stripped(path: &[u8]) -> Option<Vec<u8>> {
    let end = path.iter().position(|&c| c == b'\t').unwrap_or(path.len());
    let path = path[..end].trim_ascii();
    let slash = path.iter().position(|&c| c == b'/')?;
    let start = path[slash..].iter().position(|&c| c != b'/')? + slash;
    (path != b"/dev/null").then(|| path[start..].to_owned())
}

#[cfg(test)]
mod tests {
    use crate::source::patches::*;

    #[test]
    fn a_patch_names_what_it_changes() {
        let patch = b"Description: x\n--- a/old.txt\t2020-01-01\n+++ b/old.txt\n@@ -1,2 +1,2 @@\n--- a/not-this\n+++ b/nor-this\n context\n\
            diff --git a/run b/run\nold mode 100644\nnew mode 100755\n\
            --- /dev/null\n+++ b/dir/new.txt\n@@ -0,0 +1 @@\n+x\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\\ No newline at end of file\n";
        let mut paths = BTreeSet::new();
        touched(patch, &mut paths);
        let paths: Vec<_> = paths.iter().map(|path| object::shown(path)).collect();
        assert_eq!(paths, ["dir/new.txt", "gone", "old.txt", "run"]);
    }

    #[test]
    fn a_series_has_comments_and_options() {
        let found: Vec<_> =
            names(b"# all\n\none.patch\n two.patch -p1\n  # not\nsub/three # why\n").collect();
        assert_eq!(found, [&b"one.patch"[..], b"two.patch", b"sub/three"]);
    }
}
