//! What the worlds of tests have in common: commands and what they answer, and patience.

mod answer;

use std::process::Command;
use std::time::{Duration, Instant};

pub use answer::Answer;

/// Waits until something holds.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, holds: impl FnMut() -> bool) {
    look_every(Duration::from_millis(20), what, limit, holds);
}

/// Waits until something holds, and rests between two looks: for where a look itself takes long.
#[track_caller]
pub fn look_every(rest: Duration, what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "after {limit:?}, still not: {what}");
        std::thread::sleep(rest);
    }
}

/// Runs a program that has to succeed, and returns what it printed.
#[track_caller]
pub fn run(program: &str, args: &[&str]) -> String {
    Answer::of(Command::new(program).args(args)).ok().out.trim_end().to_owned()
}
