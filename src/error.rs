//! The one error of the program. A `Kind` says what went wrong in the user's terms; one exhaustive table turns it into a SQLSTATE and
//! a retry class, so that no error can reach a client or the supervisor without both having been decided.
//!
//! Prose follows PostgreSQL: the message is short, lower case and has no full stop; DETAIL has facts and the other system's words; HINT
//! names the next statement to run. No secret ever enters any of the texts.

use std::error::Error as StdError;
use std::fmt;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with everything a client, a view or the log shows.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<usize>,
    table: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What the supervisor does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Begin again at once (a lost race; bounded by the restart strategy all the same).
    Now,
    /// Begin again after the restart strategy's delay.
    Backoff,
    /// Stop in FAILED until a person has mended the cause and runs the hinted statement.
    Manual,
    /// Stop in FAILED; trying again can't help (fenced, a bug).
    Never,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $state:literal $retry:ident;)*) => {
        /// What kind of error this is. Each variant has one SQLSTATE and one retry class.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }
        impl Kind {
            /// Every kind, for tests and documentation.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)*];
            /// The five-character SQLSTATE of PostgreSQL's appendix A.
            pub const fn sqlstate(self) -> &'static str { match self { $(Kind::$kind => $state,)* } }
            /// What the supervisor does when a pipe ends with this kind.
            pub const fn retry(self) -> Retry { match self { $(Kind::$kind => Retry::$retry,)* } }
        }
    };
}

kinds! {
    /// The text is no statement.
    Syntax "42601" Manual;
    /// An object (pipe, source, role, setting, plugin) that is not there.
    UndefinedObject "42704" Manual;
    /// A parameter `$n` that there is no value for.
    UndefinedParameter "42P02" Manual;
    /// A table that is not there, or not synced.
    UndefinedTable "42P01" Manual;
    /// A column that is not there.
    UndefinedColumn "42703" Manual;
    /// A function that is not there.
    UndefinedFunction "42883" Manual;
    /// A database, that is a source, that is not there.
    UndefinedDatabase "3D000" Manual;
    /// A schema that is not there.
    UndefinedSchema "3F000" Manual;
    /// A name that fits several things.
    Ambiguous "42702" Manual;
    /// A name that is taken.
    DuplicateObject "42710" Manual;
    /// A table's name that is taken.
    DuplicateTable "42P07" Manual;
    /// A prepared statement's or cursor's name that is taken.
    DuplicateCursor "42P03" Manual;
    /// A prepared statement of that name exists.
    DuplicateStatement "42P05" Manual;
    /// The object is used by another one, or by somebody else.
    InUse "55006" Backoff;
    /// Not valid in this phase or state.
    WrongPhase "55000" Manual;
    /// The position in the source is gone, or is not of the history we read: needs RESYNC.
    PositionLost "55000" Manual;
    /// Another process took the epoch, or the target went back: trying again can't help.
    Fenced "55000" Never;
    /// Other objects depend on it.
    Dependents "2BP01" Manual;
    /// An option or value that is unknown, ill-typed, missing or out of range.
    BadOption "22023" Manual;
    /// Understood, but not possible.
    NotSupported "0A000" Manual;
    /// The role may not do this.
    NoRight "42501" Manual;
    /// Login refused: password.
    BadPassword "28P01" Manual;
    /// Login refused: role or method.
    BadLogin "28000" Manual;
    /// Not inside a transaction block.
    ActiveTransaction "25001" Manual;
    /// Only inside a transaction block.
    NoTransaction "25P01" Manual;
    /// The block has failed.
    FailedTransaction "25P02" Manual;
    /// A savepoint that is not there.
    UndefinedSavepoint "3B001" Manual;
    /// The session sat idle in a block for too long.
    IdleInTransaction "25P03" Manual;
    /// The session sat idle for too long.
    IdleSession "57P05" Manual;
    /// A setting that this session can't change.
    CantChange "55P02" Manual;
    /// The block is read only.
    ReadOnly "25006" Manual;
    /// A catalog version moved meanwhile; a serialization failure.
    Conflict "40001" Now;
    /// Another system can't be reached.
    Unreachable "08001" Backoff;
    /// The connection to another system broke off.
    ConnectionLost "08006" Backoff;
    /// A peer broke the protocol.
    Protocol "08P01" Manual;
    /// Another system refused, with words of its own.
    Refused "58000" Manual;
    /// Another system refused for a passing cause (deadlock, lock time-out, shutting down, too many connections).
    Busy "58000" Backoff;
    /// Cancelled, or a time-out of ours.
    Cancelled "57014" Backoff;
    /// The server shuts down.
    ShuttingDown "57P01" Backoff;
    /// Too many clients.
    TooManyClients "53300" Backoff;
    /// A disk is full, ours or the other system's.
    DiskFull "53100" Backoff;
    /// A memory limit is reached.
    OutOfMemory "53200" Backoff;
    /// A configured limit (result size, rows, bytes) is reached.
    LimitExceeded "54000" Manual;
    /// Files of our own could not be read or written.
    Io "58030" Backoff;
    /// Files of our own are damaged.
    Corrupt "XX001" Never;
    /// A value out of range.
    OutOfRange "22003" Manual;
    /// A value that its type can't be read from.
    BadText "22P02" Manual;
    /// A text that is no date, time or interval.
    BadDatetime "22007" Manual;
    /// A date or time out of range.
    DatetimeOverflow "22008" Manual;
    /// A number that a logarithm is not defined for.
    BadLogarithm "2201E" Manual;
    /// A number that a power or root is not defined for.
    BadPower "2201F" Manual;
    /// A type that can't be cast to another.
    CannotCast "42846" Manual;
    /// A position or expression that the select list does not have.
    BadReference "42P10" Manual;
    /// A LIMIT below zero.
    BadLimit "2201W" Manual;
    /// A regular expression that is none, or is not supported.
    BadRegex "2201B" Manual;
    /// A malformed binary value.
    BadBinary "22P03" Manual;
    /// Bytes that are not of the encoding.
    BadEncoding "22021" Manual;
    /// A column that is neither grouped nor aggregated.
    Grouping "42803" Manual;
    /// A subquery gave more than one row where one is wanted.
    Cardinality "21000" Manual;
    /// Division by zero.
    DivisionByZero "22012" Manual;
    /// A type that does not fit.
    TypeMismatch "42804" Manual;
    /// The types of parameters can't be told.
    IndeterminateType "42P18" Manual;
    /// A value that the target can't hold.
    Lossy "22023" Manual;
    /// A constraint of the target was violated.
    Constraint "23000" Manual;
    /// A cursor that is not there.
    UndefinedCursor "34000" Manual;
    /// A prepared statement that is not there.
    UndefinedStatement "26000" Manual;
    /// A bug in Standpipe.
    Internal "XX000" Never;
}

