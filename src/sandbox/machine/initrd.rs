//! Adds to an image's initial file system the program that starts the agent, and the agent. So an
//! image holds no file of the service, and is good for every version of it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// The kernel's argument that has it run our program first.
pub const INIT: &str = "rdinit=/machine/init";

const START: &[u8] = include_bytes!("init.sh");
const AGENT: &[u8] = include_bytes!("agent.pl");

/// Writes the image's initial file system with ours behind it: the kernel unpacks one after the
/// other (its `Documentation/driver-api/early-userspace/buffer-format.rst`).
pub fn write(image: &Path, to: &Path) -> Result<()> {
    let what = || format!("cannot read {}", image.display());
    let mut out = File::create(to).with_context(|| format!("cannot create {}", to.display()))?;
    let length =
        io::copy(&mut File::open(image).with_context(what)?, &mut out).with_context(what)?;
    out.write_all(&vec![0; length.next_multiple_of(4) as usize - length as usize])?;
    out.write_all(&archive())?;
    Ok(())
}

fn archive() -> Vec<u8> {
    let mut all = Vec::new();
    entry(&mut all, "machine", 0o040_755, b"");
    entry(&mut all, "machine/init", 0o100_755, START);
    entry(&mut all, "machine/agent", 0o100_644, AGENT);
    entry(&mut all, "TRAILER!!!", 0, b"");
    all
}

/// Writes one file in cpio's format `newc`.
fn entry(all: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let (length, name_length) = (content.len() as u32, name.len() as u32 + 1);
    all.extend_from_slice(b"070701");
    // Inode, mode, owner, group, links, time, length, four device numbers, the name's length, no
    // checksum.
    for field in [0, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0] {
        all.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    all.extend_from_slice(name.as_bytes());
    all.push(0);
    all.resize(all.len().next_multiple_of(4), 0);
    all.extend_from_slice(content);
    all.resize(all.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use crate::machine::initrd::*;

    #[test]
    fn ours_begins_where_the_kernel_looks_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let (image, to) = (dir.path().join("image"), dir.path().join("all"));
        std::fs::write(&image, b"of Debian").unwrap();
        write(&image, &to).unwrap();
        let all = std::fs::read(&to).unwrap();
        assert!(all.starts_with(b"of Debian\0\0\x00070701"));
        assert_eq!(all.len() % 4, 0);
    }

    #[test]
    fn cpio_reads_it() {
        let Ok(mut child) = std::process::Command::new("cpio")
            .args(["--quiet", "--list"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
        else {
            return;
        };
        child.stdin.take().unwrap().write_all(&archive()).unwrap();
        let listed = child.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8(listed.stdout).unwrap(),
            "machine\nmachine/init\nmachine/agent\n"
        );
    }
}
