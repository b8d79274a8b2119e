//! Every setting of the server and of a session: name, type, default, range, doc. Feeds the command line, the configuration file, the
//! environment, SET/SHOW/RESET, `pg_settings` and the settings page.

use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;
use std::time::Duration;

/// Who may change a setting, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// At start only.
    Startup,
    /// By each session for itself, with SET.
    Session,
    /// Reported, never set.
    Internal,
}

/// Type and range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SettingKind {
    /// Any text.
    Text,
    /// A boolean.
    Bool,
    /// A whole number within bounds.
    Integer { min: i64, max: i64 },
    /// A time in milliseconds as PostgreSQL's time settings: bare numbers are ms, units us, ms, s, min, h, d. 0 is off where the doc says so.
    Milliseconds,
    /// A size in bytes, with kB, MB, GB.
    Size,
    /// One of these words.
    Enum(&'static [&'static str]),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Name.
    pub name: &'static str,
    /// Type and range.
    pub kind: SettingKind,
    /// Default in the setting's own syntax.
    pub default: &'static str,
    /// Who changes it.
    pub scope: Scope,
    /// The server reports changes to clients (ParameterStatus).
    pub reported: bool,
    /// One line.
    pub doc: &'static str,
}

const fn s(name: &'static str, kind: SettingKind, default: &'static str, scope: Scope, doc: &'static str) -> Setting {
    Setting { name, kind, default, scope, reported: false, doc }
}
const fn reported(mut setting: Setting) -> Setting {
    setting.reported = true;
    setting
}
use Scope::{Internal, Session, Startup};
use SettingKind::{Bool, Enum, Integer, Milliseconds, Size, Text};

