//! Refuses system calls to the programs of a package, wherever they run: by a seccomp(2) filter
//! that nothing below it can leave.
//!
//! It refuses what reaches past the namespaces of a sandbox, or a part of the kernel that no build
//! needs and that has been its weakest. It does so as a kernel would that was built without it, as
//! programs are ready for that. libseccomp compiles the filter, also for the calls of 32-bit
//! programs; the filter refuses as a whole what it does not know of (x32).

use std::fs::File;
use std::io::{Read, Seek};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use nix::errno::Errno;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

/// The calls that we refuse to everybody, as a kernel does that does not have them.
const MISSING: &[&str] = &[
    // Their work goes on in the kernel, where no filter sees it.
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    // Programs in the kernel, and waits that others can stretch: what attacks on the kernel are
    // made of.
    "bpf",
    "userfaultfd",
    "perf_event_open",
    // Keys have no namespace that a build's would be.
    "add_key",
    "request_key",
    "keyctl",
    // Opens files by number, past all mounts.
    "open_by_handle_at",
    // The machine's own affairs.
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "swapon",
    "swapoff",
    "acct",
    "quotactl",
    "quotactl_fd",
    "lookup_dcookie",
    "nfsservctl",
    // Its contexts are counted for the whole machine, and one process can have them all.
    "io_setup",
];

/// The calls that we refuse to everybody, as the kernel does to processes without the rights: there
/// is no kernel without these calls.
const FORBIDDEN: &[&str] = &["syslog"];

/// The families of sockets that belong to a network namespace, and that builds need. To a build all
/// others are unknown.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// The number of bits of a family that can have a rule of its own: six name more than Linux has.
const BITS: u32 = 6;

/// The programs that a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Programs {
    /// The programs of this processor. Programs of i386 have no sockets here.
    Native,
    /// Also those of i386, which have all sockets: they name the family where no filter can look
    /// (socketcall(2)).
    I386,
}

/// A filter, ready for the kernel.
#[derive(Debug, Clone)]
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// Returns the filter for these programs; it is made once.
    pub fn of(programs: Programs) -> Result<&'static Self> {
        static NATIVE: OnceLock<Filter> = OnceLock::new();
        static I386: OnceLock<Filter> = OnceLock::new();
        let made = match programs {
            Programs::Native => &NATIVE,
            Programs::I386 => &I386,
        };
        if let Some(filter) = made.get() {
            return Ok(filter);
        }
        let filter = compile(programs).context("cannot make the filter of system calls")?;
        Ok(made.get_or_init(|| filter))
    }

    /// Holds this thread, and what it starts, to the filter for good; it also gains no more
    /// privileges (`PR_SET_NO_NEW_PRIVS`). It takes no memory and no lock, so it can be called
    /// between fork(2) and execve(2).
    pub fn install(&self) -> std::io::Result<()> {
        let program =
            libc::sock_fprog { len: self.0.len() as u16, filter: self.0.as_ptr().cast_mut() };
        nix::sys::prctl::set_no_new_privs()?;
        // SAFETY: the kernel copies the program, which outlives the call, and writes to nothing.
        #[allow(unsafe_code)]
        let done = unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        Errno::result(done)?;
        Ok(())
    }
}

fn compile(programs: Programs) -> Result<Filter> {
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow)?;
    filter.set_act_badarch(ScmpAction::Errno(libc::ENOSYS))?;
    if cfg!(target_arch = "aarch64") {
        filter.add_arch(ScmpArch::Arm)?;
    }
    refuse_calls(&mut filter)?;
    refuse_families(&mut filter)?;
    if cfg!(target_arch = "x86_64") {
        filter.merge(of_32_bits(programs)?)?;
    }
    // A call that is always allowed costs nothing then, and the others are found by a binary
    // search.
    filter.set_ctl_optimize(2)?;
    export(&filter)
}

