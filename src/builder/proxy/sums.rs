//! Which bytes a file of a mirror has to have: by its own name, or by an index that names it.
//!
//! Mirrors answer wrongly: in the middle of an update, through a proxy that is broken, or because
//! somebody is on the way. apt finds that out, but it would find it out again in each build that is
//! given the same file from the cache. So only what is known to be right is kept.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use liblzma::stream::{CONCATENATED, Stream};
use sha2::{Digest, Sha256, Sha512};

use invirtibuilder_core::text::hex;
use invirtibuilder_system::disk;

/// What is unpacked of an index at most. That of sid, main and amd64, has 60 MiB.
const MAX_INDEX: u64 = 1 << 30;

/// No line that counts is longer.
const MAX_LINE: u64 = 4096;

/// What unpacking may take of memory.
const MAX_MEMORY: u64 = 66 << 20;

/// The most bytes of sums that are kept.
const ROOM: u64 = 256 << 20;

/// A file's URL, hashed, and its SHA-256.
type SumEntry = [[u8; 32]; 2];

const LENGTH: usize = size_of::<SumEntry>();

/// The sum that a file has to have, in hexadecimal digits; which it is its length says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum(String);

impl Sum {
    /// Makes the one that a URL of a `by-hash` directory ends with.
    pub fn of_name(url: &str) -> Option<Self> {
        let (kind, digits) = url.rsplit_once("/by-hash/")?.1.split_once('/')?;
        let length =
            [("SHA256", 64), ("SHA512", 128)].into_iter().find(|(known, _)| *known == kind)?.1;
        let plain = digits.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        (digits.len() == length && plain).then(|| Self(digits.to_owned()))
    }

    /// Tells whether a file has it.
    pub fn fits(&self, file: &File) -> io::Result<bool> {
        fn digest<D: Digest>(mut file: &File) -> io::Result<String> {
            let (mut digest, mut buffer) = (D::new(), vec![0; 128 << 10]);
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(hex(&digest.finalize())),
                    n => digest.update(&buffer[..n]),
                }
            }
        }
        Ok(self.0
            == if self.0.len() == 128 { digest::<Sha512>(file)? } else { digest::<Sha256>(file)? })
    }

    /// Returns its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Sums of pool files, by the indexes that have passed: for each directory of indexes those of the
/// last one. An index that was made up with a mirror's help brings no other bytes into a build than
/// the mirror could without it: apt still looks.
#[derive(Debug, Clone)]
pub struct PoolSums(PathBuf);

impl PoolSums {
    /// Opens those in this directory, which is made if need be.
    pub fn open(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self(dir))
    }

    /// Lists the sums that indexes name for a file of a pool; several if they do not agree.
    pub fn of_pool(&self, url: &str) -> Result<Vec<Sum>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let file = match File::open(entry?.path()) {
                // It has made room for others.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            let sum = search(&file, &key(url))?.map(|sum| Sum(hex(&sum)));
            found.extend(sum.filter(|sum| !found.contains(sum)));
        }
        Ok(found)
    }

    /// Reads an index of binary packages that was fetched from `url`, if it is one.
    pub fn learn(&self, url: &str, index: &File) -> Result<()> {
        let Some((dir, base)) = index_of(url) else { return Ok(()) };
        let mut entries = read(base, index)?;
        entries.sort_unstable();
        let mut new = tempfile::NamedTempFile::new_in(&self.0)?;
        new.write_all(entries.as_flattened().as_flattened())?;
        new.persist(self.0.join(hex(&Sha256::digest(dir))))?;
        disk::make_room(&self.0, ROOM);
        Ok(())
    }

    /// As if an index named this file.
    #[cfg(test)]
    pub fn put(&self, url: &str, bytes: &[u8]) {
        let name = hex(&Sha256::digest(url));
        fs::write(self.0.join(name), [key(url), Sha256::digest(bytes).into()].as_flattened())
            .unwrap();
    }
}

