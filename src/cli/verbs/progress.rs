//! Long work that an administrator waits for: it is done here, its log is shown meanwhile, and
//! Ctrl-C ends it in order.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use invirtibuilder_api::chroots::MadeChroot;
use invirtibuilder_api::progress::Done;
use invirtibuilder_core::manifest::Manifest;
use invirtibuilder_core::text;
use invirtibuilder_service::progress::Progress;
use invirtibuilder_system::runtime::block_on;
use invirtibuilder_system::subprocess::CancellationToken;

/// An administrator at a terminal: standard error shows what a log gains, Ctrl-C cancels, and each
/// step is a line on standard output.
pub struct Terminal;

impl Progress for Terminal {
    fn follow<T, F>(&self, log: &Path, work: impl FnOnce(CancellationToken) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        std::fs::create_dir_all(log.parent().context("a log has a directory")?)?;
        let _ = std::fs::remove_file(log);
        block_on(async {
            let cancel = CancellationToken::new();
            let interrupted = async {
                let _ = tokio::signal::ctrl_c().await;
                cancel.cancel();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                done = work(cancel.clone()) => done,
                () = show(log.to_owned()) => unreachable!("it shows the log for ever"),
                () = interrupted => unreachable!("it waits for ever"),
            }
        })
    }

    fn tell(&self, done: &Done) -> Result<()> {
        let (made, what) = match done {
            Done::Made(what) => {
                return Ok(writeln!(std::io::stdout(), "made {}", text::one_line(what))?);
            }
            Done::Ready(made) => (made, "is ready"),
            Done::Removed(made) => (made, "is removed"),
        };
        let MadeChroot { form, manifest } = made;
        let Manifest { distro, architecture, .. } = manifest;
        Ok(writeln!(std::io::stdout(), "{} {distro} {architecture} {what}", form.word())?)
    }
}

/// Copies what a log gains to standard error, until it is dropped.
async fn show(log: PathBuf) {
    let mut at = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if let Ok(more) = read_from(&log, at) {
            at += more.len() as u64;
            let _ = std::io::stderr().write_all(text::for_terminal(&more).as_bytes());
        }
    }
}

fn read_from(log: &Path, at: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(log)?;
    file.seek(SeekFrom::Start(at))?;
    let mut more = Vec::new();
    file.read_to_end(&mut more)?;
    Ok(more)
}
