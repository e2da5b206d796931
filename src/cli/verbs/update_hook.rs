//! `update-hook`: what Git runs for a push to one of our repositories, and for each ref of it
//! (githooks(5), "pre-receive" and "update").

use std::path::{Path, PathBuf};

use anyhow::Result;
use git2::Oid;

use invirtibuilder_core::config;
use invirtibuilder_core::error::{Error, Exit};
use invirtibuilder_git as git;

/// Arguments of `update-hook`, as the kernel and Git give them.
#[derive(Debug, clap::Args)]
pub struct UpdateHookArgs {
    /// The hook that Git runs
    hook: PathBuf,
    /// The ref that is pushed to, what it points at, and what it is to point at; zeros: nothing.
    /// None of these: a push begins
    #[arg(num_args = 0..=3)]
    update: Vec<String>,
}

/// Runs the verb: 77 refuses the ref, and so does anything else that goes wrong.
pub fn answer(args: &UpdateHookArgs) -> Result<Exit> {
    // remctld gives everybody our verbs: only Git has business here.
    if std::env::var_os("GIT_DIR").is_none() || std::env::var_os("REMCTL_COMMAND").is_some() {
        return Err(Error::denied(
            "update-hook is run by Git when somebody pushes, and by nobody else",
        )
        .into());
    }
    let refused = |why: String| {
        Error::denied(format!("{why}; nobody can push until an administrator mends it"))
    };
    let hook = args.hook.canonicalize()?;
    let repo = hook.parent().and_then(Path::parent).map(Path::to_owned);
    let path = git::config_of(&std::fs::read(&hook)?);
    let (Some(repo), Some(path)) = (repo, path) else {
        return Err(refused(format!("{} is not a hook of ours", hook.display())).into());
    };
    // The hook names the configuration: the environment is that of whoever pushes.
    let config = config::load(&path).map_err(|problems| refused(problems[0].to_string()))?;
    if hook.file_name().is_some_and(|name| name == git::PRE_RECEIVE) {
        let brought = std::env::var_os("GIT_QUARANTINE_PATH").map(PathBuf::from);
        return match git::no_room(&config, &repo, brought.as_deref()) {
            Some(why) => Err(Error::denied(why).into()),
            None => Ok(Exit::Ok),
        };
    }
    let [name, old, new] = &args.update[..] else {
        return Err(refused("Git names no ref".to_owned()).into());
    };
    // Zeros stand for nothing.
    let value = |id: &str| Oid::from_str(id).map(|oid| (oid != Oid::ZERO_SHA1).then_some(oid));
    let push = git::Push { name, old: value(old)?, new: value(new)? };
    match git::refusal(&config, &repo, push) {
        Ok(Some(why)) => Err(Error::denied(why).into()),
        Ok(None) => Ok(Exit::Ok),
        Err(error) => Err(refused(format!("{error:#}")).into()),
    }
}