impl Error {
    /// An error with its message; the rest is added by the `with_` methods.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), detail: None, hint: None, position: None, table: None, source: None }))
    }
    /// A broken invariant of ours. Never for anything that input or another system can cause.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }
    /// Adds DETAIL: facts, and the other system's own message and code. A second detail is put on a line of its own.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        self.0.detail = Some(match self.0.detail.take() {
            Some(old) => format!("{old}\n{detail}"),
            None => detail,
        });
        self
    }
    /// Adds HINT: the next statement to run, or what to change.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }
    /// Adds the byte offset (0-based) into the client's query string; the session turns it into PostgreSQL's character POSITION.
    #[must_use]
    pub fn at(mut self, position: usize) -> Self {
        self.0.position = Some(position);
        self
    }
    /// Says which one table (`schema.table`) it is about: the others of its pipe may go on.
    #[must_use]
    pub fn for_table(mut self, table: impl Into<String>) -> Self {
        self.0.table = Some(table.into());
        self
    }
    /// Attaches the foreign error, for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }
    /// Changes the kind, where a caller knows better what a failure means.
    #[must_use]
    pub fn as_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }
    /// What kind it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }
    /// The SQLSTATE of its kind.
    pub fn sqlstate(&self) -> &'static str {
        self.0.kind.sqlstate()
    }
    /// The retry class of its kind.
    pub fn retry(&self) -> Retry {
        self.0.kind.retry()
    }
    /// The primary message.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// DETAIL.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }
    /// HINT.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
    /// Byte offset into the query string.
    pub fn position(&self) -> Option<usize> {
        self.0.position
    }
    /// The one table it is about.
    pub fn table(&self) -> Option<&str> {
        self.0.table.as_deref()
    }
}

impl fmt::Display for Error {
    /// Message, DETAIL and HINT on one line: for the log and for `exception_message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(detail) = &self.0.detail {
            write!(f, "; DETAIL: {}", detail.replace('\n', " "))?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "; HINT: {}", hint.replace('\n', " "))?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|s| s.as_ref() as _)
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        let kind = if e.kind() == std::io::ErrorKind::StorageFull { Kind::DiskFull } else { Kind::Io };
        Error::new(kind, "input/output error").with_detail(e.to_string()).because(e)
    }
}

impl From<standpipe_catalog::CatalogError> for Error {
    fn from(e: standpipe_catalog::CatalogError) -> Self {
        use standpipe_catalog::ErrorKind as K;
        let kind = match &e.kind {
            K::DiskFull => Kind::DiskFull,
            K::Conflict { .. } => Kind::Conflict,
            K::Duplicate { .. } => Kind::DuplicateObject,
            K::Corrupt => Kind::Corrupt,
            K::Locked { .. } => Kind::InUse,
            K::Io => Kind::Io,
            K::Closed => Kind::ShuttingDown,
            K::Busy => Kind::Busy,
            K::NewerFormat => Kind::NotSupported,
            K::Key => Kind::Io,
            _ => Kind::Internal,
        };
        let mut out = Error::new(kind, e.message.clone());
        if let Some(detail) = &e.detail {
            out = out.with_detail(detail.clone());
        }
        if let Some(hint) = &e.hint {
            out = out.with_hint(hint.clone());
        }
        out.because(e)
    }
}

impl From<arrow::error::ArrowError> for Error {
    /// Arrow's errors on our own batches are bugs of ours; where input can cause one, the caller maps it.
    fn from(e: arrow::error::ArrowError) -> Self {
        Error::internal("a columnar operation failed").with_detail(e.to_string()).because(e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_sqlstate_of_five_characters() {
        for kind in Kind::ALL {
            let state = kind.sqlstate();
            assert!(state.len() == 5 && state.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()), "{kind:?} {state}");
        }
    }

    #[test]
    fn details_add_up_and_print_on_one_line() {
        let e = Error::new(Kind::Refused, "it refused").with_detail("a").with_detail("b").with_hint("c");
        assert_eq!(e.to_string(), "it refused; DETAIL: a b; HINT: c");
    }
}
