//! The settings of where builds run: `executor:` and `slurm:`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::places::KeyPath;
use crate::config::{Config, ConfiguredPocket, Isolation, Pocket};
use crate::names::{Architecture, PocketName};

/// `executor:`, where builds run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ExecutorSetting {
    /// The server builds.
    #[default]
    Local,
    /// A cluster of Slurm builds: one job of Slurm's for each architecture.
    Slurm(SlurmPlace),
}

/// `executor.slurm:`, what Slurm is asked for. What is not written is Slurm's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmPlace {
    /// The partition, or several with commas between them.
    pub partition: Option<String>,
    /// The account that Slurm charges.
    pub account: Option<String>,
    /// The quality of service.
    pub qos: Option<String>,
    /// The features that a node has to have, as sbatch(1) takes them: one text for all
    /// architectures, or a map with one for each.
    pub constraint: Option<Constraint>,
}

/// `executor.slurm.constraint:`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "features as sbatch(1) takes them, or a map from architectures to them"
)]
pub enum Constraint {
    /// The same for all architectures.
    All(String),
    /// One for each architecture.
    Each(BTreeMap<Architecture, String>),
}

impl SlurmPlace {
    /// Returns the features that a node has to have that builds for this architecture.
    pub fn constraint(&self, architecture: &Architecture) -> Option<&str> {
        match self.constraint.as_ref()? {
            Constraint::All(features) => Some(features),
            Constraint::Each(all) => all.get(architecture).map(String::as_str),
        }
    }
}

/// `slurm:`, how the service and the nodes of a cluster reach each other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlurmSettings {
    /// The most jobs that are with Slurm at one time. Others wait in the service's own queue.
    #[serde(default = "default_jobs")]
    pub jobs: u32,
    /// The address and port at which the daemon answers nodes, over TLS.
    #[schemars(title = "address:port")]
    pub listen: SocketAddr,
    /// The host and port by which nodes reach the daemon. Default: what `listen` says.
    #[schemars(title = "host:port")]
    pub address: Option<String>,
}

fn default_jobs() -> u32 {
    16
}

impl SlurmSettings {
    /// Returns the host and port by which nodes reach the daemon.
    pub fn address(&self) -> String {
        self.address.clone().unwrap_or_else(|| self.listen.to_string())
    }
}

impl<'de> Deserialize<'de> for ExecutorSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = ExecutorSetting;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("local, or a map such as { slurm: { partition: build } }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ExecutorSetting, E> {
                match text {
                    "local" => Ok(ExecutorSetting::Local),
                    "slurm" => Ok(ExecutorSetting::Slurm(SlurmPlace::default())),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ExecutorSetting, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "slurm" {
                        return Err(A::Error::unknown_field(&key, &["slurm"]));
                    }
                    found = Some(map.next_value::<Option<SlurmPlace>>()?.unwrap_or_default());
                }
                found.map(ExecutorSetting::Slurm).ok_or_else(|| A::Error::invalid_length(0, &self))
            }
        }

        deserializer.deserialize_any(Read)
    }
}

