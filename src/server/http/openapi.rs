//! What the API is, for programs: an OpenAPI document made of the types of its requests and answers.

use axum::Json;
use axum::response::{IntoResponse, Response};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use invirtibuilder_api as api;

/// Sends the document, to whoever asks.
pub async fn answer() -> Response {
    Json(document()).into_response()
}

/// One request that is understood.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// Names in the query, and what they mean.
    query: &'static [(&'static str, &'static str)],
    body: Option<Value>,
    status: u16,
    answer: Option<Value>,
    kind: &'static str,
}

/// Makes the document.
pub fn document() -> Value {
    let mut schemas = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations(&mut schemas) {
        let place = paths.entry(operation.path).or_insert_with(|| json!({}));
        place[operation.method] = described(&operation);
    }
    let problem = of::<api::problem::Problem>(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Invirtibuilder",
            "version": "1",
            "description": "Builds Debian packages from Git and publishes them in an APT archive.",
        },
        "servers": [{ "url": "/api/v1" }],
        "security": [{ "ticket": [] }, { "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": { "Problem": {
                "description": "The request was not served, and changed nothing.",
                "content": { "application/problem+json": { "schema": problem } },
            } },
            "securitySchemes": {
                "ticket": { "type": "http", "scheme": "negotiate" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

fn of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

fn described(operation: &Operation) -> Value {
    let mut parameters = Vec::new();
    for name in operation.path.split('/').filter_map(|part| part.strip_prefix('{')) {
        let name = name.trim_end_matches('}');
        parameters.push(json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string" },
        }));
    }
    for (name, means) in operation.query {
        parameters.push(json!({
            "name": name, "in": "query", "description": means, "schema": { "type": "string" },
        }));
    }
    let mut answer = json!({ "description": "It was served." });
    if let Some(schema) = &operation.answer {
        answer["content"] = json!({ operation.kind: { "schema": schema } });
    }
    let mut described = json!({
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            operation.status.to_string(): answer,
            "default": { "$ref": "#/components/responses/Problem" },
        },
    });
    if let Some(body) = &operation.body {
        let content = json!({ "application/json": { "schema": body } });
        described["requestBody"] = json!({ "required": true, "content": content });
    }
    described
}

/// The query of a list.
const PAGES: [(&str, &str); 2] = [
    ("after", "what the page before gave as next"),
    ("limit", "the most items of a page, up to 500"),
];

const DRY_RUN: (&str, &str) = ("dry_run", "true: say what would happen, and change nothing");

fn operations(schemas: &mut SchemaGenerator) -> Vec<Operation> {
    let json = "application/json";
    let text = json!({ "type": "string" });
    let stream = json!({ "type": "string" });
    fn get(path: &'static str, summary: &'static str, answer: Value) -> Operation {
        let (method, kind) = ("get", "application/json");
        let answer = Some(answer);
        Operation { method, path, summary, query: &[], body: None, status: 200, answer, kind }
    }
    fn list(item: Value) -> Value {
        json!({ "type": "array", "items": item })
    }
    let post = |path, summary, body, status, answer| Operation {
        method: "post",
        path,
        summary,
        query: &[],
        body,
        status,
        answer,
        kind: json,
    };
    let tried = |schemas: &mut SchemaGenerator| {
        let (preview, submitted) =
            (of::<api::submit::Preview>(schemas), of::<api::submit::Submitted>(schemas));
        Some(json!({ "anyOf": [submitted, preview] }))
    };
    let s = schemas;
    vec![
        post(
            "/session",
            "Begins a session with a ticket (Negotiate)",
            None,
            201,
            Some(of::<api::login::NewLogin>(s)),
        ),
        Operation {
            method: "delete",
            status: 204,
            ..post("/session", "Ends the session", None, 204, None)
        },
        get("/whoami", "Tells the caller", of::<api::caller::Whoami>(s)),
        get(
            "/overview",
            "Lists what is queued, runs and has lately ended",
            of::<api::status::Overview>(s),
        ),
        Operation {
            kind: "text/event-stream",
            ..get(
                "/events",
                "Tells whenever a job has changed: events named changed",
                stream.clone(),
            )
        },
        Operation {
            query: &[
                ("show", "all, open, ended, published, failed or cancelled"),
                ("pocket", "those of this pocket"),
                ("package", "those of this source package"),
                ("principal", "those that this principal submitted"),
                PAGES[0],
                PAGES[1],
            ],
            ..get("/jobs", "Lists jobs, the newest first", of::<api::page::Page<api::job::Job>>(s))
        },
        get("/jobs/{job}", "Tells all of a job", of::<api::status::JobStatus>(s)),
        get(
            "/jobs/{job}/explain",
            "Tells what a job's result follows from",
            of::<api::explain::Provenance>(s),
        ),
        get(
            "/jobs/{job}/changes",
            "Tells what has changed since the version before",
            of::<api::browse::JobChanges>(s),
        ),
        get(
            "/jobs/{job}/attempts",
            "Lists the logs of a job's attempts",
            list(of::<api::events::LogState>(s)),
        ),
        Operation {
            kind: "text/plain",
            query: &[("attempt", "the attempt; default: the last one")],
            ..get("/jobs/{job}/log", "Sends a build log, or a range of its bytes", text.clone())
        },
        Operation {
            kind: "text/event-stream",
            query: &[
                ("attempt", "the attempt whose log is sent too, and those after it"),
                ("offset", "the byte of that log to begin at"),
            ],
            ..get(
                "/jobs/{job}/events",
                "Sends what happens to a job until it has ended: events named state, waits, log and end, each a JobEvent",
                of::<api::events::JobEvent>(s),
            )
        },
        post("/jobs/{job}/cancel", "Stops a job", None, 200, Some(of::<api::job::Cancellation>(s))),
        post(
            "/jobs/{job}/retry",
            "Queues a job again",
            None,
            200,
            Some(of::<api::job::Retried>(s)),
        ),
        Operation {
            query: &[
                ("prefix", "those whose names begin with this"),
                ("pocket", "those that this pocket has"),
                PAGES[0],
                PAGES[1],
            ],
            ..get(
                "/packages",
                "Lists which package is where, by name",
                of::<api::page::Page<api::browse::MatrixRow>>(s),
            )
        },
        post(
            "/packages",
            "Creates the repository of a package",
            Some(json!({
                "type": "object", "required": ["package"],
                "properties": { "package": { "type": "string" } },
            })),
            201,
            Some(of::<api::repository::CreatedRepository>(s)),
        ),
        get("/packages/{package}", "Tells where a package is", of::<api::browse::MatrixRow>(s)),
        Operation {
            query: &PAGES,
            ..get(
                "/packages/{package}/history",
                "Lists the jobs of a package, the newest first",
                of::<api::page::Page<api::job::Job>>(s),
            )
        },
        get("/pockets", "Lists the pockets", list(of::<api::pocket::PocketSummary>(s))),
        get(
            "/pockets/{pocket}/snapshots",
            "Lists the published states of a pocket's suite, the newest first",
            list(of::<api::archive::Snapshot>(s)),
        ),
        Operation {
            query: &PAGES,
            ..get(
                "/pockets/{pocket}/snapshots/{older}/{newer}",
                "Lists what differs between two published states, by package",
                of::<api::page::Page<api::browse::SnapshotChange>>(s),
            )
        },
        Operation {
            query: &[("left", "a pocket"), ("right", "another one"), PAGES[0], PAGES[1]],
            ..get(
                "/differences",
                "Lists how two pockets differ, by package",
                of::<api::page::Page<api::pocket::PackageDifference>>(s),
            )
        },
        Operation {
            query: &[("q", "part of a package's name, a number of a job, or a commit")],
            ..get("/search", "Finds packages and jobs", of::<api::browse::Found>(s))
        },
        Operation {
            query: &[("days", "the last days that it is about, 30 by default")],
            ..get("/statistics", "Counts for plots", of::<api::browse::Statistics>(s))
        },
        Operation {
            query: &[DRY_RUN],
            ..post(
                "/submissions",
                "Submits a commit to a pocket",
                Some(of::<api::submit::Submission>(s)),
                201,
                tried(s),
            )
        },
        Operation {
            query: &[DRY_RUN],
            ..post(
                "/promotions",
                "Submits to one pocket what another has",
                Some(of::<api::submit::Promotion>(s)),
                201,
                tried(s),
            )
        },
        Operation {
            query: &[DRY_RUN],
            ..post(
                "/rebuilds",
                "Builds once more what a pocket has",
                Some(of::<api::submit::Rebuild>(s)),
                201,
                tried(s),
            )
        },
        post(
            "/removals",
            "Takes a package out of a pocket",
            Some(of::<api::pocket::RemoveRequest>(s)),
            200,
            Some(of::<api::pocket::Removed>(s)),
        ),
        Operation {
            query: &[("for", "whose they are; default: the caller's own")],
            ..get("/tokens", "Lists tokens", list(of::<api::tokens::Token>(s)))
        },
        Operation {
            method: "delete",
            query: &[("for", "whose it is; default: the caller's own")],
            ..post("/tokens/{name}", "Ends a token", None, 200, Some(of::<api::tokens::Token>(s)))
        },
    ]
}

#[cfg(test)]
mod tests {
    use crate::http::openapi::*;

    #[test]
    fn the_document_that_is_checked_in_is_the_one_that_the_types_make() {
        let checked_in = include_str!("../../../docs/reference/openapi.json");
        let made = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/openapi.json");
            std::fs::write(path, &made).unwrap();
        }
        assert!(made == checked_in, "UPDATE_OPENAPI=1 makes this test write it anew");
    }
}
