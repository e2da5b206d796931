//! Keeps the commands and connections of one machine, and finds which of them a frame is about.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::machine::frame::{self, Heard, PIECE, TUNNEL, Tell};
use crate::machine::stream::{Credit, Outgoing};
use crate::testbed::{CodeOf, NOT_STARTED, Streams, answer};

/// The most connections at a time, with those that are still coming to their end here. The agent
/// has half as many, and lets others wait.
const CONNECTIONS: usize = 64;

/// The outcome of a command: its status, or why it did not start.
type CommandOutcome = Result<u8, String>;

/// The connection into a machine, for all its commands and connections.
pub struct Link {
    to: Mutex<UnixStream>,
    proxy: SocketAddr,
    open: Mutex<OpenChannels>,
}

#[derive(Default)]
struct OpenChannels {
    channels: HashMap<u32, Arc<Channel>>,
    next: u32,
    /// The number of connections that a thread here still works on, whatever the machine says of
    /// them.
    connections: usize,
}

/// One command or connection.
struct Channel {
    id: u32,
    outgoing: Vec<Outgoing>,
    credit: Credit,
    ended: Sender<CommandOutcome>,
}

impl Channel {
    fn outgoing(&self, stream: u8) -> Result<&Outgoing> {
        self.outgoing.get(usize::from(stream) - 1).context("a stream that does not exist")
    }
}

impl Link {
    /// Makes a link over this socket. Connections out of the machine end at the address `proxy`.
    pub fn new(to: UnixStream, proxy: SocketAddr) -> Self {
        Self { to: Mutex::new(to), proxy, open: Mutex::default() }
    }

    /// Tells the machine something, in one frame.
    pub fn tell(&self, what: Tell, id: u32, stream: u8, payload: &[u8]) -> Result<()> {
        frame::tell(
            &mut *self.to.lock().unwrap_or_else(PoisonError::into_inner),
            what,
            id,
            stream,
            payload,
        )
    }

