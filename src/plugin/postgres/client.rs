//! How one reaches a PostgreSQL server: connection options, an SQL session with pinned settings, quoting, and the one mapping of the
//! server's errors to ours. Used by the source and the target side alike.

pub mod greeting;
pub mod net;
mod quote;

pub use quote::{expression, ident, literal, qualified};

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::plugin::net::SslMode;
use crate::plugin::{Options, PipeRef};
use greeting::{Greeting, Guarded, Policy};
use net::Stream;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

/// A server and a login, from the options of a source. Its Debug form has no secret.
#[derive(Clone)]
pub struct Target {
    /// Host name, address, or the directory of a Unix socket.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role; not for messages.
    pub user: String,
    /// Password; not for messages.
    pub password: Option<String>,
    /// Restricts which schemas are listed (comma list); None: all.
    pub schema: Option<String>,
    /// TLS.
    pub ssl: SslMode,
    /// File of trusted authorities (PEM).
    pub root: Option<PathBuf>,
    /// What the server may ask of us while we log in.
    pub login: Policy,
    /// Further start-up parameters (`extparam`).
    pub params: Vec<(String, String)>,
    /// `application_name`.
    pub application: String,
    /// Time to connect and log in.
    pub connect_timeout: Duration,
    /// Time after which a peer that acknowledges nothing is lost; zero: as the system has it.
    pub tcp_timeout: Duration,
    /// Largest message taken.
    pub max_message: usize,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres at {}", self.place())
    }
}

impl Target {
    /// From checked options (`source::CONNECTION`) and the server's settings. Errors: `BadOption`.
    pub fn new(options: &Options, config: &Config, pipe: Option<&PipeRef>) -> Result<Target> {
        let port = options.integer("port").unwrap_or(5432);
        let word = options.get("sslmode").unwrap_or("prefer");
        let bad = |name: &str| Error::new(Kind::BadOption, format!("invalid value for option \"{name}\""));
        Ok(Target {
            host: options.text("host")?.to_string(),
            port: u16::try_from(port).map_err(|_| bad("port"))?,
            database: options.text("database")?.to_string(),
            user: options.text("user")?.to_string(),
            password: options.get("password").map(str::to_string),
            schema: options.get("schema").map(str::to_string),
            ssl: SslMode::parse(word).ok_or_else(|| bad("sslmode"))?,
            root: options.get("sslrootcert").map(PathBuf::from),
            login: Policy::new(options.get("require-auth"), config)?,
            params: options.get("extparam").map(parse_params).transpose()?.unwrap_or_default(),
            application: pipe.map_or_else(|| "standpipe".to_string(), |p| format!("standpipe {}", p.name)),
            connect_timeout: config.duration("connect_timeout"),
            tcp_timeout: config.duration("tcp.timeout"),
            max_message: config.size("source.max-message-size"),
        })
    }
    /// Where it is, for messages: host, port and database, nothing secret.
    pub fn place(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }
    /// What is said on this stream reaches nobody but the server that is meant.
    pub(super) fn is_sure_of(&self, stream: &Stream) -> bool {
        match stream {
            Stream::Unix(_) => true,
            Stream::Tls(_) => matches!(self.ssl, SslMode::VerifyFull | SslMode::VerifyCa) || (self.ssl == SslMode::Require && self.root.is_some()),
            Stream::Tcp(_) => false,
        }
    }
    /// The `options` start-up parameter that carries `extparam`.
    fn startup_options(&self) -> Option<String> {
        let escape = |v: &str| v.replace('\\', "\\\\").replace(' ', "\\ ");
        let words: Vec<_> = self
            .params
            .iter()
            .map(|(k, v)| if k == "options" { v.clone() } else { format!("-c {}={}", escape(k), escape(v)) })
            .collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
    /// Parameters of a start-up message, for clients that write their own.
    pub(super) fn startup(&self, replication: bool) -> Vec<(String, String)> {
        let mut out = vec![
            ("user".to_string(), self.user.clone()),
            ("database".to_string(), self.database.clone()),
            ("client_encoding".to_string(), "UTF8".to_string()),
            ("application_name".to_string(), self.application.clone()),
        ];
        if replication {
            out.push(("replication".to_string(), "database".to_string()));
        }
        out.extend(self.startup_options().map(|o| ("options".to_string(), o)));
        out
    }
    /// Connects within `connect_timeout`: opens a stream as `sslmode` says and logs in with `login`; where the mode allows two ways, the
    /// second one is tried after a refusal of the first.
    pub(super) async fn log_in<T, F, Fut>(&self, login: F) -> Result<T>
    where
        F: Fn(Stream) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let all = async {
            let ways: &[net::Way] = match self.ssl {
                SslMode::Disable => &[net::Way::Plain],
                SslMode::Allow => &[net::Way::Plain, net::Way::Tls],
                SslMode::Prefer => &[net::Way::TlsIfOffered, net::Way::Plain],
                _ => &[net::Way::Tls],
            };
            let mut first = None;
            for way in ways {
                let attempt = match net::open(self, *way).await {
                    Ok(stream) => login(stream).await,
                    Err(e) => Err(e),
                };
                match attempt {
                    Ok(done) => return Ok(done),
                    // not after a wrong password, which would be told to whoever listens
                    Err(e) if matches!(e.kind(), Kind::Refused | Kind::Protocol) && matches!(server_code(&e), None | Some("28000")) => first = Some(first.unwrap_or(e)),
                    Err(e) => return Err(first.unwrap_or(e)),
                }
            }
            Err(first.unwrap_or_else(|| Error::internal("no way to connect")))
        };
        self.in_time(all).await
    }
    /// What belongs to connecting takes `connect_timeout` at most. Errors: `Unreachable` beyond that.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(self.connect_timeout, work).await {
            Ok(done) => done,
            Err(_) => Err(Error::new(Kind::Unreachable, format!("could not connect to {} in time", self.place()))
                .with_detail(format!("connect_timeout is {} ms.", self.connect_timeout.as_millis()))),
        }
    }
}

