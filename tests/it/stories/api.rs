//! The API over HTTP, and remctl's commands that the same process answers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::world::api::{Api, SOCKET};
use crate::world::{BUILD, STATE, Tiny, World, run};

/// A world whose API speaks HTTP.
fn served(world: &World) -> Api {
    let _ = world;
    let http = "http: { listen: '127.0.0.1:1', keytab: /etc/invirtibuilder/http.keytab }\n";
    fs::write("/etc/invirtibuilder/conf.d/http.yaml", http).unwrap();
    Api::start()
}

#[test]
fn a_ticket_a_session_and_a_token_do_what_their_principal_may_and_no_more() {
    let world = World::new();
    let repo = world.repo("tiny");
    let first = repo.version("1.0", Tiny::Works);
    let api = served(&world);
    let wish = |pocket: &str| json!({ "pocket": pocket, "package": "tiny", "commit": first });

    // Nobody is served without saying who they are.
    api.ask("nobody", "/api/v1/whoami", &[]).refused(401, &["sign in"]);
    api.ask("nobody", "/api/v1/jobs", &["--header", "X-Remote-User: alice@EXAMPLE.ORG"])
        .refused(401, &["sign in"]);
    api.with_token("ivs_made-up", "/api/v1/whoami", &[]).refused(401, &["ended"]);
    api.with_token("ivt_made-up", "/api/v1/whoami", &[]).refused(401, &["not known"]);
    assert_eq!(api.ask("nobody", "/healthz", &[]).status, 503, "no daemon runs");

    // A ticket.
    let whoami = api.with_ticket("alice", "/api/v1/whoami", &[]).json();
    assert_eq!(
        (&whoami["principal"], &whoami["via"]),
        (&json!("alice@EXAMPLE.ORG"), &json!("http"))
    );
    let body = wish("prod").to_string();
    api.with_ticket("bob", "/api/v1/submissions", &["--json", &body])
        .refused(403, &["bob", "prod"]);

    // A session that a ticket begins: what changes something shows that it comes from our pages.
    let login = api.with_ticket("alice", "/api/v1/session", &["--request", "POST"]).json();
    let secret = login["secret"].as_str().unwrap();
    assert_eq!(login["principal"], "alice@EXAMPLE.ORG");
    assert_eq!(
        api.with_token(secret, "/api/v1/whoami", &[]).json()["principal"],
        "alice@EXAMPLE.ORG"
    );
    api.post(secret, "/api/v1/submissions", &wish("prod"), &[]).refused(403, &["our own pages"]);
    let forgery = format!("forgery:{secret}");
    let forgery = run("sh", &["-c", &format!("printf %s '{forgery}' | sha256sum | cut -c1-64")]);
    let header = ["--header", &format!("X-CSRF-Token: {forgery}")];
    let preview =
        api.post(secret, "/api/v1/submissions?dry_run=true", &wish("prod"), &header).json();
    assert_eq!(preview["would"], "build");
    let submitted = api.post(secret, "/api/v1/submissions", &wish("prod"), &header);
    assert_eq!((submitted.status, &submitted.json()["job"]), (201, &json!(1)));
    assert_eq!(api.with_token(secret, "/api/v1/session", &["--request", "DELETE"]).status, 204);
    api.with_token(secret, "/api/v1/whoami", &[]).refused(401, &["ended"]);

    // A token: what it names, where it names it, and never more than its principal may.
    let token = |who: &str, args: &[&str]| {
        world.build(who, &[&["token", "create"], args].concat()).ok().out.trim().to_owned()
    };
    let ci = token("alice", &["ci", "--verbs", "read,submit", "--pockets", "dev"]);
    api.post(&ci, "/api/v1/submissions", &wish("prod"), &[]).refused(403, &["ci", "prod"]);
    assert_eq!(api.post(&ci, "/api/v1/submissions", &wish("dev"), &[]).status, 201);
    api.post(&ci, "/api/v1/jobs/2/cancel", &json!({}), &[]).refused(403, &["ci", "cancel"]);
    let more = json!({ "name": "more", "pockets": [], "verbs": ["submit"], "holds_for": 1000 });
    assert_eq!(api.post(&ci, "/api/v1/tokens", &more, &[]).status, 405, "none is made by HTTP");
    let bobs = token("bob", &["ci", "--verbs", "submit,cancel"]);
    api.post(&bobs, "/api/v1/submissions", &wish("prod"), &[]).refused(403, &["bob", "prod"]);
    api.post(&bobs, "/api/v1/jobs/1/cancel", &json!({}), &[]).refused(403, &["bob"]);
    api.with_token(&bobs, "/api/v1/jobs", &[]).refused(403, &["read"]);
    fs::write("/etc/invirtibuilder/acl/dev", "bob@EXAMPLE.ORG\n").unwrap();
    api.post(&ci, "/api/v1/submissions", &wish("dev"), &[]).refused(403, &["alice"]);
    fs::write(
        "/etc/invirtibuilder/acl/dev",
        "alice@EXAMPLE.ORG\nbob@EXAMPLE.ORG\ncarol@EXAMPLE.ORG\n",
    )
    .unwrap();
    world.build("bob", &["token", "revoke", "ci", "--for", "alice"]).refused(77, &["bob"]);
    world.build("carol", &["token", "revoke", "ci", "--for", "alice"]).ok();
    api.with_token(&ci, "/api/v1/jobs", &[]).refused(401, &["revoked"]);
    let trail = world.local(&["audit", "show", "--event", "token.revoked", "--json"]).ok().out;
    assert!(trail.contains("carol@EXAMPLE.ORG"), "{trail}");
    let database = fs::read(format!("{STATE}/invirtibuilder.db")).unwrap();
    assert!(!String::from_utf8_lossy(&database).contains(&ci[4..]), "no secret is kept");
}

