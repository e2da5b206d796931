//! Answers commands of remctld's, a thread each.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};

use invirtibuilder_core::error::Exit;
use invirtibuilder_service::desk::Desk;
use invirtibuilder_system::relay::{CommandListener, HeardCommand, Relayed};

/// The most commands at a time. Others get processes of their own.
const MOST: usize = 128;

/// Begins to answer commands, for as long as this process lives.
pub fn answer(listener: CommandListener, desk: &Arc<Desk>) -> Result<()> {
    let desk = desk.clone();
    let open = Arc::new(AtomicUsize::new(0));
    let hear = move || {
        loop {
            match listener.hear() {
                Ok(heard) => begin(heard, &desk, &open),
                Err(error) => {
                    let why = error.to_string();
                    tracing::warn!(what = "commands cannot be heard", why, "trouble");
                    // Descriptors may have run out: others give theirs back.
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("commands".to_owned())
        .spawn(hear)
        .context("cannot start a thread")?;
    Ok(())
}

/// A command that is being answered.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn begin(heard: HeardCommand, desk: &Arc<Desk>, open: &Arc<AtomicUsize>) {
    let before = open.fetch_add(1, Ordering::Relaxed);
    let open = Open(open.clone());
    if before >= MOST {
        heard.split().1.send(Relayed::Elsewhere);
        return;
    }
    let desk = desk.clone();
    let work = move || {
        let _open = open;
        let (command, answer) = heard.split();
        let err = command.err.try_clone();
        let done =
            catch_unwind(AssertUnwindSafe(|| invirtibuilder_cli::answer_relayed(&desk, command)));
        answer.send(match done {
            Ok(Some(exit)) => Relayed::Done(exit as u8),
            Ok(None) => Relayed::Elsewhere,
            Err(_) => {
                let text = "invirt-build: this is a bug, please report it: the log of invirtibuilder-api has more\n";
                let _ = err.and_then(|mut err| err.write_all(text.as_bytes()));
                Relayed::Done(Exit::Bug as u8)
            }
        });
    };
    // If there is no thread, the client sees that it was interrupted.
    let started = std::thread::Builder::new().name("command".to_owned()).spawn(work);
    if let Err(error) = started {
        let why = error.to_string();
        tracing::warn!(what = "a command cannot be answered", why, "trouble");
    }
}
