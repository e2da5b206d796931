//! A delta of pristine-tar: which files its tarball has, and which sum the tarball has to have.
//!
//! `pristine-tar checkout` compares neither with what it made.

use std::io::Read;

use anyhow::{Context, Result, ensure};

/// No part of a delta that is read here is larger.
const MOST: u64 = 32 << 20;

/// Of a tarball with more members it is found out when it is made what is in it.
const MEMBERS: usize = 500_000;

/// What a delta says of its tarball.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// The SHA-256 of the tarball; deltas made before pristine-tar 1.50 have none.
    pub sha256: Option<String>,
    /// The names of the tarball's members, those of directories with a slash at their end; none if
    /// there are too many.
    pub members: Vec<Vec<u8>>,
}

impl Delta {
    /// Reads one: a tar archive, compressed by gzip.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut delta = Self::default();
        let mut archive =
            tar::Archive::new(flate2::read::MultiGzDecoder::new(bytes).take(4 * MOST));
        for entry in archive.entries()? {
            let mut entry = entry.context("it is no delta of pristine-tar")?;
            let name = entry.path_bytes().into_owned();
            let name = name.strip_prefix(b"./").unwrap_or(&name);
            if name != b"sha256sum" && name != b"manifest" {
                continue;
            }
            ensure!(entry.size() <= MOST, "a part of it is larger than {} MiB", MOST >> 20);
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            if name == b"manifest" {
                let lines = || content.split(|&c| c == b'\n').filter(|line| !line.is_empty());
                if lines().count() <= MEMBERS {
                    delta.members = lines().map(unescaped).collect();
                }
            } else {
                let sum = String::from_utf8_lossy(&content).trim().to_owned();
                ensure!(
                    sum.len() == 64 && sum.bytes().all(|c| c.is_ascii_hexdigit()),
                    "its sha256sum is none"
                );
                delta.sha256 = Some(sum.to_ascii_lowercase());
            }
        }
        Ok(delta)
    }
}

/// Returns a name as `tar --quoting-style=escape` writes it.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [c, after @ ..] = rest {
        let octal = |n: usize| {
            after.get(..n).filter(|digits| digits.iter().all(|c| (b'0'..=b'7').contains(c)))
        };
        match (c, after.first()) {
            (b'\\', Some(_)) if octal(3).is_some() => {
                let digits = octal(3).unwrap_or_default();
                out.push(
                    digits.iter().fold(0u8, |sum, c| sum.wrapping_mul(8).wrapping_add(c - b'0')),
                );
                rest = &after[3..];
            }
            (b'\\', Some(escape)) => {
                out.push(match escape {
                    b'a' => 7,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 11,
                    other => *other,
                });
                rest = &after[1..];
            }
            (c, _) => {
                out.push(*c);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::source::delta::*;

    fn made(parts: &[(&str, &str)]) -> Vec<u8> {
        let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gz);
        for (name, text) in parts {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn what_a_delta_says() {
        let sum = "70c5c75937ae7fe369af521b70c84a3b89a2457b2fa27eca07732841ea5c690d";
        let new = made(&[
            ("version", "3\n"),
            ("sha256sum", &format!("{sum}\n")),
            ("manifest", "x/\nx/a\\040b\\\\c\nx/\\303\\244\n"),
        ]);
        let delta = Delta::parse(&new).unwrap();
        assert_eq!(delta.sha256.as_deref(), Some(sum));
        assert_eq!(delta.members, [&b"x/"[..], b"x/a b\\c", "x/ä".as_bytes()]);
        assert_eq!(
            Delta::parse(&made(&[("version", "2\n"), ("manifest", "x/a\n")])).unwrap().sha256,
            None
        );
        for bad in [made(&[("sha256sum", "short\n")]), b"rubbish".to_vec(), Vec::new()] {
            assert!(Delta::parse(&bad).is_err());
        }
    }
}
