//! The `update` hook of our repositories (githooks(5)): pushes to what belongs to the service are refused.
//!
//! The hook is a file of a few lines whose interpreter is `invirt-build update-hook`. A file and not a link to the
//! program: Git takes a link that leads nowhere for no hook at all, but a file whose interpreter is gone for one that
//! refuses. Our own moves go through libgit2, which runs no hooks.
//!
//! The hook runs as whoever pushes, who need not be able to read the record: it decides by the configuration and by Git
//! alone. It keeps honest people from mistakes over any transport; whoever may write the repository's files can get
//! around it, which is what compare-and-set is for.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::{AccessFlags, access};

use super::repository::open;
use crate::config::Config;
use crate::names::Version;

/// The verb that is the hook's interpreter.
pub const VERB: &str = "update-hook";

/// The longest first line that Linux takes whole.
const MAX_FIRST_LINE: usize = 255;

/// What the line that names the configuration starts with. A shell that gets to read the file fails here.
const CONFIG: &str = "config: ";

/// A hook to install.
#[derive(Debug)]
pub struct Guard {
    text: String,
}

impl Guard {
    /// The hook that runs this very program with this configuration.
    pub fn new(config: &Path) -> Result<Self> {
        Self::of(&crate::subprocess::program()?, &std::path::absolute(config)?)
    }

    fn of(program: &Path, config: &Path) -> Result<Self> {
        let first = format!("#!{} {VERB}", program.display());
        if first.len() > MAX_FIRST_LINE || program.to_string_lossy().contains([' ', '\n']) {
            bail!(
                "{} cannot be the interpreter of a hook: install it in a shorter path without spaces",
                program.display()
            );
        }
        let config = config.to_str().filter(|path| !path.contains('\n')).context("the configuration's path is odd")?;
        let about =
            "Made by 'invirt-build', which refuses pushes to what belongs to the build service; 'init' mends it.";
        Ok(Self { text: format!("{first}\n# {about}\n{CONFIG}{config}\n") })
    }

    /// Whether the repository has this hook, and Git runs it.
    pub fn is_installed(&self, repo: &Path) -> Result<bool> {
        let hook = repo.join("hooks/update");
        // Set to anything in the system's configuration, hooks would be looked for elsewhere.
        let settled = open(repo)?.config()?.get_string("core.hooksPath").is_ok_and(|path| path == "hooks");
        let there = read(&hook)?.as_deref() == Some(self.text.as_bytes());
        // Git passes over a hook that it may not execute.
        Ok(settled && there && access(&hook, AccessFlags::X_OK).is_ok())
    }

    /// Sees to it that the repository has this hook, and that Git runs it; whether there was anything to do. A hook of
    /// somebody else is kept as `update.old`.
    pub fn install(&self, repo: &Path) -> Result<bool> {
        let hooks = repo.join("hooks");
        let hook = hooks.join("update");
        if self.is_installed(repo)? {
            return Ok(false);
        }
        let failed = || format!("cannot install {}: the service's user has to own the repository", hook.display());
        if read(&hook)?.is_some_and(|text| config_of(&text).is_none()) {
            let names = std::iter::once("update.old".to_owned()).chain((2..).map(|n| format!("update.old.{n}")));
            let free = names.map(|name| hooks.join(name)).find(|path| !path.exists());
            fs::hard_link(&hook, free.unwrap_or_default()).with_context(failed)?;
        }
        fs::create_dir_all(&hooks).with_context(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(&hooks).with_context(failed)?;
        file.write_all(self.text.as_bytes())?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
        file.as_file().sync_all()?;
        file.persist(&hook).with_context(failed)?;
        fs::File::open(&hooks)?.sync_all()?;
        open(repo)?.config()?.set_str("core.hooksPath", "hooks").with_context(failed)?;
        access(&hook, AccessFlags::X_OK)
            .with_context(|| format!("cannot execute {}: mount its file system without noexec", hook.display()))?;
        Ok(true)
    }
}

fn read(hook: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(hook) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", hook.display())),
    }
}

/// The configuration that an installed hook names; `None`: it is not one of ours.
pub fn config_of(hook: &[u8]) -> Option<PathBuf> {
    let text = std::str::from_utf8(hook).ok()?;
    let ours = text.lines().next()?.ends_with(&format!(" {VERB}"));
    let path = text.lines().find_map(|line| line.strip_prefix(CONFIG))?;
    ours.then(|| path.into())
}

