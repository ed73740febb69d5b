//! `/healthz`, `/readyz` and `/metrics`: what the kubelet and Prometheus ask the operator.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The media type of the metrics.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What there is to ask.
pub trait Probes: Send + Sync + 'static {
    /// The process need not be restarted.
    fn is_alive(&self) -> bool;
    /// The process can do its work, or stands by to do it.
    fn is_ready(&self) -> bool;
    /// The metrics as text.
    fn metrics(&self) -> String;
}

/// Serves the probes until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, probes: Arc<dyn Probes>, stop: CancellationToken) -> std::io::Result<()> {
    let (alive, ready, metrics) = (Arc::clone(&probes), Arc::clone(&probes), probes);
    let router = Router::new()
        .route("/healthz", get(move || std::future::ready(told(alive.is_alive()))))
        .route("/readyz", get(move || std::future::ready(told(ready.is_ready()))))
        .route(
            "/metrics",
            get(move || std::future::ready(([(header::CONTENT_TYPE, OPENMETRICS)], metrics.metrics()).into_response())),
        );
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn told(holds: bool) -> Response {
    if holds { "ok\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, "not yet\n").into_response() }
}
