//! Where programs run that read what a repository holds, and how much they may write.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::source::SourceRequest;
use invirtibuilder_core::error::{Failure, FailureKind};
use invirtibuilder_system::subprocess::{CancellationToken, Cmd, Finished};
use invirtibuilder_system::{confined, disk};

/// How often it is looked what a program has written.
const PACE: Duration = Duration::from_millis(250);

/// Runs a command of [`command`], and ends it if there is more in the work directory than may be: a
/// small tarball can hold a huge one.
pub async fn run_confined(
    request: &SourceRequest,
    cmd: Cmd,
    cancel: &CancellationToken,
) -> Result<Finished, Failure> {
    run_in(&request.work, request.room, cmd, cancel).await
}

/// Does the same for a command that works in another directory.
pub async fn run_in(
    work: &Path,
    room: u64,
    cmd: Cmd,
    cancel: &CancellationToken,
) -> Result<Finished, Failure> {
    let ours = cancel.child_token();
    let running = cmd.run(&ours);
    tokio::pin!(running);
    let outgrown = tokio::select! {
        done = &mut running => {
            let done = done?;
            return if done.ok() || !disk::is_full(work)? { Ok(done) } else { Err(no_room(work)) };
        }
        () = outgrown(work.to_owned(), room) => {
            ours.cancel();
            running.await
        }
    };
    outgrown?;
    let most = room >> 20;
    let text =
        format!("making the source package took more than {most} MiB of disk space (limits.disk)");
    Err(Failure::new(FailureKind::SourceDisk, text))
}

/// Returns what is nobody's fault but the machine's.
fn no_room(work: &Path) -> Failure {
    let text =
        format!("there is no room left on the disk of {}: 'retry' when there is", work.display());
    Failure::new(FailureKind::System, text)
}

/// Waits until there is more than `room` below a directory.
async fn outgrown(dir: PathBuf, room: u64) {
    loop {
        let (dir, start) = (dir.clone(), Instant::now());
        let used = tokio::task::spawn_blocking(move || disk::taken(&dir)).await.unwrap_or(0);
        if used > room {
            return;
        }
        // Looking at many files is not to be what the machine does.
        tokio::time::sleep(PACE.max(4 * start.elapsed())).await;
    }
}

/// Returns a command that runs `program` of the distro in `/work`, which is the request's,
/// writable. The caller adds the program's arguments.
pub fn command(request: &SourceRequest, program: &str) -> Cmd {
    confined::command(&request.programs.root, &request.work, request.room, &[], program)
}