impl JsonSchema for ExecutorSetting {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExecutorSetting".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let place = generator.subschema_for::<SlurmPlace>();
        json_schema!({
            "title": "local, or a map with slurm",
            "anyOf": [
                { "type": "string", "enum": ["local", "slurm"] },
                {
                    "type": "object",
                    "properties": {
                        "slurm": { "description": "What Slurm is asked for.", "allOf": [place] },
                    },
                    "required": ["slurm"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl Config {
    /// Returns where builds of a pocket run.
    pub fn executor_of<'a>(&'a self, pocket: &'a Pocket) -> &'a ExecutorSetting {
        pocket.executor.as_ref().unwrap_or(&self.executor)
    }

    /// Tells whether a cluster builds for a pocket.
    pub fn is_on_slurm(&self, pocket: &Pocket) -> bool {
        matches!(self.executor_of(pocket), ExecutorSetting::Slurm(_))
    }

    /// Returns a pocket that builds on the server with ids of the service's own, if one does.
    pub fn builds_here(&self) -> Option<&PocketName> {
        let is_here = |pocket: &ConfiguredPocket<'_>| {
            let settings = pocket.settings();
            !self.is_on_slurm(settings) && settings.isolation != Isolation::Schroot
        };
        self.pockets().find(is_here).map(ConfiguredPocket::name)
    }

    /// Returns how many bytes a build on a node may write in the node's memory.
    pub fn in_memory_of_nodes(&self) -> u64 {
        /// What a small package needs: larger ones go to the node's disk.
        const DEFAULT: u64 = 2 << 30;
        self.chroots.in_memory.map_or(DEFAULT, |size| size.0)
    }
}

/// Lists the problems of `executor:` and `slurm:`, but for those of pockets.
pub(super) fn problems(config: &Config, found: &mut Vec<(KeyPath, String)>) {
    let key = |path: &str| path.split('.').map(str::to_owned).collect::<KeyPath>();
    if let ExecutorSetting::Slurm(place) = &config.executor {
        found.extend(
            place_problems(place).map(|(at, text)| (key(&format!("executor.slurm.{at}")), text)),
        );
    }
    let uses = config.build.pockets.values().any(|pocket| config.is_on_slurm(pocket));
    match &config.slurm {
        None if uses => {
            let text = "slurm: a pocket builds on Slurm, and nodes could not reach the daemon: write \
                        slurm: { listen: \"ADDRESS:PORT\" }";
            found.push((
                key(if config.executor == ExecutorSetting::Local {
                    "build.pockets"
                } else {
                    "executor"
                }),
                text.to_owned(),
            ));
        }
        None => {}
        Some(slurm) => {
            if slurm.jobs == 0 {
                let text = "slurm.jobs: nothing could be built on Slurm: write how many jobs Slurm may have at a time";
                found.push((key("slurm.jobs"), text.to_owned()));
            }
            if slurm.address.is_none() && slurm.listen.ip().is_unspecified() {
                let text = "slurm.address: nodes cannot reach an address that stands for all: write the host and port \
                            by which they reach the daemon";
                found.push((key("slurm.listen"), text.to_owned()));
            }
            let is_plain = |address: &String| {
                address.rsplit_once(':').is_some_and(|(host, port)| {
                    let host = host.trim_start_matches('[').trim_end_matches(']');
                    port.parse::<u16>().is_ok_and(|port| port > 0)
                        && !host.is_empty()
                        && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:".contains(c))
                })
            };
            if slurm.address.as_ref().is_some_and(|address| !is_plain(address)) {
                let text = "slurm.address: write host:port, such as build.example.org:7443";
                found.push((key("slurm.address"), text.to_owned()));
            }
        }
    }
}

/// Lists the problems of the executor of a pocket, each with the key below the pocket's.
pub(super) fn pocket_problems(
    config: &Config,
    pocket: ConfiguredPocket<'_>,
) -> Vec<(String, String)> {
    let settings = pocket.settings();
    let mut found = Vec::new();
    if let Some(ExecutorSetting::Slurm(place)) = &settings.executor {
        found
            .extend(place_problems(place).map(|(at, text)| (format!("executor.slurm.{at}"), text)));
    }
    if config.is_on_slurm(settings) && settings.isolation == Isolation::Schroot {
        let text = "isolation: nodes of Slurm have nothing of schroot(1): write isolation: unshare or vm, or executor: local";
        found.push(("isolation".to_owned(), text.to_owned()));
    }
    found
}

/// Lists what sbatch(1) would take for something else.
fn place_problems(place: &SlurmPlace) -> impl Iterator<Item = (String, String)> + use<> {
    let wrong = |at: &str, text: &str, more: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.,-".contains(c) || more.contains(c);
        let bad = text.is_empty() || !text.chars().all(plain);
        bad.then(|| {
            let shown = crate::text::quoted(text);
            (
                at.to_owned(),
                format!("{at}: {shown} is nothing that sbatch(1) takes: write it as there"),
            )
        })
    };
    let mut found = Vec::new();
    for (at, text) in
        [("partition", &place.partition), ("account", &place.account), ("qos", &place.qos)]
    {
        found.extend(text.as_ref().and_then(|text| wrong(at, text, "")));
    }
    let features: Vec<&String> = match &place.constraint {
        None => Vec::new(),
        Some(Constraint::All(features)) => vec![features],
        Some(Constraint::Each(all)) => all.values().collect(),
    };
    found.extend(features.into_iter().filter_map(|text| wrong("constraint", text, "&|*[]()!")));
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use crate::config::executor::*;

    fn read(text: &str) -> Result<Config, String> {
        serde_yaml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn local_is_the_default_and_a_pocket_may_say_otherwise() {
        let config = read(
            "executor: { slurm: { partition: build, constraint: { arm64: arm } } }\n\
             slurm: { listen: '10.0.0.1:7443' }\n\
             build: { pockets: { a: {}, b: { executor: local }, c: { executor: { slurm: { qos: low } } } } }",
        )
        .unwrap();
        let of = |name: &str| config.executor_of(config.pocket(name).unwrap().settings());
        let ExecutorSetting::Slurm(place) = of("a") else { panic!() };
        assert_eq!(place.partition.as_deref(), Some("build"));
        assert_eq!(place.constraint(&"arm64".parse().unwrap()), Some("arm"));
        assert_eq!(place.constraint(&"amd64".parse().unwrap()), None);
        assert_eq!(*of("b"), ExecutorSetting::Local);
        assert!(matches!(of("c"), ExecutorSetting::Slurm(place) if place.partition.is_none()));
        assert_eq!(config.builds_here().map(PocketName::as_str), Some("b"));
        let slurm = config.slurm.as_ref().unwrap();
        assert_eq!((slurm.jobs, slurm.address()), (16, "10.0.0.1:7443".to_owned()));
        assert_eq!(Config::default().executor, ExecutorSetting::Local);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let said = |text: &str| {
            let config = read(text).unwrap();
            let mut found = Vec::new();
            problems(&config, &mut found);
            let pockets = config.pockets().flat_map(|pocket| pocket_problems(&config, pocket));
            found
                .into_iter()
                .map(|(_, text)| text)
                .chain(pockets.map(|(_, text)| text))
                .collect::<Vec<_>>()
        };
        assert!(read("executor: { slurm: { partitions: x } }").unwrap_err().contains("partitions"));
        assert!(read("executor: elsewhere").unwrap_err().contains("local, or a map"));
        assert!(read("executor: {}").is_err());
        for (text, words) in [
            ("executor: slurm\nbuild: { pockets: { a: {} } }", "slurm: a pocket builds on Slurm"),
            ("slurm: { listen: '0.0.0.0:1' }", "slurm.address: nodes cannot reach"),
            ("slurm: { listen: '10.0.0.1:1', jobs: 0 }", "slurm.jobs"),
            ("slurm: { listen: '10.0.0.1:1', address: 'x y:1' }", "slurm.address: write host:port"),
            ("executor: { slurm: { partition: '' } }", "partition: '' is nothing"),
            ("executor: { slurm: { constraint: 'a;b' } }", "constraint: 'a;b' is nothing"),
            (
                "slurm: { listen: '10.0.0.1:1' }\nbuild: { pockets: { a: { isolation: schroot, executor: slurm } } }",
                "isolation: nodes of Slurm have nothing of schroot(1)",
            ),
        ] {
            let said = said(text);
            assert!(said.len() == 1 && said[0].contains(words), "{text}: {said:?}");
        }
        assert_eq!(said("executor: { slurm: { constraint: 'a&[b|c]' } }"), [""; 0]);
    }
}
