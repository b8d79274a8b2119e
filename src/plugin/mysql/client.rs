//! How one reaches a MySQL or MariaDB server: connection options, quoting, pinned session settings, and the one mapping of the server's errors
//! to ours. Used by the source and the target side alike.
//!
//! The client is ours: the crates at hand offer LOCAL INFILE to every server (which lets a server read files of this machine), make a value of
//! every cell, and don't know MariaDB's log.

pub mod auth;

use crate::config::Config;
use crate::data::TableName;
use crate::error::{Error, Kind, Result};
use crate::plugin::net::{self, SslMode, Stream};
use crate::plugin::{Options, PipeRef};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// A server and a login, from the options of a source. Its Debug form has no secret.
#[derive(Clone)]
pub struct Target {
    /// Host name, address, or the path of a Unix socket.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Login; not for messages.
    pub user: String,
    /// Password; not for messages.
    pub password: Option<String>,
    /// Databases whose tables are listed (comma list); None: the one above.
    pub schema: Option<String>,
    /// TLS.
    pub ssl: SslMode,
    /// File of trusted authorities (PEM).
    pub root: Option<PathBuf>,
    /// `program_name` among the connection's attributes.
    pub application: String,
    /// Time to connect and log in.
    pub connect_timeout: Duration,
    /// Time after which a peer that acknowledges nothing is lost; zero: as the system has it.
    pub tcp_timeout: Duration,
    /// How long a lock of the server is waited for.
    pub lock_timeout: Duration,
    /// From a transaction's being in the log to its being seen, where no lock waits for it.
    pub settle_time: Duration,
    /// Largest packet taken.
    pub max_packet: usize,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mysql at {}", self.place())
    }
}

/// One attempt's way of reaching the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    Tls,
    TlsIfOffered,
}

impl Target {
    /// From checked options (`source::CONNECTION`) and the server's settings. Errors: `BadOption`.
    pub fn new(options: &Options, config: &Config, pipe: Option<&PipeRef>) -> Result<Target> {
        let port = options.integer("port").unwrap_or(3306);
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
            application: pipe.map_or_else(|| "standpipe".to_string(), |p| format!("standpipe {}", p.name)),
            connect_timeout: config.duration("connect_timeout"),
            tcp_timeout: config.duration("tcp.timeout"),
            lock_timeout: config.duration("source.lock-timeout"),
            settle_time: config.duration("source.settle-time"),
            max_packet: config.size("source.max-message-size"),
        })
    }
    /// Where it is, for messages: host, port and database, nothing secret.
    pub fn place(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }
    /// Databases whose tables are listed.
    pub fn schemas(&self) -> Vec<String> {
        let listed: Vec<String> = self.schema.iter().flat_map(|s| s.split(',')).map(|s| s.trim().to_string()).filter(|s| !s.is_empty()).collect();
        if listed.is_empty() { vec![self.database.clone()] } else { listed }
    }
    pub(super) fn ways(&self) -> &'static [Way] {
        match self.ssl {
            SslMode::Disable => &[Way::Plain],
            SslMode::Allow => &[Way::Plain, Way::Tls],
            SslMode::Prefer => &[Way::TlsIfOffered, Way::Plain],
            _ => &[Way::Tls],
        }
    }
    /// A connection without TLS yet: it begins with the server's greeting. Errors: `Unreachable`.
    pub(super) async fn open(&self) -> Result<Stream> {
        let unreachable = |e: std::io::Error| Error::new(Kind::Unreachable, format!("could not connect to {}", self.place())).with_detail(e.to_string()).because(e);
        if self.host.starts_with('/') {
            return UnixStream::connect(&self.host).await.map(Stream::Unix).map_err(unreachable);
        }
        net::tcp(&self.host, self.port, self.tcp_timeout).await.map(Stream::Tcp).map_err(unreachable)
    }
    /// Puts TLS over it.
    pub(super) async fn secure(&self, tcp: TcpStream) -> Result<Stream> {
        net::tls(tcp, &self.host, &self.place(), self.ssl, self.root.as_deref()).await
    }
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// Time that the server waits for us to take or give more, where we wait for another system meanwhile.
const PATIENCE_SECONDS: u32 = 24 * 3600;