#[test]
fn what_is_published_is_read_by_http_as_it_is_by_remctl() {
    let world = World::new();
    let repo = world.repo("tiny");
    let first = repo.version("1.0", Tiny::Works);
    let api = served(&world);
    let token = world.build("bob", &["token", "create", "reader"]).ok().out.trim().to_owned();
    let get = |path: &str| api.with_token(&token, &format!("/api/v1{path}"), &[]).json();
    world.submit("prod", "tiny", &first);

    // Followed from before its start to its end: nothing of the log is lost.
    let mut follower = Command::new("curl")
        .args(["--silent", "--no-buffer", "--unix-socket", SOCKET, "--header"])
        .arg(format!("Authorization: Bearer {token}"))
        .arg("http://localhost/api/v1/jobs/1/events?attempt=1&offset=0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let events = BufReader::new(follower.stdout.take().unwrap()).lines().map_while(Result::ok);
    let _daemon = world.daemon();
    let (mut states, mut log, mut end) = (Vec::new(), String::new(), None);
    for line in events {
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let event: Value = serde_json::from_str(data).unwrap();
        match event["event"].as_str().unwrap() {
            "state" => states.push(event["state"].as_str().unwrap().to_owned()),
            "log" => {
                assert_eq!(event["offset"], log.len() as u64);
                log.push_str(event["text"].as_str().unwrap());
            }
            "end" => end = Some(event),
            _ => {}
        }
    }
    follower.wait().unwrap();
    world.wait_for("1", "published", BUILD);
    assert_eq!(states, ["queued", "preparing", "building", "publishing", "published"]);
    assert_eq!(end.unwrap()["state"], "published");
    assert_eq!(log, fs::read_to_string(format!("{STATE}/logs/1/build.log")).unwrap());

    let status: Value =
        serde_json::from_str(&world.build("bob", &["status", "1", "--json"]).ok().out).unwrap();
    assert_eq!(get("/jobs/1"), status);
    assert_eq!(get("/jobs?pocket=prod&show=published")["items"][0]["id"], 1);
    assert_eq!(get("/jobs?show=failed")["items"], json!([]));
    assert_eq!(get("/packages")["items"][0]["held"][0]["version"], "1.0");
    assert_eq!(get("/packages/tiny/history")["items"][0]["id"], 1);
    assert_eq!(get("/jobs/1/changes")["changelog"][0]["version"], "1.0");
    assert_eq!(get("/jobs/1/attempts")[0]["bytes"], log.len() as u64);
    assert_eq!(get("/pockets/prod/snapshots").as_array().unwrap().len(), 2);
    assert_eq!(get("/pockets/prod/snapshots/1/2")["items"][0]["to"], "1.0");
    assert_eq!(get("/pockets/prod/snapshots/1/2?after=tiny")["items"], json!([]));
    assert_eq!(get("/differences?left=prod&right=dev")["items"][0]["order"], ">");
    assert_eq!(get(&format!("/search?q={}", &first[..8]))["jobs"][0]["id"], 1);
    assert_eq!(get("/search?q=tin")["packages"], json!(["tiny"]));
    assert_eq!(get("/statistics")["days"][0]["published"], 1);
    assert_eq!(get("/overview")["finished"][0]["id"], 1);
    let files = get("/jobs/1/explain")["files"].to_string();
    assert!(files.contains("tiny_1.0.dsc") && files.contains("tiny_1.0_all.deb"), "{files}");
    let read = |path: &str, args: &[&str]| api.with_token(&token, &format!("/api/v1{path}"), args);
    read("/jobs/99", &[]).refused(404, &["no job 99"]);
    read("/jobs/x", &[]).refused(404, &["not a job id"]);
    read("/packages/none", &[]).refused(404, &["none"]);
    read("/jobs?show=nonsense", &[]).refused(400, &["query"]);
    read("/jobs?limit=0", &[]).refused(422, &["limit"]);
    read("/nonsense", &[]).refused(404, &["openapi"]);
    let part = read("/jobs/1/log", &["--range", "0-9"]);
    assert_eq!((part.status, &part.body[..]), (206, &log[..10]));
    assert_eq!(read("/jobs/1/log", &["--range", "99999999-"]).status, 416);
    let whole = read("/jobs/1", &[]);
    let tag = whole.headers.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let again = read("/jobs/1", &["--header", &format!("If-None-Match: {tag}")]);
    assert_eq!((again.status, &again.body[..]), (304, ""));
    assert_eq!(api.ask("nobody", "/healthz", &[]).status, 200);
    let numbers = api.with_token(&token, "/metrics", &[]);
    assert!(numbers.body.contains("invirtibuilder_daemon_up 1"), "{numbers:?}");

    // Where everybody may read, nobody may change anything.
    let public = "http: { listen: '127.0.0.1:1', read: public }\n";
    fs::write("/etc/invirtibuilder/conf.d/http.yaml", public).unwrap();
    assert_eq!(api.ask("nobody", "/api/v1/jobs/1", &[]).json()["job"]["id"], 1);
    api.ask("nobody", "/api/v1/jobs/1/cancel", &["--request", "POST"]).refused(401, &["sign in"]);
    api.ask("nobody", "/api/v1/tokens", &[]).refused(403, &["sign in"]);
}

/// Whoever has taken `invirtibuilder-web` over has its user, and what is open to that.
#[test]
fn the_user_of_the_pages_reaches_nothing_but_the_api() {
    let world = World::new();
    let _api = served(&world);
    let as_web = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=_invirtibuilder-web",
            "--regid=_invirtibuilder-web",
            "--clear-groups",
        ]);
        let done = command.args(args).output().unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let curl = ["curl", "--silent", "--unix-socket", SOCKET, "http://localhost/api/v1/whoami"];
    let (_, answer) = as_web(&curl);
    assert!(answer.contains("sign in"), "it may ask: {answer}");
    // Nothing that a client could say of who it is counts without proof.
    for header in [
        "Remote-User: alice@EXAMPLE.ORG",
        "X-Forwarded-User: alice@EXAMPLE.ORG",
        "Authorization: Bearer alice@EXAMPLE.ORG",
        "Authorization: Negotiate YWxpY2U=",
        "Authorization: Basic YWxpY2U6",
    ] {
        let (_, answer) = as_web(&[&curl[..], &["--header", header]].concat());
        assert!(answer.contains("\"status\":401"), "{header}: {answer}");
    }
    // The socket for commands, where whoever asks is believed, is closed.
    let remctl = "use IO::Socket::UNIX; exit(IO::Socket::UNIX->new(Type => 5, Peer => '/run/invirtibuilder/command') ? 0 : 1)";
    assert!(!as_web(&["perl", "-e", remctl]).0, "it speaks to the socket for commands");
    for secret in [
        "/var/lib/invirtibuilder/invirtibuilder.db",
        "/etc/invirtibuilder/http.keytab",
        "/etc/krb5.keytab",
        "/etc/invirtibuilder/archive-key.asc",
    ] {
        assert!(fs::metadata(secret).is_ok(), "{secret} is not there");
        assert!(!as_web(&["cat", secret]).0, "it reads {secret}");
    }
    let relay = [
        "env",
        "REMOTE_USER=alice@EXAMPLE.ORG",
        "/usr/libexec/invirtibuilder/build-relay",
        "whoami",
    ];
    assert!(!as_web(&relay).0, "it is alice");
}

