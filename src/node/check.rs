//! What a node needs before it can build: each thing is looked at, and what mends it is named.

use std::path::Path;

use anyhow::Result;
use nix::unistd::{AccessFlags, User, access, getuid};

use invirtibuilder_core::error::Error;
use invirtibuilder_sandbox::machine::kvm;
use invirtibuilder_system::cgroup;
use invirtibuilder_system::slot::Slot;
use invirtibuilder_system::subids;
use invirtibuilder_system::subprocess::{CancellationToken, Cmd, PATH, helper};

/// Programs of Debian's that builds are started by.
const PROGRAMS: [&str; 5] = ["sbuild", "unshare", "setpriv", "prlimit", "newuidmap"];

/// Programs that virtual machines need beside those.
const MACHINE_PROGRAMS: [&str; 2] = ["qemu-img", "qemu-system-x86_64"];

/// The user of the service.
const USER: &str = "_invirtibuilder";

/// Gives the service's user subordinate ids, if it has none.
pub async fn set_up() -> Result<()> {
    let Some(user) = User::from_name(USER)? else {
        return Err(Error::config(format!(
            "there is no user {USER}: add it with the uid of the server"
        ))
        .into());
    };
    if subids::builds(&user.name, user.uid.as_raw())? == 0 {
        let range = subids::grant(&user.name).await?;
        println!("{USER} has the subordinate ids {range}");
    }
    Ok(())
}

/// Looks at everything, prints a line for each, and fails if anything is lacking.
pub async fn check(state_dir: &Path) -> Result<()> {
    let mut lacking = 0;
    for (what, found) in look(state_dir).await {
        match found {
            Ok(text) => println!("ok      {what}: {text}"),
            Err(text) => {
                lacking += 1;
                println!("LACKING {what}: {text}");
            }
        }
    }
    if lacking == 0 {
        Ok(())
    } else {
        Err(Error::config(format!("{lacking} things are lacking on this node")).into())
    }
}

async fn look(state_dir: &Path) -> Vec<(&'static str, Result<String, String>)> {
    let uid = getuid();
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
    let user = match (&name, uid.is_root()) {
        (_, true) => {
            Err("run it as the service's user, as Slurm does: 'setpriv' or 'runuser'".to_owned())
        }
        (Some(name), _) => {
            Ok(format!("{name} has uid {uid}, which has to be the same on the server"))
        }
        (None, _) => {
            Err(format!("uid {uid} has no name: add the user of the server with the same uid"))
        }
    };
    let directory = match std::fs::metadata(state_dir) {
        Ok(_) if access(state_dir, AccessFlags::W_OK).is_ok() => {
            Ok(state_dir.display().to_string())
        }
        _ => Err(format!(
            "{0} cannot be written: 'install -d -m 700 -o {1} {0}'",
            state_dir.display(),
            name.as_deref().unwrap_or("USER")
        )),
    };
    let missing = missing(&PROGRAMS);
    let programs = if missing.is_empty() {
        Ok("all there".to_owned())
    } else {
        Err(format!("{} are not installed", missing.join(", ")))
    };
    let own = helper("build-sandbox").and(helper("testbed-run"));
    vec![
        ("user", user),
        ("directory", directory),
        ("programs", programs),
        ("our programs", own.map(|path| path.display().to_string()).map_err(said)),
        ("namespaces", namespaces(state_dir).await),
        ("limits", Ok(cgroup::mechanism().describe())),
        ("virtual machines", Ok(machines())),
    ]
}

/// Only pockets with `isolation: vm` need them.
fn machines() -> String {
    let missing = missing(&MACHINE_PROGRAMS);
    match kvm::trouble() {
        _ if !missing.is_empty() => {
            format!(
                "none, for want of {}: apt-get install qemu-system-x86 qemu-utils",
                missing.join(", ")
            )
        }
        Some(why) => format!("emulated, and slow: {}", why.trim_end()),
        None => format!("with KVM, if {} works", kvm::DEVICE),
    }
}

fn missing(programs: &[&'static str]) -> Vec<&'static str> {
    let is_there = |name: &str| PATH.split(':').any(|dir| Path::new(dir).join(name).is_file());
    programs.iter().copied().filter(|name| !is_there(name)).collect()
}

fn said(error: anyhow::Error) -> String {
    invirtibuilder_core::text::one_line(&format!("{error:#}"))
}

async fn namespaces(state_dir: &Path) -> Result<String, String> {
    let slot = Slot::take(&state_dir.join("slots")).map_err(|failure| failure.text)?;
    let cmd = Cmd::new("unshare").args(["--user", "--map-root-user"]).args(slot.mapping());
    let cmd = cmd.args(["--mount", "--pid", "--fork", "--", "true"]);
    match cmd.run(&CancellationToken::new()).await {
        Ok(ended) if ended.ok() => {
            Ok("user namespaces with subordinate ids can be made".to_owned())
        }
        Ok(ended) => Err(ended.describe()),
        Err(error) => Err(said(error)),
    }
}
