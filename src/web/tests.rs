//! The pages, before an API that says what each test has it say.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::testing::{Api, COOKIE, forgery};

/// Text that would be markup, a script, or an attribute, if anybody forgot it.
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\u{202e}";

fn job(id: i64, state: &str) -> Value {
    let jobs: Vec<Value> = serde_json::from_str(include_str!("../api/json/history.json")).unwrap();
    let mut job = jobs.into_iter().next().unwrap();
    job["id"] = id.into();
    job["state"] = state.into();
    if state != "failed" {
        job["failure"] = Value::Null;
        job["reason"] = Value::Null;
    }
    job
}

fn status(state: &str) -> Value {
    let mut status: Value =
        serde_json::from_str(include_str!("../api/json/job_status.json")).unwrap();
    status["job"] = job(7, state);
    status["steps"] = json!([
        { "at": 1_700_000_000_000_i64, "state": "queued" },
        { "at": 1_700_000_001_000_i64, "state": "preparing" },
        { "at": 1_700_000_003_000_i64, "state": "building" },
        { "at": 1_700_000_060_000_i64, "state": state },
    ]);
    status
}

const LOG: &str =
    "+------+\n| Build |\n+------+\nhello\na.c:1:2: error: <b>no</b>\nmake: *** [all] Error 2\n";

/// An API that knows a little of everything.
fn api() -> Api {
    let api = Api::start();
    let wrapped = |items: Value| json!({ "items": items, "next": null }).to_string();
    let overview: Value = serde_json::from_str(include_str!("../api/json/overview.json")).unwrap();
    let overview = json!({
        "finished": [job(4, "published"), job(3, "failed")],
        "open": [job(5, "building"), job(7, "queued")],
        "forecasts": overview["forecasts"], "waits": overview["waits"], "warnings": [HOSTILE],
    });
    api.says("GET /api/v1/overview", &overview.to_string());
    let mut failed = job(9, "failed");
    failed["reason"] = HOSTILE.into();
    failed["principal"] = HOSTILE.into();
    api.says("GET /api/v1/jobs", &wrapped(json!([failed, job(4, "published")])));
    let held: Value = serde_json::from_str(include_str!("../api/json/packages.json")).unwrap();
    let row = json!({ "package": "hello", "held": held });
    api.says("GET /api/v1/packages", &wrapped(json!([row])));
    api.says("GET /api/v1/packages/hello", &row.to_string());
    api.says("GET /api/v1/packages/hello/history", &wrapped(json!([job(4, "published")])));
    let mut pockets: Value =
        serde_json::from_str(include_str!("../api/json/pockets.json")).unwrap();
    let mut dev = pockets[0].clone();
    dev["pocket"] = "dev".into();
    pockets.as_array_mut().unwrap().push(dev);
    api.says("GET /api/v1/pockets", &pockets.to_string());
    let mut snapshot: Value =
        serde_json::from_str(include_str!("../api/json/snapshot.json")).unwrap();
    snapshot["note"] = HOSTILE.into();
    let mut earlier = snapshot.clone();
    earlier["number"] = 3.into();
    api.says("GET /api/v1/pockets/prod/snapshots", &json!([earlier, snapshot]).to_string());
    let change = wrapped(json!([{ "package": "hello", "from": null, "to": "1.0-1" }]));
    api.says("GET /api/v1/pockets/prod/snapshots/3/4", &change);
    let differences = include_str!("../api/json/differences.json");
    api.says("GET /api/v1/differences", &wrapped(serde_json::from_str(differences).unwrap()));
    let mut state = status("failed");
    state["job"]["reason"] = "make: *** [all] Error 2".into();
    state["hooks"][0]["outcome"] = HOSTILE.into();
    api.says("GET /api/v1/jobs/7", &state.to_string());
    api.says("GET /api/v1/jobs/7/explain", include_str!("../api/json/provenance.json"));
    let changes = json!({
        "since": { "version": "0.9-1", "commit": "3f2a91c0".repeat(5) },
        "commits": [{ "commit": "3f2a91c0".repeat(5), "author": HOSTILE, "at": 0, "summary": HOSTILE }],
        "more": true,
        "changelog": [{ "version": "1.0-1", "text": HOSTILE }],
    });
    api.says("GET /api/v1/jobs/7/changes", &changes.to_string());
    let attempts = json!([{ "attempt": 1, "bytes": LOG.len() }]);
    api.says("GET /api/v1/jobs/7/attempts", &attempts.to_string());
    api.logs("GET /api/v1/jobs/7/log?attempt=1", LOG);
    let token = |name: &str, revoked: Option<i64>| {
        json!({
            "name": name, "principal": "alice@EXAMPLE.ORG", "pockets": ["dev"], "verbs": ["read", "submit"],
            "by": "alice@EXAMPLE.ORG", "created": 0, "expires": i64::MAX / 2, "revoked": revoked,
        })
    };
    api.says("GET /api/v1/tokens", &json!([token("ci", None), token("old", Some(1))]).to_string());
    api.says("DELETE /api/v1/tokens/ci", &token("ci", Some(2)).to_string());
    let found = json!({ "packages": ["hello", "hello-again"], "jobs": [job(4, "published")] });
    api.says("GET /api/v1/search", &found.to_string());
    let statistics = json!({
        "days": [
            { "day": 1_700_000_000_000_i64, "published": 3, "failed": 1, "cancelled": 0, "waited": 1000, "took": null },
            { "day": 1_700_086_400_000_i64, "published": 0, "failed": 0, "cancelled": 2, "waited": null, "took": 90000 },
        ],
        "phases": [{ "pocket": "prod", "state": "building", "jobs": 4, "ms": 90000,
            "buckets": [{ "up_to_ms": 60000, "jobs": 3 }, { "up_to_ms": 120_000, "jobs": 4 }] }],
        "archives": [{ "day": 1_700_000_000_000_i64, "domain": "main", "files": 12, "bytes": 123_456 }],
    });
    api.says("GET /api/v1/statistics", &statistics.to_string());
    api
}

