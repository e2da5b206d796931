//! The agent: the first process of the testbed. It has one thread, as it forks.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;

use anyhow::{Context, Result};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::{command, root, wire};

/// Serves at the socket that is the standard input, in the root that the first argument describes.
pub fn main(args: &[OsString]) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the testbed does not work: {}", crate::text::one_line(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[OsString]) -> Result<()> {
    let what = args.first().and_then(|text| text.to_str()).context("an agent needs to know its root")?;
    let root: root::Root = serde_json::from_str(what)?;
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut ready = false;
    loop {
        let (mut client, _) = listener.accept()?;
        // Whoever asks first pays for it.
        if !ready && let Err(error) = root.enter() {
            let text = format!("the chroot cannot be used: {error:#}");
            wire::answer(&mut client, wire::NOT_STARTED, &text)?;
            return Err(error);
        }
        ready = true;
        // One bad request is that client's own affair.
        if let Err(error) = serve(&mut client) {
            let _ = wire::answer(&mut client, wire::NOT_STARTED, &format!("{error:#}"));
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
    }
}

fn serve(client: &mut UnixStream) -> Result<()> {
    let (words, streams) = wire::heard(client)?;
    if words.is_empty() {
        return wire::answer(client, 0, "");
    }
    command::run(client.try_clone()?, &words, &streams)
}
