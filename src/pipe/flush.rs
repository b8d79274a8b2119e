//! One flush: a number, data and mark durable together in the target, then the catalog, then the source. per_shard targets get an intent
//! first, so that a crash between two shards is replayed to exactly the same end.

use super::checkpoint::{self, Checkpoint, Done, Fault, Intent, Stage, Tables, Work};
use super::cut;
use super::ledger::{Entry, Flushed, Structure};
use super::session::Session;
use super::state::{TableEvent, TableState};
use crate::data::{Position, TableId, Witness};
use crate::error::{Error, Kind, Result};
use crate::failpoint::hit;
use crate::plugin::{Commit, Input, Mark, MarkKind, Shard};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A flush that has its number.
pub(super) struct Flush {
    pub seq: i64,
    /// Where it ends.
    pub end: Position,
    pub witness: Option<Witness>,
    /// Shards that commit.
    pub work: BTreeMap<Shard, Work>,
    /// The tables afterwards, but for those that pass E by it.
    pub tables: Tables,
    /// Requests that it fulfils.
    pub done: Vec<Done>,
    /// Structures that changed.
    pub structures: Vec<(TableId, Structure)>,
    /// Tables that leave.
    pub left: Vec<TableId>,
    /// Of an intent that was stored before.
    replayed: bool,
    /// When it began, and bytes written, for SHOW CHECKPOINTS.
    began: Instant,
    bytes: u64,
}

impl Session {
    /// Draws the number.
    pub(super) fn seal(&mut self, end: Position, witness: Option<Witness>, work: BTreeMap<Shard, Work>, tables: Tables, done: Vec<Done>) -> Flush {
        self.counter += 1;
        let seq = checkpoint::seq(self.epoch, self.counter);
        Flush { seq, end, witness, work, tables, done, structures: Vec::new(), left: Vec::new(), replayed: false, began: Instant::now(), bytes: 0 }
    }

    /// A whole flush, but for the loop's, which shows the steps one by one.
    pub(super) async fn flush(&mut self, end: Position, witness: Option<Witness>, work: BTreeMap<Shard, Work>, tables: Tables, done: Vec<Done>) -> Result<()> {
        let flush = self.seal(end, witness, work, tables, done);
        self.finish(flush).await
    }

    /// The three steps after a seal.
    pub(super) async fn finish(&mut self, mut flush: Flush) -> Result<()> {
        self.commit(&mut flush).await?;
        hit("after-flush").await?;
        let end = self.record(flush).await?;
        hit("after-catalog").await?;
        self.confirm(&end).await?;
        hit("after-confirm").await
    }

    /// Data and mark, durable together.
    pub(super) async fn commit(&mut self, flush: &mut Flush) -> Result<()> {
        let timeout = self.cx.options.flush_timeout;
        match self.commit {
            Commit::Whole | Commit::None => {
                self.join_passed(flush)?;
                let checkpoint = (self.commit == Commit::Whole).then(|| self.checkpoint(flush).to_text());
                let mark = Mark { kind: MarkKind::Changes, seq: flush.seq, previous: self.book.now.seq, checkpoint, position: Some(flush.end.clone()) };
                let flushed = timed(timeout, self.writer(Shard(0)).await?.flush(&mark)).await?;
                flush.bytes += flushed.bytes;
                self.cx.live.flushed(&flushed);
                Ok(())
            }
            Commit::PerShard => timed(timeout, self.commit_shards(flush)).await,
        }
    }

    fn checkpoint(&self, flush: &Flush) -> Checkpoint {
        Checkpoint { seq: flush.seq, position: flush.end.clone(), witness: flush.witness.clone(), generation: self.book.now.generation, tables: flush.tables.clone() }
    }

