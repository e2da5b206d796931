//! Reads the control archive of a package, as dpkg-deb has tar(1) write it.
//!
//! tar(1), by which dpkg unpacks it, knows a dozen kinds of archives and several ways to write a
//! number, and others that read packages know others. We refuse what can be read in two ways, and
//! what tar would not take. We read plain files, links and one directory, with GNU's or POSIX's
//! headers, numbers in octal digits, and nothing behind the end. A maintainer script may be a hard
//! link to a file before it or a symbolic link, as dpkg takes both. The control file may not: apt
//! reads no link.

use std::collections::BTreeSet;
use std::io::{self, Read};

use anyhow::{Context, Result, bail, ensure};

use invirtibuilder_core::stanza::LARGEST_BINARY;

/// The largest control member, and the most that one may unpack to, in bytes.
pub const MAX_MEMBER: u64 = 64 << 20;

/// The most that the control archives of one version may unpack to together, in bytes.
pub const MAX_TOGETHER: u64 = 256 << 20;

/// The most files in a control archive. Debian's have about ten.
pub const MAX_FILES: usize = 1000;

/// The size of a block of tar in bytes: everything is a multiple of it.
const BLOCK: usize = 512;

/// Reads the control file of a control archive. It takes what it unpacks off `room`.
pub fn control_file(tar: impl Read, room: &mut u64) -> Result<String> {
    let most = MAX_MEMBER.min(*room);
    let mut tar = tar.take(most);
    let found = read(&mut tar);
    ensure!(
        tar.limit() > 0,
        "it unpacks to more than {} MiB, or with those of the version's other packages to more than {} MiB",
        MAX_MEMBER >> 20,
        MAX_TOGETHER >> 20
    );
    *room -= most - tar.limit();
    found
}

fn read(tar: &mut impl Read) -> Result<String> {
    let mut control = None;
    let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
    while let Some(entry) = TarEntry::next(tar)? {
        let shown = || invirtibuilder_core::text::quoted(&String::from_utf8_lossy(&entry.name));
        let name = within(&entry.name);
        match entry.kind {
            b'5' if name.is_empty() || name == b"." => {
                // Some take it for a file's length, and others do not.
                ensure!(entry.size == 0, "{} is a directory with a size", shown());
                continue;
            }
            b'0' if is_plain(name) => {}
            b'1' | b'2' if is_plain(name) => {
                ensure!(name != b"control", "{} is a link in it, and not a plain file", shown());
                ensure!(entry.size == 0, "{} is a link with a size", shown());
                let target =
                    invirtibuilder_core::text::quoted(&String::from_utf8_lossy(&entry.target));
                let there = entry.kind == b'2' || seen.contains(within(&entry.target));
                ensure!(there, "{} is a hard link to {target}, which is not before it", shown());
                ensure!(!entry.target.is_empty(), "{} is a link to nothing", shown());
            }
            b'x' | b'g' | b'X' | b'L' | b'K' => bail!("{} has extended headers", shown()),
            _ => bail!("{} is neither a plain file in it nor a link", shown()),
        }
        ensure!(seen.insert(name.to_vec()), "it has {} twice", shown());
        ensure!(seen.len() <= MAX_FILES, "it has more than {MAX_FILES} files");
        if name == b"control" {
            ensure!(
                entry.size <= LARGEST_BINARY,
                "its control file is larger than {} KiB, which is four times Debian's largest",
                LARGEST_BINARY >> 10
            );
            let mut text = vec![0; entry.size as usize];
            tar.read_exact(&mut text).context("it ends in the middle of its control file")?;
            skip(tar, entry.size.next_multiple_of(BLOCK as u64) - entry.size)?;
            control = Some(String::from_utf8(text).ok().context("its control file is not UTF-8")?);
        } else {
            skip(
                tar,
                entry
                    .size
                    .checked_next_multiple_of(BLOCK as u64)
                    .context("a file in it has no end")?,
            )?;
        }
    }
    control.context("there is no control file in it")
}

/// Takes the directory that all of the archive is in off a name.
fn within(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"./").unwrap_or(name)
}

/// Tells whether a name stands for a file of the one directory.
fn is_plain(name: &[u8]) -> bool {
    !["", ".", ".."].map(str::as_bytes).contains(&name) && !name.contains(&b'/')
}

/// The header of a file.
struct TarEntry {
    name: Vec<u8>,
    /// The name that a link points to.
    target: Vec<u8>,
    kind: u8,
    size: u64,
}

impl TarEntry {
    /// Reads the next header; `None` at the end, behind which there is nothing.
    fn next(tar: &mut impl Read) -> Result<Option<Self>> {
        let mut header = [0; BLOCK];
        tar.read_exact(&mut header).context("it does not end as an archive does")?;
        if header == [0; BLOCK] {
            tar.read_exact(&mut header).context("it does not end as an archive does")?;
            ensure!(header == [0; BLOCK] && only_zeros(tar)?, "there is more behind its end");
            return Ok(None);
        }
        let odd = |what: &str| format!("a header in it has {what}");
        let magic = &header[257..265];
        ensure!(
            magic == b"ustar  \0" || magic == b"ustar\x0000",
            odd("another kind than tar's or POSIX's")
        );
        // The beginning of a longer name, or what only parts of archives have.
        ensure!(
            header[345..].iter().all(|byte| *byte == 0),
            odd("more than a file's name and numbers")
        );
        for (from, to) in [(100, 108), (108, 116), (116, 124), (136, 148)] {
            octal(&header[from..to])
                .with_context(|| odd("a number that is not in octal digits"))?;
        }
        let sum: u64 =
            header[..148].iter().chain(&header[156..]).map(|byte| u64::from(*byte)).sum();
        ensure!(
            octal(&header[148..156]) == Some(sum + 8 * u64::from(b' ')),
            odd("another sum than its own")
        );
        let size =
            octal(&header[124..136]).with_context(|| odd("a size that is not in octal digits"))?;
        let name = text(&header[..100]).with_context(|| odd("more behind its name"))?;
        let target =
            text(&header[157..257]).with_context(|| odd("more behind the name of a link"))?;
        Ok(Some(Self { name, target, kind: header[156], size }))
    }
}

