//! What machines ask: is it alive, is it ready, its metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;

use super::App;
use super::traffic::TrafficCollector;
use crate::observe::metrics::{Format, scrape};

/// The process is there.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 while work is done as it comes, else 503; one word either way.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Response {
    let state = app.telemetry.health().state;
    let status = if state.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{}\n", state.name()))
        .into_response()
}

/// For Prometheus.
pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let traffic: Box<dyn Collector> = Box::new(TrafficCollector(Arc::clone(&app.traffic)));
    match scrape(&app.telemetry, [traffic], format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
