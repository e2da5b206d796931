//! What a node and the daemon say to each other: requests of HTTP over TLS, and JSON in them.
//!
//! A node begins with the right that its script has ([`Bootstrap`]), and asks for all else with the
//! key of its session. The paths are `POST start`, and then `GET source/N`, `GET environment/NAME`,
//! `GET others`, `GET proxy/LISTS` (which becomes a connection to the proxy), `POST log`,
//! `POST beat`, `PUT result/NAME` and `POST end`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use invirtibuilder_core::config::{ByteSize, Isolation, Limits};
use invirtibuilder_core::domain::SuiteId;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::names::{
    Architecture, Component, Distro, PackageName, PocketName, Version,
};
use invirtibuilder_system::architectures::Binaries;

/// The first line of a script for Slurm: the kernel runs this program with the script's path.
pub const INTERPRETER: &str = "#!/usr/libexec/invirtibuilder-node/invirtibuilder-node";

/// What a connection becomes that leads to the proxy (RFC 9110, "Upgrade").
pub const UPGRADE: &str = "invirtibuilder-proxy";

/// The longest message in JSON, in bytes.
pub const MOST_JSON: usize = 4 << 20;

/// The longest list of the names in suites of our own, in bytes of JSON.
pub const MOST_OTHERS: usize = 64 << 20;

/// The most results that a build has.
pub const MOST_RESULTS: usize = 10_000;

/// The most bytes that a reason for a failure has.
pub const MOST_REASON: usize = 4000;

/// What the script for Slurm has: how to reach the daemon, and the right to begin, once a start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// The host and port of the daemon.
    pub address: String,
    /// The SHA-256 of the daemon's certificate, in hexadecimal.
    pub certificate: String,
    /// The name of the job.
    pub name: String,
    /// The right.
    pub right: String,
}

impl Bootstrap {
    /// Writes the script that Slurm starts on a node.
    pub fn script(&self) -> serde_json::Result<String> {
        Ok(format!("{INTERPRETER}\n{}\n", serde_json::to_string(self)?))
    }

    /// Reads such a script.
    pub fn of_script(script: &str) -> Option<Self> {
        let (first, rest) = script.split_once('\n')?;
        if first.starts_with("#!") { serde_json::from_str(rest).ok() } else { None }
    }
}

/// A start of a job asks for a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// The name of the job.
    pub name: String,
    /// The right.
    pub right: String,
    /// Slurm's number of the job.
    pub number: u64,
    /// How often Slurm has started it again.
    pub again: u32,
    /// The node, by Slurm's name.
    pub node: String,
    /// The version of the node's program.
    pub version: String,
    /// The node's clock, in milliseconds since 1970-01-01 UTC.
    pub now: i64,
}

/// The session of a start, and what it is to build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartAnswer {
    /// The key of the session.
    pub session: String,
    /// The build.
    pub build: Assignment,
}

/// A build for one architecture, as a node is told of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Assignment {
    /// The source package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The distro to build in.
    pub distro: Distro,
    /// The pocket that it is for.
    pub pocket: PocketName,
    /// The architecture.
    pub architecture: Architecture,
    /// Which of its binary packages are built.
    pub binaries: Binaries,
    /// The files of the source package, the `.dsc` first.
    pub sources: Vec<OfferedFile>,
    /// The suites of our own that may satisfy build dependencies.
    pub local: Vec<OfferedSuite>,
    /// The manifest of the chroot or image.
    pub manifest: Manifest,
    /// What keeps the build from the node: a chroot for `unshare`, an image for `vm`.
    pub isolation: Isolation,
    /// The files of the chroot or image ([`ENVIRONMENT`]).
    pub environment: Vec<OfferedFile>,
    /// What the build may use.
    pub limits: OfferedLimits,
    /// How many bytes it may write in memory.
    pub in_memory: u64,
    /// Whether the node keeps the chroot unpacked (`chroots.unpacked`).
    pub unpacked: bool,
    /// How many sets of build dependencies the node keeps installed above it (`chroots.layers`).
    pub layers: usize,
    /// Whether the names in suites of our own are known, which such a set must not have: they come
    /// by `GET others`.
    pub has_others: bool,
}

/// The names of an environment's files: that of a chroot's tarball, or those of an image.
pub const ENVIRONMENT: (&str, [&str; 3]) = ("tarball", ["kernel", "initrd", "root"]);

/// A file that a node can fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedFile {
    /// Its name, without a directory.
    pub name: String,
    /// Its length, in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// A suite of our own, and the key that signs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OfferedSuite {
    /// The suite.
    pub suite: SuiteId,
    /// Its components.
    pub components: Vec<Component>,
    /// The public key, ASCII-armoured.
    pub key: String,
}

/// `limits:` of a pocket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OfferedLimits {
    /// The wall-clock time, in seconds.
    pub time: u64,
    /// The longest time without a byte of output, in seconds.
    pub silence: u64,
    /// The memory, in bytes.
    pub memory: u64,
    /// The disk space, in bytes.
    pub disk: u64,
    /// The processes and threads at one time.
    pub processes: u64,
    /// The length of the build log, in bytes.
    pub log: u64,
}

impl From<&Limits> for OfferedLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            time: limits.time.as_secs(),
            silence: limits.silence.as_secs(),
            memory: limits.memory.0,
            disk: limits.disk.0,
            processes: limits.processes,
            log: limits.log.0,
        }
    }
}

impl From<&OfferedLimits> for Limits {
    fn from(offered: &OfferedLimits) -> Self {
        Self {
            time: Duration::from_secs(offered.time),
            silence: Duration::from_secs(offered.silence),
            memory: ByteSize(offered.memory),
            disk: ByteSize(offered.disk),
            processes: offered.processes,
            log: ByteSize(offered.log),
        }
    }
}

/// How a build ended on a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildEnd {
    /// Why it failed; `None`: it did not.
    pub failure: Option<ReportedFailure>,
    /// What it made: each was sent before.
    pub results: Vec<OfferedFile>,
}

/// A failure as a node reports it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportedFailure {
    /// The failure's kind.
    pub kind: String,
    /// A sentence.
    pub text: String,
}

/// Tells whether a node may name a result so: one plain name of printable ASCII.
pub fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+-_~:%".contains(&byte);
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_as_it_was_written() {
        let bootstrap = Bootstrap {
            address: "[2001:db8::1]:7443".to_owned(),
            certificate: "ab".repeat(32),
            name: "ib-1".to_owned(),
            right: "secret".to_owned(),
        };
        let script = bootstrap.script().unwrap();
        assert!(script.starts_with("#!/usr/libexec/invirtibuilder-node/"), "{script}");
        let read = Bootstrap::of_script(&script).unwrap();
        assert_eq!((read.address, read.right), (bootstrap.address, bootstrap.right));
        assert!(Bootstrap::of_script("{}").is_none());
        assert!(Bootstrap::of_script("#!/bin/sh\n{}").is_none());
    }

    #[test]
    fn results_have_plain_names() {
        assert!(is_plain_name("hello_1%3a1.0-1+b1~x_amd64.deb"));
        for bad in ["", ".", "..", ".x", "a/b", "/a", "a\0", "a b", "ä", &"a".repeat(256)] {
            assert!(!is_plain_name(bad), "{bad}");
        }
    }
}
