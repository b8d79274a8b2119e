//! How a session begins, in the order of the delivery rules: structures, the epoch and the marks of the target, what they say beside the catalog, the
//! source's position, and the instant E where anything is read later than the changes begin. (architecture.md section 4, Start-up)

use super::checkpoint::{self, Stage, Start, TableMark};
use super::ledger::{Entry, Note};
use super::provision::{fetch, leaving, prerequisites};
use super::session::{PipeTable, Session};
use super::state::{TableEvent, TableState};
use super::window::Window;
use crate::data::{TableId, TableVersion};
use crate::error::{Error, Kind, Result, Retry};
use crate::plugin::{Anchor, AnchorKind, AnchorRequest, Begin, Commit, Resume, Shard, TargetTable};
use std::sync::Arc;

/// How far beyond the catalog the epochs of a target may be that is copied anew.
const FURTHEST: i64 = 1 << 24;

impl Session {
    /// Structures at the pipe's position; of tables that are to join, today's.
    pub(super) async fn load_versions(&mut self) -> Result<()> {
        let (cx, stored, wanted, leaving) = (self.cx.clone(), self.cx.ledger.structures().await?, self.wanted_tables(), leaving(&self.cx));
        for table in &cx.tables {
            let mark = self.book.now.tables.get(&table.id);
            let generation = mark.map_or(0, |m| m.generation);
            let is_to_join = wanted.contains(&table.id) && mark.is_none_or(|m| m.state == TableState::Failed);
            let version = match stored.get(&table.id).filter(|_| !is_to_join) {
                Some(structure) => Arc::new(structure.table(table.id, &table.name, generation)),
                None => match self.present(table, generation, is_to_join).await {
                    Ok(version) => version,
                    Err(e) if e.retry() == Retry::Manual && e.table().is_some() && (table.wanted || is_to_join) => {
                        self.refuse(table.id, &e).await?;
                        continue;
                    }
                    Err(e) if e.kind() == Kind::UndefinedTable && leaving.contains(&table.id) => continue,
                    Err(e) => return Err(e),
                },
            };
            self.versions.insert(table.id, version);
        }
        Ok(())
    }

    /// A table as it is at the source now. Of one that is to join no changes are asked for before it is known that they can be taken: some systems refuse a
    /// change whose row they can't tell to whoever asked. An error of the table alone names it.
    async fn present(&mut self, table: &PipeTable, generation: i64, is_to_join: bool) -> Result<Arc<TableVersion>> {
        let about = |e: Error| if e.retry() == Retry::Manual { e.for_table(table.name.to_string()) } else { e };
        let found = fetch(&mut self.source, &[table], generation).await;
        let found = found.map_err(|e| if e.kind() == Kind::UndefinedTable { about(e) } else { e })?;
        if is_to_join {
            prerequisites(&self.cx, &mut self.source, &found, true).await.map_err(about)?;
        }
        found.into_iter().next().ok_or_else(|| Error::internal("a source answered for other tables than it was asked for"))
    }

    /// Takes the epoch in the target and reads its marks.
    pub(super) async fn begin(&mut self) -> Result<()> {
        let last_epoch = self.book.epoch;
        let wanted = self.wanted_tables();
        let failed = |id: &TableId| self.book.now.tables.get(id).is_some_and(|m| m.state == TableState::Failed);
        let open = |id: &TableId| self.book.intent.as_ref().is_some_and(|i| i.work.contains_key(&Shard(id.0)));
        let leaving = leaving(&self.cx);
        let ids: Vec<TableId> = self.versions.keys().filter(|id| wanted.contains(id) || leaving.contains(id) || open(id) || (self.book.now.tables.contains_key(id) && !failed(id))).copied().collect();
        let mut tables = Vec::with_capacity(ids.len());
        for id in &ids {
            tables.push(TargetTable::clone(&*self.live_target(*id)?));
        }
        let snapshot_writers = u32::try_from(self.cx.options.parallelism).unwrap_or(1);
        let mut ahead = 0;
        let epoch = loop {
            let epoch = self.cx.ledger.draw_epoch(last_epoch.max(self.book.drawn) + ahead);
            if self.commit == Commit::PerShard {
                self.book.drawn = epoch;
                self.cx.ledger.write(Entry { book: Some(&self.book), ..Entry::default() }).await?;
            }
            match self.connector.begin(&Begin { tables: tables.clone(), snapshot_writers, last_epoch, epoch }).await {
                Ok(committed) => {
                    self.committed = committed;
                    break epoch;
                }
                // All is copied anew (RESYNC PIPE after the catalog was restored or copied): what a later state of it took is taken from that. Each
                // session draws, so one that often tried again may be ahead of the clock by days.
                Err(e) if e.kind() == Kind::Fenced && self.commit == Commit::PerShard && self.book.stage == Stage::Setup && ahead < FURTHEST => ahead = (ahead * 4).max(64),
                Err(e) => return Err(e),
            }
        };
        self.epoch = if self.committed.epoch > 0 { self.committed.epoch } else { epoch };
        (self.book.epoch, self.book.drawn) = (self.epoch, self.epoch.max(self.book.drawn));
        self.begun = ids.into_iter().collect();
        Ok(())
    }