    fn open(&self) -> MutexGuard<'_, OpenChannels> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channel(&self, id: u32) -> Result<Arc<Channel>> {
        self.open().channels.get(&id).cloned().context("something that has ended, or never was")
    }

    /// Takes what the machine says about commands and connections. It never waits for the machine:
    /// the thread that reads from the machine must not.
    pub fn take(self: &Arc<Self>, heard: Heard) -> Result<()> {
        match heard {
            Heard::Data { id, stream, bytes } => self.channel(id)?.outgoing(stream)?.push(&bytes),
            Heard::End { id, stream } => {
                self.channel(id)?.outgoing(stream)?.end();
                Ok(())
            }
            Heard::Credit { id, count } => self.channel(id)?.credit.add(count),
            Heard::Closed { id } => {
                self.channel(id)?.credit.close();
                Ok(())
            }
            Heard::Status { id, status } => self.end(id, Ok(status)),
            Heard::NotStarted { id, why } => self.end(id, Err(why)),
            Heard::Open { id } => self.connect(id),
            Heard::Hello | Heard::Ready | Heard::Breach(_) => bail!("it begins again"),
        }
    }

    fn end(&self, id: u32, outcome: CommandOutcome) -> Result<()> {
        let channel =
            self.open().channels.remove(&id).context("an end of what has ended, or never was")?;
        channel.outgoing.iter().for_each(Outgoing::end);
        channel.credit.close();
        // Nobody may want to know.
        let _ = channel.ended.send(outcome);
        Ok(())
    }

    fn add(&self, id: u32, streams: usize) -> Result<(Arc<Channel>, Receiver<CommandOutcome>)> {
        let (ended, end) = channel();
        let outgoing = (0..streams).map(|_| Outgoing::default()).collect();
        let channel = Arc::new(Channel { id, outgoing, credit: Credit::default(), ended });
        let before = self.open().channels.insert(id, channel.clone());
        ensure!(before.is_none(), "an id that is in use");
        Ok((channel, end))
    }

    /// Runs a command with these streams, and answers the client when it has ended.
    pub fn run(
        self: &Arc<Self>,
        client: &mut UnixStream,
        words: &[Vec<u8>],
        streams: Streams,
        code: CodeOf,
    ) -> Result<()> {
        let id = {
            let mut open = self.open();
            open.next = (open.next + 1) & !TUNNEL;
            open.next
        };
        let (channel, end) = self.add(id, 2)?;
        let words: Vec<u8> =
            words.iter().flat_map(|word| word.iter().copied().chain([0])).collect();
        for piece in words.chunks(PIECE) {
            self.tell(Tell::Words, id, 0, piece)?;
        }
        self.tell(Tell::Run, id, (code == CodeOf::Package).into(), b"")?;
        let [input, output, errors] = streams;
        let (stop, stopped) = UnixStream::pair()?;
        let (link, into) = (self.clone(), channel.clone());
        thread::spawn(move || link.pour(&into, std::fs::File::from(input), &stopped));
        let outputs = [(1, output), (2, errors)].map(|(stream, to)| {
            let (link, from) = (self.clone(), channel.clone());
            thread::spawn(move || link.drain(&from, stream, std::fs::File::from(to)))
        });
        let outcome = end.recv().unwrap_or_else(|_| Err("the machine is gone".to_owned()));
        drop(stop);
        for output in outputs {
            let _ = output.join();
        }
        match outcome {
            Ok(status) => answer(client, status, ""),
            Err(why) => answer(client, NOT_STARTED, &invirtibuilder_core::text::one_line(&why)),
        }
    }

    /// Forwards a connection that apt has made in the machine to the proxy, where connections that
    /// are made here go, too.
    fn connect(self: &Arc<Self>, id: u32) -> Result<()> {
        ensure!(id & TUNNEL != 0, "a connection with the id of a command");
        {
            let mut open = self.open();
            ensure!(open.connections < CONNECTIONS, "more than {CONNECTIONS} connections");
            open.connections += 1;
        }
        let (channel, end) = self.add(id, 1)?;
        let link = self.clone();
        thread::Builder::new().spawn(move || {
            if link.carry(&channel, &end).is_err() {
                let _ = link
                    .tell(Tell::End, id, 0, b"")
                    .and_then(|()| link.tell(Tell::Closed, id, 1, b""));
                link.drain(&channel, 1, std::io::sink());
            }
            link.open().connections -= 1;
        })?;
        Ok(())
    }

    fn carry(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        end: &Receiver<CommandOutcome>,
    ) -> Result<()> {
        let socket = TcpStream::connect(self.proxy)?;
        let (stop, stopped) = UnixStream::pair()?;
        let (link, into, from) = (self.clone(), channel.clone(), socket.try_clone()?);
        let replies = thread::spawn(move || link.pour(&into, from, &stopped));
        let (link, from, to) = (self.clone(), channel.clone(), socket.try_clone()?);
        let requests = thread::spawn(move || {
            link.drain(&from, 1, &to);
            let _ = to.shutdown(Shutdown::Write);
        });
        let _ = end.recv();
        drop(stop);
        let _ = socket.shutdown(Shutdown::Read);
        let _ = requests.join();
        let _ = replies.join();
        Ok(())
    }

    /// Sends what it reads into the machine, until its end, or until there is something at `stop`.
    fn pour(&self, channel: &Channel, mut from: impl Read + AsFd, stop: &UnixStream) {
        let mut buffer = vec![0; PIECE];
        while let Some(most) = channel.credit.wait() {
            let mut both = [
                PollFd::new(from.as_fd(), PollFlags::POLLIN),
                PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut both, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => break,
                Ok(_) if both[1].any() == Some(true) => return,
                Ok(_) => {}
            }
            let got = match from.read(&mut buffer[..most.min(PIECE)]) {
                Ok(0) | Err(_) => break,
                Ok(got) => got,
            };
            channel.credit.spend(got);
            if self.tell(Tell::Data, channel.id, 0, &buffer[..got]).is_err() {
                return;
            }
        }
        let _ = self.tell(Tell::End, channel.id, 0, b"");
    }

    /// Passes on what comes out of the machine, until its end. When nobody wants it any more, it
    /// tells the machine so.
    fn drain(&self, channel: &Channel, stream: u8, mut to: impl Write) {
        let Ok(from) = channel.outgoing(stream) else { return };
        let mut wanted = true;
        while let Some(piece) = from.next() {
            if wanted && to.write_all(&piece).is_err() {
                wanted = false;
                let _ = self.tell(Tell::Closed, channel.id, stream, b"");
            }
            from.consumed(piece.len());
            let _ =
                self.tell(Tell::Credit, channel.id, stream, &(piece.len() as u32).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{pipe, read_to_string};
    use std::os::fd::OwnedFd;

    use crate::machine::link::*;
    use crate::testbed::answered;

    fn nowhere() -> SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, 1).into()
    }

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    /// Reads the next frame that the machine gets: kind, stream, id and payload.
    fn told(machine: &mut UnixStream) -> (u8, u8, u32, Vec<u8>) {
        let mut head = [0; 10];
        machine.read_exact(&mut head).unwrap();
        let mut payload = vec![0; u32::from_be_bytes(head[6..].try_into().unwrap()) as usize];
        machine.read_exact(&mut payload).unwrap();
        (head[0], head[1], u32::from_be_bytes(head[2..6].try_into().unwrap()), payload)
    }

    #[test]
    fn a_command_and_its_streams() {
        let (ours, mut machine) = UnixStream::pair().unwrap();
        let link = Arc::new(Link::new(ours, nowhere()));
        let (mut client, mut served) = UnixStream::pair().unwrap();
        let ((input, mut typed), (output, to)) = (pipe().unwrap(), pipe().unwrap());
        let running = {
            let link = link.clone();
            let words = [b"cat".to_vec(), b"".to_vec()];
            thread::spawn(move || {
                link.run(&mut served, &words, [input.into(), to.into(), null()], CodeOf::Package)
            })
        };
        assert_eq!(told(&mut machine), (b'W', 0, 1, b"cat\0\0".to_vec()));
        assert_eq!(told(&mut machine), (b'R', 1, 1, vec![]));
        typed.write_all(b"abc").unwrap();
        assert_eq!(told(&mut machine), (b'D', 0, 1, b"abc".to_vec()));
        drop(typed);
        assert_eq!(told(&mut machine), (b'E', 0, 1, vec![]));
        link.take(Heard::Data { id: 1, stream: 1, bytes: b"said".to_vec() }).unwrap();
        assert_eq!(told(&mut machine), (b'C', 1, 1, vec![0, 0, 0, 4]));
        link.take(Heard::Status { id: 1, status: 9 }).unwrap();
        assert_eq!(answered(&mut client).unwrap(), (9, String::new()));
        running.join().unwrap().unwrap();
        assert_eq!(read_to_string(output).unwrap(), "said");
        assert!(link.take(Heard::End { id: 1, stream: 1 }).is_err(), "it has ended");
    }
}