/// The pages that only show something.
const PAGES: [&str; 19] = [
    "/",
    "/packages",
    "/packages?prefix=he&pocket=prod",
    "/packages/hello",
    "/jobs",
    "/jobs?show=failed&pocket=&package=&principal=",
    "/jobs/7",
    "/jobs/7?attempt=1",
    "/jobs/7/log",
    "/jobs/7/log?attempt=1&line=5",
    "/jobs/7/explain",
    "/mine",
    "/tokens",
    "/pockets",
    "/pockets/prod",
    "/pockets/prod/snapshots/3/4",
    "/differences?left=prod&right=dev",
    "/statistics",
    "/submit?package=hello",
];

#[tokio::test]
async fn all_pages_show_what_the_api_says_as_text() {
    let pages = api().pages();
    let search = format!("/search?{}", serde_urlencoded::to_string([("q", HOSTILE)]).unwrap());
    for path in PAGES.into_iter().chain([&*search]) {
        let page = pages.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        assert_eq!(page.body.matches("<h1").count(), 1, "{path}");
        assert_eq!(page.body.matches("<script").count(), 1, "{path}: {}", page.body);
        assert!(page.body.contains("<script src=\"/assets/page."), "{path}");
        for sign in ["<img", " onerror=alert(1)>", "<b>no", "style=", " onclick"] {
            assert!(!page.body.contains(sign), "{path} has {sign}: {}", page.body);
        }
        assert!(page.body.len() < 60 << 10, "{path}: {} bytes", page.body.len());
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("vary"), "cookie", "{path}");
    }
}

