//! A writer: gathers changes, applies them in one transaction with their mark, and leaves nothing behind when anything fails.

use super::super::client::literal;
use super::super::types::OWN;
use super::super::wire::{Outcome, Wire};
use super::details::{details, everything};
use super::shape::{Shape, ShapeOptions};
use super::{Settings, marks};
use crate::data::{ColumnChange, Content, Lossy, Part, Rows, SchemaChange, TableId, TableName, TableVersion, collapse};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::{OnDdl, OnDelete, OnLossy, OnTruncate, truncated};
use crate::plugin::{Counts, Flushed, Input, Mark, MarkKind, Place, TargetTable, Writer, WriterRole};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use uuid::Uuid;

/// Bytes counted for an input without rows.
const BARRIER_BYTES: usize = 64;
/// Bytes of a packet that are not the statement's rows, at most.
const STATEMENT_HEAD: usize = 64 * 1024;

/// Who writes.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The pipe.
    pub pipe: Uuid,
    /// The shard row whose epoch guards the commits.
    pub shard: u32,
    /// The epoch that `begin` took for it.
    pub epoch: i64,
}

/// A writer on a connection of its own.
pub struct MyWriter {
    pub(super) wire: Wire,
    role: WriterRole,
    pub(super) identity: Identity,
    pub(super) settings: Arc<Settings>,
    /// Our tables that this writer writes, by quoted name, with their names at the source.
    pub(super) owned: BTreeMap<String, String>,
    /// The same of tables set up since the last flush.
    pub(super) taken: BTreeMap<String, String>,
    /// Statements to be run when the flush is durable; nobody needs them if they are not.
    pub(super) afterwards: Vec<String>,
    shapes: HashMap<(TableId, Place), Vec<Arc<Shape>>>,
    pending: Vec<Input>,
    pending_bytes: usize,
    open: bool,
    /// The open transaction has rows of a table without a key, which must not come twice.
    keyless: bool,
    /// Tables, by quoted name, that were made ready for their new copies since the last flush.
    pub(super) room: BTreeSet<String>,
    /// Quoted name of the table that the open transaction has loaded.
    loaded: Option<String>,
    flushed: Flushed,
    pub(super) bytes: u64,
    /// Bytes of one statement, about, and at most.
    pub(super) statement_bytes: usize,
    pub(super) max_statement: usize,
    /// What became of the connection is not known.
    broken: bool,
}

/// A piece of work between barriers.
enum Work {
    Rows(Arc<TargetTable>, Arc<TableVersion>, Vec<Rows>),
    Barrier(Input),
}

