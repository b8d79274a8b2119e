//! What only grows: exceptions, events, audit. Not in snapshots, bounded per subject, read in pages, newest first.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::collection::Key;
use crate::id::Timestamp;
use crate::options::Retention;
use crate::record;

/// A list of entries per subject (a pipe), or one list in all (`Subject = String`, the empty one).
pub trait History: 'static {
    /// Its name in the store.
    const NAME: &'static str;
    type Subject: Key;
    type Entry: Serialize + DeserializeOwned + Send + 'static;
}

/// One entry as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<E> {
    /// Grows with time within its history, never given twice.
    pub id: i64,
    pub at: Timestamp,
    pub value: E,
}

/// Which entries to read, newest first. The next page begins `before` the last id of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub before: Option<i64>,
    pub limit: u32,
    /// Inclusive bounds on the time.
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

impl Page {
    /// The newest entries.
    pub fn newest(limit: u32) -> Page {
        Page { before: None, limit, from: None, to: None }
    }

    /// What follows (is older than) the entry `id`.
    pub fn before(self, id: i64) -> Page {
        Page { before: Some(id), ..self }
    }
}

/// What the store needs to know of a history.
pub(crate) struct Log {
    pub name: &'static str,
    /// Entries kept per subject.
    pub keep: fn(&Retention) -> u32,
    pub check: fn(&str) -> Result<(), String>,
}

const fn log<H: History>(keep: fn(&Retention) -> u32) -> Log {
    Log { name: H::NAME, keep, check: check::<H> }
}

fn check<H: History>(text: &str) -> Result<(), String> {
    serde_json::from_str::<H::Entry>(text).map(|_| ()).map_err(|e| e.to_string())
}

/// Every history there is.
pub(crate) const LOGS: &[Log] = &[
    log::<record::Exceptions>(|keep| keep.exceptions),
    log::<record::Events>(|keep| keep.events),
    log::<record::LogLines>(|keep| keep.log_lines),
    log::<record::CheckpointLog>(|keep| keep.checkpoints),
    log::<record::Cleanups>(|keep| keep.cleanups),
    log::<record::AuditLog>(|keep| keep.audit),
];

pub(crate) fn find(name: &str) -> Option<&'static Log> {
    LOGS.iter().find(|log| log.name == name)
}
