//! Carries what client and agent say: one request and one answer on a connection of its own.
//!
//! A request is its length, four bytes, and the words of a command, each with a NUL at its end;
//! with it come the three standard streams. Without words it asks whether the testbed is there. The
//! answer is the command's exit status, one byte, and what is wrong with the testbed, if anything
//! is.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The longest command, in bytes: what Linux itself allows for arguments and environment.
const LONGEST: usize = 6 << 20;

/// The exit status of a command that could not be started, by convention.
pub const NOT_STARTED: u8 = 125;

/// The standard streams of a command.
pub type Streams = [OwnedFd; 3];

/// Sends a command and its streams.
pub fn ask(to: &mut UnixStream, words: &[Vec<u8>], streams: [BorrowedFd; 3]) -> Result<()> {
    let mut message = vec![0; 4];
    for word in words {
        message.extend_from_slice(word);
        message.push(0);
    }
    let length = u32::try_from(message.len() - 4)
        .ok()
        .filter(|n| *n as usize <= LONGEST)
        .context("it is too long")?;
    message[..4].copy_from_slice(&length.to_be_bytes());
    let fds = streams.map(|fd| fd.as_raw_fd());
    let sent = sendmsg::<()>(
        to.as_raw_fd(),
        &[IoSlice::new(&message)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(to.write_all(&message[sent..])?)
}

/// Receives a command and its streams.
pub fn heard(from: &mut UnixStream) -> Result<(Vec<Vec<u8>>, Streams)> {
    let mut head = [0; 4];
    let mut space = nix::cmsg_space!([i32; 3]);
    let mut received = Vec::new();
    let got = {
        let mut slices = [IoSliceMut::new(&mut head)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(from.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                // SAFETY: the kernel has just made these descriptors for us, and nobody else knows
                // them.
                #[allow(unsafe_code)]
                received.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        message.bytes
    };
    from.read_exact(&mut head[got..])?;
    let length = u32::from_be_bytes(head) as usize;
    if length > LONGEST {
        bail!("a command is {length} bytes long");
    }
    let mut words = vec![0; length];
    from.read_exact(&mut words)?;
    let words = words
        .split_inclusive(|byte| *byte == 0)
        .map(|word| word[..word.len() - 1].to_vec())
        .collect();
    match received.try_into() {
        Ok(streams) => Ok((words, streams)),
        Err(_) => bail!("a command came without its streams"),
    }
}

/// Sends the answer: the status, and what is wrong.
pub fn answer(to: &mut UnixStream, status: u8, trouble: &str) -> Result<()> {
    Ok(to.write_all(&[&[status], trouble.as_bytes()].concat())?)
}

/// Waits for the answer, and reads the status, and what is wrong.
pub fn answered(from: &mut UnixStream) -> Result<(u8, String)> {
    let mut all = Vec::new();
    from.take(4096).read_to_end(&mut all)?;
    let (status, trouble) = all.split_first().context("the testbed is gone")?;
    Ok((*status, String::from_utf8_lossy(trouble).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use crate::testbed::wire::*;

    #[test]
    fn commands_and_streams_arrive() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let words = vec![b"echo".to_vec(), b"".to_vec(), vec![b'x'; 300_000]];
        let sender = {
            let words = words.clone();
            std::thread::spawn(move || {
                ask(&mut a, &words, [null.as_fd(), writer.as_fd(), null.as_fd()]).unwrap();
                answered(&mut a).unwrap()
            })
        };
        let (heard_words, [_, out, _]) = heard(&mut b).unwrap();
        assert_eq!(heard_words, words);
        File::from(out).write_all(b"it is the same pipe").unwrap();
        answer(&mut b, 7, "").unwrap();
        drop(b);
        assert_eq!(sender.join().unwrap(), (7, String::new()));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "it is the same pipe");
    }

    #[test]
    fn what_is_no_command_is_refused() {
        let says = |bytes: &[u8]| {
            let (mut a, mut b) = UnixStream::pair().unwrap();
            a.write_all(bytes).unwrap();
            drop(a);
            heard(&mut b).is_err()
        };
        assert!(says(b""));
        assert!(says(&[0, 0, 0, 0]), "it has no streams");
        assert!(says(&[255, 255, 255, 255]), "it is too long");
        assert!(says(&[0, 0, 0, 9, b'x']), "it ends early");
    }
}
