//! `/healthz`, `/readyz` and `/metrics`, for the kubelet and Prometheus.
//!
//! Every pod in the cluster may be able to connect. So idle connections are closed, no connection lasts forever, and if there are
//! too many, the oldest is closed for the newest: a client that holds connections cannot block the probes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// The media type of the metrics.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The timeout for the head of a request, including the idle time before it. Prometheus usually scrapes more often, and reconnects
/// if it does not.
const HEAD: Duration = Duration::from_secs(65);
/// The maximum duration of a connection. Clients reconnect.
const CONNECTION: Duration = Duration::from_mins(10);
/// The maximum number of connections.
const CONNECTIONS: usize = 64;
/// The maximum length of the head of a request.
const HEAD_BYTES: usize = 16 << 10;

/// The source of the answers.
pub(crate) trait Probes: Send + Sync + 'static {
    /// Whether the process is alive. If not, it has to be restarted.
    fn is_alive(&self) -> bool;
    /// Whether the process can do its work, or is on standby.
    fn is_ready(&self) -> bool;
    /// The metrics as text.
    fn metrics(&self) -> String;
}

/// Limits for clients.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    head: Duration,
    connection: Duration,
    connections: usize,
}

/// Serves the probes until `stop`.
pub(crate) async fn serve(listener: TcpListener, probes: Arc<dyn Probes>, stop: CancellationToken) {
    let bounds = Bounds { head: HEAD, connection: CONNECTION, connections: CONNECTIONS };
    serve_within(bounds, listener, probes, stop).await;
}

async fn serve_within(bounds: Bounds, listener: TcpListener, probes: Arc<dyn Probes>, stop: CancellationToken) {
    let router = router(probes);
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // The client has disconnected already, or too many files are open, some of which will be closed.
                    tracing::debug!(%error, "accepting a connection to the probes");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        open.retain(|connection| !connection.is_finished());
        while open.len() >= bounds.connections
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let connection = tokio::spawn(connection(stream, router.clone(), bounds, stop.clone()));
        open.push_back(connection.abort_handle());
    }
}

async fn connection(stream: TcpStream, router: Router, bounds: Bounds, stop: CancellationToken) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    tokio::select! {
        _ = &mut served => return,
        () = tokio::time::sleep(bounds.connection) => return,
        () = stop.cancelled() => served.as_mut().graceful_shutdown(),
    }
    // Requests that arrived before the end are still answered.
    let _ = tokio::time::timeout(Duration::from_secs(1), served).await;
}

fn router(probes: Arc<dyn Probes>) -> Router {
    let (alive, ready, metrics) = (Arc::clone(&probes), Arc::clone(&probes), probes);
    Router::new()
        .route("/healthz", get(move || std::future::ready(answer(alive.is_alive()))))
        .route("/readyz", get(move || std::future::ready(answer(ready.is_ready()))))
        .route(
            "/metrics",
            get(move || std::future::ready(([(header::CONTENT_TYPE, OPENMETRICS)], metrics.metrics()).into_response())),
        )
}

fn answer(holds: bool) -> Response {
    if holds { "ok\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, "not yet\n").into_response() }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Fine;

    impl Probes for Fine {
        fn is_alive(&self) -> bool {
            true
        }

        fn is_ready(&self) -> bool {
            false
        }

        fn metrics(&self) -> String {
            "# EOF\n".repeat(200_000)
        }
    }

    const BOUNDS: Bounds =
        Bounds { head: Duration::from_millis(300), connection: Duration::from_secs(30), connections: 8 };

    async fn started(bounds: Bounds) -> (std::net::SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(serve_within(bounds, listener, Arc::new(Fine), stop.clone()));
        (address, stop)
    }

    async fn asked(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// How long until the other end closes.
    async fn closes(stream: &mut TcpStream) -> Duration {
        let began = tokio::time::Instant::now();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "it is still open");
        began.elapsed()
    }

    #[tokio::test]
    async fn the_probes_say_how_it_is() {
        let (address, _stop) = started(BOUNDS).await;
        assert!(asked(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(asked(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        let metrics = asked(address, "/metrics").await;
        assert!(metrics.contains(OPENMETRICS) && metrics.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn who_says_nothing_or_goes_on_for_ever_is_cut_off() {
        let (address, _stop) = started(BOUNDS).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        assert!(closes(&mut silent).await < Duration::from_secs(10));
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: ").await.unwrap();
        assert!(closes(&mut slow).await < Duration::from_secs(10));
        // An answer that is not read.
        let (address, _stop) = started(Bounds { connection: Duration::from_millis(300), ..BOUNDS }).await;
        let mut deaf = TcpStream::connect(address).await.unwrap();
        deaf.write_all(&b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        let mut read = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), deaf.read_to_end(&mut read)).await.unwrap();
        assert!(read.len() < 50 * 6 * 200_000, "it was served to the end");
    }

    #[tokio::test]
    async fn who_holds_connections_keeps_no_probe_out() {
        let (address, _stop) = started(Bounds { head: Duration::from_mins(1), ..BOUNDS }).await;
        let mut held = Vec::new();
        for _ in 0..3 * BOUNDS.connections {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(asked(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(closes(&mut held[0]).await < Duration::from_secs(10), "the oldest gave way");
    }
}
