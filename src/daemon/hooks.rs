//! Hooks: the site's own programs, told what happened to a job.
//!
//! For each event the executables of `<hooks.dir>/<event>.d/` run in name order, with the job in
//! the environment and as JSON on standard input. A hook can be late, fail or hang: it is killed
//! with its children, the outcome is recorded on the job, and nothing else changes. A hook may run
//! twice when the daemon dies at the wrong moment.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use invirtibuilder_api::job::Event;
use invirtibuilder_api::job::HookRun;
use invirtibuilder_api::job::Job;
use invirtibuilder_core::config::Config;
use invirtibuilder_core::names::Principal;
use invirtibuilder_core::time::now;
use invirtibuilder_system::subprocess::{CancellationToken, Cmd};

/// What a hook hears besides the job itself.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// The `.changes` file of what was built, if there is one.
    pub changes: Option<PathBuf>,
    /// The principal that caused the event, if that is not the job's own.
    pub by: Option<Principal>,
    /// The reason of that principal.
    pub reason: Option<String>,
}

/// Runs every hook of `event` for `job`, one after the other.
pub async fn run_hooks(
    config: &Config,
    event: Event,
    job: &Job,
    extra: &Extra,
    cancel: &CancellationToken,
) -> Vec<HookRun> {
    let dir = config.hooks.dir.join(format!("{event}.d"));
    let mut runs = Vec::new();
    for path in executables(&dir) {
        let started = now();
        let outcome = match run_one(config, &path, (event, job), extra, cancel).await {
            Ok(outcome) => outcome,
            Err(error) => format!("{error:#}"),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        runs.push(HookRun { event, name, started, finished: now(), outcome });
    }
    runs
}

async fn run_one(
    config: &Config,
    path: &Path,
    (event, job): (Event, &Job),
    extra: &Extra,
    cancel: &CancellationToken,
) -> Result<String> {
    let suite = config.find_pocket(&job.pocket).map(|pocket| pocket.suite().suite.to_string());
    let log = config.build_log(job.id);
    let text = |value: Option<String>| value.unwrap_or_default();
    let mut message = json!({ "event": event, "job": job });
    if let Some(by) = &extra.by {
        message["by"] = json!(by);
        message["reason"] = json!(extra.reason);
    }
    let done = Cmd::new(path)
        .env("IB_EVENT", event.as_str())
        .env("IB_JOB", job.id.to_string())
        .env("IB_POCKET", job.pocket.as_str())
        .env("IB_PACKAGE", job.package.as_str())
        .env("IB_COMMIT", job.commit.as_str())
        .env("IB_VERSION", job.version.as_str())
        .env("IB_PRINCIPAL", extra.by.as_ref().unwrap_or(&job.principal).as_str())
        .env("IB_REASON", extra.reason.as_deref().unwrap_or_default())
        .env("IB_STATE", job.state.as_str())
        .env("IB_FAILURE", text(job.failure.map(|kind| kind.to_string())))
        .env("IB_LOG", if log.exists() { log.as_path() } else { Path::new("") })
        .env("IB_CHANGES", extra.changes.as_deref().unwrap_or(Path::new("")))
        .env("IB_SUITE", text(suite))
        .env("IB_DOMAIN", job.domain.as_str())
        .input(serde_json::to_vec(&message)?)
        .total(config.hooks.timeout)
        .capture(1 << 20)
        .run(cancel)
        .await?;
    Ok(if done.ok() { "ok".to_owned() } else { done.describe() })
}

/// Lists the programs that run-parts(8) would run: regular executables named with letters, digits,
/// `_` and `-` only, in the C locale's order. No directory is no hooks.
fn executables(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_hook(path)).collect();
    paths.sort();
    paths
}

fn is_hook(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let named =
        !name.is_empty() && name.iter().all(|c| c.is_ascii_alphanumeric() || b"_-".contains(c));
    named
        && std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::hooks::*;
    use invirtibuilder_api::job::State;
    use invirtibuilder_core::names::{JobId, Principal};

    fn job() -> Job {
        Job {
            id: JobId(7),
            pocket: "prod".parse().unwrap(),
            domain: "main".parse().unwrap(),
            package: "hello".parse().unwrap(),
            commit: "0123456789012345678901234567890123456789".parse().unwrap(),
            version: "1.0-1".parse().unwrap(),
            written: "1.0-1".parse().unwrap(),
            why: None,
            principal: Principal::from_authenticated("alice@EXAMPLE.ORG").unwrap(),
            state: State::Published,
            failure: None,
            reason: None,
            copied_from: None,
            attempt: 1,
            submitted: 0,
            started: Some(1),
            finished: Some(2),
            cancel_by: None,
            priority: false,
        }
    }

    fn hooks(scripts: &[(&str, &str)]) -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let event = dir.path().join("published.d");
        std::fs::create_dir(&event).unwrap();
        for (name, text) in scripts {
            std::fs::write(event.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(event.join(name), std::fs::Permissions::from_mode(0o755))
                .unwrap();
        }
        let mut config = Config { state_dir: dir.path().into(), ..Config::default() };
        config.hooks.dir = dir.path().into();
        (dir, config)
    }

    async fn outcomes(config: &Config) -> Vec<(String, String)> {
        let runs = run_hooks(
            config,
            Event::Published,
            &job(),
            &Extra::default(),
            &CancellationToken::new(),
        )
        .await;
        runs.into_iter().map(|run| (run.name, run.outcome)).collect()
    }

    #[tokio::test]
    async fn hooks_run_in_order_with_the_job_in_hand() {
        let (dir, config) = hooks(&[
            ("20-env", "env | grep ^IB_ | sort > \"$(dirname \"$0\")/../env\""),
            (
                "10-json",
                "cat > \"$(dirname \"$0\")/../json\"; test ! -e \"$(dirname \"$0\")/../env\"",
            ),
            ("30-no.sh", "touch \"$(dirname \"$0\")/../never\""),
        ]);
        let done = outcomes(&config).await;
        assert_eq!(done, [("10-json".into(), "ok".into()), ("20-env".into(), "ok".into())]);
        let env = std::fs::read_to_string(dir.path().join("env")).unwrap();
        let want = "IB_CHANGES=\nIB_COMMIT=0123456789012345678901234567890123456789\nIB_DOMAIN=main\nIB_EVENT=published\nIB_FAILURE=\n\
                    IB_JOB=7\nIB_LOG=\nIB_PACKAGE=hello\nIB_POCKET=prod\nIB_PRINCIPAL=alice@EXAMPLE.ORG\n\
                    IB_REASON=\nIB_STATE=published\nIB_SUITE=\nIB_VERSION=1.0-1\n";
        assert_eq!(env, want);
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("json")).unwrap()).unwrap();
        assert_eq!(
            (&json["event"], &json["job"]["package"]),
            (&json!("published"), &json!("hello"))
        );
        assert!(!dir.path().join("never").exists());
    }

    #[tokio::test]
    async fn failures_and_hangs_are_outcomes() {
        let (_dir, mut config) = hooks(&[
            ("a", "echo no good >&2; exit 3"),
            ("b", "sleep 1000 & sleep 1000"),
            ("c", ""),
        ]);
        config.hooks.timeout = Duration::from_millis(300);
        let done = outcomes(&config).await;
        assert!(done[0].1.ends_with("exited with status 3: no good"), "{}", done[0].1);
        assert!(done[1].1.ends_with("took too long and was killed"), "{}", done[1].1);
        assert_eq!(done[2].1, "ok");
    }
}
