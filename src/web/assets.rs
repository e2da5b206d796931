//! The style sheet and the script. The names of their files have their hashes, so browsers may keep
//! them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sha2::{Digest, Sha256};

use invirtibuilder_core::text::hex;

/// A file that is part of the program.
pub struct Asset {
    /// The path at which it is served.
    pub path: String,
    kind: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(name: &str, suffix: &str, kind: &'static str, text: &'static str) -> Self {
        let hash = hex(&Sha256::digest(text)[..8]);
        Self { path: format!("/assets/{name}.{hash}.{suffix}"), kind, text }
    }
}

/// Returns the style sheet.
pub fn style() -> &'static Asset {
    static STYLE: LazyLock<Asset> = LazyLock::new(|| {
        Asset::new("style", "css", "text/css; charset=utf-8", include_str!("assets/style.css"))
    });
    &STYLE
}

/// Returns the script.
pub fn script() -> &'static Asset {
    static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
        let text = include_str!("assets/page.js");
        Asset::new("page", "js", "text/javascript; charset=utf-8", text)
    });
    &SCRIPT
}

/// Serves one of them.
#[allow(clippy::unused_async, reason = "handlers are")]
pub async fn serve(Path(name): Path<String>) -> Response {
    let path = format!("/assets/{name}");
    match [style(), script()].into_iter().find(|asset| asset.path == path) {
        Some(asset) => {
            let keep = "public, max-age=31536000, immutable";
            ([(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, keep)], asset.text).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