/// All settings, by subject.
pub const SETTINGS: &[Setting] = &[
    // where
    s("data", Text, "./standpipe-data", Startup, "directory of the catalog, the lake and the stage"),
    s("listen", Text, "127.0.0.1:5433", Startup, "address for clients; port 0 takes a free one"),
    s("http", Text, "127.0.0.1:5480", Startup, "address of the dashboard and /metrics; empty: none"),
    s("http.auth", Enum(&["auto", "always"]), "auto", Startup, "who may see the dashboard and /metrics: auto asks for user and password on other addresses than loopback"),
    s("http.hosts", Text, "", Startup, "names that the dashboard may be called by beside localhost, with commas; on loopback every other name is refused"),
    s("http.plain-text", Bool, "off", Startup, "serve other addresses than loopback without TLS, passwords in clear text; for a trusted network or behind a proxy with TLS"),
    s("http.max-connections", Integer { min: 1, max: 10_000 }, "64", Startup, "connections to the dashboard at the same time; more wait"),
    s("http.max-request-size", Size, "16kB", Startup, "largest head of a request; at least 8kB"),
    s("http.request-timeout", Milliseconds, "10s", Startup, "time a client has to send a request, and to shake hands"),
    s("http.connection-lifetime", Milliseconds, "1min", Startup, "time after which a connection is closed, whatever it does"),
    s("http.sample-interval", Milliseconds, "2s", Startup, "time between two points of the dashboard's charts, and between its updates"),
    s("http.samples", Integer { min: 2, max: 100_000 }, "300", Startup, "points of the dashboard's charts that are kept per pipe"),
    s("socket", Bool, "on", Startup, "open a Unix socket in the data directory"),
    s("log.level", Text, "info", Startup, "error, warn, info, debug, trace, or a filter by module"),
    s("log.format", Enum(&["text", "json"]), "text", Startup, "form of log lines on stderr"),
    // security
    s("tls.cert", Text, "", Startup, "file of the server's certificate chain (PEM)"),
    s("tls.key", Text, "", Startup, "file of the server's private key (PEM)"),
    s("listen.plain-text", Bool, "off", Startup, "take clients on other addresses than loopback without TLS; for a trusted network or behind a proxy with TLS"),
    s("tls.required", Bool, "off", Startup, "refuse connections without TLS over TCP"),
    s("secret.key-file", Text, "", Startup, "file of the key that seals secrets; empty: secret.key in the data directory"),
    s("scram.iterations", Integer { min: 4096, max: 10_000_000 }, "4096", Startup, "iterations of SCRAM-SHA-256 for new passwords"),
    s("authentication_timeout", Milliseconds, "60s", Startup, "time a client has to log in"),
    s("auth.failure-delay", Milliseconds, "500ms", Startup, "time that the next login has to wait after a failed one, doubled per failure from one address"),
    s("auth.failure-delay-max", Milliseconds, "10s", Startup, "longest such wait"),
    s("auth.name-delay-max", Milliseconds, "1s", Startup, "longest wait for a name that others fail to log in with, where it has not logged in before"),
    s("auth.remembered", Integer { min: 100, max: 10_000_000 }, "10000", Startup, "addresses and names whose failed logins are counted, and that are known from before"),
    s("max_connections", Integer { min: 1, max: 100_000 }, "200", Startup, "clients at the same time"),
    s("max_startup_connections", Integer { min: 1, max: 100_000 }, "100", Startup, "clients that have not logged in yet, at the same time"),
    s("reserved_files", Integer { min: 0, max: 1_000_000 }, "128", Startup, "open files kept for pipes, lake and catalog where the process's limit is low; at most three quarters of it"),
    s("max_startup_connections_per_address", Integer { min: 1, max: 100_000 }, "50", Startup, "the same from one address"),
    s("max_message_size", Size, "256MB", Startup, "largest message a logged-in client may send"),
    s("max_prepared_statements", Integer { min: 1, max: 1_000_000 }, "10000", Startup, "prepared statements per session"),
    s("send_buffer", Size, "64kB", Startup, "result bytes gathered before they are sent"),
    s("receive_buffer", Size, "64kB", Startup, "bytes taken from a client ahead of the message being worked on"),
    s("send_timeout", Milliseconds, "0", Startup, "longest a client may take no bytes of a result; 0: no limit"),
    s("cursor.scroll-memory", Size, "64MB", Startup, "rows that a scrollable cursor may keep"),
    s("core-dumps", Bool, "off", Startup, "let the system write memory to disk when the program crashes; passwords are in it"),
    s("shutdown_timeout", Milliseconds, "30s", Startup, "time pipes have to flush when the server ends"),
    // catalog
    s("catalog.fsync", Bool, "on", Startup, "wait for the disk at each catalog write; off only for tests"),
    s("history.retention", Integer { min: 10, max: 10_000_000 }, "10000", Startup, "rows kept of each history: exceptions, events, audit, log"),
    // queries
    s("query.memory-limit", Size, "512MB", Startup, "memory of all queries together"),
    s("query.partitions", Integer { min: 1, max: 256 }, "2", Startup, "parallel partitions of a query"),
    s("query.source-readers", Integer { min: 1, max: 64 }, "1", Startup, "connections that a scan of a source table may open"),
    s("query.chunk-rows", Integer { min: 1, max: 100_000_000 }, "1000000", Startup, "rows per chunk of a query's scan of a source, about"),
    s("query.batch-size", Integer { min: 64, max: 1_000_000 }, "8192", Startup, "rows per batch in queries"),
    s("tcp.timeout", Milliseconds, "60s", Startup, "time after which a connection to another system is lost whose other end acknowledges nothing; 0: the system's own"),
    // sources
    s("connect_timeout", Milliseconds, "10s", Startup, "time to connect to another system"),
    s("source.keepalive", Milliseconds, "10s", Startup, "longest silence towards a change source"),
    s("source.timeout", Milliseconds, "60s", Startup, "silence after which a change source is given up and connected anew; 0: never"),
    s("source.tables-interval", Milliseconds, "10s", Startup, "time between looks whether a followed table was dropped or replaced at its source; 0: never"),
    s("source.backlog-interval", Milliseconds, "10s", Startup, "time between looks at how much log a source keeps for a pipe; 0: never"),
    s("source.receive-buffer", Size, "16MB", Startup, "changes received ahead of the apply"),
    s("source.lock-timeout", Milliseconds, "30s", Startup, "time to wait for the source's running transactions when a slot is made"),
    s("source.settle-time", Milliseconds, "3s", Startup, "time from a MySQL's log to what is seen, where its tables may not be locked: a transaction that takes longer is not copied"),
    s("source.max-message-size", Size, "1GB", Startup, "largest message taken from a source"),
    s("source.answer-rows", Integer { min: 1, max: 1_000_000 }, "2048", Startup, "documents or events asked for at once of a source that answers in wholes (MongoDB, which gives 16 MB else)"),
    s("source.max-login-size", Size, "1MB", Startup, "bytes taken from a source until it has let us in"),
    s("source.scram-iterations-min", Integer { min: 1, max: 10_000_000 }, "4096", Startup, "iterations of SCRAM that a source must ask for: fewer make a password easy to guess"),
    s("source.scram-iterations-max", Integer { min: 4096, max: 1_000_000_000 }, "1000000", Startup, "iterations of SCRAM that a source may ask for: each takes time here"),
    s("scan.payload-bytes", Size, "1MB", Startup, "bytes per piece of a scan"),
    // pipes
    s("pipe.next-rows", Integer { min: 1, max: 10_000_000 }, "16384", Startup, "rows per batch of changes"),
    s("pipe.next-bytes", Size, "4MB", Startup, "bytes per batch of changes"),
    s("pipe.idle-wait", Milliseconds, "100ms", Startup, "longest wait for a change before commands are looked at"),
    s("pipe.idle-checkpoint", Milliseconds, "10s", Startup, "time between notes of idle progress"),
    s("pipe.max-running", Integer { min: 1, max: 10_000 }, "100", Startup, "pipes running at the same time"),
    // target
    s("target.small-batch-rows", Integer { min: 0, max: 10_000 }, "32", Startup, "batches up to this size are applied without staging"),
    // lake
    s("lake.url", Text, "", Startup, "where the lake is; empty: lake in the data directory"),
    s("lake.roots", Text, "", Startup, "directories, with commas, below which a statement may name a lake; the data directory is always one"),
    s("lake.fsync", Bool, "on", Startup, "sync files of a local lake before a flush returns; off only for tests"),
    s("lake.file-size", Size, "128MB", Startup, "data files a snapshot or compaction aims at"),
    s("lake.draft-bytes", Size, "32MB", Startup, "bytes of a transaction's changes of one table in memory from which on they are written ahead of its commit"),
    s("lake.row-group-bytes", Size, "16MB", Startup, "bytes of a row group in memory before it is written"),
    s("lake.finder-threads", Integer { min: 1, max: 64 }, "2", Startup, "files searched for keys at the same time"),
    s("lake.key-cache", Size, "64MB", Startup, "memory for key columns of files searched again and again"),
    s("lake.compact.interval", Milliseconds, "30s", Startup, "time between looks for files to compact; 0: never"),
    s("lake.compact.small-file", Size, "32MB", Startup, "files below this are merged"),
    s("lake.compact.min-files", Integer { min: 2, max: 100_000 }, "8", Startup, "small files before they are merged"),
    s("lake.compact.dead-percent", Integer { min: 1, max: 100 }, "20", Startup, "share of dead rows that has a file rewritten"),
    s("lake.checkpoint-commits", Integer { min: 1, max: 1_000_000 }, "100", Startup, "commits between log checkpoints"),
    s("lake.log-retention", Milliseconds, "1h", Startup, "how long log entries are kept after a checkpoint"),
    s("lake.vacuum-retention", Milliseconds, "1h", Startup, "how long removed files are kept, and earlier versions can be read"),
    s("lake.vacuum-interval", Milliseconds, "10min", Startup, "time between clean-ups of a table; 0: never"),
    // sessions
    reported(s("application_name", Text, "", Session, "name of the client program")),
    reported(s("client_encoding", Text, "UTF8", Session, "encoding of the client; UTF8 alone")),
    reported(s("DateStyle", Text, "ISO, MDY", Session, "form of dates in text; ISO alone")),
    reported(s("IntervalStyle", Enum(&["postgres"]), "postgres", Session, "form of intervals in text")),
    reported(s("TimeZone", Text, "UTC", Session, "zone in which timestamptz is shown and read")),
    reported(s("standard_conforming_strings", Enum(&["on"]), "on", Session, "backslashes in plain strings are plain")),
    reported(s("integer_datetimes", Enum(&["on"]), "on", Internal, "timestamps are whole microseconds")),
    reported(s("server_version", Text, "15.0 (Standpipe)", Internal, "the PostgreSQL version whose manners this server has")),
    s("server_version_num", Text, "150000", Internal, "the same as a number"),
    reported(s("server_encoding", Text, "UTF8", Internal, "encoding of the server")),
    reported(s("is_superuser", Text, "on", Internal, "the session's role is an admin")),
    reported(s("session_authorization", Text, "", Internal, "the session's role")),
    reported(s("default_transaction_read_only", Bool, "off", Session, "new transactions are read only")),
    reported(s("in_hot_standby", Bool, "off", Internal, "always off")),
    s("transaction_read_only", Bool, "off", Session, "the current transaction is read only"),
    s("transaction_isolation", Enum(&["read committed", "repeatable read", "serializable", "read uncommitted"]), "read committed", Session, "isolation of the current transaction"),
    s("default_transaction_isolation", Enum(&["read committed", "repeatable read", "serializable", "read uncommitted"]), "read committed", Session, "isolation of new transactions"),
    s("search_path", Text, "\"$user\", public, lake, standpipe", Session, "schemas that unqualified names are looked up in"),
    s("statement_timeout", Milliseconds, "0", Session, "longest a statement may take; 0: no limit"),
    s("lock_timeout", Milliseconds, "0", Session, "accepted; nothing here waits for locks"),
    s("idle_in_transaction_session_timeout", Milliseconds, "0", Session, "longest a session may sit idle in a block; 0: no limit"),
    s("idle_session_timeout", Milliseconds, "0", Session, "longest a session may sit idle; 0: no limit"),
    s("client_min_messages", Enum(&["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"]), "notice", Session, "least severity of messages sent to the client"),
    s("extra_float_digits", Integer { min: -15, max: 3 }, "1", Session, "digits of floats in text; any positive value gives the shortest exact form"),
    s("bytea_output", Enum(&["hex", "escape"]), "hex", Session, "form of bytea in text"),
    s("max_result_rows", Integer { min: 0, max: i64::MAX }, "0", Session, "rows a query may return; 0: no limit"),
    s("synchronous_commit", Text, "on", Session, "accepted; catalog writes are always durable"),
    s("row_security", Bool, "on", Session, "accepted; there are no row policies"),
    s("check_function_bodies", Bool, "on", Session, "accepted; there are no function bodies"),
    s("default_tablespace", Text, "", Session, "accepted; there are no tablespaces"),
    s("default_table_access_method", Text, "heap", Session, "accepted; tables have no access methods"),
    s("max_index_keys", Text, "32", Internal, "columns an index may have"),
    s("max_identifier_length", Text, "63", Internal, "bytes of a name that PostgreSQL keeps"),
    s("jit", Bool, "off", Session, "accepted; queries are not compiled"),
];

