//! An oracle of its own: what database, Git and archive say, read without any code of the service,
//! and compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use sha2::{Digest, Sha256};

use crate::service::{LAB, SERVICE_UID, STATE};
use crate::wander::ROAM;

const MAIN: &str = "/srv/apt";
const PACKAGES: &str = "/srv/git/packages";
/// The states of each suite that have a URL (`archive.states`).
const STATES: usize = 8;
const SUPERPROJECT: &str = "/srv/git/packages.git";

/// A pocket of the world's configuration. Its branch is named like it.
#[derive(Clone, Copy)]
struct Place {
    pocket: &'static str,
    domain: &'static str,
    archive: &'static str,
    suite: &'static str,
}

/// Two pockets of one domain, and one of another, whose suite has the name of one of theirs.
const POCKETS: [Place; 3] = [
    Place { pocket: "prod", domain: "main", archive: MAIN, suite: "stable" },
    Place { pocket: "dev", domain: "main", archive: MAIN, suite: "unstable" },
    Place { pocket: "lab", domain: "lab", archive: LAB, suite: "stable" },
];

/// Those, and the pocket that moves, where the record has it. Where only readers are tried there is
/// none.
fn places(db: &Connection) -> Result<Vec<Place>> {
    let sql = "SELECT domain = 'main' FROM pocket_domain WHERE pocket = ?";
    let is_in_main = db.query_row(sql, [ROAM], |row| row.get::<_, bool>(0)).optional()?;
    let roam = is_in_main.map(|is_in_main| {
        let (domain, archive) = if is_in_main { ("main", MAIN) } else { ("lab", LAB) };
        Place { pocket: ROAM, domain, archive, suite: ROAM }
    });
    Ok(POCKETS.into_iter().chain(roam).collect())
}

/// The database, for reading.
pub fn database() -> Result<Connection> {
    let path = format!("{STATE}/invirtibuilder.db");
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(std::time::Duration::from_secs(20))?;
    Ok(db)
}

/// What was found, a line a difference.
#[derive(Default)]
pub struct Findings(pub Vec<String>);

impl Findings {
    fn say(&mut self, text: impl Into<String>) {
        self.0.push(text.into());
    }

    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, record: &T, there: &T) {
        if record != there {
            self.say(format!("{what}: the record has {record:?}, there is {there:?}"));
        }
    }
}

type Rows = BTreeSet<Vec<String>>;

