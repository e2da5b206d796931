//! Has one command run in the testbed, as if it ran here.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::testbed::wire;

/// Has the command of these arguments run: the program's name, the agent's socket, and the
/// command's words.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().skip(1).collect();
    match run(&args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("the testbed does not work: {error:#}");
            ExitCode::from(wire::NOT_STARTED)
        }
    }
}

fn run(args: &[OsString]) -> Result<u8> {
    let (socket, words) = args.split_first().context("a command needs the socket of a testbed")?;
    if words.is_empty() {
        bail!("there is no command to run");
    }
    let mut agent = UnixStream::connect(socket)?;
    let words: Vec<Vec<u8>> = words.iter().cloned().map(OsString::into_vec).collect();
    wire::ask(
        &mut agent,
        &words,
        [std::io::stdin().as_fd(), std::io::stdout().as_fd(), std::io::stderr().as_fd()],
    )?;
    let (status, trouble) = wire::answered(&mut agent)?;
    if !trouble.is_empty() {
        bail!("{trouble}");
    }
    Ok(status)
}