/// Makes the filter for calls of 32 bits. x86 has a filter of its own, as one rule cannot be about
/// a family both there and elsewhere.
fn of_32_bits(programs: Programs) -> Result<ScmpFilterContext> {
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow)?;
    filter.set_act_badarch(ScmpAction::Errno(libc::ENOSYS))?;
    filter.remove_arch(ScmpArch::Native)?;
    filter.add_arch(ScmpArch::X86)?;
    refuse_calls(&mut filter)?;
    if programs == Programs::Native {
        for name in ["socket", "socketpair"] {
            filter
                .add_rule(ScmpAction::Errno(libc::EAFNOSUPPORT), ScmpSyscall::from_name(name)?)?;
        }
    }
    Ok(filter)
}

fn refuse_calls(filter: &mut ScmpFilterContext) -> Result<()> {
    for (names, error) in [(MISSING, libc::ENOSYS), (FORBIDDEN, libc::EPERM)] {
        for name in names {
            let call =
                ScmpSyscall::from_name(name).with_context(|| format!("{name} is unknown"))?;
            filter
                .add_rule(ScmpAction::Errno(error), call)
                .with_context(|| format!("{name} cannot be refused"))?;
        }
    }
    Ok(())
}

/// Adds the rules that refuse families of sockets. Rules that match say what is refused, so each
/// family that is not on the list has one. The kernel heeds the lower 32 bits alone.
fn refuse_families(filter: &mut ScmpFilterContext) -> Result<()> {
    let unknown =
        |mask: u64, value: u64| ScmpArgCompare::new(0, ScmpCompareOp::MaskedEqual(mask), value);
    let within = (0..1 << BITS).filter(|family| !FAMILIES.contains(family));
    let within = within.map(|family| unknown(u32::MAX.into(), family as u64));
    let beyond = (BITS..u32::BITS).map(|bit| unknown(1 << bit, 1 << bit));
    for rule in within.chain(beyond) {
        for name in ["socket", "socketpair"] {
            filter.add_rule_conditional(
                ScmpAction::Errno(libc::EAFNOSUPPORT),
                ScmpSyscall::from_name(name)?,
                &[rule],
            )?;
        }
    }
    Ok(())
}

fn export(filter: &ScmpFilterContext) -> Result<Filter> {
    let mut file = File::from(memfd_create("filter", MFdFlags::MFD_CLOEXEC)?);
    filter.export_bpf(&file)?;
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let instructions = bytes.chunks_exact(8).map(|bytes| libc::sock_filter {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    });
    Ok(Filter(instructions.collect()))
}

#[cfg(test)]
mod tests {
    use crate::filter::*;

    /// The kernel's numbers for this processor (linux/audit.h), and for its programs of 32 bits.
    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURES: [(u32, ScmpArch); 2] =
        [(0xc000_003e, ScmpArch::X8664), (0x4000_0003, ScmpArch::X86)];
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURES: [(u32, ScmpArch); 2] =
        [(0xc000_00b7, ScmpArch::Aarch64), (0x4000_0028, ScmpArch::Arm)];

    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;

    fn refused(error: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | error as u32
    }

    /// Finds what the filter answers to a call, so that it does not matter which calls this kernel
    /// has: the test carries the filter's program out.
    fn answer(programs: Programs, architecture: u32, call: i32, first: u64) -> u32 {
        let words = [call as u32, architecture, 0, 0, first as u32, (first >> 32) as u32];
        let Filter(program) = Filter::of(programs).unwrap();
        let (mut at, mut value) = (0, 0);
        loop {
            let step = program[at];
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            at += 1 + match step.code {
                0x05 => step.k as usize,
                0x06 => return step.k,
                0x15 => jump(value == step.k),
                0x25 => jump(value > step.k),
                0x35 => jump(value >= step.k),
                0x45 => jump(value & step.k != 0),
                0x20 => {
                    value = words.get(step.k as usize / 4).copied().unwrap_or(0);
                    0
                }
                0x54 => {
                    value &= step.k;
                    0
                }
                other => panic!("{other:#x} is unknown"),
            };
        }
    }

