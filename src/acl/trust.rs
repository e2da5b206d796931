//! Whose a file is: what anybody may write decides nothing.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Why the file or directory at `path` cannot be trusted: others may write it, or may put another in its place. `None` if
/// it can be, or is not there.
pub fn untrusted(path: &Path) -> Option<String> {
    // Symbolic links are followed: what counts is the file that is read and the way to it.
    let real = std::fs::canonicalize(path).ok()?;
    real.ancestors().enumerate().find_map(|(n, part)| {
        let metadata = std::fs::metadata(part).ok()?;
        let mode = metadata.permissions().mode() & 0o7777;
        // In a sticky directory nobody can replace what is another's.
        let safe = mode & 0o002 == 0 || (n > 0 && mode & 0o1000 != 0);
        let (which, fix) =
            if n == 0 { (String::new(), "it") } else { (format!("{} above it: ", part.display()), "that") };
        (!safe).then(|| {
            format!(
                "{which}others may write {fix} (owner {}, mode {mode:o}): chmod o-w {}",
                metadata.uid(),
                part.display()
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_write_or_replace_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, file) = (dir.path().join("d"), dir.path().join("d/f"));
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(&file, "").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let chmod = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
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
}