fn rows(db: &Connection, sql: &str) -> Result<Vec<Vec<String>>> {
    let mut query = db.prepare(sql)?;
    let columns = query.column_count();
    let text = |row: &rusqlite::Row, n| -> rusqlite::Result<String> {
        Ok(match row.get_ref(n)? {
            rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            rusqlite::types::ValueRef::Integer(n) => n.to_string(),
            rusqlite::types::ValueRef::Null => String::new(),
            other => format!("{other:?}"),
        })
    };
    let rows = query
        .query_map([], |row| (0..columns).map(|n| text(row, n)).collect::<rusqlite::Result<_>>())?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn git(repo: &Path, args: &[&str]) -> Result<String> {
    let out = Command::new("git").arg("-C").arg(repo).args(args).stdin(Stdio::null()).output()?;
    anyhow::ensure!(
        out.status.success(),
        "git {args:?} in {}: {}",
        repo.display(),
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Every repository: the packages', then the superproject.
fn repositories() -> Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(PACKAGES)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    all.sort();
    all.push(SUPERPROJECT.into());
    Ok(all)
}

/// A ref's commit by its name.
fn refs(repo: &Path) -> Result<BTreeMap<String, String>> {
    let text = git(
        repo,
        &[
            "for-each-ref",
            "--format=%(refname) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)",
        ],
    )?;
    let pair = |line: &str| line.split_once(' ').map(|(name, id)| (name.to_owned(), id.to_owned()));
    Ok(text.lines().filter_map(pair).collect())
}

/// Database, Git and archive agree. To be called when nothing is being published.
pub fn agreement(found: &mut Findings) -> Result<()> {
    let db = database()?;
    let owed = rows(&db, "SELECT kind, place, name FROM owed_move")?;
    if !owed.is_empty() {
        found.say(format!("moves are still owed: {owed:?}"));
    }
    in_queue(&db, found)?;
    in_git(&db, found)?;
    for place in places(&db)? {
        in_archive(&db, place, found)?;
    }
    Ok(())
}

/// What is kept of the queue is what follows from the jobs: which are ready, how many of whom, and
/// who is charged for a place.
fn in_queue(db: &Connection, found: &mut Findings) -> Result<()> {
    let now = db.unchecked_transaction()?;
    let first = "SELECT id FROM (SELECT id, state, turn, min(turn) OVER (PARTITION BY package, pocket) AS of_package,
             min(turn) OVER (PARTITION BY domain, package, commit_id) AS of_commit
         FROM job WHERE finished IS NULL) WHERE state = 'queued' AND turn = of_package AND turn = of_commit ORDER BY id";
    let pairs = [
        ("jobs that are ready", first, "SELECT id FROM job WHERE ready = 1 ORDER BY id"),
        (
            "ready jobs of pockets",
            "SELECT pocket, count(*) FROM job WHERE ready = 1 GROUP BY pocket ORDER BY pocket",
            "SELECT pocket, ready FROM pocket_use WHERE ready <> 0 ORDER BY pocket",
        ),
        (
            "ready jobs of principals",
            "SELECT pocket, principal, count(*), min(turn) FROM job WHERE ready = 1 GROUP BY 1, 2 ORDER BY 1, 2",
            "SELECT pocket, principal, ready, oldest FROM principal_use WHERE ready <> 0 ORDER BY 1, 2",
        ),
        (
            "jobs that are charged",
            "SELECT id FROM job WHERE lease_until IS NOT NULL ORDER BY id",
            "SELECT job FROM charge ORDER BY job",
        ),
    ];
    for (what, follows, kept) in pairs {
        found.compare(what, &rows(&now, follows)?, &rows(&now, kept)?);
    }
    Ok(())
}

fn in_git(db: &Connection, found: &mut Findings) -> Result<()> {
    let held = rows(
        db,
        "SELECT pocket, package, commit_id,
             (SELECT coalesce(written, version) FROM job WHERE job.id = pocket_package.job)
         FROM pocket_package",
    )?;
    let versions = rows(db, "SELECT package, version, commit_id, tag, domain FROM version")?;
    let published = rows(
        db,
        "SELECT DISTINCT package, version FROM job WHERE state = 'published' AND pocket = 'prod'",
    )?;
    for repo in repositories()?.iter().filter(|repo| *repo != Path::new(SUPERPROJECT)) {
        let package =
            repo.file_stem().context("a repository has a name")?.to_string_lossy().into_owned();
        let refs = refs(repo)?;
        for Place { pocket, .. } in places(db)? {
            let record = held
                .iter()
                .find(|row| row[0] == pocket && row[1] == package)
                .map(|row| row[2].clone());
            let there = refs.get(&format!("refs/heads/{pocket}")).cloned();
            found.compare(&format!("branch {pocket} of {package}"), &record, &there);
        }
        in_tags(db, (&package, repo), &versions, &refs, found)?;
        for row in published.iter().filter(|row| row[0] == package) {
            if !refs.contains_key(&format!("refs/tags/{}", row[1])) {
                found.say(format!("{package} {} was published, but there is no tag", row[1]));
            }
        }
        for row in held.iter().filter(|row| row[1] == package) {
            let changelog = git(repo, &["show", &format!("{}:debian/changelog", row[2])])?;
            if !changelog.starts_with(&format!("{package} ({}) ", row[3])) {
                found.say(format!("{} is not version {} of {package}", row[2], row[3]));
            }
        }
    }
    let superproject = Path::new(SUPERPROJECT);
    let branches =
        rows(db, "SELECT 'refs/heads/' || branch, commit_id FROM superproject ORDER BY branch")?;
    let there: Vec<Vec<String>> =
        refs(superproject)?.into_iter().map(|(name, id)| vec![name, id]).collect();
    found.compare("branches of the superproject", &branches, &there);
    for Place { pocket, .. } in places(db)? {
        let record: Rows =
            held.iter().filter(|row| row[0] == pocket).map(|row| row[1..3].to_vec()).collect();
        if record.is_empty() {
            continue;
        }
        let links: Rows = git(superproject, &["ls-tree", pocket])?
            .lines()
            .filter_map(|line| line.strip_prefix("160000 commit ")?.split_once('\t'))
            .map(|(id, name)| vec![name.to_owned(), id.to_owned()])
            .collect();
        found.compare(&format!("submodules of {pocket}"), &record, &links);
        let modules = git(superproject, &["show", &format!("{pocket}:.gitmodules")])?;
        let paths = modules
            .lines()
            .filter_map(|line| line.trim().strip_prefix("path = "))
            .map(str::to_owned);
        let names: BTreeSet<String> = record.iter().map(|row| row[0].clone()).collect();
        found.compare(&format!(".gitmodules of {pocket}"), &names, &paths.collect());
    }
    Ok(())
}

/// Our tags are where the record has them, each version is marked, and what was in the way is kept
/// and was said. Of tags of people's, only one of a version that was published says something.
fn in_tags(
    db: &Connection,
    repository: (&str, &Path),
    versions: &[Vec<String>],
    commits: &BTreeMap<String, String>,
    found: &mut Findings,
) -> Result<()> {
    let (package, repo) = repository;
    let text = git(repo, &["for-each-ref", "--format=%(refname) %(objectname)"])?;
    let values: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut marked = BTreeSet::new();
    for row in versions.iter().filter(|row| row[0] == package) {
        let (version, commit, ours, domain) = (&row[1], &row[2], &row[3], &row[4]);
        let tag = format!("refs/tags/{version}");
        let there = values.get(&tag[..]).copied();
        if !ours.is_empty() {
            found.compare(&format!("tag {version} of {package}"), &Some(&ours[..]), &there);
        }
        // Of a domain that does not tag, a tag says nothing.
        if let Some(leads_to) = commits.get(&tag).filter(|_| domain == "main") {
            found.compare(&format!("commit of tag {version} of {package}"), commit, leads_to);
        }
        let mark = match &domain[..] {
            "main" => format!("refs/invirt/published/{version}"),
            domain => format!("refs/invirt/domain/{domain}/published/{version}"),
        };
        let expected = if ours.is_empty() { commit } else { ours };
        found.compare(
            &format!("mark {version} of {package}"),
            &Some(&expected[..]),
            &values.get(&mark[..]).copied(),
        );
        marked.insert(mark);
    }
    for name in
        values.keys().filter(|name| name.contains("/published/") && !marked.contains(**name))
    {
        found.say(format!("{name} of {package} is of no version"));
    }
    if !values.contains_key("refs/invirt/complete") {
        found.say(format!("nobody says that the versions of {package} are all marked"));
    }
    let said = format!(
        "SELECT json_extract(detail, '$.aside'), json_extract(detail, '$.was'), json_extract(detail, '$.ref'), job FROM audit
         WHERE event = 'tag.aside' AND json_extract(detail, '$.package') = '{package}'"
    );
    let said = rows(db, &said)?;
    for row in &said {
        found.compare(
            &format!("{} of {package}", row[0]),
            &Some(&row[1][..]),
            &values.get(&row[0][..]).copied(),
        );
    }
    let once: BTreeSet<&Vec<String>> = said.iter().collect();
    found.compare(&format!("tags of {package} that were put aside"), &said.len(), &once.len());
    for name in values.keys().filter(|name| name.starts_with("refs/invirt/aside/")) {
        if !said.iter().any(|row| row[0] == **name) {
            found.say(format!("{name} of {package} was put aside, and nobody said so"));
        }
    }
    Ok(())
}

/// The value of a field, which may go on for some lines.
fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let start = stanza
        .find(&format!("\n{name}:"))
        .map(|at| at + 1)
        .or(stanza.starts_with(&format!("{name}:")).then_some(0))?;
    let rest = &stanza[start + name.len() + 1..];
    let end = rest
        .match_indices('\n')
        .find(|(at, _)| !rest[at + 1..].starts_with(' '))
        .map_or(rest.len(), |(at, _)| at);
    Some(rest[..end].trim())
}

