//! Finds the mirrors of a distro: they are the host's own, with the release's name swapped.

use anyhow::{Context, Result};

use crate::dates;
use invirtibuilder_core::error::Error;
use invirtibuilder_core::manifest::AptSource;
use invirtibuilder_core::names::{Component, Suite};
use invirtibuilder_system::subprocess::{CancellationToken, Cmd};

/// The suites that have no updates and no security suite beside them.
const ROLLING: [&str; 4] = ["sid", "unstable", "experimental", "rc-buggy"];

/// The suites that are added to another one, which has the rest of a distribution.
const ADDED: [(&str, &str); 2] = [("experimental", "sid"), ("rc-buggy", "sid")];

/// The ends of the names of suites that are added to the one that they are named for.
const ADDED_TO: [&str; 3] = ["-backports", "-backports-sloppy", "-proposed-updates"];

/// Finds the suite that has a whole distribution: this one, or the one that it is added to.
pub fn whole(suite: &Suite) -> Result<Suite> {
    if let Some((_, whole)) = ADDED.iter().find(|(added, _)| *added == suite.as_str()) {
        return Ok(whole.parse()?);
    }
    let whole = ADDED_TO
        .iter()
        .find_map(|end| suite.as_str().strip_suffix(end))
        .filter(|whole| !whole.is_empty());
    Ok(whole.map_or_else(|| Ok(suite.clone()), str::parse)?)
}

/// Lists where a suite's packages come from: where those of the host's own release do, under that
/// suite's name. A suite that is added to another comes with that one.
pub async fn sources(suite: &Suite, cancel: &CancellationToken) -> Result<Vec<AptSource>> {
    let host = codename(
        &std::fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?,
    );
    let host = host.context("/etc/os-release names no release (VERSION_CODENAME)")?;
    let done = Cmd::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(SOURCESENTRY)"])
        .arg("Created-By: Packages")
        .run(cancel)
        .await?;
    let targets = String::from_utf8(done.success()?)?;
    let options = |entry: &str| dates::options(entry);
    let sources = swap(&targets, &host, suite, &options)?;
    if sources.is_empty() {
        return Err(Error::unavailable(format!(
            "the host's apt configuration has no mirror of its own release {host}: add one to /etc/apt/sources.list"
        ))
        .into());
    }
    Ok(sources)
}

fn codename(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(value.trim_matches('"').to_owned())
}

