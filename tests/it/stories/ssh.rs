//! ssh as the other way in: the same requests have the same answers as over remctl, and nothing
//! else can be done.

use std::path::Path;

use crate::world::{Login, Sshd, Tiny, World};

/// For keys alone, on a server without Kerberos: what a key may do stands in its line.
const KEYS: &str = "";
/// For tickets and keys: sshd says who it was.
const BOTH: &str = "GSSAPIAuthentication yes\nGSSAPIStrictAcceptorCheck no\nExposeAuthInfo yes\nDisableForwarding yes\n\
    PermitTTY no\nForceCommand /usr/bin/invirt-build ssh-command\n";

#[test]
fn every_request_has_one_answer_by_remctl_by_key_and_by_ticket() {
    let world = World::new();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    let (keys, both) = (Sshd::start(KEYS), Sshd::start(BOTH));
    let requests: &[&[&str]] = &[
        &[],
        &["whoami"],
        &["help"],
        &["help", "submit"],
        &["help", "nonsense"],
        &["--version"],
        &["summary"],
        &["status"],
        &["status", "7"],
        &["status", "x"],
        &["status", "--help"],
        &["--json", "status"],
        &["--json", "pockets"],
        &["pockets"],
        &["packages"],
        &["packages", "nowhere"],
        &["history", "tiny"],
        &["diff", "prod", "dev"],
        &["log", "7"],
        &["submit"],
        &["submit", "prod", "tiny"],
        &["submit", "prod", "tiny", &commit, "--dry-run"],
        &["submit", "prod", "tiny", "no-such-branch"],
        &["submit", "prod", "absent", "main"],
        &["submit", "nowhere", "tiny", "main"],
        &["submit", "prod", "two words", "main"],
        &["submit", "prod", "", "main"],
        &["submit", "prod", "quo\"te's", "main"],
        &["submit", "prod", "\u{1b}[2Jred", "main"],
        &["submit", "prod", "../../etc", "main"],
        &["submit", "prod", "a;b", "$(id)"],
        &["submit", "prod", "tiny", "--", "-x"],
        &["submit", "prod", "tiny", "müll"],
        &["cancel", "7"],
        &["retry", "7"],
        &["promote", "tiny", "dev", "prod"],
        &["create-repo", "tiny"],
        &["create-repo", "Evil"],
        &["acl", "check", "prod", "alice@EXAMPLE.ORG"],
        &["acl", "show", "prod"],
        &["chroot", "list"],
        &["check-config"],
        &["init"],
        &["authorized-keys"],
        &["ssh-command", "--principal", "carol@EXAMPLE.ORG"],
        &["--config", "/dev/null", "status"],
        &["status", "--config", "/etc/invirtibuilder/config.yaml"],
        &["nonsense"],
        &["-x"],
    ];
    for who in ["alice", "mallory"] {
        let logins = [(&keys, Login::Key), (&both, Login::Key), (&both, Login::Ticket)];
        let clients = logins.map(|(sshd, login)| (login, sshd.client(login, who)));
        for request in requests {
            let line = shlex::try_join(request.iter().copied()).unwrap();
            let over_remctl = world.build(who, request);
            for (login, client) in &clients {
                let over_ssh = client.ask(&line);
                let same = (over_ssh.code, &over_ssh.out, &over_ssh.err)
                    == (over_remctl.code, &over_remctl.out, &over_remctl.err);
                assert!(
                    same,
                    "{request:?} as {who} by {login:?}:\n{over_ssh:#?}\n{over_remctl:#?}"
                );
            }
        }
    }
}

#[test]
fn a_job_submitted_by_ssh_is_its_principals() {
    let world = World::new();
    let repo = world.repo("tiny");
    let commit = repo.version("1.0", Tiny::Works);
    let sshd = Sshd::start(BOTH);
    let answer =
        sshd.ask(Login::Key, "alice", &[], format!("--json submit prod tiny {commit}")).ok();
    let job = answer.json()["job"].to_string();
    assert_eq!(world.status(&job)["job"]["principal"], "alice@EXAMPLE.ORG");
    sshd.ask(Login::Ticket, "mallory", &[], format!("cancel {job}"))
        .refused(77, &["mallory@EXAMPLE.ORG"]);
    assert_eq!(world.state(&job), "queued");
    sshd.ask(Login::Ticket, "alice", &[], format!("cancel {job}")).ok();
    assert_eq!(world.state(&job), "cancelled");
}

#[test]
fn no_shell_and_no_other_principal_can_be_had() {
    let world = World::new();
    let (keys, both) = (Sshd::start("AcceptEnv *\n"), Sshd::start(&format!("{BOTH}AcceptEnv *\n")));
    let owned = Path::new("/tmp/owned");
    for line in [
        "status; touch /tmp/owned",
        "status $(touch /tmp/owned)",
        "status `touch /tmp/owned`",
        "status\ntouch /tmp/owned",
        "status > /tmp/owned",
        "/bin/sh -c 'touch /tmp/owned'",
        "' touch /tmp/owned",
    ] {
        for (sshd, login) in [(&keys, Login::Key), (&both, Login::Key), (&both, Login::Ticket)] {
            assert_ne!(sshd.ask(login, "alice", &[], line).code, 0, "{line}");
            assert!(!owned.exists(), "{line}");
        }
    }
    for (sshd, login) in [(&keys, Login::Key), (&both, Login::Ticket)] {
        for variable in [
            "SSH_ORIGINAL_COMMAND=status",
            "SSH_USER_AUTH=/etc/passwd",
            "INVIRTIBUILDER_CONFIG=/dev/null",
        ] {
            let answer =
                sshd.ask(login, "alice", &["-o", &format!("SetEnv={variable}")], "whoami").ok();
            assert_eq!(answer.out, "alice@EXAMPLE.ORG\n", "{variable}");
        }
        sshd.ask(login, "alice", &["-o", "SetEnv=REMOTE_USER=carol@EXAMPLE.ORG"], "whoami")
            .refused(77, &["ssh-command"]);
    }
    // A key that is nobody's, and a ticket of somebody who may not log in, do not get in at all.
    assert_eq!(keys.ask(Login::Key, "stranger", &[], "whoami").code, 255);
    assert_eq!(both.ask(Login::Ticket, "bob", &[], "whoami").code, 255);
    drop(world);
}