    /// The intent, then each shard that has work; the catalog keeps what each is at.
    async fn commit_shards(&mut self, flush: &mut Flush) -> Result<()> {
        if !flush.replayed {
            self.book.intent = Some(Intent {
                seq: flush.seq,
                end: flush.end.clone(),
                witness: flush.witness.clone(),
                tables: flush.tables.clone(),
                work: flush.work.clone(),
                done: flush.done.clone(),
            });
            self.cx.ledger.write(Entry { book: Some(&self.book), ..Entry::default() }).await?;
            hit("after-intent").await?;
        }
        let shards: Vec<Shard> = flush.work.keys().filter(|s| !self.is_there(**s, flush.seq)).copied().collect();
        for shard in &shards {
            self.writer(*shard).await?;
        }
        let mut commits = Vec::new();
        for (shard, writer) in self.writers.iter_mut().filter(|(s, _)| shards.contains(s)) {
            // Set-up takes a table as it finds it, and so does the swap of a table that joins; every other commit must meet the number that
            // the catalog has.
            let (known, found) = (self.book.shards.get(shard), self.committed.shards.get(shard));
            let previous = match flush.work.get(shard) {
                Some(Work::Setup { .. }) => found,
                Some(Work::Swap { .. }) => known.or(found),
                _ => known,
            };
            let mark = Mark { kind: MarkKind::Changes, seq: flush.seq, previous: previous.copied().unwrap_or(0), checkpoint: None, position: Some(flush.end.clone()) };
            let shard = *shard;
            commits.push(async move {
                let flushed = writer.flush(&mark).await;
                hit("after-shard").await.and(flushed).map_err(|e| (shard, e)).map(|f| (shard, f))
            });
        }
        let mut failures = Vec::new();
        for outcome in join_all(commits).await {
            match outcome {
                Ok((_, flushed)) => {
                    flush.bytes += flushed.bytes;
                    self.cx.live.flushed(&flushed);
                }
                Err((shard, e)) => match self.cx.takes_table_out(&e) {
                    Some(table) => failures.push((shard, table, Fault::of(&e))),
                    None => return Err(e),
                },
            }
        }
        for shard in flush.work.keys().filter(|s| !failures.iter().any(|(f, ..)| f == *s)) {
            self.book.shards.insert(*shard, flush.seq);
        }
        for (shard, table, _) in &failures {
            self.writers.remove(shard);
            if matches!(flush.work.get(shard), Some(Work::Swap { .. })) {
                flush.done.extend(self.wants_of(*table));
            }
        }
        let failed = failures.into_iter().map(|(_, table, fault)| (table, fault)).collect();
        self.mark_failed(&mut flush.tables, failed);
        self.join_passed(flush)
    }

    fn is_there(&self, shard: Shard, seq: i64) -> bool {
        self.committed.shards.get(&shard) == Some(&seq)
    }

    /// Tables whose changes have passed E are JOINED.
    fn join_passed(&self, flush: &mut Flush) -> Result<()> {
        let passed = self.window.as_ref().is_none_or(|w| flush.end.reached(&w.end));
        for mark in flush.tables.values_mut().filter(|m| passed && m.state == TableState::Catchup) {
            mark.state = mark.state.step(TableEvent::Passed)?;
        }
        Ok(())
    }

    /// Then the catalog. Gives the position that may be confirmed.
    pub(super) async fn record(&mut self, flush: Flush) -> Result<Position> {
        let failed_before = self.failed();
        self.book.now = self.checkpoint(&flush);
        (self.book.stage, self.book.intent) = (Stage::Run, None);
        let entry = Entry { book: Some(&self.book), done: &flush.done, structures: &flush.structures, left: &flush.left, listed: Some(Flushed { duration: flush.began.elapsed(), bytes: flush.bytes }) };
        self.cx.ledger.write(entry).await?;
        (self.last_flush, self.last_note) = (Some(Instant::now()), Instant::now());
        tracing::debug!(pipe = %self.cx.pipe.name, seq = flush.seq, end = %flush.end, took = ?flush.began.elapsed(), "flushed");
        self.cx.live.took(flush.began.elapsed());
        self.cx.live.tables(&self.book.now.tables);
        self.cx.live.forget(&flush.left);
        self.cx.live.reached(&flush.end);
        if self.book.now.tables.values().all(|m| m.state != TableState::Catchup && m.state != TableState::Snapshot) {
            self.window = None;
        }
        if self.failed() != failed_before {
            self.follow()?;
            self.check_any_left()?;
        }
        Ok(flush.end)
    }