#[test]
fn remctl_is_answered_the_same_with_and_without_the_process_that_stays() {
    let world = World::new();
    let repo = world.repo("tiny");
    let first = repo.version("1.0", Tiny::Works);
    let api = served(&world);
    let said = |args: &[&str]| {
        let answer = world.build("alice", args);
        (answer.code, answer.out, answer.err)
    };
    world.submit("prod", "tiny", &first);
    let questions: &[&[&str]] = &[
        &["whoami"],
        &["pockets"],
        &["packages", "--json"],
        &["history", "tiny", "--json"],
        &["submit", "prod", "tiny", &first],
        &["submit", "prod", "tiny", "nonsense"],
        &["submit", "prod", "tiny", &first, "--dry-run"],
        &["submit", "nowhere", "tiny", &first],
        &["acl", "check", "prod", "bob"],
        &["cancel", "7"],
        &["nonsense"],
        &["status", "--nonsense"],
        &["--version"],
        &["help", "submit"],
        &["log", "1"],
        &["verify"],
        &["--config", "/etc/passwd", "status"],
    ];
    let with: Vec<_> = questions.iter().map(|question| said(question)).collect();
    drop(api);
    let without: Vec<_> = questions.iter().map(|question| said(question)).collect();
    for (question, (with, without)) in questions.iter().zip(with.iter().zip(&without)) {
        assert_eq!(with, without, "{question:?}");
    }
    assert_eq!(world.state("1"), "queued");
}

