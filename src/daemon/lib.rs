//! `invirtibuilderd`: claims jobs, carries them out, makes owed moves, runs hooks.
//!
//! The loop in `Daemon::serve` decides nothing by itself: each pass looks at the record and does
//! what is due, so a wake-up that is lost, doubled or late changes only when. What a dead daemon
//! left is mended by `recover` before the first pass.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{Id, JoinSet};
use tracing::Instrument;

mod announce;
mod build_log;
mod chroots;
pub mod hooks;
mod lock;
mod orphans;
mod ready;
mod recover;
mod shared;
mod slurm;
mod worker;
mod workspace;

use invirtibuilder_archive::Archive;
use invirtibuilder_builder::schroot;
use invirtibuilder_builder::slurm::Cluster;
use invirtibuilder_core::config::{self, Config};
use invirtibuilder_core::error::{Error, Failure, FailureKind, exit_for};
use invirtibuilder_core::failpoint::{Point, reach};
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::text;
use invirtibuilder_core::time::now;
use invirtibuilder_store::audit::AuditEntry;
use invirtibuilder_store::fairness::Rules;
use invirtibuilder_store::forecast::{self, Forecast};
use invirtibuilder_store::{browse, claim, domains, jobs, queue};
use invirtibuilder_system::subprocess::{self, CancellationToken};
use invirtibuilder_system::{cgroup, disk, log, privilege, wake};
use lock::InstanceLock;
use shared::Shared;

/// How often the loop looks at the record although nothing has called it.
const TICK: Duration = Duration::from_secs(10);

/// How often the daemon says that a signing key ends soon.
const DAY: Duration = Duration::from_secs(86_400);

/// How often the daemon writes down what the pools have.
const HOUR: Duration = Duration::from_secs(3600);

/// How long a job is given to let go when the daemon is told to stop.
const DRAIN: Duration = Duration::from_secs(60);

/// Builds what was submitted, publishes it, and keeps Git and the archive in step.
#[derive(Debug, Parser)]
#[command(name = "invirtibuilderd", version, max_term_width = 80)]
struct DaemonCli {
    /// Configuration file [default: $INVIRTIBUILDER_CONFIG, then /etc/invirtibuilder/config.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Returns the command line, as the manual needs it.
pub fn command() -> clap::Command {
    <DaemonCli as clap::CommandFactory>::command()
}

/// Longer than any daemon runs.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Runs the daemon in the foreground until it is told to stop, and returns its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    invirtibuilder_system::private::settle_umask();
    let cli = DaemonCli::parse_from(args);
    // Sandboxes die with the thread that started them (PR_SET_PDEATHSIG): none may end before we
    // do, idle or not.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().thread_keep_alive(FOREVER).enable_all().build();
    let done = runtime
        .context("cannot start the runtime")
        .and_then(|rt| rt.block_on(run(&config::path(cli.config.as_deref()))));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("invirtibuilderd: {}", text::one_line(&format!("{error:#}")));
            exit_for(&error).into()
        }
    }
}

async fn run(path: &Path) -> Result<()> {
    // First of all: who changes the configuration now and says so does not end us.
    let hangup = signal(SignalKind::hangup())?;
    let config = load(path)?;
    privilege::become_owner_of(&config.state_dir)?;
    let _lock = InstanceLock::take(&config.state_dir)?;
    // Before it has children of its own.
    let orphans = orphans::kill_all(&config.state_dir);
    subprocess::mark_children(&config.state_dir);
    let sessions = schroot::end_all(&config.state_dir).await;
    cgroup::remove_all().await;
    log::install(&config.syslog);
    let daemon = Daemon::new(path.to_owned(), config).await?;
    let limits = cgroup::mechanism().describe();
    // It is tried again.
    let _ = std::fs::remove_file(daemon.config.kvm_note());
    // For whoever checks the installation; builds do not need it.
    if let Err(error) = std::fs::write(daemon.config.limits_note(), format!("{limits}\n")) {
        daemon.shared.complain("what limits builds cannot be written down", &error.into());
    }
    tracing::info!(by = limits, "limits");
    if let Err(error) = orphans.and(sessions) {
        daemon.shared.complain("an earlier daemon's work goes on", &error);
    }
    daemon.serve(hangup).await
}

fn load(path: &Path) -> Result<Config> {
    config::load(path).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::config(lines.join("; ")).into()
    })
}