fn stanzas(path: &Path) -> Result<Vec<String>> {
    let text =
        crate::service::run(Command::new("xz").args(["--decompress", "--stdout"]).arg(path))?;
    Ok(text.split("\n\n").filter(|stanza| !stanza.trim().is_empty()).map(str::to_owned).collect())
}

fn in_archive(db: &Connection, place: Place, found: &mut Findings) -> Result<()> {
    let Place { pocket, domain, archive, suite } = place;
    let dists = Path::new(archive).join("dists").join(suite);
    let generation: String = db.query_row(
        "SELECT generation FROM suite WHERE domain = ? AND name = ?",
        [domain, suite],
        |row| Ok(row.get::<_, i64>(0)?.to_string()),
    )?;
    let shown = fs::read_link(&dists)?.file_name().map(|name| name.to_string_lossy().into_owned());
    found.compare(&format!("generation of {domain}/{suite}"), &Some(generation), &shown);

    let mut query = db.prepare("SELECT package, version FROM pocket_package WHERE pocket = ?")?;
    let record: Rows = query
        .query_map([pocket], |row| Ok(vec![row.get(0)?, row.get(1)?]))?
        .collect::<Result<_, _>>()?;
    for index in ["main/source/Sources.xz", "main/binary-amd64/Packages.xz"] {
        let stanzas = stanzas(&dists.join(index))?;
        let value = |stanza: &String, name| field(stanza, name).unwrap_or_default().to_owned();
        let there: Rows = stanzas
            .iter()
            .map(|stanza| vec![value(stanza, "Package"), value(stanza, "Version")])
            .collect();
        found.compare(&format!("{index} of {domain}/{suite}"), &record, &there);
        found.compare(
            &format!("entries of {index} of {domain}/{suite}"),
            &record.len(),
            &stanzas.len(),
        );
        for stanza in &stanzas {
            let files: Vec<(PathBuf, String, String)> = match field(stanza, "Filename") {
                Some(name) => vec![(name.into(), value(stanza, "Size"), value(stanza, "SHA256"))],
                None => sums(field(stanza, "Checksums-Sha256").unwrap_or_default())
                    .map(|(hash, size, name)| {
                        (Path::new(&value(stanza, "Directory")).join(name), size, hash)
                    })
                    .collect(),
            };
            if files.is_empty() {
                found.say(format!(
                    "{index} of {domain}/{suite} has an entry without files: {stanza}"
                ));
            }
            for (path, size, hash) in files {
                same(&Path::new(archive).join(path), &size, &hash, found);
            }
        }
    }
    has_all(&dists, found)?;
    states(db, place, found)
}