/// `k=v` pairs between blanks, `&` or `;`.
fn parse_params(text: &str) -> Result<Vec<(String, String)>> {
    text.split(|c: char| c.is_whitespace() || c == '&' || c == ';')
        .filter(|s| !s.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((k, v)) if !k.is_empty() && !pair.contains('\0') => Ok((k.to_string(), v.to_string())),
            _ => Err(Error::new(Kind::BadOption, "invalid value for option \"extparam\"").with_hint("Write it as name=value&name=value.")),
        })
        .collect()
}

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every transaction is read only, and row-level security is an error rather than a silent filter.
    Read,
    /// Writes.
    Write,
}

/// Timeouts that not every server has (idle_session_timeout: from 14 on, transaction_timeout: from 17 on): a pipe's sessions rest while nothing
/// changes, and a snapshot's transactions take as long as they take.
const NEWER_TIMEOUTS: &str = "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN ('idle_session_timeout', 'transaction_timeout')";
/// A commit that a crash of the target takes back was told as durable: the source would have let go of its log. What waits for more than the own disk stays.
const DURABLE: &str = "SELECT pg_catalog.set_config('synchronous_commit', 'on', false) WHERE pg_catalog.current_setting('synchronous_commit') = 'off'";
/// What it is to run [`pinned_settings`], for messages.
pub const SET_UP: &str = "could not set up the session";

/// The statements that pin everything which could change the text form or the meaning of values.
pub fn pinned_settings(access: Access) -> String {
    let mode = match access {
        Access::Read => "SET default_transaction_read_only = on; SET row_security = off; ".to_string(),
        Access::Write => format!("SET default_transaction_read_only = off; {DURABLE}; "),
    };
    format!(
        "SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET extra_float_digits = 3; SET bytea_output = 'hex'; \
         SET timezone = 'UTC'; SET lc_monetary = 'C'; SET xmloption = content; SET search_path = ''; SET standard_conforming_strings = on; SET client_encoding = 'UTF8'; \
         SET array_nulls = on; SET transform_null_equals = off; \
         SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; {mode}{NEWER_TIMEOUTS}"
    )
}

/// A task that ends with its owner.
#[derive(Debug)]
pub struct OwnedTask(pub tokio::task::JoinHandle<()>);

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An SQL session with pinned settings. Dereferences to `tokio_postgres::Client`. Closing it is dropping it.
#[derive(Debug)]
pub struct Session {
    client: tokio_postgres::Client,
    version: u32,
    _connection: OwnedTask,
}

impl Deref for Session {
    type Target = tokio_postgres::Client;
    fn deref(&self) -> &tokio_postgres::Client {
        &self.client
    }
}