    fn failed(&self) -> usize {
        self.book.now.tables.values().filter(|m| m.state == TableState::Failed).count()
    }

    /// Then the source.
    pub(super) async fn confirm(&mut self, position: &Position) -> Result<()> {
        match &mut self.extractor {
            Some(extractor) => extractor.confirm(position).await,
            None => Ok(()),
        }
    }

    /// The open intent, to exactly the same end.
    pub(super) async fn replay(&mut self, intent: Intent) -> Result<()> {
        let changes: Vec<Shard> = intent.work.iter().filter(|(_, w)| **w == Work::Changes).map(|(s, _)| *s).collect();
        for (shard, work) in &intent.work {
            if matches!(work, Work::Setup { .. }) && !self.is_there(*shard, intent.seq) {
                let target = self.live_target(TableId(shard.0))?;
                self.writer(*shard).await?.write(Input::Setup(target)).await?;
            }
        }
        let mut structures = Vec::new();
        if !changes.is_empty() {
            structures = self.replay_changes(&intent, &changes).await?;
        }
        (self.reached, self.witness) = (intent.end.clone(), intent.witness.clone());
        let mut flush = Flush {
            seq: intent.seq,
            end: intent.end,
            witness: intent.witness,
            work: intent.work,
            tables: intent.tables,
            done: intent.done,
            structures: Vec::new(),
            left: Vec::new(),
            replayed: true,
            began: Instant::now(),
            bytes: 0,
        };
        flush.structures = structures;
        self.finish(flush).await
    }

    /// Reads up to the end of an intent and writes what its shards are still to get.
    async fn replay_changes(&mut self, intent: &Intent, changes: &[Shard]) -> Result<Vec<(TableId, Structure)>> {
        let mut structures = Vec::new();
        let tables = self.book.now.tables.clone();
        loop {
            let limit = self.limit();
            let Some(batch) = self.next(&limit).await? else {
                return Err(Error::new(Kind::PositionLost, "the source ended before the end of an open flush").with_detail(format!("it was to end at {}", intent.end)));
            };
            cut::check(&batch)?;
            let (all, within) = (batch.txns.len(), cut::txns_until(&batch, &intent.end));
            let past = batch.position.reached(&intent.end) || within < all;
            let batch = match within {
                0 if all > 0 => {
                    self.leftover = Some(batch);
                    break;
                }
                n if n < all => {
                    let (first, rest) = cut::cut(batch, n)?;
                    self.leftover = Some(rest);
                    first
                }
                _ => batch,
            };
            for taken in self.intake.take(batch, &tables, &mut self.window).await? {
                let shard = Shard(taken.table.0);
                if let Some(version) = taken.structure {
                    structures.push((taken.table, Structure::of(&version)));
                    self.versions.insert(taken.table, version);
                }
                if !changes.contains(&shard) {
                    // Rows that were gone at the E of the first attempt and are back at this one: what brought them back follows.
                    if tables.get(&taken.table).is_some_and(|m| m.state == TableState::Catchup) {
                        continue;
                    }
                    return Err(Error::internal("a replayed flush has rows of a table that it did not name"));
                }
                if !self.is_there(shard, intent.seq) {
                    self.writer(shard).await?.write(taken.input).await?;
                }
            }
            self.relieve().await?;
            if past {
                break;
            }
        }
        Ok(structures)
    }
}

/// A flush has its time.
pub(super) async fn timed<T>(timeout: Duration, flush: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(timeout, flush).await.unwrap_or_else(|_| {
        Err(Error::new(Kind::Cancelled, "a flush took too long")
            .with_detail(format!("it was given up after {} ms", timeout.as_millis()))
            .with_hint("See what holds the target up, or raise execution.checkpointing.timeout."))
    })
}

