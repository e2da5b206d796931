//! Finds and grants subordinate ids of the service's user (subuid(5)): builds run as them.

use std::fs;

use anyhow::{Context, Result};

use crate::slot::IDS;
use crate::subprocess::{CancellationToken, Cmd};
use invirtibuilder_core::error::Error;

/// The number of ids that the service's user gets: enough for eight builds at a time.
const WANTED: u32 = 8 * IDS;

/// The id at which ranges begin: above what adduser(8) gives to people, and a multiple of what one
/// of them gets.
const FIRST: u32 = 0x0010_0000;

/// The end of the ids that shadow's login.defs(5) sets aside for this.
const LAST: u32 = 600_100_000;

/// Returns how many builds at a time the ids of this user are enough for.
pub fn builds(user: &str, uid: u32) -> Result<u32> {
    let count = |path: &str| -> Result<u32> {
        let text = fs::read_to_string(path).unwrap_or_default();
        Ok(crate::slot::find(&text, user, &uid.to_string()).map_or(0, |(_, count)| count))
    };
    Ok(count("/etc/subuid")?.min(count("/etc/subgid")?) / IDS)
}

/// Gives this user a range that nobody has, with usermod(8). Returns the range.
pub async fn grant(user: &str) -> Result<String> {
    let texts =
        ["/etc/subuid", "/etc/subgid"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let start = free(&texts.join("\n"))
        .context("no range of subordinate ids is free in /etc/subuid and /etc/subgid")?;
    let range = format!("{start}-{}", start + WANTED - 1);
    let done = Cmd::new("usermod")
        .args(["--add-subuids", &range, "--add-subgids", &range, "--", user])
        .run(&CancellationToken::new())
        .await?;
    if !done.ok() {
        return Err(Error::unavailable(format!(
            "{user} cannot be given subordinate ids: {}",
            done.describe()
        ))
        .into());
    }
    Ok(range)
}

/// Finds the first range that is free in the text of both files.
fn free(text: &str) -> Option<u32> {
    let mut taken: Vec<(u64, u64)> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':').skip(1);
            let (start, count): (u64, u64) =
                (fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?);
            Some((start, start.saturating_add(count)))
        })
        .collect();
    taken.sort_unstable();
    let mut start = u64::from(FIRST);
    for (from, to) in taken {
        if from < start + u64::from(WANTED) && to > start {
            start = to.div_ceil(0x1_0000) * 0x1_0000;
        }
    }
    u32::try_from(start).ok().filter(|start| start.saturating_add(WANTED) <= LAST)
}

#[cfg(test)]
mod tests {
    use crate::subids::*;

    #[test]
    fn a_range_that_nobody_has() {
        assert_eq!(free(""), Some(FIRST));
        assert_eq!(free("alice:100000:65536\nbob:165536:65536\nrubbish\n"), Some(FIRST));
        assert_eq!(free("alice:1000000:1000000\n"), Some(2_031_616));
        assert_eq!(free("b:2097152:65536\na:1048576:1\n"), Some(2_162_688));
        assert_eq!(free("root:1000000:4293967295\n"), None);
    }
}
