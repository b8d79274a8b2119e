//! What a flush can be asked to do to a table.

use super::changes::ChangeSet;
use super::schema::TableMeta;
use super::types::LakeType;
use crate::data::Lossy;
use crate::error::Result;
use crate::plugin::Counts;
use std::sync::Arc;

/// What to do with rows that are there before set-up and are not the pipe's own.
pub use crate::plugin::policy::OnRows as Existing;

/// How a table is to be set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Name, type and PostgreSQL type of each column.
    pub columns: Vec<(String, LakeType, String)>,
    /// Names of the key's columns, in key order.
    pub key: Vec<String>,
    /// The table's number in the owner's catalog.
    pub table_id: u32,
    /// Which copy.
    pub generation: i64,
    /// Rows of others.
    pub existing: Existing,
    /// Make the table if it is not there.
    pub create: bool,
}

/// One step of a flush. Truncates, changes of structure and rows may follow each other in any order.
#[derive(Debug, Clone)]
pub enum Work {
    /// Create or take the table, empty. Alone in its flush.
    Setup(Setup),
    /// Remove all rows.
    Truncate,
    /// Change the structure.
    Alter(Vec<Alter>),
    /// Changes of rows.
    Rows(Arc<dyn Changes>),
    /// Exchange the copy in the making of this generation for the live rows; a table that is not the pipe's own yet is taken with it. Alone
    /// in its flush.
    Swap(Setup),
    /// Let go of the table: its rows stay. Alone in its flush.
    Leave,
}

/// Gives changes in the columns of a structure, which may be another one each time a commit is planned.
pub trait Changes: Send + Sync + std::fmt::Debug {
    /// The changes for a table of this structure, to be done one after the other, each with how many values lost something.
    fn for_table(&self, meta: &TableMeta) -> Result<Vec<(ChangeSet, Lossy)>>;
}

/// One change of structure.
#[derive(Debug, Clone, PartialEq)]
pub enum Alter {
    Add { name: String, ty: LakeType, pg_type: String },
    Drop(String),
    Rename { from: String, to: String },
    /// The key has other columns.
    Key(Vec<String>),
}

impl Alter {
    /// Applies it; one that is there already is done.
    pub fn apply(&self, meta: &mut TableMeta) -> Result<()> {
        let has = |name: &str| meta.columns.iter().find(|c| c.name == name);
        match self {
            Alter::Add { name, ty, .. } if has(name).is_some_and(|c| c.ty == *ty) => Ok(()),
            Alter::Add { name, ty, pg_type } => meta.add_column(name, *ty, pg_type),
            Alter::Drop(name) if has(name).is_none() => Ok(()),
            Alter::Drop(name) => meta.drop_column(name),
            Alter::Rename { from, to } if has(from).is_none() && has(to).is_some() => Ok(()),
            Alter::Rename { from, to } => meta.rename_column(from, to),
            Alter::Key(names) => meta.set_key(names),
        }
    }
}

/// What a flush did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows.
    pub counts: Counts,
    /// Values that lost something.
    pub lossy: Lossy,
    /// Bytes of new data files.
    pub bytes: u64,
}

impl Applied {
    /// And more.
    pub fn add(&mut self, more: &Applied) {
        self.counts.inserts += more.counts.inserts;
        self.counts.updates += more.counts.updates;
        self.counts.deletes += more.counts.deletes;
        self.counts.truncates += more.counts.truncates;
        self.lossy.add(&more.lossy);
        self.bytes += more.bytes;
    }
}
