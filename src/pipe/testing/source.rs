//! A source in memory: a log of transactions, the rows at every position, a slot per pipe that moves a start before its confirmed position
//! forward without a word, as PostgreSQL does.

use super::{CHUNKS, Row, Shared, TABLES, batch, gate, keys, number, position, table_name, version};
use crate::data::{Batch, Content, OldKeys, Op, Part, Payload, Position, Rows, TableName, TableVersion, Txn};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Anchor, AnchorKind, AnchorRequest, Chunk, Extractor, Finding, Identity, Limit, Needs, Resume, Scanner, Source, Want};
use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// One change of a row.
#[derive(Debug, Clone)]
pub struct Change {
    pub table: u32,
    pub op: Op,
    pub old: i64,
    pub key: i64,
    pub a: i64,
    /// None: not in the log, it has not changed.
    pub x: Option<i64>,
}

/// A transaction of the log.
#[derive(Debug, Clone)]
pub struct Tx {
    pub end: u64,
    pub xid: u64,
    pub changes: Vec<Change>,
}

/// A row and where it lies.
pub type Rowset = BTreeMap<i64, (Row, i64)>;
type Tables = BTreeMap<u32, Rowset>;

/// A slot.
#[derive(Debug, Clone)]
pub struct Slot {
    pub confirmed: u64,
    pub low: u64,
    pub incarnation: u64,
    pub holder: Option<u64>,
}

/// The source's whole state.
#[derive(Debug, Clone, Default)]
pub struct SourceState {
    pub end: u64,
    pub log: Vec<Tx>,
    pub rows: Tables,
    pub history: BTreeMap<u64, Tables>,
    pub slots: BTreeMap<Uuid, Slot>,
    pub system: u64,
    pub incarnations: u64,
    pub log_life: u64,
    /// Counts broken connections.
    pub connection: u64,
}

const KEYS: [i64; 4] = [1, 2, 3, 4];

impl SourceState {
    pub fn new() -> SourceState {
        let rows: Tables = TABLES.iter().map(|t| (*t, Rowset::new())).collect();
        SourceState { history: [(0, rows.clone())].into(), rows, ..SourceState::default() }
    }
    /// Somebody commits.
    pub fn commit(&mut self, rng: &mut StdRng, fresh: &mut dyn FnMut() -> i64) {
        self.end += rng.random_range(1..=2);
        let mut changes = Vec::new();
        let n = if rng.random_bool(0.15) { 0 } else { rng.random_range(1..=3) };
        for _ in 0..n {
            let table = TABLES[rng.random_range(0..TABLES.len())];
            let rows = self.rows.entry(table).or_default();
            let (key, v, place) = (KEYS[rng.random_range(0..KEYS.len())], fresh(), rng.random_range(0..CHUNKS));
            let full = rng.random_bool(0.4);
            let Some((row, _)) = rows.get(&key).copied() else {
                rows.insert(key, (Row { a: Some(v), x: Some(v) }, place));
                changes.push(Change { table, op: Op::Insert, old: key, key, a: v, x: Some(v) });
                continue;
            };
            if rng.random_bool(0.25) {
                rows.remove(&key);
                changes.push(Change { table, op: Op::Delete, old: key, key, a: 0, x: None });
                continue;
            }
            let free: Vec<i64> = KEYS.iter().copied().filter(|k| !rows.contains_key(k)).collect();
            let new = if rng.random_bool(0.45) && !free.is_empty() { free[rng.random_range(0..free.len())] } else { key };
            rows.remove(&key);
            let x = if full { Some(v) } else { row.x };
            rows.insert(new, (Row { a: Some(v), x }, place));
            changes.push(Change { table, op: Op::Update, old: key, key: new, a: v, x: full.then_some(v) });
        }
        if !changes.is_empty() {
            self.log.push(Tx { end: self.end, xid: fresh() as u64, changes });
        }
        self.history.insert(self.end, self.rows.clone());
    }
    pub fn at(&self, n: u64) -> &Tables {
        self.history.range(..=n).next_back().map(|(_, t)| t).expect("history begins at 0")
    }
    pub fn create_slot(&mut self, uuid: Uuid) -> u64 {
        self.incarnations += 1;
        self.slots.insert(uuid, Slot { confirmed: self.end, low: self.end, incarnation: self.incarnations, holder: None });
        self.end
    }
    /// As a backup has it: nobody is connected.
    pub fn backup(&self) -> SourceState {
        let mut copy = self.clone();
        copy.slots.values_mut().for_each(|s| s.holder = None);
        copy
    }
    fn identity(&self, uuid: &Uuid) -> Identity {
        let incarnation = self.slots.get(uuid).map_or(0, |s| s.incarnation);
        [("system".to_string(), self.system.to_string()), ("incarnation".to_string(), incarnation.to_string())].into()
    }
}