/// Finds a setting; case does not matter.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|x| x.name.eq_ignore_ascii_case(name))
}

/// Where a value came from, as `pg_settings.source` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The built-in default.
    Default,
    /// The configuration file.
    File,
    /// `STANDPIPE_NAME`.
    Environment,
    /// `--set` or a flag.
    CommandLine,
    /// The client's start-up packet.
    Client,
    /// SET.
    Session,
}

impl Origin {
    /// As `pg_settings` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Default => "default",
            Origin::File => "configuration file",
            Origin::Environment => "environment variable",
            Origin::CommandLine => "command line",
            Origin::Client => "client",
            Origin::Session => "session",
        }
    }
}

/// The values of a running server; sessions lay theirs over it.
#[derive(Debug, Clone, Default)]
pub struct Config {
    values: BTreeMap<&'static str, (String, Origin)>,
}

impl Config {
    /// Sets a value after checking it. Errors: unknown name 42704 with the nearest one, bad value 22023.
    pub fn set(&mut self, name: &str, value: &str, origin: Origin) -> Result<()> {
        let setting = find(name).ok_or_else(|| unknown(name))?;
        self.values.insert(setting.name, (check(setting, value)?, origin));
        Ok(())
    }
    /// Back to the default.
    pub fn reset(&mut self, name: &str) {
        if let Some(setting) = find(name) {
            self.values.remove(setting.name);
        }
    }
    /// The value as text, and where it came from. Names that are not in the table are a bug of ours and read as empty.
    pub fn get(&self, name: &str) -> (&str, Origin) {
        match (find(name), self.values.get(find(name).map_or("", |x| x.name))) {
            (_, Some((v, o))) => (v, *o),
            (Some(x), None) => (x.default, Origin::Default),
            (None, None) => {
                debug_assert!(false, "no setting {name}");
                ("", Origin::Default)
            }
        }
    }
    /// Text.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).0
    }
    /// A boolean.
    pub fn flag(&self, name: &str) -> bool {
        parse_bool(self.text(name)).unwrap_or(false)
    }
    /// A whole number.
    pub fn integer(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }
    /// A number for sizes of things in memory.
    pub fn count(&self, name: &str) -> usize {
        usize::try_from(self.integer(name)).unwrap_or(0)
    }
    /// A size in bytes.
    pub fn size(&self, name: &str) -> usize {
        parse_size(self.text(name)).unwrap_or(0)
    }
    /// A time.
    pub fn duration(&self, name: &str) -> Duration {
        parse_milliseconds(self.text(name)).unwrap_or_default()
    }
}

