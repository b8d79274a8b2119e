//! A running server: builds the engine, binds, accepts within bounds, and stops in order (sessions, then pipes and catalog, the dashboard last).

mod check;
mod configuration;
mod places;

pub use check::check;
pub use configuration::{Given, configuration};

use crate::config::Config;
use crate::demo;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::session::{Front, Peer, connect};
use crate::web::Web;
use places::{Place, Places};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest path of a Unix socket that the system takes.
const SOCKET_PATH_LIMIT: usize = 107;
/// How long the listener rests when the system refuses a connection for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long sessions have to say good-bye when the server ends.
const SESSION_FAREWELL: Duration = Duration::from_secs(5);

/// A server that is bound and serves.
pub struct Server {
    /// What it runs on.
    pub engine: Arc<Engine>,
    /// Where it listens, with the port that was taken.
    pub addresses: Vec<SocketAddr>,
    /// Its Unix socket, if it has one.
    pub socket: Option<PathBuf>,
    /// Its dashboard, if it has one.
    pub web: Option<Web>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Opens the data directory, binds and begins to serve. Errors: whatever prevents that; 22023 for an address that is not allowed yet.
    pub async fn start(config: Config) -> Result<Server> {
        let config = Arc::new(config);
        // what is taken is said before anything is opened
        let (listeners, web) = (bind(&config, "listen").await?, bind(&config, "http").await?);
        let engine = Engine::open(config.clone(), PathBuf::from(config.text("data"))).await?;
        match Self::serve(engine.clone(), &config, listeners, web) {
            Ok(server) => Ok(server),
            Err(e) => {
                engine.shutdown().await;
                Err(e)
            }
        }
    }

    fn serve(engine: Arc<Engine>, config: &Config, listeners: Vec<TcpListener>, web: Vec<TcpListener>) -> Result<Server> {
        for (setting, bound) in [("listen", &listeners), ("http", &web)] {
            let loopback = bound.iter().all(|l| l.local_addr().is_ok_and(|a| a.ip().is_loopback()));
            if engine.admin_password_is_generated() && !loopback {
                let e = Error::new(Kind::BadOption, format!("listening on {} is refused while the password is the generated one", config.text(setting)));
                return Err(e.with_hint("Start on 127.0.0.1 and run ALTER USER standpipe PASSWORD '...', or set STANDPIPE_PASSWORD at the first start."));
            }
            if setting == "listen" && !loopback && config.text("tls.cert").is_empty() && !config.flag("listen.plain-text") {
                let e = Error::new(Kind::BadOption, format!("listening on {} is refused without TLS", config.text(setting)));
                return Err(e.with_hint("Set tls.cert and tls.key, or listen.plain-text = on for a trusted network."));
            }
        }
        let front = Arc::new(Front::new(engine.clone())?);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let places = Arc::new(Places::new(config));
        let web = if web.is_empty() { None } else { Some(Web::serve(engine.clone(), web)?) };
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for listener in listeners {
            addresses.push(listener.local_addr()?);
            tasks.spawn(accept_tcp(listener, front.clone(), places.clone(), stop.clone(), tasks.clone()));
        }
        let port = addresses.first().map_or(0, SocketAddr::port);
        let socket = match config.flag("socket") {
            true => bind_socket(&engine.data_dir, port)?,
            false => None,
        };
        let path = socket.as_ref().map(|(_, path)| path.clone());
        if let Some((listener, path)) = socket {
            let own = std::fs::metadata(&path)?.uid();
            tasks.spawn(accept_unix(listener, own, front.clone(), places, stop.clone(), tasks.clone()));
        }
        let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let http = web.as_ref().and_then(Web::url);
        tracing::info!(listen = %list, http, socket = path.as_deref().map(|p| p.display().to_string()), version = env!("CARGO_PKG_VERSION"), "ready");
        Ok(Server { engine, addresses, socket: path, web, stop, tasks })
    }

    /// A line that connects psql.
    pub fn psql(&self) -> String {
        let port = self.addresses.first().map_or(0, SocketAddr::port);
        match self.socket.as_ref().and_then(|s| s.parent()) {
            Some(directory) => format!("psql -h {} -p {port} -U standpipe", directory.display()),
            None => format!("psql -h 127.0.0.1 -p {port} -U standpipe"),
        }
    }

    /// Ends: no new clients, sessions get 57P01, pipes flush, the catalog closes.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.web.iter().for_each(Web::stopping);
        self.engine.sessions.terminate_all();
        if tokio::time::timeout(SESSION_FAREWELL, self.tasks.wait()).await.is_err() {
            tracing::warn!("some sessions did not end in time");
        }
        if let Some(path) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
        self.engine.shutdown().await;
        if let Some(web) = self.web {
            web.shutdown().await;
        }
        tracing::info!("stopped");
    }
}

