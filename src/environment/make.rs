//! Makes a chroot: mmdebstrap(1) does, with the host's own mirrors and what the configuration adds
//! to them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{cause, manifest, mirrors};
use invirtibuilder_core::config::{Chroots, Definition};
use invirtibuilder_core::error::Error;
use invirtibuilder_core::manifest::{AptSource, Manifest};
use invirtibuilder_core::names::{Architecture, Distro, Suite};
use invirtibuilder_core::time::now;
use invirtibuilder_system::subprocess::{CancellationToken, Cmd, Ended};

/// The longest that mmdebstrap may take to make a chroot: emulated architectures are slow.
pub(super) const LIMIT: Duration = Duration::from_secs(2 * 3600);

/// The line that begins every ASCII-armoured public key (RFC 9580, section 6.2.1).
const ARMOUR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// What a chroot is to be.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The distro.
    pub distro: &'a Distro,
    /// The architecture.
    pub architecture: &'a Architecture,
    /// A package that it has besides those of its definition.
    pub more: Option<&'a str>,
}

/// Makes the tarball `new`, with `more` besides the packages that its definition says. Returns the
/// manifest of what is in it.
pub async fn make(
    config: &Chroots,
    asked: &Asked<'_>,
    new: &Path,
    log: &Path,
    cancel: &CancellationToken,
) -> Result<Manifest> {
    let Asked { distro, architecture, more } = *asked;
    let definition = config.distros.get(distro).cloned().unwrap_or_default();
    let sources = sources(&definition, distro, cancel).await?;
    let mut lines: Vec<String> = Vec::new();
    for source in &sources {
        lines.push(source.line(&source.uri, None));
    }
    for source in &definition.sources {
        lines.push(theirs(source)?.line(&source.uri, Some(&source.key)));
    }
    let mut cmd = Cmd::new("mmdebstrap")
        .args(["--mode=unshare", "--variant=buildd", "--format=tar", "--skip=output/dev"])
        .args(options(&definition, architecture, more));
    for option in mirrors::options(cancel).await? {
        cmd = cmd.arg(format!("--aptopt={option}"));
    }
    let done = cmd
        .arg(mirrors::whole(&suite(&definition, distro)?)?.as_str())
        .arg(new)
        .arg("-")
        .input(format!("{}\n", lines.join("\n")))
        .total(LIMIT)
        .log(log, 64 << 20)
        .run(cancel)
        .await?;
    if !done.ok() {
        let said = String::from_utf8_lossy(&done.stderr);
        let why = cause::find_cause(&said.lines().collect::<Vec<_>>())
            .filter(|_| matches!(done.ended, Ended::Exit(_)));
        let why = why.unwrap_or_else(|| done.describe());
        let text = format!("the chroot {distro} {architecture} cannot be made: {why}");
        return Err(Error::unavailable(text).into());
    }
    let tarball = new.to_owned();
    let (digest, packages) =
        tokio::task::spawn_blocking(move || manifest::examine(&tarball)).await??;
    let theirs = definition.sources.iter().map(theirs).collect::<Result<Vec<_>>>()?;
    Ok(Manifest {
        distro: distro.clone(),
        architecture: architecture.clone(),
        created: now(),
        digest,
        sources: [sources, theirs].concat(),
        packages,
        definition: Some(fingerprint(&definition)?),
    })
}

/// Computes the SHA-256 of what a definition says besides its sources, the bytes of its hook among
/// it. The hook's other files are its own matter.
fn fingerprint(definition: &Definition) -> Result<String> {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    let mut packages: Vec<&str> = definition.packages.iter().map(String::as_str).collect();
    packages.sort_unstable();
    add(packages.join(",").as_bytes());
    let mut foreign: Vec<&str> =
        definition.foreign_architectures.iter().map(Architecture::as_str).collect();
    foreign.sort_unstable();
    add(foreign.join(",").as_bytes());
    if let Some(hook) = &definition.hook {
        add(&fs::read(hook).with_context(|| format!("cannot read the hook {}", hook.display()))?);
    }
    Ok(invirtibuilder_core::text::hex(&hash.finalize()))
}

