//! The decoder of the change stream: pgoutput messages in, batches of Arrow rows out. Pure: what needs the catalog is asked for by a [`Step`].
//!
//! A batch may hold several tables; the order inside each is kept. It ends at a truncate, at a change of structure, at its bounds, and at each
//! position whose last transaction is to be the one remembered (a witness), so that nobody flushes past one that was not checked.

pub mod evolve;
pub mod message;
pub mod rows;

use super::position::Lsn;
use crate::data::{Batch, ColumnChange, Content, Op, Part, SchemaChange, TableVersion, Txn, Witness};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::Operations;
use message::{Cell, Message, Relation, Tuple};
use rows::{Change, RowsBuilder};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Prefix of the logical message with which a pipe marks its own transactions at a target; its content is the pipe's UUID.
pub const MARK: &str = "standpipe";
/// Microseconds from 1970 to 2000.
const EPOCH_MICROS: i64 = super::calendar::EPOCH_MICROS;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is taken.
    Taken,
    /// It is not taken: the structure of this relation is to be looked up first ([`Decoder::restructure`]).
    Restructure(u32),
    /// It is not taken: the batch ends before it.
    Ends,
}

/// A table that is followed.
#[derive(Debug)]
struct Tracked {
    table: Arc<TableVersion>,
    /// Places of its columns in the log's rows; None: to be found out at its next change.
    places: Option<Arc<[Option<usize>]>>,
    rows: Option<RowsBuilder>,
    /// Room for the values of a row, kept from row to row.
    cells: [Vec<Cell<'static>>; 2],
    /// One of its changes could not be read: nothing of it is taken until it is asked for anew.
    broken: bool,
}

/// The transaction being read.
#[derive(Debug)]
struct Current {
    commit: Lsn,
    time: i64,
    xid: u32,
    origin: Option<String>,
    /// Its rows are left out: it is known already, or another pipe wrote it.
    dropped: bool,
    /// It ended at or before the start.
    known: bool,
    /// A row, or a mark, was seen.
    begun: bool,
    /// Place in the batch's list.
    index: Option<u32>,
    /// Rows of it were handed out.
    delivered: bool,
}

/// Decoder of one connection.
#[derive(Debug)]
pub struct Decoder {
    operations: Operations,
    forwarding: bool,
    relations: HashMap<u32, Relation>,
    tables: HashMap<u32, Tracked>,
    current: Option<Current>,
    start: Lsn,
    skip: u64,
    position: Lsn,
    confirmed: Lsn,
    last: Option<(Lsn, String)>,
    witnesses: VecDeque<(Lsn, Option<Witness>)>,
    parts: Vec<Part>,
    txns: Vec<Txn>,
    open: Vec<u32>,
    count: usize,
    bytes: usize,
    ends: bool,
}

impl Decoder {
    /// A decoder of what comes strictly after `start`. Without `forwarding`, what another pipe or a subscription wrote is left out.
    pub fn new(operations: Operations, forwarding: bool, start: Lsn) -> Self {
        Decoder {
            operations,
            forwarding,
            relations: HashMap::new(),
            tables: HashMap::new(),
            current: None,
            start,
            skip: 0,
            position: start,
            confirmed: start,
            last: None,
            witnesses: VecDeque::new(),
            parts: Vec::new(),
            txns: Vec::new(),
            open: Vec::new(),
            count: 0,
            bytes: 0,
            ends: false,
        }
    }
    /// What is remembered of the history: the stream starts at `confirmed`, and the last transaction at or before each position is known.
    /// `skip` changes after `start` are done already.
    pub fn remember(&mut self, confirmed: Lsn, mut witnesses: Vec<(Lsn, Option<Witness>)>, skip: u64) {
        witnesses.sort_by_key(|w| w.0);
        (self.confirmed, self.witnesses, self.skip) = (confirmed, witnesses.into(), skip);
        self.position = Lsn(0);
    }
    /// Everything up to the start was seen again.
    pub fn caught(&self) -> bool {
        self.position >= self.start
    }
    /// Everything up to here is in the batches so far.
    pub fn position(&self) -> Lsn {
        self.position
    }
    /// Takes up these tables and no others. Ones that are followed already keep the structure the log has reached.
    pub fn follow(&mut self, tables: &[Arc<TableVersion>]) -> Result<()> {
        self.close()?;
        let mut known = std::mem::take(&mut self.tables);
        for table in tables {
            let Ok(oid) = u32::try_from(table.source_id) else { continue };
            let tracked = match known.remove(&oid) {
                Some(old) if !old.broken => {
                    let mut same = TableVersion::clone(&old.table);
                    (same.id, same.generation, same.name) = (table.id, table.generation, table.name.clone());
                    Tracked { table: Arc::new(same), ..old }
                }
                _ => Tracked { table: table.clone(), places: None, rows: None, cells: Default::default(), broken: false },
            };
            self.tables.insert(oid, tracked);
        }
        Ok(())
    }
    /// Rows, or transactions without any, so far.
    pub fn count(&self) -> usize {
        self.count.max(self.txns.len())
    }
    /// Bytes of the changes so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// The batch ends here.
    pub fn ends(&self) -> bool {
        self.ends
    }
    /// No transaction is half read.
    pub fn between(&self) -> bool {
        self.current.is_none()
    }