/// The newest state of a suite has a URL, and everything is there that a state's Release names. None
/// is there half, or without its name.
fn states(db: &Connection, place: Place, found: &mut Findings) -> Result<()> {
    let Place { domain, archive, suite, .. } = place;
    let mut there = BTreeMap::new();
    for id in fs::read_dir(format!("{archive}/snapshot"))?.flatten() {
        for entry in fs::read_dir(id.path().join("dists"))?.flatten() {
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            if name.starts_with(&format!(".{suite}.")) {
                found.say(format!("{} was left behind", path.display()));
            } else if name == suite && !path.is_symlink() {
                has_all(&path, found)?;
                let shown = fs::read_link(path.join("generation"))?;
                let number = shown.file_name().context("a generation has a number")?;
                if there.insert(number.to_string_lossy().into_owned(), path).is_some() {
                    found.say(format!("{domain}/{suite} has two states that are {number:?}"));
                }
            }
        }
    }
    let newest: String = db.query_row(
        "SELECT max(number) FROM snapshot WHERE domain = ? AND suite = ?",
        [domain, suite],
        |row| Ok(row.get::<_, i64>(0)?.to_string()),
    )?;
    let Some(state) = there.get(&newest) else {
        found.say(format!("state {newest} of {domain}/{suite} has no URL"));
        return Ok(());
    };
    let of = |path: &Path| fs::read_to_string(path.join("Release"));
    found.compare(
        &format!("state {newest} of {domain}/{suite}"),
        &of(&Path::new(archive).join(format!("dists/.generations/{suite}/{newest}")))?,
        &of(state)?,
    );
    Ok(())
}