fn suite(definition: &Definition, distro: &Distro) -> Result<Suite> {
    Ok(definition.suite.clone().map_or_else(|| distro.as_str().parse(), Ok)?)
}

/// Lists the host's own mirrors, with the components that the definition wants.
async fn sources(
    definition: &Definition,
    distro: &Distro,
    cancel: &CancellationToken,
) -> Result<Vec<AptSource>> {
    let mut sources = mirrors::sources(&suite(definition, distro)?, cancel).await?;
    if !definition.components.is_empty() {
        sources.iter_mut().for_each(|source| source.components.clone_from(&definition.components));
    }
    Ok(sources)
}

/// Reads a source of the definition, with its key.
fn theirs(source: &invirtibuilder_core::config::AptSourceConfig) -> Result<AptSource> {
    let path = source.key.display();
    let bytes = fs::read(&source.key).with_context(|| format!("cannot read the key {path}"))?;
    let key = String::from_utf8(bytes).ok().filter(|text| text.contains(ARMOUR));
    let key = key.ok_or_else(|| {
        Error::config(format!(
            "{path} is no ASCII-armoured public key: 'gpg --armor --export KEY' makes one"
        ))
    })?;
    Ok(AptSource {
        uri: source.uri.clone(),
        suite: source.suite.clone(),
        components: source.components.clone(),
        key: Some(key),
        options: Vec::new(),
    })
}

/// The package that sbuild(1) installs in every chroot that has it not (`$core_depends` in
/// sbuild.conf(5)).
pub const FAKEROOT: &str = "fakeroot";

/// Returns the options of mmdebstrap that come from the definition.
fn options(
    definition: &Definition,
    architecture: &Architecture,
    more: Option<&str>,
) -> Vec<String> {
    let all: Vec<&str> = std::iter::once(architecture)
        .chain(definition.foreign_architectures.iter().filter(|other| *other != architecture))
        .map(Architecture::as_str)
        .collect();
    let mut options = vec![format!("--architectures={}", all.join(","))];
    let packages: Vec<&str> =
        definition.packages.iter().map(String::as_str).chain(more).chain([FAKEROOT]).collect();
    options.push(format!("--include={}", packages.join(",")));
    if let Some(hook) = &definition.hook {
        options.push(format!("--customize-hook={}", hook.display()));
    }
    options
}

#[cfg(test)]
mod tests {
    use crate::make::*;

    #[test]
    fn a_definition_is_known_by_what_it_says_not_by_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let hook = dir.path().join("finish");
        fs::write(&hook, "one").unwrap();
        let of = |text: &str| {
            fingerprint(
                &serde_yaml::from_str(&text.replace("HOOK", &hook.to_string_lossy())).unwrap(),
            )
        };
        let first = of("{ packages: [a, b], hook: HOOK }").unwrap();
        assert_eq!(of("{ packages: [b, a], hook: HOOK }").unwrap(), first);
        for other in [
            "{ packages: [a, b] }",
            "{ packages: [a], hook: HOOK }",
            "{ foreign_architectures: [amd64, i386], hook: HOOK }",
        ] {
            assert_ne!(of(other).unwrap(), first, "{other}");
        }
        fs::write(&hook, "two").unwrap();
        assert_ne!(of("{ packages: [a, b], hook: HOOK }").unwrap(), first);
        assert!(of("{ hook: /nowhere/finish }").is_err());
    }

    #[test]
    fn a_definition_is_told_to_mmdebstrap() {
        let text = "{ packages: [debhelper, 'libc6:i386'], foreign_architectures: [i386, amd64], hook: /etc/x/finish }";
        let definition: Definition = serde_yaml::from_str(text).unwrap();
        assert_eq!(
            options(&definition, &"amd64".parse().unwrap(), Some("linux-image-x")),
            [
                "--architectures=amd64,i386",
                "--include=debhelper,libc6:i386,linux-image-x,fakeroot",
                "--customize-hook=/etc/x/finish"
            ]
        );
        assert_eq!(
            options(&Definition::default(), &"i386".parse().unwrap(), None),
            ["--architectures=i386", "--include=fakeroot"]
        );
    }
}
