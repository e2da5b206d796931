//! Says why libgit2 cannot open a repository, and which command mends that: libgit2 reads less than
//! git(1) does.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use git2::Config;
use nix::unistd::{User, getuid};

/// The reason why a repository cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The path of the repository.
    path: String,
    /// The reason, as the end of a sentence.
    pub why: String,
    /// The command by which an administrator mends it.
    pub mend: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { path, why, mend } = self;
        write!(
            f,
            "cannot open the repository {path}: {why}: an administrator mends that with '{mend}'"
        )
    }
}

impl std::error::Error for Unreadable {}

impl Unreadable {
    /// Finds out why libgit2 has not opened what is at `path`, which may be anything.
    pub fn of(path: &Path, error: &git2::Error) -> Self {
        let shown = path.display().to_string();
        let (why, mend) =
            reason(path, &shown).unwrap_or_else(|| (error.message().to_owned(), aside(&shown)));
        Self { path: shown, why, mend }
    }
}

/// Returns the command that moves what is at `path` out of the way of others.
fn aside(path: &str) -> String {
    format!("mv {path} {path}.broken")
}

fn reason(path: &Path, shown: &str) -> Option<(String, String)> {
    match std::fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => return Some(("it is an empty directory".to_owned(), format!("rmdir {shown}"))),
        Ok(false) => {}
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let user = User::from_uid(getuid())
                .ok()
                .flatten()
                .map_or_else(|| getuid().to_string(), |user| user.name);
            return Some((format!("{user} may not read it"), format!("chown -R {user}: {shown}")));
        }
        Err(_) => return None,
    }
    if path.join(".git").exists() {
        let why = "it is a work tree with a repository in it, and a bare repository is needed";
        return Some((
            why.to_owned(),
            format!("mv {shown} {shown}.tree && git clone --bare {shown}.tree {shown}"),
        ));
    }
    let config = Config::open(&path.join("config")).ok()?;
    let value = |key: &str| config.get_string(key).ok();
    if value("extensions.objectFormat").is_some_and(|format| format != "sha1") {
        let why = "its objects have SHA-256 ids, and those of the archive's tags and submodules are SHA-1";
        return Some((why.to_owned(), aside(shown)));
    }
    if value("extensions.refStorage").is_some_and(|storage| storage != "files") {
        let why = "its refs are in a reftable, which the service does not read";
        return Some((why.to_owned(), format!("git -C {shown} refs migrate --ref-format=files")));
    }
    let remote = value("extensions.partialClone")?;
    Some((partial(&remote), whole(&config, shown, &remote)))
}

fn partial(remote: &str) -> String {
    format!(
        "it is a partial clone, so some of its objects may be at {} only",
        invirtibuilder_core::text::quoted(remote)
    )
}

/// Returns the command that fetches what a partial clone lacks, if it can be fetched, and has
/// libgit2 open it.
fn whole(config: &Config, shown: &str, remote: &str) -> String {
    let unset = format!("git -C {shown} config --unset extensions.partialClone");
    match (
        config.get_string(&format!("remote.{remote}.url")),
        config.get_string("extensions.partialClone"),
    ) {
        (Ok(_), Ok(_)) if is_plain(remote) => format!("{}; {unset}", refetch(shown, remote)),
        _ => unset,
    }
}

fn refetch(shown: &str, remote: &str) -> String {
    format!("git -C {shown} fetch --refetch --no-filter {remote}")
}

/// Tells whether a remote's name can stand in a command as it is.
fn is_plain(remote: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_./".contains(&c);
    remote.bytes().all(plain) && !remote.starts_with('-')
}

/// Says how an administrator mends a repository that is open and lacks objects, if it is a partial
/// clone: git(1) would fetch them.
pub fn lacks_objects(repo: &git2::Repository) -> Option<String> {
    let config = repo.config().ok()?.snapshot().ok()?;
    let mut remote = None;
    let each = config.entries(Some(r"^remote\..*\.promisor$")).ok()?.for_each(|entry| {
        let name = entry
            .name()
            .ok()
            .and_then(|name| name.strip_prefix("remote.")?.strip_suffix(".promisor"));
        remote = name.filter(|name| is_plain(name)).map(str::to_owned);
    });
    each.ok()?;
    let (remote, path) = (remote?, repo.path().display().to_string());
    let path = path.trim_end_matches('/');
    let why = partial(&remote);
    Some(format!(
        "the repository {path} lacks objects, as {why}: an administrator mends that with '{}'",
        refetch(path, &remote)
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::unreadable::*;
    use crate::{create_package_repo, open};

    #[test]
    fn what_cannot_be_opened_is_named_with_what_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let said = |name: &str, prepare: &dyn Fn(&Path)| {
            let path = dir.path().join(name);
            prepare(&path);
            let error = open(&path).err().unwrap();
            let Unreadable { why, mend, .. } = error.downcast_ref::<Unreadable>().unwrap().clone();
            assert!(
                mend.contains(path.to_str().unwrap()) && format!("{error:#}").contains(&mend),
                "{error:#}"
            );
            format!("{why}; {mend}")
        };
        let setting = |key: &'static str, value: &'static str| {
            move |path: &Path| {
                create_package_repo(path).unwrap();
                let mut config = open(path).unwrap().config().unwrap();
                config.set_i32("core.repositoryformatversion", 1).unwrap();
                config.set_str(key, value).unwrap();
            }
        };
        for (name, prepare, words) in [
            (
                "a.git",
                &setting("extensions.objectFormat", "sha256") as &dyn Fn(&Path),
                ["SHA-256", "mv "],
            ),
            ("b.git", &setting("extensions.refStorage", "reftable"), ["reftable", "refs migrate"]),
            (
                "c.git",
                &setting("extensions.partialClone", "origin"),
                ["partial clone", "--unset extensions.partialClone"],
            ),
            ("e.git", &setting("extensions.another", "x"), ["extensions.another", "mv "]),
            ("f.git", &|path| fs::create_dir(path).unwrap(), ["empty directory", "rmdir "]),
            (
                "g.git",
                &|path| fs::create_dir_all(path.join("x")).unwrap(),
                ["could not find repository", "mv "],
            ),
            (
                "h.git",
                &|path| drop(git2::Repository::init(path).unwrap()),
                ["work tree", "git clone --bare"],
            ),
        ] {
            let said = said(name, prepare);
            assert!(words.iter().all(|word| said.contains(word)), "{name}: {said}");
        }
    }

    #[test]
    fn a_partial_clone_is_told_how_to_become_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.git");
        create_package_repo(&path).unwrap();
        let repo = open(&path).unwrap();
        assert_eq!(lacks_objects(&repo), None);
        let mut config = repo.config().unwrap();
        config.set_bool("remote.origin.promisor", true).unwrap();
        config.set_str("remote.origin.url", "https://example.org/x").unwrap();
        let said = lacks_objects(&repo).unwrap();
        assert!(
            said.contains("partial clone")
                && said.contains("a.git fetch --refetch --no-filter origin'"),
            "{said}"
        );
        config.set_i32("core.repositoryformatversion", 1).unwrap();
        config.set_str("extensions.partialClone", "origin").unwrap();
        let said = format!("{:#}", open(&path).err().unwrap());
        assert!(
            said.contains("origin; git -C") && said.contains("--unset extensions.partialClone'"),
            "{said}"
        );
    }
}