    /// The server has come to `end` and has sent everything before it.
    pub fn keepalive(&mut self, end: Lsn) -> Result<()> {
        if self.current.is_some() || end <= self.position {
            return Ok(());
        }
        let stop = self.witnesses.iter().map(|w| w.0).find(|at| *at > self.start && *at <= end);
        // idle progress past a position that is checked is for the next batch
        self.ends |= stop.is_some();
        self.advance(stop.unwrap_or(end))
    }
    /// Everything up to `to` was seen: checks what is remembered of it.
    fn advance(&mut self, to: Lsn) -> Result<()> {
        while let Some((at, _)) = self.witnesses.front()
            && *at <= to
        {
            let Some((at, witness)) = self.witnesses.pop_front() else { break };
            let fits = match (&self.last, &witness) {
                (Some((end, xid)), Some(w)) => Lsn::of(&w.position)? == *end && w.xid == *xid,
                (Some(_), None) => false,
                // nothing was sent again: it lies before what was confirmed
                (None, Some(w)) => Lsn::of(&w.position)? <= self.confirmed,
                (None, None) => true,
            };
            if !fits {
                let seen = self.last.as_ref().map_or_else(|| "none".to_string(), |(end, xid)| format!("{xid}, ended at {end}"));
                let known = witness.map_or_else(|| "none".to_string(), |w| format!("{}, ended at {}", w.xid, w.position));
                return Err(Error::new(Kind::PositionLost, "the source shows another history than the one that was read")
                    .with_detail(format!("Last transaction at or before {at}: remembered {known}; found {seen}.")));
            }
        }
        self.position = self.position.max(to);
        Ok(())
    }

