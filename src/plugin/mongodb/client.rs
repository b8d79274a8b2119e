//! How one reaches a MongoDB deployment: connection options, a client with pinned settings, and the one mapping of the server's errors to ours. Used by
//! the source and the target side alike.

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::plugin::{Fault, Options, PipeRef};
use mongodb::bson::{Document, doc};
use mongodb::error::{Error as Foreign, ErrorKind, WriteFailure};
use mongodb::options::{ClientOptions, Credential, ReadConcern, ReadPreference, SelectionCriteria, ServerAddress, Tls, TlsOptions, WriteConcern};
use mongodb::{Client, Database};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The database that credentials are kept in where nothing else is said.
const AUTH_SOURCE: &str = "admin";
/// Databases of the server's own.
pub const SYSTEM_DATABASES: &[&str] = &["admin", "local", "config"];

/// A deployment and a login, from the options of a source. Its Debug form has no secret.
#[derive(Clone)]
pub struct Target {
    uri: Option<String>,
    host: String,
    port: u16,
    /// The database whose collections are meant; None: all databases.
    pub database: Option<String>,
    user: Option<String>,
    password: Option<String>,
    auth_source: Option<String>,
    replica_set: Option<String>,
    read_preference: ReadPreference,
    direct: bool,
    ssl: Option<String>,
    root: Option<PathBuf>,
    certificate: Option<PathBuf>,
    application: String,
    connect_timeout: Duration,
    /// Silence after which an answer is no longer waited for; None: for ever.
    pub timeout: Option<Duration>,
    /// Documents, or events, of one answer at most.
    pub answer_rows: u32,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mongodb at {}", self.place())
    }
}

/// Checks of the connection's options that go beyond one of them.
pub fn check(options: &Options) -> Vec<Fault> {
    match (options.get("uri").is_some(), options.get("host").is_some()) {
        (true, true) => vec![Fault::missing("options \"uri\" and \"host\" exclude each other", "Give uri, or host and the options beside it.")],
        (false, false) => vec![Fault::missing("option \"host\" is missing", "Add host = '...', or uri = 'mongodb://...'.")],
        _ => Vec::new(),
    }
}

