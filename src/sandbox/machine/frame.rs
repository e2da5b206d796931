//! Speaks with the agent of a virtual machine, over one port.
//!
//! A frame is a kind (a letter), the number of a stream, the id of a command or of a connection
//! (four bytes, the highest first), the length of what follows (four bytes), and that. An id with
//! the bit [`TUNNEL`] is that of a connection, which the machine gives; the others are those of
//! commands. Of a command, stream 0 is its standard input and 1 and 2 are its outputs; of a
//! connection, 0 goes into the machine and 1 comes out of it. Of each stream [`WINDOW`] bytes may
//! be under way; what was consumed is given back as credit, so that neither side has to hold more
//! than that.
//!
//! Whatever comes out of a machine is the package's own to choose: a frame that is not as it should
//! be ends the machine.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Result, bail, ensure};

/// The most bytes of one frame, without its head.
pub const PIECE: usize = 1 << 15;

/// The most bytes of a stream that are under way at a time.
pub const WINDOW: usize = 1 << 18;

/// The bit that ids of connections have.
pub const TUNNEL: u32 = 1 << 31;

/// The version of this protocol, which the agent says first.
const VERSION: &[u8] = b"1";

/// The longest sentence of a machine about a command that does not start, in bytes.
const SENTENCE: usize = 500;

/// The limit that a build has used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineBreach {
    /// It has all the memory that it may have.
    Memory,
    /// It has all the processes that it may have.
    Processes,
    /// It has all the disk space that it may have.
    Disk,
}

/// A message of a machine.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The agent is there.
    Hello,
    /// The machine can run commands.
    Ready,
    /// Bytes of a stream.
    Data { id: u32, stream: u8, bytes: Vec<u8> },
    /// A stream has ended.
    End { id: u32, stream: u8 },
    /// The machine has consumed so many bytes of stream 0.
    Credit { id: u32, count: usize },
    /// The machine does not read stream 0 any more.
    Closed { id: u32 },
    /// A command or a connection has ended, with this status.
    Status { id: u32, status: u8 },
    /// The machine has not started a command.
    NotStarted { id: u32, why: String },
    /// There is a new connection.
    Open { id: u32 },
    /// The build has used up a limit.
    Breach(MachineBreach),
}

/// A message to a machine. Its letter is that of the frame.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub enum Tell {
    /// A file: its path from the root, NUL, its content; in stream 1, more of it.
    File = b'F',
    /// The limits of the machine, in words: memory, processes, bytes of disk, and the name of the
    /// user that builds.
    Go = b'G',
    /// A part of a command's words, each with a NUL at its end.
    Words = b'W',
    /// The end of a command's words: run it; stream 1 says that it has a network of its own.
    Run = b'R',
    /// Bytes of stream 0.
    Data = b'D',
    /// The end of stream 0.
    End = b'E',
    /// The credit of a stream: we have consumed so many bytes of it.
    Credit = b'C',
    /// The end of a reader: nobody reads a stream any more.
    Closed = b'X',
}

/// Sends one frame.
pub fn tell(to: &mut impl Write, what: Tell, id: u32, stream: u8, payload: &[u8]) -> Result<()> {
    ensure!(payload.len() <= PIECE, "a frame of {} bytes is too long", payload.len());
    let mut frame = Vec::with_capacity(10 + payload.len());
    frame.extend([what as u8, stream]);
    frame.extend(id.to_be_bytes());
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    Ok(to.write_all(&frame)?)
}

/// Receives one frame; `None` when the machine is gone.
pub fn hear(from: &mut impl Read) -> Result<Option<Heard>> {
    let mut head = [0; 10];
    match from.read(&mut head[..1]) {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    from.read_exact(&mut head[1..])?;
    let [kind, stream, a, b, c, d, length @ ..] = head;
    let (id, length) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(length) as usize);
    ensure!(length <= PIECE, "a frame of {length} bytes");
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    understand(kind, stream, id, bytes).map(Some)
}

