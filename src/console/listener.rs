//! Connections: their number, how long a browser may take to ask, and how the console ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at once; others wait.
const MAX_CONNECTIONS: usize = 64;

/// For how long a browser may take to send the head of a request; between requests too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of the head of a request.
const MAX_HEAD: usize = 8 * 1024;

/// Headers of a request.
const MAX_HEADERS: usize = 64;

/// For how long a connection may stay open.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);

/// Serves until its task is dropped.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    // Whoever holds a connection for longer reconnects.
                    let _ = tokio::time::timeout(CONNECTION_LIFE, connection(stream, address, router)).await;
                    drop(place);
                });
            }
            // Out of file descriptors, most likely: it passes.
            Err(error) => {
                tracing::debug!("the console could not accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, address: SocketAddr, router: Router) {
    let service = TowerToHyperService::new(router.layer(Extension(ConnectInfo(address))));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("console, {address}: {error}");
    }
}
