//! Makes the root of the testbed: a chroot that nobody can write, with a layer above it that dies
//! with the build.

use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root, sethostname};
use serde::{Deserialize, Serialize};

use crate::dev;

/// The user in the chroot that builds packages; sbuild finds it by the name that its own has.
pub const BUILDER: &str = "builder";

/// The id of that user, if it is free.
const BUILDER_ID: u32 = 1000;

const NONE: Option<&str> = None;

/// The description of the root. Paths are those of the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub struct Root {
    /// An empty directory that root of the testbed owns, with room for what the build writes.
    pub scratch: PathBuf,
    /// The path of the chroot's tarball.
    pub tarball: PathBuf,
    /// The chroot as a directory, if there is one.
    pub unpacked: Option<UnpackedRoot>,
    /// The files that the root gets, each with its path from the root and its content.
    pub files: Vec<(String, String)>,
    /// Whether its programs are of 32 bits, and see a machine that is, too (setarch(8)).
    pub narrow: bool,
}

/// A chroot that is a directory, of files that belong to the testbed's ids.
#[derive(Debug, Serialize, Deserialize)]
pub enum UnpackedRoot {
    /// These directories, the uppermost first, lie below a layer in the scratch directory, and stay
    /// what they are. One alone is copied there if need be.
    Below(Vec<PathBuf>),
    /// This directory is the root, and what is written stays. If it is empty, the tarball is
    /// unpacked there.
    Itself(PathBuf),
}

impl Root {
    /// Makes the root, and leaves everything else behind.
    pub fn enter(&self) -> Result<()> {
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
            .context("cannot make mounts private")?;
        let root = self.base()?;
        devices(&root)?;
        fs::create_dir_all(root.join("proc"))?;
        mount(Some("proc"), &root.join("proc"), Some("proc"), MsFlags::empty(), NONE)
            .context("cannot mount /proc")?;
        // From here on a path of the chroot means what it means to the chroot.
        chdir(&root)?;
        pivot_root(".", ".").context("cannot change the root")?;
        umount2(".", MntFlags::MNT_DETACH).context("cannot leave the sandbox's file system")?;
        chdir("/")?;
        sethostname("build")?;
        if self.narrow {
            see_32_bits()?;
        }
        for (path, text) in &self.files {
            put(&Path::new("/").join(path), text)?;
        }
        know_the_builder()
    }

    /// Mounts the chroot's files. Returns where.
    fn base(&self) -> Result<PathBuf> {
        let root = match &self.unpacked {
            Some(UnpackedRoot::Itself(root)) => root.clone(),
            _ => {
                let root = self.scratch.join("root");
                fs::create_dir(&root)?;
                root
            }
        };
        if let Some(UnpackedRoot::Below(lower)) = &self.unpacked {
            if self.layer(lower, &root)? {
                return Ok(root);
            }
            let [one] = &lower[..] else { bail!("the kernel cannot mount a layer in memory") };
            // With the lists that it has, on which the build relies.
            copy(one, &root)?;
        }
        if fs::read_dir(&root)?.next().is_none() {
            unpack(&self.tarball, &root)?;
        }
        mount(Some(&root), &root, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
            .context("cannot mount the root")?;
        Ok(root)
    }

    /// Mounts a layer over a chroot. Returns whether the kernel can.
    fn layer(&self, lower: &[PathBuf], root: &Path) -> Result<bool> {
        let (upper, work) = (self.scratch.join("upper"), self.scratch.join("work"));
        for dir in [&upper, &work] {
            DirBuilder::new().mode(0o755).create(dir)?;
        }
        let lower: Vec<String> = lower.iter().map(|path| path.display().to_string()).collect();
        let (lower, upper, work) = (lower.join(":"), upper.display(), work.display());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work},userxattr");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        if mount(Some("build"), root, Some("overlay"), flags, Some(options.as_str())).is_err() {
            return Ok(false);
        }
        // Where files in memory have no extended attributes (Linux before 6.6), directories cannot
        // be replaced.
        let replaced =
            fs::remove_dir_all(root.join("srv")).and_then(|()| fs::create_dir(root.join("srv")));
        if replaced.is_err() {
            umount2(root, MntFlags::MNT_DETACH)?;
        }
        Ok(replaced.is_ok())
    }
}

/// Shows a machine of 32 bits to this process and those that it starts (personality(2)).
fn see_32_bits() -> Result<()> {
    /// The number of a machine of 32 bits, from linux/personality.h.
    const PER_LINUX32: libc::c_ulong = 8;
    // SAFETY: it takes a number, and changes what uname(2) says.
    #[allow(unsafe_code)]
    let done = unsafe { libc::personality(PER_LINUX32) };
    Errno::result(done).context("cannot be a machine of 32 bits")?;
    Ok(())
}