pub struct TestSource {
    pub shared: Shared,
    pub node: u64,
}

fn lost(what: &str) -> Error {
    Error::new(Kind::ConnectionLost, format!("{what} connection"))
}

#[async_trait]
impl Source for TestSource {
    async fn tables(&mut self, wanted: Option<&[TableName]>) -> Result<Vec<TableVersion>> {
        gate().await;
        let all = TABLES.iter().filter(|t| wanted.is_none_or(|w| w.contains(&table_name(**t))));
        Ok(all.map(|t| version(*t)).collect())
    }
    async fn check(&mut self, _: &Needs) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }
    async fn anchor(&mut self, request: AnchorRequest) -> Result<Anchor> {
        gate().await;
        let mut s = self.shared.lock();
        let uuid = request.pipe.map(|p| p.uuid).unwrap_or_default();
        let at = if request.kind == AnchorKind::Durable { s.source.create_slot(uuid) } else { s.source.end };
        let (identity, connection) = (s.source.identity(&uuid), s.source.connection);
        drop(s);
        let reader = || Box::new(TestScanner { shared: self.shared.clone(), at, connection }) as Box<dyn Scanner>;
        let extractor = TestExtractor { shared: self.shared.clone(), node: self.node, uuid, slot: false, at, connection, follow: BTreeMap::new(), open: None };
        let mut extractor = Box::new(extractor);
        extractor.follow(&request.tables)?;
        Ok(Anchor {
            position: position(at),
            moving: false,
            identity,
            readers: (0..request.readers).map(|_| reader()).collect(),
            extractor: (request.kind == AnchorKind::Temporary).then_some(extractor as Box<dyn Extractor>),
            hold: Box::new(()),
        })
    }
}

struct TestScanner {
    shared: Shared,
    at: u64,
    connection: u64,
}

impl TestScanner {
    fn table(&self, table: &TableVersion) -> Result<Rowset> {
        let s = self.shared.lock();
        if s.source.connection != self.connection {
            return Err(lost("reader's"));
        }
        Ok(s.source.at(self.at)[&table.id.0].clone())
    }
}

#[async_trait]
impl Scanner for TestScanner {
    async fn split(&mut self, table: &Arc<TableVersion>, _: u64) -> Result<Vec<Chunk>> {
        gate().await;
        let chunk = |i: i64| Chunk { table: table.clone(), id: format!("place {i}"), bounds: serde_json::json!({ "place": i }), rows: 1 };
        Ok((0..CHUNKS).map(chunk).collect())
    }
    async fn scan<'a>(&'a mut self, chunk: &'a Chunk, _: &'a Want) -> Result<BoxStream<'a, Result<Payload>>> {
        gate().await;
        let place = chunk.bounds["place"].as_i64().expect("bounds are ours");
        let found: Vec<_> = self.table(&chunk.table)?.into_iter().filter(|(_, (_, p))| *p == place).map(|(k, (row, _))| (k, row)).collect();
        let payload = Payload::Arrow(batch(&chunk.table, &found));
        Ok(futures::stream::iter([Ok(payload)]).boxed())
    }
    async fn fetch(&mut self, table: &Arc<TableVersion>, wanted: &RecordBatch) -> Result<RecordBatch> {
        gate().await;
        let all = self.table(table)?;
        let found: Vec<_> = keys(wanted).into_iter().filter_map(|k| Some((k, all.get(&k)?.0))).collect();
        Ok(batch(table, &found))
    }
}

