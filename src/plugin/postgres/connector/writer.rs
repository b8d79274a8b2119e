//! A writer: gathers changes, applies them in one transaction with their mark, and leaves nothing behind when anything fails.

use super::super::client::{Session, failed, qualified};
use super::marks;
use super::pipeline::{Answer, Command, Effect, Step, StepError, run};
use super::rows::pick;
use super::settings::Settings;
use super::shape::{Shape, ShapeOptions};
use super::target::relations;
use crate::data::{Content, Lossy, Part, Rows, TableId, TableName, TableVersion, collapse};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::{OnDdl, OnDelete, OnLossy, OnTruncate, truncated};
use crate::plugin::{Counts, Flushed, Input, Mark, MarkKind, Place, TargetTable, Writer, WriterRole};
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio_postgres::Statement;
use tokio_postgres::types::Type;
use uuid::Uuid;

/// Bytes counted for an input without rows.
const BARRIER_BYTES: usize = 64;

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

/// A table of ours.
#[derive(Debug, Clone, Default)]
pub struct Owned {
    /// Its name at the source, for errors.
    pub source: String,
    /// What is still to be run once it is loaded.
    pub unfinished: Vec<String>,
}

/// A writer on a connection of its own.
pub struct PgWriter {
    pub(super) session: Session,
    pub(super) role: WriterRole,
    pub(super) identity: Identity,
    pub(super) settings: Arc<Settings>,
    /// Our tables that this writer writes, by quoted name.
    pub(super) owned: BTreeMap<String, Owned>,
    /// The same of tables set up in the open transaction.
    pub(super) taken: BTreeMap<String, Owned>,
    /// Tables whose unfinished statements have run in the open transaction.
    pub(super) finished: Vec<String>,
    shapes: HashMap<(TableId, Place), Vec<Arc<Shape>>>,
    shape_number: usize,
    pub(super) statements: HashMap<String, Statement>,
    /// Temporary tables of this session; true: used in the open transaction.
    pub(super) stages: HashMap<String, bool>,
    pub(super) steps: Vec<Step>,
    pub(super) subjects: Vec<TableId>,
    pending: Vec<Input>,
    pending_bytes: usize,
    /// A transaction is open, or its BEGIN is queued.
    pub(super) open: bool,
    /// It holds more than what is pending.
    pub(super) sent: bool,
    /// Inserts of new rows may go by plain COPY; not any more once a row was there after all.
    pub(super) direct_inserts: bool,
    pub(super) load: Option<super::load::Load>,
    /// Quoted name of the table that the open transaction has loaded.
    pub(super) loaded: Option<String>,
    flushed: Flushed,
    pub(super) bytes: u64,
    emits: bool,
}

/// How changes are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A merge of many rows at once.
    Sets,
    /// In the source's order, a row at a time: where other unique indexes or foreign keys stand against sets, and to find a row at fault.
    Rows,
}

/// A piece of work between barriers.
enum Work {
    Rows(Arc<TargetTable>, Arc<TableVersion>, Vec<Rows>),
    Barrier(Input),
}

impl PgWriter {
    /// Makes the session a writer's.
    pub async fn new(session: Session, role: WriterRole, identity: Identity, settings: Arc<Settings>, owned: BTreeMap<String, Owned>) -> Result<Self> {
        let may = "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_logical_emit_message(bool, text, text)', 'EXECUTE')";
        let emits = session.query_one(may, &[]).await.map_err(failed("could not set up a writer at the target"))?.get(0);
        // triggers and foreign keys of the target were obeyed at the source; where the login may not switch them off, they run
        if session.batch_execute("SET session_replication_role = replica").await.is_err() && session.is_closed() {
            return Err(super::super::client::connection_lost("could not set up a writer at the target"));
        }
        if matches!(role, WriterRole::Changes(_)) {
            set_origin(&session, identity.pipe).await;
        }
        Ok(PgWriter {
            session,
            role,
            identity,
            settings,
            owned,
            taken: BTreeMap::new(),
            finished: Vec::new(),
            shapes: HashMap::new(),
            shape_number: 0,
            statements: HashMap::new(),
            stages: HashMap::new(),
            steps: Vec::new(),
            subjects: Vec::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            open: false,
            sent: false,
            direct_inserts: true,
            load: None,
            loaded: None,
            flushed: Flushed::default(),
            bytes: 0,
            emits,
        })
    }

