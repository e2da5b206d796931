//! `diff`: how two pockets differ, and in which direction.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;

use crate::error::Exit;
use crate::names::{PackageName, PocketName};
use crate::record::pockets::{self, Held};
use crate::session::{Session, table};

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One pocket
    left: String,
    /// The other
    right: String,
}

/// Runs the verb.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let left = session.config.pocket(&args.left)?.0.clone();
    let right = session.config.pocket(&args.right)?.0.clone();
    let held = pockets::all(session.record.db())?;
    let of = |pocket: &PocketName| -> BTreeMap<&PackageName, &Held> {
        held.iter().filter(|h| h.pocket == *pocket).map(|h| (&h.package, h)).collect()
    };
    let (in_left, in_right) = (of(&left), of(&right));
    let mut packages: Vec<&PackageName> = in_left.keys().chain(in_right.keys()).copied().collect();
    packages.sort();
    packages.dedup();

    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for package in packages {
        let (a, b) = (in_left.get(package), in_right.get(package));
        let sign = match (a, b) {
            (Some(a), Some(b)) if a.commit == b.commit => continue,
            (Some(a), Some(b)) => match a.version.cmp_dpkg(&b.version) {
                Ordering::Greater => ">",
                Ordering::Less => "<",
                Ordering::Equal => "!",
            },
            (Some(_), None) => ">",
            (None, _) => "<",
        };
        let version = |held: Option<&&Held>| held.map_or("-".to_owned(), |h| h.version.to_string());
        rows.push([package.to_string(), version(a), sign.to_owned(), version(b)]);
        values.push(json!({ "package": package, "left": a, "right": b, "order": sign }));
    }
    if session.json {
        session.print_json(&values)?;
    } else if rows.is_empty() {
        session.line(format!("{left} and {right} hold the same"))?;
    } else {
        table(["PACKAGE", left.as_str(), "", right.as_str()], &rows)?;
    }
    Ok(Exit::Ok)
}