pub struct TestExtractor {
    pub shared: Shared,
    pub node: u64,
    pub uuid: Uuid,
    /// It reads through the pipe's slot.
    pub slot: bool,
    pub at: u64,
    pub connection: u64,
    pub follow: BTreeMap<u32, Arc<TableVersion>>,
    /// A transaction that was given in part, and how many of its changes were.
    pub open: Option<(u64, usize)>,
}

impl TestExtractor {
    fn mine<'a>(&self, s: &'a mut super::world::State) -> Result<Option<&'a mut Slot>> {
        if s.source.connection != self.connection {
            return Err(lost("source"));
        }
        if !self.slot {
            return Ok(None);
        }
        match s.source.slots.get_mut(&self.uuid) {
            Some(slot) if slot.holder == Some(self.node) => Ok(Some(slot)),
            _ => Err(lost("source")),
        }
    }
}

#[async_trait]
impl Extractor for TestExtractor {
    async fn connect(&mut self, from: &Resume) -> Result<()> {
        gate().await;
        let mut s = self.shared.lock();
        (self.connection, self.slot, self.at) = (s.source.connection, true, number(&from.position));
        let gone = |why: &str| Error::new(Kind::PositionLost, why.to_string()).with_hint("RESYNC");
        let (identity, end, log) = (s.source.identity(&self.uuid), s.source.end, s.source.log.clone());
        let Some(slot) = s.source.slots.get_mut(&self.uuid) else { return Err(gone("slot is gone")) };
        if slot.holder.is_some_and(|h| h != self.node) {
            return Err(Error::new(Kind::InUse, "slot is active"));
        }
        slot.holder = Some(self.node);
        let confirmed = slot.confirmed;
        if identity != from.identity {
            return Err(gone("another source, timeline or slot"));
        }
        if confirmed > self.at {
            return Err(gone("the source was confirmed past our position"));
        }
        for (upto, witness) in &from.witnesses {
            let last = log.iter().rev().find(|t| t.end > confirmed && t.end <= number(upto)).map(|t| (t.end, t.xid.to_string()));
            let known = witness.as_ref().map(|w| (number(&w.position), w.xid.clone()));
            if end < number(upto) || (last != known && (last.is_some() || known.is_none_or(|k| k.0 > confirmed)) && !(last.is_none() && witness.is_none())) {
                return Err(gone("not the history we read"));
            }
        }
        drop(s);
        self.follow(&from.tables)
    }
    async fn next(&mut self, _: &Limit) -> Result<Option<Batch>> {
        gate().await;
        let mut s = self.shared.lock();
        let confirmed = self.mine(&mut s)?.map(|slot| slot.confirmed);
        let after = confirmed.map_or(self.at, |c| self.at.max(c));
        let quiet = s.quiet;
        let many = if quiet { 2 } else { s.rng.random_range(0..=3) };
        let log: Vec<Tx> = s.source.log.iter().filter(|t| t.end > after).take(many).cloned().collect();
        let all = s.source.log.iter().filter(|t| t.end > after).count();
        if log.is_empty() {
            // Nothing to be had at the moment; everything was given only if nothing is left.
            let reached = if all == 0 { after.max(s.source.end) } else { after };
            self.at = reached.max(self.at);
            return Ok(Some(Batch { parts: vec![], txns: vec![], ends_transaction: self.open.is_none(), position: position(self.at) }));
        }
        let cut = s.rng.random_bool(0.2).then(|| s.rng.random_range(0..=log.last().map_or(0, |t| t.changes.len())));
        let (split_parts, begun) = (s.rng.random_bool(0.5), self.open.take());
        drop(s);
        let txns = log.iter().map(|t| Txn { position: position(t.end), commit_time: t.end as i64, xid: t.xid.to_string(), origin: None }).collect();
        let (mut parts, last) = (Vec::new(), log.len() - 1);
        for (i, tx) in log.iter().enumerate() {
            let from = begun.filter(|(end, _)| *end == tx.end).map_or(0, |(_, n)| n);
            let to = cut.filter(|_| i == last).map_or(tx.changes.len(), |n| n.max(from));
            for change in &tx.changes[from.min(to)..to] {
                if let Some(table) = self.follow.get(&change.table) {
                    push(&mut parts, table, change, i as u32, split_parts);
                }
            }
            match cut {
                Some(n) if i == last => self.open = Some((tx.end, n.max(from))),
                _ => self.at = tx.end,
            }
        }
        let ends_transaction = self.open.is_none();
        Ok(Some(Batch { parts, txns, ends_transaction, position: position(self.at) }))
    }
    async fn confirm(&mut self, to: &Position) -> Result<()> {
        gate().await;
        let mut s = self.shared.lock();
        if let Some(slot) = self.mine(&mut s)? {
            slot.confirmed = slot.confirmed.max(number(to));
        }
        Ok(())
    }
    fn follow(&mut self, tables: &[Arc<TableVersion>]) -> Result<()> {
        self.follow = tables.iter().map(|t| (t.id.0, t.clone())).collect();
        Ok(())
    }
}

