//! Debian's Chromium, as people use it: by chromedriver(1), with a profile of its own each time.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};

use super::{SOON, eventually, free_port};

/// The name by which WebDriver returns an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Tab, Enter and others, as WebDriver writes them.
pub const TAB: &str = "\u{e004}";
/// Enter.
pub const ENTER: &str = "\u{e007}";
/// The end of a line, or of all.
pub const END: &str = "\u{e010}";
/// The beginning of a line, or of all.
pub const HOME: &str = "\u{e011}";

/// A running browser; ended when dropped.
pub struct Browser {
    driver: Child,
    url: String,
    pages: String,
}

impl Browser {
    /// Starts a browser of somebody who has a ticket, or none (`nobody`), with a fresh profile that
    /// trusts the server.
    pub fn start(who: &str, pages: &str) -> Self {
        let port = free_port();
        let driver = Command::new("as")
            .args([who, "chromedriver", &format!("--port={port}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut browser =
            Self { driver, url: format!("http://127.0.0.1:{port}"), pages: pages.to_owned() };
        eventually("chromedriver listens", SOON, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--auth-server-allowlist=localhost",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": arguments },
        } } });
        let session = browser.call("POST", "/session", &wanted);
        let session = session["sessionId"].as_str().unwrap();
        browser.url = format!("{}/session/{session}", browser.url);
        browser.size(1200, 900);
        browser
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.try_call(method, path, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        // What is long does not go into an argument.
        let mut curl = Command::new("curl")
            .args(["--silent", "--max-time", "60", "--request", method, "--data-binary", "@-"])
            .arg(format!("{}{path}", self.url))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        serde_json::to_writer(curl.stdin.take().unwrap(), body).unwrap();
        let done = curl.wait_with_output().unwrap();
        let answer: Value = serde_json::from_slice(&done.stdout)
            .map_err(|_| String::from_utf8_lossy(&done.stdout).into_owned())?;
        match answer["value"]["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", answer["value"]["message"])),
            None => Ok(answer["value"].clone()),
        }
    }

    /// Goes to a page.
    #[track_caller]
    pub fn go(&self, path: &str) {
        self.call("POST", "/url", &json!({ "url": format!("{}{path}", self.pages) }));
    }

    /// The path of the page that is shown, with its query and fragment.
    #[track_caller]
    pub fn at(&self) -> String {
        let url = self.call("GET", "/url", &json!({}));
        url.as_str().unwrap().strip_prefix(&self.pages).unwrap_or_default().to_owned()
    }

    /// Runs a script in the page, and returns what it returns.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text of the page that can be seen.
    #[track_caller]
    pub fn text(&self) -> String {
        self.run("return document.body.innerText").as_str().unwrap().to_owned()
    }

    /// Waits until a script returns something that is true.
    #[track_caller]
    pub fn until(&self, what: &str, limit: Duration, script: &str) {
        let start = Instant::now();
        loop {
            let body = json!({ "script": script, "args": [] });
            let held = self.try_call("POST", "/execute/sync", &body);
            if held.is_ok_and(|value| !matches!(value, Value::Null | Value::Bool(false))) {
                return;
            }
            assert!(start.elapsed() < limit, "after {limit:?}, still not: {what}\n{}", self.text());
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    /// Waits until the page says something.
    #[track_caller]
    pub fn until_it_says(&self, text: &str, limit: Duration) {
        let wanted = serde_json::to_string(text).unwrap();
        let script = format!("return document.body.innerText.includes({wanted})");
        self.until(&format!("the page says {text}"), limit, &script);
    }

    #[track_caller]
    fn find(&self, css: &str) -> String {
        let found = json!({ "using": "css selector", "value": css });
        let element = self.call("POST", "/element", &found);
        element[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks, as a mouse does.
    #[track_caller]
    pub fn click(&self, css: &str) {
        let element = self.find(css);
        self.call("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Types into a field.
    #[track_caller]
    pub fn fill(&self, css: &str, text: &str) {
        let element = self.find(css);
        self.call("POST", &format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys, wherever the focus is.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
            })
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.call("POST", "/actions", &json!({ "actions": [keyboard] }));
    }

    /// Presses Tab until something has the focus.
    #[track_caller]
    pub fn tab_to(&self, css: &str) {
        let wanted = serde_json::to_string(css).unwrap();
        for _ in 0..80 {
            self.press(TAB);
            let here = format!("return document.activeElement.matches({wanted})");
            if self.run(&here) == true {
                let seen = "return getComputedStyle(document.activeElement).outlineStyle";
                assert_ne!(self.run(seen), "none", "the focus on {css} cannot be seen");
                return;
            }
        }
        panic!("no key leads to {css}");
    }

    #[track_caller]
    fn devtools(&self, command: &str, params: &Value) -> Value {
        self.call("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": params }))
    }

    /// Makes the window so large.
    #[track_caller]
    pub fn size(&self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Has the user like pages `light`, or `dark`.
    #[track_caller]
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Keeps a picture of what is seen, for people.
    #[track_caller]
    pub fn picture(&self, name: &str) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        let picture = self.call("GET", "/screenshot", &json!({}));
        let picture = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("{name}.png")), picture.unwrap()).unwrap();
    }

    /// Demands that axe-core finds nothing that keeps anybody from using the page.
    #[track_caller]
    pub fn is_for_everybody(&self) {
        let axe = format!("{}/axe/axe.min.js", std::env::var("IB_CACHE").unwrap());
        let axe = fs::read_to_string(&axe).unwrap_or_else(|e| panic!("{axe}: {e}"));
        self.run(&axe);
        let script = "const done = arguments[0]; axe.run(document, { resultTypes: ['violations'] }).then((found) =>
            done(found.violations.map((v) => [v.id, v.help, v.nodes.map((n) => `${n.html}: ${n.failureSummary}`)])), done)";
        let found = self.call("POST", "/execute/async", &json!({ "script": script, "args": [] }));
        assert_eq!(found, json!([]), "{}: {found:#}", self.at());
    }

    /// Demands that the browser had nothing to complain about: no script that failed, nothing that
    /// the page's own policy forbids.
    #[track_caller]
    pub fn complains_of_nothing(&self) {
        let log = self.call("POST", "/se/log", &json!({ "type": "browser" }));
        let log = log.as_array().unwrap();
        // A page that asks for a ticket, or that refuses something, has such a status.
        let expected = |line: &&Value| {
            !line["message"].as_str().unwrap().contains("the server responded with a status of 40")
        };
        let complaints: Vec<_> = log.iter().filter(expected).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.try_call("DELETE", "", &json!({}));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
