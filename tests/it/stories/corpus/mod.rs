//! The hostile corpus (tests/hostile/README.md): every attack fails, nothing outside has changed,
//! and the next build is as the one before. `IB_ISOLATION` says which isolation of builds is
//! attacked; without it, it is the default. `IB_EXECUTOR=slurm`: this machine is a node, and builds
//! there are attacked.

use std::fs;

mod attacks;
mod inside;
mod pockets;

use crate::world::cluster::Cluster;
use crate::world::{Daemon, Repo, World, run};

/// The longest that a build of the corpus may take: an emulated machine is slow.
const LONG: std::time::Duration = std::time::Duration::from_secs(1200);

/// Which isolation is attacked; empty: the default.
fn isolation() -> String {
    std::env::var("IB_ISOLATION").unwrap_or_default()
}

/// Every attack that may use up to so much fails sooner.
const LIMITS: &str =
    "limits: { time: 20m, silence: 10m, memory: 1500M, disk: 3G, processes: 500, log: 4M }";

/// The service with what is attacked, and what it has to be like afterwards.
struct Range {
    world: World,
    honest: Repo,
    versions: u32,
    first: Option<String>,
    cluster: Option<Cluster>,
}

impl Range {
    fn new() -> Self {
        let world = World::new();
        let is_on_slurm = std::env::var("IB_EXECUTOR").is_ok_and(|executor| executor == "slurm");
        let cluster = is_on_slurm.then(Cluster::here);
        if isolation() == "vm" {
            world.image();
        }
        let isolation = match isolation().as_str() {
            "" => String::new(),
            isolation => format!("isolation: {isolation}, "),
        };
        let pocket = format!("{{ {isolation}{LIMITS} }}");
        let mixed =
            "acl: [ 'file:/etc/invirtibuilder/acl/dev' ], distro: bookworm, architectures: [amd64]";
        let mixed =
            format!("mixed: {{ {mixed}, build_depends_from: [mixed, dev], {isolation}{LIMITS} }}");
        let text = format!("build: {{ pockets: {{ prod: {pocket}, dev: {pocket}, {mixed} }} }}\n");
        fs::write("/etc/invirtibuilder/conf.d/corpus.yaml", text).unwrap();
        let honest = world.repo("honest");
        Self { world, honest, versions: 0, first: None, cluster }
    }

    /// Builds an honest package, whose only binary package holds what its build was like: every
    /// file of its root and every package that was installed. It is byte for byte the one of the
    /// first time.
    fn honest_build(&mut self) {
        // Machines start from nothing that is unpacked, and nodes unpack it themselves.
        if isolation() != "vm" && self.cluster.is_none() {
            self.world.wait_until_ready();
        }
        self.versions += 1;
        let version = format!("1.{}", self.versions);
        self.honest.tiny(&version, crate::world::Tiny::Works);
        let control = fs::read_to_string(self.honest.dir.join("debian/control")).unwrap();
        let control =
            control.replace("Standards-Version", "Build-Depends: hello\nStandards-Version");
        self.honest.write("debian/control", &control);
        self.honest.write("debian/look", LOOK);
        let rules = fs::read_to_string(self.honest.dir.join("debian/rules")).unwrap();
        let rules = rules.replace(&format!("echo {version} >"), "sh debian/look >");
        self.honest.write("debian/rules", &rules);
        let commit = self.honest.commit(&version);
        let job = self.world.submit("prod", "honest", &commit);
        self.world.wait_for(&job, "published", LONG);
        let deb = format!("/srv/apt/pool/main/h/honest/honest_{version}_all.deb");
        let data = run("sh", &["-c", &format!("ar p {deb} data.tar.gz | sha256sum")]);
        let seen = run(
            "sh",
            &["-c", &format!("dpkg-deb --fsys-tarfile {deb} | tar -xO ./usr/share/honest/version")],
        );
        assert!(
            seen.contains(" /usr/bin/hello") && seen.lines().count() > 3000,
            "it did not look: {seen}"
        );
        match &self.first {
            None => {
                fs::write("/tmp/honest", seen).unwrap();
                self.first = Some(data);
            }
            Some(first) if *first == data => {}
            Some(_) => {
                fs::write("/tmp/honest-now", seen).unwrap();
                let differs = crate::world::Answer::of(
                    std::process::Command::new("diff").args(["/tmp/honest", "/tmp/honest-now"]),
                );
                panic!("an honest build is not what it was:\n{}", differs.out);
            }
        }
    }

    fn daemon(&self) -> Daemon {
        self.world.daemon()
    }
}

/// What an honest build sees. Where apt and dpkg keep times, and what is about this build, is left
/// out; so is the empty package by which sbuild has dependencies installed where they are not there
/// already.
const LOOK: &str = r"
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /build -o -path /var/cache \
	-o -path /var/log -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /etc/apt \) -prune -o -printf '%m %u %g %l %p\n' | sort
find /usr /etc /opt /srv /home -xdev -path /etc/apt -prune -o -type f -readable -print0 | sort -z | xargs -0 sha256sum
dpkg-query -W | grep -v ^sbuild-build-depends | sort
";