impl Target {
    /// From checked options (`source::CONNECTION`) and the server's settings. Errors: `BadOption`.
    pub fn new(options: &Options, config: &Config, pipe: Option<&PipeRef>) -> Result<Target> {
        let bad = |name: &str| Error::new(Kind::BadOption, format!("invalid value for option \"{name}\""));
        if let Some(e) = crate::plugin::option::faults_error(check(options)) {
            return Err(e);
        }
        let text = |name: &str| options.get(name).map(str::to_string);
        let timeout = config.duration("source.timeout");
        Ok(Target {
            uri: text("uri"),
            host: text("host").unwrap_or_default(),
            port: u16::try_from(options.integer("port").unwrap_or(27017)).map_err(|_| bad("port"))?,
            database: text("database"),
            user: text("user"),
            password: text("password"),
            auth_source: text("auth-source"),
            replica_set: text("replica-set"),
            read_preference: preference(options.get("read-preference").unwrap_or("primary")).ok_or_else(|| bad("read-preference"))?,
            direct: options.flag("direct-connection"),
            ssl: text("sslmode"),
            root: options.get("sslrootcert").map(PathBuf::from),
            certificate: options.get("sslcert").map(PathBuf::from),
            application: pipe.map_or_else(|| "standpipe".to_string(), |p| format!("standpipe {}", p.name)),
            connect_timeout: config.duration("connect_timeout"),
            timeout: (!timeout.is_zero()).then_some(timeout),
            answer_rows: u32::try_from(config.count("source.answer-rows")).unwrap_or(u32::MAX),
        })
    }
    /// The same, with everything read at the primary: what one writes is read where it is written.
    pub fn on_primary(self) -> Target {
        Target { read_preference: ReadPreference::Primary, ..self }
    }
    /// Which members are read. Commands go to the primary unless they are given this.
    pub fn members(&self) -> SelectionCriteria {
        SelectionCriteria::ReadPreference(self.read_preference.clone())
    }
    /// Where it is, for messages: nothing secret.
    pub fn place(&self) -> String {
        let hosts = match &self.uri {
            None => format!("{}:{}", self.host, self.port),
            Some(uri) => {
                let rest = uri.split_once("://").map_or(uri.as_str(), |(_, r)| r);
                // a password may have a slash or question mark that should have been written as %2F or %3F
                let rest = rest.rsplit_once('@').map_or(rest, |(_, r)| r);
                rest.split(['/', '?']).next().unwrap_or_default().to_string()
            }
        };
        format!("{hosts}/{}", self.database.as_deref().unwrap_or_default())
    }
    async fn settings(&self) -> Result<ClientOptions> {
        let mut o = match &self.uri {
            // the words of the driver may name a password
            Some(uri) => ClientOptions::parse(uri).await.map_err(|_| Error::new(Kind::BadOption, "invalid value for option \"uri\"").with_hint("Write it as mongodb://host:port/ or mongodb+srv://host/."))?,
            None => ClientOptions::builder().hosts(vec![ServerAddress::Tcp { host: self.host.clone(), port: Some(self.port) }]).build(),
        };
        if let Some(user) = &self.user {
            let source = self.auth_source.clone().unwrap_or_else(|| AUTH_SOURCE.to_string());
            o.credential = Some(Credential::builder().username(user.clone()).password(self.password.clone()).source(source).build());
        }
        if let Some(set) = &self.replica_set {
            o.repl_set_name = Some(set.clone());
        }
        if self.direct {
            o.direct_connection = Some(true);
        }
        match self.ssl.as_deref() {
            None => {}
            Some("disable") => o.tls = Some(Tls::Disabled),
            Some(mode) => {
                let mut tls = TlsOptions::default();
                tls.ca_file_path = self.root.clone();
                tls.cert_key_file_path = self.certificate.clone();
                tls.allow_invalid_certificates = Some(mode == "require" && self.root.is_none());
                o.tls = Some(Tls::Enabled(tls));
            }
        }
        o.app_name = Some(self.application.chars().take(APPLICATION_LENGTH).collect());
        o.connect_timeout = Some(self.connect_timeout);
        o.server_selection_timeout = Some(self.connect_timeout);
        o.selection_criteria = Some(self.members());
        o.read_concern = Some(ReadConcern::majority());
        o.write_concern = Some(WriteConcern::majority());
        Ok(o)
    }
    /// Connects and logs in. Errors: `Unreachable`, `Refused`, `BadOption`.
    pub async fn connect(&self) -> Result<Client> {
        let client = Client::with_options(self.settings().await?).map_err(failed("could not read the connection's options"))?;
        let admin = client.database(AUTH_SOURCE);
        let ping = async { admin.run_command(doc! { "ping": 1 }).await };
        match tokio::time::timeout(self.connect_timeout * 2, ping).await {
            Ok(Ok(_)) => Ok(client),
            Ok(Err(e)) => Err(self.refused(e)),
            Err(_) => Err(self.unreachable().with_detail(format!("connect_timeout is {} ms.", self.connect_timeout.as_millis()))),
        }
    }
    fn unreachable(&self) -> Error {
        Error::new(Kind::Unreachable, format!("could not connect to {} in time", self.place()))
    }
    fn refused(&self, e: Foreign) -> Error {
        let login = matches!(*e.kind, ErrorKind::Authentication { .. }) || code_of(&e) == Some(code::AUTHENTICATION_FAILED);
        if login {
            let error = Error::new(Kind::Refused, format!("the login at {} was refused", self.place())).with_hint("Check the options user, password and auth-source of the source.");
            return error.with_detail(words(&e)).because(e);
        }
        match *e.kind {
            ErrorKind::ServerSelection { .. } => self.unreachable().with_detail(words(&e)).because(e),
            _ => error_of(format!("could not connect to {}", self.place()), e),
        }
    }
}

/// Longest application name that the server takes.
const APPLICATION_LENGTH: usize = 120;

fn preference(word: &str) -> Option<ReadPreference> {
    Some(match word.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "primary" => ReadPreference::Primary,
        "primarypreferred" => ReadPreference::PrimaryPreferred { options: None },
        "secondary" => ReadPreference::Secondary { options: None },
        "secondarypreferred" => ReadPreference::SecondaryPreferred { options: None },
        "nearest" => ReadPreference::Nearest { options: None },
        _ => return None,
    })
}

/// Error codes (the server's error_codes.yml).
pub mod code {
    pub const UNAUTHORIZED: i32 = 13;
    pub const AUTHENTICATION_FAILED: i32 = 18;
    pub const NAMESPACE_NOT_FOUND: i32 = 26;
    pub const CURSOR_NOT_FOUND: i32 = 43;
    pub const MAX_TIME_EXPIRED: i32 = 50;
    pub const DUPLICATE_KEY: i32 = 11000;
    pub const NAMESPACE_EXISTS: i32 = 48;
    pub const CURSOR_KILLED: i32 = 237;
    pub const SNAPSHOT_TOO_OLD: i32 = 239;
    pub const INVALID_RESUME_TOKEN: i32 = 260;
    pub const CHANGE_STREAM_FATAL: i32 = 280;
    pub const CHANGE_STREAM_HISTORY_LOST: i32 = 286;
    pub const OUT_OF_DISK: i32 = 14031;
    pub const DOCUMENT_TOO_LARGE: i32 = 10334;
    pub const VALIDATION: i32 = 121;
    /// Passing: stepdown, shutdown, recovery, write conflict, time limits, host gone.
    pub const PASSING: &[i32] = &[6, 7, 24, 46, 50, 64, 89, 91, 112, 133, 134, 189, 202, 225, 239, 246, 251, 262, 263, 290, 317, 358, 384, 9001, 10058, 10107, 11600, 11602, 13388, 13435, 13436];
}

