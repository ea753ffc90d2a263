//! The three files of the console: a style sheet, a script and an icon. Their address carries their hash.

use std::sync::OnceLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::query::folder::hex;

/// One file, compiled in.
pub(super) struct Asset {
    stem: &'static str,
    extension: &'static str,
    content_type: &'static str,
    text: &'static str,
    address: OnceLock<String>,
}

impl Asset {
    const fn new(
        stem: &'static str,
        extension: &'static str,
        content_type: &'static str,
        text: &'static str,
    ) -> Self {
        Self { stem, extension, content_type, text, address: OnceLock::new() }
    }

    /// Its address.
    pub(super) fn address(&self) -> &str {
        self.address.get_or_init(|| {
            let hash = hex(&Sha256::digest(self.text.as_bytes()));
            format!("/assets/{}-{}.{}", self.stem, &hash[..12], self.extension)
        })
    }
}

/// The style sheet.
pub(super) static STYLE: Asset =
    Asset::new("console", "css", "text/css; charset=utf-8", include_str!("assets/console.css"));

/// The script.
pub(super) static SCRIPT: Asset =
    Asset::new("console", "js", "text/javascript; charset=utf-8", include_str!("assets/console.js"));

/// The icon.
pub(super) static ICON: Asset =
    Asset::new("favicon", "svg", "image/svg+xml", include_str!("assets/favicon.svg"));

/// Serves one of the three; nothing is looked up on a disk.
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let asset = [&STYLE, &SCRIPT, &ICON]
        .into_iter()
        .find(|asset| asset.address().strip_prefix("/assets/") == Some(name.as_str()));
    match asset {
        Some(asset) => (
            [
                (header::CONTENT_TYPE, asset.content_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ],
            asset.text,
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
