//! The example hooks, run as the daemon runs them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use invirtibuilder_api::job::Job;
use invirtibuilder_api::job::{Event, State};
use invirtibuilder_core::config::Config;
use invirtibuilder_core::error::FailureKind;
use invirtibuilder_core::names::{DomainName, JobId, Principal};
use invirtibuilder_daemon::hooks::{Extra, run_hooks};
use invirtibuilder_system::subprocess::CancellationToken;

fn job(principal: &str) -> Job {
    Job {
        id: JobId(7),
        pocket: "prod".parse().unwrap(),
        domain: DomainName::main(),
        package: "hello".parse().unwrap(),
        commit: "0123456789012345678901234567890123456789".parse().unwrap(),
        version: "1:1.0~rc1-1".parse().unwrap(),
        written: "1:1.0~rc1-1".parse().unwrap(),
        why: None,
        principal: Principal::from_authenticated(principal).unwrap(),
        state: State::Failed,
        failure: Some(FailureKind::BuildFailed),
        reason: Some("no \"good\" $(touch /tmp/x)\n".into()),
        copied_from: None,
        attempt: 1,
        submitted: 0,
        started: Some(1),
        finished: Some(2),
        cancel_by: None,
        priority: false,
    }
}

/// Runs a copy of an example hook whose settings are `settings`, and returns its outcome.
async fn outcome(dir: &Path, hook: &str, variable: &str, settings: &str, job: &Job) -> String {
    let events = dir.join("failed.d");
    std::fs::create_dir_all(&events).unwrap();
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/hooks").join(hook);
    let file = dir.join("settings");
    std::fs::write(&file, settings).unwrap();
    // The daemon clears the environment, so the copy names the settings itself.
    let text = std::fs::read_to_string(example)
        .unwrap()
        .replace("set -eu", &format!("set -eu\n{variable}='{}'", file.display()));
    std::fs::write(events.join(hook), text).unwrap();
    std::fs::set_permissions(events.join(hook), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut config = Config { state_dir: dir.into(), ..Config::default() };
    config.hooks.dir = dir.into();
    let log = config.build_log(job.id);
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(log, "first\n\x1b[31mlast line\n").unwrap();
    let runs =
        run_hooks(&config, Event::Failed, job, &Extra::default(), &CancellationToken::new()).await;
    assert_eq!(runs.len(), 1);
    runs[0].outcome.clone()
}

#[tokio::test]
async fn mail_tells_the_submitter_and_no_header_can_be_smuggled_in() {
    let dir = tempfile::tempdir().unwrap();
    let sendmail = dir.path().join("sendmail");
    std::fs::write(
        &sendmail,
        "#!/bin/sh\ncat > \"$(dirname \"$0\")/mail\"; echo \"$*\" > \"$(dirname \"$0\")/args\"\n",
    )
    .unwrap();
    std::fs::set_permissions(&sendmail, std::fs::Permissions::from_mode(0o755)).unwrap();
    let settings = format!("MAIL_DOMAIN=example.org\nSENDMAIL={}\n", sendmail.display());
    let ended = outcome(
        dir.path(),
        "mail",
        "IB_MAIL_SETTINGS",
        &settings,
        &job("alice/admin,bcc:$(x)@EXAMPLE.ORG"),
    )
    .await;
    assert_eq!(ended, "ok");
    let mail = std::fs::read_to_string(dir.path().join("mail")).unwrap();
    let (header, body) = mail.split_once("\n\n").unwrap();
    assert!(
        header.starts_with("To: alice@example.org\nSubject: hello 1:1.0~rc1-1 failed in prod\n"),
        "{header}"
    );
    assert_eq!(header.lines().count(), 4, "{header}");
    assert!(
        body.contains("Failure: build.failed")
            && body.contains("[31mlast line")
            && !body.contains('\x1b'),
        "{body}"
    );
    assert_eq!(std::fs::read_to_string(dir.path().join("args")).unwrap(), "-t -oi\n");
    let ended =
        outcome(dir.path(), "mail", "IB_MAIL_SETTINGS", "", &job("alice@EXAMPLE.ORG")).await;
    assert!(ended.contains("set MAIL_DOMAIN"), "{ended}");
}

#[tokio::test]
async fn webhook_posts_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", server.local_addr().unwrap());
    let received = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            let n = stream.read(&mut chunk).unwrap();
            request.extend_from_slice(&chunk[..n]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let length = text.lines().find_map(|line| {
                line.strip_prefix("Content-Length: ")?.trim().parse::<usize>().ok()
            });
            if let Some((_, body)) =
                text.split_once("\r\n\r\n").filter(|(_, body)| Some(body.len()) == length)
            {
                let body = body.to_owned();
                stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
                return (text, body);
            }
            assert!(n > 0, "the request ended early: {text}");
        }
    });
    let settings = format!("url = \"{url}\"\nheader = \"Authorization: Bearer secret\"\n");
    let ended =
        outcome(dir.path(), "webhook", "IB_WEBHOOK_SETTINGS", &settings, &job("alice@EXAMPLE.ORG"))
            .await;
    assert_eq!(ended, "ok");
    let (request, body) = received.join().unwrap();
    assert!(
        request.starts_with("POST /hook ") && request.contains("Authorization: Bearer secret"),
        "{request}"
    );
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&json["event"], &json["job"]["id"]), (&"failed".into(), &7.into()));
}