/// Finds the directory that an index of binary packages is in, and its archive, both with a slash
/// at the end.
fn index_of(url: &str) -> Option<(&str, &str)> {
    let (base, _) = url.split_once("/dists/")?;
    let end = url.find("/by-hash/").or_else(|| url.rfind("/Packages"))?;
    let (_, last) = url[..end].rsplit_once('/')?;
    last.starts_with("binary-").then(|| (&url[..=end], &url[..=base.len()]))
}

fn read(base: &str, index: &File) -> Result<Vec<SumEntry>> {
    let mut entries = Vec::new();
    let (mut name, mut sum) = (None, None);
    let mut lines = BufReader::with_capacity(1 << 18, plain(index)?.take(MAX_INDEX));
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line)?;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if length as u64 == MAX_LINE && text.len() == line.len() {
            // The rest of a long line is no field.
            lines.skip_until(b'\n')?;
            continue;
        }
        if text.is_empty() {
            entries.extend(name.take().zip(sum.take()).map(<SumEntry>::from));
        }
        if length == 0 {
            break;
        }
        if let Some(file) = text.strip_prefix(b"Filename: ") {
            name = std::str::from_utf8(file).ok().map(|file| key(&format!("{base}{file}")));
        } else if let Some(digits) = text.strip_prefix(b"SHA256: ") {
            sum = unhex(digits);
        }
    }
    ensure!(lines.get_ref().limit() > 0, "it has more than {} MiB", MAX_INDEX >> 20);
    Ok(entries)
}

/// Returns what is in an index, whichever of apt's ways it is compressed in: a name by hash does
/// not say.
fn plain(index: &File) -> Result<Box<dyn Read + '_>> {
    let mut magic = [0; 6];
    let length = index.read_at(&mut magic, 0)?;
    Ok(match &magic[..length] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(index)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let stream = Stream::new_stream_decoder(MAX_MEMORY, CONCATENATED)?;
            Box::new(liblzma::read::XzDecoder::new_stream(index, stream))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::new(index)?),
        _ => Box::new(index),
    })
}

/// Returns what a file's URL is found by. apt encodes what URLs do not take, and indexes do not.
fn key(url: &str) -> [u8; 32] {
    let mut plain = Vec::with_capacity(url.len());
    let mut rest = url.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let encoded = || u8::from_str_radix(std::str::from_utf8(behind.get(..2)?).ok()?, 16).ok();
        match (byte == b'%').then(encoded).flatten() {
            Some(decoded) => (plain.push(decoded), rest = &behind[2..]),
            None => (plain.push(byte), rest = behind),
        };
    }
    Sha256::digest(plain).into()
}

fn unhex(digits: &[u8]) -> Option<[u8; 32]> {
    let mut sum = [0; 32];
    let pairs =
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    (digits.len() == 64).then_some(())?;
    sum.iter_mut().zip(pairs).try_for_each(|(byte, found)| found.map(|found| *byte = found))?;
    Some(sum)
}

/// Finds the sum that belongs to a key, in a file of entries that are in order.
fn search(file: &File, key: &[u8; 32]) -> io::Result<Option<[u8; 32]>> {
    let (mut from, mut to) = (0, file.metadata()?.len() / LENGTH as u64);
    while from < to {
        let middle = from.midpoint(to);
        let mut entry: SumEntry = [[0; 32]; 2];
        file.read_exact_at(entry.as_flattened_mut(), middle * LENGTH as u64)?;
        match entry[0].cmp(key) {
            Ordering::Equal => return Ok(Some(entry[1])),
            Ordering::Less => from = middle + 1,
            Ordering::Greater => to = middle,
        }
    }
    Ok(None)
}

/// Tells whether a file belongs to a pool.
pub fn is_of_pool(url: &str) -> bool {
    url.contains("/pool/")
}

/// Returns the same path, for messages.
pub fn shown(url: &str) -> String {
    invirtibuilder_core::text::quoted(
        Path::new(url).file_name().map_or(url, |name| name.to_str().unwrap_or(url)),
    )
}

#[cfg(test)]
mod tests {
    use crate::proxy::sums::*;

