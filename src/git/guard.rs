//! The hooks of our repositories (githooks(5)): `update` refuses pushes to what belongs to the
//! service, `pre-receive` those for which there is no room, before Git keeps anything of them.
//!
//! A hook is a file of a few lines whose interpreter is `invirt-build update-hook`. A file and not
//! a link to the program: Git takes a link that leads nowhere for no hook at all, but a file whose
//! interpreter is gone for one that refuses. Our own moves go through libgit2, which runs no hooks.
//!
//! The hook runs as the user that pushes, who need not be able to read the record: it decides by
//! the configuration and by Git alone (`rules.rs`). It keeps honest people from mistakes over any
//! transport. A user that may write the repository's files can get around it, which is what
//! compare-and-set is for. A `pre-receive` hook of somebody else stays, and is then what bounds the
//! repository.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::{AccessFlags, access};

use crate::repository::open;
use invirtibuilder_core::config::{ByteSize, Config};

/// The name of the hook that looks for room.
pub const PRE_RECEIVE: &str = "pre-receive";

/// The verb that is the hooks' interpreter.
pub const VERB: &str = "update-hook";

/// The longest first line of a script that Linux takes whole, in bytes.
const MAX_FIRST_LINE: usize = 255;

/// The beginning of the line that names the configuration. A shell that gets to read the file fails
/// here.
const CONFIG: &str = "config: ";

/// The setting of Git that hides the service's refs from all clients.
const HIDDEN: (&str, &str) = ("transfer.hideRefs", "refs/invirt");

/// A hook to install, and the settings that go with it.
#[derive(Debug)]
pub struct Guard {
    text: String,
    max_push: i64,
}

/// The outcome of [`Guard::install`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// It had nothing to do.
    Nothing,
    /// It wrote settings of Git that were missing or different.
    Settings,
    /// It wrote the hook.
    Hook,
}

impl Guard {
    /// Makes the hook that runs this very program with this configuration, which is in the file
    /// `path`.
    pub fn new(config: &Config, path: &Path) -> Result<Self> {
        Self::of(
            &invirtibuilder_system::subprocess::program()?,
            &std::path::absolute(path)?,
            config.git.max_push,
        )
    }

    fn of(program: &Path, config: &Path, max_push: ByteSize) -> Result<Self> {
        let first = format!("#!{} {VERB}", program.display());
        if first.len() > MAX_FIRST_LINE || program.to_string_lossy().contains([' ', '\n']) {
            bail!(
                "{} cannot be the interpreter of a hook: install it in a shorter path without spaces",
                program.display()
            );
        }
        let config = config
            .to_str()
            .filter(|path| !path.contains('\n'))
            .context("the configuration's path is odd")?;
        let about = "Made by 'invirt-build', which refuses pushes to what belongs to the build service; 'init' mends it.";
        let max_push = i64::try_from(max_push.0).unwrap_or(i64::MAX);
        Ok(Self { text: format!("{first}\n# {about}\n{CONFIG}{config}\n"), max_push })
    }

    /// Tells whether the repository has this hook and these settings, and Git runs the hook.
    pub fn is_installed(&self, repo: &Path) -> Result<bool> {
        Ok(self.has_hook(repo)? && self.has_settings(repo)?)
    }

    /// Tells whether Git reads this repository as it is, shows nobody the service's refs, and takes
    /// no pack that is longer than the configuration allows.
    fn has_settings(&self, repo: &Path) -> Result<bool> {
        let config = open(repo)?.config()?;
        let replaced = config.get_bool("core.useReplaceRefs").unwrap_or(true);
        let longest = config.get_i64("receive.maxInputSize").unwrap_or(0);
        let (key, ours) = HIDDEN;
        let mut hidden = false;
        config
            .multivar(key, None)?
            .for_each(|entry| hidden |= entry.value().is_ok_and(|value| value == ours))?;
        Ok(!replaced && longest == self.max_push && hidden && self.has_room_hook(repo)?)
    }