#[tokio::test]
async fn the_page_of_a_job_leads_to_its_first_error() {
    let page = api().pages().get("/jobs/7").await.body;
    assert!(page.contains("First error, line 6"), "{page}");
    assert!(page.contains("/jobs/7/log?attempt=1&#38;line=6#L6"), "{page}");
    assert!(page.contains("error: &#60;b&#62;no&#60;/b&#62;"), "{page}");
    assert!(
        page.contains("action=\"/jobs/7/retry\"") && !page.contains("/jobs/7/cancel"),
        "{page}"
    );
    let log = api().pages().get("/jobs/7/log?line=4").await.body;
    assert!(log.contains("<li id=\"L6\">") && !log.contains("<li id=\"L7\">"), "{log}");
    assert!(log.contains("Phases"), "{log}");
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_led_there_and_back() {
    let api = api();
    for path in ["/overview", "/jobs", "/jobs/7", "/pockets", "/whoami"] {
        api.refuses(&format!("GET /api/v1{path}"), 401, 77, "nobody has authenticated");
    }
    let pages = api.pages();
    let welcome = pages.ask("GET", "/", &[], "").await;
    assert_eq!(welcome.status, 200);
    assert!(welcome.body.contains("Sign in with your ticket"), "{}", welcome.body);
    let jobs = pages.ask("GET", "/jobs?show=failed", &[], "").await;
    assert_eq!(
        (jobs.status, jobs.header("location")),
        (303, "/login?next=%2Fjobs%3Fshow%3Dfailed")
    );
    // A session that has ended is forgotten.
    let jobs = pages.get("/jobs/7").await;
    assert_eq!((jobs.status, jobs.header("location")), (303, "/login?next=%2Fjobs%2F7"));
    assert!(jobs.header("set-cookie").starts_with("invirtibuilder-session=; Path=/; Max-Age=0"));
}

#[tokio::test]
async fn a_ticket_becomes_a_cookie() {
    let api = api();
    let login =
        json!({ "principal": "alice@EXAMPLE.ORG", "secret": "ivs_new", "expires": i64::MAX / 2 });
    let sent = [("www-authenticate", "Negotiate oQcwBaADCgEA")];
    api.answers("POST /api/v1/session", 201, &sent, &login.to_string());
    let pages = api.pages();
    let first = pages.ask("GET", "/login?next=%2Fjobs", &[], "").await;
    assert_eq!((first.status, first.header("www-authenticate")), (401, "Negotiate"));
    assert!(first.body.contains("url=/login?again=1&#38;next=%2Fjobs"), "{}", first.body);
    let second = pages.ask("GET", "/login?again=1&next=%2Fjobs", &[], "").await;
    assert_eq!(second.status, 401);
    assert!(
        second.body.contains("kinit") && !second.body.contains("http-equiv"),
        "{}",
        second.body
    );
    let ticket = [("authorization", "Negotiate YII=")];
    let done = pages.ask("GET", "/login?next=%2Fjobs", &ticket, "").await;
    assert_eq!((done.status, done.header("location")), (303, "/jobs"));
    assert_eq!(done.header("www-authenticate"), "Negotiate oQcwBaADCgEA");
    let cookie = done.header("set-cookie");
    assert!(cookie.starts_with("invirtibuilder-session=ivs_new; Path=/; Max-Age="), "{cookie}");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Lax"), "{cookie}");
    let asked = api.asked("POST /api/v1/session");
    assert_eq!(asked[0].headers["authorization"], "Negotiate YII=");
    // Somebody's trap.
    let away = pages.ask("GET", "/login?next=%2F%2Fevil.example", &ticket, "").await;
    assert_eq!(away.header("location"), "/");
    api.refuses("POST /api/v1/session", 401, 77, "the ticket is not for this service");
    let refused = pages.ask("GET", "/login", &ticket, "").await;
    assert_eq!(refused.status, 401);
    assert!(refused.body.contains("the ticket is not for this service"), "{}", refused.body);
}

#[tokio::test]
async fn a_submission_is_looked_at_before_it_is_made() {
    let api = api();
    let form = "pocket=prod&package=hello&commit=main";
    api.says("POST /api/v1/submissions?dry_run=true", include_str!("../api/json/preview.json"));
    let pages = api.pages();
    let look = pages.post("/submit", form).await;
    assert_eq!(look.status, 200, "{}", look.body);
    assert!(look.body.contains("It would be built.") && look.body.contains("value=\"confirm\""));
    assert!(look.body.contains("remctl build.example.org build submit prod hello main"));
    // What was shown is what is confirmed.
    assert!(look.body.contains(&format!("name=\"commit\" value=\"{}\"", "3f2a91c0".repeat(5))));
    let asked = api.asked("POST /api/v1/submissions");
    let sent: Value = serde_json::from_str(&asked[0].body).unwrap();
    assert_eq!(sent["commit"], "main");
    assert_eq!(asked[0].headers["authorization"], "Bearer ivs_0123456789");
    assert_eq!(asked[0].headers["x-csrf-token"], *forgery());
    api.answers("POST /api/v1/submissions", 201, &[], include_str!("../api/json/submitted.json"));
    let done = pages.post("/submit", &format!("{form}&stage=confirm")).await;
    assert_eq!((done.status, done.header("location")), (303, "/jobs/7"));
}

#[tokio::test]
async fn a_refusal_says_why_and_what_to_type() {
    let api = api();
    let why = "bob@EXAMPLE.ORG may not submit to prod";
    api.refuses("POST /api/v1/submissions?dry_run=true", 403, 77, why);
    api.refuses("POST /api/v1/jobs/7/retry", 403, 77, why);
    api.refuses("POST /api/v1/removals", 422, 65, "prod has no hello");
    let pages = api.pages();
    let refused = pages.post("/submit", "pocket=prod&package=hello&commit=x").await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.body.contains(why) && refused.body.contains("submit prod hello x"),
        "{}",
        refused.body
    );
    assert!(refused.body.contains("value=\"hello\""), "what was typed stays: {}", refused.body);
    let refused = pages.post("/jobs/7/retry", "").await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.body.contains(why) && refused.body.contains("build retry 7"),
        "{}",
        refused.body
    );
    let form = "pocket=prod&package=hello&reason=it%27s+old&stage=confirm";
    let refused = pages.post("/remove", form).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("prod has no hello"), "{}", refused.body);
}