    const DIR: &str = "http://m/debian/dists/sid/main/binary-amd64/";

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file.reopen().unwrap()
    }

    #[test]
    fn a_name_by_hash_says_what_is_in_the_file() {
        let url = |kind: &str, digits: &str| format!("{DIR}by-hash/{kind}/{digits}");
        let sum = Sum::of_name(&url("SHA256", &hex(&Sha256::digest("x")))).unwrap();
        assert!(sum.fits(&file(b"x")).unwrap() && !sum.fits(&file(b"y")).unwrap());
        let sum = Sum::of_name(&url("SHA512", &hex(&Sha512::digest("x")))).unwrap();
        assert!(sum.fits(&file(b"x")).unwrap() && !sum.fits(&file(b"")).unwrap());
        for (kind, digits) in
            [("SHA256", "ab"), ("MD5Sum", &"a".repeat(32)), ("SHA512", &"a".repeat(64))]
        {
            assert_eq!(Sum::of_name(&url(kind, digits)), None);
        }
        assert_eq!(Sum::of_name(&url("SHA256", &"A".repeat(64))), None);
        assert_eq!(Sum::of_name("http://m/debian/pool/x.deb"), None);
    }

    #[test]
    fn an_index_says_what_is_in_files_of_the_pool() {
        let dir = tempfile::tempdir().unwrap();
        let sums = PoolSums::open(dir.path().join("sums")).unwrap();
        let stanza = |name: &str, bytes: &[u8]| {
            format!(
                "Package: x\nFilename: {name}\nDescription: y\n Filename: z\nSHA256: {}\n\n",
                hex(&Sha256::digest(bytes))
            )
        };
        let long = format!(
            "Package: l\nTag: {}Filename: pool/l.deb\nSHA256: 00\n\n",
            "x".repeat(MAX_LINE as usize - 5)
        );
        let text = stanza("pool/g/g++_1.deb", b"one")
            + &long
            + stanza("pool/a/a_1.deb", b"two").trim_end();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(text.as_bytes()).unwrap();
        let zst = zstd::encode_all(text.as_bytes(), 1).unwrap();
        let by_hash = format!("{DIR}by-hash/SHA256/00");
        for (url, index) in [
            (format!("{DIR}Packages"), text.clone().into_bytes()),
            (format!("{DIR}Packages.gz"), gz.finish().unwrap()),
            (by_hash.clone(), xz.finish().unwrap()),
            (by_hash.clone(), zst),
        ] {
            sums.learn(&url, &file(b"")).unwrap();
            assert_eq!(sums.of_pool("http://m/debian/pool/a/a_1.deb").unwrap(), []);
            sums.learn(&url, &file(&index)).unwrap();
            let found = sums.of_pool("http://m/debian/pool/g/g%2b%2b_1.deb").unwrap();
            assert!(found.len() == 1 && found[0].fits(&file(b"one")).unwrap(), "{found:?}");
            assert_eq!(sums.of_pool("http://m/debian/pool/a/a_1.deb").unwrap().len(), 1);
            for other in [
                "http://m/other/pool/a/a_1.deb",
                "http://m/debian/pool/l.deb",
                "http://m/debian/z",
                "%",
                "%z",
            ] {
                assert_eq!(sums.of_pool(other).unwrap(), [], "{other}");
            }
        }
        let other = DIR.replace("sid", "trixie");
        sums.learn(
            &format!("{other}Packages"),
            &file(stanza("pool/a/a_1.deb", b"else").as_bytes()),
        )
        .unwrap();
        assert_eq!(sums.of_pool("http://m/debian/pool/a/a_1.deb").unwrap().len(), 2);
        // What is no index of binary packages, and what is no index at all.
        sums.learn(
            "http://m/debian/dists/sid/main/source/by-hash/SHA256/00",
            &file(text.as_bytes()),
        )
        .unwrap();
        sums.learn("http://m/debian/pool/binary-x/Packages", &file(text.as_bytes())).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("sums")).unwrap().count(), 2);
        assert!(sums.learn(&by_hash, &file(b"\x1f\x8bnonsense")).is_err());
        assert_eq!(sums.of_pool("http://m/debian/pool/g/g++_1.deb").unwrap().len(), 1);
    }
}
