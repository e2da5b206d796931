//! Feels whether the record has changed, once for all who follow something.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::watch;

use invirtibuilder_service::desk::Desk;

/// How often it is felt while somebody follows something.
const OFTEN: Duration = Duration::from_millis(40);

/// How often it is looked whether somebody does.
const SELDOM: Duration = Duration::from_millis(200);

/// How long one connection to the database is used: another may take its place.
const FRESH: Duration = Duration::from_secs(5);

/// Begins to feel. What is returned changes after every change of the record.
pub fn feel(desk: &Arc<Desk>) -> Result<watch::Receiver<u64>> {
    let (beats, beat) = watch::channel(0);
    let desk = desk.clone();
    let feel = move || {
        while !beats.is_closed() {
            // The application has one receiver itself.
            if beats.receiver_count() < 2 {
                std::thread::sleep(SELDOM);
                continue;
            }
            // Something may have changed meanwhile.
            beats.send_modify(|beat| *beat += 1);
            let Ok(pulse) = desk.pulse() else {
                std::thread::sleep(Duration::from_secs(1));
                continue;
            };
            let (began, mut last) = (Instant::now(), None);
            while began.elapsed() < FRESH && beats.receiver_count() > 1 {
                let now = pulse.feel().ok();
                if last != now {
                    beats.send_modify(|beat| *beat += 1);
                }
                last = now;
                std::thread::sleep(OFTEN);
            }
        }
    };
    std::thread::Builder::new()
        .name("pulse".to_owned())
        .spawn(feel)
        .context("cannot start a thread")?;
    Ok(beat)
}