    /// Counters of a table in this flush.
    pub(super) fn counts(&mut self, id: TableId) -> &mut Counts {
        self.flushed.tables.entry(id).or_default()
    }

    /// What a table's values lost in this flush.
    pub(super) fn lossy(&mut self, id: TableId) -> &mut Lossy {
        self.flushed.lossy.entry(id).or_default()
    }

    /// Name of the table that rows go to.
    pub(super) fn place(&self, t: &TargetTable) -> TableName {
        match t.place {
            Place::Live => t.target.clone(),
            Place::Stage => TableName::new(marks::SCHEMA, marks::stage_name(self.identity.pipe, t.table.id, t.table.generation)),
        }
    }

    /// Opens the transaction if it is not. The first thing in it says which pipe writes, so that another pipe can leave it out.
    pub(super) fn begin(&mut self) {
        if self.open {
            return;
        }
        let message = match (self.emits, self.role) {
            (true, WriterRole::Changes(_) | WriterRole::Snapshot(_)) => format!("; SELECT pg_catalog.pg_logical_emit_message(true, 'standpipe', '{}')", self.identity.pipe),
            _ => String::new(),
        };
        self.steps.push(Step { command: Command::Batch(format!("BEGIN{message}")), effect: Effect::None, subject: None });
        self.open = true;
    }

