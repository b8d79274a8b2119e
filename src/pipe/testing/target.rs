//! A target in memory, whole or per shard: transactions that may lose their reply before or after they took effect, epochs, owners, marks, and a
//! strict eye: where a table is JOINED, a row that is expected and not there, or there and not expected, is a violation.

use super::{Row, Shared, gate, keys, rows};
use crate::data::collapse::collapse;
use crate::data::{Content, Op, Rows, TableId, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Begin, Commit, Committed, Connector, Flushed, Input, Mark, MarkKind, Place, Prepared, Shard, TargetTable, Writer, WriterRole};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

type Live = BTreeMap<i64, Row>;

/// One table at the target.
#[derive(Debug, Clone, Default)]
pub struct TableState {
    pub live: Live,
    pub epoch: BTreeMap<Uuid, i64>,
    pub seq: BTreeMap<Uuid, i64>,
    pub owner: Option<Uuid>,
    pub generation: Option<(Uuid, i64)>,
    pub done: BTreeSet<String>,
    pub stage: BTreeMap<i64, Live>,
}

#[derive(Debug, Clone, Default)]
pub struct TargetState {
    pub tables: BTreeMap<u32, TableState>,
    pub marks: BTreeMap<Uuid, String>,
    pub epochs: BTreeMap<Uuid, i64>,
    pub connection: u64,
    pub poison: Option<u32>,
}

pub struct TestConnector {
    pub shared: Shared,
    pub node: u64,
    pub uuid: Uuid,
    pub commit: Commit,
    pub epoch: i64,
    pub connection: u64,
}

fn fenced(why: impl Into<String>) -> Error {
    Error::new(Kind::Fenced, why)
}

/// One transaction; its reply may be lost whether it took effect or not.
async fn transaction<T>(shared: &Shared, connection: u64, f: impl FnOnce(&mut super::world::State) -> Result<T>) -> Result<T> {
    gate().await;
    let mut s = shared.lock();
    if s.target.connection != connection {
        return Err(Error::new(Kind::ConnectionLost, "target connection"));
    }
    let lost = s.lose();
    let lost_reply = || Error::new(Kind::ConnectionLost, "the reply was lost");
    if lost == Some(false) {
        return Err(lost_reply());
    }
    let before = s.target.clone();
    match f(&mut s) {
        Err(e) => {
            let poison = s.target.poison;
            s.target = TargetState { connection: s.target.connection, poison, ..before };
            Err(e)
        }
        Ok(_) if lost == Some(true) => Err(lost_reply()),
        Ok(out) => Ok(out),
    }
}

#[async_trait]
impl Connector for TestConnector {
    async fn prepare(&mut self, _: &[TargetTable]) -> Result<Vec<Prepared>> {
        gate().await;
        Ok(Vec::new())
    }
    async fn begin(&mut self, begin: &Begin) -> Result<Committed> {
        gate().await;
        self.connection = self.shared.lock().target.connection;
        let mut out = Committed { epoch: begin.epoch, ..Committed::default() };
        let uuid = self.uuid;
        if self.commit == Commit::Whole {
            (out.epoch, out.checkpoint) = transaction(&self.shared, self.connection, |s| {
                let epoch = s.target.epochs.entry(uuid).or_default();
                *epoch += 1;
                Ok((*epoch, s.target.marks.get(&uuid).cloned()))
            })
            .await?;
        }
        for table in &begin.tables {
            let id = table.table.id.0;
            let whole = self.commit == Commit::Whole;
            let found = transaction(&self.shared, self.connection, |s| {
                let t = s.target.tables.entry(id).or_default();
                let there = t.epoch.get(&uuid).copied().unwrap_or(0);
                if !whole {
                    if there >= begin.epoch {
                        return Err(fenced(format!("table {id} is at epoch {there}, ours would be {}", begin.epoch)));
                    }
                    t.epoch.insert(uuid, begin.epoch);
                }
                Ok(t.clone())
            })
            .await?;
            if let Some(seq) = found.seq.get(&uuid) {
                out.shards.insert(Shard(id), *seq);
            }
            if let Some((_, generation)) = found.generation.filter(|(u, _)| *u == uuid) {
                out.set_up.insert((TableId(id), generation));
                out.chunks.insert((TableId(id), generation), found.done.clone());
            }
        }
        self.epoch = out.epoch;
        Ok(out)
    }
    async fn writer(&mut self, role: WriterRole) -> Result<Box<dyn Writer>> {
        Ok(Box::new(TestWriter { shared: self.shared.clone(), node: self.node, uuid: self.uuid, commit: self.commit, epoch: self.epoch, connection: self.connection, role, gathered: Vec::new() }))
    }
}

