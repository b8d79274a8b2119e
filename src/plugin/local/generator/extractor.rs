//! The changes of the shop from any position on.

use super::clock::Clock;
use super::shop::{CHANGES_PER_TRANSACTION, Image, Kind};
use super::{BYTES_PER_ROW, Setup, number, position};
use crate::data::{Batch, Content, OldKeys, Op, Part, Position, Rows, TableVersion, Txn};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::plugin::{Extractor, Limit, Resume};
use arrow::buffer::BooleanBuffer;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The shortest sleep while nothing is due.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// A reader of the shop's changes.
pub struct GeneratorExtractor {
    setup: Arc<Setup>,
    clock: Option<Clock>,
    at: u64,
    tables: Vec<(Kind, Arc<TableVersion>)>,
}

/// Changes of one table that go into one part.
#[derive(Default)]
struct Run {
    ops: Vec<Op>,
    after: Vec<Image>,
    old: Vec<Image>,
    changed: Vec<bool>,
    txn: Vec<u32>,
}

impl Run {
    fn push(&mut self, op: Op, after: Image, old: Image, changed: bool, txn: u32) {
        self.ops.push(op);
        self.after.push(after);
        self.old.push(old);
        self.changed.push(changed);
        self.txn.push(txn);
    }
}

impl GeneratorExtractor {
    pub(super) fn new(setup: Arc<Setup>) -> Self {
        GeneratorExtractor { setup, clock: None, at: 0, tables: Vec::new() }
    }
    pub(super) fn at(setup: Arc<Setup>, clock: Clock, n: u64, tables: &[Arc<TableVersion>]) -> Result<Self> {
        let mut it = GeneratorExtractor { setup, clock: Some(clock), at: n, tables: Vec::new() };
        it.follow(tables)?;
        Ok(it)
    }

    fn batch(&mut self, clock: &Clock, last: u64) -> Result<Batch> {
        let mut runs: Vec<Run> = self.tables.iter().map(|_| Run::default()).collect();
        let mut txns = Vec::new();
        for n in self.at + 1..=last {
            let (kind, cycle) = self.setup.turn(n);
            let txn = txns.len() as u32;
            // those of other tables too: the last one is a position's witness whatever is followed
            txns.push(Txn { position: position(n), commit_time: clock.time_of(n), xid: n.to_string(), origin: None });
            let Some(t) = self.tables.iter().position(|(k, _)| *k == kind) else { continue };
            let (insert, first, gone, before, second) = self.setup.shop.changes(cycle);
            let run = &mut runs[t];
            run.push(Op::Insert, insert, insert, false, txn);
            run.push(Op::Update, first, first, false, txn);
            run.push(Op::Delete, gone, gone, false, txn);
            run.push(Op::Update, second, before, kind == Kind::OrderItems, txn);
        }
        let parts = self.tables.iter().zip(runs).filter(|(_, r)| !r.ops.is_empty());
        let parts = parts.map(|((kind, table), run)| self.part(*kind, table, run)).collect::<Result<_>>()?;
        self.at = last;
        Ok(Batch { parts, txns, ends_transaction: true, position: position(last) })
    }

    fn part(&self, kind: Kind, table: &Arc<TableVersion>, run: Run) -> Result<Part> {
        let after = self.setup.shop.batch(kind, table, &run.after)?;
        let old_keys = if run.changed.contains(&true) {
            Some(OldKeys { keys: self.setup.shop.keys(kind, table, &run.old)?, set: BooleanBuffer::from(run.changed) })
        } else {
            None
        };
        let present = self.setup.absent_columns.then(|| {
            let note = BooleanBuffer::collect_bool(run.ops.len(), |i| run.ops[i] != Op::Update);
            let last = table.columns.len() - 1;
            (0..=last).map(|c| (c == last).then(|| note.clone())).collect()
        });
        Ok(Part { table: table.clone(), content: Content::Rows(Rows { ops: run.ops, after, old_keys, present, txn: run.txn }) })
    }
}

#[async_trait]
impl Extractor for GeneratorExtractor {
    async fn connect(&mut self, from: &Resume) -> Result<()> {
        let clock = Clock::open(self.setup.pace, &self.setup.file).await?;
        let lost = |detail: String| {
            let e = Error::new(ErrorKind::PositionLost, "the generator is not the one that was read").with_detail(detail);
            e.with_hint("RESYNC PIPE takes a new copy.")
        };
        let now = super::source::identity(&self.setup, &clock);
        if now != from.identity {
            return Err(lost(format!("now {now:?}, before {:?}", from.identity)));
        }
        let (at, last) = (number(&from.position)?, clock.last());
        if at > last {
            return Err(lost(format!("it is at transaction {last}, before the position {at}")));
        }
        for (position, witness) in &from.witnesses {
            if number(position)? > last {
                return Err(lost(format!("it is at transaction {last}, before the position {position}")));
            }
            if let Some(w) = witness
                && (w.xid != number(&w.position)?.to_string() || w.position.compare(position).is_none_or(|o| o.is_gt()))
            {
                return Err(lost(format!("transaction {} is not at {}", w.xid, w.position)));
            }
        }
        (self.clock, self.at) = (Some(clock), at);
        self.follow(&from.tables)
    }

    async fn next(&mut self, limit: &Limit) -> Result<Option<Batch>> {
        let clock = self.clock.ok_or_else(|| Error::internal("the extractor is not connected"))?;
        let deadline = Instant::now() + limit.wait;
        loop {
            let last = clock.last();
            if last > self.at {
                let rows = limit.rows.min(limit.bytes / BYTES_PER_ROW) as u64;
                return self.batch(&clock, last.min(self.at + (rows / CHANGES_PER_TRANSACTION).max(1))).map(Some);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Some(Batch { parts: Vec::new(), txns: Vec::new(), ends_transaction: true, position: position(self.at) }));
            }
            tokio::time::sleep(clock.until(self.at + 1).unwrap_or(left).max(SHORTEST_WAIT).min(left)).await;
        }
    }

    async fn confirm(&mut self, _: &Position) -> Result<()> {
        Ok(())
    }

    fn follow(&mut self, tables: &[Arc<TableVersion>]) -> Result<()> {
        self.tables = tables.iter().map(|t| Ok((self.setup.kind_of(t)?, t.clone()))).collect::<Result<_>>()?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
