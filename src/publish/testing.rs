//! Sets up a service without a daemon: real Git, a real archive, a real record, and builds that did
//! not take place.

use std::path::{Path, PathBuf};

use crate::{Item, Publisher};
use invirtibuilder_api::job::State;
use invirtibuilder_archive::testing::{a_key, artifacts};
use invirtibuilder_core::config::{Config, Pocket, SigningKey};
use invirtibuilder_core::domain::Identity;
use invirtibuilder_core::error::Failure;
use invirtibuilder_core::names::{CommitId, JobId, PackageName, PocketName, Principal};
use invirtibuilder_git as git;
use invirtibuilder_git::testing;
use invirtibuilder_store::Record;
use invirtibuilder_store::jobs::{self, NewJob};

/// A service for tests. `prod` has the suite `stable` and tags; `dev` has `unstable` and may go
/// back.
pub struct TestService {
    /// The directory that holds all of it.
    pub dir: tempfile::TempDir,
    /// The configuration, which names the places in it.
    pub config: Config,
    /// The publisher.
    pub publisher: Publisher,
    /// The record.
    pub record: Record,
}

impl Default for TestService {
    fn default() -> Self {
        Self::new()
    }
}

impl TestService {
    /// Sets a service up in a directory of its own.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut config = Config { state_dir: at("state"), ..Config::default() };
        config.git.packages = at("git/packages");
        config.git.superproject = at("git/packages.git");
        config.archive.root = at("apt");
        config.archive.signing_key = vec![SigningKey::File(at("key.asc"))];
        for (pocket, suite, back) in [("prod", "stable", false), ("dev", "unstable", true)] {
            let pocket: PocketName = pocket.parse().unwrap();
            let suite = Some(suite.parse().unwrap());
            config.build.pockets.insert(
                pocket,
                Pocket { apt: suite, allow_backtracking: back, ..Pocket::default() },
            );
        }
        for made in [&config.state_dir, &config.git.packages, &config.archive.root] {
            std::fs::create_dir_all(made).unwrap();
        }
        git::init_superproject(&config.git.superproject).unwrap();
        a_key(&at("key.asc"));
        let record = Record::open(&config.database()).unwrap();
        let publisher = Publisher::new(Record::open(&config.database()).unwrap());
        publisher.project(&config).unwrap();
        Self { dir, config, publisher, record }
    }

    /// Returns the repository of a package, and creates it when a test first asks for it.
    pub fn repo(&self, package: &str) -> PathBuf {
        let repo = self.config.git.package(&package.parse().unwrap());
        if !repo.exists() {
            git::create_package_repo(&repo).unwrap();
        }
        repo
    }

    /// Commits this version to the changelog of a package, on top of what is there.
    pub fn commit(&self, package: &str, version: &str) -> CommitId {
        testing::commit_in(
            &self.repo(package),
            "debian",
            &[("changelog", &changelog(package, version))],
        )
    }

    /// Queues a job, as if somebody had just submitted it.
    pub fn queued(
        &mut self,
        pocket: &str,
        package: &str,
        version: &str,
        commit: &CommitId,
    ) -> JobId {
        let new = NewJob {
            pocket: pocket.parse().unwrap(),
            domain: self.config.domain(&pocket.parse().unwrap()),
            package: package.parse().unwrap(),
            commit: commit.clone(),
            version: version.parse().unwrap(),
            written: version.parse().unwrap(),
            why: None,
            principal: alice(),
        };
        self.record.write(|tx| jobs::enqueue(tx, &new)).unwrap()
    }

    /// Queues a job and takes it to where it is about to be published.
    pub fn job(&mut self, pocket: &str, package: &str, version: &str, commit: &CommitId) -> JobId {
        let id = self.queued(pocket, package, version, commit);
        self.begin(id);
        id
    }

    /// Takes a queued job to where it is about to be published.
    pub fn begin(&mut self, id: JobId) {
        self.record.write(|tx| jobs::advance(tx, id, State::Queued, State::Preparing)).unwrap();
        self.record.write(|tx| jobs::advance(tx, id, State::Preparing, State::Publishing)).unwrap();
    }

    /// Opens the service as it is when its database was restored from a backup.
    pub fn restored(self, backup: &Path) -> Self {
        let TestService { dir, config, publisher, record } = self;
        drop((publisher, record));
        let database = config.database();
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", database.display()));
        }
        std::fs::copy(backup, &database).unwrap();
        let record = Record::open(&database).unwrap();
        let publisher = Publisher::new(Record::open(&database).unwrap());
        Self { dir, config, publisher, record }
    }

    /// Makes a job with what a build of it would have made: one binary package of the same name.
    pub fn item(&mut self, pocket: &str, package: &str, version: &str) -> Item {
        let commit = self.commit(package, version);
        let id = self.job(pocket, package, version, &commit);
        let built = artifacts(self.dir.path(), package, version, &[(package, "amd64", "")]);
        Item { job: jobs::get(self.record.db(), id).unwrap(), built: Some(built) }
    }

    /// Publishes one commit.
    pub fn publish(&mut self, pocket: &str, package: &str, version: &str) -> CommitId {
        let item = self.item(pocket, package, version);
        assert!(self.publish_all(std::slice::from_ref(&item)).unwrap().is_empty());
        item.job.commit
    }

    /// Publishes items as one transaction.
    pub fn publish_all(&self, items: &[Item]) -> Result<Vec<String>, Failure> {
        self.publisher.publish(&self.config, items)
    }

    /// Returns the commit that a branch of a package points at.
    pub fn branch(&self, package: &str, branch: &str) -> Option<CommitId> {
        git::branch_head(&self.repo(package), branch).unwrap()
    }

    /// Returns the commit that a branch of the superproject has of a package.
    pub fn gitlink(&self, branch: &str, package: &str) -> Option<CommitId> {
        let repo = &self.config.git.superproject;
        let head = git::branch_head(repo, branch).unwrap()?;
        git::packages_at(repo, &head).unwrap()?.remove(package)
    }

    /// Lists the versions of a binary package that a suite's index shows.
    pub fn shown(&self, suite: &str, package: &str) -> Vec<String> {
        let index = self
            .config
            .archive
            .root
            .join("dists")
            .join(suite)
            .join("main/binary-amd64/Packages.gz");
        let index = std::fs::File::open(index).unwrap();
        let text = std::io::read_to_string(flate2::read::MultiGzDecoder::new(index)).unwrap();
        let entries =
            text.split("\n\n").filter(|entry| entry.starts_with(&format!("Package: {package}\n")));
        let version = |entry: &str| {
            entry.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap().to_owned()
        };
        entries.map(version).collect()
    }

    /// Tells whether the pool has a file of this name.
    pub fn in_pool(&self, package: &str, file: &str) -> bool {
        let dir = self.config.archive.root.join("pool/main").join(&package[..1]).join(package);
        Path::new(&dir).join(file).exists()
    }
}

fn changelog(package: &str, version: &str) -> String {
    format!(
        "{package} ({version}) unstable; urgency=medium\n\n  * A change.\n\n \
         -- A <a@example.org>  Mon, 06 Jan 2025 12:00:00 +0000\n"
    )
}

/// Names a principal.
pub fn alice() -> Principal {
    Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap()
}

/// Names a version of main.
pub fn identity(package: &str, version: &str) -> Identity {
    Identity::main(package.parse().unwrap(), version.parse().unwrap())
}

/// Names a package.
pub fn package(name: &str) -> PackageName {
    name.parse().unwrap()
}