/// Everything is there that the Release of a suite or state names.
fn has_all(dists: &Path, found: &mut Findings) -> Result<()> {
    let release = fs::read_to_string(dists.join("Release"))?;
    for (hash, size, name) in sums(field(&release, "SHA256").unwrap_or_default()) {
        // What is not compressed can be had by hash only.
        if name.ends_with(".gz") || name.ends_with(".xz") {
            same(&dists.join(&name), &size, &hash, found);
        }
        let dir =
            dists.join(&name).parent().context("an index has a directory")?.join("by-hash/SHA256");
        same(&dir.join(&hash), &size, &hash, found);
    }
    Ok(())
}

/// Lines of hash, size and name.
fn sums(text: &str) -> impl Iterator<Item = (String, String, String)> {
    text.lines().filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [hash, size, name] => Some((hash.to_owned(), size.to_owned(), name.to_owned())),
        _ => None,
    })
}

fn same(path: &Path, size: &str, hash: &str, found: &mut Findings) {
    let Ok(bytes) = fs::read(path) else {
        return found.say(format!("{} is missing", path.display()));
    };
    let there: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if bytes.len().to_string() != size || there != hash {
        found.say(format!("{} is not what the index says", path.display()));
    }
}

/// `git fsck --strict` finds nothing in any repository.
pub fn fsck(found: &mut Findings) -> Result<()> {
    let children: Vec<_> = repositories()?
        .into_iter()
        .map(|repo| {
            let mut git = Command::new("git");
            git.arg("-C").arg(&repo).args(["fsck", "--strict", "--no-dangling", "--no-progress"]);
            let child =
                git.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            Ok((repo, child))
        })
        .collect::<Result<_>>()?;
    for (repo, child) in children {
        let done = child.wait_with_output()?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        // A superproject without a branch named main says so; that is no damage.
        let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("notice: ")).collect();
        if !done.status.success() || !lines.is_empty() {
            found.say(format!(
                "git fsck of {}: {} {}",
                repo.display(),
                done.status,
                lines.join(" | ")
            ));
        }
    }
    Ok(())
}

