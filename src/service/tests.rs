//! Use cases, without a daemon.

use crate::Session;
use crate::cancel::cancel_job;
use crate::explain::explain_job;
use crate::follow::{find_log, look_at_job};
use crate::history::list_history;
use crate::pockets::{compare_pockets, list_packages, list_pockets};
use crate::retry::retry_job;
use crate::status::{describe_job, list_jobs};
use crate::submit::{Candidate, OpenJobs, preview_submission, promote_package, submit_commit};
use invirtibuilder_api::follow::LogRequest;
use invirtibuilder_api::job::{Cancelling, State};
use invirtibuilder_api::pocket::{Order, PocketPair};
use invirtibuilder_api::submit::{Manner, Promotion, Submission, Would};
use invirtibuilder_core::error::{Exit, exit_for};
use invirtibuilder_core::names::{CommitId, Principal};
use invirtibuilder_git::testing::commit_in;
use invirtibuilder_publish::testing::{TestService, alice, package};
use invirtibuilder_store::jobs;

/// Sets up a service in which alice may submit to both pockets, and with priority to one.
fn service() -> TestService {
    let mut service = TestService::new();
    for pocket in service.config.build.pockets.values_mut() {
        pocket.acl = vec!["princ:alice@EXAMPLE.ORG".to_owned().into()];
    }
    let prod = service.config.build.pockets.get_mut(&"prod".parse().unwrap()).unwrap();
    prod.priority = prod.acl.clone();
    service
}

fn bob() -> Principal {
    Principal::from_authenticated("bob@EXAMPLE.ORG").unwrap()
}

/// Commits what a source package can be made of.
fn commit(service: &TestService, name: &str, version: &str) -> CommitId {
    let changelog = format!(
        "{name} ({version}) unstable; urgency=medium\n\n  * A change.\n\n \
         -- A <a@example.org>  Mon, 06 Jan 2025 12:00:00 +0000\n"
    );
    let control = format!(
        "Source: {name}\nMaintainer: A <a@example.org>\n\nPackage: {name}\nArchitecture: all\n"
    );
    let files =
        [("changelog", &changelog[..]), ("control", &control), ("rules", "#!/usr/bin/make -f\n")];
    commit_in(&service.repo(name), "debian", &files)
}

fn submission(pocket: &str, commit: &CommitId) -> Submission {
    Submission {
        pocket: pocket.to_owned(),
        package: "hello".to_owned(),
        commit: commit.to_string(),
        manner: Manner::default(),
    }
}

#[test]
fn a_commit_is_queued_once() {
    let service = service();
    let wish = submission("prod", &commit(&service, "hello", "1.0"));
    let mut session = Session::of(&service, alice());
    let preview = preview_submission(&mut session, &wish).unwrap();
    assert_eq!(preview.would, Would::Build);
    assert!(preview.source.is_some());
    assert!(list_jobs(&mut session, 10).unwrap().open.is_empty(), "a dry run changes nothing");
    let first = submit_commit(&mut session, &wish).unwrap();
    let queue = first.queue.unwrap();
    assert_eq!((first.new, first.state, queue.ahead.0), (true, State::Queued, 0));
    assert!(!queue.daemon, "none runs");
    let again = submit_commit(&mut session, &wish).unwrap();
    assert_eq!((again.job, again.new, again.queue), (first.job, false, None));
    let preview = preview_submission(&mut session, &wish).unwrap();
    assert_eq!((preview.would, preview.source), (Would::Nothing, None));
    let jobs = list_history(&session, &package("hello")).unwrap();
    assert_eq!(jobs.len(), 1);
    assert!(!jobs[0].priority);
    let manner = Manner { priority: true, follow: false };
    submit_commit(&mut session, &Submission { manner, ..wish }).unwrap();
    assert!(list_history(&session, &package("hello")).unwrap()[0].priority, "it may still hurry");
}

#[test]
fn who_may_not_submit_is_refused_before_anything_is_looked_up() {
    let service = service();
    let mut session = Session::of(&service, bob());
    let wish = Submission {
        pocket: "prod".to_owned(),
        package: "no package".to_owned(),
        commit: "none".to_owned(),
        manner: Manner::default(),
    };
    assert_eq!(exit_for(&submit_commit(&mut session, &wish).unwrap_err()), Exit::Denied);
    assert_eq!(exit_for(&preview_submission(&mut session, &wish).unwrap_err()), Exit::Denied);
    let promotion = Promotion {
        package: "no package".to_owned(),
        from: "dev".to_owned(),
        to: "prod".to_owned(),
        manner: Manner::default(),
    };
    assert_eq!(exit_for(&promote_package(&mut session, &promotion).unwrap_err()), Exit::Denied);
    let mut session = Session::of(&service, alice());
    assert_eq!(exit_for(&submit_commit(&mut session, &wish).unwrap_err()), Exit::Invalid);
    let urgent = Submission {
        manner: Manner { priority: true, follow: false },
        ..submission("dev", &commit(&service, "hello", "1.0"))
    };
    assert_eq!(exit_for(&submit_commit(&mut session, &urgent).unwrap_err()), Exit::Denied);
}

