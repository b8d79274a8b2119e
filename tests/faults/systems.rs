//! The servers that pipes stand between, as the fault tests need them: where they are, how to talk to them, and how to be cruel to them. A new
//! system is one more implementation of [`System`]; workload, invariants and every kind of fault come with it.

use crate::support::postgres::Postgres;
use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_postgres::SimpleQueryMessage;

/// Values of a row as text.
pub type Row = Vec<Option<String>>;

/// A server that is a source or a target.
#[async_trait]
pub trait System: Send + Sync {
    /// Where it listens.
    fn port(&self) -> u16;
    /// The options of CREATE SOURCE that reach it through a port of somebody between.
    fn options(&self, port: u16) -> String;
    /// A session past any proxy, in the database that the tables are in.
    async fn session(&self) -> Result<Box<dyn Session>, String>;
    /// SIGKILL for every process of it.
    async fn kill(&self);
    /// Starts it again; returns when it answers.
    async fn restart(&self);
    /// Every process of it.
    async fn processes(&self) -> Vec<u32>;
    /// Where its log is.
    fn log(&self) -> PathBuf;
    /// Statements around a block's own that make it a prepared transaction, where there is such a thing.
    fn two_phase(&self, name: &str) -> Option<(String, String)>;
    /// Options of the extractor without which what is looked at would not hold at every moment.
    fn extractor(&self) -> &'static str {
        ""
    }
    /// One statement or several, in a session of its own.
    async fn run(&self, sql: &str) -> Result<(), String> {
        self.session().await?.rows(sql).await.map(|_| ())
    }
    /// The rows of a query, in a session of its own.
    async fn rows(&self, sql: &str) -> Result<Vec<Row>, String> {
        self.session().await?.rows(sql).await
    }
    /// The first value of a query.
    async fn value(&self, sql: &str) -> Result<String, String> {
        let rows = self.rows(sql).await?;
        rows.into_iter().next().and_then(|r| r.into_iter().next()).flatten().ok_or_else(|| format!("{sql}: no value"))
    }
}

/// A session with a server, or with whatever else answers SQL.
#[async_trait]
pub trait Session: Send {
    /// Runs statements; the rows of all of them.
    async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, String>;
}

/// A private PostgreSQL server.
pub struct Pg {
    server: Mutex<Postgres>,
    port: u16,
    log: PathBuf,
}

impl Pg {
    /// Starts one; `settings` come on top of those all test servers have.
    pub async fn start(settings: &[(&str, &str)]) -> Pg {
        let own = [("max_prepared_transactions", "10"), ("max_wal_senders", "40"), ("max_replication_slots", "40"), ("wal_sender_timeout", "20s"), ("deadlock_timeout", "200ms")];
        let own = own.iter().filter(|(name, _)| !settings.iter().any(|(s, _)| s == name));
        Pg::of(Postgres::start(&own.chain(settings).copied().collect::<Vec<_>>()).await)
    }
    /// One that was started otherwise.
    pub fn of(server: Postgres) -> Pg {
        Pg { port: server.port, log: server.log_path(), server: Mutex::new(server) }
    }
    /// The server itself.
    pub async fn inner(&self) -> tokio::sync::MutexGuard<'_, Postgres> {
        self.server.lock().await
    }
}

#[async_trait]
impl System for Pg {
    fn port(&self) -> u16 {
        self.port
    }
    fn options(&self, port: u16) -> String {
        format!("type = 'postgres', host = '127.0.0.1', port = {port}, database = 'postgres', user = 'postgres', password = 'secret', sslmode = 'disable'")
    }
    async fn session(&self) -> Result<Box<dyn Session>, String> {
        pg_session(self.port, "postgres", "secret", "postgres").await
    }
    async fn kill(&self) {
        self.server.lock().await.kill_hard();
    }
    async fn restart(&self) {
        self.server.lock().await.boot().await;
    }
    async fn processes(&self) -> Vec<u32> {
        self.server.lock().await.processes()
    }
    fn log(&self) -> PathBuf {
        self.log.clone()
    }
    fn two_phase(&self, name: &str) -> Option<(String, String)> {
        Some((format!("prepare transaction '{name}'"), format!("commit prepared '{name}'")))
    }
}

/// An address behind which another server can be put, and the login that the program uses there; tests come as superuser all the same.
pub struct Front {
    now: std::sync::Mutex<Arc<Pg>>,
    login: Option<(&'static str, &'static str)>,
}

impl Front {
    /// Of a server; `login` is a role and its password.
    pub fn new(pg: Pg, login: Option<(&'static str, &'static str)>) -> Arc<Front> {
        Arc::new(Front { now: std::sync::Mutex::new(Arc::new(pg)), login })
    }
    /// The server behind it.
    pub fn pg(&self) -> Arc<Pg> {
        self.now.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
    /// Another server is behind it from now on; a proxy must be told too.
    pub fn put(&self, other: Arc<Pg>) {
        *self.now.lock().unwrap_or_else(|e| e.into_inner()) = other;
    }
}

#[async_trait]
impl System for Front {
    fn port(&self) -> u16 {
        self.pg().port()
    }
    fn options(&self, port: u16) -> String {
        let options = self.pg().options(port);
        match self.login {
            Some((role, password)) => options.replace("user = 'postgres', password = 'secret'", &format!("user = '{role}', password = '{password}'")),
            None => options,
        }
    }
    async fn session(&self) -> Result<Box<dyn Session>, String> {
        self.pg().session().await
    }
    async fn kill(&self) {
        self.pg().kill().await;
    }
    async fn restart(&self) {
        self.pg().restart().await;
    }
    async fn processes(&self) -> Vec<u32> {
        self.pg().processes().await
    }
    fn log(&self) -> PathBuf {
        self.pg().log()
    }
    fn two_phase(&self, name: &str) -> Option<(String, String)> {
        self.pg().two_phase(name)
    }
}

struct PgSession(tokio_postgres::Client);

/// A session in PostgreSQL's protocol, with Standpipe too.
pub async fn pg_session(port: u16, user: &str, password: &str, database: &str) -> Result<Box<dyn Session>, String> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(user).password(password).dbname(database).connect_timeout(Duration::from_secs(10));
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(words)?;
    tokio::spawn(connection);
    Ok(Box::new(PgSession(client)))
}

fn words(e: tokio_postgres::Error) -> String {
    match e.as_db_error() {
        Some(db) => {
            let more = [("DETAIL", db.detail()), ("HINT", db.hint())].into_iter().filter_map(|(n, v)| Some(format!("; {n}: {}", v?))).collect::<String>();
            format!("{} {}{more}", db.code().code(), db.message())
        }
        None => format!("{e}: {:?}", std::error::Error::source(&e)),
    }
}

#[async_trait]
impl Session for PgSession {
    async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, String> {
        let messages = self.0.simple_query(sql).await.map_err(words)?;
        let row = |m: SimpleQueryMessage| match m {
            SimpleQueryMessage::Row(r) => Some((0..r.len()).map(|i| r.get(i).map(str::to_string)).collect()),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }
}
