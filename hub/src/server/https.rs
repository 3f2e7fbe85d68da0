//! Console and API over HTTPS: HTTP/1.1 alone, with a limit on connections and on silence.

mod connections;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::{Router, extract::DefaultBodyLimit};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tower_http::csrf::CsrfLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::{RequestBodyTimeoutLayer, TimeoutLayer};

use crate::console;
use crate::server::routes;
use crate::web::error;
use crate::web::state::App;

pub use crate::server::https::connections::Connections;

/// How long an answer may take to begin.
const ANSWER: Duration = Duration::from_mins(1);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long a connection may wait for its next one.
const HEADERS: Duration = Duration::from_secs(15);
/// How long a request's body may come to a halt.
const BODY: Duration = Duration::from_secs(15);
/// How long open connections may take to end when the hub stops.
const DRAIN: Duration = Duration::from_secs(3);
/// Bytes of a request, at most, where nothing else is said.
const REQUEST_BYTES: usize = 64 << 10;

/// Serves until told to stop.
pub async fn serve(
    listener: TcpListener,
    tls: ServerConfig,
    app: App,
    connections: Connections,
    stop: CancellationToken,
) -> Result<()> {
    listener.set_nonblocking(true)?;
    let handle = axum_server::Handle::new();
    let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
    let tls = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(tls)));
    let acceptor = tls.handshake_timeout(HANDSHAKE).acceptor(connections);
    // The builder that looks for HTTP/2 waits for a connection's first bytes without a limit. `acceptor` brings
    // it back, so it comes first.
    let mut server = axum_server::from_tcp(listener)?.acceptor(acceptor).http1_only().handle(handle.clone());
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    let server = server.serve(service);
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return ended.context("https"),
        () = stop.cancelled() => handle.graceful_shutdown(Some(DRAIN)),
    }
    server.await.context("https")
}

/// Console and API with what guards both.
fn router(app: App) -> Router {
    let header = |name: &'static str, value: &'static str| {
        SetResponseHeaderLayer::overriding(HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    Router::new()
        .merge(routes::router())
        .merge(console::router())
        .method_not_allowed_fallback(error::wrong_method)
        .fallback(error::unknown_path)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES))
        .layer(CsrfLayer::new())
        .layer(RequestBodyTimeoutLayer::new(BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, ANSWER))
        .layer(header("content-security-policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"))
        .layer(header("x-content-type-options", "nosniff"))
        .layer(header("referrer-policy", "same-origin"))
        .layer(header("cache-control", "no-store"))
        .with_state(app)
}
