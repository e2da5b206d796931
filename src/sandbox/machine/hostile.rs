//! Tests what a machine can say that our own agent never says: a package that is root in there may
//! speak in the agent's place.

use std::fs::File;
use std::io::{PipeReader, Read, Write, pipe};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::sys::socket::sockopt::SndBuf;
use nix::sys::socket::{MsgFlags, recv, setsockopt};

use crate::machine::frame::{PIECE, TUNNEL, WINDOW};
use crate::machine::link::Link;
use crate::machine::*;
use crate::testbed::{CodeOf, answered};

/// A time that is long enough, on a loaded machine, for what takes no time.
const SOON: Duration = Duration::from_secs(60);

/// A machine that the test plays, and the threads that listen to it.
struct Guest {
    port: UnixStream,
    link: Arc<Link>,
    scratch: tempfile::TempDir,
    end: Receiver<Result<Status>>,
    _proxy: TcpListener,
}

impl Guest {
    fn new() -> Self {
        let (port, from) = UnixStream::pair().unwrap();
        port.set_write_timeout(Some(SOON)).unwrap();
        setsockopt(&from, SndBuf, &(PIECE / 4)).unwrap();
        let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let link = Arc::new(Link::new(from.try_clone().unwrap(), proxy.local_addr().unwrap()));
        let scratch = tempfile::tempdir().unwrap();
        let (ended, end) = channel();
        let (mut from, listening, place) = (from, link.clone(), scratch.path().to_owned());
        thread::spawn(move || {
            let _ = ended.send(listen(&mut from, &listening, &place));
            // As when the process ends.
            from.shutdown(std::net::Shutdown::Both)
        });
        Self { port, link, scratch, end, _proxy: proxy }
    }

    /// Sends a frame. Returns whether anybody listens.
    fn says(&mut self, kind: u8, stream: u8, id: u32, payload: &[u8]) -> bool {
        let head = [&[kind, stream][..], &id.to_be_bytes(), &(payload.len() as u32).to_be_bytes()]
            .concat();
        self.port.write_all(&[&head, payload].concat()).is_ok()
    }

    /// Has somebody ask the machine to run a command, with this as its standard input. Returns the
    /// connection of the client that asked, and the command's output. The command's id is 1.
    fn command(&self, input: &str) -> (UnixStream, PipeReader) {
        let (client, mut served) = UnixStream::pair().unwrap();
        let (output, to) = pipe().unwrap();
        let streams = [
            File::open(input).unwrap().into(),
            OwnedFd::from(to),
            File::create("/dev/null").unwrap().into(),
        ];
        let link = self.link.clone();
        thread::spawn(move || link.run(&mut served, &[b"cat".to_vec()], streams, CodeOf::Tools));
        // What a machine says before it was asked is about nothing.
        self.port.set_read_timeout(Some(SOON)).unwrap();
        let (mut port, mut asked) = (&self.port, [0; 10 + 4 + 10]);
        port.read_exact(&mut asked).unwrap();
        assert_eq!((asked[0], asked[14]), (b'W', b'R'));
        (client, output)
    }

    /// Waits until the listeners stop, and returns how. All of this is the machine's own to choose,
    /// but that they stop.
    fn ends(&self) -> Result<Status> {
        self.end.recv_timeout(SOON).expect("it is still listened to")
    }

    fn is_refused(&self, why: &str) {
        let error = format!("{:#}", self.ends().unwrap_err());
        assert!(error.contains(why), "{error}");
    }
}

/// A generator of numbers that are the same every time (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

#[test]
fn what_has_not_begun_or_has_ended_cannot_be_spoken_of() {
    for (kind, stream, id, payload) in [
        (b'D', 1, 1, &b"x"[..]),
        (b'E', 1, 1, b""),
        (b'S', 0, 1, b"\0"),
        (b'N', 0, 1, b"no"),
        (b'X', 0, 1, b""),
        (b'C', 0, TUNNEL, &[0, 0, 0, 1]),
    ] {
        let mut guest = Guest::new();
        guest.says(kind, stream, id, payload);
        guest.is_refused("ended, or never was");
    }
    let mut guest = Guest::new();
    guest.says(b'O', 0, 5, b"");
    guest.is_refused("the id of a command");
    for greeting in [(b'H', &b"1"[..]), (b'Y', b"")] {
        let mut guest = Guest::new();
        guest.says(greeting.0, 0, 0, greeting.1);
        guest.is_refused("begins again");
    }
    let mut guest = Guest::new();
    guest.says(b'O', 0, TUNNEL, b"");
    guest.says(b'O', 0, TUNNEL, b"");
    guest.is_refused("in use");
    let mut guest = Guest::new();
    guest.says(b'O', 0, TUNNEL, b"");
    guest.says(b'D', 2, TUNNEL, b"x");
    guest.is_refused("does not exist");
}

