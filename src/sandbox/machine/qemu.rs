//! Writes QEMU's command line, and starts its processes.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::{Deserialize, Serialize};

use crate::machine::{Machine, initrd};

/// The processor that carries a machine out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accelerator {
    /// The host's processor, by /dev/kvm.
    Kvm,
    /// QEMU itself.
    Tcg,
}

/// The bytes of translated code that QEMU keeps when it emulates.
const TRANSLATED: u64 = 256 << 20;

/// Makes a disk for this build alone: the image, with what is written beside it.
pub fn make_disk(machine: &Machine, at: &Path) -> Result<()> {
    let done = Command::new("/usr/bin/qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(&machine.image)
        .arg(at)
        .arg(machine.disk.to_string())
        .env_clear()
        .stdin(Stdio::null())
        .status()
        .context("cannot run qemu-img")?;
    if !done.success() {
        bail!("qemu-img cannot make a disk");
    }
    Ok(())
}

/// Starts QEMU in namespaces of its own, with no network, and with system calls that it does not
/// need forbidden. It ends with us.
pub fn start(
    machine: &Machine,
    initrd: &Path,
    disk: &Path,
    agent: OwnedFd,
    console: OwnedFd,
) -> Result<Child> {
    for fd in [&agent, &console] {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command
        .args([
            "--pdeathsig",
            "KILL",
            "--no-new-privs",
            "--",
            "/usr/bin/unshare",
            "--user",
            "--map-current-user",
        ])
        .args(["--net", "--ipc", "--pid", "--fork", "--kill-child=KILL", "--"])
        .args(arguments(machine, initrd, disk, agent.as_raw_fd(), console.as_raw_fd()))
        .env_clear()
        .env("PATH", invirtibuilder_system::subprocess::PATH)
        .env("TMPDIR", &machine.scratch)
        .stdin(Stdio::null());
    command.spawn().context("cannot start QEMU")
}

fn arguments(
    machine: &Machine,
    initrd: &Path,
    disk: &Path,
    agent: i32,
    console: i32,
) -> Vec<String> {
    let (accelerator, processor) = match machine.accelerator {
        Accelerator::Kvm => ("kvm".to_owned(), "host"),
        Accelerator::Tcg => (format!("tcg,thread=multi,tb-size={}", TRANSLATED >> 20), "max"),
    };
    // A comma in a value is written twice.
    let disk = disk.display().to_string().replace(',', ",,");
    let processors = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    let words = [
        // Only what is named here, and nobody's own configuration.
        "/usr/bin/qemu-system-x86_64",
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-machine",
        "pc,mem-merge=off,dump-guest-core=off",
        "-accel",
        &accelerator,
        "-cpu",
        processor,
        "-smp",
        &processors.to_string(),
        "-m",
        &format!("{}M", machine.ram >> 20),
        "-kernel",
        &machine.kernel.display().to_string(),
        "-initrd",
        &initrd.display().to_string(),
        "-append",
        // An emulated timer that a loaded host delays is no broken one.
        &format!("console=ttyS0 quiet panic=-1 no_timer_check {}", initrd::INIT),
        "-drive",
        // What is lost in a power cut is lost anyway.
        &format!(
            "if=none,id=root,file={disk},format=qcow2,cache=unsafe,discard=unmap,werror=report"
        ),
        "-device",
        "virtio-blk-pci,drive=root",
        "-device",
        "virtio-rng-pci",
        "-device",
        "virtio-serial-pci",
        "-chardev",
        &format!("socket,id=agent,fd={agent}"),
        "-device",
        "virtserialport,chardev=agent,name=agent",
        "-chardev",
        &format!("socket,id=console,fd={console}"),
        "-serial",
        "chardev:console",
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ];
    words.map(str::to_owned).to_vec()
}