fn understand(kind: u8, stream: u8, id: u32, bytes: Vec<u8>) -> Result<Heard> {
    Ok(match (kind, stream, &bytes[..]) {
        (b'H', 0, VERSION) => Heard::Hello,
        (b'Y', 0, []) => Heard::Ready,
        (b'D', 1 | 2, [_, ..]) => Heard::Data { id, stream, bytes },
        (b'E', 1 | 2, []) => Heard::End { id, stream },
        (b'C', 0, &[a, b, c, d]) => {
            Heard::Credit { id, count: u32::from_be_bytes([a, b, c, d]) as usize }
        }
        (b'X', 0, []) => Heard::Closed { id },
        (b'S', 0, &[status]) => Heard::Status { id, status },
        (b'N', 0, why) => Heard::NotStarted {
            id,
            why: String::from_utf8_lossy(&why[..why.len().min(SENTENCE)]).into_owned(),
        },
        (b'O', 0, []) => Heard::Open { id },
        (b'B', 0, b"memory") => Heard::Breach(MachineBreach::Memory),
        (b'B', 0, b"processes") => Heard::Breach(MachineBreach::Processes),
        (b'B', 0, b"disk") => Heard::Breach(MachineBreach::Disk),
        _ => bail!("a frame of kind {kind}, stream {stream} and {} bytes", bytes.len()),
    })
}

#[cfg(test)]
mod tests {
    use crate::machine::frame::*;

    fn frame(kind: u8, stream: u8, id: u32, length: u32, payload: &[u8]) -> Vec<u8> {
        [&[kind, stream][..], &id.to_be_bytes(), &length.to_be_bytes(), payload].concat()
    }

    #[test]
    fn what_a_machine_says_is_understood() {
        let says = |kind, stream, payload: &[u8]| {
            let bytes = frame(kind, stream, 7, payload.len() as u32, payload);
            hear(&mut &bytes[..]).unwrap().unwrap()
        };
        assert_eq!(says(b'H', 0, b"1"), Heard::Hello);
        assert_eq!(says(b'D', 2, b"ab"), Heard::Data { id: 7, stream: 2, bytes: b"ab".to_vec() });
        assert_eq!(says(b'C', 0, &[0, 0, 1, 2]), Heard::Credit { id: 7, count: 258 });
        assert_eq!(says(b'S', 0, &[3]), Heard::Status { id: 7, status: 3 });
        assert_eq!(says(b'B', 0, b"memory"), Heard::Breach(MachineBreach::Memory));
        assert_eq!(hear(&mut &b""[..]).unwrap(), None, "it is gone");
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let refused = |bytes: &[u8]| hear(&mut &bytes[..]).is_err();
        assert!(refused(&frame(b'D', 1, 0, u32::MAX, b"")), "it is said to be very long");
        assert!(
            refused(&frame(b'D', 1, 0, PIECE as u32 + 1, &vec![0; PIECE + 1])),
            "it is a little too long"
        );
        assert!(refused(&frame(b'D', 1, 0, 5, b"abc")), "it ends early");
        assert!(refused(b"D\x01\0"), "its head ends early");
        assert!(
            refused(&frame(b'D', 0, 0, 1, b"x")),
            "the standard input does not come from there"
        );
        assert!(refused(&frame(b'D', 3, 0, 1, b"x")), "there is no such stream");
        assert!(refused(&frame(b'D', 1, 0, 0, b"")), "it says nothing, for ever");
        assert!(refused(&frame(b'H', 0, 0, 1, b"2")), "it speaks another version");
        assert!(
            refused(&frame(b'C', 1, 0, 4, b"aaaa")),
            "it gives credit for what comes from itself"
        );
        assert!(refused(&frame(b'S', 0, 0, 0, b"")), "there is no status");
        assert!(refused(&frame(b'B', 0, 0, 5, b"peace")), "there is no such limit");
        assert!(refused(&frame(b'R', 0, 0, 0, b"")), "that is ours to say");
    }

    #[test]
    fn what_it_is_told_is_no_longer_than_it_can_take() {
        let mut sent = Vec::new();
        tell(&mut sent, Tell::Data, 3, 0, b"x").unwrap();
        assert_eq!(sent, frame(b'D', 0, 3, 1, b"x"));
        assert!(tell(&mut sent, Tell::Data, 3, 0, &vec![0; PIECE + 1]).is_err());
    }
}