impl MyWriter {
    /// Makes the session a writer's.
    pub async fn new(mut wire: Wire, role: WriterRole, identity: Identity, settings: Arc<Settings>, owned: BTreeMap<String, String>) -> Result<Self> {
        let most = wire.value("could not set up a writer at the target", "SELECT @@max_allowed_packet").await?;
        let most = most.and_then(|m| m.parse::<usize>().ok()).unwrap_or(STATEMENT_HEAD * 2);
        if let WriterRole::Changes(_) | WriterRole::Snapshot(_) = role {
            marks::announce(&mut wire, identity.pipe, identity.shard).await?;
        }
        let max_statement = most.saturating_sub(STATEMENT_HEAD).max(STATEMENT_HEAD);
        Ok(MyWriter {
            wire,
            role,
            identity,
            owned,
            taken: BTreeMap::new(),
            afterwards: Vec::new(),
            shapes: HashMap::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            open: false,
            keyless: false,
            room: BTreeSet::new(),
            loaded: None,
            flushed: Flushed::default(),
            bytes: 0,
            statement_bytes: settings.statement_bytes.min(max_statement),
            max_statement,
            settings,
            broken: false,
        })
    }
    /// Counters of a table in this flush.
    pub(super) fn counts(&mut self, id: TableId) -> &mut Counts {
        self.flushed.tables.entry(id).or_default()
    }
    /// Values of a table that became NULL in this flush.
    pub(super) fn lost(&mut self, id: TableId, lossy: &Lossy) {
        if lossy.values() > 0 {
            self.flushed.lossy.entry(id).or_default().add(lossy);
        }
    }
    /// Name of the table that rows go to.
    pub(super) fn place(&self, t: &TargetTable) -> TableName {
        match t.place {
            Place::Live => t.target.clone(),
            Place::Stage => TableName::new(OWN, marks::stage_name(self.identity.pipe, t.table.id, t.table.generation)),
        }
    }
    fn shard_row(&self) -> String {
        format!("pipe = '{}' AND shard = {} AND epoch = {}", self.identity.pipe, self.identity.shard, self.identity.epoch)
    }
    /// Opens the transaction if it is not. The first thing in it makes sure that the epoch is ours, and keeps it so: the row is held. It also says
    /// in the target's log which pipe writes. A copy in the making, which nobody sees before its swap, holds nothing up.
    pub(super) async fn begin(&mut self) -> Result<()> {
        if self.open {
            return Ok(());
        }
        let (what, row) = ("could not begin a transaction at the target", self.shard_row());
        let ours = if let WriterRole::Stage(_) = self.role {
            let out = self.wire.run(what, &format!("START TRANSACTION; SELECT 1 FROM `_standpipe`.`shard` WHERE {row}")).await?;
            out.rows.len() == 1
        } else {
            let out = self.wire.run(what, &format!("START TRANSACTION; UPDATE `_standpipe`.`shard` SET turn = turn + 1 WHERE {row}")).await?;
            out.affected.last() == Some(&1)
        };
        self.open = true;
        if ours { Ok(()) } else { Err(marks::fenced()) }
    }
    /// Makes what is open durable without a mark, as the DDL that follows would: it is repeated after a crash, and does no harm then. Errors:
    /// `NotSupported` where it would.
    pub(super) async fn let_go(&mut self) -> Result<()> {
        if self.keyless {
            let e = Error::new(Kind::NotSupported, "a structure changes in the midst of rows of a table without a key, which would be written twice if it were repeated");
            return Err(e.with_hint("RESYNC PIPE ... TABLE takes a new copy of the table whose structure changes; give the other one a primary key."));
        }
        self.begin().await?;
        self.wire.run("could not commit at the target", "COMMIT").await?;
        self.open = false;
        Ok(())
    }
    /// Runs statements in the transaction.
    pub(super) async fn now(&mut self, what: &str, sql: &str) -> Result<Outcome> {
        self.begin().await?;
        self.wire.run(what, sql).await
    }
    /// Runs a statement that commits by itself. The epoch was ours just before.
    pub(super) async fn define(&mut self, what: &str, sql: &str) -> Result<()> {
        self.let_go().await?;
        self.wire.run(what, sql).await.map(|_| ())
    }

    /// How a version of a table is written, asking the target once per version.
    pub(super) async fn shape(&mut self, t: &TargetTable, version: &Arc<TableVersion>) -> Result<Arc<Shape>> {
        let key = (version.id, t.place);
        let same = |s: &&Arc<Shape>| {
            Arc::ptr_eq(&s.table, version) || (s.table.generation == version.generation && s.table.columns == version.columns && s.table.key == version.key)
        };
        if let Some(known) = self.shapes.get(&key).and_then(|all| all.iter().find(same)) {
            return Ok(known.clone());
        }
        let name = self.place(t);
        let there = everything(&mut self.wire, std::slice::from_ref(&name), &self.settings).await?.pop();
        let Some(there) = there else {
            let e = Error::new(Kind::UndefinedTable, format!("table {name} does not exist at the target"));
            return Err(e.with_hint("RESYNC PIPE makes it anew.").for_table(version.name.to_string()));
        };
        let details = details(&mut self.wire, std::slice::from_ref(&name)).await?.remove(&name).unwrap_or_default();
        let policies = &self.settings.policies;
        let options = ShapeOptions {
            skip_missing: policies.on_ddl == OnDdl::Ignore,
            soft: policies.on_delete == OnDelete::Soft && t.place == Place::Live,
            lossy_null: &|column| policies.on_lossy(&version.name, column) == OnLossy::Null,
            details: &details,
        };
        let shape = Arc::new(Shape::new(version, &name, &there, &options)?);
        self.shapes.entry(key).or_default().push(shape.clone());
        Ok(shape)
    }
    /// The target's structure has changed under our hands.
    pub(super) fn forget_shapes(&mut self, id: TableId) {
        self.shapes.retain(|(table, _), _| *table != id);
    }