fn swap(
    targets: &str,
    host: &str,
    wanted: &Suite,
    options: &dyn Fn(&str) -> Vec<String>,
) -> Result<Vec<AptSource>> {
    let mut sources: Vec<AptSource> = Vec::new();
    let whole = whole(wanted)?;
    for target in targets.lines() {
        let mut words = target.splitn(4, ' ');
        let (Some(uri), Some(release), Some(component)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let entry = words.next().unwrap_or_default();
        // bookworm, bookworm-updates, bookworm-security: not what else the host may have.
        let Some(suffix) =
            release.strip_prefix(host).filter(|rest| rest.is_empty() || rest.starts_with('-'))
        else {
            continue;
        };
        if !suffix.is_empty() && (ROLLING.contains(&whole.as_str()) || suffix.contains("backports"))
        {
            continue;
        }
        let added = (suffix.is_empty() && whole != *wanted).then(|| wanted.clone());
        let (Ok(suite), Ok(component)) =
            (format!("{whole}{suffix}").parse(), component.parse::<Component>())
        else {
            continue;
        };
        for suite in [Some(suite), added].into_iter().flatten() {
            let components = vec![component.clone()];
            match sources.iter_mut().find(|source| source.uri == uri && source.suite == suite) {
                Some(source) if source.components.contains(&component) => {}
                Some(source) => source.components.extend(components),
                None => {
                    let (uri, options) = (uri.to_owned(), options(entry));
                    sources.push(AptSource { uri, suite, components, key: None, options });
                }
            }
        }
    }
    Ok(sources)
}

/// The settings of apt that reach chroots: how mirrors are reached, and what their dates count for.
const SETTINGS: [&str; 8] = [
    "acquire::http::",
    "acquire::https::",
    "acquire::retries",
    "acquire::force",
    "acquire::check-",
    "acquire::min-validtime",
    "acquire::max-validtime",
    "acquire::max-futuretime",
];

/// Reads the host's settings of how mirrors are reached: proxies, timeouts, certificates, and
/// whether a release may be old.
pub async fn options(cancel: &CancellationToken) -> Result<Vec<String>> {
    let done = Cmd::new("apt-config").args(["dump", "Acquire"]).run(cancel).await?;
    let dump = String::from_utf8(done.success()?)?;
    Ok(transport(&dump))
}

fn transport(dump: &str) -> Vec<String> {
    dump.lines()
        .filter(|line| {
            let name = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
            SETTINGS.iter().any(|prefix| name.starts_with(prefix))
        })
        .filter(|line| !line.contains("\"\""))
        .map(|line| line.trim_end_matches(';').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::mirrors::*;

    #[test]
    fn the_hosts_mirrors_serve_other_releases() {
        let targets = "http://a/debian/ bookworm main\nhttp://a/debian/ bookworm contrib\nhttp://a/debian/ bookworm main\n\
                       http://a/debian/ bookworm-updates main\nhttp://s/ bookworm-security main\n\
                       http://a/debian/ bookworm-backports main\nhttp://other/ stable main\nrubbish\n";
        let swap = |suite: &str| {
            let sources =
                swap(targets, "bookworm", &suite.parse().unwrap(), &|_| Vec::new()).unwrap();
            sources.iter().map(|source| source.line(&source.uri, None)).collect::<Vec<_>>()
        };
        let want = [
            "deb http://a/debian/ trixie main contrib",
            "deb http://a/debian/ trixie-updates main",
            "deb http://s/ trixie-security main",
        ];
        assert_eq!(swap("trixie"), want);
        assert_eq!(swap("sid"), ["deb http://a/debian/ sid main contrib"]);
        let added = [
            "deb http://a/debian/ sid main contrib",
            "deb http://a/debian/ experimental main contrib",
        ];
        assert_eq!(swap("experimental"), added);
        let mut backports: Vec<&str> = want.to_vec();
        backports.insert(1, "deb http://a/debian/ trixie-backports main contrib");
        assert_eq!(swap("trixie-backports"), backports);
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n").as_deref(), Some("bookworm"));
    }

    #[test]
    fn options_of_a_source_stay_with_it() {
        let targets = "http://a/debian/ bookworm main /etc/apt/x y.list:3\nhttp://b/ bookworm-security main /z:1\n";
        let options = |entry: &str| vec![format!("check-valid-until=no,{entry}")];
        let sources =
            swap(targets, "bookworm", &"experimental".parse().unwrap(), &options).unwrap();
        let lines: Vec<String> =
            sources.iter().map(|source| source.line(&source.uri, None)).collect();
        let option = "[check-valid-until=no,/etc/apt/x y.list:3]";
        assert_eq!(
            lines,
            [
                format!("deb {option} http://a/debian/ sid main"),
                format!("deb {option} http://a/debian/ experimental main")
            ]
        );
    }

    #[test]
    fn a_mirror_that_may_be_old_on_the_host_may_be_old_in_chroots() {
        let dump = "Acquire::Check-Valid-Until \"false\";\nAcquire::Check-Date \"false\";\nAcquire::Max-FutureTime \"60\";\n\
                    Acquire::PDiffs \"true\";\nAcquire::Max-ValidTime \"\";\n";
        let want = [
            "Acquire::Check-Valid-Until \"false\"",
            "Acquire::Check-Date \"false\"",
            "Acquire::Max-FutureTime \"60\"",
        ];
        assert_eq!(transport(dump), want);
    }

    #[test]
    fn the_proxy_comes_along() {
        let dump = "Acquire \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://p:3128/\";\nAcquire::Languages \"\";\n";
        assert_eq!(transport(dump), ["Acquire::http::Proxy \"http://p:3128/\""]);
    }
}
