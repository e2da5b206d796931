//! The pages in Debian's Chromium, with real tickets.

use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::world::browser::{Browser, END, ENTER, HOME};
use crate::world::pages::Pages;
use crate::world::{BUILD, SOON, STATE, Tiny, World, eventually, run};

/// The pages that show something, for somebody who is signed in.
const PAGES: [&str; 18] = [
    "/",
    "/packages",
    "/packages/tiny",
    "/jobs",
    "/jobs/1",
    "/jobs/2",
    "/jobs/2/log",
    "/jobs/1/explain",
    "/mine",
    "/tokens",
    "/pockets",
    "/pockets/prod",
    "/pockets/prod/snapshots/1/2",
    "/differences?left=prod&right=dev",
    "/search?q=tin",
    "/statistics",
    "/submit?package=tiny",
    "/logout",
];

const STATE_IS: &str = "return document.querySelector('.head .state').textContent ===";

#[test]
fn a_browser_signs_in_submits_watches_and_sees_the_matrix_change() {
    let world = World::new();
    let repo = world.repo("tiny");
    let (good, bad) = (repo.version("1.0", Tiny::Works), repo.version("1.1", Tiny::Fails));
    let _daemon = world.daemon();
    let pages = Pages::start("read: authenticated");
    let browser = Browser::start("alice", &pages.url);

    // A profile that was never used signs in by itself.
    browser.go("/");
    browser.until_it_says("Sign in with your ticket", SOON);
    browser.is_for_everybody();
    browser.click("main .button.main");
    browser.until(
        "alice is signed in",
        SOON,
        "return document.querySelector('.who a')?.textContent === 'alice'",
    );
    assert_eq!(browser.at(), "/");
    browser.until_it_says("No job runs.", SOON);

    // What would happen is said before it does.
    browser.go("/submit?pocket=prod");
    browser.fill("#package", "tiny");
    browser.fill("#commit", &good[..10]);
    browser.click("main button.main");
    browser.until_it_says("It would be built.", SOON);
    browser.is_for_everybody();
    assert!(
        browser
            .text()
            .contains(&format!("remctl localhost build submit prod tiny {}", &good[..10]))
    );
    assert!(
        world.build("alice", &["--json", "history", "tiny"]).json().as_array().unwrap().is_empty(),
        "nothing was queued"
    );
    browser.click("main button.main");
    browser.until("the job is shown", SOON, "return location.pathname === '/jobs/1'");

    // It is watched to its end, and the page is never loaded again.
    browser.run("window.mark = 1");
    browser.until("it builds", BUILD, &format!("{STATE_IS} 'building'"));
    let building = "const view = document.querySelector('.view'); return view && view.textContent.includes('dpkg')";
    browser.until("its log is seen while it builds", BUILD, building);
    browser.picture("job-building");
    browser.until("it is published", BUILD, &format!("{STATE_IS} 'published'"));
    assert_eq!(browser.run("return window.mark"), 1, "the page was loaded again");
    let said = browser.run("return document.querySelector('[data-said]').textContent");
    assert_eq!(said, "The job has ended: published.");
    let log = fs::read_to_string(format!("{STATE}/logs/1/build.log")).unwrap();
    let lines = log.lines().count();
    browser.until(
        "all lines are counted",
        SOON,
        &format!(
            "return document.querySelector('[data-size]').textContent.startsWith('{lines} lines')"
        ),
    );
    let last = "return document.querySelector('.view li:last-child span').textContent";
    assert_eq!(browser.run(last), log.lines().next_back().unwrap());

    // The matrix has it; a promotion changes it.
    browser.go("/packages");
    browser.until_it_says("1.0", SOON);
    assert_eq!(
        browser.run(
            "return [...document.querySelectorAll('tbody td')].map((td) => td.innerText.trim())"
        ),
        serde_json::json!(["–\nnot there", "1.0"])
    );
    browser.go("/packages/tiny");
    browser.click("form[action='/promote'] button");
    browser.until_it_says("Promote tiny from prod to dev?", SOON);
    browser.click("main button.main");
    browser.until("it is copied", BUILD, &format!("{STATE_IS} 'published'"));
    browser.go("/packages");
    let cells = browser
        .run("return [...document.querySelectorAll('tbody td')].map((td) => td.innerText.trim())");
    assert_eq!(cells, serde_json::json!(["1.0", "1.0"]));

    // One that fails says where, and is tried again.
    world.submit("prod", "tiny", &bad);
    browser.go("/jobs/3");
    browser.until("it fails", BUILD, &format!("{STATE_IS} 'failed'"));
    browser.until(
        "the first error is linked",
        SOON,
        "return document.querySelector('.head ~ .note a[data-line]')",
    );
    browser.picture("job-failed");
    browser.click(".note a[data-line]");
    browser.until(
        "the line is marked",
        SOON,
        "return document.querySelector('.view li.here.error')",
    );
    assert!(browser.at().contains("#L"), "{}", browser.at());
    let shown = "return document.querySelector('.view').textContent.includes('\\\\u{1b}[31mred')";
    browser.run("document.querySelector('.view').scrollTop = 0");
    browser.click("main button.link:not([data-fold])");
    browser.until(
        "what would steer a terminal is text",
        SOON,
        &format!("{} || document.querySelector('.view')", shown),
    );
    browser.click("form[action='/jobs/3/retry'] button");
    browser.until(
        "there is a second attempt",
        BUILD,
        "return document.querySelectorAll('.attempts a').length === 2",
    );
    browser.until("it fails again", BUILD, &format!("{STATE_IS} 'failed'"));
    browser.complains_of_nothing();

    // All pages are for everybody, in the light and in the dark, and on a small screen.
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for path in PAGES {
            browser.go(path);
            browser.is_for_everybody();
            let name = path.trim_start_matches('/').replace(['/', '?', '=', '&'], "-");
            let name = if name.is_empty() { "overview" } else { &name };
            browser.picture(&format!("{name}-{scheme}"));
        }
    }
    browser.size(360, 740);
    for path in PAGES {
        browser.go(path);
        let width = browser.run("return document.documentElement.scrollWidth");
        assert_eq!(width, 360, "{path} is wider than a small screen");
    }
    browser.is_for_everybody();
    browser.picture("small");
    browser.complains_of_nothing();

    // A token that somebody made in a terminal is ended here.
    world.build("alice", &["token", "create", "ci"]).ok();
    browser.go("/tokens");
    browser.click("form[action='/tokens/ci/revoke'] button");
    browser.until_it_says("revoked", SOON);
    world.build("alice", &["token", "list"]).ok().says(&["ci", "revoked"]);

    // Signed out is signed out.
    browser.size(1200, 900);
    browser.go("/");
    browser.click(".who button");
    browser.until_it_says("Sign in with your ticket", SOON);
}