    /// Writes these settings into the repository where they are missing. Returns whether any were.
    pub fn settle(&self, repo: &Path) -> Result<bool> {
        if self.has_settings(repo)? {
            return Ok(false);
        }
        let mut config = open(repo)?.config()?;
        let mut set = || -> Result<(), git2::Error> {
            config.set_bool("core.useReplaceRefs", false)?;
            config.set_i64("receive.maxInputSize", self.max_push)?;
            let (key, ours) = HIDDEN;
            config.set_multivar(key, &format!("^{ours}$"), ours)
        };
        set().with_context(|| format!("cannot write the settings of {}", repo.display()))?;
        if !self.has_room_hook(repo)? {
            self.write(&repo.join("hooks").join(PRE_RECEIVE))?;
        }
        Ok(true)
    }

    /// Tells whether the repository has a hook that looks for room, ours or somebody else's.
    fn has_room_hook(&self, repo: &Path) -> Result<bool> {
        let hook = repo.join("hooks").join(PRE_RECEIVE);
        Ok(match read(&hook)? {
            None => false,
            Some(text) if config_of(&text).is_none() => true,
            Some(text) => text == self.text.as_bytes() && access(&hook, AccessFlags::X_OK).is_ok(),
        })
    }

    fn has_hook(&self, repo: &Path) -> Result<bool> {
        let hook = repo.join("hooks/update");
        // Set to anything in the system's configuration, hooks would be looked for elsewhere.
        let settled =
            open(repo)?.config()?.get_string("core.hooksPath").is_ok_and(|path| path == "hooks");
        let there = read(&hook)?.as_deref() == Some(self.text.as_bytes());
        // Git passes over a hook that it may not execute.
        Ok(settled && there && access(&hook, AccessFlags::X_OK).is_ok())
    }

    /// Installs this hook and these settings, and checks that Git may run the hook. Returns what it
    /// had to change. A hook of somebody else is kept as `update.old`.
    pub fn install(&self, repo: &Path) -> Result<Installed> {
        let settled = self.settle(repo)?;
        if self.has_hook(repo)? {
            return Ok(if settled { Installed::Settings } else { Installed::Nothing });
        }
        let hooks = repo.join("hooks");
        let hook = hooks.join("update");
        let failed = || {
            format!(
                "cannot install {}: the service's user has to own the repository",
                hook.display()
            )
        };
        if read(&hook)?.is_some_and(|text| config_of(&text).is_none()) {
            let names = std::iter::once("update.old".to_owned())
                .chain((2..).map(|n| format!("update.old.{n}")));
            let free = names.map(|name| hooks.join(name)).find(|path| !path.exists());
            fs::hard_link(&hook, free.unwrap_or_default()).with_context(failed)?;
        }
        self.write(&hook)?;
        open(repo)?.config()?.set_str("core.hooksPath", "hooks").with_context(failed)?;
        access(&hook, AccessFlags::X_OK).with_context(|| {
            format!("cannot execute {}: mount its file system without noexec", hook.display())
        })?;
        Ok(Installed::Hook)
    }

    /// Writes our hook to the file `hook`, in place of one that is there.
    fn write(&self, hook: &Path) -> Result<()> {
        let failed = || {
            format!(
                "cannot install {}: the service's user has to own the repository",
                hook.display()
            )
        };
        let hooks = hook.parent().context("a hook has a directory")?;
        fs::create_dir_all(hooks).with_context(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(hooks).with_context(failed)?;
        file.write_all(self.text.as_bytes())?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
        file.as_file().sync_all()?;
        file.persist(hook).with_context(failed)?;
        Ok(fs::File::open(hooks)?.sync_all()?)
    }
}

fn read(hook: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(hook) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", hook.display())),
    }
}

/// Reads the path of the configuration that an installed hook names; `None`: the hook is somebody
/// else's.
pub fn config_of(hook: &[u8]) -> Option<PathBuf> {
    let text = std::str::from_utf8(hook).ok()?;
    let ours = text.lines().next()?.ends_with(&format!(" {VERB}"));
    let path = text.lines().find_map(|line| line.strip_prefix(CONFIG))?;
    ours.then(|| path.into())
}

