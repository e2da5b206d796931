//! sbuild itself: its configuration and its arguments.

use std::path::Path;

use crate::proxy::LocalSuite;
use crate::request::BuildRequest;
use invirtibuilder_core::manifest::AptSource;
use invirtibuilder_core::names::Architecture;
use invirtibuilder_environment::dependencies::Dependencies;
use invirtibuilder_sandbox::subcommand;
use invirtibuilder_sandbox::testbed::BUILDER;
use invirtibuilder_sandbox::{TESTBED, WORKER};
use invirtibuilder_system::architectures::Binaries;

/// Our own program, as the sandbox has it.
pub const PROGRAM: &str = "/build-sandbox";
/// Where the testbed's agent listens, in the sandbox.
pub const SOCKET: &str = "/run/testbed";

/// What sbuild is told about chroots in the sandbox.
const TESTBED_CONFIG: &str = r#"
$chroot_mode = 'autopkgtest';
$autopkgtest_virt_server = '@PROGRAM@';
$autopkgtest_virt_server_options = ['@SERVER@', '@SOCKET@'];
"#;

/// sbuild's configuration, but for where its chroots are. It is all that sbuild reads: nobody's own
/// is there.
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

/// apt's settings in the chroot, whatever the chroot itself says. There is one way out, and there
/// the host's own settings hold. apt waits for as long as the proxy fetches: by its own 30 s
/// (apt.conf(5), `Acquire::http::Timeout`) it would ask again for what is on its way.
fn apt_settings() -> String {
    format!(
        "#clear Acquire::http;\n#clear Acquire::https;\nAcquire::http::Proxy \"http://127.0.0.1:{}/\";\n\
         Acquire::http::Timeout \"{}\";\nAcquire::Languages \"none\";\n",
        invirtibuilder_sandbox::forwarder::PORT,
        super::proxy::LIMIT.as_secs()
    )
}

/// What every Debian machine has in hosts(5).
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

/// Lists the files of the chroot that are ours to say: where apt gets packages from, and how.
pub fn chroot_files(sources: &[AptSource]) -> Vec<(String, String)> {
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

/// Lists the files that sbuild needs to find: users and ids of the sandbox, which the host knows
/// nothing of.
pub fn files() -> Vec<(String, String)> {
    let chroots = TESTBED_CONFIG.replace("@PROGRAM@", PROGRAM);
    let chroots = chroots.replace("@SERVER@", subcommand::SERVER).replace("@SOCKET@", SOCKET);
    let (first, count) = TESTBED;
    vec![
        ("etc/sbuild.conf".into(), chroots + CONFIG),
        (
            "etc/passwd".into(),
            format!(
                "root:x:0:0::/root:/usr/sbin/nologin\n{BUILDER}:x:{WORKER}:{WORKER}::/work:/bin/sh\n"
            ),
        ),
        ("etc/group".into(), format!("root:x:0:\n{BUILDER}:x:{WORKER}:\ntty:x:5:\n")),
        ("etc/subuid".into(), format!("root:{first}:{count}\n")),
        ("etc/subgid".into(), format!("root:{first}:{count}\n")),
        ("etc/hosts".into(), HOSTS.into()),
        ("etc/nsswitch.conf".into(), "passwd: files\ngroup: files\nhosts: files\n".into()),
    ]
}

/// Lists the environment that sbuild has.
pub fn environment() -> Vec<(String, String)> {
    [
        ("PATH", invirtibuilder_system::subprocess::PATH),
        ("HOME", "/work"),
        ("USER", BUILDER),
        ("LOGNAME", BUILDER),
        ("LC_ALL", "C.UTF-8"),
        ("SBUILD_CONFIG", "/etc/sbuild.conf"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}

/// Lists the options that every build has.
pub fn options(
    request: &BuildRequest,
    architecture: &Architecture,
    binaries: Binaries,
) -> Vec<String> {
    let wanted: &[&str] = match binaries {
        Binaries::Own => &["--no-arch-all"],
        Binaries::All => &["--arch-all", "--no-arch-any"],
        Binaries::Both => &["--arch-all"],
    };
    let options = [
        "--no-source".to_owned(),
        // As many processes as there are processors, for a package that can (Debian policy 4.9.1,
        // "parallel").
        "--debbuildopt=--jobs-try=auto".to_owned(),
        format!("--dist={}", request.distro),
        format!("--arch={architecture}"),
    ];
    options.into_iter().chain(wanted.iter().map(|&option| option.to_owned())).collect()
}

/// Makes a command in the chroot that installs build dependencies as sbuild does.
pub fn satisfy(dependencies: &Dependencies) -> Vec<String> {
    let path = format!("PATH={}", invirtibuilder_system::subprocess::PATH);
    let mut command: Vec<String> =
        ["env", "-i", &path, "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
            .into_iter()
            .chain(["apt-get", "--yes", "--purge", "--no-install-recommends"])
            .chain(["--option=DPkg::Options::=--force-confold", "--option=DPkg::Use-Pty=false"])
            .chain([
                "--option=APT::Get::Satisfy-Automatic=true",
                "--option=APT::Keep-Downloaded-Packages=false",
            ])
            .chain(["satisfy", "--"])
            .map(str::to_owned)
            .collect();
    command.extend(dependencies.arguments());
    command
}

/// Returns the line of sources.list(5) for a suite of our own, whose archives are below `url`. It
/// comes from this machine's disk, so nobody can have kept an old one: a date that a clock has made
/// wrong keeps nobody from building.
pub fn line(local: &LocalSuite, url: &str) -> String {
    let components: Vec<&str> =
        local.components.iter().map(invirtibuilder_core::names::Component::as_str).collect();
    format!(
        "deb [check-date=no check-valid-until=no] {url}{} {} {}",
        local.place(),
        local.suite.suite,
        components.join(" ")
    )
}

/// Lists the public keys of the suites that a build may have, one a domain: each with a file name
/// of its own.
pub fn keys(request: &BuildRequest) -> impl Iterator<Item = (&Path, String)> {
    let mut keys: Vec<&Path> = request.local.iter().map(|local| &*local.key).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter().enumerate().map(|(n, key)| (key, format!("archive-key-{n}.asc")))
}

/// What sbuild has to do before a package can be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installing {
    /// Everything that the package asks for is there.
    Nothing,
    /// Its dependencies are installed by the lists that the chroot has; those of our own suites are
    /// always fetched.
    FromLists,
    /// The lists are fetched, and then its dependencies are installed.
    AfterUpdate,
}

/// sbuild's command line, as it is seen inside the sandbox.
pub fn command(
    request: &BuildRequest,
    architecture: &Architecture,
    binaries: Binaries,
    installing: Installing,
    dsc: &str,
) -> Vec<String> {
    let mut command: Vec<String> =
        ["sbuild", "--build-path=/build/package"].map(str::to_owned).to_vec();
    command.extend(options(request, architecture, binaries));
    command.push(
        if installing == Installing::AfterUpdate { "--apt-update" } else { "--no-apt-update" }
            .to_owned(),
    );
    if installing == Installing::Nothing {
        // dpkg-buildpackage looks once more whether they are there.
        command.extend(["--build-dep-resolver=null".to_owned(), format!("/input/{dsc}")]);
        return command;
    }
    for local in &request.local {
        let host = super::proxy::HOST;
        command.push(format!("--extra-repository={}", line(local, &format!("http://{host}/"))));
    }
    for (_, name) in keys(request) {
        command.push(format!("--extra-repository-key=/input/{name}"));
    }
    command.push(format!("/input/{dsc}"));
    command
}