#[test]
fn noise_is_refused() {
    for seed in 0..50 {
        let (mut guest, mut dice) = (Guest::new(), Dice(seed));
        let noise: Vec<u8> = (0..1 << 16).map(|_| dice.roll(256) as u8).collect();
        let _ = guest.port.write_all(&noise);
        assert!(guest.ends().is_err());
    }
}

/// The frames are good ones each, in no order.
#[test]
fn no_order_of_frames_does_harm() {
    for seed in 0..100 {
        let (mut guest, mut dice) = (Guest::new(), Dice(seed));
        let (client, output) = guest.command("/dev/null");
        loop {
            let kind = b"DDDDECXSNOOB"[dice.roll(12) as usize];
            let id = [1, 1, TUNNEL, TUNNEL | 1][dice.roll(4) as usize];
            let stream = if b"DE".contains(&kind) { 1 + dice.roll(2) as u8 } else { 0 };
            let payload = match kind {
                b'D' => vec![b'x'; 1 + dice.roll(100) as usize],
                b'C' => vec![0, 0, 0, dice.roll(3) as u8],
                b'S' => vec![dice.roll(256) as u8],
                b'B' => b"disk".to_vec(),
                _ => Vec::new(),
            };
            if !guest.says(kind, stream, id, &payload) {
                break;
            }
        }
        // Somebody said so: nobody gave up listening.
        let _ = guest.ends();
        drop((client, output));
    }
}

#[test]
fn a_stream_without_end_is_no_longer_than_its_credit() {
    let mut guest = Guest::new();
    let (_client, mut output) = guest.command("/dev/null");
    let mut sent = 0;
    while guest.says(b'D', 1, 1, &[b'x'; PIECE]) {
        sent += PIECE;
        assert!(sent < 8 * WINDOW, "somebody takes it all");
    }
    guest.is_refused("longer than its credit");
    drop(guest);
    let mut got = vec![0; 2 * WINDOW];
    assert!(output.read(&mut got).unwrap() <= WINDOW);
}

#[test]
fn credit_is_for_what_was_sent() {
    for claim in [u32::MAX, 1 << 31, WINDOW as u32 + 1, 1] {
        let mut guest = Guest::new();
        let (_client, _output) = guest.command("/dev/null");
        guest.says(b'C', 0, 1, &claim.to_be_bytes());
        guest.is_refused("more credit than there is");
    }
}

/// Makes a guest that reads nothing, while somebody waits for it to take more than there is room
/// for on the way.
fn deaf() -> (Guest, UnixStream, PipeReader) {
    let guest = Guest::new();
    let (client, output) = guest.command("/dev/zero");
    recv(guest.port.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK).unwrap();
    (guest, client, output)
}

#[test]
fn who_does_not_listen_is_heard_all_the_same() {
    let (mut guest, mut client, _output) = deaf();
    guest.says(b'S', 0, 1, &[7]);
    client.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(answered(&mut client).unwrap().0, 7);
    guest.says(b'B', 0, 0, b"memory");
    assert_eq!(guest.ends().unwrap(), Status::Memory);
}

/// The machine has ended these connections, and they cannot end here while it does not listen.
#[test]
fn connections_do_not_pile_up() {
    let (mut guest, _client, _output) = deaf();
    for n in 0..1000 {
        if !(guest.says(b'O', 0, TUNNEL | n, b"") && guest.says(b'S', 0, TUNNEL | n, &[0])) {
            break;
        }
    }
    guest.is_refused("connections");
}

#[test]
fn what_it_says_of_its_limits_is_its_own_loss() {
    for (what, status) in [(&b"memory"[..], Status::Memory), (b"processes", Status::Processes)] {
        let mut guest = Guest::new();
        guest.says(b'B', 0, 0, what);
        assert_eq!(guest.ends().unwrap(), status);
    }
    let mut guest = Guest::new();
    for _ in 0..1000 {
        guest.says(b'B', 0, 0, b"disk");
    }
    guest.says(b'B', 0, 0, b"peace");
    guest.is_refused("a frame of kind");
    assert!(guest.scratch.path().join(FULL).exists());
    assert_eq!(guest.scratch.path().read_dir().unwrap().count(), 1);
}
