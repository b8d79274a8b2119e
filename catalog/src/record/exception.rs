//! What happened to a pipe: errors, events and the lines of its log. Histories by the pipe's UUID.

use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::id::{Timestamp, Uuid};

/// The errors of each pipe.
#[derive(Debug)]
pub enum Exceptions {}

impl History for Exceptions {
    const NAME: &'static str = "exception";
    type Subject = Uuid;
    type Entry = Exception;
}

#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exception {
    /// `schema.table` as shown, if it is one table's.
    pub table: Option<String>,
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub attempt: Option<u32>,
    pub retry_at: Option<Timestamp>,
}

/// The events of each pipe.
#[derive(Debug)]
pub enum Events {}

impl History for Events {
    const NAME: &'static str = "event";
    type Subject = Uuid;
    type Entry = Event;
}

#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Event {
    pub event: String,
    pub run_id: Option<i64>,
    pub task_id: Option<i64>,
    pub detail: Option<String>,
}

/// The log of each pipe.
#[derive(Debug)]
pub enum LogLines {}

impl History for LogLines {
    const NAME: &'static str = "line";
    type Subject = Uuid;
    type Entry = LogLine;
}

#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogLine {
    pub level: String,
    pub message: String,
}