#[tokio::test]
async fn a_token_is_ended_and_none_is_made() {
    let api = api();
    let pages = api.pages();
    let page = pages.get("/tokens").await.body;
    assert_eq!(page.matches("/revoke\"").count(), 1, "what is revoked is not offered: {page}");
    assert!(page.contains("remctl build.example.org build token create NAME"), "{page}");
    let done = pages.post("/tokens/ci/revoke", "").await;
    assert_eq!((done.status, done.header("location")), (303, "/tokens"));
    assert_eq!(api.asked("DELETE /api/v1/tokens/ci")[0].headers["x-csrf-token"], *forgery());
    api.refuses("DELETE /api/v1/tokens/other", 404, 65, "alice has no token other");
    let refused = pages.post("/tokens/other/revoke", "").await;
    assert_eq!(refused.status, 404);
    assert!(refused.body.contains("build token revoke other"), "{}", refused.body);
    assert_eq!(pages.post("/tokens/a%2fb/revoke", "").await.status, 404);
}

#[tokio::test]
async fn a_form_that_is_not_ours_reaches_nothing() {
    let api = api();
    let pages = api.pages();
    let good = format!(
        "pocket=prod&package=hello&commit=x&reason=y&from=dev&to=prod&forgery={}",
        forgery()
    );
    let bad = "pocket=prod&package=hello&commit=x&reason=y&from=dev&to=prod&forgery=0";
    let jobs = ["/jobs/7/cancel", "/jobs/7/retry", "/tokens/ci/revoke"];
    for path in ["/submit", "/promote", "/rebuild", "/remove", "/logout"].into_iter().chain(jobs) {
        for (form, more) in [
            (bad, &[("sec-fetch-site", "same-origin")][..]),
            (&good, &[("sec-fetch-site", "cross-site")]),
            (&good, &[("origin", "http://evil.example")]),
            (&good, &[("origin", "null")]),
            (&good, &[]),
        ] {
            let answer = pages.post_as(path, form, more).await;
            assert_eq!(answer.status, 403, "{path} {more:?}: {}", answer.body);
        }
        let form = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", "http://build.example.org"),
        ];
        assert_eq!(pages.ask("POST", path, &form, &good).await.status, 303, "{path}");
    }
    assert!(api.asked("POST").is_empty() && api.asked("DELETE").is_empty());
}

#[tokio::test]
async fn the_api_is_reached_with_what_the_visitor_shows() {
    let api = api();
    api.answers("POST /api/v1/jobs/7/cancel", 200, &[("set-cookie", "a=b"), ("x-more", "1")], "{}");
    api.says("GET /metrics", "# HELP\n");
    let pages = api.pages();
    let token = [
        ("authorization", "Bearer ivt_t"),
        ("cookie", COOKIE),
        ("connection", "x-a"),
        ("x-a", "1"),
    ];
    let answer = pages.ask("POST", "/api/v1/jobs/7/cancel", &token, "").await;
    assert_eq!(
        (answer.status, answer.header("x-more"), answer.header("set-cookie")),
        (200, "1", "")
    );
    assert!(answer.header("content-security-policy").contains("sandbox"));
    let asked = &api.asked("POST /api/v1/jobs/7/cancel")[0].headers;
    assert_eq!(asked["authorization"], "Bearer ivt_t");
    assert!(!asked.contains_key("cookie") && !asked.contains_key("x-a"), "{asked:?}");
    pages.ask("POST", "/api/v1/jobs/7/cancel", &[("cookie", COOKIE)], "").await;
    assert_eq!(
        api.asked("POST /api/v1/jobs/7/cancel")[1].headers["authorization"],
        "Bearer ivs_0123456789"
    );
    assert_eq!(pages.ask("GET", "/metrics", &[], "").await.status, 200);
    // A browser may show a ticket by itself, for a page of somebody else.
    for more in [("sec-fetch-site", "cross-site"), ("origin", "http://evil.example")] {
        let forged = pages
            .ask("POST", "/api/v1/jobs/7/cancel", &[("authorization", "Negotiate a"), more], "")
            .await;
        assert_eq!(forged.status, 403);
        assert!(forged.header("content-type").contains("problem+json"), "{}", forged.body);
    }
    let long = "x".repeat((1 << 20) + 1);
    let length = long.len().to_string();
    let long =
        pages.ask("POST", "/api/v1/jobs/7/cancel", &[("content-length", &length)], &long).await;
    assert_eq!(long.status, 413);
    assert_eq!(api.asked("POST /api/v1/jobs/7/cancel").len(), 2);
    assert_eq!(pages.ask("GET", "/api/v2/x", &[], "").await.status, 404);
}

