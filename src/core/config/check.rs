//! Checks what no type can say: references that dangle, places that clash.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::chroots::MACHINES;
use crate::config::places::KeyPath;
use crate::config::{Config, ConfiguredPocket, Definition, Isolation, domains, executor};
use crate::names::{Architecture, Distro, PackageName};

/// Lists every problem, with the key at fault.
pub fn problems(config: &Config) -> Vec<(KeyPath, String)> {
    let mut found = Vec::new();
    paths(config, &mut found);
    domains::problems(config, &mut found);
    executor::problems(config, &mut found);
    if !config.git.submodule_url.contains("{package}")
        || config.git.submodule_url.chars().any(char::is_control)
    {
        let text = "git.submodule_url: write {package} where the package's name belongs";
        found.push((key("git.submodule_url"), text.to_owned()));
    }
    if let Some(http) = &config.http {
        http.problems(&mut found);
    }
    if config.git.max_push.0 == 0 {
        // Git would take it for no bound at all.
        let text = "git.max_push: nothing could be pushed: write a size such as 2G";
        found.push((key("git.max_push"), text.to_owned()));
    }
    if config.clients.followers == 0 {
        let text = "clients.followers: nobody could follow a job: write a number such as 50";
        found.push((key("clients.followers"), text.to_owned()));
    }
    if config.syslog.facility.parse::<syslog::Facility>().is_err() {
        let text = format!(
            "syslog.facility: {} is not a facility: use one of syslog(3) such as daemon or local0",
            crate::text::quoted(&config.syslog.facility)
        );
        found.push((key("syslog.facility"), text));
    }
    if config.daemon.jobs == 0 {
        found.push((
            key("daemon.jobs"),
            "daemon.jobs: at least one job has to run at a time".to_owned(),
        ));
    }
    for (name, text) in [("name", &config.build.tagger.name), ("email", &config.build.tagger.email)]
    {
        // Git would cut these out of a signature, or refuse it.
        if text.trim().is_empty() || text.contains(['<', '>', '\n', '\0']) {
            let text = format!("build.tagger.{name}: this is not a {name} that Git can take");
            found.push((key(&format!("build.tagger.{name}")), text));
        }
    }
    if config.build.open_jobs == Some(0) {
        let text = "open_jobs: nobody could submit anything: write how many jobs one principal may have at a time";
        found.push((key("build.open_jobs"), text.to_owned()));
    }
    for pocket in config.pockets() {
        one_pocket(config, pocket, &mut found);
        places(config, pocket, &mut found);
    }
    if config.chroots.keep == 0 {
        let text = "chroots.keep: builds that run use the one that is replaced: keep at least 1";
        found.push((key("chroots.keep"), text.to_owned()));
    }
    for (distro, definition) in &config.chroots.distros {
        chroot(distro, definition, &mut found);
    }
    found
}