/// Binds all addresses that a setting names; none if it is empty. Errors: 22023 for what is no address, 58030 for one that is taken.
async fn bind(config: &Config, setting: &str) -> Result<Vec<TcpListener>> {
    let listen = config.text(setting);
    if listen.is_empty() && setting == "http" {
        return Ok(Vec::new());
    }
    let bad = |e: String| Error::new(Kind::BadOption, format!("invalid value for parameter \"{setting}\": \"{listen}\"")).with_detail(e).with_hint("Use an address and a port, such as 127.0.0.1:5433.");
    let asked: Vec<SocketAddr> = tokio::net::lookup_host(listen).await.map_err(|e| bad(e.to_string()))?.collect();
    if asked.is_empty() {
        return Err(bad("it names no address".into()));
    }
    let mut bound: Vec<TcpListener> = Vec::new();
    for mut address in asked {
        if let (0, Some(first)) = (address.port(), bound.first()) {
            // one port for all addresses of a name
            address.set_port(first.local_addr()?.port());
        }
        let failed = |e: std::io::Error| {
            let e = Error::new(Kind::Io, format!("could not listen on {address}")).with_detail(e.to_string()).because(e);
            e.with_hint(format!("Give another address with --{setting}; port 0 takes a free one."))
        };
        bound.push(TcpListener::bind(address).await.map_err(failed)?);
    }
    Ok(bound)
}

/// The Unix socket in the data directory, named after the port. A socket that is there is a dead server's: the directory is locked.
fn bind_socket(directory: &Path, port: u16) -> Result<Option<(UnixListener, PathBuf)>> {
    let path = directory.join(format!(".s.PGSQL.{port}"));
    if path.as_os_str().len() > SOCKET_PATH_LIMIT {
        tracing::warn!(path = %path.display(), limit = SOCKET_PATH_LIMIT, "no Unix socket: its path would be too long");
        return Ok(None);
    }
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
    Ok(Some((listener, path)))
}

async fn accept_tcp(listener: TcpListener, front: Arc<Front>, places: Arc<Places>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => spawn(Peer::Tcp(stream, address), &front, &places, &stop, &tasks),
            Err(e) => rest(&places, &e).await,
        }
    }
}

async fn accept_unix(listener: UnixListener, own: u32, front: Arc<Front>, places: Arc<Places>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let trusted = stream.peer_cred().is_ok_and(|c| c.uid() == own);
                spawn(Peer::Unix(stream, trusted), &front, &places, &stop, &tasks);
            }
            Err(e) => rest(&places, &e).await,
        }
    }
}

async fn rest(places: &Places, e: &std::io::Error) {
    places.note(&e.to_string());
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// One task per client. The place among those that log in is given back once it has.
fn spawn(peer: Peer, front: &Arc<Front>, places: &Places, stop: &CancellationToken, tasks: &TaskTracker) {
    let from = match &peer {
        Peer::Tcp(_, address) => Some(address.ip()),
        Peer::Unix(..) => None,
    };
    let Some(Place { connection, startup }) = places.take(from) else {
        return places.refuse(front, peer, tasks);
    };
    let (front, stop) = (front.clone(), stop.clone());
    tasks.spawn(async move {
        let session = tokio::select! {
            session = connect(&front, peer) => session,
            () = stop.cancelled() => None,
        };
        drop(startup);
        if let Some(session) = session {
            session.serve().await;
        }
        drop(connection);
    });
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Serves until a signal ends it; a second one ends it at once.
pub async fn serve(config: Config) -> Result<()> {
    let mut signals = Signals::new()?;
    let server = tokio::select! {
        server = Server::start(config) => server?,
        _ = signals.next() => return Ok(()),
    };
    let name = signals.next().await;
    tracing::info!(signal = name, "stopping");
    tokio::select! {
        () = server.shutdown() => Ok(()),
        name = signals.next() => Err(Error::new(Kind::ShuttingDown, format!("ended at once by a second {name}"))),
    }
}

/// A server with a generator source and a running pipe into the lake, and a live line of progress, until a signal ends it.
pub async fn demo(config: Config) -> Result<()> {
    let mut signals = Signals::new()?;
    let server = Server::start(config).await?;
    demo::set_up(&server.engine).await?;
    let done = CancellationToken::new();
    let progress = tokio::spawn(demo::progress(server.engine.clone(), server.psql(), server.web.as_ref().and_then(Web::url), done.clone()));
    signals.next().await;
    done.cancel();
    let _ = progress.await;
    tokio::select! {
        () = server.shutdown() => Ok(()),
        name = signals.next() => Err(Error::new(Kind::ShuttingDown, format!("ended at once by a second {name}"))),
    }
}