/// What is done to the archive beside the loop.
enum Chore {
    /// What is due by the clock.
    Upkeep,
    /// Suites were brought to what a new configuration says.
    Reload(Arc<Config>, Result<()>),
}

/// The loop's state. Everything else is in the record.
struct Daemon {
    path: PathBuf,
    config: Arc<Config>,
    shared: Arc<Shared>,
    workers: JoinSet<()>,
    running: HashMap<JobId, CancellationToken>,
    /// Those of them that a cluster builds.
    away: HashSet<JobId>,
    cluster: Option<Arc<Cluster>>,
    tasks: HashMap<Id, JobId>,
    heralds: announce::Heralds,
    chores: JoinSet<Chore>,
    refresher: chroots::Refresher,
    readier: ready::Readier,
    warned: Option<Instant>,
    /// When it was last written down what the pools have.
    noted: Option<Instant>,
    /// The directory whose disk has no room for another job.
    short: Option<PathBuf>,
    /// What was said of a pocket that is in another domain than this configuration says.
    misplaced: Option<String>,
}

impl Daemon {
    async fn new(path: PathBuf, config: Config) -> Result<Self> {
        let shared = Arc::new(Shared::open(&config)?);
        let config = Arc::new(config);
        // Before anything is changed.
        shared.read(|db| domains::demand(db, &config))?;
        recover::recover_jobs(&config, &shared).await?;
        let cluster = slurm::open(&config, &shared, &shared.stopping()).await?;
        Ok(Self {
            path,
            config,
            shared,
            workers: JoinSet::new(),
            running: HashMap::new(),
            away: HashSet::new(),
            cluster,
            tasks: HashMap::new(),
            heralds: announce::Heralds::new(TICK),
            chores: JoinSet::new(),
            refresher: chroots::Refresher::default(),
            readier: ready::Readier::default(),
            warned: None,
            noted: None,
            short: None,
            misplaced: None,
        })
    }

    async fn serve(mut self, mut hangup: Signal) -> Result<()> {
        let bell =
            wake::listen(&self.config.wake_socket()).context("cannot listen for submissions")?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let period =
            sd_notify::watchdog_enabled().map_or(TICK, |watchdog| (watchdog / 3).min(TICK));
        let mut tick = tokio::time::interval(period);
        self.loaded();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
        notify(sd_notify::NotifyState::Ready);
        let ended = loop {
            if let Err(error) = self.pass() {
                self.shared.complain("the record cannot be used", &error);
            }
            tokio::select! {
                heard = wake::heard(&bell) => if let Err(error) = heard {
                    break Err(error).context("cannot listen for submissions");
                },
                Some(ended) = self.workers.join_next_with_id() => self.worker_ended(ended),
                Some(ended) = self.heralds.join_next() => if let Err(error) = ended {
                    self.shared.complain("a task that runs hooks died", &error.into());
                },
                Some(ended) = self.chores.join_next() => match ended {
                    Ok(chore) => self.chore_ended(chore),
                    Err(error) => {
                        self.shared.complain("a task of upkeep died", &error.into());
                        notify(sd_notify::NotifyState::Ready);
                    }
                },
                _ = hangup.recv() => self.reload(),
                _ = tick.tick() => self.tick(),
                _ = terminate.recv() => break Ok(()),
                _ = interrupt.recv() => break Ok(()),
            }
        };
        // Whatever ended it: the jobs that run go back to the queue.
        self.drain().await;
        ended
    }

    /// Looks at the record and starts what is due.
    fn pass(&mut self) -> Result<()> {
        for id in self.shared.read(jobs::to_cancel)? {
            if let Some(token) = self.running.get(&id) {
                token.cancel();
            }
        }
        let rules = Rules::of(&self.config);
        if !self.is_placed() || !self.has_room() {
            return self.heralds.start_due(&self.shared, &self.config);
        }
        while self.running.len() < rules.all_places() {
            reach(Point::JobUnclaimed)?;
            if !self.shared.read(|db| queue::may_claim(db, &rules))? {
                break;
            }
            let Some(job) = self.shared.write(|tx| claim::next(tx, &rules))? else { break };
            reach(Point::JobClaimed)?;
            let token = CancellationToken::new();
            self.running.insert(job.id, token.clone());
            let id = job.id;
            let pocket = self.config.find_pocket(&job.pocket);
            if pocket.is_some_and(|pocket| self.config.is_on_slurm(pocket.settings())) {
                self.away.insert(id);
            }
            let span = tracing::info_span!("job", job = %id, attempt = job.attempt);
            let with = (self.shared.clone(), self.config.clone(), self.cluster.clone());
            let task = worker::carry_out_job(with, job, token).instrument(span);
            let task = self.workers.spawn(task);
            self.tasks.insert(task.id(), id);
        }
        if self.running_here() >= self.config.daemon.jobs {
            self.readier.give_way();
        }
        self.heralds.start_due(&self.shared, &self.config)
    }

