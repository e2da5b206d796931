//! Runs other programs: this is the one way in which this program does.
//!
//! A child gets null or given standard input, a cleared environment (`LC_ALL=C.UTF-8`, a fixed
//! `PATH` and what the caller adds), a process group of its own, a total and a silence timeout, and
//! a bound on what it may write. A limit or a cancellation that ends it kills its whole process
//! group. Arguments are passed as they are: no shell.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until};

use crate::filter::{Filter, Programs};
pub use tokio_util::sync::CancellationToken;

/// The `PATH` of every child.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The variable that marks the children of a daemon, and theirs: its value is the state directory.
pub const MARK: &str = "INVIRTIBUILDER_CHILD_OF";

static MARKED: OnceLock<PathBuf> = OnceLock::new();

/// Marks every child from now on as one of the daemon that uses this state directory.
pub fn mark_children(state_dir: &Path) {
    MARKED.get_or_init(|| state_dir.to_owned());
}

/// The time for which we still read output after the child has exited, when somebody else holds the
/// pipe.
const GRACE: Duration = Duration::from_secs(10);

/// Finds the file of this very program. After an upgrade the one that we run is gone, and another
/// is in its place.
pub fn program() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find our own program")?;
    Ok(program
        .to_str()
        .and_then(|path| path.strip_suffix(" (deleted)"))
        .map_or(program.clone(), PathBuf::from))
}

/// Where programs are installed that only our own programs start.
const LIBEXEC: &str = "/usr/libexec/invirtibuilder";

/// Finds one of the programs that only our own programs start: beside this one, or where they are
/// installed.
pub fn helper(name: &str) -> Result<PathBuf> {
    let this = program()?;
    let (beside, installed) = (this.with_file_name(name), Path::new(LIBEXEC).join(name));
    let both = if this.starts_with("/usr") { [installed, beside] } else { [beside, installed] };
    both.into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not installed: no build starts without it"))
}

/// A program to run.
#[derive(Debug)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    input: Vec<u8>,
    total: Duration,
    silence: Option<Duration>,
    log: Option<(PathBuf, u64)>,
    capture: usize,
    filter: Option<Programs>,
}

/// Why a child is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exit(i32),
    /// A signal that we did not send killed it.
    Signal(i32),
    /// We killed it: it took longer than the total timeout.
    TimedOut,
    /// We killed it: it wrote nothing for longer than the silence timeout.
    Silent,
    /// We killed it: it wrote more than the log or the capture holds.
    TooMuchOutput,
    /// We killed it: the caller cancelled.
    Cancelled,
}

/// A child that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The program, for messages.
    pub program: String,
    /// How the child ended.
    pub ended: Ended,
    /// The standard output, unless it went to a log.
    pub stdout: Vec<u8>,
    /// The standard error, or with a log the last bytes of both.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Tells whether the child exited with status 0.
    pub fn ok(&self) -> bool {
        self.ended == Ended::Exit(0)
    }

    /// Writes one sentence on how it ended, with the last line it wrote to standard error.
    pub fn describe(&self) -> String {
        let how = match self.ended {
            Ended::Exit(code) => format!("exited with status {code}"),
            Ended::Signal(signal) => format!("was killed by signal {signal}"),
            Ended::TimedOut => "took too long and was killed".into(),
            Ended::Silent => "was silent for too long and was killed".into(),
            Ended::TooMuchOutput => "wrote too much and was killed".into(),
            Ended::Cancelled => "was cancelled".into(),
        };
        let text = String::from_utf8_lossy(&self.stderr);
        match text.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(line) => format!(
                "{} {how}: {}",
                self.program,
                invirtibuilder_core::text::one_line(line.trim())
            ),
            None => format!("{} {how}", self.program),
        }
    }

    /// Returns the standard output of a success; anything else is an error that says how it ended.
    pub fn success(self) -> Result<Vec<u8>> {
        if self.ok() { Ok(self.stdout) } else { bail!(self.describe()) }
    }
}

