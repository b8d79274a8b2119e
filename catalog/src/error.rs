//! What can go wrong in the catalog, in a form that callers can match on and people can act on.
//!
//! The texts follow the program's rule: message short and lower case, detail facts, hint the next thing to do. No secret
//! and no value of an option is ever part of a text.

use std::fmt;

use crate::id::Version;

/// The reason of a [`CatalogError`]; what a caller decides on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Another process has the directory open.
    Locked,
    /// No room on the disk, or the catalog's size limit is reached. Nothing of the write was applied; writes work again
    /// when there is room.
    DiskFull,
    /// The files are not what was written: torn, flipped or not a catalog.
    Corrupt,
    /// A record's version is not the one the write expected. Plan again on a fresh snapshot.
    Conflict { collection: &'static str, key: Box<str>, found: Option<Version> },
    /// Another record of the collection has this name.
    Duplicate { collection: &'static str, name: String },
    /// A record contradicts itself; a bug of the caller.
    Invariant { collection: &'static str, key: String },
    /// The files were written by a newer release.
    NewerFormat,
    /// The secret key is missing, wrong or unreadable.
    Key,
    /// More writes are waiting than `queue_limit`; try again later.
    Busy,
    /// The catalog was closed, or waits for itself.
    Closed,
    /// The operating system refused something. After a failed fsync the catalog takes no more writes until it is
    /// opened again, because what the disk holds is then unknown.
    Io,
    /// A fault of this program.
    Bug,
}

/// An error of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogError {
    pub kind: ErrorKind,
    /// Short, lower case, no full stop.
    pub message: String,
    /// Facts: paths, numbers, the system's own words.
    pub detail: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl CatalogError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        CatalogError { kind, message: message.into(), detail: None, hint: None }
    }

    pub fn detail(mut self, text: impl fmt::Display) -> Self {
        self.detail = Some(text.to_string());
        self
    }

    pub fn hint(mut self, text: impl fmt::Display) -> Self {
        self.hint = Some(text.to_string());
        self
    }

    /// Whether planning again on a fresh snapshot can help.
    pub fn is_conflict(&self) -> bool {
        matches!(self.kind, ErrorKind::Conflict { .. })
    }

    pub(crate) fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
            _ => ErrorKind::Io,
        };
        let made = CatalogError::new(kind, format!("could not {what}")).detail(error);
        if made.kind == ErrorKind::DiskFull { made.hint("free some disk space") } else { made }
    }

    pub(crate) fn corrupt(message: impl Into<String>, detail: impl fmt::Display) -> Self {
        CatalogError::new(ErrorKind::Corrupt, message).detail(detail).hint(CORRUPT_HINT)
    }
}

/// What to do with files that are not what was written. A restored catalog is behind its targets, which the pipes see
/// and handle when they start.
pub(crate) const CORRUPT_HINT: &str = "keep a copy of the directory, run \"standpipe check\" on it, and restore \
catalog.db, catalog.db-wal and secret.key together from one backup";

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for CatalogError {}

/// What a record says that cannot be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invariant(pub String);

impl Invariant {
    /// `Ok` when `holds`, otherwise the sentence.
    pub fn require(holds: bool, sentence: impl FnOnce() -> String) -> Result<(), Invariant> {
        if holds { Ok(()) } else { Err(Invariant(sentence())) }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invariant {}