    /// Changes of one table lie together as far as no barrier stands between.
    fn works(&self) -> Vec<Work> {
        let (mut done, mut open): (Vec<Work>, Vec<Work>) = (Vec::new(), Vec::new());
        for input in &self.pending {
            match input {
                Input::Change { table, part: Part { table: version, content: Content::Rows(rows) } } => {
                    let found = open.iter_mut().find_map(|w| match w {
                        Work::Rows(t, v, all) if t.place == table.place && t.table.id == table.table.id => Some((v, all)),
                        _ => None,
                    });
                    match found {
                        Some((v, all)) if Arc::ptr_eq(v, version) || v.columns == version.columns => all.push(rows.clone()),
                        Some(_) => {
                            done.append(&mut open);
                            open.push(Work::Rows(table.clone(), version.clone(), vec![rows.clone()]));
                        }
                        None => open.push(Work::Rows(table.clone(), version.clone(), vec![rows.clone()])),
                    }
                }
                other => {
                    done.append(&mut open);
                    done.push(Work::Barrier(other.clone()));
                }
            }
        }
        done.append(&mut open);
        done
    }
    /// Structures are changed before rows are written, since that makes durable what is open. A change of a table goes first where nothing of that
    /// table stands before it, or where it does rows no harm.
    async fn hoist(&mut self, works: Vec<Work>) -> Result<Vec<Work>> {
        let (mut rest, mut written, mut changed) = (Vec::with_capacity(works.len()), HashSet::new(), HashSet::new());
        for work in works {
            let (target, kind) = match &work {
                Work::Rows(t, ..) => (t.target.clone(), Kindred::Rows),
                Work::Barrier(input) => kindred(input),
            };
            let free = !changed.contains(&target) && (kind == Kindred::Addition || !written.contains(&target));
            match (&work, kind) {
                (Work::Barrier(Input::Setup(t)), _) if free => {
                    self.setup(t).await?;
                    continue;
                }
                (Work::Barrier(Input::Change { table, part: Part { content: Content::Schema(change), .. } }), _) if free => {
                    self.alter(table, change).await.map_err(|e| in_table(e, table))?;
                    continue;
                }
                (Work::Barrier(Input::Swap(t)), _) if free => {
                    self.make_room(&TargetTable { place: Place::Live, ..(**t).clone() }).await?;
                    changed.insert(target);
                }
                (_, Kindred::Rows) => drop(written.insert(target)),
                _ => drop(changed.insert(target)),
            }
            rest.push(work);
        }
        Ok(rest)
    }
    async fn settle(&mut self) -> Result<()> {
        let mut works = self.works();
        if !self.keyless {
            works = self.hoist(works).await?;
        }
        for work in works {
            match work {
                Work::Rows(t, version, parts) => {
                    self.begin().await?;
                    let shape = self.shape(&t, &version).await?;
                    self.apply_set(&shape, parts).await.map_err(|e| of_table(e, &shape))?;
                }
                Work::Barrier(input) => self.barrier(input).await?,
            }
        }
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }
    async fn apply_set(&mut self, shape: &Arc<Shape>, parts: Vec<Rows>) -> Result<()> {
        self.keyless |= shape.key.is_empty();
        let on_delete = self.settings.policies.on_delete;
        if on_delete == OnDelete::Delete {
            let merged = collapse(&shape.table, &parts)?;
            // what was made and removed may have been made durable before a crash
            self.delete(shape, &merged.vanished, false, false).await?;
            return self.apply(shape, &merged).await;
        }
        let kept = parts.iter().map(Rows::without_deletes).collect::<Result<Vec<_>>>()?;
        self.apply(shape, &collapse(&shape.table, &kept)?).await?;
        if on_delete == OnDelete::Soft {
            let all = collapse(&shape.table, &parts)?;
            self.delete(shape, &all.deletes, true, true).await?;
            self.delete(shape, &all.vanished, true, true).await?;
        }
        Ok(())
    }
    async fn barrier(&mut self, input: Input) -> Result<()> {
        match input {
            Input::Setup(t) => self.setup(&t).await,
            Input::Swap(t) => self.swap(&t).await,
            Input::Leave(t) => self.leave(&t).await,
            Input::Change { table, part } => match part.content {
                Content::Truncate => self.truncate(&table).await,
                Content::Schema(change) => self.alter(&table, &change).await.map_err(|e| in_table(e, &table)),
                Content::Rows(_) => Ok(()),
            },
            Input::Load { .. } => Err(Error::internal("a chunk among changes")),
        }
    }
    /// A TRUNCATE statement would commit: another process might have the epoch by then. So its rows are deleted.
    async fn truncate(&mut self, t: &TargetTable) -> Result<()> {
        match self.settings.policies.on_truncate {
            OnTruncate::Ignore => return Ok(()),
            OnTruncate::Stop => return Err(truncated(&t.table.name)),
            OnTruncate::Propagate => {}
        }
        self.empty(&self.place(t)).await?;
        self.counts(t.table.id).truncates += 1;
        Ok(())
    }

