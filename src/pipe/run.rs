//! The loop: changes are pulled, processed, written, flushed together with their mark, then recorded in the catalog, then confirmed to the
//! source. Between every two of these lines the process may die, and nothing is lost or doubled.

use super::checkpoint::Work;
use super::cut;
use crate::failpoint::hit;
use super::flush::Flush;
use super::ledger::{Entry, Structure};
use super::session::{Control, Ended, Session};
use super::state::TableState;
use crate::data::{Batch, Position, TableId, Witness};
use crate::error::{Error, Result};
use crate::plugin::{Limit, Shard};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Session {
    /// Follows the changes until STOP, the end of a finite source, or an error.
    pub(super) async fn run(&mut self) -> Result<Ended> {
        loop {
            if let Some(ended) = self.heed().await? {
                return Ok(ended);
            }
            let limit = self.limit();
            let Some(batch) = self.next(&limit).await? else { return self.end().await };
            hit("after-next").await?;
            for piece in self.pieces(batch)? {
                let barrier = piece.flush;
                self.write(piece).await?;
                hit("after-write").await?;
                if !self.due(barrier) {
                    continue;
                }
                let mut flush = self.seal_changes();
                self.commit(&mut flush).await?;
                hit("after-flush").await?;
                let end = self.record(flush).await?;
                hit("after-catalog").await?;
                self.confirm(&end).await?;
                hit("after-confirm").await?;
            }
            self.note_idle_progress(false).await?;
        }
    }
}

/// What was written and is not flushed.
#[derive(Default)]
pub(super) struct Pending {
    shards: BTreeSet<Shard>,
    rows: u64,
    bytes: usize,
    since: Option<Instant>,
    /// The last transaction is not complete.
    open: bool,
    /// A barrier is in it: the flush comes at the transaction's end whatever else is due.
    barrier: bool,
    /// Something before E is in it.
    early: bool,
    /// The source had nothing more when it was last asked.
    quiet: bool,
    structures: Vec<(TableId, Structure)>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }
}

/// A part of a batch that no flush may cut, and after which one may have to come.
pub(super) struct Piece {
    batch: Batch,
    /// A flush comes after it (at its transaction's end).
    flush: bool,
}

impl Session {
    /// The next batch: what a replay left over first.
    pub(super) async fn next(&mut self, limit: &Limit) -> Result<Option<Batch>> {
        if let Some(batch) = self.leftover.take() {
            return Ok(Some(batch));
        }
        let began = Instant::now();
        let Some(extractor) = &mut self.extractor else { return Ok(None) };
        let batch = extractor.next(limit).await?;
        let rows = batch.as_ref().map_or(0, |b| b.rows() as u64);
        if rows > 0 {
            self.cx.live.meter(0, rows, rows, 0, began.elapsed());
        }
        Ok(batch)
    }

    /// How much to ask for, and how long to wait for the first change.
    pub(super) fn limit(&self) -> Limit {
        let o = &self.cx.options;
        let wait = match self.pending.since {
            None => o.idle_wait,
            Some(_) if self.pending.open => o.idle_wait,
            Some(since) => {
                let since_flush = self.last_flush.map_or(o.min_interval, |at| at.elapsed());
                let gather = if o.eager { Duration::ZERO } else { o.max_delay.saturating_sub(since.elapsed()) };
                o.min_interval.saturating_sub(since_flush).max(gather).min(o.idle_wait)
            }
        };
        Limit { rows: o.next_rows, bytes: o.next_bytes, wait }
    }

    /// Cuts a batch where a flush must end: at E, and before and after a transaction with a barrier.
    fn pieces(&self, batch: Batch) -> Result<Vec<Piece>> {
        cut::check(&batch)?;
        let barrier = cut::ends_with_barrier(&batch);
        let n = batch.txns.len();
        let mut cuts: BTreeSet<usize> = BTreeSet::new();
        let early = self.window.as_ref().map_or(0, |w| cut::txns_until(&batch, &w.end));
        let crosses = self.window.is_some() && early < n;
        if crosses {
            cuts.insert(early);
        }
        if barrier {
            cuts.insert(n - 1);
        }
        let mut out = Vec::new();
        // What was gathered before ends where this batch begins.
        let before = cuts.remove(&0) && !self.pending.open && !self.pending.is_empty() && (barrier && n == 1 || crosses && self.pending.early);
        if before {
            out.push(Piece { batch: Batch { parts: Vec::new(), txns: Vec::new(), ends_transaction: true, position: self.reached.clone() }, flush: true });
        }
        let (mut rest, mut taken) = (batch, 0);
        for at in cuts.into_iter().filter(|at| *at < n) {
            let (first, later) = cut::cut(rest, at - taken)?;
            out.push(Piece { batch: first, flush: true });
            (rest, taken) = (later, at);
        }
        out.push(Piece { batch: rest, flush: barrier });
        Ok(out)
    }