    /// Compares target and catalog, then the source, while its position is held.
    pub(super) async fn start_up(&mut self) -> Result<()> {
        match checkpoint::compare(self.commit, &self.book, &self.committed)? {
            Start::From(position, witness) => (self.book.now.position, self.book.now.witness) = (position, witness),
            Start::Adopt(mark) => {
                self.cx.ledger.note(Note::Event { event: "adopted", detail: format!("the target's checkpoint, seq {} at {}", mark.seq, mark.position) });
                (self.book.now, self.book.stage) = (mark, Stage::Run);
                self.book.now.tables.retain(|id, _| self.cx.table(*id).is_some());
                self.cx.ledger.write(Entry { book: Some(&self.book), ..Entry::default() }).await?;
                self.regenerate();
            }
        }
        // A table that left the pipe while its shard had a number, and comes back: its number is what it is.
        if self.commit == Commit::PerShard {
            for id in self.begun.iter().filter(|id| !self.book.now.tables.contains_key(id)) {
                if let Some(seq) = self.committed.shards.get(&Shard(id.0)) {
                    self.book.shards.insert(Shard(id.0), *seq);
                }
            }
        }
        (self.reached, self.witness) = (self.book.now.position.clone(), self.book.now.witness.clone());
        self.list_unknown_tables();
        if self.cx.options.follows() {
            let mut extractor = self.cx.ends.extractor()?;
            let mut witnesses = vec![(self.reached.clone(), self.witness.clone())];
            witnesses.extend(self.book.intent.as_ref().map(|i| (i.end.clone(), i.witness.clone())));
            let identity = self.book.provisioned.as_ref().map(|p| p.identity.clone()).unwrap_or_default();
            extractor.connect(&Resume { position: self.reached.clone(), identity, witnesses, tables: self.followed() }).await?;
            self.extractor = Some(extractor);
        }
        self.cx.live.reached(&self.reached);
        self.cx.live.tables(&self.book.now.tables);
        Ok(())
    }

    /// Tables that the catalog has and the checkpoint has not (one of them was restored) wait for a side run.
    fn list_unknown_tables(&mut self) {
        if self.book.stage == Stage::Run {
            let waiting = TableMark { state: TableState::Waiting, generation: 0, from: None, error: None };
            for table in self.cx.tables.iter().filter(|t| !t.wanted) {
                self.book.now.tables.entry(table.id).or_insert_with(|| waiting.clone());
            }
        }
    }

    /// E is taken anew where anything is read later than the changes begin: its readers hold the instant.
    pub(super) async fn open_window(&mut self, alive: &mut Option<Anchor>) -> Result<()> {
        if self.cx.ends.source_can().exact_anchor && alive.as_ref().is_some_and(|a| !a.moving) {
            return Ok(());
        }
        self.start_over_what_cannot_resume(alive.is_none()).await?;
        let unjoined = |m: &&TableMark| matches!(m.state, TableState::Snapshot | TableState::Catchup);
        let tables: Vec<_> = self.book.now.tables.iter().filter(|(_, m)| unjoined(m)).filter_map(|(id, _)| self.versions.get(id).cloned()).collect();
        if tables.is_empty() || !self.cx.options.follows() {
            return Ok(());
        }
        let readers = self.cx.options.parallelism + 1;
        let request = AnchorRequest { kind: AnchorKind::Exact, pipe: Some(self.cx.pipe.clone()), tables, readers, options: Some(self.cx.ends.extractor_options()) };
        let mut anchor = self.source.anchor(request).await?;
        self.window = Some(Window::of(&mut anchor)?);
        *alive = Some(anchor);
        Ok(())
    }

    /// Tables without a key, and those whose structure has changed meanwhile, are not resumed: they wait for a side run.
    async fn start_over_what_cannot_resume(&mut self, resumed: bool) -> Result<()> {
        let cx = self.cx.clone();
        let unjoined: Vec<TableId> = self.book.now.tables.iter().filter(|(_, m)| matches!(m.state, TableState::Snapshot | TableState::Catchup)).map(|(id, _)| *id).collect();
        for id in unjoined {
            let (Some(table), Some(old)) = (cx.table(id), self.versions.get(&id)) else { continue };
            let same = match fetch(&mut self.source, &[table], old.generation).await {
                Ok(now) => now.first().is_some_and(|n| n.columns == old.columns && n.key == old.key && n.source_id == old.source_id),
                Err(e) if e.kind() == Kind::UndefinedTable => false,
                Err(e) => return Err(e),
            };
            if old.key.is_empty() && !self.cx.options.follows() {
                continue;
            }
            if (resumed && old.key.is_empty()) || !same {
                let mark = self.book.now.tables.get_mut(&id).ok_or_else(|| Error::internal("a table is lost"))?;
                mark.state = mark.state.step(TableEvent::StartOver)?;
                self.cx.ledger.note(Note::Event { event: "started over", detail: table.name.to_string() });
            }
        }
        Ok(())
    }
}
