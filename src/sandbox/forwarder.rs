//! Forwards connections to the proxy, from within: it connects each connection to a port of the
//! sandbox's loopback to a Unix socket.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// The port of the loopback, within the sandbox.
pub const PORT: u16 = 3142;

/// The most connections at a time; others wait.
const MOST: usize = 32;

/// Forwards from now on, for as long as this process lives.
pub fn start(socket: &Path) -> Result<()> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).context("cannot listen for apt")?;
    let socket = socket.to_owned();
    thread::spawn(move || accept(&listener, &socket));
    Ok(())
}

fn accept(listener: &TcpListener, socket: &Path) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        while open.load(Ordering::Relaxed) >= MOST {
            thread::sleep(Duration::from_millis(20));
        }
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        open.fetch_add(1, Ordering::Relaxed);
        let (socket, count): (PathBuf, _) = (socket.to_owned(), open.clone());
        let forwarding = thread::Builder::new().spawn(move || {
            let _ = forward(stream, &socket);
            count.fetch_sub(1, Ordering::Relaxed);
        });
        if forwarding.is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn forward(inner: TcpStream, socket: &Path) -> io::Result<()> {
    let outer = UnixStream::connect(socket)?;
    let (mut from, mut to) = (inner.try_clone()?, outer.try_clone()?);
    let requests = thread::Builder::new().spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    })?;
    let (mut from, mut to) = (outer, inner);
    let _ = io::copy(&mut from, &mut to);
    // Whoever still sends is not listened to.
    let _ = to.shutdown(Shutdown::Both);
    let _ = requests.join();
    Ok(())
}
