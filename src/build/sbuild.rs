//! sbuild itself: its configuration, its arguments, and what its log says about a failure.

use std::path::Path;

use super::Request;
use super::dependencies::Dependencies;
use super::sandbox::{TESTBED, WORKER};
use super::testbed::{self, BUILDER};
use crate::architectures::Binaries;
use crate::chroot::Source;
use crate::error::{Failure, FailureKind};
use crate::names::Architecture;

/// Our own program, as the sandbox has it.
pub const PROGRAM: &str = "/invirtibuilderd";
/// Where the testbed's agent listens, in the sandbox.
pub const SOCKET: &str = "/run/testbed";

/// What sbuild is told about chroots in the sandbox.
const TESTBED_CONFIG: &str = r#"
$chroot_mode = 'autopkgtest';
$autopkgtest_virt_server = '@PROGRAM@';
$autopkgtest_virt_server_options = ['@SERVER@', '@SOCKET@'];
"#;

/// sbuild's configuration, but for where its chroots are. It is all that sbuild reads: nobody's own is there.
pub const CONFIG: &str = r#"
$apt_upgrade = 0;
$apt_distupgrade = 0;
$clean_source = 0;
$purge_build_deps = 'never';
$purge_build_directory = 'never';
$purge_session = 'always';
# What the list of dpkg lets through of what we set: sbuild compares each variable with each expression for each command.
$environment_filter = ['^(LC_ALL|DEB_[A-Z_]+|SOURCE_DATE_EPOCH)$'];
$run_lintian = $run_piuparts = $run_autopkgtest = 0;
$nolog = 1;
$log_colour = 0;
$verbose = 1;
1;
"#;

/// apt's settings in the chroot, whatever the chroot itself says. There is one way out, and there the host's own settings hold.
fn apt_settings() -> String {
    format!(
        "#clear Acquire::http;\n#clear Acquire::https;\nAcquire::http::Proxy \"http://127.0.0.1:{}/\";\n\
         Acquire::Languages \"none\";\n",
        super::forwarder::PORT
    )
}

/// What every Debian machine has in hosts(5).
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

/// The files of the chroot that are ours to say: where apt gets packages from, and how.
pub fn chroot_files(sources: &[Source]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut list = String::new();
    for source in sources {
        let Some(uri) = super::proxy::seen_inside(&source.uri) else { continue };
        let key = source.key.as_ref().map(|key| {
            let path = format!("etc/apt/keyrings/source-{}.asc", files.len());
            files.push((path.clone(), key.clone()));
            Path::new("/").join(path)
        });
        list += &(source.line(&uri, key.as_deref()) + "\n");
    }
    files.extend([
        ("etc/apt/sources.list".into(), list),
        ("etc/apt/apt.conf.d/zz-build".into(), apt_settings()),
        // What is lost in a power cut is lost anyway.
        ("etc/dpkg/dpkg.cfg.d/zz-build".into(), "force-unsafe-io\n".into()),
        ("etc/hosts".into(), HOSTS.replacen("localhost", "localhost build", 1)),
        // There is nobody to ask for names.
        ("etc/resolv.conf".into(), String::new()),
    ]);
    files
}

/// The files that sbuild needs to find: users and ids of the sandbox, which the host knows nothing of.
pub fn files() -> Vec<(String, String)> {
    let chroots = TESTBED_CONFIG.replace("@PROGRAM@", PROGRAM);
    let chroots = chroots.replace("@SERVER@", testbed::SERVER).replace("@SOCKET@", SOCKET);
    let (first, count) = TESTBED;
    vec![
        ("etc/sbuild.conf".into(), chroots + CONFIG),
        (
            "etc/passwd".into(),
            format!("root:x:0:0::/root:/usr/sbin/nologin\n{BUILDER}:x:{WORKER}:{WORKER}::/work:/bin/sh\n"),
        ),
        ("etc/group".into(), format!("root:x:0:\n{BUILDER}:x:{WORKER}:\ntty:x:5:\n")),
        ("etc/subuid".into(), format!("root:{first}:{count}\n")),
        ("etc/subgid".into(), format!("root:{first}:{count}\n")),
        ("etc/hosts".into(), HOSTS.into()),
        ("etc/nsswitch.conf".into(), "passwd: files\ngroup: files\nhosts: files\n".into()),
    ]
}