/// The statements that pin everything which could change the text form or the meaning of values. Zero is a value of its own, a value that does
/// not fit is an error, and the only escape in a string is a doubled quote.
pub(super) fn pinned_settings(access: Access, mariadb: bool, version: u32, lock_timeout: Duration) -> String {
    let lock = lock_timeout.as_secs().clamp(1, 31_536_000);
    let mode = "STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO";
    let mut sql = format!(
        "SET NAMES utf8mb4; SET SESSION time_zone = '+00:00', sql_mode = '{mode}', autocommit = 1, sql_select_limit = DEFAULT, sql_safe_updates = 0, sql_quote_show_create = 1, \
         net_write_timeout = {PATIENCE_SECONDS}, net_read_timeout = {PATIENCE_SECONDS}, wait_timeout = {PATIENCE_SECONDS}, lock_wait_timeout = {lock}"
    );
    match (mariadb, version) {
        (true, 100_101..) => sql += ", max_statement_time = 0",
        (false, 50_708..) => sql += ", max_execution_time = 0",
        _ => {}
    }
    if access == Access::Write {
        // triggers can't be switched off; foreign keys were obeyed at the source
        sql += ", foreign_key_checks = 0";
        if mariadb && version >= 100_300 {
            sql += ", idle_transaction_timeout = 0";
        }
        // every condition names its rows, so nothing beside them need be held
        sql += "; SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
    }
    sql
}

// ---------------------------------------------------------------------------------------------------------------- errors

/// What a server said when it refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// Its error number.
    pub number: u16,
    /// SQLSTATE; empty where it gave none.
    pub state: String,
    /// Its message.
    pub message: String,
}

impl ServerError {
    /// Body of an ERR packet (protocol, "ERR_Packet").
    pub fn parse(body: &[u8]) -> ServerError {
        let number = body.get(1..3).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
        let rest = body.get(3..).unwrap_or_default();
        let (state, message) = match rest.strip_prefix(b"#") {
            Some(rest) if rest.len() >= 5 => rest.split_at(5),
            _ => (&rest[..0], rest),
        };
        ServerError { number, state: String::from_utf8_lossy(state).into_owned(), message: String::from_utf8_lossy(message).into_owned() }
    }
    /// Its message without the login's name, which refusals for want of a right have as `'name'@'host'`.
    fn masked(&self) -> String {
        let name = || {
            let end = self.message.find("'@'")?;
            let start = self.message[..end].find("user '").map(|i| i + 6).or_else(|| self.message[..end].rfind('\'').map(|i| i + 1))?;
            Some(format!("{}******{}", &self.message[..start], &self.message[end..]))
        };
        let names = matches!(self.number, 1044 | 1045 | 1095 | 1142 | 1143 | 1227 | 1370 | 1410 | 1698);
        if names { name() } else { None }.unwrap_or_else(|| self.message.clone())
    }
    /// Our error of it: `what` is the message, the server's own words are the DETAIL.
    pub fn into_error(self, what: impl Into<String>) -> Error {
        let words = format!("The server says: {} (error {}).", self.masked().trim_end_matches('.'), self.number);
        Error::new(kind_of(self.number), what).with_detail(words).because(self)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error {})", self.message, self.number)
    }
}

impl std::error::Error for ServerError {}

/// The number of the error with which a server refused, if that is what the error is about.
pub fn server_code(e: &Error) -> Option<u16> {
    Some(std::error::Error::source(e)?.downcast_ref::<ServerError>()?.number)
}

/// What an error number of another server means to us (MySQL, "Server Error Message Reference").
pub fn kind_of(number: u16) -> Kind {
    match number {
        // a row or a structure that has changed meanwhile, too many connections, not ready (Galera), shutting down, lock wait, deadlock, interrupted,
        // read only for now, killed
        1020 | 1040 | 1047 | 1053 | 1412 | 1203 | 1205 | 1213 | 1226 | 1290 | 1317 | 1836 | 1927 | 3024 | 3032 | 3101 | 3572 => Kind::Busy,
        1021 | 1114 => Kind::DiskFull,
        1044 | 1045 | 1095 | 1142 | 1143 | 1227 | 1370 | 1410 | 1698 => Kind::NoRight,
        1048 | 1062 | 1169 | 1216 | 1217 | 1364 | 1451 | 1452 | 1557 | 1586 | 3819 | 4025 => Kind::Constraint,
        1146 | 1051 => Kind::UndefinedTable,
        1054 => Kind::UndefinedColumn,
        1153 | 1301 => Kind::LimitExceeded,
        // 4031: idle for too long
        1152 | 1158..=1161 | 1184 | 4031 => Kind::ConnectionLost,
        _ => Kind::Refused,
    }
}