/// The error for a name that is no setting.
pub fn unknown(name: &str) -> Error {
    Error::new(Kind::UndefinedObject, format!("unrecognized configuration parameter \"{name}\"")).with_hint("SHOW ALL lists the settings.")
}

/// Checks a value and gives its stored form.
pub fn check(setting: &Setting, value: &str) -> Result<String> {
    let v = value.trim();
    let ok = match setting.kind {
        Text => return Ok(value.to_string()),
        Bool => parse_bool(v).map(|b| if b { "on" } else { "off" }.to_string()),
        Integer { min, max } => v.parse::<i64>().ok().filter(|n| (min..=max).contains(n)).map(|n| n.to_string()),
        Milliseconds => parse_milliseconds(v).map(|_| with_unit(v)),
        Size => parse_size(v).map(|_| v.to_string()),
        Enum(words) => words.iter().find(|w| w.eq_ignore_ascii_case(v)).map(|w| w.to_string()),
    };
    ok.ok_or_else(|| {
        let e = Error::new(Kind::BadOption, format!("invalid value for parameter \"{}\": \"{value}\"", setting.name));
        match setting.kind {
            Enum(words) => e.with_hint(format!("Available values: {}.", words.join(", "))),
            Integer { min, max } => e.with_hint(format!("Use a whole number from {min} to {max}.")),
            Milliseconds => e.with_hint("Valid units are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\"."),
            Size => e.with_hint("Valid units are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\"."),
            _ => e,
        }
    })
}

