//! Packages that are taken out of pockets, and what may come after them; rebuilds without changes.

use crate::testing::{TestService, alice, package};
use crate::validate::{self, Decision, JobRequest, Valid};
use crate::*;
use invirtibuilder_archive::testing::artifacts;
use invirtibuilder_core::names::{CommitId, Version};
use invirtibuilder_core::version_rule;
use invirtibuilder_store::{hooks, jobs, pockets, removals};

impl TestService {
    fn remove(&self, pocket: &str, name: &str) -> Result<Removed, Failure> {
        let held = pockets::held(self.record.db(), &pocket.parse().unwrap(), &package(name))
            .unwrap()
            .unwrap();
        let removed = Removed { held, at: 0, by: alice(), reason: "nobody uses it".to_owned() };
        let (removed, troubles) = self.publisher.remove(&self.config, removed)?;
        assert!(troubles.is_empty(), "{troubles:?}");
        Ok(removed)
    }

    fn request(&self, pocket: &str, name: &str, version: &str, commit: &CommitId) -> JobRequest {
        JobRequest {
            pocket: pocket.parse().unwrap(),
            domain: self.config.domain(&pocket.parse().unwrap()),
            package: package(name),
            commit: commit.clone(),
            version: version.parse().unwrap(),
            written: version.parse().unwrap(),
            why: None,
        }
    }

    fn check(&self, request: &JobRequest) -> Result<Decision, String> {
        validate::check(self.record.db(), &self.config, request, None)
            .map_err(|error| error.to_string())
    }
}

#[test]
fn what_is_removed_is_gone_everywhere_and_may_come_back_but_nothing_older() {
    let mut service = TestService::new();
    let first = service.publish("prod", "hello", "1.0");
    let second = service.publish("prod", "hello", "2.0");
    service.publish("prod", "world", "1.0");
    let removed = service.remove("prod", "hello").unwrap();
    assert_eq!(removed.held.commit, second);
    assert_eq!(service.shown("stable", "hello"), [""; 0]);
    assert_eq!(service.shown("stable", "world"), ["1.0"]);
    assert_eq!((service.branch("hello", "prod"), service.gitlink("prod", "hello")), (None, None));
    assert!(service.gitlink("prod", "world").is_some());
    // Its version names its commit for ever.
    let tag = git::tag_target(&service.repo("hello"), "2.0").unwrap();
    assert_eq!(tag.as_ref(), Some(&second));
    let owed = hooks::owed(service.record.db()).unwrap();
    let last = owed.last().unwrap();
    assert_eq!((last.event.as_str(), last.by.clone()), ("removed", Some(alice())));
    assert_eq!(last.reason.as_deref(), Some("nobody uses it"));

    let refusal = service.check(&service.request("prod", "hello", "1.0", &first)).unwrap_err();
    assert!(refusal.contains("older than 2.0, which prod had until alice"), "{refusal}");
    // Neither does another history come in its place.
    let stray = git::testing::commit(&service.repo("other"), &[("x", "y")]);
    let repo = git::open(&service.repo("hello")).unwrap();
    let other = git::open(&service.repo("other")).unwrap();
    let commit = other.find_commit((&stray).into()).unwrap();
    let tree = repo.treebuilder(None).unwrap().write().unwrap();
    let me = commit.author().to_owned();
    let stray: CommitId =
        repo.commit(None, &me, &me, "x", &repo.find_tree(tree).unwrap(), &[]).unwrap().into();
    let refusal = service.check(&service.request("prod", "hello", "9.0", &stray)).unwrap_err();
    assert!(refusal.contains("does not descend from"), "{refusal}");
    // It may itself come again, as it is in the pool.
    let again = service.request("prod", "hello", "2.0", &second);
    assert!(matches!(service.check(&again), Ok(Decision::Run(Valid::Copy { from: None }))));
    let id = service.job("prod", "hello", "2.0", &second);
    let job = jobs::get(service.record.db(), id).unwrap();
    assert!(service.publish_all(&[Item { job, built: None }]).unwrap().is_empty());
    assert_eq!(service.shown("stable", "hello"), ["2.0"]);
    let prod = "prod".parse().unwrap();
    assert_eq!(removals::removed(service.record.db(), &prod, &package("hello")).unwrap(), None);
    // A pocket that may go back takes anything.
    service.publish("dev", "hello", "3.0");
    service.remove("dev", "hello").unwrap();
    assert!(service.check(&service.request("dev", "hello", "1.0", &first)).is_ok());
}

#[test]
fn an_heir_takes_over_the_binaries_and_a_job_under_way_keeps_a_package_in() {
    let mut service = TestService::new();
    service.publish("prod", "hello", "1.0");
    let mut heir = service.item("prod", "heir", "1.0");
    let both = [("heir", "amd64", ""), ("hello", "amd64", "")];
    heir.built = Some(artifacts(service.dir.path(), "heir", "1.0", &both));
    let failure = service.publish_all(std::slice::from_ref(&heir)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Takeover);
    let next = service.commit("hello", "2.0");
    let waiting = service.queued("prod", "hello", "2.0", &next);
    let failure = service.remove("prod", "hello").unwrap_err();
    assert!(
        failure.text.contains("job 3 is queued and would bring hello into prod again"),
        "{failure}"
    );
    service
        .record
        .write(|tx| jobs::cancelled(tx, waiting, invirtibuilder_api::job::State::Queued, &alice()))
        .unwrap();
    service.remove("prod", "hello").unwrap();
    assert!(service.publish_all(&[heir]).unwrap().is_empty());
    assert_eq!(service.shown("stable", "hello"), ["1.0"], "the heir's");
}

#[test]
fn a_rebuild_is_a_version_of_its_own_from_the_same_commit() {
    let mut service = TestService::new();
    let commit = service.publish("prod", "hello", "1.0");
    let version: Version = version_rule::rebuild(&"1.0".parse().unwrap()).unwrap();
    let mut request = service.request("prod", "hello", "1.0", &commit);
    assert!(matches!(service.check(&request), Ok(Decision::AlreadyThere(_))));
    request.version = version.clone();
    assert!(matches!(service.check(&request), Ok(Decision::AlreadyThere(_))), "no rebuild");
    request.why = Some("a new libc".to_owned());
    assert!(matches!(service.check(&request), Ok(Decision::Run(Valid::Build))));

    let JobRequest { pocket, domain, package, commit, version, written, why } = request;
    let new =
        jobs::NewJob { pocket, domain, package, commit, version, written, why, principal: alice() };
    let id = service.record.write(|tx| jobs::enqueue(tx, &new)).unwrap();
    service.begin(id);
    let job = jobs::get(service.record.db(), id).unwrap();
    let built = artifacts(service.dir.path(), "hello", "1.0build1", &[("hello", "amd64", "")]);
    let item = Item { job, built: Some(built) };
    assert!(service.publish_all(&[item]).unwrap().is_empty());
    assert_eq!(service.shown("stable", "hello"), ["1.0build1"]);
    assert_eq!(service.branch("hello", "prod").as_ref(), Some(&new.commit));
    for tag in ["1.0", "1.0build1"] {
        let tagged = git::tag_target(&service.repo("hello"), tag).unwrap();
        assert_eq!(tagged.as_ref(), Some(&new.commit), "{tag}");
    }
    let request = service.request("prod", "hello", "1.0", &new.commit);
    assert!(matches!(service.check(&request), Ok(Decision::AlreadyThere(_))));
    service.publish("prod", "hello", "1.1");
}