/// Checks the definition of a chroot for what mmdebstrap(1) and apt would take for something else.
fn chroot(distro: &Distro, definition: &Definition, found: &mut Vec<(KeyPath, String)>) {
    let mut wrong = |field: String, text: String| {
        let mut path = key("chroots.distros");
        path.push(distro.to_string());
        path.extend(field.split('.').map(str::to_owned));
        found.push((path, text));
    };
    for (n, package) in definition.packages.iter().enumerate() {
        let (name, architecture) = package.split_once(':').unwrap_or((package, "all"));
        if name.parse::<PackageName>().is_err() || architecture.parse::<Architecture>().is_err() {
            let text = format!(
                "{} is not a package: write name or name:architecture",
                crate::text::quoted(package)
            );
            wrong(format!("packages.{n}"), text);
        }
    }
    // mmdebstrap takes what is no program for a shell command.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    if let Some(hook) = &definition.hook {
        if !hook.is_absolute() || !hook.to_string_lossy().chars().all(plain) {
            wrong(
                "hook".to_owned(),
                "hook: write the program's path from / on, without spaces or signs".to_owned(),
            );
        } else if !is_program(hook) {
            wrong(
                "hook".to_owned(),
                format!("hook: {} is not a program that can be run", hook.display()),
            );
        } else if others_may_write(hook) {
            let path = hook.display();
            wrong(
                "hook".to_owned(),
                format!("hook: others may write {path}, which runs here: 'chmod go-w {path}'"),
            );
        }
    }
    for (n, source) in definition.sources.iter().enumerate() {
        let rest =
            source.uri.strip_prefix("http://").or_else(|| source.uri.strip_prefix("https://"));
        if !rest.is_some_and(|rest| {
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic() && c != '[')
        }) {
            let text =
                format!("{} is not a URL of http or https", crate::text::quoted(&source.uri));
            wrong(format!("sources.{n}"), text);
        }
        if source.components.is_empty() {
            wrong(
                format!("sources.{n}"),
                "a source has at least one component, such as main".to_owned(),
            );
        }
        if !source.key.is_absolute() || !source.key.to_string_lossy().chars().all(plain) {
            let text = "key: write the file's path from / on, without spaces or signs";
            wrong(format!("sources.{n}"), text.to_owned());
        }
    }
    if definition.foreign_architectures.iter().any(|architecture| architecture.as_str() == "all") {
        wrong("foreign_architectures".to_owned(), "all is no architecture of its own".to_owned());
    }
}

fn others_may_write(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 0o022 != 0)
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

fn key(path: &str) -> KeyPath {
    path.split('.').map(str::to_owned).collect()
}

fn paths(config: &Config, found: &mut Vec<(KeyPath, String)>) {
    let all: [(&str, Option<&Path>); 11] = [
        ("state_dir", Some(&config.state_dir)),
        ("git.packages", Some(&config.git.packages)),
        ("git.superproject", Some(&config.git.superproject)),
        ("acl.locator_command", config.acl.locator_command.as_deref()),
        ("chroots.dir", config.chroots.dir.as_deref()),
        ("chroots.scratch", config.chroots.scratch.as_deref()),
        ("hooks.dir", Some(&config.hooks.dir)),
        ("http.keytab", config.http.as_ref().and_then(|http| http.keytab.as_deref())),
        ("run_dir", Some(&config.run_dir)),
        ("ssh.keys", config.ssh.keys.as_deref()),
        ("syslog.socket", Some(&config.syslog.socket)),
    ];
    for (name, path) in all {
        if path.is_some_and(|path| !path.is_absolute()) {
            found.push((key(name), format!("{name}: the path is relative: write it from / on")));
        }
    }
}

/// Checks how a pocket shares the places with the others.
fn places(config: &Config, which: ConfiguredPocket, found: &mut Vec<(KeyPath, String)>) {
    let (name, pocket) = (which.name(), which.settings());
    let mut wrong = |field: &str, text: String| {
        let mut path = key("build.pockets");
        path.push(name.to_string());
        path.extend((!field.is_empty()).then(|| field.to_owned()));
        found.push((path, text));
    };
    if !(1..=domains::MOST_SHARE).contains(&pocket.share) {
        wrong("share", format!("share: write a number from 1 to {}", domains::MOST_SHARE));
    }
    if pocket.jobs == Some(0) {
        wrong(
            "jobs",
            "jobs: the pocket could never build: write how many of its jobs may run at once"
                .to_owned(),
        );
    }
    if let Some(jobs) = pocket.jobs.filter(|jobs| *jobs > 0 && pocket.reserve > *jobs) {
        wrong(
            "reserve",
            format!("reserve: no more than {jobs} could be used, which is what jobs allows"),
        );
    }
    let on_slurm = config.is_on_slurm(pocket);
    let beside = config.build.pockets.values().filter(|it| config.is_on_slurm(it) == on_slurm);
    let reserved: u64 = beside.map(|pocket| u64::from(pocket.reserve)).sum();
    let (places, jobs) = match &config.slurm {
        Some(slurm) if on_slurm => (u64::from(slurm.jobs), "slurm.jobs"),
        // That 'slurm' is lacking is said elsewhere.
        None if on_slurm => return,
        _ => (config.daemon.jobs as u64, "daemon.jobs"),
    };
    if reserved > places && pocket.reserve > 0 {
        wrong(
            "reserve",
            format!("reserve: {reserved} places are reserved, and {jobs} is {places}"),
        );
    }
    if reserved == places && pocket.reserve == 0 {
        wrong("", format!("all places are reserved for other pockets: {name} could never build"));
    }
}