/// Reads a text as tar writes it: NULs behind it, and nothing else.
fn text(field: &[u8]) -> Option<Vec<u8>> {
    let length = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let (text, rest) = field.split_at(length);
    rest.iter().all(|byte| *byte == 0).then(|| text.to_vec())
}

/// Reads a number as tar writes it: octal digits, and NULs or spaces behind them.
fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|byte| !(b'0'..=b'7').contains(byte)).unwrap_or(field.len());
    let (digits, rest) = field.split_at(end);
    let plain = !digits.is_empty() && rest.iter().all(|byte| [0, b' '].contains(byte));
    plain.then(|| digits.iter().fold(0, |number, digit| number << 3 | u64::from(digit - b'0')))
}

fn skip(tar: &mut impl Read, bytes: u64) -> Result<()> {
    let skipped = io::copy(&mut tar.take(bytes), &mut io::sink())?;
    ensure!(skipped == bytes, "it ends in the middle of a file");
    Ok(())
}

fn only_zeros(tar: &mut impl Read) -> io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match tar.read(&mut buffer)? {
            0 => return Ok(true),
            n if buffer[..n].iter().all(|byte| *byte == 0) => {}
            _ => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::control_tar::*;

    const CONTROL: &str = "Package: hello\n";

    /// Makes a header that says what `change` makes it say, with its right sum.
    fn header(change: impl Fn(&mut [u8; BLOCK])) -> Vec<u8> {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, b"./control");
        put(100, b"0000644\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", CONTROL.len()).as_bytes());
        put(136, b"00000000000\0");
        put(148, &[b' '; 8]);
        put(156, b"0");
        put(257, b"ustar  \0");
        change(&mut header);
        if header[148] == b' ' {
            let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        header.to_vec()
    }

    fn archive(header: Vec<u8>, end: &[u8]) -> Vec<u8> {
        let mut archive = header;
        archive.extend(CONTROL.as_bytes());
        archive.resize(2 * BLOCK, 0);
        archive.extend(end);
        archive
    }

    fn said(archive: &[u8]) -> String {
        control_file(archive, &mut (1 << 20)).unwrap_or_else(|error| format!("{error:#}"))
    }

    #[test]
    fn a_header_is_read_in_one_way() {
        let end = [0; 2 * BLOCK];
        assert_eq!(said(&archive(header(|_| {}), &end)), CONTROL);
        assert_eq!(
            said(&archive(header(|h| h[257..265].copy_from_slice(b"ustar\x0000")), &end)),
            CONTROL
        );
        let put = |at: usize, text: &'static [u8]| {
            header(move |h| h[at..at + text.len()].copy_from_slice(text))
        };
        for (header, word) in [
            (put(257, &[0; 8]), "another kind"),
            (put(345, b"x"), "more than a file's name"),
            (put(482, b"\x01"), "more than a file's name"),
            (put(124, b"+0000000017"), "octal"),
            (put(124, b"       0017"), "octal"),
            (put(124, b"0x000000017"), "octal"),
            (put(124, &[0; 12]), "octal"),
            (put(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x0f"), "octal"),
            (put(108, b"\x80"), "octal"),
            (put(136, b"-1\0"), "octal"),
            (put(148, b"0000001\0"), "another sum"),
            (put(9, b"\0x"), "behind its name"),
            (put(156, b"\0"), "neither a plain file"),
            (put(156, b"7"), "neither a plain file"),
            (put(156, b"S"), "neither a plain file"),
            (put(156, b"5"), "neither a plain file"),
            (put(156, b"1./x"), "'./control' is a link"),
            (put(156, b"2./x"), "'./control' is a link"),
            (put(157, b"x\0y"), "behind the name of a link"),
            (put(0, b"./.\0\0\0\0\0\0"), "neither a plain file"),
            (put(0, b"..\0\0\0\0\0\0\0"), "neither a plain file"),
            (put(0, b"./\0\0\0\0\0\0\0"), "neither a plain file"),
            (
                header(|h| (h[..9].copy_from_slice(b"./\0\0\0\0\0\0\0"), h[156] = b'5').1),
                "directory with a size",
            ),
        ] {
            let said = said(&archive(header, &end));
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[test]
    fn an_archive_has_an_end_and_nothing_behind_it() {
        for (end, word) in [
            (&[][..], "does not end"),
            (&[0; BLOCK], "does not end"),
            (&[0; 700], "does not end"),
            (&[[0; BLOCK], [b'x'; BLOCK]].concat(), "behind its end"),
            (&[&[0; 3 * BLOCK][..], b"x"].concat(), "behind its end"),
        ] {
            let said = said(&archive(header(|_| {}), end));
            assert!(said.contains(word), "{word}: {said}");
        }
        let cut = archive(header(|_| {}), &[]);
        assert!(said(&cut[..BLOCK + 3]).contains("in the middle of its control file"));
        assert!(said(&cut[..BLOCK + 100]).contains("in the middle"));
    }
}
