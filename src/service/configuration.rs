//! Checks a configuration: every problem of it at once, and what looks wrong in the ACLs that it
//! names.

use std::path::{Path, PathBuf};

use anyhow::Result;

use invirtibuilder_access::acl;
use invirtibuilder_api::configuration::ConfigReport;
use invirtibuilder_archive::Archive;
use invirtibuilder_core::config::{self, Config, ConfigProblem};
use invirtibuilder_core::error::Error;
use invirtibuilder_store::domains;

/// Checks the configuration in a file. It gives nothing away, so it asks nobody who they are; but
/// it reads the file, and where the record has the pockets, with the rights of the user who runs
/// it.
pub fn check_configuration(file: PathBuf) -> ConfigReport {
    match config::load(&file) {
        Ok(config) => ConfigReport {
            acl: acl::lint(&config),
            problems: [unfit_keys(&config, &file), misplaced(&config, &file)].concat(),
            warnings: caveats(&config),
            file,
        },
        Err(problems) => ConfigReport { acl: Vec::new(), file, problems, warnings: Vec::new() },
    }
}

/// Reads the configuration in a file, which is to have no problem.
pub(crate) fn read(path: &Path) -> Result<Config> {
    Ok(config::load(path).map_err(|problems| Error::config(problems[0].to_string()))?)
}

/// Keys that could not sign, or that clients could not use. Those that are not there yet are made
/// by 'init', and those that this user may not read are not looked at.
fn unfit_keys(config: &Config, path: &Path) -> Vec<ConfigProblem> {
    let mut keys = config.domains().flat_map(|(_, archive)| &archive.signing_key);
    if keys.any(|key| std::fs::read(key.certificate()).is_err()) {
        return Vec::new();
    }
    let wrong = Archive::check_keys(config).err();
    wrong
        .map(|(domain, error)| {
            let key = domain.setting("signing_key");
            config::problem(path, &key, format!("{key}: {error:#}"))
        })
        .into_iter()
        .collect()
}

/// Pockets that the record has in another domain.
fn misplaced(config: &Config, path: &Path) -> Vec<ConfigProblem> {
    let all = domains::differences_in(&config.database(), config).into_iter();
    all.map(|(pocket, error)| {
        config::problem(path, &format!("build.pockets.{pocket}.domain"), error.to_string())
    })
    .collect()
}

/// Lists what is no problem, and should be known.
fn caveats(config: &Config) -> Vec<String> {
    let pockets = config.build.pockets.iter();
    let pockets = pockets.flat_map(|(name, pocket)| {
        pocket.caveats().into_iter().map(move |it| format!("pocket {name}: {it}"))
    });
    pockets.chain(config.domain_caveats()).chain(Archive::key_caveats(config)).collect()
}