#[tokio::test]
async fn an_api_that_is_not_there_is_said() {
    let api = Api::start();
    let mut settings = api.settings();
    settings.api = "/nonexistent/http".into();
    let site = crate::routes::Site::new(std::sync::Arc::new(crate::app::WebApp::new(settings)));
    let pages = crate::testing::Pages(site);
    for path in ["/", "/jobs", "/api/v1/jobs"] {
        let answer = pages.ask("GET", path, &[], "").await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.body.contains("invirtibuilder-api.service"), "{}", answer.body);
    }
}

fn event(name: &str, data: &Value) -> String {
    let id = match name {
        "log" => format!("id: {}:{}\n", data["attempt"], data["end"]),
        _ => String::new(),
    };
    let mut data = data.clone();
    data["event"] = name.into();
    format!("event: {name}\n{id}data: {data}\n\n")
}

fn piece(attempt: i64, offset: u64, text: &str) -> String {
    let end = offset + text.len() as u64;
    event("log", &json!({ "attempt": attempt, "offset": offset, "end": end, "text": text }))
}

/// Follows a job until nothing more comes, and returns what has come: the log, and the other events.
async fn heard(body: axum::body::Body) -> (String, Vec<String>) {
    let mut body = body;
    let mut reader = crate::live::sse::SseReader::default();
    let (mut log, mut others) = (String::new(), Vec::new());
    while let Ok(Some(Ok(frame))) =
        tokio::time::timeout(Duration::from_millis(400), body.frame()).await
    {
        for event in reader.take(&frame.into_data().unwrap()).unwrap() {
            let data: Value = serde_json::from_str(&event.data).unwrap();
            if event.event == "log" {
                assert_eq!(event.id, Some(format!("{}:{}", data["attempt"], data["end"])));
                log.push_str(data["text"].as_str().unwrap());
            } else {
                others.push(data["state"].as_str().unwrap_or(&event.event).to_owned());
            }
        }
    }
    (log, others)
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it takes too long until {what}");
}

#[tokio::test]
async fn many_followers_have_one_connection_and_miss_nothing() {
    let api = api();
    api.streams("GET /api/v1/jobs/7/events");
    let pages = api.pages();
    let mut followers = Vec::new();
    for offset in [0, 9, LOG.len()] {
        let path = format!("/jobs/7/events?attempt=1&offset={offset}");
        let response = pages.send("GET", &path, &[("cookie", COOKIE)], "").await;
        assert_eq!(response.status(), 200);
        let seen = format!("1:{offset}");
        let path = "/jobs/7/events?attempt=1&offset=0";
        let again =
            pages.send("GET", path, &[("cookie", COOKIE), ("last-event-id", &seen)], "").await;
        followers.extend([offset, offset].into_iter().zip([response, again]));
    }
    let states = pages.send("GET", "/jobs/7/events", &[("cookie", COOKIE)], "").await;
    let heard =
        async |response: http::Response<axum::body::Body>| heard(response.into_body()).await;
    let connected = || api.asked("GET /api/v1/jobs/7/events").len();
    until("the connection is made", || connected() == 1).await;
    let queued = event("state", &json!({ "at": 1, "state": "queued" }));
    api.sends(&queued).await;
    let base = LOG.len() as u64;
    for (n, line) in ["one\n", "two\n", "thr", "ee\n"].into_iter().enumerate() {
        let before: u64 = [0, 4, 8, 11][n];
        api.sends(&piece(1, base + before, line)).await;
    }
    tokio::time::sleep(Duration::from_millis(120)).await;
    // The connection breaks off, and is made again where it was.
    api.breaks_off();
    until("it is made again", || connected() == 2).await;
    let last = api.asked("GET /api/v1/jobs/7/events")[1].what.clone();
    assert_eq!(last, format!("GET /api/v1/jobs/7/events?attempt=1&offset={}", base + 14));
    let building = event("state", &json!({ "at": 2, "state": "building" }));
    api.sends(&format!("{queued}{building}{}", piece(1, base + 14, "four\n"))).await;
    api.sends(&event("end", &job(7, "failed"))).await;
    let whole = format!("{LOG}one\ntwo\nthree\nfour\n");
    for (offset, response) in followers {
        let (log, others) = heard(response).await;
        assert_eq!(log, whole[offset..], "from {offset}");
        assert_eq!(others, ["queued", "building", "failed"]);
    }
    assert_eq!(
        heard(states).await,
        (String::new(), ["queued", "building", "failed"].map(str::to_owned).to_vec())
    );
    assert_eq!(connected(), 2);
}