/// `apt-get update` of every suite says no word of warning.
pub fn apt(found: &mut Findings) -> Result<()> {
    let dir = Path::new("/run/world/apt");
    if !dir.exists() {
        for sub in ["lists/partial", "cache/archives/partial", "etc"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        fs::write(dir.join("status"), "")?;
        let line = |Place { archive, suite, .. }: Place| {
            format!("[signed-by={archive}/archive-key.asc] file:{archive} {suite} main\n")
        };
        let list: String =
            POCKETS.into_iter().map(|place| format!("deb {0}deb-src {0}", line(place))).collect();
        fs::write(dir.join("etc/sources.list"), list)?;
    }
    let dir = dir.display();
    let options = [
        format!("Dir::Etc={dir}/etc"),
        "Dir::Etc::parts=none".into(),
        format!("Dir::State::lists={dir}/lists"),
        format!("Dir::State::status={dir}/status"),
        format!("Dir::Cache={dir}/cache"),
        "Dir::Cache::pkgcache=".into(),
        "Dir::Cache::srcpkgcache=".into(),
        "APT::Sandbox::User=root".into(),
        "Acquire::Languages=none".into(),
    ];
    let done = Command::new("apt-get")
        .arg("-q")
        .args(options.iter().flat_map(|option| ["-o", option]))
        .args(["--allow-releaseinfo-change", "update"])
        .stdin(Stdio::null())
        .output()?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    let bad =
        said.lines().any(|line| ["W:", "E:", "Err:"].iter().any(|start| line.starts_with(start)));
    if !done.status.success() || bad {
        found.say(format!("apt-get update: {} {}", done.status, said.replace('\n', " | ")));
    }
    Ok(())
}

/// `invirt-build verify` finds nothing.
pub fn verify(found: &mut Findings) -> Result<()> {
    let done = Command::new("invirt-build").arg("verify").stdin(Stdio::null()).output()?;
    if !done.status.success() {
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        found.say(format!("verify: {} {}", done.status, said.replace('\n', " | ")));
    }
    Ok(())
}

/// Processes of the service's user, or of its builds' users, but for one and for what answers
/// remctl, which stays when a daemon dies.
pub fn processes(daemon: Option<u32>) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let Ok(uid) = fs::metadata(entry.path()).map(|meta| meta.uid()) else { continue };
        if daemon.is_some_and(|daemon| daemon.to_string() == pid) {
            continue;
        }
        if pid.bytes().all(|b| b.is_ascii_digit())
            && (uid == SERVICE_UID || (1_000_000..3_000_000).contains(&uid))
        {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            // A zombie of a process that this world's pid 1 has yet to reap has no command line.
            if !line.is_empty() && !line.starts_with("invirtibuilder-api ") {
                all.push(format!("{pid}: {line}"));
            }
        }
    }
    Ok(all)
}