    /// Takes one message of the stream.
    pub fn message(&mut self, bytes: &[u8]) -> Result<Step> {
        match Message::parse(bytes)? {
            Message::Begin { commit, time, xid } => return self.begin(commit, time, xid),
            Message::Commit { end } => self.commit(end)?,
            Message::Origin { name } => self.mark(name.to_string()),
            Message::Logical { transactional: true, prefix: MARK, content } => self.mark(String::from_utf8_lossy(content).into_owned()),
            Message::Relation(relation) => {
                if let Some(tracked) = self.tables.get_mut(&relation.oid) {
                    tracked.places = None;
                }
                self.relations.insert(relation.oid, relation);
            }
            Message::Insert { relation, new } if self.operations.insert => return self.change(relation, Op::Insert, None, new, bytes.len()),
            Message::Update { relation, old, new } if self.operations.update => return self.change(relation, Op::Update, old, new, bytes.len()),
            Message::Delete { relation, old } if self.operations.delete => return self.change(relation, Op::Delete, None, old, bytes.len()),
            Message::Truncate { relations } if self.operations.truncate() => self.truncate(&relations)?,
            _ => {}
        }
        Ok(Step::Taken)
    }
    fn begin(&mut self, commit: Lsn, time: i64, xid: u32) -> Result<Step> {
        while let Some(at) = self.witnesses.front().map(|w| w.0).filter(|at| *at <= commit) {
            self.advance(at)?;
            if at > self.start {
                self.ends = true;
                return Ok(Step::Ends);
            }
        }
        let known = commit < self.start;
        if !known {
            // everything up to the start was seen: what follows is new
            self.advance(self.start)?;
        }
        self.current = Some(Current { commit, time: time.saturating_add(EPOCH_MICROS), xid, origin: None, dropped: known, known, begun: false, index: None, delivered: false });
        Ok(Step::Taken)
    }
    fn commit(&mut self, end: Lsn) -> Result<()> {
        let Some(current) = self.current.take() else {
            return Err(Error::new(Kind::Protocol, "the source sent a commit without its transaction"));
        };
        self.last = Some((end, current.xid.to_string()));
        if !current.known {
            let txn = Txn { position: end.position(), commit_time: current.time, xid: current.xid.to_string(), origin: current.origin };
            match current.index {
                Some(i) => self.txns[i as usize] = txn,
                None => self.txns.push(txn),
            }
            if current.delivered {
                self.skip = 0;
            }
            self.ends |= self.witnesses.front().is_some_and(|w| w.0 <= end);
        }
        self.advance(end)
    }
    /// The transaction says who wrote it.
    fn mark(&mut self, origin: String) {
        let forwarding = self.forwarding;
        if let Some(current) = &mut self.current
            && !current.begun
        {
            (current.begun, current.origin) = (true, Some(origin));
            current.dropped |= !forwarding;
        }
    }
    /// The transaction's place in the batch's list; None: its rows are left out.
    fn txn(&mut self) -> Result<Option<u32>> {
        let Some(current) = &mut self.current else {
            return Err(Error::new(Kind::Protocol, "the source sent a change outside a transaction"));
        };
        current.begun = true;
        if current.dropped {
            return Ok(None);
        }
        if self.skip > 0 {
            (self.skip, current.delivered) = (self.skip - 1, true);
            return Ok(None);
        }
        if let Some(index) = current.index {
            return Ok(Some(index));
        }
        let index = self.txns.len() as u32;
        // its end is not known yet; this compares with every end of a record as it will
        let position = Lsn(current.commit.0 + 1).position();
        self.txns.push(Txn { position, commit_time: current.time, xid: current.xid.to_string(), origin: current.origin.clone() });
        current.index = Some(index);
        Ok(Some(index))
    }
    fn change(&mut self, oid: u32, op: Op, old: Option<Tuple<'_>>, new: Tuple<'_>, bytes: usize) -> Result<Step> {
        let Some(tracked) = self.tables.get_mut(&oid) else {
            if let Some(current) = &mut self.current {
                current.begun = true;
            }
            return Ok(Step::Taken);
        };
        if tracked.places.is_none() && !tracked.broken && !self.current.as_ref().is_some_and(|c| c.dropped) {
            let relation = self.relations.get(&oid).ok_or_else(|| Error::new(Kind::Protocol, "the source sent a change of a table it has not described"))?;
            match evolve::places(&tracked.table, relation) {
                Some(places) => tracked.places = Some(places.into()),
                None => return Ok(Step::Restructure(oid)),
            }
        }
        let Some(txn) = self.txn()? else { return Ok(Step::Taken) };
        let Some(tracked) = self.tables.get_mut(&oid).filter(|t| !t.broken) else { return Ok(Step::Taken) };
        let Some(places) = tracked.places.clone() else { return Ok(Step::Taken) };
        if tracked.rows.is_none() {
            self.open.push(oid);
            tracked.rows = Some(RowsBuilder::new(tracked.table.clone()));
        }
        match tracked.append(op, txn, old, new, &places) {
            Ok(()) => {
                self.count += 1;
                self.bytes += bytes;
                Ok(Step::Taken)
            }
            Err(e) => {
                (tracked.rows, tracked.broken) = (None, true);
                Err(e.for_table(tracked.table.name.to_string()))
            }
        }
    }
    fn truncate(&mut self, relations: &[u32]) -> Result<()> {
        for oid in relations {
            let Some(table) = self.tables.get(oid).filter(|t| !t.broken).map(|t| t.table.clone()) else { continue };
            if self.txn()?.is_none() {
                continue;
            }
            self.close()?;
            self.parts.push(Part { table, content: Content::Truncate });
            self.count += 1;
            self.ends = true;
        }
        Ok(())
    }
    /// What is needed to look a relation's structure up: the version known and the one announced.
    pub fn announced(&self, oid: u32) -> Option<(Arc<TableVersion>, Relation)> {
        Some((self.tables.get(&oid)?.table.clone(), self.relations.get(&oid)?.clone()))
    }
    /// From here on the table has this structure. With changes, the batch ends with them.
    pub fn restructure(&mut self, oid: u32, after: Arc<TableVersion>, changes: Vec<ColumnChange>) -> Result<()> {
        self.close()?;
        let Some(tracked) = self.tables.get_mut(&oid) else { return Ok(()) };
        let places = self.relations.get(&oid).and_then(|r| evolve::places_of_columns(&after, r));
        let places = places.ok_or_else(|| Error::new(Kind::Protocol, "a table's structure can't be told from the change stream").for_table(after.name.to_string()))?;
        let before = std::mem::replace(&mut tracked.table, after.clone());
        tracked.places = Some(places.into());
        if changes.is_empty() || self.txn()?.is_none() {
            return Ok(());
        }
        self.parts.push(Part { table: after.clone(), content: Content::Schema(SchemaChange { before, after, changes }) });
        self.count += 1;
        self.ends = true;
        Ok(())
    }
    /// Makes parts of the rows gathered.
    fn close(&mut self) -> Result<()> {
        for oid in std::mem::take(&mut self.open) {
            let Some(tracked) = self.tables.get_mut(&oid) else { continue };
            let Some(rows) = tracked.rows.take().filter(|r| r.len() > 0) else { continue };
            match rows.finish() {
                Ok(rows) => self.parts.push(Part { table: tracked.table.clone(), content: Content::Rows(rows) }),
                Err(e) => {
                    tracked.broken = true;
                    return Err(e.for_table(tracked.table.name.to_string()));
                }
            }
        }
        Ok(())
    }
    /// The batch so far; a new one begins.
    pub fn take(&mut self) -> Result<Batch> {
        self.close()?;
        let unfinished = self.current.as_mut().is_some_and(|c| {
            c.delivered |= c.index.take().is_some();
            c.delivered
        });
        (self.count, self.bytes, self.ends) = (0, 0, false);
        Ok(Batch { parts: std::mem::take(&mut self.parts), txns: std::mem::take(&mut self.txns), ends_transaction: !unfinished, position: self.position.position() })
    }
}

impl Tracked {
    fn append(&mut self, op: Op, txn: u32, old: Option<Tuple<'_>>, new: Tuple<'_>, places: &[Option<usize>]) -> Result<()> {
        if op != Op::Insert && self.table.key.is_empty() {
            return Err(Error::new(Kind::NotSupported, "an update or delete of a table without a key can't be carried")
                .with_hint(format!("Run ALTER TABLE {} ADD PRIMARY KEY (...) at the source, or leave updates and deletes out with inclusion = 'data.insert'.", self.table.name)));
        }
        let [mut new_cells, mut old_cells]: [Vec<Cell<'_>>; 2] = std::mem::take(&mut self.cells);
        old_cells.clear();
        new.parse(&mut new_cells)?;
        if let Some(old) = old {
            old.parse(&mut old_cells)?;
        }
        let done = match &mut self.rows {
            Some(rows) => rows.append(&Change { op, txn, new: &new_cells, old: &old_cells, places }),
            None => Err(Error::internal("rows are appended where none are gathered")),
        };
        self.cells = [new_cells, old_cells].map(emptied);
        done
    }
}

/// The same room without what was in it, so without its lifetime: collecting an emptied vector's iterator keeps its allocation.
fn emptied(mut cells: Vec<Cell<'_>>) -> Vec<Cell<'static>> {
    cells.clear();
    cells.into_iter().map(|_| Cell::Null).collect()
}

#[cfg(test)]
mod tests;