struct TestWriter {
    shared: Shared,
    node: u64,
    uuid: Uuid,
    commit: Commit,
    epoch: i64,
    connection: u64,
    role: WriterRole,
    gathered: Vec<Input>,
}

fn id_of(input: &Input) -> u32 {
    match input {
        Input::Setup(t) | Input::Swap(t) | Input::Leave(t) => t.table.id.0,
        Input::Load { table, .. } | Input::Change { table, .. } => table.table.id.0,
    }
}

#[async_trait]
impl Writer for TestWriter {
    async fn write(&mut self, input: Input) -> Result<()> {
        gate().await;
        self.gathered.push(input);
        Ok(())
    }
    async fn flush(&mut self, mark: &Mark) -> Result<Flushed> {
        let inputs = std::mem::take(&mut self.gathered);
        let shared = self.shared.clone();
        transaction(&shared, self.connection, |s| self.apply(s, mark, &inputs)).await?;
        Ok(Flushed::default())
    }
}

impl TestWriter {
    fn apply(&self, s: &mut super::world::State, mark: &Mark, inputs: &[Input]) -> Result<()> {
        let uuid = self.uuid;
        let per_shard = self.commit == Commit::PerShard;
        if let (true, WriterRole::Changes(shard), MarkKind::Changes) = (per_shard, self.role, &mark.kind) {
            let t = s.target.tables.entry(shard.0).or_default();
            let at = t.seq.get(&uuid).copied().unwrap_or(0);
            if t.epoch.get(&uuid) == Some(&self.epoch) && at == mark.seq {
                return Ok(());
            }
            if at != mark.previous {
                return Err(fenced(format!("shard {} moved: at {at}, expected {}", shard.0, mark.previous)));
            }
        }
        let mut tables: BTreeSet<u32> = inputs.iter().map(id_of).collect();
        if let WriterRole::Changes(shard) = self.role
            && per_shard
        {
            tables.insert(shard.0);
        }
        if let MarkKind::Chunk { table, .. } = &mark.kind {
            tables.insert(table.0);
        }
        if !per_shard && s.target.epochs.get(&uuid) != Some(&self.epoch) {
            return Err(fenced("another process took the epoch"));
        }
        for id in &tables {
            let t = s.target.tables.entry(*id).or_default();
            if per_shard && t.epoch.get(&uuid) != Some(&self.epoch) {
                return Err(fenced("another process took the epoch"));
            }
            let takes = inputs.iter().any(|i| id_of(i) == *id && matches!(i, Input::Setup(_) | Input::Swap(_))) || matches!(self.role, WriterRole::Stage(_));
            if !takes && t.owner.is_some_and(|o| o != uuid) {
                return Err(fenced("the table belongs to another pipe"));
            }
        }
        self.change(s, inputs)?;
        if let MarkKind::Chunk { table, chunk, .. } = &mark.kind {
            s.target.tables.entry(table.0).or_default().done.insert(chunk.to_string());
        }
        if let (MarkKind::Changes, WriterRole::Changes(shard)) = (&mark.kind, self.role) {
            if per_shard {
                s.target.tables.entry(shard.0).or_default().seq.insert(uuid, mark.seq);
            } else if let Some(checkpoint) = &mark.checkpoint {
                s.target.marks.insert(uuid, checkpoint.clone());
            }
        }
        Ok(())
    }

    fn change(&self, s: &mut super::world::State, inputs: &[Input]) -> Result<()> {
        let mut changes: BTreeMap<(u32, bool), Vec<(Arc<TableVersion>, Rows)>> = BTreeMap::new();
        for input in inputs {
            match input {
                Input::Setup(table) => self.set_up(s, table)?,
                Input::Swap(table) => self.swap(s, table)?,
                Input::Leave(_) => {}
                Input::Load { table, payload, upsert, .. } => self.load(s, table, payload, *upsert)?,
                Input::Change { table, part } => match &part.content {
                    Content::Rows(r) => changes.entry((table.table.id.0, table.place == Place::Stage)).or_default().push((table.table.clone(), r.clone())),
                    _ => return Err(Error::internal("the model has no truncates")),
                },
            }
        }
        for ((id, stage), parts) in changes {
            if !stage && s.target.poison == Some(id) {
                s.target.poison = None;
                return Err(Error::new(Kind::Constraint, "a poisoned row").for_table(super::table_name(id).to_string()));
            }
            let table = parts[0].0.clone();
            let rows: Vec<&Rows> = parts.iter().map(|(_, r)| r).collect();
            let strict = if stage { s.exact } else { s.is_joined(self.node, id) };
            let t = s.target.tables.entry(id).or_default();
            let live = if stage { t.stage.entry(table.generation).or_default() } else { &mut t.live };
            if let Err(violation) = apply_changes(&table, live, &rows, strict) {
                s.violate(format!("{violation}: table {id}{}", if stage { " (stage)" } else { "" }));
            }
        }
        Ok(())
    }

