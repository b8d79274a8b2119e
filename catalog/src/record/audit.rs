//! Who did what: statements, and rows removed from sources.

use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::id::Uuid;

/// The statements that changed something; one list in all (the subject is the empty text).
#[derive(Debug)]
pub enum AuditLog {}

impl History for AuditLog {
    const NAME: &'static str = "audit";
    type Subject = String;
    type Entry = Audit;
}

#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Audit {
    pub user_name: String,
    pub client_addr: Option<String>,
    pub application_name: Option<String>,
    /// Redacted.
    pub statement: String,
    pub sqlstate: String,
    pub message: Option<String>,
    pub duration_ms: u64,
}

/// The CLEAN statements of each pipe.
#[derive(Debug)]
pub enum Cleanups {}

impl History for Cleanups {
    const NAME: &'static str = "cleanup";
    type Subject = Uuid;
    type Entry = Cleanup;
}

#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cleanup {
    pub user_name: String,
    pub client_addr: Option<String>,
    pub pipe: String,
    pub table_name: Option<String>,
    pub sql: String,
    pub rows_deleted: u64,
}
