//! Connections: so many at once, each with a time for its requests and a time to live. More wait at the door.

use super::{Shared, answer};
use crate::config::Config;
use crate::error::Result;
use crate::tls::ServerTls;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The least head of a request that the library can be held to.
const LEAST_HEAD: usize = 8192;
/// How long the listener rests when the system refuses a connection for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long an answer under way is given when the server ends. Browsers keep connections open on which they have said nothing yet.
pub const FAREWELL: Duration = Duration::from_secs(1);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// TLS with the server's certificate, if it has one.
pub fn tls(config: &Config) -> Result<Option<TlsAcceptor>> {
    let Some(mut tls) = ServerTls::load(config)? else { return Ok(None) };
    tls.config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(tls.config))))
}

/// What all connections share.
#[derive(Clone)]
pub struct Door {
    router: Router,
    tls: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
    head: usize,
    patience: Duration,
    lifetime: Duration,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Door {
    /// Reads the settings.
    pub fn new(config: &Config, shared: Arc<Shared>, tls: Option<TlsAcceptor>, stop: CancellationToken, tasks: TaskTracker) -> Door {
        Door {
            router: answer::router(shared),
            tls,
            places: Arc::new(Semaphore::new(config.count("http.max-connections"))),
            head: config.size("http.max-request-size").max(LEAST_HEAD),
            patience: config.duration("http.request-timeout"),
            lifetime: config.duration("http.connection-lifetime"),
            stop,
            tasks,
        }
    }

    /// Takes connections until the server ends.
    pub async fn open(self, listener: TcpListener) {
        loop {
            let places = self.places.clone();
            let next = async { (places.acquire_owned().await, listener.accept().await) };
            let (place, accepted) = tokio::select! {
                () = self.stop.cancelled() => return,
                next = next => next,
            };
            match (place, accepted) {
                (Ok(place), Ok((stream, address))) => {
                    let me = self.clone();
                    self.tasks.spawn(async move {
                        me.take(stream, address.ip()).await;
                        drop(place);
                    });
                }
                (_, Err(e)) => {
                    tracing::warn!(error = %e, "a connection to the dashboard was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                (Err(_), _) => return,
            }
        }
    }

    async fn take(self, stream: TcpStream, from: IpAddr) {
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.serve(stream, from).await,
            Some(tls) => {
                if let Ok(Ok(stream)) = tokio::time::timeout(self.patience, tls.accept(stream)).await {
                    self.serve(stream, from).await;
                }
            }
        }
    }

    /// Answers requests until the client has gone, or its time is over: then the answer under way is sent, and no other.
    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, from: IpAddr) {
        let service = TowerToHyperService::new(self.router.clone().layer(Extension(Peer(from))));
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(self.patience).max_buf_size(self.head);
        let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
        let patience = tokio::select! {
            outcome = connection.as_mut() => return gone(outcome),
            () = tokio::time::sleep(self.lifetime) => self.patience,
            () = self.stop.cancelled() => FAREWELL,
        };
        connection.as_mut().graceful_shutdown();
        if let Ok(outcome) = tokio::time::timeout(patience, connection).await {
            gone(outcome);
        }
    }
}

/// A client that breaks off or sends what is no request is not worth more than a word for debugging.
fn gone(outcome: hyper::Result<()>) {
    if let Err(e) = outcome {
        tracing::debug!(error = %e, "a connection to the dashboard broke off");
    }
}