/// Why whoever pushes to `repo` may not bring the ref `name` from `exists` to something else; `None`: they may.
pub fn refusal(config: &Config, repo: &Path, name: &str, exists: bool) -> Option<String> {
    if is_superproject(config, repo) {
        return Some(format!("{name}: the superproject is the service's own: submit a package, and it follows"));
    }
    if let Some(branch) = name.strip_prefix("refs/heads/") {
        // A branch below or above would be in its way.
        let clash = |of: &String| of == branch || below(branch, of) || below(of, branch);
        let pocket = config.build.pockets.keys().find(|pocket| clash(&config.branch(pocket)))?;
        return Some(format!(
            "{name} belongs to pocket {pocket}: push another branch, then submit its commit to {pocket}"
        ));
    }
    let tag = name.strip_prefix("refs/tags/")?;
    let first = tag.split('/').next().unwrap_or_default();
    if first != tag && Version::of_tag(first).is_some() {
        return Some(format!("{name} would be in the way of the version tag {first}: choose another name"));
    }
    (exists && Version::of_tag(tag).is_some()).then(|| {
        format!("{name} is there, and a version stands for one commit for ever: submit the change under a new version")
    })
}

fn below(name: &str, dir: &str) -> bool {
    name.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

fn is_superproject(config: &Config, repo: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(repo) == real(&config.git.superproject)
}

#[cfg(test)]
mod tests {
    use super::super::create_package_repo;
    use super::*;

    #[test]
    fn what_belongs_to_the_service_is_refused_and_the_rest_is_not() {
        let mut config = Config::default();
        for (pocket, branch) in [("prod", None), ("dev", Some("team/dev"))] {
            let rules = crate::config::Pocket { git: branch.map(str::to_owned), ..Default::default() };
            config.build.pockets.insert(pocket.parse().unwrap(), rules);
        }
        let repo = Path::new("/srv/git/packages/hello.git");
        let says = |name: &str, exists: bool| refusal(&config, repo, name, exists).unwrap_or_default();
        for (name, word) in [
            ("refs/heads/prod", "pocket prod"),
            ("refs/heads/prod/x", "pocket prod"),
            ("refs/heads/team", "pocket dev"),
            ("refs/heads/team/dev", "pocket dev"),
            ("refs/tags/1%2.0_rc1-1/x", "in the way"),
        ] {
            for exists in [false, true] {
                assert!(says(name, exists).contains(word) && says(name, exists).contains(name), "{name}");
            }
        }
        assert!(says("refs/tags/1%2.0_rc1-1", true).contains("one commit"));
        for name in ["refs/tags/1.0", "refs/tags/v1", "refs/heads/main", "refs/heads/production", "refs/notes/prod"] {
            assert_eq!(says(name, false), "", "{name}");
        }
        for name in ["refs/tags/v1", "refs/tags/debian/1.0-1", "refs/heads/dev", "refs/heads/team/x"] {
            assert_eq!(says(name, true), "", "{name}");
        }
        let superproject = Path::new("/srv/git/packages.git");
        assert!(refusal(&config, superproject, "refs/heads/x", false).unwrap().contains("superproject"));
    }

    #[test]
    fn it_is_installed_once_and_repaired() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("hello.git");
        create_package_repo(&repo).unwrap();
        let guard = Guard::of(Path::new("/usr/bin/invirt-build"), Path::new("/etc/x.yaml")).unwrap();
        assert!(guard.install(&repo).unwrap());
        assert!(!guard.install(&repo).unwrap());
        let hook = repo.join("hooks/update");
        let text = fs::read(&hook).unwrap();
        assert!(text.starts_with(b"#!/usr/bin/invirt-build update-hook\n"));
        assert_eq!(config_of(&text), Some("/etc/x.yaml".into()));

        // Damaged, of another program's path, not executable: mended. Somebody else's: kept beside it.
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(guard.install(&repo).unwrap());
        fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
        assert!(guard.install(&repo).unwrap());
        assert_eq!(fs::read(&hook).unwrap(), text);
        assert_eq!(fs::read(repo.join("hooks/update.old")).unwrap(), b"#!/bin/sh\nexit 0\n");
        assert!(Guard::of(Path::new("/with space/invirt-build"), Path::new("/etc/x.yaml")).is_err());
        assert!(Guard::of(Path::new(&format!("/{}", "x".repeat(300))), Path::new("/etc/x.yaml")).is_err());
    }
}
