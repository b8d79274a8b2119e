//! What queries ask of the lake. The lake's plugin answers; without it the schema `lake` is there and empty.

use crate::data::Column;
use crate::error::Result;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use std::fmt::Debug;
use std::sync::Arc;

/// The lake as queries see it.
#[async_trait]
pub trait LakeAccess: Debug + Send + Sync {
    /// Every table, for the system tables.
    async fn tables(&self) -> Result<Vec<LakeTable>>;
    /// A table to read, at its newest version or an older one; None: there is none. Errors: `WrongPhase` (55000) with the oldest version that is
    /// kept in DETAIL.
    async fn table(&self, schema: &str, name: &str, at: Option<LakeTime>) -> Result<Option<Arc<dyn TableProvider>>>;
}

/// A version of a lake table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LakeTime {
    /// The number of a commit.
    Version(i64),
    /// The newest commit at or before this instant, in microseconds since 1970-01-01 UTC.
    Timestamp(i64),
}

/// A lake table as the system tables describe it.
#[derive(Debug, Clone)]
pub struct LakeTable {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Columns.
    pub columns: Vec<Column>,
    /// Positions of the key's columns.
    pub key: Vec<usize>,
    /// Comment.
    pub comment: Option<String>,
    /// Rows, where the log tells.
    pub rows: Option<u64>,
    /// Bytes of the live files.
    pub bytes: Option<u64>,
}