impl Session {
    /// Connects, logs in and pins the settings. Errors: `Unreachable`, `Refused` (login), `Busy`.
    pub async fn connect(target: &Target, access: Access) -> Result<Session> {
        let session = target.log_in(|stream| Self::log_in(target, stream)).await?;
        target.in_time(async { session.batch_execute(&pinned_settings(access)).await.map_err(failed(SET_UP)) }).await?;
        Ok(session)
    }
    async fn log_in(target: &Target, stream: Stream) -> Result<Session> {
        let mut config = tokio_postgres::Config::new();
        config.user(&target.user).dbname(&target.database).application_name(&target.application);
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        if let Some(password) = &target.password {
            config.password(password);
        }
        if let Some(options) = target.startup_options() {
            config.options(options);
        }
        let greeting = Greeting::new(target, target.is_sure_of(&stream));
        let (stream, reason) = Guarded::new(stream, greeting, target.max_message);
        let connected = config.connect_raw(stream, tokio_postgres::NoTls).await;
        let (client, connection) = connected.map_err(|e| reason.lock().take().unwrap_or_else(|| login_failed(target, e)))?;
        let version = connection.parameter("server_version").and_then(version_number).unwrap_or(0);
        let task = tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!(error = %e, "a session with a PostgreSQL server ended");
            }
        });
        Ok(Session { client, version, _connection: OwnedTask(task) })
    }
    /// The server's version as `server_version_num` counts: 150004.
    pub fn version(&self) -> u32 {
        self.version
    }
}

/// A session that is alive; one that has ended is replaced.
pub(super) async fn connected<'a>(slot: &'a mut Option<Session>, target: &Target, access: Access) -> Result<&'a Session> {
    let session = match slot.take() {
        Some(session) if !session.is_closed() => session,
        _ => Session::connect(target, access).await?,
    };
    Ok(slot.insert(session))
}

/// `15.4 (Debian ...)` or `16beta1` as 150004, 160000.
pub(super) fn version_number(text: &str) -> Option<u32> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).filter(|s| !s.is_empty());
    let major: u32 = parts.next()?.parse().ok()?;
    let minor: u32 = if text.contains('.') { parts.next().and_then(|m| m.parse().ok()).unwrap_or(0) } else { 0 };
    Some(if major >= 10 { major * 10_000 + minor.min(9_999) } else { major * 10_000 + minor * 100 })
}

// ---------------------------------------------------------------------------------------------------------------- errors

/// What a server said when it refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// SQLSTATE.
    pub code: String,
    /// Its message.
    pub message: String,
    /// Its DETAIL.
    pub detail: Option<String>,
    /// Its HINT.
    pub hint: Option<String>,
}