#[test]
fn a_browser_is_refused_what_its_user_may_not() {
    let world = World::new();
    let repo = world.repo("tiny");
    let good = repo.version("1.0", Tiny::Works);
    let pages = Pages::start("read: authenticated");
    let before = world.snapshot();

    // bob may read, and not submit to prod.
    let browser = Browser::start("bob", &pages.url);
    browser.go("/submit?package=tiny&pocket=prod");
    browser.until("bob is signed in", SOON, "return document.querySelector('#commit')");
    assert_eq!(browser.at(), "/submit?package=tiny&pocket=prod", "he is where he wanted to be");
    assert!(browser.text().contains("prod (its list does not admit you)"));
    browser.fill("#commit", &good);
    browser.click("main button.main");
    browser.until_it_says("bob@EXAMPLE.ORG", SOON);
    let text = browser.text();
    assert!(
        text.contains("prod") && text.contains("remctl localhost build submit prod tiny"),
        "{text}"
    );
    browser.is_for_everybody();
    browser.picture("refused");
    let value = browser.run("return document.querySelector('#commit').value");
    assert_eq!(value, good, "what was typed stays");
    browser.complains_of_nothing();
    drop(browser);
    assert_eq!(world.snapshot(), before, "a refusal changes nothing");

    // Without a ticket the page says what to do.
    let browser = Browser::start("nobody", &pages.url);
    browser.go("/jobs");
    browser.until_it_says("Your browser has shown no Kerberos ticket.", SOON);
    assert!(browser.text().contains("kinit") && browser.text().contains("AuthServerAllowlist"));
    browser.is_for_everybody();
}

