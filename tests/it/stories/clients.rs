//! What other people's tools make of the archive: dget, debdiff, reprepro, apt-mirror and `apt
//! changelog`.

use std::fs;
use std::path::Path;

use crate::world::{Apt, BUILD, CONFIG, World, run};

/// A package whose source is in main and one of whose binary packages is in contrib, with what real
/// packages bring along: maintainer scripts that are links, a signature behind the package, a file
/// that is no package, fields of its own.
const CONTROL: &str = "Source: mixed
Section: net
Priority: optional
Maintainer: Alice <alice@example.org>
Standards-Version: 4.6.2
Rules-Requires-Root: no

Package: aaa-mixed
Architecture: all
Section: contrib/net
XB-Odd_field.name: yes
Description: first
 In contrib.

Package: mixed
Architecture: all
Description: second
 In main.
";

const RULES: &str = "#!/usr/bin/make -f
clean build build-arch build-indep binary-arch:
binary-indep:
	set -e; for p in aaa-mixed mixed; do \\
		rm -rf ../root; mkdir -p ../root/DEBIAN; \\
		printf '#!/bin/sh\\nexit 0\\n' >../root/DEBIAN/postinst; chmod 755 ../root/DEBIAN/postinst; \\
		ln ../root/DEBIAN/postinst ../root/DEBIAN/prerm; \\
		ln -s postinst ../root/DEBIAN/postrm; \\
		dpkg-gencontrol -p$$p -P../root; \\
		dpkg-deb --root-owner-group --build ../root ..; \\
	done
	echo sig >../_gpgorigin
	ar q ../mixed_1.0_all.deb ../_gpgorigin
	echo x >../mixed_1.0_images.tar.gz
	dpkg-distaddfile mixed_1.0_images.tar.gz raw-images -
binary: binary-indep binary-arch
";

#[test]
fn other_tools_read_the_archive() {
    let world = World::new();
    let good = fs::read_to_string(CONFIG).unwrap();
    let config = good.replacen(
        "architectures: [amd64]",
        "architectures: [amd64]\n      components: [main, contrib]",
        2,
    );
    fs::write(CONFIG, config).unwrap();
    let _daemon = world.daemon();
    let repo = world.repo("mixed");
    repo.changelog("mixed", "1.0");
    repo.write("debian/source/format", "3.0 (native)\n");
    repo.write("debian/control", CONTROL);
    repo.write("debian/rules", RULES);
    run("chmod", &["+x", repo.dir.join("debian/rules").to_str().unwrap()]);
    let commit = repo.commit("1.0");
    let job = world.submit("dev", "mixed", &commit);
    world.wait_for(&job, "published", BUILD);
    assert_eq!(world.status(&job)["changes"], "changes/unstable/mixed_1.0/mixed_1.0_amd64.changes");
    world
        .build("alice", &["status", &job])
        .ok()
        .says(&["mixed_1.0_images.tar.gz (raw-images) is no package"]);
    let copy = world.submit("prod", "mixed", &commit);
    world.wait_for(&copy, "published", BUILD);
    world.local(&["verify", "--deep"]).ok();

    let there = tempfile::tempdir().unwrap();
    let dir = there.path().to_str().unwrap();
    for suite in ["stable", "unstable"] {
        let changes = format!("/srv/apt/changes/{suite}/mixed_1.0/mixed_1.0_amd64.changes");
        let text = fs::read_to_string(&changes).unwrap();
        assert!(
            text.contains(&format!("\nDistribution: {suite}\n")) && !text.contains("images"),
            "{text}"
        );
        run(
            "sh",
            &["-ec", "cd $1; mkdir $2; cd $2; dget -q -d -u file://$3", "sh", dir, suite, &changes],
        );
        for file in ["aaa-mixed_1.0_all.deb", "mixed_1.0_all.deb", "mixed_1.0_amd64.buildinfo"] {
            assert!(there.path().join(suite).join(file).exists(), "{file}");
        }
        let same = run("debdiff", &[&changes, &format!("{dir}/{suite}/mixed_1.0_amd64.changes")]);
        assert!(same.contains("File lists identical"), "{same}");
        reprepro(there.path(), suite, &changes);
    }

    let apt = Apt::new("stable");
    let changelog = apt.update().run("apt-get", &["changelog", "mixed"]);
    assert!(changelog.contains("mixed (1.0)"), "{changelog}");
    let script = "
        cd $1; mkdir -p root/var/lib/dpkg/info root/var/lib/dpkg/updates; touch root/var/lib/dpkg/status
        dpkg --root=$1/root --unpack /srv/apt/pool/main/m/mixed/mixed_1.0_all.deb; ls root/var/lib/dpkg/info";
    let unpacked = run("sh", &["-ec", script, "sh", dir]);
    assert!(
        ["mixed.postinst", "mixed.prerm", "mixed.postrm"].iter().all(|it| unpacked.contains(it)),
        "{unpacked}"
    );
    mirror(there.path());
}

/// reprepro takes it, by hand and from a queue, into the component that each package names.
fn reprepro(dir: &Path, suite: &str, changes: &str) {
    let script = "
        base=$1/reprepro-$2; mkdir -p $base/conf $base/in
        printf 'Codename: %s\\nComponents: main contrib\\nArchitectures: amd64 source\\n' $2 >$base/conf/distributions
        printf 'Name: in\\nIncomingDir: %s\\nTempDir: %s\\nAllow: %s\\n' $base/in $base/tmp $2 >$base/conf/incoming
        reprepro -s -b $base include $2 $3; reprepro -b $base list $2; reprepro -s -b $base removefilter $2 Package
        cp -L $(dirname $3)/* $base/in; reprepro -s -b $base processincoming in; reprepro -b $base list $2";
    let said = run("sh", &["-ec", script, "sh", dir.to_str().unwrap(), suite, changes]);
    for line in ["main|amd64: mixed 1.0", "contrib|amd64: aaa-mixed 1.0"] {
        assert_eq!(said.matches(line).count(), 2, "{line}: {said}");
    }
}

/// apt-mirror copies source packages too, which it knows by their MD5 sums.
fn mirror(dir: &Path) {
    let base = dir.join("mirror");
    fs::create_dir(&base).unwrap();
    let list = dir.join("mirror.list");
    let base = base.display();
    let text = format!(
        "set base_path {base}\nset mirror_path {base}\nset skel_path {base}/skel\nset var_path {base}/var\n\
         set nthreads 1\nset _tilde 0\nset run_postmirror 0\ndeb http://localhost:PORT stable main contrib\n\
         deb-src http://localhost:PORT stable main contrib\n"
    );
    fs::write(&list, text).unwrap();
    let script = "
        /usr/bin/python3 -u -m http.server --bind 127.0.0.1 --directory /srv/apt 0 >$1.log 2>/dev/null & server=$!
        trap 'kill $server' EXIT
        until grep -q ' port ' $1.log; do sleep 0.1; done
        sed -i s/PORT/$(sed -n 's/.* port \\([0-9]*\\) .*/\\1/p' $1.log)/ $1
        apt-mirror $1 && find $2 -path '*/pool/*' -type f -printf '%f\\n'";
    let said = run("sh", &["-ec", script, "sh", list.to_str().unwrap(), &base.to_string()]);
    for file in ["mixed_1.0.dsc", "mixed_1.0.tar.xz", "mixed_1.0_all.deb", "aaa-mixed_1.0_all.deb"]
    {
        assert!(said.lines().any(|line| line == file), "{file}: {said}");
    }
}