fn one_pocket(config: &Config, which: ConfiguredPocket, found: &mut Vec<(KeyPath, String)>) {
    let (name, pocket) = (which.name(), which.settings());
    let at = |field: &str| {
        let mut path = key("build.pockets");
        path.push(name.to_string());
        path.extend(field.split('.').filter(|part| !part.is_empty()).map(str::to_owned));
        path
    };
    for (n, from) in pocket.build_depends_from.iter().flatten().enumerate() {
        if !config.build.pockets.contains_key(from) {
            found.push((
                at(&format!("build_depends_from.{n}")),
                format!("there is no pocket {from}"),
            ));
        }
    }
    for (n, from) in pocket.copies_from.iter().enumerate() {
        if !config.build.pockets.contains_key(from) {
            found.push((at(&format!("copies_from.{n}")), format!("there is no pocket {from}")));
        }
    }
    if pocket.description.as_ref().is_some_and(|text| text.chars().any(char::is_control)) {
        let text = "description: write one line: it becomes a field of Release";
        found.push((at("description"), text.to_owned()));
    }
    if pocket.keep == 0 {
        let text = "keep: the suite would show nothing: write how many versions of a package stay, at least 1";
        found.push((at("keep"), text.to_owned()));
    }
    if pocket.orig.is_empty() {
        let text =
            "orig: no upstream tarball could come from anywhere: write pool, pristine-tar or tag";
        found.push((at("orig"), text.to_owned()));
    }
    let placed = domains::pocket_problems(config, which).into_iter();
    let placed = placed.chain(executor::pocket_problems(config, which));
    found.extend(placed.map(|(field, text)| (at(&field), text)));
    let branch = which.branch();
    if !crate::names::is_branch_name(&branch) {
        found.push((at("git"), format!("{} is not a branch name", crate::text::quoted(&branch))));
    }
    if pocket.components.is_empty() {
        found.push((
            at("components"),
            "a suite has at least one component, such as main".to_owned(),
        ));
    }
    if pocket.architectures.iter().any(|a| a.as_str() == "all") {
        let text = "all is always built: name the architectures of the other binaries".to_owned();
        found.push((at("architectures"), text));
    }
    if pocket.isolation == Isolation::Vm {
        for (n, architecture) in pocket.architectures.iter().enumerate() {
            if !MACHINES.contains(&architecture.as_str()) {
                let known = MACHINES.join(", ");
                let text = format!(
                    "there are no virtual machines for {architecture}: they are for {known}"
                );
                found.push((at(&format!("architectures.{n}")), text));
            }
        }
    }
    found.extend(pocket.contradiction().map(|why| (at("isolation"), why.to_owned())));
    // The pocket that comes first keeps its place.
    for other in config.pockets().take_while(|other| other.name() != name) {
        if other.suite() == which.suite() {
            let text = format!("suite {} is that of pocket {other} already", which.suite());
            found.push((at(if pocket.apt.is_some() { "apt" } else { "" }), text));
        }
        if other.branch() == branch {
            let text = format!("branch {branch} is that of pocket {other} already");
            found.push((at(if pocket.git.is_some() { "git" } else { "" }), text));
        }
    }
}
