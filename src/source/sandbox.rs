//! Where programs run that read what a repository holds: they see `/usr`, their work directory, and nothing else.

use std::path::Path;

use crate::subprocess::Cmd;

/// A file that they write is not larger than this: a small delta can stand for a huge tarball.
const MAX_FILE: u64 = 32 << 30;

/// A command that runs `program` in `/work`, which is `work`, writable. The caller adds the program's arguments.
pub fn command(work: &Path, read_only: &[(&Path, &str)], program: &str) -> Cmd {
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
        .arg(format!("--fsize={MAX_FILE}"))
        .args(["--core=0", program])
}
