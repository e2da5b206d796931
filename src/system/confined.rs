//! Runs programs that read what nobody vouches for: they see `/usr`, a directory to work in, and
//! nothing else, and are refused the system calls that a build is refused.

use std::fs;
use std::path::Path;

use crate::filter::Programs;
use crate::subprocess::Cmd;

/// The directories that are often links into `/usr`.
const TOP: [&str; 5] = ["bin", "sbin", "lib", "lib32", "lib64"];

/// The directory within a command's own that is its `/tmp`.
const TEMPORARY: &str = ".tmp";

/// Makes a command that runs `program` of the root file system `root` in `/work`, which is the
/// directory `work`, writable, with no network. No file that it writes is longer than `room` bytes.
/// The caller adds the program's arguments.
pub fn command(
    root: &Path,
    work: &Path,
    room: u64,
    read_only: &[(&Path, &str)],
    program: &str,
) -> Cmd {
    let mut cmd = Cmd::new("bwrap")
        .filtered(Programs::Native)
        .args([
            "--unshare-all",
            "--die-with-parent",
            "--new-session",
            "--uid",
            "1000",
            "--gid",
            "1000",
        ])
        .arg("--ro-bind")
        .arg(root.join("usr"))
        .args(["/usr", "--dev", "/dev", "--proc", "/proc"]);
    for name in TOP {
        let (path, seen) = (root.join(name), format!("/{name}"));
        cmd = match fs::symlink_metadata(&path) {
            Ok(there) if there.is_dir() => cmd.arg("--ro-bind").arg(path).arg(seen),
            Ok(_) => cmd.arg("--symlink").arg(format!("usr/{name}")).arg(seen),
            Err(_) => cmd,
        };
    }
    cmd = cmd.arg("--ro-bind-try").arg(root.join("etc/dpkg/origins")).arg("/etc/dpkg/origins");
    for (from, to) in read_only {
        cmd = cmd.arg("--ro-bind").arg(from).arg(to);
    }
    // On the disk, where it counts for what may be written: in memory it would be everybody's.
    let temporary = work.join(TEMPORARY);
    let _ = fs::create_dir(&temporary);
    cmd.arg("--bind")
        .arg(temporary)
        .arg("/tmp")
        .arg("--bind")
        .arg(work)
        .args([
            "/work", "--chdir", "/work", "--setenv", "HOME", "/work", "--setenv", "TZ", "UTC", "--",
        ])
        .arg("prlimit")
        .arg(format!("--fsize={room}"))
        .args(["--core=0", program])
}

#[cfg(test)]
mod tests {
    use crate::confined::*;

    #[test]
    fn a_confined_program_is_held_to_the_filter() {
        let work = tempfile::tempdir().unwrap();
        // A socket of AF_PACKET and one of AF_UNIX; socket(2) is asked as the processor has it.
        let script = "use Socket; print socket(my $a, 17, SOCK_DGRAM, 0) ? 0 : $!+0, ' ', socket(my $b, AF_UNIX, SOCK_DGRAM, 0) ? 0 : $!+0, \
                      ' ', join(' ', grep { /^Seccomp:/ } qx(cat /proc/self/status))";
        let cmd = command(Path::new("/"), work.path(), 1 << 20, &[], "perl").args(["-e", script]);
        let said = String::from_utf8(cmd.run_blocking().unwrap().success().unwrap()).unwrap();
        assert_eq!(said, format!("{} 0 Seccomp:\t2\n", nix::libc::EAFNOSUPPORT));
    }
}
