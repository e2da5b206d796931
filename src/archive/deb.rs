//! Reads the control file of a binary package (deb(5)) without unpacking anything, and writes index entries.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use deb822_fast::Paragraph;

/// Larger control files are an attack.
const MAX_CONTROL: u64 = 4 << 20;

/// No control member unpacks to more.
const MAX_MEMBER: u64 = 64 << 20;

/// The control file of a `.deb` or `.udeb`.
pub fn control(path: &Path) -> Result<Paragraph> {
    let mut archive = ar::Archive::new(BufReader::new(File::open(path)?));
    while let Some(member) = archive.next_entry() {
        let member = member?;
        let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
        let member = member.take(MAX_MEMBER);
        match name.trim_end_matches('/') {
            "control.tar" => return from_tar(member),
            "control.tar.gz" => return from_tar(flate2::read::GzDecoder::new(member)),
            "control.tar.xz" => return from_tar(liblzma::read::XzDecoder::new(member)),
            "control.tar.zst" => return from_tar(zstd::Decoder::new(member)?),
            _ => {}
        }
    }
    bail!("there is no control.tar in it")
}

fn from_tar(tar: impl Read) -> Result<Paragraph> {
    let mut archive = tar::Archive::new(tar.take(MAX_MEMBER));
    for entry in archive.entries()? {
        let entry = entry?;
        let name = entry.path_bytes().into_owned();
        if name == b"./control".as_slice() || name == b"control".as_slice() {
            let mut text = String::new();
            entry.take(MAX_CONTROL).read_to_string(&mut text).context("its control file is not UTF-8")?;
            return text.parse().context("its control file does not parse");
        }
    }
    bail!("there is no control file in it")
}

/// An index entry: `fields` in order, with what must not stand in them replaced.
pub fn stanza<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        let mut lines = value.lines();
        text.push_str(name);
        text.push(':');
        if let Some(first) = lines.next().filter(|first| !first.trim().is_empty()) {
            text.push(' ');
            text.push_str(first.trim());
        }
        text.push('\n');
        for line in lines {
            // An empty line would end the entry.
            let line = if line.trim().is_empty() { "." } else { line.trim_end() };
            text.push(' ');
            text.push_str(line.strip_prefix(' ').filter(|_| !line.starts_with("  ")).unwrap_or(line));
            text.push('\n');
        }
    }
    text
}

/// The source package that an index entry says it is from.
pub fn source_of(stanza: &str) -> String {
    let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
    let source = field("Source: ").or_else(|| field("Package: ")).unwrap_or_default();
    source.split_whitespace().next().unwrap_or_default().to_owned()
}
