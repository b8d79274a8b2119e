//! One client: how it logs in, what it sends, what it gets back. The only user of pgwire.
//!
//! `startup` brings a connection to a [`Session`]; [`Session::serve`] reads its messages until it ends. `query` (simple protocol) and
//! `extended` run statements through `statement`; what a statement gives goes through `rows` or `copy` and `encode` to the `wire`.

mod auth;
mod cancel;
mod copy;
mod cursors;
pub mod decode;
pub mod encode;
mod extended;
pub mod message;
mod own;
mod query;
mod reply;
mod rows;
mod settings;
mod startup;
mod statement;
mod tls;
mod transaction;
mod wire;

pub use auth::Logins;
pub use cancel::CancelKeys;
pub use startup::{Peer, connect, refuse};
pub use tls::Tls;
pub use wire::Bounds;

use crate::config::Config;
use crate::engine::{Engine, LiveSession, SessionGuard};
use crate::error::{Error, Kind, Result};
use crate::metrics::PROGRAM;
use crate::plan::{Block, Notice, SessionState, options::is_secret};
use cursors::Cursors;
use message::Message;
use settings::Settings;
use standpipe_grammar::Parsed;
use statement::{Portal, Statements};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wire::{Closed, Fail, Watch, Wire};

/// What all sessions share.
pub struct Front {
    /// The server.
    pub engine: Arc<Engine>,
    /// Its settings.
    pub config: Arc<Config>,
    /// TLS, if it is set up.
    pub tls: Option<Tls>,
    /// Keys of cancel requests.
    pub keys: CancelKeys,
    /// Logins.
    pub logins: Logins,
    /// Places for sessions: `max_connections`.
    pub places: Arc<Semaphore>,
    /// Bounds of each connection.
    pub bounds: Bounds,
    last_pid: AtomicI32,
}

impl Front {
    /// Reads what sessions need from the settings. Errors: TLS that does not work.
    pub fn new(engine: Arc<Engine>) -> Result<Front> {
        let config = engine.config.clone();
        let bounds = Bounds {
            message: config.size("max_message_size"),
            send: config.size("send_buffer"),
            receive: config.size("receive_buffer"),
            stall: config.duration("send_timeout"),
        };
        let places = Arc::new(Semaphore::new(config.count("max_connections")));
        let (tls, logins) = (Tls::load(&config)?, Logins::new(&config, engine.guesses.clone(), &engine.catalog.snapshot().keyring().derived()));
        Ok(Front { engine, config, tls, keys: CancelKeys::default(), logins, places, bounds, last_pid: AtomicI32::new(0) })
    }
    fn next_pid(&self) -> i32 {
        // wraps only after two thousand million sessions
        self.last_pid.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX
    }
}

