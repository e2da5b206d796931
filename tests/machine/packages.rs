//! Packages that need nothing but what they name, and what they do when they are built.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use invirtibuilder_tests_common::run;

use crate::world::{HERE, SERVICE};

/// A package whose build runs a script.
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// Its build dependencies.
    needs: &'static str,
    /// The script, for bash.
    script: &'static str,
}

/// It uses a build dependency, and tries to leave its control group.
pub const MODEST: Package = Package {
    name: "modest",
    needs: "hello",
    script: r#"
hello >/dev/null
escaped() { echo "escaped: $*"; exit 1; }
[ ! -e /sys/fs/cgroup/cgroup.procs ] || escaped the tree is there
grep -qx 0::/ /proc/self/cgroup || escaped it is known where the group is
unshare --user --map-root-user --mount --cgroup bash -eu <<'INNER'
mount -t cgroup2 groups /mnt || { echo "no tree"; exit 0; }
for file in memory.max pids.max cgroup.procs cgroup.subtree_control cgroup.kill; do
	[ -e "/mnt/$file" ] || { echo "no $file"; continue; }
	for word in max 1 0 -pids; do
		if echo "$word" 2>/dev/null >"/mnt/$file"; then echo "escaped: $file takes $word"; exit 1; fi
	done
done
if mkdir /mnt/mine 2>/dev/null; then echo "escaped: a group of its own"; exit 1; fi
INNER
echo held
"#,
};

/// Many processes, each of which has little memory.
pub const HERD: Package = Package {
    name: "herd",
    needs: "",
    script: r#"
echo now
sleep 20
for n in 1 2 3 4 5 6 7 8 9 10; do
	perl -e 'open F, "/dev/zero"; sysread F, $x, 20 << 20; sleep 3000' &
done
wait
"#,
};

/// Memory that no process has: only the kernel can count it.
pub const HOARD: Package = Package {
    name: "hoard",
    needs: "",
    script: r"
unshare --user --map-root-user --mount sh -c \
	'mount -t tmpfs hoard /mnt && head -c 1900M /dev/zero >/mnt/hoard; sleep 3000'
",
};

/// Processes without an end.
pub const BOMB: Package = Package {
    name: "bomb",
    needs: "",
    script: r"
echo now
sleep 20
perl -e 'while (1) { fork }'
",
};

/// Processes that hear no signal and leave their session.
pub const DESERTER: Package = Package {
    name: "deserter",
    needs: "",
    script: r#"
setsid perl -e '
	$SIG{$_} = "IGNORE" for qw(TERM HUP INT PIPE CHLD);
	$0 = "deserter";
	fork;
	sleep 3000;
' &
echo now
sleep 3000
"#,
};

const RULES: &str = "\
#!/usr/bin/make -f
binary: binary-indep
build build-indep build-arch binary-arch clean:
binary-indep:
\tbash -eu debian/script
\tmkdir -p debian/tmp/DEBIAN
\tdpkg-gencontrol
\tdpkg-deb --root-owner-group --build debian/tmp ..
";

impl Package {
    /// Writes its tree for the service's user, and returns where that is.
    pub fn write(&self) -> PathBuf {
        let Self { name, needs, script } = self;
        let tree = Path::new(HERE).join(name);
        fs::create_dir_all(tree.join("debian/source")).unwrap();
        let write = |file: &str, text: &str| fs::write(tree.join(file), text).unwrap();
        write("debian/script", script);
        write("debian/source/format", "3.0 (native)\n");
        write(
            "debian/control",
            &format!(
                "Source: {name}\nSection: misc\nPriority: optional\n\
                 Maintainer: Alice <alice@example.org>\nBuild-Depends: {needs}\n\
                 Standards-Version: 4.6.2\nRules-Requires-Root: no\n\n\
                 Package: {name}\nArchitecture: all\n\
                 Description: small package\n It is there to be built.\n"
            ),
        );
        write(
            "debian/changelog",
            &format!(
                "{name} (1.0) unstable; urgency=medium\n\n  * A change.\n\n \
                 -- Alice <alice@example.org>  Mon, 06 Jan 2025 12:00:00 +0000\n"
            ),
        );
        write("debian/rules", RULES);
        fs::set_permissions(tree.join("debian/rules"), fs::Permissions::from_mode(0o755)).unwrap();
        run("chown", &["-R", &format!("{SERVICE}:"), tree.to_str().unwrap()]);
        tree
    }
}