#[test]
fn a_browser_is_used_by_keys_alone() {
    let world = World::new();
    let repo = world.repo("tiny");
    repo.version("1.0", Tiny::Works);
    world.stub_sbuild();
    let _daemon = world.daemon();
    let pages = Pages::start("read: authenticated");
    let browser = Browser::start("alice", &pages.url);
    browser.go("/submit");
    browser.until("the form is there", SOON, "return document.querySelector('#commit')");
    // The first key leads past the head of the page.
    browser.tab_to(".skip");
    browser.press(ENTER);
    browser.tab_to("#pocket");
    browser.press("p");
    browser.tab_to("#package");
    browser.press("tiny");
    browser.tab_to("#commit");
    browser.press("main");
    browser.press(ENTER);
    browser.until_it_says("It would be built.", SOON);
    browser.tab_to("main button.main");
    browser.press(ENTER);
    browser.until("it is published", BUILD, &format!("{STATE_IS} 'published'"));
    // One whose log nobody has looked at yet.
    let second = repo.version("1.1", Tiny::Works);
    world.submit("prod", "tiny", &second);
    world.wait_for("2", "published", BUILD);
    world.unstub_sbuild();

    // A log of two million lines: any of them is there at once, and few of them are in the page.
    let mut text = String::new();
    for n in 1..=2_000_000 {
        if n % 500_000 == 1 {
            let _ = write!(text, "+----+\n| Part {n} |\n+----+\n");
        } else if n % 500_000 > 3 || n % 500_000 == 0 {
            let _ = writeln!(text, "this is line {n}");
        }
    }
    let logs = format!("{STATE}/logs/2");
    for entry in fs::read_dir(&logs).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            fs::write(entry.path(), &text).unwrap();
        }
    }
    browser.go("/jobs/2#L1234567");
    let here = "return document.querySelector('.view li.here span')?.textContent === 'this is line 1234567'";
    browser.until("the line is there", SOON, here);
    assert!(
        browser.run("return document.querySelectorAll('.view li').length").as_i64().unwrap() < 120
    );
    browser.picture("log-of-two-million-lines");
    browser.tab_to(".view");
    let shows = |line: u32| {
        format!(
            "return [...document.querySelectorAll('.view li span')].some((span) => span.textContent === 'this is line {line}')"
        )
    };
    browser.press(END);
    browser.until("the end is shown", SOON, &shows(2_000_000));
    browser.press(HOME);
    browser.until("the beginning is shown", SOON, &shows(4));
    // Phases fold.
    browser.tab_to(".view [data-fold='1']");
    browser.press(ENTER);
    browser.until(
        "a phase is folded",
        SOON,
        "return document.querySelector('[data-fold=\"500001\"]')",
    );
    assert!(browser.text().contains("2000000 lines"));
    // Without a script, the same lines are on pages.
    let page = pages.curl("alice", "/jobs/2/log?attempt=1&line=1234567", &[]);
    assert!(page.contains("<li id=\"L1234567\">") && page.contains("this is line 1234567"));
    assert!(page.len() < 300_000, "{}", page.len());
    let resident = fs::read_to_string(format!("/proc/{}/status", pages.pid())).unwrap();
    let resident = resident.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    let kib: u64 = resident.trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 64 << 10, "the server of the pages has taken {resident}");
    browser.complains_of_nothing();
}

