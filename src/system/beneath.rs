//! Opens files that others than we have written.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Opens a plain file below a directory for reading; `None` if there is none. It follows no
/// symbolic link, not even within, and waits for nothing (openat2(2)).
pub fn open_beneath(dir: &Path, path: &str) -> Result<Option<File>> {
    let what = || format!("cannot open {}", dir.join(path).display());
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let top = File::open(dir).with_context(what)?;
    match openat2(&top, path, OpenHow::new().flags(flags).resolve(resolve)) {
        Ok(file) => {
            let file = File::from(file);
            ensure!(file.metadata().with_context(what)?.is_file(), "{path} is no plain file");
            Ok(Some(file))
        }
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error).with_context(what),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use crate::beneath::*;

    #[test]
    fn only_plain_files_below_are_opened() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("dir");
        fs::create_dir_all(dir.join("a")).unwrap();
        fs::write(dir.join("a/file"), "text").unwrap();
        fs::write(top.path().join("secret"), "").unwrap();
        symlink("file", dir.join("a/link")).unwrap();
        symlink("a", dir.join("b")).unwrap();
        nix::unistd::mkfifo(&dir.join("a/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open_beneath(&dir, "a/file").unwrap().is_some());
        assert!(open_beneath(&dir, "a/none").unwrap().is_none());
        for path in ["a/link", "b/file", "a/fifo", "a", "../secret"] {
            assert!(open_beneath(&dir, path).is_err(), "{path}");
        }
    }
}
