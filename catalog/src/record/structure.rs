//! A pipe's tables as the changes at its position have them: an extractor compares what it reads with this structure, not with today's.

use serde::{Deserialize, Serialize};

use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::id::Uuid;

/// The structures, by (pipe, table).
#[derive(Debug)]
pub enum Structures {}

impl Collection for Structures {
    const NAME: &'static str = "structure";
    type Key = (Uuid, Uuid);
    type Value = Structure;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Structure {
    /// Columns, key and facts, in the runtime's own form.
    pub table: serde_json::Value,
}

impl Record for Structure {
    fn check(&self) -> Result<(), Invariant> {
        Invariant::require(self.table.is_object(), || "a structure without columns".to_string())
    }
}
