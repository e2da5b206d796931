//! Answers commands of remctld's. Each thread hears a command and answers it; whenever the last one
//! that hears has something to answer, there is one more.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use invirtibuilder_core::error::Exit;
use invirtibuilder_service::desk::Desk;
use invirtibuilder_system::relay::{CommandListener, HeardCommand, Relayed};

/// The most commands at a time. Others get processes of their own.
const MOST: usize = 128;

/// What the threads share.
struct CommandThreads {
    listener: CommandListener,
    desk: Arc<Desk>,
    /// How many of them there are.
    all: AtomicUsize,
    /// How many answer a command.
    busy: AtomicUsize,
}

/// Begins to answer commands, for as long as this process lives.
pub fn answer(listener: CommandListener, desk: &Arc<Desk>) -> Result<()> {
    let (all, busy) = (AtomicUsize::new(1), AtomicUsize::new(0));
    start(&Arc::new(CommandThreads { listener, desk: desk.clone(), all, busy }))
        .context("cannot start a thread")
}

/// Starts a thread, which is counted already.
fn start(threads: &Arc<CommandThreads>) -> std::io::Result<()> {
    let its = threads.clone();
    let work = move || {
        loop {
            match its.listener.hear() {
                Ok(heard) => its.answer(heard),
                Err(error) => {
                    let why = error.to_string();
                    tracing::warn!(what = "commands cannot be heard", why, "trouble");
                    // Descriptors may have run out: others give theirs back.
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    };
    std::thread::Builder::new().name("command".to_owned()).spawn(work).map(drop)
}

impl CommandThreads {
    fn answer(self: &Arc<Self>, heard: HeardCommand) {
        let busy = self.busy.fetch_add(1, Ordering::AcqRel) + 1;
        if busy > MOST {
            heard.split().1.send(Relayed::Elsewhere);
        } else {
            if busy == self.all.load(Ordering::Acquire) {
                self.add();
            }
            self.carry_out(heard);
        }
        self.busy.fetch_sub(1, Ordering::AcqRel);
    }

    /// Adds a thread that hears. Without one, commands wait until one of those that there are is
    /// done.
    fn add(self: &Arc<Self>) {
        self.all.fetch_add(1, Ordering::AcqRel);
        if let Err(error) = start(self) {
            self.all.fetch_sub(1, Ordering::AcqRel);
            let why = error.to_string();
            tracing::warn!(what = "there is no thread for one more command", why, "trouble");
        }
    }

    fn carry_out(&self, heard: HeardCommand) {
        let (command, answer) = heard.split();
        let err = command.err.try_clone();
        let done = catch_unwind(AssertUnwindSafe(|| {
            invirtibuilder_cli::answer_relayed(&self.desk, command)
        }));
        answer.send(match done {
            Ok(Some(exit)) => Relayed::Done(exit as u8),
            Ok(None) => Relayed::Elsewhere,
            Err(_) => {
                let text = "invirt-build: this is a bug, please report it: the log of invirtibuilder-api has more\n";
                let _ = err.and_then(|mut err| err.write_all(text.as_bytes()));
                Relayed::Done(Exit::Bug as u8)
            }
        });
    }
}
