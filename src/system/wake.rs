//! Wakes the daemon for a request that has just been committed: by one datagram to a socket in the
//! state directory.
//!
//! The datagram carries nothing; the daemon looks at the record. One that is lost costs nothing
//! either: the daemon looks when it starts and every few seconds.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Wakes the daemon if there is one. It never blocks and never fails.
pub fn ring(socket: &Path) {
    if let Ok(bell) = UnixDatagram::unbound() {
        // A full buffer means that the daemon has not yet seen earlier rings: it will look all the
        // same.
        let _ = bell.set_nonblocking(true).and_then(|()| bell.send_to(&[0], socket));
    }
}

/// Tells whether a daemon listens.
pub fn is_heard(socket: &Path) -> bool {
    UnixDatagram::unbound().is_ok_and(|bell| bell.connect(socket).is_ok())
}

/// Opens the daemon's end. The caller holds the instance lock, so a socket that is there is a dead
/// daemon's.
pub fn listen(socket: &Path) -> io::Result<tokio::net::UnixDatagram> {
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let bell = tokio::net::UnixDatagram::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(bell)
}

/// Waits for a ring, and takes those that came with it.
pub async fn heard(bell: &tokio::net::UnixDatagram) -> io::Result<()> {
    let mut buf = [0; 1];
    bell.recv(&mut buf).await?;
    while bell.try_recv(&mut buf).is_ok() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::wake::*;

    #[tokio::test]
    async fn many_rings_are_one_and_none_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wake");
        ring(&path);
        let bell = listen(&path).unwrap();
        for _ in 0..10_000 {
            ring(&path);
        }
        heard(&bell).await.unwrap();
        ring(&path);
        heard(&bell).await.unwrap();
        assert!(is_heard(&path));
        drop(bell);
        // A child that another test has just forked holds it too, until it runs its program.
        let soon = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while is_heard(&path) {
            assert!(
                std::time::Instant::now() < soon,
                "nobody listens any more, and yet somebody does"
            );
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        ring(&path);
        listen(&path).unwrap();
    }
}
