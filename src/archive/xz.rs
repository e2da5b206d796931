//! Puts an xz file together from blocks that were compressed apart (The .xz File Format, version
//! 1.2.1).
//!
//! Concatenated streams would be simpler, but apt reads the first one only.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
use liblzma::write::XzEncoder;

/// The stream flags: CRC32 as the check of each block.
const FLAGS: [u8; 2] = [0, 1];

/// The size of the dictionary in bytes: as large as all but a few buckets, and small to set up.
const DICTIONARY: u32 = 1 << 20;

/// The entry of a block in the index of an xz file.
#[derive(Debug, Clone)]
pub struct Block {
    /// The size of the block without padding.
    pub unpadded: u64,
    /// The size of what the block holds.
    pub uncompressed: u64,
}

/// Compresses `plain` into one block. Returns the block, and its size without padding.
pub fn compress(plain: &[u8]) -> Result<(Vec<u8>, u64)> {
    let mut options = LzmaOptions::new_preset(6)?;
    options.dict_size(DICTIONARY);
    let stream = Stream::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc32)?;
    let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(plain)?;
    let file = encoder.finish()?;
    // Header (12), one block, index, footer (12); the footer has the index's size.
    ensure!(file.len() > 32 && file[6..8] == FLAGS, "liblzma wrote an unexpected stream");
    let footer = &file[file.len() - 12..];
    let index_size = (u32::from_le_bytes(footer[4..8].try_into()?) as usize + 1) * 4;
    let index = &file[file.len() - 12 - index_size..];
    let (records, at) = read_number(&index[1..])?;
    let (unpadded, _) = read_number(&index[1 + at..])?;
    ensure!(records == 1, "liblzma wrote {records} blocks where one was expected");
    Ok((file[12..file.len() - 12 - index_size].to_vec(), unpadded))
}

/// Writes the bytes before the blocks, and those after them.
pub fn frame(blocks: impl Iterator<Item = Block>) -> (Vec<u8>, Vec<u8>) {
    let mut header = b"\xfd7zXZ\0".to_vec();
    header.extend(FLAGS);
    header.extend(crc32fast::hash(&FLAGS).to_le_bytes());

    let (mut records, mut count) = (Vec::new(), 0);
    for block in blocks {
        write_number(&mut records, block.unpadded);
        write_number(&mut records, block.uncompressed);
        count += 1;
    }
    let mut end = vec![0];
    write_number(&mut end, count);
    end.extend(records);
    end.resize(end.len().next_multiple_of(4), 0);
    end.extend(crc32fast::hash(&end).to_le_bytes());

    let mut sizes = ((end.len() / 4 - 1) as u32).to_le_bytes().to_vec();
    sizes.extend(FLAGS);
    end.extend(crc32fast::hash(&sizes).to_le_bytes());
    end.extend(sizes);
    end.extend(b"YZ");
    (header, end)
}

/// Reads a number of variable length (section 1.2). Returns it, and how many bytes it took.
fn read_number(bytes: &[u8]) -> Result<(u64, usize)> {
    let mut value = 0;
    for (n, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Ok((value, n + 1));
        }
    }
    None.context("a number of an xz index does not end")
}

fn write_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use crate::xz::*;

    #[test]
    fn xz_reads_what_was_put_together() {
        let parts: Vec<Vec<u8>> = (0..5).map(|n| vec![b'a' + n; 1000 * (n as usize + 1)]).collect();
        for count in 0..=parts.len() {
            let blocks: Vec<_> =
                parts[..count].iter().map(|part| compress(part).unwrap()).collect();
            let (mut file, end) = frame(blocks.iter().zip(&parts).map(|((_, unpadded), part)| {
                Block { unpadded: *unpadded, uncompressed: part.len() as u64 }
            }));
            blocks.iter().for_each(|(bytes, _)| file.extend(bytes));
            file.extend(end);
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.xz");
            std::fs::write(&path, &file).unwrap();
            let done = std::process::Command::new("xz").args(["-dc"]).arg(&path).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            assert!(done.stdout == parts[..count].concat());
            // No second stream: that is what apt would not read.
            let mut ours = Vec::new();
            liblzma::read::XzDecoder::new(&file[..]).read_to_end(&mut ours).unwrap();
            assert!(ours == parts[..count].concat());
        }
    }
}