impl Cmd {
    /// Makes a command that runs `program` (looked up in [`PATH`] when it has no slash), with a
    /// minute to run.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            input: Vec::new(),
            total: Duration::from_secs(60),
            silence: None,
            log: None,
            capture: 16 << 20,
            filter: None,
        }
    }

    /// Adds an argument. Put `--` before anything that somebody else named.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Adds to the otherwise cleared environment.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory; `/` otherwise.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Sets the bytes for standard input; `/dev/null` otherwise.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Sets the limit on wall-clock time.
    pub fn total(mut self, limit: Duration) -> Self {
        self.total = limit;
        self
    }

    /// Sets the limit on time without a byte of output.
    pub fn silence(mut self, limit: Duration) -> Self {
        self.silence = Some(limit);
        self
    }

    /// Appends standard output and standard error to this file instead of keeping them, up to `cap`
    /// bytes.
    pub fn log(mut self, path: impl AsRef<Path>, cap: u64) -> Self {
        self.log = Some((path.as_ref().to_owned(), cap));
        self
    }

    /// Sets the most bytes of standard output that are kept.
    pub fn capture(mut self, bytes: usize) -> Self {
        self.capture = bytes;
        self
    }

    /// Holds the child to the filter of system calls for these programs.
    pub(crate) fn filtered(mut self, programs: Programs) -> Self {
        self.filter = Some(programs);
        self
    }

    /// Runs the child to its end. An error means that it could not be run or watched; how it ended
    /// is in [`Finished`].
    pub async fn run(self, cancel: &CancellationToken) -> Result<Finished> {
        let program = self.program.to_string_lossy().into_owned();
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .envs(MARKED.get().map(|state_dir| (MARK, state_dir)))
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .current_dir(self.dir.as_deref().unwrap_or(Path::new("/")))
            .stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(programs) = self.filter {
            let filter = Filter::of(programs)?;
            // SAFETY: it makes two system calls, and nothing else.
            #[allow(unsafe_code)]
            unsafe {
                command.pre_exec(|| filter.install());
            }
        }
        let child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        let mut child = Group::new(child);
        let watched = self.watch(&mut child, cancel).await;
        child.kill();
        let status = child.child.wait().await?;
        let (ended, stdout, stderr) = watched?;
        let by_itself =
            || status.code().map_or(Ended::Signal(status.signal().unwrap_or(0)), Ended::Exit);
        let ended = ended.unwrap_or_else(by_itself);
        Ok(Finished { program, ended, stdout, stderr })
    }

    /// Does what [`Cmd::run`] does, for a caller that is not asynchronous. It may be called
    /// anywhere, but keeps the thread that calls it.
    pub fn run_blocking(self) -> Result<Finished> {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.run(&CancellationToken::new()))
        };
        // In a thread of its own, as a runtime cannot be started inside another.
        std::thread::scope(|scope| scope.spawn(run).join())
            .unwrap_or_else(|_| bail!("a thread died"))
    }

    /// Feeds and reads the child until it has ended or has to; `None`: it has ended by itself, and
    /// its group is gone.
    async fn watch(
        &self,
        group: &mut Group,
        cancel: &CancellationToken,
    ) -> Result<(Option<Ended>, Vec<u8>, Vec<u8>)> {
        let mut stdin = group.child.stdin.take();
        let mut out = group.child.stdout.take().context("no standard output")?;
        let mut err = group.child.stderr.take().context("no standard error")?;
        let input = self.input.clone();
        let feed = async move {
            if let Some(pipe) = &mut stdin {
                let _ = pipe.write_all(&input).await;
            }
            drop(stdin);
        };
        tokio::pin!(feed);
        let mut fed = false;

        let mut sink = Sink::open(self).await?;
        let deadline = Instant::now() + self.total;
        let mut heard = Instant::now();
        let (mut out_buf, mut err_buf) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        let (mut out_open, mut err_open) = (true, true);
        let mut exited: Option<Instant> = None;
        let ended = loop {
            if !out_open && !err_open && exited.is_some() {
                break None;
            }
            let silent_at = self.silence.map_or(deadline, |limit| heard + limit);
            let drained_at = exited.map_or(deadline, |at| at + GRACE);
            tokio::select! {
                biased;
                () = cancel.cancelled() => break Some(Ended::Cancelled),
                n = read(&mut out, &mut out_buf), if out_open => match n? {
                    0 => out_open = false,
                    n => {
                        heard = Instant::now();
                        if !sink.stdout(&out_buf[..n]).await? {
                            break Some(Ended::TooMuchOutput);
                        }
                    }
                },
                n = read(&mut err, &mut err_buf), if err_open => match n? {
                    0 => err_open = false,
                    n => {
                        heard = Instant::now();
                        if !sink.stderr(&err_buf[..n]).await? {
                            break Some(Ended::TooMuchOutput);
                        }
                    }
                },
                () = &mut feed, if !fed => fed = true,
                status = group.child.wait(), if exited.is_none() => {
                    status?;
                    exited = Some(Instant::now());
                    group.kill();
                }
                // Somebody outside the group holds the pipe.
                () = sleep_until(drained_at), if exited.is_some() => break None,
                () = sleep_until(deadline), if exited.is_none() => break Some(Ended::TimedOut),
                () = sleep_until(silent_at), if exited.is_none() && self.silence.is_some() => break Some(Ended::Silent),
            }
        };
        sink.flush().await?;
        Ok((ended, sink.stdout, sink.stderr))
    }
}

async fn read(from: &mut (impl AsyncRead + Unpin), buf: &mut [u8]) -> std::io::Result<usize> {
    from.read(buf).await
}