    /// Sends the queue and counts its answers.
    pub(super) async fn drain(&mut self) -> Result<(), StepError> {
        if self.steps.is_empty() {
            return Ok(());
        }
        let steps = std::mem::take(&mut self.steps);
        for (effect, subject, answer) in run(&self.session, steps).await? {
            let Some(id) = subject.and_then(|s| self.subjects.get(s).copied()) else { continue };
            let counts = self.counts(id);
            match (effect, answer) {
                (Effect::Deleted, Answer::Affected(n)) => counts.deletes += n,
                (Effect::Updated, Answer::Affected(n)) => counts.updates += n,
                (Effect::Upserted, Answer::Row(row)) => {
                    let (fresh, all): (i64, i64) = (row.get(0), row.get(1));
                    counts.inserts += fresh as u64;
                    counts.updates += (all - fresh) as u64;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How a version of a table is written, asking the target once per version.
    pub(super) async fn shape(&mut self, t: &TargetTable, version: &Arc<TableVersion>) -> Result<Arc<Shape>, StepError> {
        let key = (version.id, t.place);
        let same = |s: &&Arc<Shape>| {
            Arc::ptr_eq(&s.table, version) || (s.table.generation == version.generation && s.table.columns == version.columns && s.table.key == version.key)
        };
        if let Some(known) = self.shapes.get(&key).and_then(|all| all.iter().find(same)) {
            return Ok(known.clone());
        }
        self.drain().await?;
        let name = self.place(t);
        let there = relations(&self.session, std::slice::from_ref(&name)).await?;
        let Some(there) = there.get(&name) else {
            let e = Error::new(Kind::UndefinedTable, format!("table {name} does not exist at the target"));
            return Err(e.with_hint("RESYNC PIPE makes it anew.").for_table(version.name.to_string()).into());
        };
        self.shape_number += 1;
        let options = ShapeOptions {
            number: self.shape_number,
            skip_missing: self.settings.on_ddl == OnDdl::Ignore,
            soft: self.settings.on_delete == OnDelete::Soft,
            lossy_null: &|column| self.settings.on_lossy(&version.name, column) == OnLossy::Null,
        };
        let shape = Arc::new(Shape::new(version, &name, there, &options)?);
        self.shapes.entry(key).or_default().push(shape.clone());
        Ok(shape)
    }

    /// Statements have run that change what the target is like.
    pub(super) fn forget_all_shapes(&mut self) {
        self.shapes.clear();
        self.statements.clear();
    }

    /// The target's structure has changed under our hands.
    pub(super) fn forget_shapes(&mut self, id: TableId) {
        self.shapes.retain(|(table, _), _| *table != id);
        self.statements.clear();
    }

    fn works(&self, mode: Mode) -> Vec<Work> {
        let (mut done, mut open): (Vec<Work>, Vec<Work>) = (Vec::new(), Vec::new());
        for input in &self.pending {
            match input {
                Input::Change { table, part: Part { table: version, content: Content::Rows(rows) } } => {
                    let found = open.iter_mut().find_map(|w| match w {
                        Work::Rows(t, v, all) if mode == Mode::Sets && t.place == table.place && t.table.id == table.table.id => Some((v, all)),
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

    async fn apply_pending(&mut self, mode: Mode) -> Result<(), StepError> {
        for work in self.works(mode) {
            match work {
                Work::Rows(t, version, parts) => {
                    let mut shape = self.shape(&t, &version).await?;
                    if t.place == Place::Stage && !shape.arbiter && !shape.key.is_empty() {
                        self.drain().await?;
                        self.finish_stage(&TargetTable { table: version.clone(), ..(*t).clone() }).await?;
                        shape = self.shape(&t, &version).await?;
                    }
                    match mode {
                        Mode::Sets => self.apply_set(&shape, parts).await?,
                        Mode::Rows => self.apply_rows(&shape, parts).await?,
                    }
                }
                Work::Barrier(input) => {
                    self.drain().await?;
                    self.barrier(input).await?;
                }
            }
        }
        Ok(())
    }

    async fn apply_set(&mut self, shape: &Arc<Shape>, parts: Vec<Rows>) -> Result<(), StepError> {
        if self.settings.on_delete == OnDelete::Delete {
            return self.apply(shape, &collapse(&shape.table, &parts)?).await;
        }
        let kept = parts.iter().map(Rows::without_deletes).collect::<Result<Vec<_>>>()?;
        self.apply(shape, &collapse(&shape.table, &kept)?).await?;
        if self.settings.on_delete == OnDelete::Soft {
            let all = collapse(&shape.table, &parts)?;
            let subject = self.subject(shape.table.id);
            self.delete(shape, &all.deletes, true, subject).await?;
            self.delete(shape, &all.vanished, true, subject).await?;
        }
        Ok(())
    }

    async fn apply_rows(&mut self, shape: &Arc<Shape>, parts: Vec<Rows>) -> Result<(), StepError> {
        for part in parts {
            for i in 0..part.len() as u32 {
                let one = pick(&part, &[i])?;
                let merged = collapse(&shape.table, std::slice::from_ref(&one))?;
                let applied = match &merged.base_keys {
                    Some(_) => self.rekey(shape, &merged, 0).await,
                    None => self.apply_set(shape, vec![one.clone()]).await,
                };
                let drained = match applied {
                    Ok(()) => self.drain().await,
                    Err(e) => Err(e),
                };
                drained.map_err(|mut e| {
                    if e.is_data() {
                        let types = if e.code.as_deref().is_some_and(|c| c.starts_with("22")) { shape.differences() } else { String::new() };
                        e.error = e.error.with_detail(format!("{} of table {}. {types}", shape.table.key_text(&one.after, 0), shape.table.name).trim_end());
                    }
                    e
                })?;
            }
        }
        Ok(())
    }

    async fn barrier(&mut self, input: Input) -> Result<(), StepError> {
        match input {
            Input::Setup(t) => self.setup(&t).await,
            Input::Swap(t) => self.swap(&t).await,
            Input::Leave(t) => self.leave(&t).await,
            Input::Change { table, part } => match part.content {
                Content::Truncate => self.truncate(&table).await,
                Content::Schema(change) => self.alter(&table, &change).await,
                Content::Rows(_) => Ok(()),
            },
            Input::Load { .. } => Err(Error::internal("a chunk among changes").into()),
        }
    }

    async fn truncate(&mut self, t: &TargetTable) -> Result<(), StepError> {
        match self.settings.on_truncate {
            OnTruncate::Ignore => return Ok(()),
            OnTruncate::Stop => return Err(truncated(&t.table.name).into()),
            OnTruncate::Propagate => {}
        }
        self.empty(&self.place(t)).await?;
        self.counts(t.table.id).truncates += 1;
        Ok(())
    }

    /// Empties a table; where foreign keys point at it, by deleting its rows.
    pub(super) async fn empty(&mut self, name: &TableName) -> Result<(), StepError> {
        let quoted = qualified(name)?;
        let referenced = "SELECT FROM pg_catalog.pg_constraint WHERE confrelid = $1::text::regclass AND contype = 'f' AND conrelid <> confrelid LIMIT 1";
        let pointed_at = !self.ask("could not empty a table at the target", referenced, &[&quoted]).await?.is_empty();
        let sql = if pointed_at { format!("DELETE FROM {quoted}") } else { format!("TRUNCATE {quoted}") };
        self.now("could not empty a table at the target", &sql).await
    }

    /// Applies what is pending; sets first, then row by row where the data stand against that.
    async fn settle(&mut self, mark: Option<&Mark>) -> Result<(), StepError> {
        let mut mode = Mode::Sets;
        loop {
            let before = self.flushed.clone();
            let attempt = self.attempt(mode, mark).await;
            let Err(e) = attempt else { return Ok(()) };
            let changes = self.pending.iter().any(|i| matches!(i, Input::Change { part: Part { content: Content::Rows(_), .. }, .. }));
            if !e.is_data() || mode == Mode::Rows || !changes {
                return Err(self.named(e));
            }
            self.roll_back(true).await?;
            self.flushed = before;
            mode = if self.direct_inserts && e.code.as_deref() == Some("23505") { Mode::Sets } else { Mode::Rows };
            self.direct_inserts = false;
        }
    }

    /// The error says which table it is about, where a statement was for one.
    fn named(&self, mut e: StepError) -> StepError {
        let id = e.subject.and_then(|s| self.subjects.get(s));
        if let (Some(id), None) = (id, e.error.table())
            && let Some(shape) = self.shapes.iter().find(|((t, _), _)| t == id).and_then(|(_, all)| all.first())
        {
            e.error = e.error.for_table(shape.table.name.to_string());
        }
        e
    }

    async fn attempt(&mut self, mode: Mode, mark: Option<&Mark>) -> Result<(), StepError> {
        self.begin();
        if self.sent {
            self.steps.push(Step { command: Command::Batch("SAVEPOINT standpipe".into()), effect: Effect::None, subject: None });
        }
        self.apply_pending(mode).await?;
        match mark {
            Some(mark) => {
                self.mark(mark).await?;
                crate::failpoint::hit("before-commit").await?;
                self.steps.push(Step { command: Command::Batch("COMMIT".into()), effect: Effect::Commit, subject: None });
                self.drain().await
            }
            None => self.drain().await,
        }
    }

    /// Queues the statement that stores the mark and fails where the epoch is not ours.
    async fn mark(&mut self, mark: &Mark) -> Result<(), StepError> {
        let (pipe, shard, epoch) = (self.identity.pipe, self.identity.shard as i32, self.identity.epoch);
        if let MarkKind::Stage { .. } = mark.kind {
            let statement = self.statement(marks::CHECK, &[Type::UUID, Type::INT4, Type::INT8]).await?;
            let params: Vec<super::pipeline::Param> = vec![Box::new(pipe), Box::new(shard), Box::new(epoch)];
            self.steps.push(Step { command: Command::Query(statement, params), effect: Effect::Fence, subject: None });
            return Ok(());
        }
        let seq = (mark.kind == MarkKind::Changes).then_some(mark.seq);
        let tables: Vec<String> = match &mark.kind {
            MarkKind::Changes => self.owned.keys().chain(self.taken.keys()).cloned().collect::<HashSet<_>>().into_iter().collect(),
            _ => self.loaded.iter().cloned().collect(),
        };
        if let MarkKind::Chunk { table, generation, chunk } = &mark.kind {
            let sql = "INSERT INTO _standpipe.chunk (pipe, table_id, generation, chunk) VALUES ($1, $2, $3, $4)";
            let statement = self.statement(sql, &[Type::UUID, Type::INT8, Type::INT8, Type::TEXT]).await?;
            let params: Vec<super::pipeline::Param> = vec![Box::new(pipe), Box::new(i64::from(table.0)), Box::new(*generation), Box::new(chunk.to_string())];
            self.steps.push(Step { command: Command::Execute(statement, params), effect: Effect::None, subject: None });
        }
        let statement = self.statement(marks::MARK, &[Type::UUID, Type::INT4, Type::INT8, Type::INT8, Type::TEXT, Type::TEXT_ARRAY]).await?;
        let checkpoint = mark.checkpoint.clone();
        let params: Vec<super::pipeline::Param> = vec![Box::new(pipe), Box::new(shard), Box::new(epoch), Box::new(seq), Box::new(checkpoint), Box::new(tables)];
        self.steps.push(Step { command: Command::Query(statement, params), effect: Effect::Fence, subject: None });
        Ok(())
    }

    /// Takes back what the transaction did: all of it, or what came after the savepoint.
    async fn roll_back(&mut self, to_savepoint: bool) -> Result<(), StepError> {
        self.steps.clear();
        self.stages.clear();
        self.load = None;
        self.taken.clear();
        let sql = if to_savepoint && self.sent { "ROLLBACK TO SAVEPOINT standpipe" } else { "ROLLBACK" };
        self.open = to_savepoint && self.sent;
        self.session.batch_execute(sql).await.map_err(|e| StepError::of("could not roll back at the target", e))
    }

    /// After an error: nothing is pending, nothing is open, so that the others can be written again.
    async fn abandon(&mut self) {
        self.shapes.clear();
        self.statements.clear();
        if self.open && !self.session.is_closed() && self.roll_back(false).await.is_err() {
            tracing::debug!("the connection to the target ended before its transaction");
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.steps.clear();
        self.subjects.clear();
        self.pending.clear();
        self.pending_bytes = 0;
        (self.open, self.sent, self.load, self.loaded) = (false, false, None, None);
        self.taken.clear();
        self.finished.clear();
        self.flushed = Flushed::default();
        self.bytes = 0;
        self.stages.values_mut().for_each(|used| *used = false);
    }

    async fn write_one(&mut self, input: Input) -> Result<(), StepError> {
        if let Input::Load { table, payload, upsert, .. } = input {
            return self.load_payload(&table, payload, upsert).await;
        }
        self.pending_bytes += match &input {
            Input::Change { part: Part { content: Content::Rows(rows), .. }, .. } => rows.bytes(),
            _ => BARRIER_BYTES,
        };
        self.pending.push(input);
        if self.pending_bytes > self.settings.batch_bytes {
            self.finish_loaded().await?;
            self.settle(None).await?;
            self.pending.clear();
            (self.pending_bytes, self.sent) = (0, true);
        }
        Ok(())
    }

    async fn flush_one(&mut self, mark: &Mark) -> Result<Flushed, StepError> {
        self.finish_load(mark).await?;
        self.finish_loaded().await?;
        self.settle(Some(mark)).await?;
        self.flushed.bytes = self.bytes;
        let flushed = std::mem::take(&mut self.flushed);
        let mut taken = std::mem::take(&mut self.taken);
        for name in std::mem::take(&mut self.finished) {
            self.owned.entry(name).or_default().unfinished.clear();
        }
        self.reset();
        self.owned.append(&mut taken);
        Ok(flushed)
    }
}

/// A replication origin lets other systems tell our transactions apart. Not every login may; the message in each transaction says the same.
async fn set_origin(session: &Session, pipe: Uuid) {
    let name = marks::origin(pipe);
    let create = format!("SELECT pg_catalog.pg_replication_origin_create('{name}') WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_origin WHERE roname = '{name}')");
    let setup = format!("SELECT pg_catalog.pg_replication_origin_session_setup('{name}')");
    for sql in [create, setup] {
        if let Err(e) = session.batch_execute(&sql).await {
            tracing::debug!(error = %e, "no replication origin at the target");
            return;
        }
    }
}

#[async_trait]
impl Writer for PgWriter {
    async fn write(&mut self, input: Input) -> Result<()> {
        match self.write_one(input).await {
            Ok(()) => Ok(()),
            Err(e) => {
                let e = self.named(e);
                self.abandon().await;
                Err(e.error)
            }
        }
    }
    async fn flush(&mut self, mark: &Mark) -> Result<Flushed> {
        match self.flush_one(mark).await {
            Ok(flushed) => Ok(flushed),
            Err(e) => {
                let e = self.named(e);
                self.abandon().await;
                Err(e.error)
            }
        }
    }
}