    /// Counts the jobs that this machine builds.
    fn running_here(&self) -> usize {
        self.running.len() - self.away.len()
    }

    /// Tells whether all pockets are in the domains that the configuration says. When 'archive
    /// move' has moved one, the configuration's file says so already: it is read again, once, and
    /// jobs wait until what is read fits.
    fn is_placed(&mut self) -> bool {
        let found = self.shared.read(|db| domains::demand(db, &self.config));
        let said = found.err().map(|error| format!("{error:#}"));
        if said != self.misplaced {
            self.misplaced = said;
            if self.misplaced.is_some() {
                self.reload();
            }
        }
        self.misplaced.is_none()
    }

    /// Tells whether there is room on the disk for another job; it is said once when there is none,
    /// and jobs wait.
    fn has_room(&mut self) -> bool {
        let short = disk::short_of_room(&self.config);
        if short != self.short {
            match &short {
                Some(dir) => self.shared.complain(
                    "jobs wait",
                    &anyhow::anyhow!(
                        "the disk of {} is nearly full: make room, and they start by themselves",
                        dir.display()
                    ),
                ),
                None => tracing::info!("room"),
            }
        }
        self.short = short;
        self.short.is_none()
    }

    /// Writes down when jobs that wait are expected to start, for those of which that was not said
    /// before.
    fn foretell(&self) -> Result<()> {
        let at = now();
        let rules = Rules::of(&self.config);
        let untold = self.shared.read(|db| Forecast::of(db, &rules, at)?.untold(db))?;
        if untold.is_empty() {
            Ok(())
        } else {
            self.shared.write(|tx| forecast::keep(tx, &untold, at))
        }
    }