#[cfg(test)]
mod tests {
    use crate::create_package_repo;
    use crate::guard::*;

    const MAX: ByteSize = ByteSize(2 << 30);

    #[test]
    fn settings_are_made_once_and_an_administrators_stay() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("hello.git");
        create_package_repo(&repo).unwrap();
        let guard = |max| {
            Guard::of(Path::new("/usr/bin/invirt-build"), Path::new("/etc/x.yaml"), ByteSize(max))
                .unwrap()
        };
        guard(1 << 20).install(&repo).unwrap();
        let git = |args: &[&str]| {
            let done = std::process::Command::new("git")
                .arg("-C")
                .arg(&repo)
                .arg("config")
                .args(args)
                .output()
                .unwrap();
            String::from_utf8(done.stdout).unwrap()
        };
        assert_eq!(git(&["--get-all", "transfer.hideRefs"]), "refs/invirt\n");
        assert_eq!(
            git(&["receive.maxInputSize"]) + &git(&["core.useReplaceRefs"]),
            "1048576\nfalse\n"
        );
        git(&["--replace-all", "transfer.hideRefs", "refs/pull"]);
        assert_eq!(guard(1 << 20).install(&repo).unwrap(), Installed::Settings);
        assert_eq!(git(&["--get-all", "transfer.hideRefs"]), "refs/pull\nrefs/invirt\n");
        assert_eq!(guard(2 << 20).install(&repo).unwrap(), Installed::Settings);
        assert_eq!(guard(2 << 20).install(&repo).unwrap(), Installed::Nothing);
        assert!(!guard(u64::MAX).is_installed(&repo).unwrap());
        // The hook that looks for room is mended, and one of somebody else stays.
        let room = repo.join("hooks/pre-receive");
        assert_eq!(config_of(&fs::read(&room).unwrap()), Some("/etc/x.yaml".into()));
        fs::set_permissions(&room, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(guard(2 << 20).install(&repo).unwrap(), Installed::Settings);
        fs::write(&room, "#!/bin/sh\nexit 0\n").unwrap();
        assert_eq!(guard(2 << 20).install(&repo).unwrap(), Installed::Nothing);
        assert_eq!(fs::read(&room).unwrap(), b"#!/bin/sh\nexit 0\n");
        assert_eq!(git(&["receive.maxInputSize"]), "2097152\n");
    }

    #[test]
    fn it_is_installed_once_and_repaired() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("hello.git");
        create_package_repo(&repo).unwrap();
        let guard =
            Guard::of(Path::new("/usr/bin/invirt-build"), Path::new("/etc/x.yaml"), MAX).unwrap();
        assert_eq!(guard.install(&repo).unwrap(), Installed::Hook);
        assert_eq!(guard.install(&repo).unwrap(), Installed::Nothing);
        let hook = repo.join("hooks/update");
        let text = fs::read(&hook).unwrap();
        assert!(text.starts_with(b"#!/usr/bin/invirt-build update-hook\n"));
        assert_eq!(config_of(&text), Some("/etc/x.yaml".into()));

        // Damaged, of another program's path, not executable: mended. Somebody else's: kept beside
        // it.
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(guard.install(&repo).unwrap(), Installed::Hook);
        fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
        assert_eq!(guard.install(&repo).unwrap(), Installed::Hook);
        assert_eq!(fs::read(&hook).unwrap(), text);
        assert_eq!(fs::read(repo.join("hooks/update.old")).unwrap(), b"#!/bin/sh\nexit 0\n");
        assert!(
            Guard::of(Path::new("/with space/invirt-build"), Path::new("/etc/x.yaml"), MAX)
                .is_err()
        );
        assert!(
            Guard::of(Path::new(&format!("/{}", "x".repeat(300))), Path::new("/etc/x.yaml"), MAX)
                .is_err()
        );
    }
}