/// Nothing is left of work that is over: no workspace, mount, half-written file, or pool file that
/// nothing needs.
pub fn leftovers(found: &mut Findings) -> Result<()> {
    for entry in fs::read_dir(format!("{STATE}/work"))?.flatten() {
        found.say(format!("{} was left behind", entry.path().display()));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for line in mounts.lines().filter(|line| line.contains(&format!("{STATE}/work"))) {
        found.say(format!("a mount was left behind: {line}"));
    }
    let db = database()?;
    let places = places(&db)?;
    let of = |domain: &str| -> Vec<Place> {
        places.iter().copied().filter(|place| place.domain == domain).collect()
    };
    for Place { archive, domain, suite, .. } in places.iter().copied() {
        let generations = fs::read_dir(format!("{archive}/dists/.generations/{suite}"))?.count();
        // What it shows, what it showed before, its own states, and those that others' states have
        // beside them.
        if generations > 2 + STATES * of(domain).len() {
            found.say(format!("{domain}/{suite} has {generations} generations"));
        }
    }
    pool_of(&db, &of("main"), found)?;
    pool_of(&db, &of("lab"), found)
}

/// Every file in a domain's pool and beside it is of a version, and every file of a version is there.
fn pool_of(db: &Connection, places: &[Place], found: &mut Findings) -> Result<()> {
    let Place { archive, domain, .. } = places.first().context("a domain has a pocket")?;
    let pool = files_below(&Path::new(archive).join("pool"))?;
    let (mut needed, mut beside) = (BTreeSet::new(), BTreeSet::new());
    let sql =
        format!("SELECT source, version, changes FROM pool_version WHERE domain = '{domain}'");
    for row in rows(db, &sql)? {
        let name = format!("{}_{}", row[0], row[1]);
        needs_source(&pool, &name, &mut needed, found);
        let length = if row[0].starts_with("lib") { 4 } else { 1 };
        let changelog =
            format!("{archive}/changelogs/main/{}/{}/{name}_changelog", &row[0][..length], row[0]);
        beside.insert(PathBuf::from(changelog));
        let first = Path::new(archive).join(&row[2]);
        let file = first.file_name().context("a .changes has a name")?;
        let of_suite =
            |suite| Path::new(archive).join("changes").join(suite).join(&name).join(file);
        // What the pocket that moves has left goes with its version.
        let suites = places.iter().map(|place| place.suite).chain([ROAM]);
        let all: BTreeSet<_> = suites.map(of_suite).filter(|it| it.exists()).collect();
        for changes in all.into_iter().chain([first.clone()]) {
            needs_changes(&changes, &mut needed, &mut beside, found)?;
        }
    }
    for (there, wanted) in [
        (pool, needed),
        (files_below(&Path::new(archive).join("changes"))?, beside.clone()),
        (files_below(&Path::new(archive).join("changelogs"))?, beside.clone()),
    ] {
        for file in there.iter().filter(|file| !wanted.contains(*file)) {
            found.say(format!("nothing needs {}", file.display()));
        }
    }
    for file in beside.iter().filter(|file| !file.exists()) {
        found.say(format!("{} is missing", file.display()));
    }
    Ok(())
}

/// The `.dsc` of a version needs the files that it lists.
fn needs_source(
    pool: &[PathBuf],
    name: &str,
    needed: &mut BTreeSet<PathBuf>,
    found: &mut Findings,
) {
    let dsc =
        pool.iter().find(|file| file.file_name().is_some_and(|it| *it == *format!("{name}.dsc")));
    let Some((dsc, text)) = dsc.and_then(|dsc| Some((dsc, fs::read_to_string(dsc).ok()?))) else {
        return found.say(format!("{name}.dsc is missing in the pool"));
    };
    needed.insert(dsc.clone());
    let all = sums(field(&text, "Checksums-Sha256").unwrap_or_default());
    needed.extend(all.map(|(.., name)| dsc.with_file_name(name)));
}

/// A `.changes` needs a link beside it to each file of the pool that it lists.
fn needs_changes(
    changes: &Path,
    needed: &mut BTreeSet<PathBuf>,
    beside: &mut BTreeSet<PathBuf>,
    found: &mut Findings,
) -> Result<()> {
    beside.insert(changes.to_owned());
    let Ok(text) = fs::read_to_string(changes) else { return Ok(()) };
    for (hash, size, name) in sums(field(&text, "Checksums-Sha256").unwrap_or_default()) {
        let link = changes.with_file_name(name);
        same(&link, &size, &hash, found);
        match fs::canonicalize(&link) {
            Ok(target) if link.is_symlink() && POCKETS.iter().any(|it| is_pooled(it, &target)) => {
                needed.insert(target);
            }
            _ => found.say(format!("{} is no link into the pool", link.display())),
        }
        beside.insert(link);
    }
    Ok(())
}

fn is_pooled(place: &Place, file: &Path) -> bool {
    file.starts_with(format!("{}/pool", place.archive))
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return Ok(all) };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            all.extend(files_below(&entry.path())?);
        } else {
            all.push(entry.path());
        }
    }
    Ok(all)
}

/// What the jobs went through.
#[derive(Default)]
pub struct Jobs {
    /// Ended jobs by state.
    pub ended: BTreeMap<String, usize>,
    /// Accepted, and not to be found.
    pub lost: usize,
    /// Published more than once.
    pub doubled: usize,
    /// Interrupted while building, and then built again.
    pub built_again: usize,
    /// Interrupted while publishing, and then published without being built again.
    pub resumed: usize,
    /// Why jobs failed, the most frequent first: a sentence, and how often.
    pub failures: Vec<(String, String)>,
}

