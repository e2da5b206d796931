//! Serves autopkgtest's protocol for testbeds (autopkgtest's `README.virtualisation-server`), as
//! much of it as sbuild speaks: the testbed is there before it is opened, and goes with the
//! sandbox.

use std::ffi::OsStr;
use std::io::{BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::testbed::{CLIENT, wire};

/// Serves on the standard streams for the agent behind a socket.
pub fn main(socket: &OsStr) -> ExitCode {
    let served = serve(std::io::stdin().lock(), std::io::stdout(), socket, || open(socket));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the testbed does not work: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until the testbed is ready.
fn open(socket: &OsStr) -> Result<()> {
    let mut agent = UnixStream::connect(socket)?;
    wire::ask(
        &mut agent,
        &[],
        [std::io::stdin().as_fd(), std::io::stderr().as_fd(), std::io::stderr().as_fd()],
    )?;
    match wire::answered(&mut agent)? {
        (0, _) => Ok(()),
        (_, trouble) => bail!("{trouble}"),
    }
}

fn serve(
    from: impl BufRead,
    mut to: impl Write,
    socket: &OsStr,
    open: impl Fn() -> Result<()>,
) -> Result<()> {
    let execute = [OsStr::new(CLIENT), socket].map(quoted).join(",");
    writeln!(to, "ok")?;
    for line in from.lines() {
        let line = line?;
        let said = match line.as_str() {
            "open" => open().map(|()| "ok testbed".to_owned())?,
            "capabilities" => "ok root-on-testbed isolation-container".to_owned(),
            "print-execute-command" => format!("ok {execute}"),
            "close" => "ok".to_owned(),
            "quit" => return Ok(()),
            other => format!("unknown command {}", invirtibuilder_core::text::one_line(other)),
        };
        writeln!(to, "{said}")?;
        to.flush()?;
    }
    Ok(())
}

/// Writes one word of a command: the protocol quotes as URLs do.
fn quoted(word: &OsStr) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    word.as_bytes()
        .iter()
        .map(
            |byte| {
                if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") }
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::testbed::server::*;

    #[test]
    fn a_session_as_sbuild_has_it() {
        let mut said = Vec::new();
        let asked = b"open\ncapabilities\nprint-execute-command\nreboot\nclose\nquit\nnever\n";
        serve(&asked[..], &mut said, OsStr::new("/a b,1"), || Ok(())).unwrap();
        let want = "ok\nok testbed\nok root-on-testbed isolation-container\nok /testbed-run,/a%20b%2c1\n\
                    unknown command reboot\nok\n";
        assert_eq!(String::from_utf8(said).unwrap(), want);
    }

    #[test]
    fn a_testbed_that_does_not_open_is_no_ok() {
        let mut said = Vec::new();
        let error =
            serve(&b"open\n"[..], &mut said, OsStr::new("s"), || bail!("no room")).unwrap_err();
        assert_eq!(error.to_string(), "no room");
        assert_eq!(said, b"ok\n");
    }
}