#[tokio::test]
async fn whoever_may_not_read_a_job_does_not_follow_it() {
    let api = api();
    api.streams("GET /api/v1/jobs/8/events");
    for (status, exit) in [(401, 77), (403, 77), (404, 65)] {
        api.refuses("GET /api/v1/jobs/8/attempts", status, exit, "no");
        let answer = api.pages().get("/jobs/8/events").await;
        assert_eq!(answer.status, status);
    }
    assert!(api.asked("GET /api/v1/jobs/8/events").is_empty());
}

#[tokio::test]
async fn a_second_attempt_follows_the_first() {
    let api = api();
    let second = "second\n";
    let attempts = json!([
        { "attempt": 1, "bytes": LOG.len() }, { "attempt": 2, "bytes": second.len() }
    ]);
    api.says("GET /api/v1/jobs/7/attempts", &attempts.to_string());
    api.logs("GET /api/v1/jobs/7/log?attempt=2", second);
    api.streams("GET /api/v1/jobs/7/events");
    let path = "/jobs/7/events?attempt=1&offset=9";
    let follower = api.pages().send("GET", path, &[("cookie", COOKIE)], "").await;
    until("it is connected", || api.asked("GET /api/v1/jobs/7/events").len() == 1).await;
    let asked = api.asked("GET /api/v1/jobs/7/events")[0].what.clone();
    assert_eq!(asked, "GET /api/v1/jobs/7/events?attempt=2&offset=7");
    api.sends(&piece(2, 7, "third\n")).await;
    let (log, _) = heard(follower.into_body()).await;
    assert_eq!(log, format!("{}secondthird\n", &LOG[9..]).replace("secondthird", "second\nthird"));
}

#[tokio::test]
async fn a_slow_follower_catches_up() {
    let api = api();
    let lines: Vec<String> = (0..2000).map(|n| format!("line {n} {}\n", "x".repeat(40))).collect();
    let log: String = lines.concat();
    api.logs("GET /api/v1/jobs/7/log?attempt=1", &log);
    api.says("GET /api/v1/jobs/7/attempts", r#"[{"attempt":1,"bytes":0}]"#);
    api.streams("GET /api/v1/jobs/7/events");
    let path = "/jobs/7/events?attempt=1&offset=0";
    let follower = api.pages().send("GET", path, &[("cookie", COOKIE)], "").await;
    until("it is connected", || api.asked("GET /api/v1/jobs/7/events").len() == 1).await;
    // Nobody reads meanwhile. Attempts alternate nothing here: a state between pieces keeps them apart.
    let mut offset = 0;
    for (n, line) in lines.iter().enumerate() {
        let at = i64::try_from(n).unwrap();
        let state = event("state", &json!({ "at": at, "state": "building" }));
        api.sends(&format!(
            "{}{}",
            piece(1, offset, line),
            if n < 300 { state } else { String::new() }
        ))
        .await;
        offset += line.len() as u64;
    }
    api.sends(&event("end", &job(7, "failed"))).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (heard, others) = heard(follower.into_body()).await;
    assert_eq!(heard, log);
    assert_eq!(others.last().map(String::as_str), Some("failed"));
}
