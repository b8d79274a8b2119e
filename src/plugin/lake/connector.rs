//! `lake-connector`: the contract's target side over the lake's engine. One shard per table; the marks are application transactions in
//! each table's log.

use super::convert;
use super::keeper;
use super::options::{Lake, OnDelete, Rules};
use super::schema::{GENERATION, OWNER, TABLE_ID, TableMeta};
use super::shelf::Shelf;
use super::state::Claim;
use super::table::LakeTable;
use super::types;
use super::work::Existing;
use super::writer::LakeWriter;
use crate::data::TableId;
use crate::error::{Error, Kind, Result};
use crate::plugin::{Begin, Committed, Connector, Leftover, OpenRequest, PipeRef, Prepared, Shard, TargetTable, Writer, WriterRole};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// See the file's head.
pub struct LakeConnector {
    shelf: Arc<Shelf>,
    keeper: Option<AbortOnDropHandle<()>>,
}

impl LakeConnector {
    /// No IO.
    pub fn new(request: &OpenRequest, pipe: &PipeRef) -> Result<LakeConnector> {
        let shelf = Shelf::new(Lake::open(request)?, Rules::new(&request.options)?, pipe.uuid);
        Ok(LakeConnector { shelf: Arc::new(shelf), keeper: None })
    }

    fn table(&self, target: &TargetTable) -> Result<LakeTable> {
        let lake = &self.shelf.lake;
        let location = lake.location.table(&target.target.schema, &target.target.name)?;
        Ok(LakeTable::new(location, lake.settings.clone(), lake.cache.clone()))
    }

    async fn look(&self, target: &TargetTable) -> Result<Prepared> {
        let (rules, version) = (&self.shelf.rules, &target.table);
        let setup = convert::setup(version, rules);
        // What can't be a lake table at all.
        let mut meta = TableMeta::create(&setup.columns, BTreeMap::new(), 0)?;
        meta.set_key(&setup.key)?;
        let table = self.table(target)?;
        let state = table.lock().await?;
        let exists = state.version.is_some();
        let rows: u64 = state.files.values().map(|f| f.alive()).sum();
        let owner = state.meta.properties.get(OWNER).map(String::as_str);
        let ours = owner == Some(self.shelf.pipe.hyphenated().to_string().as_str());
        if exists && !ours && rows > 0 {
            match rules.existing {
                Existing::Error => return Err(table.not_ours(owner, rows)),
                Existing::Append => table.widen(&mut TableMeta::clone(&state.meta), &setup)?,
                Existing::Truncate => {}
            }
        }
        if !exists && !rules.create {
            return Err(Error::new(Kind::UndefinedTable, format!("lake table {} does not exist", target.target)).with_hint("Set create-table to true."));
        }
        let shown = |(name, ty, _): &(String, types::LakeType, String)| {
            let lost = version.column(name).map_or("", |i| self.loss(target, i));
            (name.clone(), ty.to_string(), lost.to_string())
        };
        Ok(Prepared {
            target: target.target.clone(),
            exists,
            has_rows: rows > 0,
            statements: if exists { vec![] } else { vec![format!("create Delta table at {}", table.location.url)] },
            columns: setup.columns.iter().map(shown).collect(),
            wire: None,
            notices: self.notices(target, &setup.columns, &meta),
        })
    }

    /// What can be lost of a column.
    fn loss(&self, target: &TargetTable, column: usize) -> &'static str {
        let c = &target.table.columns[column];
        if convert::column_type(&target.table, c, &self.shelf.rules) == types::LakeType::String || !types::can_lose(&c.logical) {
            return "";
        }
        match c.logical {
            crate::data::LogicalType::Decimal { .. } => "NaN and infinities",
            _ => "infinities and values before year 1",
        }
    }

    fn notices(&self, target: &TargetTable, columns: &[(String, types::LakeType, String)], meta: &TableMeta) -> Vec<String> {
        let mut notices = vec![];
        let of = |name: &str| target.table.column(name).map(|i| &target.table.columns[i]);
        let texts: Vec<String> = columns
            .iter()
            .filter_map(|(name, ty, _)| of(name).filter(|c| types::held_as_text(c, *ty)).map(|c| format!("{name} ({})", c.native)))
            .collect();
        if !texts.is_empty() {
            notices.push(format!("table {}: kept as text in the lake: {}", target.target, texts.join(", ")));
        }
        let generated: Vec<&str> = target.table.columns.iter().filter(|c| c.generated).map(|c| c.name.as_str()).collect();
        if !generated.is_empty() {
            notices.push(format!("table {}: generated columns are left out: {}", target.target, generated.join(", ")));
        }
        if meta.mapped() {
            notices.push(format!("table {}: column names need Delta's column mapping", target.target));
        }
        if target.table.key.is_empty() && self.shelf.rules.on_delete != OnDelete::Ignore {
            notices.push(format!("table {}: it has no key, so the lake takes inserts only", target.target));
        }
        notices
    }
}