    fn worker_ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let task = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id);
        let Some(id) = self.tasks.remove(&task) else { return };
        self.running.remove(&id);
        self.away.remove(&id);
        if let Err(error) = ended {
            let _job = tracing::info_span!("job", job = %id).entered();
            // A panic of ours; the job must not stay without an end.
            let failure = Failure::new(
                FailureKind::System,
                format!("this is a bug, please report it: {error}"),
            );
            let ended = self.shared.write(|tx| match jobs::get(tx, id)?.state {
                state if state.is_running() => jobs::fail(tx, id, state, &failure),
                _ => Ok(()),
            });
            self.shared.complain("a worker died", &anyhow::Error::from(failure));
            if let Err(error) = ended {
                self.shared.complain("a job's end cannot be recorded", &error);
            }
        }
    }

    /// Does what is due by the clock: leases, claims whose end could not be written, moves that
    /// could not be made.
    fn tick(&mut self) {
        notify(sd_notify::NotifyState::Watchdog);
        let running: Vec<JobId> = self.running.keys().copied().collect();
        let renewed = if running.is_empty() {
            Ok(())
        } else {
            self.shared.write(|tx| jobs::renew(tx, &running))
        };
        if let Err(error) = renewed {
            self.shared.complain("leases cannot be renewed", &error);
        }
        if let Err(error) = self.shared.take_back(&running) {
            self.shared.complain("expired claims cannot be taken back", &error);
        }
        if let Err(error) = self.foretell() {
            self.shared.complain("how long jobs wait cannot be told", &error);
        }
        // Signing may take its time, and the archive may be somebody else's for a while: nothing
        // waits for it.
        if self.chores.is_empty() {
            let (shared, config) = (self.shared.clone(), self.config.clone());
            self.chores.spawn(async move {
                shared.upkeep(&config).await;
                Chore::Upkeep
            });
        }
        if let Err(error) = self.refresher.start_due(&self.shared, &self.config) {
            self.shared.complain("chroots cannot be looked at", &error);
        }
        let is_free = self.running_here() < self.config.daemon.jobs;
        let places = if is_free { ready::Places::Free } else { ready::Places::Taken };
        if let Err(error) = self.readier.start_due(&self.shared, &self.config, places) {
            self.shared.complain("chroots cannot be looked at", &error);
        }
        self.warn_of_expiry();
        self.note_pools();
    }

    /// Writes down once an hour what the pools have: plots show it by the day.
    fn note_pools(&mut self) {
        if self.noted.is_some_and(|at| at.elapsed() < HOUR) {
            return;
        }
        self.noted = Some(Instant::now());
        if let Err(error) = self.shared.write(|tx| browse::note_pools(tx, now())) {
            self.shared.complain("what the pools have cannot be written down", &error);
        }
    }

    /// Says once a day which signing keys end soon.
    fn warn_of_expiry(&mut self) {
        if self.warned.is_some_and(|at| at.elapsed() < DAY) {
            return;
        }
        self.warned = Some(Instant::now());
        for warning in Archive::warnings(&self.config) {
            self.shared.complain("a signing key", &anyhow::anyhow!(warning));
        }
    }

    /// Writes down which configuration counts from now on.
    fn loaded(&self) {
        let entry = AuditEntry::new("configuration.loaded")
            .with("file", self.path.display().to_string())
            .with("sha256", config::fingerprint(&self.path));
        if let Err(error) = self.shared.write(|tx| entry.append(tx)) {
            self.shared.complain("the configuration's loading cannot be recorded", &error);
        }
    }

    /// Writes down that a configuration was refused, and why.
    fn refused(&self, why: &anyhow::Error) {
        self.shared.complain("the old configuration is kept", why);
        let entry = AuditEntry::new("configuration.refused")
            .with("file", self.path.display().to_string())
            .with("why", format!("{why:#}"));
        if let Err(error) = self.shared.write(|tx| entry.append(tx)) {
            self.shared.complain("a refused configuration cannot be recorded", &error);
        }
    }

    /// Refuses a configuration that a running daemon cannot go over to.
    fn demand_same_places(&self, new: &Config) -> Result<()> {
        if new.state_dir != self.config.state_dir {
            let text = "state_dir cannot change while the daemon runs: restart it";
            return Err(Error::config(text).into());
        }
        slurm::demand_same_listener(self.cluster.as_deref(), new)
    }

    fn reload(&mut self) {
        notify(sd_notify::NotifyState::Reloading);
        let new = load(&self.path).and_then(|new| {
            self.demand_same_places(&new)?;
            Ok(new)
        });
        match new {
            Ok(new) => {
                let (shared, new) = (self.shared.clone(), Arc::new(new));
                self.chores.spawn(async move {
                    let projected = shared.project(&new).await;
                    Chore::Reload(new, projected)
                });
                return;
            }
            Err(error) => self.refused(&error),
        }
        notify(sd_notify::NotifyState::Ready);
    }

    fn chore_ended(&mut self, chore: Chore) {
        match chore {
            Chore::Upkeep => return,
            Chore::Reload(new, Ok(())) => {
                self.config = new;
                self.warned = None;
                self.loaded();
                tracing::info!("reloaded");
            }
            Chore::Reload(_, Err(error)) => self.refused(&error),
        }
        notify(sd_notify::NotifyState::Ready);
    }

    /// Ends in order: a publication is finished, a build is stopped and given back to the queue.
    async fn drain(mut self) {
        notify(sd_notify::NotifyState::Stopping);
        tracing::info!("stopping");
        self.shared.stop();
        self.running.values().for_each(CancellationToken::cancel);
        self.heralds.stop();
        let all = async {
            self.refresher.stop().await;
            self.readier.stop().await;
            while let Some(ended) = self.workers.join_next_with_id().await {
                self.worker_ended(ended);
            }
            while self.heralds.join_next().await.is_some() {}
            while self.chores.join_next().await.is_some() {}
        };
        let _ = tokio::time::timeout(DRAIN, all).await;
    }
}

/// Tells systemd, if it is there.
fn notify(state: sd_notify::NotifyState) {
    let reloading = matches!(state, sd_notify::NotifyState::Reloading);
    let done = match sd_notify::NotifyState::monotonic_usec_now() {
        Ok(now) if reloading => sd_notify::notify(&[state, now]),
        _ => sd_notify::notify(&[state]),
    };
    // Not being able to tell is no reason to stop building.
    drop(done);
}