/// The commands of the API's own page are what its readers type.
#[test]
fn the_examples_of_the_documentation_work() {
    let world = World::new();
    let repo = world.repo("hello");
    let first = repo.version("1.0", Tiny::Works);
    let _api = served(&world);
    world.submit("dev", "hello", &first);
    let _daemon = world.daemon();
    world.wait_for("1", "published", BUILD);
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join(".curlrc"), format!("unix-socket = \"{SOCKET}\"\nfail\nsilent\n"))
        .unwrap();
    let page = include_str!("../../../docs/reference/api.md");
    let shell = |line: &str, token: &str| {
        let line = line
            .replace("https://build.example.org", "http://localhost")
            .replace("remctl build.example.org build", "as alice build");
        let done = Command::new("bash")
            .args(["-c", &line])
            .env("CURL_HOME", home.path())
            .env("KRB5CCNAME", "/run/world/tickets/alice")
            .env("TOKEN", token)
            .output()
            .unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let commands: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let create = commands.iter().find(|line| line.contains("token create")).unwrap();
    let token = shell(create, "").trim().to_owned();
    let mut ran = 0;
    for line in commands.iter().filter(|line| line.starts_with("curl ")) {
        assert_ne!(shell(line, &token), "", "{line}");
        ran += 1;
    }
    assert_eq!(ran + 1, commands.len(), "every command was run");
}