impl ServerError {
    /// Fields of an ErrorResponse (protocol, "Error and Notice Message Fields").
    pub fn parse(mut body: &[u8]) -> ServerError {
        let mut out = ServerError::default();
        while let Some((&field, rest)) = body.split_first() {
            let Some(end) = memchr::memchr(0, rest) else { break };
            let value = || String::from_utf8_lossy(&rest[..end]).into_owned();
            match field {
                b'C' => out.code = value(),
                b'M' => out.message = value(),
                b'D' => out.detail = Some(value()),
                b'H' => out.hint = Some(value()),
                _ => {}
            }
            body = &rest[end + 1..];
        }
        out
    }
    fn of(e: &tokio_postgres::error::DbError) -> ServerError {
        ServerError {
            code: e.code().code().to_string(),
            message: e.message().to_string(),
            detail: e.detail().map(str::to_string),
            hint: e.hint().map(str::to_string),
        }
    }
    /// Our error of it: `what` is the message, the server's own words are the DETAIL.
    pub fn into_error(self, what: impl Into<String>) -> Error {
        let mut words = format!("The server says: {} (SQLSTATE {}).", self.message, self.code);
        for more in [&self.detail, &self.hint].into_iter().flatten() {
            words.push(' ');
            words.push_str(more);
        }
        Error::new(kind_of(&self.code), what).with_detail(words).because(self)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}

impl std::error::Error for ServerError {}

/// The SQLSTATE with which a PostgreSQL server refused, if that is what the error is about.
pub fn server_code(e: &Error) -> Option<&str> {
    let source = std::error::Error::source(e)?;
    match source.downcast_ref::<ServerError>() {
        Some(e) => Some(&e.code),
        None => code_of(source.downcast_ref::<tokio_postgres::Error>()?),
    }
}

/// What a SQLSTATE of another server means to us (PostgreSQL, appendix A).
pub fn kind_of(code: &str) -> Kind {
    match code {
        "40001" | "40P01" | "55P03" | "57P01" | "57P02" | "57P03" | "57P05" | "57014" | "53300" | "53200" | "55006" | "25006" => Kind::Busy,
        "53100" => Kind::DiskFull,
        "42501" => Kind::NoRight,
        "22021" => Kind::BadEncoding,
        _ if code.starts_with("08") => Kind::ConnectionLost,
        _ if code.starts_with("23") => Kind::Constraint,
        _ => Kind::Refused,
    }
}

/// Maps an error of `tokio_postgres`: `.map_err(failed("could not read the catalog"))`.
pub fn failed(what: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Error {
    move |e| error_of(what, e)
}

/// Maps an error of `tokio_postgres` to ours, with `what` as the message.
pub fn error_of(what: impl Into<String>, e: tokio_postgres::Error) -> Error {
    if let Some(db) = e.as_db_error() {
        return ServerError::of(db).into_error(what).because(e);
    }
    let io = std::error::Error::source(&e).is_some_and(|s| s.is::<std::io::Error>());
    if e.is_closed() || io {
        return connection_lost(what).with_detail(text_of_error(&e)).because(e);
    }
    Error::new(Kind::Refused, what).with_detail(text_of_error(&e)).because(e)
}

/// The connection broke off while doing `what`.
pub fn connection_lost(what: impl Into<String>) -> Error {
    Error::new(Kind::ConnectionLost, what).with_detail("The connection to the PostgreSQL server broke off.")
}

/// The SQLSTATE of a refusal, if the server gave one.
pub fn code_of(e: &tokio_postgres::Error) -> Option<&str> {
    e.code().map(|c| c.code())
}

fn text_of_error(e: &dyn std::error::Error) -> String {
    match e.source() {
        Some(cause) => format!("{e}: {}", text_of_error(cause)),
        None => e.to_string(),
    }
}

fn login_failed(target: &Target, e: tokio_postgres::Error) -> Error {
    match e.as_db_error() {
        Some(db) => login_refused(target, ServerError::of(db)),
        None => match error_of(format!("could not log in at {}", target.place()), e) {
            e if e.kind() == Kind::Refused => e.with_hint("Check the options user, password and sslmode of the source."),
            e => e,
        },
    }
}

/// A refused login, in the server's words.
pub(super) fn login_refused(target: &Target, e: ServerError) -> Error {
    let hint = match e.code.get(..2) {
        Some("28") => Some("Check the options user, password, database and sslmode under which this server is known; ALTER SOURCE ... SET (...) changes those of a source."),
        Some("3D") => Some("Check the option database under which this server is known; ALTER SOURCE ... SET (database = '...') changes that of a source."),
        _ => None,
    };
    let error = e.into_error(format!("the login at {} was refused", target.place()));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version_number("15.4 (Debian 15.4-1)"), Some(150004));
        assert_eq!((version_number("16beta1"), version_number("9.6.24")), (Some(160000), Some(90600)));
    }

    #[test]
    fn server_errors_have_a_kind_and_the_servers_words() {
        let e = ServerError::parse(b"SERROR\0C40P01\0Mdeadlock detected\0DProcess 1 waits.\0\0");
        let e = e.into_error("could not write");
        assert_eq!((e.kind(), e.message()), (Kind::Busy, "could not write"));
        assert_eq!(server_code(&e), Some("40P01"));
        assert_eq!(e.detail(), Some("The server says: deadlock detected (SQLSTATE 40P01). Process 1 waits."));
        assert_eq!((kind_of("53100"), kind_of("23505"), kind_of("42P01")), (Kind::DiskFull, Kind::Constraint, Kind::Refused));
    }

    #[test]
    fn a_refused_login_names_the_role_and_no_secret() {
        let options = Options::from_pairs([("host", "h"), ("database", "d"), ("user", "bob"), ("password", "pw")]);
        let target = Target::new(&options, &Config::default(), None).expect("complete");
        let e = ServerError { code: "28P01".into(), message: "password authentication failed for user \"bob\"".into(), ..Default::default() };
        let e = login_refused(&target, e).to_string();
        assert!(e.contains("\"bob\"") && !e.contains("pw") && e.contains("28P01"), "{e}");
        assert_eq!(format!("{target:?}"), "postgres at h:5432/d");
        assert_eq!(parse_params("a=1&b=2 c=x=y").expect("pairs").len(), 3);
    }
}