    /// Takes a piece through the processors to its writers.
    async fn write(&mut self, piece: Piece) -> Result<()> {
        let batch = piece.batch;
        let complete = if batch.ends_transaction { batch.txns.last() } else { batch.txns.len().checked_sub(2).and_then(|i| batch.txns.get(i)) };
        let witness = complete.map(|t| Witness { position: t.position.clone(), xid: t.xid.clone() });
        let quiet = batch.txns.is_empty() && batch.parts.is_empty();
        let (position, open, time) = (batch.position.clone(), !batch.ends_transaction, batch.txns.last().map(|t| t.commit_time));
        let early = self.window.as_ref().is_some_and(|w| batch.txns.first().is_some_and(|t| w.end.reached(&t.position)));
        let began = Instant::now();
        let (mut rows, mut changed, rows_in) = (0, Vec::new(), batch.rows() as u64);
        for taken in self.intake.take(batch, &self.book.now.tables, &mut self.window).await? {
            rows += taken.rows as u64;
            self.pending.bytes += taken.bytes;
            changed.push(taken.table);
            if let Some(version) = taken.structure {
                self.note_structure(taken.table, &version);
                self.versions.insert(taken.table, version);
            }
            let shard = self.shard_of(taken.table);
            self.writer(shard).await?.write(taken.input).await?;
            self.pending.shards.insert(shard);
        }
        self.relieve().await?;
        let p = &mut self.pending;
        (p.rows, p.open, p.barrier) = (p.rows + rows, open, p.barrier || (piece.flush && rows > 0));
        p.early |= early && !p.is_empty();
        p.quiet = quiet;
        if !p.is_empty() && p.since.is_none() {
            p.since = Some(Instant::now());
        }
        if rows_in > 0 {
            self.cx.live.meter(1, rows_in, rows, 0, began.elapsed());
            self.cx.live.meter(2, rows, rows, 0, Duration::ZERO);
            self.cx.live.taken(rows, time, &changed);
        }
        self.reached = position;
        self.witness = witness.or(self.witness.take());
        Ok(())
    }

    /// A transaction may be of many tables, none of which is large enough for its writer to let go of it: the largest do so then.
    pub(super) async fn relieve(&mut self) -> Result<()> {
        let most = self.cx.options.held_bytes;
        let mut held: Vec<(usize, Shard)> = self.writers.iter().map(|(shard, writer)| (writer.held(), *shard)).filter(|(bytes, _)| *bytes > 0).collect();
        let mut sum: usize = held.iter().map(|(bytes, _)| bytes).sum();
        if sum <= most {
            return Ok(());
        }
        held.sort_unstable_by(|a, b| b.cmp(a));
        for (bytes, shard) in held {
            if sum <= most / 2 {
                break;
            }
            self.writer(shard).await?.let_go().await?;
            sum -= bytes;
        }
        Ok(())
    }

    fn note_structure(&mut self, table: TableId, version: &Arc<crate::data::TableVersion>) {
        let columns = version.columns.iter().map(|c| format!("{} {}", c.name, c.native)).collect::<Vec<_>>().join(", ");
        self.cx.live.update(table, |t| t.ddl_sql = Some(format!("{} ({columns})", t.name)));
        self.pending.structures.push((table, Structure::of(version)));
    }

    /// A flush is due: only ever at a transaction's end.
    fn due(&self, asked: bool) -> bool {
        let (p, o) = (&self.pending, &self.cx.options);
        if p.open {
            return false;
        }
        if p.is_empty() {
            return self.passes_end();
        }
        if p.barrier || asked {
            return true;
        }
        if self.last_flush.is_some_and(|at| at.elapsed() < o.min_interval) {
            return false;
        }
        let waited = p.since.map_or(Duration::ZERO, |at| at.elapsed());
        !o.batch || p.bytes >= o.size_bytes || waited >= o.max_delay || (o.eager && p.quiet)
    }

    /// The changes have passed E, and a table waits for it.
    fn passes_end(&self) -> bool {
        let waiting = self.book.now.tables.values().any(|m| m.state == TableState::Catchup);
        waiting && self.window.as_ref().is_none_or(|w| self.reached.reached(&w.end))
    }

    /// The number, and what the flush holds.
    fn seal_changes(&mut self) -> Flush {
        let pending = std::mem::take(&mut self.pending);
        let work: BTreeMap<Shard, Work> = pending.shards.into_iter().map(|s| (s, Work::Changes)).collect();
        let mut flush = self.seal(self.reached.clone(), self.witness.clone(), work, self.book.now.tables.clone(), Vec::new());
        flush.structures = pending.structures;
        flush
    }

    /// STOP, ALTER and requests are looked at between transactions; a transaction that is not complete is let go, nothing of it is durable.
    async fn heed(&mut self) -> Result<Option<Ended>> {
        let control = *self.cx.control.borrow();
        if control == Control::Run {
            return if self.pending.open || !self.pending.is_empty() { Ok(None) } else { self.step_aside().await };
        }
        if !self.pending.open && !self.pending.is_empty() {
            let flush = self.seal_changes();
            self.finish(flush).await?;
        }
        if !self.pending.open {
            self.note_idle_progress(true).await?;
        }
        Ok(Some(if control == Control::Stop { Ended::Stopped } else { Ended::Again }))
    }

    /// A finite source has ended: what is left is flushed.
    async fn end(&mut self) -> Result<Ended> {
        if self.pending.open {
            return Err(Error::internal("a source ended inside a transaction"));
        }
        if !self.pending.is_empty() || self.passes_end() {
            let flush = self.seal_changes();
            self.finish(flush).await?;
        }
        self.note_idle_progress(true).await?;
        self.complete().await
    }

    /// Nothing to write up to here: the catalog's position moves, the flush's number stays, and the source may forget.
    async fn note_idle_progress(&mut self, now: bool) -> Result<()> {
        if self.pending.open || !self.pending.is_empty() || !cut::is_after(&self.reached, &self.book.now.position)? {
            return Ok(());
        }
        self.cx.live.reached(&self.reached);
        if !now && self.last_note.elapsed() < self.cx.options.idle_checkpoint {
            return Ok(());
        }
        (self.book.now.position, self.book.now.witness) = (self.reached.clone(), self.witness.clone());
        self.cx.ledger.write(Entry { book: Some(&self.book), ..Entry::default() }).await?;
        self.last_note = Instant::now();
        let end: Position = self.reached.clone();
        hit("after-catalog").await?;
        self.confirm(&end).await
    }
}
