//! Finds out who may write a file: what anybody may write decides nothing.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// The most symbolic links on one way; the kernel follows no more (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Says why the file or directory at `path` cannot be trusted: others may write it, or may put
/// another in its place. `None` if it can be, or is not there. Every directory on the way counts,
/// also that of each symbolic link that is followed.
pub fn untrusted(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let mut at = PathBuf::from("/");
    let mut left: Vec<OsString> = steps(&path);
    let mut links = 0;
    let root = std::fs::metadata(&at).ok()?;
    if let Some(why) = unsafe_to_pass(&at, &root) {
        return Some(why);
    }
    while let Some(step) = left.pop() {
        if step == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&step);
        let metadata = std::fs::symlink_metadata(&next).ok()?;
        if metadata.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Some(format!("{} is one of too many symbolic links", next.display()));
            }
            let target = std::fs::read_link(&next).ok()?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            left.extend(steps(&target));
            continue;
        }
        at = next;
        if left.is_empty() {
            return unsafe_to_use(&at, &metadata);
        }
        if let Some(why) = unsafe_to_pass(&at, &metadata) {
            return Some(why);
        }
    }
    // It ends with `..` or is the root itself: a directory that was passed.
    let metadata = std::fs::metadata(&at).ok()?;
    unsafe_to_use(&at, &metadata)
}

/// Splits a path into its steps, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let step = |component: Component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    let mut steps: Vec<OsString> = path.components().filter_map(step).collect();
    steps.reverse();
    steps
}

fn unsafe_to_use(path: &Path, metadata: &Metadata) -> Option<String> {
    let mode = metadata.permissions().mode() & 0o7777;
    (mode & 0o002 != 0).then(|| {
        format!(
            "others may write it (owner {}, mode {mode:o}): chmod o-w {}",
            metadata.uid(),
            path.display()
        )
    })
}

fn unsafe_to_pass(path: &Path, metadata: &Metadata) -> Option<String> {
    let mode = metadata.permissions().mode() & 0o7777;
    // In a sticky directory nobody can replace what is another's.
    (mode & 0o002 != 0 && mode & 0o1000 == 0).then(|| {
        format!(
            "{} above it: others may write that (owner {}, mode {mode:o}): chmod o-w {}",
            path.display(),
            metadata.uid(),
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use crate::acl::trust::*;

    #[test]
    fn what_others_may_write_or_replace_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, file) = (dir.path().join("d"), dir.path().join("d/f"));
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(&file, "").unwrap();
        let link = dir.path().join("link");
        symlink(&file, &link).unwrap();
        let chmod = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(untrusted(&file), None);
        chmod(&file, 0o664);
        assert_eq!(untrusted(&file), None);
        chmod(&file, 0o646);
        assert!(untrusted(&file).unwrap().contains("others may write it (owner"));
        chmod(&file, 0o644);
        chmod(&inner, 0o777);
        assert!(untrusted(&file).unwrap().contains("/d above it"));
        assert!(untrusted(&link).is_some());
        chmod(&inner, 0o1777);
        assert_eq!(untrusted(&file), None);
        assert_eq!(untrusted(&dir.path().join("absent")), None);
    }

    #[test]
    fn a_link_that_others_may_replace_is_found_wherever_it_points() {
        let dir = tempfile::tempdir().unwrap();
        let good = dir.path().join("good");
        std::fs::write(&good, "").unwrap();
        let open = dir.path().join("open");
        std::fs::create_dir(&open).unwrap();
        symlink(&good, open.join("link")).unwrap();
        symlink("open", dir.path().join("way")).unwrap();
        symlink("../good", open.join("relative")).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        for through in ["open/link", "way/link", "open/relative", "open/../open/relative"] {
            assert!(
                untrusted(&dir.path().join(through))
                    .is_some_and(|why| why.contains("open above it")),
                "{through}"
            );
        }
        symlink("loop", dir.path().join("loop")).unwrap();
        assert!(untrusted(&dir.path().join("loop")).is_some_and(|why| why.contains("too many")));
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(untrusted(&dir.path().join("way/relative")), None);
    }
}