    /// Stores the mark in the transaction, and makes sure that every table in it is ours.
    async fn mark(&mut self, mark: &Mark) -> Result<()> {
        let what = "could not store the mark at the target";
        let (pipe, row) = (self.identity.pipe, self.shard_row());
        let tables: Vec<String> = match &mark.kind {
            MarkKind::Stage { .. } => Vec::new(),
            MarkKind::Changes => self.owned.keys().chain(self.taken.keys()).cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect(),
            MarkKind::Chunk { .. } => self.loaded.iter().cloned().collect(),
        };
        if !tables.is_empty() {
            let list = tables.iter().map(|t| literal(t)).collect::<Vec<_>>().join(", ");
            let sql = format!("SELECT count(*) FROM `_standpipe`.`owner` WHERE pipe = '{pipe}' AND target IN ({list}) LOCK IN SHARE MODE");
            if self.wire.value(what, &sql).await?.and_then(|n| n.parse::<usize>().ok()) != Some(tables.len()) {
                return Err(marks::fenced());
            }
        }
        match &mark.kind {
            MarkKind::Stage { .. } => {}
            MarkKind::Chunk { table, generation, chunk } => {
                let chunk = literal(chunk);
                let sql = format!("INSERT INTO `_standpipe`.`chunk` (pipe, table_id, generation, digest, chunk) VALUES ('{pipe}', {}, {generation}, unhex(md5({chunk})), {chunk})", table.0);
                self.wire.run(what, &sql).await?;
            }
            MarkKind::Changes => {
                let checkpoint = mark.checkpoint.as_ref().map_or_else(|| "checkpoint".to_string(), |c| literal(c));
                let sql = format!("UPDATE `_standpipe`.`shard` SET seq = {}, checkpoint = {checkpoint}, turn = turn + 1 WHERE {row}", mark.seq);
                if self.wire.run(what, &sql).await?.affected.last() != Some(&1) {
                    return Err(marks::fenced());
                }
            }
        }
        Ok(())
    }

