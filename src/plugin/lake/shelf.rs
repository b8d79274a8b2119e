//! The lake tables that one pipe has open, shared by its writers and by what keeps the tables small.

use super::options::{Lake, Rules};
use super::state::Claim;
use super::table::LakeTable;
use crate::data::TableName;
use crate::error::{Error, Result};
use crate::plugin::TargetTable;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// When a table was last looked after.
#[derive(Debug, Default)]
pub struct Care {
    /// For files to compact.
    pub compacted: Option<Instant>,
    /// For files to remove.
    pub cleaned: Option<Instant>,
}

/// See the file's head.
pub struct Shelf {
    /// Where.
    pub lake: Lake,
    /// How the pipe writes.
    pub rules: Arc<Rules>,
    /// Whose.
    pub pipe: Uuid,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    claim: Option<Claim>,
    tables: BTreeMap<TableName, Open>,
}

#[derive(Clone)]
struct Open {
    table: Arc<LakeTable>,
    shard: u32,
    care: Arc<Mutex<Care>>,
}

impl Shelf {
    /// Nothing is open yet.
    pub fn new(lake: Lake, rules: Rules, pipe: Uuid) -> Shelf {
        Shelf { lake, rules: Arc::new(rules), pipe, inner: Mutex::default() }
    }

    /// From now on tables are opened under this claim.
    pub fn claim(&self, claim: Claim) {
        let mut inner = self.inner.lock();
        inner.claim = Some(claim);
        inner.tables.clear();
    }

    /// A table; under the claim, if it was not open yet.
    pub async fn open(&self, target: &TargetTable) -> Result<Arc<LakeTable>> {
        let claim = {
            let inner = self.inner.lock();
            if let Some(open) = inner.tables.get(&target.target) {
                return Ok(open.table.clone());
            }
            inner.claim.ok_or_else(|| Error::internal("a lake table is written before begin"))?
        };
        let location = self.lake.location.table(&target.target.schema, &target.target.name)?;
        let table = Arc::new(LakeTable::new(location, self.lake.settings.clone(), self.lake.cache.clone()));
        table.claim(claim).await.map_err(|e| e.with_detail(format!("source table {}", target.table.name)))?;
        let mut inner = self.inner.lock();
        if inner.claim != Some(claim) {
            return Err(Error::internal("a lake connector began again while a table was opened"));
        }
        let open = Open { table, shard: target.table.id.0, care: Arc::default() };
        Ok(inner.tables.entry(target.target.clone()).or_insert(open).table.clone())
    }

    /// The open table of a shard.
    pub fn of_shard(&self, shard: u32) -> Option<Arc<LakeTable>> {
        self.inner.lock().tables.values().find(|o| o.shard == shard).map(|o| o.table.clone())
    }

    /// All open tables, each with the state of its care.
    pub fn all(&self) -> Vec<(Arc<LakeTable>, Arc<Mutex<Care>>)> {
        self.inner.lock().tables.values().map(|o| (o.table.clone(), o.care.clone())).collect()
    }
}