    fn number(name: &str, architecture: ScmpArch) -> Option<i32> {
        let number = ScmpSyscall::from_name_by_arch(name, architecture).unwrap().as_raw_syscall();
        // What this processor never had.
        (number >= 0).then_some(number)
    }

    #[test]
    fn calls_are_missing() {
        for programs in [Programs::Native, Programs::I386] {
            for (audit, architecture) in ARCHITECTURES {
                let answer = |name| {
                    number(name, architecture).map(|number| answer(programs, audit, number, 0))
                };
                let missing: Vec<u32> = MISSING.iter().filter_map(|name| answer(name)).collect();
                assert!(missing.len() >= 20, "{missing:?}");
                assert!(
                    missing.iter().all(|answer| *answer == refused(libc::ENOSYS)),
                    "{architecture:?} {missing:?}"
                );
                assert_eq!(answer("syslog"), Some(refused(libc::EPERM)));
                for name in [
                    "read",
                    "execve",
                    "clone",
                    "unshare",
                    "mount",
                    "ptrace",
                    "inotify_init1",
                    "name_to_handle_at",
                ] {
                    assert_eq!(answer(name), Some(ALLOWED), "{architecture:?} {name}");
                }
            }
        }
    }

    #[test]
    fn only_these_families_are_known() {
        let families = (0..100).chain([-1, 1 << 6 | 1, 1 << 31 | 2, i64::MAX]);
        for family in families.flat_map(|family| [family, family | 1 << 40]) {
            let known = FAMILIES.contains(&(family as i32));
            for (audit, architecture) in
                ARCHITECTURES.iter().filter(|(_, architecture)| *architecture != ScmpArch::X86)
            {
                for name in ["socket", "socketpair"] {
                    let number = number(name, *architecture).unwrap();
                    let answer = answer(Programs::Native, *audit, number, family as u64);
                    let want = if known { ALLOWED } else { refused(libc::EAFNOSUPPORT) };
                    assert_eq!(answer, want, "{architecture:?} {name} {family}");
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn programs_of_i386_have_sockets_where_they_are_built() {
        let (i386, _) = ARCHITECTURES[1];
        // socket, socketpair and those of socketcall.
        for (call, first) in [(359, 1), (359, 38), (360, 1), (102, 1), (102, 8)] {
            assert_eq!(
                answer(Programs::Native, i386, call, first),
                refused(libc::EAFNOSUPPORT),
                "{call} {first}"
            );
            assert_eq!(answer(Programs::I386, i386, call, first), ALLOWED, "{call} {first}");
        }
        // To send and to receive.
        assert_eq!(answer(Programs::Native, i386, 102, 9), ALLOWED);
    }

    #[test]
    fn calls_of_another_abi_are_missing() {
        for programs in [Programs::Native, Programs::I386] {
            // getpid(2) of x32, and of a processor that this is not.
            let native = ARCHITECTURES[0].0;
            let x32 = if cfg!(target_arch = "x86_64") { refused(libc::ENOSYS) } else { ALLOWED };
            assert_eq!(answer(programs, native, 0x4000_0000 | 39, 0), x32);
            assert_eq!(answer(programs, 0x8000_0016, 20, 0), refused(libc::ENOSYS));
        }
    }

    #[test]
    fn the_kernel_takes_the_filter() {
        let asked = || {
            // SAFETY: it takes numbers and null pointers.
            #[allow(unsafe_code)]
            let found = unsafe { libc::syscall(libc::SYS_keyctl, -1, 0, 0, 0, 0) };
            Errno::result(found).unwrap_err()
        };
        // It holds for the thread, and ends with it.
        let thread = std::thread::spawn(move || {
            Filter::of(Programs::Native).unwrap().install().unwrap();
            (asked(), std::fs::read("/proc/self/stat").is_ok())
        });
        assert_eq!(thread.join().unwrap(), (Errno::ENOSYS, true));
    }
}