#[async_trait]
impl Connector for LakeConnector {
    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<Vec<Prepared>> {
        let looks: Vec<_> = tables.iter().map(|t| self.look(t)).collect();
        let looked: Vec<_> = futures::stream::iter(looks).buffered(self.shelf.lake.settings.open_parallelism).collect().await;
        let (mut prepared, mut faults) = (vec![], vec![]);
        for (target, found) in tables.iter().zip(looked) {
            match found {
                Ok(found) => prepared.push(found),
                // The store itself fails: nothing is known of any table.
                Err(e) if matches!(e.kind(), Kind::Io | Kind::Refused | Kind::DiskFull) => return Err(e),
                Err(e) => faults.push((target, e)),
            }
        }
        match all_faults(faults) {
            Some(e) => Err(e),
            None => Ok(prepared),
        }
    }

    async fn begin(&mut self, begin: &Begin) -> Result<Committed> {
        let claim = Claim::new(self.shelf.pipe, begin.epoch);
        self.keeper = None;
        self.shelf.claim(claim);
        let takes: Vec<_> = begin.tables.iter().map(|target| take(&self.shelf, target)).collect();
        let taken: Vec<_> = futures::stream::iter(takes).buffer_unordered(self.shelf.lake.settings.open_parallelism).try_collect().await?;
        let mut committed = Committed { epoch: begin.epoch, ..Committed::default() };
        for taken in taken {
            if let Some(seq) = taken.seq {
                committed.shards.insert(taken.shard, seq);
            }
            if let Some(copy) = taken.set_up {
                committed.set_up.insert(copy);
                committed.chunks.insert(copy, taken.chunks);
            }
        }
        self.keeper = Some(keeper::start(self.shelf.clone()));
        Ok(committed)
    }

    async fn writer(&mut self, role: WriterRole) -> Result<Box<dyn Writer>> {
        Ok(Box::new(LakeWriter::new(self.shelf.clone(), role)))
    }
}

/// What one table's log says.
struct Taken {
    shard: Shard,
    seq: Option<i64>,
    set_up: Option<(TableId, i64)>,
    chunks: BTreeSet<String>,
}

/// Takes the epoch in one table, and reads its marks.
async fn take(shelf: &Shelf, target: &TargetTable) -> Result<Taken> {
    let table = shelf.open(target).await?;
    let state = table.lock().await?;
    let mut taken = Taken { shard: Shard(target.table.id.0), seq: None, set_up: None, chunks: BTreeSet::new() };
    if state.meta.properties.get(OWNER) != Some(&shelf.pipe.hyphenated().to_string()) {
        return Ok(taken);
    }
    taken.seq = state.marks.seq;
    let id = state.meta.properties.get(TABLE_ID).and_then(|v| v.parse().ok()).map(TableId);
    taken.set_up = id.zip(state.meta.properties.get(GENERATION).and_then(|v| v.parse().ok()));
    drop(state);
    if let Some((_, generation)) = taken.set_up {
        taken.chunks = table.chunks_done(&shelf.pipe, generation).await?;
    }
    Ok(taken)
}

/// One error that says the faults of all tables.
fn all_faults(faults: Vec<(&TargetTable, Error)>) -> Option<Error> {
    let several = faults.len() > 1;
    let detail = faults.iter().map(|(t, e)| format!("{}: {}{}", t.target, e.message(), e.detail().map(|d| format!(" ({d})")).unwrap_or_default()));
    let detail = detail.collect::<Vec<_>>().join("\n");
    let mut hints: Vec<String> = faults.iter().filter_map(|(_, e)| e.hint().map(str::to_string)).collect();
    hints.dedup();
    let (_, first) = faults.into_iter().next()?;
    if !several {
        return Some(first);
    }
    let e = Error::new(first.kind(), "several tables can't be written to the lake").with_detail(detail);
    Some(if hints.is_empty() { e } else { e.with_hint(hints.join(" ")) })
}

/// Lets go of all tables of a dropped pipe: their rows stay, and another pipe may take them (by `on-existing-rows`).
pub async fn release(request: OpenRequest, pipe: Uuid) -> Vec<Leftover> {
    let left = |what: String, e: &Error| Leftover { what, why: e.to_string(), statement: String::new() };
    let lake = match Lake::open(&request) {
        Ok(lake) => lake,
        Err(e) => return vec![left("marks in the lake".into(), &e)],
    };
    let mut leftovers = vec![];
    let schemas = match lake.location.schemas().await {
        Ok(schemas) => schemas,
        Err(e) => return vec![left(format!("marks in the lake at {}", lake.location.url()), &e)],
    };
    for schema in schemas {
        let tables = lake.location.tables(&schema).await.unwrap_or_default();
        for name in tables {
            if let Err(e) = let_go(&lake, &schema, &name, pipe).await {
                leftovers.push(left(format!("owner of lake table {schema}.{name}"), &e));
            }
        }
    }
    leftovers
}

async fn let_go(lake: &Lake, schema: &str, name: &str, pipe: Uuid) -> Result<()> {
    let table = LakeTable::new(lake.location.table(schema, name)?, lake.settings.clone(), lake.cache.clone());
    if table.peek_owner().await? != Some(pipe.hyphenated().to_string()) {
        return Ok(());
    }
    table.leave(pipe).await
}