    async fn write_one(&mut self, input: Input) -> Result<()> {
        if let Input::Load { table, payload, upsert, .. } = input {
            // a copy in the making may have to be made first
            self.settle().await?;
            self.begin().await?;
            let shape = self.shape(&table, &table.table.clone()).await?;
            self.loaded = Some(shape.quoted.clone());
            return self.load(&shape, payload, upsert).await.map_err(|e| of_table(e, &shape));
        }
        self.pending_bytes += match &input {
            Input::Change { part: Part { content: Content::Rows(rows), .. }, .. } => rows.bytes(),
            _ => BARRIER_BYTES,
        };
        self.pending.push(input);
        if self.pending_bytes > self.settings.batch_bytes { self.settle().await } else { Ok(()) }
    }
    async fn flush_one(&mut self, mark: &Mark) -> Result<Flushed> {
        self.settle().await?;
        self.begin().await?;
        self.mark(mark).await?;
        crate::failpoint::hit("before-commit").await?;
        self.wire.run("could not commit at the target", "COMMIT").await?;
        self.open = false;
        self.flushed.bytes = self.bytes;
        let flushed = std::mem::take(&mut self.flushed);
        let mut taken = std::mem::take(&mut self.taken);
        self.owned.append(&mut taken);
        let afterwards = std::mem::take(&mut self.afterwards);
        self.reset();
        for sql in afterwards {
            if let Err(e) = self.wire.run("could not tidy up at the target", &sql).await {
                tracing::debug!(error = %e, "something is left at the target");
            }
        }
        Ok(flushed)
    }
    fn reset(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
        (self.open, self.keyless, self.loaded) = (false, false, None);
        self.room.clear();
        self.taken.clear();
        self.afterwards.clear();
        self.flushed = Flushed::default();
        self.bytes = 0;
    }
    /// After an error: nothing is pending, nothing is open, so that the others can be written again.
    async fn abandon(&mut self) {
        self.shapes.clear();
        self.broken = self.wire.run("could not roll back at the target", "ROLLBACK").await.is_err();
        self.reset();
    }
    async fn ended<T>(&mut self, done: Result<T>) -> Result<T> {
        if done.is_err() {
            self.abandon().await;
        }
        done
    }
    fn usable(&self) -> Result<()> {
        if self.broken { Err(super::super::client::connection_lost("the connection to the target is gone")) } else { Ok(()) }
    }
}

/// What a piece of work does to its table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kindred {
    /// Its rows change.
    Rows,
    /// New columns alone, which rows of before may lack.
    Addition,
    /// Anything else.
    Structure,
}

/// The table of a barrier, and what it does to it.
fn kindred(input: &Input) -> (TableName, Kindred) {
    match input {
        Input::Setup(t) | Input::Swap(t) | Input::Leave(t) => (t.target.clone(), Kindred::Structure),
        Input::Load { table, .. } => (table.target.clone(), Kindred::Rows),
        Input::Change { table, part } => {
            let kind = match &part.content {
                Content::Rows(_) | Content::Truncate => Kindred::Rows,
                Content::Schema(change) if is_addition(change) => Kindred::Addition,
                Content::Schema(_) => Kindred::Structure,
            };
            (table.target.clone(), kind)
        }
    }
}

fn is_addition(change: &SchemaChange) -> bool {
    let optional = |name: &String| change.after.column(name).is_some_and(|i| change.after.columns[i].nullable || change.after.columns[i].default.is_some());
    change.changes.iter().all(|c| matches!(c, ColumnChange::Add(name) if optional(name)))
}

/// A change that can't be made concerns its table alone.
fn in_table(e: Error, t: &TargetTable) -> Error {
    if e.kind() == Kind::NotSupported && e.table().is_none() { e.for_table(t.table.name.to_string()) } else { e }
}

/// A refusal that concerns this table alone: its data, its structure, a right on it.
fn of_table(e: Error, shape: &Shape) -> Error {
    let own = matches!(e.kind(), Kind::NoRight | Kind::Refused | Kind::Constraint | Kind::UndefinedTable | Kind::UndefinedColumn | Kind::LimitExceeded);
    if own && e.table().is_none() { e.for_table(shape.table.name.to_string()) } else { e }
}

#[async_trait]
impl Writer for MyWriter {
    async fn write(&mut self, input: Input) -> Result<()> {
        self.usable()?;
        let done = self.write_one(input).await;
        self.ended(done).await
    }
    async fn flush(&mut self, mark: &Mark) -> Result<Flushed> {
        self.usable()?;
        let done = self.flush_one(mark).await;
        self.ended(done).await
    }
}
