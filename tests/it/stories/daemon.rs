//! The daemon comes and goes, and no job is lost.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::world::{
    Apt, BUILD, CONFIG, Daemon, SOON, STATE, Tiny, World, eventually, processes, run,
};

#[test]
fn jobs_are_accepted_without_a_daemon_and_built_when_there_is_one() {
    let world = World::new();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    let start = Instant::now();
    let job = world.submit("prod", "tiny", &commit);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(world.state(&job), "queued");

    let daemon = world.daemon();
    world.wait_for(&job, "published", BUILD);
    // A daemon that has nothing to do is woken by the next submission.
    repo.git(&["commit", "-q", "--allow-empty", "-m", "nothing"]);
    let next = repo.version("1.1", Tiny::Sleeps);
    let job = world.submit("prod", "tiny", &next);
    let start = Instant::now();
    eventually("the job is claimed", SOON, || world.state(&job) != "queued");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(daemon.stop().success());
}

#[test]
fn a_daemon_that_is_told_to_stop_gives_its_build_back() {
    let world = World::new();
    let daemon = world.daemon();
    let repo = world.repo("sleepy");
    let commit = repo.version("1.0", Tiny::Sleeps);
    let job = world.submit("prod", "sleepy", &commit);
    world.wait_asleep(&job);
    assert!(daemon.stop().success());
    assert_eq!(world.state(&job), "queued");
    assert_eq!(processes(Tiny::SLEEP), Vec::<String>::new());
    world.build("alice", &["cancel", &job]).ok();
}

#[test]
fn a_daemon_that_is_killed_leaves_work_that_the_next_one_finishes() {
    let world = World::new();
    let daemon = world.daemon();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Dawdles);
    let job = world.submit("prod", "tiny", &commit);
    world.wait_for(&job, "building", SOON);
    let mut follower = world.command("alice");
    follower.args(["log", &job, "--follow"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let follower = follower.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    daemon.kill();
    eventually("the build dies with its daemon", SOON, || processes("sbuild").is_empty());

    let _daemon = world.daemon();
    world.wait_for(&job, "published", BUILD);
    assert_eq!(world.status(&job)["job"]["attempt"], 2);
    // Who followed it has seen both attempts.
    let seen = follower.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr));
    assert!(seen.status.success() && err.contains("its log is that of attempt 2"), "{err}");
    assert_eq!(out.matches("Source package of commit").count(), 2, "{out}");
    assert!(out.contains("The source package is the commit, path by path"), "{out}");
    assert_eq!(Apt::new("stable").update().candidate("tiny").as_deref(), Some("1.0"));
    assert_eq!(repo.served("refs/heads/prod"), Some(commit));
    assert_eq!(
        fs::read_dir("/var/lib/invirtibuilder/work").map_or(0, Iterator::count),
        0,
        "work was left behind"
    );
}

#[test]
fn what_a_dead_daemon_left_is_ended_and_removed_whoever_owns_it() {
    let world = World::new();
    world.daemon().stop();
    // A directory of one of its builds' users, one that even its owner may not enter, and a
    // process.
    let left = "/var/lib/invirtibuilder/work/job-999";
    let subordinate = fs::read_to_string("/etc/subuid").unwrap();
    let first = subordinate.lines().find_map(|line| line.strip_prefix("_invirtibuilder:"));
    let first: u32 = first.and_then(|rest| rest.split(':').next()).unwrap().parse().unwrap();
    let theirs = first + 123;
    let script = format!(
        "install -d -o _invirtibuilder -g _invirtibuilder {left} {left}/build {left}/closed && \
         install -d -o {theirs} -g {theirs} {left}/build/theirs && touch {left}/build/theirs/file {left}/closed/file && \
         chown _invirtibuilder {left}/closed/file && chmod 000 {left}/closed"
    );
    run("sh", &["-c", &script]);
    let sleep = |seconds: &str, of: &str| {
        let mark = format!("INVIRTIBUILDER_CHILD_OF={of}");
        let program = ["env", &mark, "sleep", seconds];
        Command::new("as-service").args(program).spawn().unwrap()
    };
    let (mut orphan, mut stranger) = (sleep("618", STATE), sleep("619", "/elsewhere"));
    // What becomes `sleep` has its words before, and not yet its mark.
    let sleeps = |line: &str| processes(line).iter().any(|found| found.starts_with(line));
    eventually("both sleep", SOON, || sleeps("sleep 618") && sleeps("sleep 619"));

    let _daemon = world.daemon();
    assert!(!std::path::Path::new(left).exists(), "{}", run("find", &[left]));
    assert_eq!(orphan.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
    assert!(stranger.try_wait().unwrap().is_none(), "somebody else's process was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_bad_configuration_is_refused_and_the_old_one_kept() {
    let world = World::new();
    let mut daemon = world.daemon();
    let good = fs::read_to_string(CONFIG).unwrap();
    fs::write(CONFIG, "build: { pockets: { prod: { alc: [] } } }\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(500));
    assert!(daemon.runs(), "the daemon ended");
    world.build("alice", &["pockets"]).refused(78, &["config.yaml", "alc"]);
    let checked = world.local(&["check-config"]);
    assert_eq!(checked.code, 78);
    assert!(checked.err.contains("alc"), "{}", checked.err);

    // A good one is taken: hooks are found in their new place.
    fs::write(CONFIG, good.replace("/etc/invirtibuilder/hooks", "/etc/invirtibuilder/conf.d"))
        .unwrap();
    fs::create_dir_all("/etc/invirtibuilder/conf.d/cancelled.d").unwrap();
    daemon.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(500));
    assert!(daemon.runs(), "the daemon ended");
    assert!(daemon.stop().success());
}

#[test]
fn a_daemon_that_is_told_to_reload_while_it_starts_does_so_when_it_has_started() {
    let world = World::new();
    let slow = "/etc/invirtibuilder/slow.yaml";
    run("mkfifo", &["-m", "644", slow]);
    let told = std::thread::spawn(move || {
        // Opened when the daemon is about to read it, and it reads until we have written.
        let mut first = File::options().write(true).open(slow).unwrap();
        fs::write("/etc/invirtibuilder/next", "later: this\n").unwrap();
        fs::rename("/etc/invirtibuilder/next", slow).unwrap();
        run("pkill", &["-HUP", "-f", &format!("^invirtibuilderd --config {slow}")]);
        std::thread::sleep(Duration::from_millis(100));
        first.write_all(&fs::read(CONFIG).unwrap()).unwrap();
    });
    let daemon = Daemon::start_by("as-service", &["invirtibuilderd", "--config", slow]);
    told.join().unwrap();
    let refused = || world.local(&["audit", "show", "--event", "configuration.refused"]).ok().out;
    eventually("it reads the file again", SOON, || refused().contains("later"));
    assert!(daemon.stop().success());
    fs::remove_file(slow).unwrap();
}
