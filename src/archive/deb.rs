//! Reads the control file of a binary package (deb(5)) without unpacking anything, and what index entries keep of it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use deb822_fast::Paragraph;

/// Larger control files are an attack.
const MAX_CONTROL: u64 = 4 << 20;

/// No control member unpacks to more.
const MAX_MEMBER: u64 = 64 << 20;

/// The control file of a `.deb` or `.udeb`: its fields, and its text.
pub fn control(path: &Path) -> Result<(Paragraph, String)> {
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

fn from_tar(tar: impl Read) -> Result<(Paragraph, String)> {
    let mut archive = tar::Archive::new(tar.take(MAX_MEMBER));
    for entry in archive.entries()? {
        let entry = entry?;
        let name = entry.path_bytes().into_owned();
        if name == b"./control".as_slice() || name == b"control".as_slice() {
            let mut text = String::new();
            entry.take(MAX_CONTROL).read_to_string(&mut text).context("its control file is not UTF-8")?;
            return Ok((text.parse().context("its control file does not parse")?, text));
        }
    }
    bail!("there is no control file in it")
}

/// Fields as they stand in `text`, but for those in `left_out`. The parsed form does not keep how lines are indented,
/// and in a description that means something (Debian policy 5.6.13).
pub fn fields(text: &str, left_out: &[&str]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut keep = false;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if !line.starts_with([' ', '\t']) {
            let name = line.split(':').next().unwrap_or_default().trim_end();
            keep = !left_out.iter().any(|other| other.eq_ignore_ascii_case(name));
        }
        if keep {
            kept.push_str(line.trim_end());
            kept.push('\n');
        }
    }
    kept
}

/// The source package that an index entry says it is from.
pub fn source_of(stanza: &str) -> String {
    let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
    let source = field("Source: ").or_else(|| field("Package: ")).unwrap_or_default();
    source.split_whitespace().next().unwrap_or_default().to_owned()
}