fn parse_bool(s: &str) -> Option<bool> {
    let s = s.to_ascii_lowercase();
    match s.as_str() {
        "on" | "1" | "true" | "yes" | "t" | "y" => Some(true),
        "off" | "0" | "false" | "no" | "f" | "n" => Some(false),
        _ => None,
    }
}

fn split_unit(s: &str) -> Option<(f64, &str)> {
    let end = s.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(s.len());
    Some((s[..end].parse().ok()?, s[end..].trim()))
}

fn parse_milliseconds(s: &str) -> Option<Duration> {
    let (n, unit) = split_unit(s.trim())?;
    let seconds = match unit {
        "us" => n / 1e6,
        "" | "ms" => n / 1e3,
        "s" => n,
        "min" => n * 60.0,
        "h" => n * 3600.0,
        "d" => n * 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// A bare number of milliseconds in the largest unit that it is a whole number of, as PostgreSQL shows it.
fn with_unit(v: &str) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];
    match v.parse::<u64>() {
        Ok(n) if n > 0 => units.iter().find(|(_, factor)| n % factor == 0).map_or_else(|| v.to_string(), |(unit, factor)| format!("{}{unit}", n / factor)),
        _ => v.to_string(),
    }
}

fn parse_size(s: &str) -> Option<usize> {
    let (n, unit) = split_unit(s.trim())?;
    let factor = match unit {
        "" | "B" => 1u64,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return None,
    };
    Some((n * factor as f64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid_and_names_are_unique() {
        for setting in SETTINGS {
            check(setting, setting.default).unwrap_or_else(|e| panic!("{}: {e}", setting.name));
            assert_eq!(SETTINGS.iter().filter(|x| x.name.eq_ignore_ascii_case(setting.name)).count(), 1, "{}", setting.name);
            assert!(!setting.doc.is_empty(), "{}", setting.name);
        }
    }

    #[test]
    fn values_are_read_with_units() {
        let mut c = Config::default();
        c.set("STATEMENT_TIMEOUT", "2 min", Origin::Session).expect("valid");
        assert_eq!(c.duration("statement_timeout"), Duration::from_secs(120));
        c.set("statement_timeout", "1500", Origin::Session).expect("valid");
        assert_eq!(c.text("statement_timeout"), "1500ms");
        assert_eq!(c.size("send_buffer"), 65536);
        assert_eq!(c.set("jit", "perhaps", Origin::Session).expect_err("invalid").sqlstate(), "22023");
        assert_eq!(c.set("nothing", "1", Origin::Session).expect_err("unknown").sqlstate(), "42704");
    }
}
