//! Runs the virtual machine of a build, in place of a testbed: QEMU in the sandbox, and a process
//! that answers for it at the testbed's socket.
//!
//! QEMU runs as a user of the sandbox that owns nothing else, so what gets out of the machine is
//! still in the sandbox. QEMU gets the image's kernel and initial file system, with our agent
//! behind the latter. The image itself is shared and read-only; what the machine writes goes beside
//! it and dies with the build. There is one port into the machine, over which its agent runs
//! commands (see `frame.rs`), and no network: connections of apt come out over that port too.
//! Nothing that a machine wrote is mounted outside of it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

mod console;
mod frame;
#[cfg(test)]
mod hostile;
mod initrd;
pub mod kvm;
mod link;
mod qemu;
mod stream;

use crate::forwarder;
use crate::status::Status;
use crate::testbed::{self, BUILDER, CodeOf};
use console::Console;
use frame::{Heard, MachineBreach, Tell};
use invirtibuilder_core::config::{ByteSize, Limits};
use link::Link;
pub use qemu::Accelerator;

/// The name of a file in the machine's scratch directory: it is there when the machine's disk was
/// ever full.
pub const FULL: &str = "full";

/// The longest that a machine may take until its agent is there: by the host's processor, and
/// emulated on a loaded host.
const START: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];

/// The memory of the machine beyond what its processes may have, in bytes: its kernel's own.
const KERNEL: u64 = 256 << 20;

/// The memory beyond the machine's, in bytes: QEMU's own, and sbuild's.
const OVERHEAD: u64 = 768 << 20;

/// The disk space beyond the machine's, in bytes: its initial file system, the tables of its disk,
/// the results.
const ROOM: u64 = 1 << 30;

/// The processes and threads outside of the machine: QEMU's, and sbuild's.
const PROCESSES: u64 = 512;

/// The description of a machine. Paths are those of the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub struct Machine {
    /// An empty directory of the machine's own.
    pub scratch: PathBuf,
    /// The path of its kernel.
    pub kernel: PathBuf,
    /// The path of the kernel's initial file system.
    pub initrd: PathBuf,
    /// The path of its root, an ext4 file system.
    pub image: PathBuf,
    /// The processor that carries the machine out.
    pub accelerator: Accelerator,
    /// The size of its memory, in bytes.
    pub ram: u64,
    /// The most memory that its processes may have, in bytes.
    pub memory: u64,
    /// The most processes and threads in it.
    pub processes: u64,
    /// The size of its disk, in bytes.
    pub disk: u64,
    /// The files that the machine gets, each with its path from the root and its content.
    pub files: Vec<(String, String)>,
}

/// The memory that a build in a machine has beyond what its processes may have, in bytes.
pub const MORE_MEMORY: u64 = KERNEL + OVERHEAD;

impl Machine {
    /// Describes a machine for a build with these limits, in this scratch directory.
    pub fn new(
        scratch: &str,
        limits: &Limits,
        accelerator: Accelerator,
        files: Vec<(String, String)>,
    ) -> Self {
        let ram = (limits.memory.0 + KERNEL).min(most_ram());
        Self {
            scratch: scratch.into(),
            kernel: "/kernel".into(),
            initrd: "/initrd".into(),
            image: "/image".into(),
            accelerator,
            ram,
            memory: limits.memory.0.min(ram - KERNEL.min(ram / 2)),
            processes: limits.processes,
            disk: limits.disk.0,
            files,
        }
    }

    /// Returns the limits of the sandbox around the machine.
    pub fn outer(&self, limits: &Limits) -> Limits {
        Limits {
            memory: ByteSize(self.ram + OVERHEAD),
            disk: ByteSize(around(self.disk)),
            processes: PROCESSES,
            ..limits.clone()
        }
    }
}

/// Returns the bytes that the sandbox around a machine may write, if the machine may write `disk`.
pub fn around(disk: u64) -> u64 {
    disk.saturating_add(ROOM)
}