/// One logged-in client.
pub struct Session {
    engine: Arc<Engine>,
    wire: Wire,
    state: SessionState,
    settings: Settings,
    statements: Statements,
    portals: HashMap<String, Portal>,
    cursors: Cursors,
    /// `max_prepared_statements`
    most_statements: usize,
    /// After an error of the extended protocol: everything up to Sync is passed over.
    skipping: bool,
    /// The text that positions of errors of the extended protocol are counted in.
    text: Option<Arc<str>>,
    live: SessionGuard,
    _key: cancel::CancelKey,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Session {
    fn new(front: &Front, wire: Wire, ready: startup::Ready) -> Session {
        let startup::Ready { role, database, settings, client_addr, pid, key, place, terminate } = ready;
        let application_name = settings.text("application_name").to_string();
        PROGRAM.sessions.add(1);
        let live = front.engine.sessions.register(LiveSession {
            pid,
            user: role.name.clone(),
            database: database.clone(),
            application_name: application_name.clone(),
            client_addr: client_addr.clone(),
            backend_start: SystemTime::now(),
            state: "idle",
            query: String::new(),
            query_start: None,
            cancel: CancellationToken::new(),
            terminate,
        });
        let state = SessionState {
            pid,
            user: role.name,
            admin: role.admin,
            database,
            settings,
            block: Block::None,
            client_addr,
            application_name,
            cancel: CancellationToken::new(),
        };
        Session {
            engine: front.engine.clone(),
            wire,
            settings: Settings::new(&state.settings),
            state,
            statements: Statements::default(),
            portals: HashMap::new(),
            cursors: Cursors::default(),
            most_statements: front.config.count("max_prepared_statements"),
            skipping: false,
            text: None,
            live,
            _key: key,
            _place: place,
        }
    }

    /// Serves the client until it or the server ends the session. What the session holds is let go of on return.
    pub async fn serve(mut self) {
        let closed = match self.ready().await {
            Ok(()) => self.conversation().await,
            Err(closed) => closed,
        };
        if let Closed::Fatal(e) = closed {
            self.wire.fatal(&e).await;
        }
    }

    async fn conversation(&mut self) -> Closed {
        loop {
            let message = match self.next().await {
                Ok(message) => message,
                Err(closed) => return closed,
            };
            let outcome = match message {
                Ok(Message::Terminate) => return Closed::Gone,
                Ok(message) => self.answer(message).await,
                Err((b'Q' | b'F', e)) if !self.skipping => {
                    self.failed();
                    match self.report(&e, None) {
                        Ok(()) => self.ready().await,
                        Err(closed) => Err(closed),
                    }
                }
                // what is passed over is not looked at
                Err((kind, _)) if self.skipping && kind != b'S' => Ok(()),
                Err((_, e)) => self.fail_extended(Fail::Statement(e)).await,
            };
            if let Err(closed) = outcome {
                return closed;
            }
        }
    }

    /// The next message, unless the session ends or has sat idle for too long.
    async fn next(&mut self) -> Result<Result<Message, (u8, Error)>, Closed> {
        let (limit, e) = if self.state.in_block() {
            let e = Error::new(Kind::IdleInTransaction, "terminating connection due to idle-in-transaction timeout");
            (self.state.settings.duration("idle_in_transaction_session_timeout"), e)
        } else {
            let e = Error::new(Kind::IdleSession, "terminating connection due to idle-session timeout");
            (self.state.settings.duration("idle_session_timeout"), e)
        };
        let idle = async {
            if limit.is_zero() { std::future::pending().await } else { tokio::time::sleep(limit).await }
        };
        let terminate = self.wire.terminate.clone();
        tokio::select! {
            biased;
            () = terminate.cancelled() => Err(Closed::Fatal(reply::terminated())),
            message = self.wire.message() => message,
            () = idle => Err(Closed::Fatal(e)),
        }
    }

    async fn answer(&mut self, message: Message) -> Result<(), Closed> {
        if self.skipping && !matches!(message, Message::Sync) {
            return Ok(());
        }
        let outcome = match message {
            Message::Query(query) => return self.simple(query).await,
            Message::Sync => return self.sync().await,
            Message::Flush => return self.wire.flush().await,
            Message::Parse { name, query, types } => self.parse(&name, &query, &types).await,
            Message::Bind(bind) => self.bind(bind),
            Message::Describe(target) => self.describe(&target),
            Message::Execute { portal, max_rows } => {
                let began = Instant::now();
                let outcome = self.execute(&portal, max_rows).await;
                PROGRAM.statement(began.elapsed());
                outcome
            }
            Message::Close(target) => self.close(&target),
            Message::CopyRemains | Message::Terminate => Ok(()),
        };
        match outcome {
            Ok(()) => self.wire.flush_full().await,
            Err(fail) => self.fail_extended(fail).await,
        }
    }

    /// An error of an extended message: reported at once, then everything up to Sync is passed over.
    async fn fail_extended(&mut self, fail: Fail) -> Result<(), Closed> {
        match fail {
            Fail::Connection(closed) => Err(closed),
            Fail::Statement(e) => {
                self.skipping = true;
                self.failed();
                let text = self.text.take();
                self.report(&e, text.as_deref())?;
                self.wire.flush().await
            }
        }
    }

    fn report(&mut self, e: &Error, text: Option<&str>) -> Result<(), Closed> {
        if e.kind() == Kind::Internal {
            tracing::error!(pid = self.state.pid, error = %e, cause = ?std::error::Error::source(e), "internal error");
        }
        PROGRAM.error(e.sqlstate());
        reply::error(&mut self.wire, "ERROR", e, text).map_err(Closed::Fatal)
    }

    /// Sends remarks, those that the client wants to see.
    fn remark(&mut self, notices: &[Notice], text: Option<&str>) -> Result<()> {
        let least = self.state.settings.text("client_min_messages");
        notices.iter().try_for_each(|n| reply::notice(&mut self.wire, n, text, least))
    }

    /// ReadyForQuery, with the settings that have changed before it.
    async fn ready(&mut self) -> Result<(), Closed> {
        self.settings.tell(&self.state.settings, &mut self.wire).map_err(Closed::Fatal)?;
        let name = self.state.settings.text("application_name");
        if name != self.state.application_name {
            self.state.application_name = name.to_string();
        }
        let status = self.status();
        let (shown, name) = (match status { b'T' => "idle in transaction", b'E' => "idle in transaction (aborted)", _ => "idle" }, &self.state.application_name);
        self.live.update(|live| {
            live.state = shown;
            if live.application_name != *name {
                live.application_name.clone_from(name);
            }
        });
        reply::ready(&mut self.wire, status).map_err(Closed::Fatal)?;
        self.wire.flush().await
    }

    /// A statement begins: others see it, and it can be cancelled.
    fn watch_for(&mut self, parsed: &Parsed) -> Watch {
        self.active(&parsed.redacted(&is_secret))
    }

    fn active(&mut self, shown: &str) -> Watch {
        let watch = self.watch_again();
        self.live.update(|live| {
            (live.state, live.query_start) = ("active", Some(SystemTime::now()));
            live.query = shown.to_string();
        });
        watch
    }

    /// The same statement goes on, with a new deadline.
    fn watch_again(&mut self) -> Watch {
        let cancel = CancellationToken::new();
        self.state.cancel = cancel.clone();
        self.live.update(|live| live.cancel = cancel.clone());
        let limit: Duration = self.state.settings.duration("statement_timeout");
        Watch { cancel, deadline: (!limit.is_zero()).then(|| Instant::now() + limit) }
    }
}
