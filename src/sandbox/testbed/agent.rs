//! Runs as the agent, the first process of the testbed. It has one thread, as it forks.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;

use anyhow::Result;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::testbed::{command, root, wire};

/// Serves at the socket that is the standard input, in the root that the text describes.
pub fn main(root: &str) -> ExitCode {
    match run(root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!(
                "the testbed does not work: {}",
                invirtibuilder_core::text::one_line(&format!("{error:#}"))
            );
            ExitCode::FAILURE
        }
    }
}

fn run(root: &str) -> Result<()> {
    let root: root::Root = serde_json::from_str(root)?;
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
    command::run_command(client.try_clone()?, &words, &streams)
}
