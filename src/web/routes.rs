//! Which URL is which page, and what each answer says to browsers about itself.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode, Uri};
use tower_service::Service;

use crate::app::WebApp;
use crate::arrival::{Arrival, Peer, Stranger};
use crate::assets;
use crate::live::events;
use crate::pages::{
    job, jobs, log, login, overview, packages, pockets, search, statistics, steer, tokens,
};
use crate::refusal::Refused;
use crate::relay::relay;
use crate::visit::Visit;

/// The longest form, in bytes.
const MAX_FORM: usize = 64 << 10;

/// What pages may have and do. No script and no style stands in a page itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// All pages, and the API.
#[derive(Clone)]
pub struct Site {
    app: Arc<WebApp>,
    router: Router,
}

impl Site {
    /// Puts the pages together.
    pub fn new(app: Arc<WebApp>) -> Self {
        let router = Router::new()
            .route("/", get(overview::overview))
            .route("/packages", get(packages::packages))
            .route("/packages/{name}", get(packages::package))
            .route("/jobs", get(jobs::jobs))
            .route("/jobs/{id}", get(job::job))
            .route("/jobs/{id}/explain", get(job::explain))
            .route("/jobs/{id}/log", get(log::log))
            .route("/jobs/{id}/log/map", get(log::map))
            .route("/jobs/{id}/events", get(events::job))
            .route("/jobs/{id}/cancel", post(steer::cancel))
            .route("/jobs/{id}/retry", post(steer::retry))
            .route("/events", get(events::changes))
            .route("/mine", get(jobs::mine))
            .route("/tokens", get(tokens::tokens))
            .route("/tokens/{name}/revoke", post(tokens::revoke))
            .route("/pockets", get(pockets::pockets))
            .route("/pockets/{name}", get(pockets::pocket))
            .route("/pockets/{name}/snapshots/{from}/{to}", get(pockets::snapshots))
            .route("/differences", get(pockets::differences))
            .route("/search", get(search::search))
            .route("/statistics", get(statistics::statistics))
            .route("/submit", get(steer::form).post(steer::submit))
            .route("/promote", post(steer::promote))
            .route("/rebuild", post(steer::rebuild))
            .route("/remove", post(steer::remove))
            .route("/login", get(login::login))
            .route("/logout", get(login::leave).post(login::logout))
            .route("/assets/{name}", get(assets::serve))
            .fallback(nothing)
            .layer(DefaultBodyLimit::max(MAX_FORM))
            .route("/api/v1/{*rest}", any(relay))
            .route("/metrics", get(relay))
            .route("/healthz", get(relay))
            .with_state(app.clone());
        Self { app, router }
    }

    /// Answers a request that has come over a connection.
    pub async fn answer(self, peer: Peer, mut request: Request<Body>) -> Response {
        let arrival = match Arrival::of(&self.app.settings, peer, request.headers()) {
            Ok(arrival) => arrival,
            Err(stranger) => return refuse(stranger),
        };
        if let Some(uri) = below(request.uri(), &self.app.settings.prefix) {
            *request.uri_mut() = uri;
        }
        let is_ours = self.app.settings.tls.is_some();
        request.extensions_mut().insert(arrival);
        let mut router = self.router;
        let mut response = match router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let headers = response.headers_mut();
        headers.entry(CONTENT_SECURITY_POLICY).or_insert_with(|| HeaderValue::from_static(POLICY));
        for (name, value) in [
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "same-origin"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if is_ours {
            let year = HeaderValue::from_static("max-age=31536000");
            headers.insert(STRICT_TRANSPORT_SECURITY, year);
        }
        response
    }
}

/// Answers somebody who does not come by a proxy that we trust.
fn refuse(Stranger(address): Stranger) -> Response {
    let text = format!(
        "{address} is not one of http.trusted, which alone are served here: go by the proxy\n"
    );
    (StatusCode::FORBIDDEN, text).into_response()
}

/// Takes our prefix away from an URL, if it is there. A proxy may have done so before.
fn below(uri: &Uri, prefix: &str) -> Option<Uri> {
    let rest =
        uri.path_and_query()?.as_str().strip_prefix(prefix).filter(|_| !prefix.is_empty())?;
    let rest = match rest.chars().next() {
        Some('/') => rest.to_owned(),
        None | Some('?') => format!("/{rest}"),
        Some(_) => return None,
    };
    let path: PathAndQuery = rest.parse().ok()?;
    Uri::builder().path_and_query(path).build().ok()
}

#[allow(clippy::unused_async, reason = "handlers are")]
async fn nothing(visit: Visit) -> Refused {
    visit.nothing("there is no such page")
}

#[cfg(test)]
mod tests {
    use crate::routes::*;

    #[test]
    fn a_prefix_is_taken_away_where_it_is_whole() {
        for (path, rest) in [
            ("/build/jobs?a=b", Some("/jobs?a=b")),
            ("/build", Some("/")),
            ("/build?x", Some("/?x")),
            ("/build/", Some("/")),
            ("/builder", None),
            ("/jobs", None),
        ] {
            let below = below(&path.parse().unwrap(), "/build").map(|uri| uri.to_string());
            assert_eq!(below.as_deref(), rest, "{path}");
        }
        assert_eq!(below(&"/jobs".parse().unwrap(), ""), None);
    }

    #[test]
    fn all_pages_can_be_put_together() {
        Site::new(Arc::new(WebApp::new(crate::arrival::tests::settings())));
    }
}