#[test]
fn the_limit_of_open_jobs_is_not_for_those_who_mend() {
    let mut service = service();
    service.config.build.open_jobs = Some(1);
    let first = commit(&service, "hello", "1.0");
    let mut session = Session::of(&service, alice());
    submit_commit(&mut session, &submission("prod", &first)).unwrap();
    let second = commit(&service, "hello", "1.1");
    let error = submit_commit(&mut session, &submission("prod", &second)).unwrap_err();
    assert_eq!(exit_for(&error), Exit::TryAgain);
    let (config, record) = (&service.config, &mut service.record);
    let pocket = "prod".parse().unwrap();
    let candidate =
        Candidate::read(record.db(), config, &pocket, package("hello"), second.as_str()).unwrap();
    let mut queue =
        || record.write(|tx| candidate.queue(tx, config, &alice(), OpenJobs::Unlimited)).unwrap();
    let (queued, again) = (queue(), queue());
    assert_eq!(queued.job(), again.job(), "the record is asked again");
}

#[test]
fn a_cancelled_job_can_be_retried() {
    let service = service();
    let wish = submission("prod", &commit(&service, "hello", "1.0"));
    let mut session = Session::of(&service, alice());
    let job = submit_commit(&mut session, &wish).unwrap().job;
    assert!(retry_job(&mut session, job).is_err(), "it has not ended");
    let status = describe_job(&session, job).unwrap();
    assert!(status.waits.is_some() && status.ahead.is_some() && !status.has_log);
    let refused = cancel_job(&mut Session::of(&service, bob()), job).unwrap_err();
    assert_eq!(exit_for(&refused), Exit::Denied);
    assert_eq!(cancel_job(&mut session, job).unwrap().state, Cancelling::Cancelled);
    let progress = look_at_job(&session, job).unwrap();
    assert!(progress.is_over && progress.steps.len() == 2);
    assert!(cancel_job(&mut session, job).is_err(), "it has ended");
    let log = LogRequest { job, follow: true };
    assert!(find_log(&mut session, &log).is_err(), "no log is to come");
    assert_eq!(retry_job(&mut session, job).unwrap().state, State::Queued);
    assert!(find_log(&mut session, &log).is_ok(), "it may come");
    let log = LogRequest { follow: false, ..log };
    assert!(find_log(&mut session, &log).is_err(), "it is not there now");
}

#[test]
fn pockets_are_compared_and_promoted_from() {
    let mut service = service();
    service.publish("dev", "hello", "1.0");
    service.publish("prod", "other", "1.0");
    let mut session = Session::of(&service, alice());
    let counts: Vec<_> =
        list_pockets(&session).unwrap().iter().map(|pocket| pocket.packages).collect();
    assert_eq!(counts, [1, 1]);
    assert_eq!(list_packages(&session, Some("dev")).unwrap().len(), 1);
    assert_eq!(list_packages(&session, None).unwrap().len(), 2);
    let pair = PocketPair { left: "dev".to_owned(), right: "prod".to_owned() };
    let said = |session: &Session| -> Vec<_> {
        let all = compare_pockets(session, &pair).unwrap();
        all.into_iter().map(|one| (one.package.to_string(), one.order)).collect()
    };
    let expected = [("hello", Order::Left), ("other", Order::Right)];
    assert_eq!(said(&session), expected.map(|(name, order)| (name.to_owned(), order)));
    let promotion = Promotion {
        package: "hello".to_owned(),
        from: "dev".to_owned(),
        to: "prod".to_owned(),
        manner: Manner::default(),
    };
    let submitted = promote_package(&mut session, &promotion).unwrap();
    assert!(submitted.new && submitted.pocket.as_str() == "prod");
    let none = Promotion { package: "other".to_owned(), ..promotion };
    assert_eq!(exit_for(&promote_package(&mut session, &none).unwrap_err()), Exit::Invalid);
    let published = jobs::lately_finished(session.record.db(), 9).unwrap();
    let provenance = explain_job(&session, published[0].id).unwrap();
    assert!(!provenance.files.is_empty() && provenance.suite.is_some());
}

#[test]
fn a_job_outlives_its_pocket() {
    let mut service = service();
    service.publish("dev", "hello", "1.0");
    service.config.build.pockets.remove(&"dev".parse().unwrap());
    let mut session = Session::of(&service, alice());
    let job = list_jobs(&mut session, 10).unwrap().finished[0].clone();
    assert_eq!(describe_job(&session, job.id).unwrap().job.pocket.as_str(), "dev");
    assert_eq!(explain_job(&session, job.id).unwrap().suite.unwrap().to_string(), "dev");
}

#[test]
fn a_version_that_dpkg_takes_for_a_rebuild_is_refused_at_once() {
    let service = service();
    let wish = submission("prod", &commit(&service, "hello", "2.0+b1"));
    let error = submit_commit(&mut Session::of(&service, alice()), &wish).unwrap_err();
    assert_eq!(exit_for(&error), Exit::Invalid);
    assert!(error.to_string().contains("takes for a rebuild of 2.0:"), "{error}");
}
