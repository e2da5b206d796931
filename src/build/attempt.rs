//! One run of sbuild, and whether there is to be another: where the first had too little memory for its files, or installed by what
//! mirrors said before and do not say any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::reason::{self, Stage};
use super::room::Room;
use super::{Base, Builder, Request, large};
use crate::error::Failure;
use crate::subprocess::{Ended, Finished};

/// How a build is run.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Where it writes.
    pub room: Room,
    /// What it takes from mirrors.
    pub lists: Lists,
    /// Whether it was given anything that mirrors may say otherwise by now.
    pub stale: Stale,
}

/// Which lists of packages a build installs by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// Those that are there, if they are young.
    Kept,
    /// What the mirrors say now.
    Anew,
}

/// Notes that something old was given to a build, or that a mirror did not have what it had said.
#[derive(Debug, Clone, Default)]
pub struct Stale(Arc<AtomicBool>);

impl Stale {
    /// Notes it.
    pub fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was noted.
    pub fn was_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Builder {
    /// How a build is run at first.
    pub(super) fn first_attempt(&self, request: &Request) -> Attempt {
        Attempt { room: self.room(request), lists: Lists::Kept, stale: Stale::default() }
    }

    /// How a build that ended so is run once more, if it is. The log then says why, and nothing is left of the first run.
    pub(super) fn next_attempt(
        &self,
        request: &Request,
        base: &Base,
        last: &Attempt,
        done: &Finished,
    ) -> Result<Option<Attempt>, Failure> {
        if self.outgrew(request, last.room, done)? {
            return Ok(Some(Attempt { room: Room::Disk, ..last.clone() }));
        }
        let stage = failed_at(done).filter(|_| last.lists == Lists::Kept);
        // Where lists do not fit together, the mirror was just changing them, or somebody on the way had old ones.
        if !(stage == Some(Stage::Lists) || stage == Some(Stage::Dependencies) && last.stale.was_noted()) {
            return Ok(None);
        }
        large::clear(&request.output)?;
        self.roots.distrust(base.manifest())?;
        request.say(
            "\nThe lists of packages may be older than what the mirrors have: once more, with what they say now.",
        )?;
        Ok(Some(Attempt { lists: Lists::Anew, stale: Stale::default(), ..last.clone() }))
    }
}

/// Where sbuild failed by itself.
fn failed_at(done: &Finished) -> Option<Stage> {
    let by_itself = matches!(done.ended, Ended::Exit(code) if (1..=3).contains(&code));
    by_itself.then(|| reason::stage(&String::from_utf8_lossy(&done.stderr)))
}