#[test]
fn curl_signs_in_and_sends_forms_and_nobody_else_does() {
    let world = World::new();
    let repo = world.repo("tiny");
    let good = repo.version("1.0", Tiny::Works);
    let pages = Pages::start("url: 'http://localhost/build'");
    // By way of the login, and back.
    let form = pages.curl("alice", "/build/submit", &[]);
    let forgery = form.split("name=\"forgery\" value=\"").nth(1).unwrap();
    let forgery = forgery.split('"').next().unwrap();
    let send = |data: &str, origin: &str| {
        let data = format!("{data}&forgery={forgery}");
        let args =
            ["--data", &data, "--header", origin, "--write-out", "\n%{http_code} %{url_effective}"];
        pages.curl("alice", "/build/submit", &args)
    };
    let data = format!("pocket=prod&package=tiny&commit={good}");
    let ours = format!("Origin: {}", pages.url);
    assert!(send(&data, &ours).contains("It would be built."));
    // A page of somebody else has the browser send the same, with its cookies.
    let forged = send(&format!("{data}&stage=confirm"), "Origin: http://evil.example");
    assert!(forged.contains("\n403 "), "{forged}");
    assert_eq!(world.build("alice", &["--json", "history", "tiny"]).json(), serde_json::json!([]));
    let done = send(&format!("{data}&stage=confirm"), &ours);
    assert!(done.ends_with("/build/jobs/1"), "{done}");
    assert_eq!(world.state("1"), "queued");
}

/// Makes a certificate for `localhost` that vouches for itself, in the files that the pages have.
fn make_certificate() -> String {
    let (certificate, key) = ("/etc/invirtibuilder/web.pem", "/etc/invirtibuilder/web.key");
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
    let files = ["-keyout", key, "-out", certificate];
    run("openssl", &[&["req", "-x509", "-days", "2"], &curve[..], &names, &files].concat());
    run("chown", &["_invirtibuilder-web", key]);
    fs::read_to_string(certificate).unwrap()
}

#[test]
fn a_certificate_is_renewed_without_an_end_and_followers_are_let_go_at_one() {
    let world = World::new();
    let repo = world.repo("tiny");
    world.submit("prod", "tiny", &repo.version("1.0", Tiny::Works));
    let first = make_certificate();
    let keys = "certificate: /etc/invirtibuilder/web.pem, key: /etc/invirtibuilder/web.key";
    let mut pages = Pages::start(&format!("tls: {{ {keys} }}"));
    let trusting = |certificate: &str| {
        fs::write("/tmp/trusted.pem", certificate).unwrap();
        pages.try_curl("alice", "/mine", &["--cacert", "/tmp/trusted.pem", "--include"])
    };
    let seen = String::from_utf8(trusting(&first).stdout).unwrap();
    assert!(seen.contains("alice") && seen.contains("tiny"), "{seen}");
    assert!(seen.contains("__Host-invirtibuilder-session=ivs_") && seen.contains("; Secure"));

    // A new one is used from the next connection on.
    let second = make_certificate();
    pages.signal(Signal::SIGHUP);
    eventually("the new certificate is shown", SOON, || trusting(&second).status.success());
    assert_eq!(trusting(&first).status.code(), Some(60), "the old one is shown still");
    // One that is not good is not.
    fs::write("/etc/invirtibuilder/web.pem", "nothing\n").unwrap();
    pages.signal(Signal::SIGHUP);
    eventually("it says so", SOON, || pages.said().contains("the certificate stays as it was"));
    assert!(trusting(&second).status.success(), "{}", pages.said());

    // Whoever follows something does not hold up the end.
    let mut follower = Command::new("as")
        .args(["alice", "curl", "--silent", "--no-buffer", "--cookie", "/tmp/alice.jar"])
        .args(["--cacert", "/tmp/trusted.pem", &format!("{}/jobs/1/events", pages.url)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert_eq!(events.next().unwrap().unwrap(), "event: state");
    pages.signal(Signal::SIGTERM);
    assert!(pages.wait().success(), "{}", pages.said());
    assert!(events.all(|line| line.is_ok()));
    follower.wait().unwrap();
}