/// Returns the bytes of the scratch directory of a machine that may write `disk`. Its initial file
/// system, which is in it too, has `initrd` bytes.
pub fn scratch_size(disk: u64, initrd: u64) -> u64 {
    // A qcow2 file has some hundred bytes of tables for each MiB.
    disk.saturating_add(disk >> 10).saturating_add(initrd).saturating_add(4 << 20)
}

/// Finds the most memory that a machine gets, in bytes: three quarters of the host's.
fn most_ram() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.map_or(u64::MAX, |kib: u64| (kib << 10) / 4 * 3)
}

/// Runs the machine that the text describes, and serves at the socket that is the standard input.
pub fn main(description: &str) -> ExitCode {
    let status = run(description).unwrap_or_else(|error| {
        println!(
            "the virtual machine does not work: {}",
            invirtibuilder_core::text::one_line(&format!("{error:#}"))
        );
        Status::MachineEnded
    });
    ExitCode::from(status.code())
}

fn run(description: &str) -> Result<Status> {
    let machine: Machine = serde_json::from_str(description)?;
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let console = Console::default();
    let started =
        prepare(&machine).map_err(|error| (Status::NotStarted, error)).and_then(|files| {
            let status = if machine.accelerator == Accelerator::Kvm {
                Status::NoKvm
            } else {
                Status::NotStarted
            };
            start(&machine, files, &console).map_err(|error| (status, error))
        });
    let (mut from, to) = started.unwrap_or_else(|(status, error)| {
        // What it said last may be under way.
        thread::sleep(Duration::from_millis(200));
        console.tail().iter().for_each(|line| println!("console: {line}"));
        println!(
            "the virtual machine does not start: {}",
            invirtibuilder_core::text::one_line(&format!("{error:#}"))
        );
        std::process::exit(status.code().into())
    });
    let link = Arc::new(Link::new(to, (Ipv4Addr::LOCALHOST, forwarder::PORT).into()));
    let server = link.clone();
    thread::spawn(move || accept(&listener, &server));
    listen(&mut from, &link, &machine.scratch)
}

/// Listens to the machine until the build cannot go on. Returns the exit status that says why; an
/// error says what is wrong with the machine.
fn listen(from: &mut impl Read, link: &Arc<Link>, scratch: &Path) -> Result<Status> {
    loop {
        match frame::hear(from)? {
            None => bail!("it has ended"),
            Some(Heard::Breach(MachineBreach::Memory)) => return Ok(Status::Memory),
            Some(Heard::Breach(MachineBreach::Processes)) => return Ok(Status::Processes),
            // It is for the build to fail by it.
            Some(Heard::Breach(MachineBreach::Disk)) => drop(File::create(scratch.join(FULL))?),
            Some(heard) => link.take(heard).context("it said something about")?,
        }
    }
}

/// Makes the files that QEMU gets: the initial file system with ours in it, and the disk.
fn prepare(machine: &Machine) -> Result<[PathBuf; 2]> {
    let [initrd, disk] = ["initrd", "disk"].map(|name| machine.scratch.join(name));
    initrd::write(&machine.initrd, &initrd)?;
    qemu::make_disk(machine, &disk)?;
    Ok([initrd, disk])
}

/// Starts the machine and waits until it can run commands. Returns the two ends of the way into it.
fn start(
    machine: &Machine,
    [initrd, disk]: [PathBuf; 2],
    console: &Console,
) -> Result<(UnixStream, UnixStream)> {
    let ((mut from, agent), (screen, serial)) = (UnixStream::pair()?, UnixStream::pair()?);
    qemu::start(machine, &initrd, &disk, agent.into(), serial.into())?;
    console.watch(screen);
    let limit = START[usize::from(machine.accelerator == Accelerator::Tcg)];
    from.set_read_timeout(Some(limit))?;
    let mut to = from.try_clone()?;
    expect(&mut from, &Heard::Hello, limit)?;
    for (path, text) in &machine.files {
        send(&mut to, path, text)?;
    }
    let go = format!("{} {} {} {BUILDER}", machine.memory, machine.processes, machine.disk);
    frame::tell(&mut to, Tell::Go, 0, 0, go.as_bytes())?;
    expect(&mut from, &Heard::Ready, limit)?;
    from.set_read_timeout(None)?;
    Ok((from, to))
}