/// The environment that sbuild has.
pub fn environment() -> Vec<(String, String)> {
    [
        ("PATH", crate::subprocess::PATH),
        ("HOME", "/work"),
        ("USER", BUILDER),
        ("LOGNAME", BUILDER),
        ("LC_ALL", "C.UTF-8"),
        ("SBUILD_CONFIG", "/etc/sbuild.conf"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}

/// The options that every build has.
pub fn options(request: &Request, architecture: &Architecture, binaries: Binaries) -> Vec<String> {
    let wanted: &[&str] = match binaries {
        Binaries::Own => &["--no-arch-all"],
        Binaries::All => &["--arch-all", "--no-arch-any"],
        Binaries::Both => &["--arch-all"],
    };
    let options = [
        "--no-source".to_owned(),
        // As many processes as there are processors, for a package that can (Debian policy 4.9.1, "parallel").
        "--debbuildopt=--jobs-try=auto".to_owned(),
        format!("--dist={}", request.distro),
        format!("--arch={architecture}"),
    ];
    options.into_iter().chain(wanted.iter().map(|&option| option.to_owned())).collect()
}

/// A command in the chroot that installs build dependencies as sbuild does.
pub fn satisfy(dependencies: &Dependencies) -> Vec<String> {
    let path = format!("PATH={}", crate::subprocess::PATH);
    let mut command: Vec<String> =
        ["env", "-i", &path, "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
            .into_iter()
            .chain(["apt-get", "--yes", "--purge", "--no-install-recommends"])
            .chain(["--option=DPkg::Options::=--force-confold", "--option=DPkg::Use-Pty=false"])
            .chain(["--option=APT::Get::Satisfy-Automatic=true", "--option=APT::Keep-Downloaded-Packages=false"])
            .chain(["satisfy", "--"])
            .map(str::to_owned)
            .collect();
    command.extend(dependencies.arguments());
    command
}

/// What sbuild has to do before a package can be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installing {
    /// Everything that the package asks for is there.
    Nothing,
    /// Its dependencies are installed by the lists that the chroot has; those of our own suites are always fetched.
    FromLists,
    /// The lists are fetched, and then its dependencies are installed.
    AfterUpdate,
}

/// sbuild's command line, as it is seen inside the sandbox.
pub fn command(
    request: &Request,
    architecture: &Architecture,
    binaries: Binaries,
    installing: Installing,
    dsc: &str,
) -> Vec<String> {
    let mut command: Vec<String> = ["sbuild", "--build-path=/build/package"].map(str::to_owned).to_vec();
    command.extend(options(request, architecture, binaries));
    command.push(if installing == Installing::AfterUpdate { "--apt-update" } else { "--no-apt-update" }.to_owned());
    if installing == Installing::Nothing {
        // dpkg-buildpackage looks once more whether they are there.
        command.extend(["--build-dep-resolver=null".to_owned(), format!("/input/{dsc}")]);
        return command;
    }
    for local in &request.local {
        let components: Vec<&str> = local.components.iter().map(|component| component.as_str()).collect();
        let host = super::proxy::HOST;
        command.push(format!("--extra-repository=deb http://{host}/ {} {}", local.suite, components.join(" ")));
    }
    if !request.local.is_empty() {
        command.push("--extra-repository-key=/input/archive-key.asc".to_owned());
    }
    command.push(format!("/input/{dsc}"));
    command
}

/// The first line that says what was wrong: make names the deepest target first, and dpkg's and debhelper's programs speak before
/// dpkg-buildpackage does.
fn telling(log: &str) -> Option<&str> {
    let is_makes = |line: &str| {
        let rest = line
            .strip_prefix("make")
            .map(|rest| rest.trim_start_matches(|c: char| "[]".contains(c) || c.is_ascii_digit()));
        rest.is_some_and(|rest| rest.starts_with(": *** ") && !rest.contains("Waiting for unfinished jobs"))
    };
    let is_a_programs = |line: &str| {
        let name = line.split_once(": error: ").map(|(name, _)| name);
        name.is_some_and(|name| {
            (name.starts_with("dh_") || name.starts_with("dpkg-")) && !name.contains(' ') && name != "dpkg-buildpackage"
        })
    };
    log.lines().find(|line| is_makes(line) || is_a_programs(line))
}

/// Why a build failed, from the end of its log. What limit it met is seen elsewhere: a log may say anything.
pub fn why(log: &str) -> Failure {
    let value = |key: &str| log.lines().rev().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let stage = value("Fail-Stage: ").unwrap_or_default();
    let complaint = |starts: &[&str]| {
        let line = log.lines().rev().find(|line| starts.iter().any(|start| line.starts_with(start)));
        line.map(|line| crate::text::one_line(line.trim()))
    };
    match stage {
        "build" | "" if value("Status: ").is_some() => {
            let line = telling(log).map(|line| crate::text::one_line(line.trim()));
            let line = line.or_else(|| complaint(&["dpkg-buildpackage: error: "]));
            let line = line.unwrap_or_else(|| "sbuild says that the package does not build".to_owned());
            Failure::new(FailureKind::BuildFailed, line)
        }
        "install-deps" | "install-deps-env" | "explain-bd-uninstallable" | "update" | "apt-get-update" => {
            let line = complaint(&["E: ", " sbuild-build-depends-main-dummy : "]);
            let line = line.unwrap_or_else(|| "see the log".to_owned());
            Failure::new(FailureKind::BuildDeps, format!("build dependencies cannot be installed: {line}"))
        }
        "" => {
            let line = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            Failure::new(FailureKind::Chroot, format!("sbuild could not begin: {}", crate::text::one_line(line)))
        }
        "run-chroot" | "chroot" | "create-session" | "unpack" | "unpack-check" | "pre-build" => {
            Failure::new(FailureKind::Chroot, format!("the chroot does not work (sbuild failed at {stage})"))
        }
        other => Failure::new(FailureKind::BuildFailed, format!("sbuild failed at {}", crate::text::one_line(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let kind = |log: &str| why(log).kind;
        assert_eq!(kind("x\nFail-Stage: build\nStatus: attempted\n"), FailureKind::BuildFailed);
        assert_eq!(kind("E: Unmet dependencies\nFail-Stage: install-deps\nStatus: failed\n"), FailureKind::BuildDeps);
        assert_eq!(kind("Fail-Stage: create-session\nStatus: failed\n"), FailureKind::Chroot);
        assert_eq!(kind("E: cannot unshare\n"), FailureKind::Chroot);
        assert_eq!(
            kind("cp: No space left on device\nFail-Stage: build\nStatus: attempted\n"),
            FailureKind::BuildFailed
        );
        let text =
            why("dpkg-buildpackage: error: debian/rules binary exit 2\nFail-Stage: build\nStatus: attempted\n").text;
        assert_eq!(text, "dpkg-buildpackage: error: debian/rules binary exit 2");
        let told = |lines: &str| why(&format!("{lines}\nFail-Stage: build\nStatus: attempted\n")).text;
        assert_eq!(
            told(
                "a test: No space left on device\nmake[2]: *** Waiting for unfinished jobs....\nmake[2]: *** [Makefile:3: check] Error 1\n\
                  dh_auto_test: error: make check returned exit code 2\nmake: *** [debian/rules:4: build] Error 25\n\
                  dpkg-buildpackage: error: debian/rules build subprocess returned exit status 2"
            ),
            "make[2]: *** [Makefile:3: check] Error 1"
        );
        assert_eq!(
            told(
                "dpkg-genchanges: error: package x has section  in control file but - in files list\n\
                  dpkg-buildpackage: error: dpkg-genchanges --build=any subprocess returned exit status 25"
            ),
            "dpkg-genchanges: error: package x has section  in control file but - in files list"
        );
    }
}