/// The connection broke off while doing `what`.
pub fn connection_lost(what: impl Into<String>) -> Error {
    Error::new(Kind::ConnectionLost, what).with_detail("The connection to the MySQL server broke off.")
}

/// The server broke the protocol.
pub fn malformed(detail: impl Into<String>) -> Error {
    Error::new(Kind::Protocol, "the server sent what the MySQL protocol does not have").with_detail(detail)
}

/// A refused login; the server's words name the login, ours do not.
pub(super) fn login_refused(target: &Target, mut e: ServerError) -> Error {
    e.message = e.message.replace(&format!("'{}'", target.user), "'******'");
    let (number, error) = (e.number, e.into_error(format!("the login at {} was refused", target.place())));
    match number {
        1044 => {
            let hint = format!("Run GRANT SELECT ON {}.* TO the source's login at the server, or check the option database of the source.", ident(&target.database).unwrap_or_default());
            error.as_kind(Kind::Refused).with_hint(hint)
        }
        1045 | 1049 | 1251 | 1698 => error.as_kind(Kind::Refused).with_hint("Check the options user, password, database and sslmode of the source."),
        _ => error,
    }
}

// ---------------------------------------------------------------------------------------------------------------- quoting

/// A quoted identifier. Errors: `BadText` where it has a NUL or is empty.
pub fn ident(name: &str) -> Result<String> {
    if name.is_empty() || name.contains('\0') {
        return Err(Error::new(Kind::BadText, "a name is empty or holds a NUL"));
    }
    Ok(format!("`{}`", name.replace('`', "``")))
}

/// `database.table`, both quoted.
pub fn qualified(name: &TableName) -> Result<String> {
    Ok(format!("{}.{}", ident(&name.schema)?, ident(&name.name)?))
}

/// A string literal under `NO_BACKSLASH_ESCAPES`.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(ident("a`b\nc").expect("fine"), "`a``b\nc`");
        assert_eq!(literal("it's \\ so"), "'it''s \\ so'");
        assert!(ident("a\0").is_err() && ident("").is_err());
    }

    #[test]
    fn server_errors_have_a_kind_and_the_servers_words() {
        let e = ServerError::parse(b"\xff\xbd\x04#40001Deadlock found").into_error("could not write");
        assert_eq!((e.kind(), e.message(), server_code(&e)), (Kind::Busy, "could not write", Some(1213)));
        assert_eq!(e.detail(), Some("The server says: Deadlock found (error 1213)."));
        assert_eq!(ServerError::parse(b"\xff\x10\x04Too many connections").number, 1040);
        assert_eq!(ServerError::parse(b"\xff").number, 0);
    }

    #[test]
    fn a_refused_login_does_not_name_the_login() {
        let options = Options::from_pairs([("host", "h"), ("database", "d"), ("user", "bob"), ("password", "pw")]);
        let target = Target::new(&options, &Config::default(), None).expect("complete");
        let e = ServerError { number: 1045, message: "Access denied for user 'bob'@'h' (using password: YES)".into(), ..Default::default() };
        let e = login_refused(&target, e).to_string();
        assert!(!e.contains("bob") && !e.contains("pw") && e.contains("1045"), "{e}");
        let e = ServerError { number: 1142, message: "SELECT command denied to user 'bob'@'10.0.0.5' for table `d`.`t`".into(), ..Default::default() };
        assert_eq!(e.into_error("x").detail(), Some("The server says: SELECT command denied to user '******'@'10.0.0.5' for table `d`.`t` (error 1142)."));
        assert_eq!((format!("{target:?}"), target.schemas()), ("mysql at h:3306/d".to_string(), vec!["d".to_string()]));
    }
}
