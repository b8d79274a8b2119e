//! The dashboard, `/metrics` and `/healthz`: read only, over the system views, with the rights of `standpipe_read` or of who has logged in.
//!
//! `door` takes connections within bounds, `guard` says who may see it, `answer` has the paths, `state` turns views into JSON, `history`
//! remembers the last minutes for the charts. The page is one document with its style and its script, embedded; it loads nothing from elsewhere.

mod answer;
mod door;
mod guard;
mod history;
mod state;

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::rights::PredefinedRole;
use crate::views::ViewContext;
use guard::Guard;
use history::History;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What all requests share.
struct Shared {
    engine: Arc<Engine>,
    guard: Guard,
    history: History,
    stopping: AtomicBool,
}

impl Shared {
    /// The views as a role sees them now.
    fn views(&self, role: &str) -> ViewContext {
        ViewContext::new(self.engine.clone(), self.engine.catalog.snapshot(), role.to_string(), self.engine.config.clone())
    }
    /// As those see them who may read all of them and nothing else.
    fn all_views(&self) -> ViewContext {
        self.views(PredefinedRole::Read.name())
    }
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// The dashboard of a running server.
pub struct Web {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    scheme: &'static str,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Web {
    /// Begins to serve on these listeners. Errors: 22023 for an address that is not allowed yet, or TLS that does not work.
    pub fn serve(engine: Arc<Engine>, listeners: Vec<TcpListener>) -> Result<Web> {
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<std::io::Result<Vec<_>>>()?;
        let config = engine.config.clone();
        let loopback = addresses.iter().all(|a| a.ip().is_loopback());
        let tls = if loopback { None } else { door::tls(&config)? };
        if !loopback && tls.is_none() && !config.flag("http.plain-text") {
            let e = Error::new(Kind::BadOption, format!("serving the dashboard on {} without TLS is refused", config.text("http")));
            return Err(e.with_hint("Set tls.cert and tls.key, or http.plain-text = on where the network is trusted or a proxy does TLS."));
        }
        let (guard, scheme) = (Guard::new(&config, loopback), if tls.is_some() { "https" } else { "http" });
        let shared = Arc::new(Shared { engine, guard, history: History::new(&config), stopping: AtomicBool::new(false) });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let door = door::Door::new(&config, shared.clone(), tls, stop.clone(), tasks.clone());
        for listener in listeners {
            tasks.spawn(door.clone().open(listener));
        }
        tasks.spawn(history::watch(shared.clone(), stop.clone()));
        Ok(Web { addresses, scheme, shared, stop, tasks })
    }

    /// A link to it, if it listens.
    pub fn url(&self) -> Option<String> {
        self.addresses.first().map(|a| format!("{}://{a}/", self.scheme))
    }

    /// From now on it says that the server is not ready.
    pub fn stopping(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }

    /// Ends: answers that are under way are sent, within a moment.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(2 * door::FAREWELL, self.tasks.wait()).await.is_err() {
            tracing::warn!("some connections to the dashboard did not end in time");
        }
    }
}