/// A child, whose process group does not outlive the value.
struct Group {
    child: Child,
    id: Pid,
}

impl Group {
    fn new(child: Child) -> Self {
        let id =
            Pid::from_raw(child.id().expect("a child that was not waited for has an id") as i32);
        Self { child, id }
    }

    fn kill(&self) {
        let _ = killpg(self.id, Signal::SIGKILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The place that output goes to: a capped log, or memory.
struct Sink {
    log: Option<(File, u64)>,
    room: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// The most bytes of standard error, or of a log, that are kept: its end says what went wrong.
const TAIL: usize = 256 << 10;

impl Sink {
    async fn open(cmd: &Cmd) -> Result<Self> {
        let log = match &cmd.log {
            None => None,
            Some((path, cap)) => {
                let file = File::options()
                    .append(true)
                    .create(true)
                    .open(path)
                    .await
                    .with_context(|| format!("cannot write the log {}", path.display()))?;
                let room = cap.saturating_sub(file.metadata().await?.len());
                Some((file, room))
            }
        };
        Ok(Self { log, room: cmd.capture, stdout: Vec::new(), stderr: Vec::new() })
    }

    async fn stdout(&mut self, bytes: &[u8]) -> Result<bool> {
        if self.log.is_some() {
            return self.stderr(bytes).await;
        }
        let keep = bytes.len().min(self.room);
        self.stdout.extend_from_slice(&bytes[..keep]);
        self.room -= keep;
        Ok(keep == bytes.len())
    }

    async fn stderr(&mut self, bytes: &[u8]) -> Result<bool> {
        self.stderr.extend_from_slice(bytes);
        if self.stderr.len() > 2 * TAIL {
            self.stderr.drain(..self.stderr.len() - TAIL);
        }
        let Some((file, room)) = &mut self.log else { return Ok(true) };
        let keep = (bytes.len() as u64).min(*room) as usize;
        file.write_all(&bytes[..keep]).await?;
        file.flush().await?;
        *room -= keep as u64;
        Ok(keep == bytes.len())
    }

    async fn flush(&mut self) -> Result<()> {
        if let Some((file, _)) = &mut self.log {
            file.flush().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::subprocess::*;

    fn sh(script: &str) -> Cmd {
        Cmd::new("/bin/sh").arg("-c").arg(script)
    }

    #[tokio::test]
    async fn output_and_status_come_back() {
        let done =
            sh("echo out; echo err >&2; exit 3").run(&CancellationToken::new()).await.unwrap();
        assert_eq!((done.ended, &done.stdout[..]), (Ended::Exit(3), &b"out\n"[..]));
        assert_eq!(done.describe(), "/bin/sh exited with status 3: err");
    }

    #[tokio::test]
    async fn the_environment_is_cleared_and_input_is_given() {
        let done = sh("cat; env | grep -v -e '^PWD=' -e '^_=' | sort").input("hi\n").env("A", "b");
        let out = done.run(&CancellationToken::new()).await.unwrap().success().unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("hi\nA=b\nLC_ALL=C.UTF-8\nPATH={PATH}\n")
        );
    }

    #[tokio::test]
    async fn limits_and_cancellation_kill_the_whole_group() {
        let none = CancellationToken::new();
        let ended = |cmd: Cmd, cancel: CancellationToken| async move {
            cmd.run(&cancel).await.unwrap().ended
        };
        let sleeper = || sh("sleep 1000 & sleep 1000");
        assert_eq!(
            ended(sleeper().total(Duration::from_millis(50)), none.clone()).await,
            Ended::TimedOut
        );
        assert_eq!(
            ended(sleeper().silence(Duration::from_millis(50)), none.clone()).await,
            Ended::Silent
        );
        assert_eq!(ended(sh("yes").capture(1000), none.clone()).await, Ended::TooMuchOutput);
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        assert_eq!(ended(sleeper(), cancelled).await, Ended::Cancelled);
    }

    #[tokio::test]
    async fn a_child_that_is_gone_is_not_waited_for_because_of_its_heirs() {
        let start = Instant::now();
        let none = CancellationToken::new();
        assert!(sh("sleep 1000 & echo done").run(&none).await.unwrap().ok());
        assert!(sh("setsid sleep 15 & echo done").run(&none).await.unwrap().ok());
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[tokio::test]
    async fn logs_are_appended_and_capped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let none = CancellationToken::new();
        assert!(sh("echo one; echo two >&2").log(&path, 100).run(&none).await.unwrap().ok());
        assert_eq!(sh("yes").log(&path, 100).run(&none).await.unwrap().ended, Ended::TooMuchOutput);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.len(), 100);
        assert!(text.contains("one\n") && text.contains("two\n"));
    }
}
