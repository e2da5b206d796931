//! Where programs of the host run that read what nobody vouches for: they see `/usr`, a directory to work in, and nothing else.

use std::path::Path;

use crate::subprocess::Cmd;

/// A command that runs `program` in `/work`, which is the directory `work`, writable, with no network; no file that it writes is longer
/// than `room` bytes. The caller adds the program's arguments.
pub fn command(work: &Path, room: u64, read_only: &[(&Path, &str)], program: &str) -> Cmd {
    let mut cmd = Cmd::new("bwrap")
        .args(["--unshare-all", "--die-with-parent", "--new-session", "--uid", "1000", "--gid", "1000"])
        .args(["--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin"])
        .args(["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--dev", "/dev", "--proc", "/proc"])
        .args(["--ro-bind-try", "/etc/dpkg/origins", "/etc/dpkg/origins", "--tmpfs", "/tmp"]);
    for (from, to) in read_only {
        cmd = cmd.arg("--ro-bind").arg(from).arg(to);
    }
    cmd.arg("--bind")
        .arg(work)
        .args(["/work", "--chdir", "/work", "--setenv", "HOME", "/work", "--setenv", "TZ", "UTC", "--"])
        .arg("prlimit")
        .arg(format!("--fsize={room}"))
        .args(["--core=0", program])
}