/// The server's code of a refusal, if it gave one.
pub fn code_of(e: &Foreign) -> Option<i32> {
    match e.kind.as_ref() {
        ErrorKind::Command(c) => Some(c.code),
        ErrorKind::Write(WriteFailure::WriteError(w)) => Some(w.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(w)) => Some(w.code),
        _ => None,
    }
}

/// The same of an error of ours that was made of one.
pub fn server_code(e: &Error) -> Option<i32> {
    std::error::Error::source(e).and_then(|s| s.downcast_ref::<Foreign>()).and_then(code_of)
}

/// The other system's words.
fn words(e: &Foreign) -> String {
    match e.kind.as_ref() {
        ErrorKind::Command(c) => format!("The server said: {} ({} {}).", c.message, c.code, c.code_name),
        // the driver shows all it knows of the deployment; what went wrong stands in the middle of it, once per server
        ErrorKind::ServerSelection { message, .. } => {
            if message.contains("RsGhost") {
                return "The server is meant for a replica set, which is not initiated: run rs.initiate() there.".to_string();
            }
            let causes: BTreeSet<&str> = message.split("Error: Kind: ").skip(1).filter_map(|rest| rest.split(", labels").next()).collect();
            if causes.is_empty() { message.clone() } else { format!("No server that fits could be reached: {}.", causes.into_iter().collect::<Vec<_>>().join("; ")) }
        }
        other => other.to_string(),
    }
}

/// An error of the driver as ours. `what` is the message.
pub fn error_of(what: impl Into<String>, e: Foreign) -> Error {
    let kind = match (e.kind.as_ref(), code_of(&e)) {
        (_, Some(code::UNAUTHORIZED)) => Kind::NoRight,
        (_, Some(code::AUTHENTICATION_FAILED)) => Kind::Refused,
        (_, Some(code::CURSOR_NOT_FOUND | code::CURSOR_KILLED)) => Kind::ConnectionLost,
        (_, Some(code::NAMESPACE_NOT_FOUND)) => Kind::UndefinedTable,
        (_, Some(code::CHANGE_STREAM_HISTORY_LOST | code::CHANGE_STREAM_FATAL | code::INVALID_RESUME_TOKEN)) => Kind::PositionLost,
        (_, Some(code::DUPLICATE_KEY | code::VALIDATION)) => Kind::Constraint,
        (_, Some(code::OUT_OF_DISK)) => Kind::DiskFull,
        (_, Some(c)) if code::PASSING.contains(&c) => Kind::Busy,
        (ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::Shutdown, _) => Kind::ConnectionLost,
        (ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. }, _) => Kind::Unreachable,
        (ErrorKind::InvalidResponse { .. } | ErrorKind::Bson(_) | ErrorKind::BsonDeserialization(_), _) => Kind::Protocol,
        _ => Kind::Refused,
    };
    Error::new(kind, what).with_detail(words(&e)).because(e)
}

/// The same for `map_err`.
pub fn failed(what: impl Into<String>) -> impl FnOnce(Foreign) -> Error {
    move |e| error_of(what, e)
}

/// Runs a command. A silence longer than the target's timeout is a lost connection.
pub async fn run(target: &Target, database: &Database, what: &str, command: Document) -> Result<Document> {
    within(target.timeout, what, async { database.run_command(command).await.map_err(failed(what)) }).await
}

/// Waits no longer than this for an answer.
pub async fn within<T>(time: Option<Duration>, what: &str, answer: impl Future<Output = Result<T>>) -> Result<T> {
    match time {
        None => answer.await,
        Some(time) => match tokio::time::timeout(time, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(Kind::ConnectionLost, what.to_string()).with_detail(format!("The MongoDB server has not answered for {} ms (source.timeout).", time.as_millis()))),
        },
    }
}

/// The client of a target, connected at its first use.
pub async fn connected<'a>(slot: &'a mut Option<Client>, target: &Target) -> Result<&'a Client> {
    let client = match slot.take() {
        Some(client) => client,
        None => target.connect().await?,
    };
    Ok(slot.insert(client))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_no_secret_and_the_two_forms_exclude_each_other() {
        let config = Config::default();
        let target = |pairs: &[(&str, &str)]| Target::new(&Options::from_pairs(pairs.iter().copied()), &config, None);
        let uri = target(&[("uri", "mongodb+srv://me:pw@a.example,b.example:1/db?x=1"), ("database", "shop")]).expect("a target");
        assert_eq!(uri.place(), "a.example,b.example:1/shop");
        assert!(!format!("{uri:?}").contains("pw"));
        assert_eq!(target(&[("uri", "mongodb://u:p/w?@h:2/db")]).expect("a target").place(), "h:2/");
        assert_eq!(target(&[("host", "h")]).expect("a target").place(), "h:27017/");
        assert!(target(&[]).is_err() && target(&[("uri", "mongodb://h/"), ("host", "h")]).is_err());
    }
}