    fn set_up(&self, s: &mut super::world::State, table: &TargetTable) -> Result<()> {
        let t = s.target.tables.entry(table.table.id.0).or_default();
        if table.place == Place::Stage {
            t.stage.insert(table.table.generation, Live::default());
            return Ok(());
        }
        let wanted = Some((self.uuid, table.table.generation));
        if t.generation == wanted {
            return Ok(());
        }
        if !t.live.is_empty() && t.owner != Some(self.uuid) {
            return Err(Error::new(Kind::WrongPhase, "the table is not empty"));
        }
        t.live.clear();
        t.done.clear();
        (t.generation, t.owner) = (wanted, Some(self.uuid));
        Ok(())
    }

    fn swap(&self, s: &mut super::world::State, table: &TargetTable) -> Result<()> {
        let (id, generation) = (table.table.id.0, table.table.generation);
        let t = s.target.tables.entry(id).or_default();
        if !t.live.is_empty() && t.owner != Some(self.uuid) {
            return Err(Error::new(Kind::WrongPhase, "the table is not empty"));
        }
        match t.stage.remove(&generation) {
            Some(copy) => t.live = copy,
            None => t.live.clear(),
        }
        (t.generation, t.owner) = (Some((self.uuid, generation)), Some(self.uuid));
        Ok(())
    }

    fn load(&self, s: &mut super::world::State, table: &TargetTable, payload: &crate::data::Payload, upsert: bool) -> Result<()> {
        let crate::data::Payload::Arrow(batch) = payload else { return Err(Error::internal("the model has no wire format")) };
        let t = s.target.tables.entry(table.table.id.0).or_default();
        let live = if table.place == Place::Stage { t.stage.entry(table.table.generation).or_default() } else { &mut t.live };
        for (key, row) in rows(batch) {
            if live.insert(key, row).is_some() && !upsert {
                let text = format!("doubled: a chunk of the first run met key {key} of table {}", table.table.id.0);
                s.violate(text);
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Applies merged changes; the strict eye sees what was expected and is not so.
fn apply_changes(table: &TableVersion, live: &mut Live, parts: &[&Rows], strict: bool) -> std::result::Result<(), String> {
    let merged = collapse(table, parts).map_err(|e| e.to_string())?;
    let before = live.clone();
    let upserts = rows(&merged.upserts);
    let absent = |i: usize, c: usize| merged.present.as_ref().and_then(|p| p[c].as_ref()).is_some_and(|b| !b.value(i));
    for (i, (key, row)) in upserts.iter().enumerate() {
        let there = before.contains_key(key);
        match merged.ops[i] {
            Op::Insert if there && strict => return Err(format!("doubled: key {key} is there")),
            Op::Update if !there && strict => return Err(format!("lost: key {key} is not there")),
            _ => {}
        }
        let mut row = *row;
        if absent(i, 1) || absent(i, 2) {
            let base = merged.base_keys.as_ref().filter(|b| b.set.value(i)).map_or(*key, |b| keys(&b.keys)[i]);
            let Some(old) = before.get(&base) else {
                if strict {
                    return Err(format!("lost: key {key} inherits from {base}, which is not there"));
                }
                continue;
            };
            row = Row { a: if absent(i, 1) { old.a } else { row.a }, x: if absent(i, 2) { old.x } else { row.x } };
        }
        live.insert(*key, row);
    }
    for key in keys(&merged.deletes) {
        if !before.contains_key(&key) && strict {
            return Err(format!("lost: key {key} to be deleted is not there"));
        }
        live.remove(&key);
    }
    for key in keys(&merged.vanished) {
        if before.contains_key(&key) && strict {
            return Err(format!("doubled: key {key} that came and went is there"));
        }
        live.remove(&key);
    }
    Ok(())
}