/// Adds a change to the last part of its table, or begins a new one.
fn push(parts: &mut Vec<Part>, table: &Arc<TableVersion>, change: &Change, txn: u32, split: bool) {
    let row = Row { a: (change.op != Op::Delete).then_some(change.a), x: change.x };
    let after = batch(table, &[(change.key, row)]);
    let partial = change.op == Op::Update && change.x.is_none();
    let moved = change.op == Op::Update && change.old != change.key;
    let key = |k: i64| RecordBatch::try_new(table.key_schema(), vec![Arc::new(arrow::array::Int64Array::from(vec![k]))]).expect("one column");
    let one = Rows {
        ops: vec![change.op],
        after,
        old_keys: moved.then(|| OldKeys { keys: key(change.old), set: BooleanBuffer::new_set(1) }),
        present: partial.then(|| vec![None, None, Some(BooleanBuffer::new_unset(1))]),
        txn: vec![txn],
    };
    // Rows of one table stand in one part, unless another table's came between: order between tables is kept.
    if !split
        && let Some(Part { table: t, content: Content::Rows(rows) }) = parts.last_mut()
        && t.id == table.id
    {
        let joined = join(table, rows, &one);
        *rows = joined;
        return;
    }
    parts.push(Part { table: table.clone(), content: Content::Rows(one) });
}

fn join(table: &TableVersion, a: &Rows, b: &Rows) -> Rows {
    let bits = |r: &Rows, c: usize| r.present.as_ref().and_then(|p| p[c].clone()).unwrap_or_else(|| BooleanBuffer::new_set(r.len()));
    let append = |x: BooleanBuffer, y: BooleanBuffer| BooleanBuffer::collect_bool(x.len() + y.len(), |i| if i < x.len() { x.value(i) } else { y.value(i - x.len()) });
    let present = (a.present.is_some() || b.present.is_some()).then(|| (0..3).map(|c| Some(append(bits(a, c), bits(b, c)))).collect());
    let set = |r: &Rows| r.old_keys.as_ref().map_or_else(|| BooleanBuffer::new_unset(r.len()), |o| o.set.clone());
    let old = |r: &Rows| r.old_keys.as_ref().map_or_else(|| keys(&r.after), |o| keys(&o.keys));
    let olds: Vec<i64> = old(a).into_iter().chain(old(b)).collect();
    let old_keys = (a.old_keys.is_some() || b.old_keys.is_some()).then(|| OldKeys {
        keys: RecordBatch::try_new(table.key_schema(), vec![Arc::new(arrow::array::Int64Array::from(olds))]).expect("one column"),
        set: append(set(a), set(b)),
    });
    Rows {
        ops: a.ops.iter().chain(&b.ops).copied().collect(),
        after: arrow::compute::concat_batches(&table.schema, [&a.after, &b.after]).expect("one schema"),
        old_keys,
        present,
        txn: a.txn.iter().chain(&b.txn).copied().collect(),
    }
}

/// The tables' rows as they should be at the target.
pub fn plain(rows: &Rowset) -> BTreeMap<i64, Row> {
    rows.iter().map(|(k, (row, _))| (*k, *row)).collect()
}

/// Nobody holds a slot any more.
pub fn let_go(slots: &mut BTreeMap<Uuid, Slot>, node: Option<u64>) {
    slots.values_mut().filter(|s| node.is_none() || s.holder == node).for_each(|s| s.holder = None);
}

#[allow(dead_code)]
type Unused = BTreeSet<u32>;