fn unpack(tarball: &Path, root: &Path) -> Result<()> {
    let mut tar = Command::new("/usr/bin/tar");
    tar.args([
        "--extract",
        "--preserve-permissions",
        "--numeric-owner",
        "--exclude=./dev/*",
        "--file",
    ]);
    run(tar.arg(tarball).arg("--directory").arg(root))
        .with_context(|| format!("cannot unpack {}", tarball.display()))
}

/// Copies the entries of a directory, as they are.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut cp = Command::new("/usr/bin/cp");
    run(cp.args(["--archive", "--"]).arg(from.join(".")).arg(to))
        .with_context(|| format!("cannot copy {}", from.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let done = command
        .env_clear()
        .env("PATH", invirtibuilder_system::subprocess::PATH)
        .stdin(Stdio::null())
        .status()?;
    if !done.success() {
        bail!("it ended with {done}");
    }
    Ok(())
}

/// Binds the devices of the sandbox, which are those of every build.
fn devices(root: &Path) -> Result<()> {
    let dev = root.join("dev");
    fs::create_dir_all(&dev)?;
    for name in ["null", "zero", "full", "random", "urandom", "tty", "console"] {
        let (from, to) = (Path::new("/dev").join(name), dev.join(name));
        let _ = fs::remove_file(&to);
        File::create(&to)?;
        mount(Some(&from), &to, NONE, MsFlags::MS_BIND, NONE)
            .with_context(|| format!("cannot bind /dev/{name}"))?;
    }
    for (name, mode) in [("pts", 0o755), ("shm", 0o1777)] {
        fs::create_dir_all(dev.join(name))?;
        fs::set_permissions(dev.join(name), fs::Permissions::from_mode(mode))?;
    }
    dev::complete(&dev, "newinstance,ptmxmode=0666,mode=0620,gid=5")
}

fn put(path: &Path, text: &str) -> Result<()> {
    let what = || format!("cannot write {}", path.display());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(what)?;
    }
    let _ = fs::remove_file(path);
    fs::write(path, text).with_context(what)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).with_context(what)
}

/// Adds to the chroot the users that sbuild asks it for, and the directories that they need.
fn know_the_builder() -> Result<()> {
    let passwd = fs::read_to_string("/etc/passwd").context("the chroot has no /etc/passwd")?;
    let group = fs::read_to_string("/etc/group").context("the chroot has no /etc/group")?;
    // Whoever has made the layer below knew it already.
    let known = passwd.lines().map(|line| line.split(':')).find_map(|mut fields| {
        (fields.next() == Some(BUILDER)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    let id = known.unwrap_or_else(|| free(&passwd, &group));
    let has =
        |text: &str, name: &str| text.lines().any(|line| line.split(':').next() == Some(name));
    if !has(&group, "sbuild") {
        append("/etc/group", &format!("sbuild:x:{id}:\n"))?;
    }
    for name in ["sbuild", BUILDER] {
        if !has(&passwd, name) {
            // Both are one: the one that sbuild knows, and the one that runs it.
            append("/etc/passwd", &format!("{name}:x:{id}:{id}::/var/lib/sbuild:/bin/sh\n"))?;
        }
    }
    fs::create_dir_all("/build")?;
    chown("/build", Some(id), Some(id))?;
    fs::create_dir_all("/var/lib/sbuild")?;
    Ok(())
}

/// Finds an id that neither file has.
fn free(passwd: &str, group: &str) -> u32 {
    let taken = |id: u32| {
        let id = id.to_string();
        passwd.lines().chain(group.lines()).any(|line| line.split(':').nth(2) == Some(&id))
    };
    (BUILDER_ID..).find(|id| !taken(*id)).unwrap_or(BUILDER_ID)
}

fn append(path: &str, line: &str) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let mut file =
        File::options().append(true).open(path).with_context(|| format!("cannot write {path}"))?;
    // A file that ends in the midst of a line is still one of lines.
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    Ok(write!(file, "{gap}{line}")?)
}

#[cfg(test)]
mod tests {
    use crate::testbed::root::*;

    #[test]
    fn a_copy_is_what_it_was_copied_from() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("a/.hidden"), "text").unwrap();
        fs::set_permissions(from.join("a/.hidden"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::hard_link(from.join("a/.hidden"), from.join("same")).unwrap();
        std::os::unix::fs::symlink("/nowhere", from.join("link")).unwrap();
        copy(&from, &to).unwrap();
        let list = |dir: &Path| {
            let mut find = Command::new("find");
            let said = find
                .current_dir(dir)
                .args([".", "-printf", "%p %y %m %n %l %T@\n"])
                .output()
                .unwrap();
            let mut lines: Vec<_> =
                String::from_utf8(said.stdout).unwrap().lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(list(&to), list(&from));
        assert_eq!(list(&to).len(), 6);
        assert!(copy(&from.join("gone"), &to).is_err());
    }

    #[test]
    fn the_builders_id_is_nobody_elses() {
        assert_eq!(free("root:x:0:0::/root:/bin/sh\n", "root:x:0:\n"), 1000);
        assert_eq!(free("a:x:1000:1::/:/bin/sh\n", "b:x:1001:\n"), 1002);
    }
}