/// Every accepted job is at one end, and went there by ways that there are.
pub fn jobs(accepted: impl Iterator<Item = i64>, found: &mut Findings) -> Result<Jobs> {
    let db = database()?;
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    found.compare("PRAGMA integrity_check", &"ok".to_owned(), &check);
    let mut steps: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let trail = "SELECT job, json_extract(detail, '$.state') FROM audit WHERE event = 'job.state' ORDER BY id";
    for row in rows(&db, trail)? {
        steps.entry(row[0].parse()?).or_default().push(row[1].clone());
    }
    let mut jobs = Jobs::default();
    for row in rows(&db, "SELECT id, state FROM job")? {
        let (id, state) = (row[0].parse()?, &row[1]);
        *jobs.ended.entry(state.clone()).or_default() += 1;
        let steps = steps.remove(&id).unwrap_or_default();
        if steps.last() != Some(state) {
            found.say(format!("job {id} is {state}, but its trail ends with {:?}", steps.last()));
        }
        trace(id, &steps, &mut jobs, found);
    }
    let ids: BTreeSet<String> =
        rows(&db, "SELECT id FROM job")?.into_iter().map(|mut row| row.remove(0)).collect();
    for id in accepted.filter(|id| !ids.contains(&id.to_string())) {
        jobs.lost += 1;
        found.say(format!("job {id} was accepted and is lost"));
    }
    let publications = "SELECT job, count(*) FROM audit WHERE event = 'published' GROUP BY job HAVING count(*) > 1";
    for row in rows(&db, publications)? {
        jobs.doubled += 1;
        found.say(format!("job {} was published {} times", row[0], row[1]));
    }
    let published = "SELECT id FROM job WHERE state = 'published' EXCEPT SELECT job FROM audit WHERE event = 'published'";
    for row in rows(&db, published)? {
        found.say(format!("job {} is published, but the trail has no publication of it", row[0]));
    }
    if !jobs.ended.contains_key("published") {
        found.say("nothing was published: what is shown here means nothing".to_owned());
    }
    let failures =
        "SELECT failure || ': ' || substr(reason, 1, 200), count(*) FROM job WHERE state = 'failed'
         GROUP BY 1 ORDER BY 2 DESC LIMIT 12";
    jobs.failures =
        rows(&db, failures)?.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let clashes = "SELECT a.package, a.version FROM job a JOIN job b ON a.package = b.package AND a.version = b.version
         AND a.domain = b.domain AND a.commit_id < b.commit_id WHERE a.state = 'published' AND b.state = 'published'";
    for row in rows(&db, clashes)? {
        found.say(format!("{} {} names two commits", row[0], row[1]));
    }
    Ok(jobs)
}

/// Follows one job from state to state.
fn trace(id: i64, steps: &[String], jobs: &mut Jobs, found: &mut Findings) {
    let mut interrupted = "";
    for pair in steps.windows(2) {
        let (from, to) = (pair[0].as_str(), pair[1].as_str());
        let fine = match from {
            "queued" => ["preparing", "cancelled"].contains(&to),
            "preparing" => {
                ["building", "publishing", "failed", "cancelled", "queued"].contains(&to)
            }
            "building" => ["publishing", "failed", "cancelled", "queued"].contains(&to),
            "publishing" => ["published", "failed", "cancelled", "queued"].contains(&to),
            "failed" | "cancelled" => to == "queued",
            _ => false,
        };
        if !fine {
            found.say(format!("job {id} went from {from} to {to}: {steps:?}"));
        }
        match (from, to) {
            ("publishing", "queued") => interrupted = "publishing",
            ("building", "queued") if interrupted != "publishing" => interrupted = "building",
            (_, "building") if interrupted == "publishing" => {
                found.say(format!(
                    "job {id} was interrupted while publishing, and built again: {steps:?}"
                ));
            }
            (_, "building") if interrupted == "building" => {
                jobs.built_again += 1;
                interrupted = "";
            }
            ("publishing", "published") if interrupted == "publishing" => {
                jobs.resumed += 1;
                interrupted = "";
            }
            (_, "failed" | "cancelled") => interrupted = "",
            _ => {}
        }
    }
}