/// Sends a file, in as many pieces as it takes.
fn send(to: &mut impl Write, path: &str, text: &str) -> Result<()> {
    let room = frame::PIECE
        .checked_sub(path.len() + 1)
        .filter(|room| *room > 0)
        .context("a path is too long")?;
    // A file without content has a piece, too.
    let pieces =
        if text.is_empty() { vec![&b""[..]] } else { text.as_bytes().chunks(room).collect() };
    for (n, piece) in pieces.into_iter().enumerate() {
        frame::tell(to, Tell::File, 0, u8::from(n > 0), &[path.as_bytes(), b"\0", piece].concat())?;
    }
    Ok(())
}

fn expect(from: &mut UnixStream, wanted: &Heard, limit: Duration) -> Result<()> {
    match frame::hear(from) {
        Ok(Some(heard)) if heard == *wanted => Ok(()),
        Ok(Some(_)) => bail!("its agent does not speak as ours does"),
        Ok(None) => bail!("it has ended"),
        Err(error) => {
            Err(error).with_context(|| format!("its agent said nothing for {} s", limit.as_secs()))
        }
    }
}

fn accept(listener: &UnixListener, link: &Arc<Link>) {
    loop {
        let Ok((mut client, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        let link = link.clone();
        thread::spawn(move || {
            // One bad request is that client's own affair.
            if let Err(error) = serve(&mut client, &link) {
                let _ = testbed::answer(&mut client, testbed::NOT_STARTED, &format!("{error:#}"));
            }
        });
    }
}

fn serve(client: &mut UnixStream, link: &Arc<Link>) -> Result<()> {
    let (words, streams) = testbed::heard(client)?;
    if words.is_empty() {
        return testbed::answer(client, 0, "");
    }
    link.run(client, &words, streams, CodeOf::command(&words))
}

#[cfg(test)]
mod tests {
    use crate::machine::*;

    #[test]
    fn a_file_goes_in_pieces_and_an_empty_one_goes_too() {
        let sent = |path: &str, text: &str| {
            let (mut frames, mut pieces) = (Vec::new(), Vec::new());
            send(&mut frames, path, text).unwrap();
            let mut rest = &frames[..];
            while let [b'F', more, _, _, _, _, a, b, c, d, tail @ ..] = rest {
                let (piece, tail) = tail.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
                pieces.push((*more, piece.strip_prefix(path.as_bytes()).unwrap()[1..].to_vec()));
                rest = tail;
            }
            assert!(rest.is_empty());
            pieces
        };
        assert_eq!(sent("etc/x", ""), [(0, Vec::new())]);
        let text = "0123456789".repeat(10_000);
        let pieces = sent("etc/x", &text);
        assert_eq!(pieces.iter().map(|piece| piece.0).collect::<Vec<_>>(), [0, 1, 1, 1]);
        assert_eq!(
            pieces.into_iter().flat_map(|piece| piece.1).collect::<Vec<_>>(),
            text.as_bytes()
        );
        assert!(send(&mut Vec::new(), &"x".repeat(frame::PIECE), "").is_err());
    }

    #[test]
    fn a_machine_has_what_its_limits_say_and_no_more_than_there_is() {
        let limits = Limits { memory: ByteSize(400 << 20), ..Limits::default() };
        let machine = Machine::new("/machine", &limits, Accelerator::Tcg, Vec::new());
        assert_eq!((machine.memory, machine.ram), (400 << 20, 656 << 20));
        let outer = machine.outer(&limits);
        assert!(outer.memory.0 > machine.ram && outer.disk.0 > limits.disk.0);
        let limits = Limits { memory: ByteSize(1 << 50), ..limits };
        let machine = Machine::new("/machine", &limits, Accelerator::Tcg, Vec::new());
        assert!(machine.memory < machine.ram && machine.ram < 1 << 50);
    }
}
