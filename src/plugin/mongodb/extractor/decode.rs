//! From events to batches: rows by table, transactions by session and number, and how far everything is.
//!
//! An event that is no part of a transaction is one by itself, and its token is its end. The events of a transaction come together; which is the last is
//! seen when something else follows, or when the server has nothing more.

use super::super::declared::{Layout, Layouts};
use super::super::position::{Place, time_of};
use super::super::rows::Documents;
use super::super::types::key_of;
use super::event::Event;
use crate::data::{Batch, Content, Op, Part, Position, Rows, TableVersion, Txn};
use crate::error::{Error, Kind, Result};
use crate::plugin::Options;
use crate::plugin::policy::Operations;
use std::collections::HashMap;
use std::sync::Arc;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is in the batch, or is not wanted.
    Taken,
    /// It is in the batch, which ends with it.
    Ends,
    /// It is a batch's first or nothing: what is gathered is to be taken, and the event given again.
    Before,
}

/// A table whose changes are wanted, and those of it that are gathered.
struct Tracked {
    table: Arc<TableVersion>,
    layout: Arc<Layout>,
    gathered: Option<(Documents, Vec<Op>, Vec<u32>)>,
}

/// A transaction under way.
struct Current {
    session: Vec<u8>,
    number: i64,
    time: u64,
    commit_time: i64,
    end: Position,
    /// Its place in the batch; None: not in this one.
    index: Option<usize>,
    /// A part of it is handed out.
    delivered: bool,
}

/// See the file's head.
pub struct Decoder {
    tracked: HashMap<String, HashMap<String, Tracked>>,
    layouts: Layouts,
    wanted: Operations,
    /// Inserts are known to be new: no pipeline leaves events out.
    plain: bool,
    /// Updates come with their document or not at all.
    images: bool,
    on_drop: OnDrop,
    ignores_rename: bool,
    parts: Vec<Part>,
    txns: Vec<Txn>,
    /// End of the last complete transaction, or of idle progress.
    position: Position,
    /// Events up to here are left out.
    left_out: Option<Position>,
    current: Option<Current>,
    fragments: Vec<Vec<u8>>,
    rows: usize,
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDrop {
    Truncate,
    Ignore,
    Stop,
}

impl Decoder {
    /// Begins after a position.
    pub fn new(options: &Options, layouts: Layouts, position: Position) -> Decoder {
        let on_drop = match options.get("on-drop") {
            Some("ignore") => OnDrop::Ignore,
            Some("stop") => OnDrop::Stop,
            _ => OnDrop::Truncate,
        };
        Decoder {
            tracked: HashMap::new(),
            layouts,
            wanted: Operations::new(options),
            plain: options.get("pipeline").is_none(),
            images: options.get("full-document").is_some_and(|f| f == "whenAvailable"),
            on_drop,
            ignores_rename: options.get("on-rename") == Some("ignore"),
            parts: Vec::new(),
            txns: Vec::new(),
            position,
            left_out: None,
            current: None,
            fragments: Vec::new(),
            rows: 0,
            bytes: 0,
        }
    }
    /// From now on these tables. What is gathered stays.
    pub fn follow(&mut self, tables: &[Arc<TableVersion>]) -> Result<()> {
        self.close_rows()?;
        self.tracked.clear();
        for table in tables {
            let tracked = Tracked { table: table.clone(), layout: self.layouts.of(&table.name), gathered: None };
            self.tracked.entry(table.name.schema.clone()).or_default().insert(table.name.name.clone(), tracked);
        }
        Ok(())
    }
    /// The end of the last complete transaction.
    pub fn position(&self) -> &Position {
        &self.position
    }
    /// The stream that follows may begin before the position: what it has up to it is left out.
    pub fn leave_out(&mut self) {
        self.left_out = Some(self.position.clone());
        self.fragments.clear();
    }
    /// No transaction is under way.
    pub fn between(&self) -> bool {
        self.current.is_none() && self.fragments.is_empty()
    }
    /// Rows gathered, and transactions without a row.
    pub fn rows(&self) -> usize {
        self.rows + usize::from(!self.txns.is_empty())
    }
    /// Bytes gathered.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// The server has nothing more: a transaction under way is complete.
    pub fn quiet(&mut self) {
        self.complete();
    }
    /// All of an answer is decoded; `token` is where the stream stands then.
    pub fn caught_up(&mut self, token: Option<Position>) {
        let Some(token) = token else { return };
        if self.current.as_ref().is_some_and(|c| time_of(&token) > c.time) {
            self.complete();
        }
        if self.between() && token.reached(&self.position) {
            self.position = token;
        }
    }

    /// Takes an event.
    pub fn event(&mut self, bytes: &[u8]) -> Result<Step> {
        let event = Event::read(bytes)?;
        match event.fragment {
            Some((fragment, of)) if fragment < of => {
                self.fragments.push(bytes.to_vec());
                return Ok(Step::Taken);
            }
            Some(_) => {
                let mut fragments = std::mem::take(&mut self.fragments);
                fragments.push(bytes.to_vec());
                let step = self.whole(&Event::of_fragments(&fragments)?)?;
                if step == Step::Before {
                    fragments.pop();
                    self.fragments = fragments;
                }
                Ok(step)
            }
            None => self.whole(&event),
        }
    }

    fn whole(&mut self, event: &Event<'_>) -> Result<Step> {
        let place = Place::Token(event.place()).position()?;
        if self.left_out.as_ref().is_some_and(|p| p.reached(&place)) {
            return Ok(Step::Taken);
        }
        if let Some(e) = self.stops(event) {
            // what came before it is delivered, and then it is said
            self.complete();
            return if self.rows() > 0 { Ok(Step::Before) } else { Err(e) };
        }
        let truncates = event.operation == "drop" && self.wanted.delete && self.on_drop == OnDrop::Truncate && self.is_tracked(event);
        if event.operation == "invalidate" {
            self.complete();
            self.position = place;
            return Ok(Step::Taken);
        }
        let txn = self.transaction(event, place)?;
        if truncates {
            self.truncate(event)?;
            return Ok(Step::Ends);
        }
        self.row(event, txn)?;
        Ok(Step::Taken)
    }

    fn is_tracked(&self, event: &Event<'_>) -> bool {
        event.names.is_some_and(|(database, collection)| self.tracked.get(database).is_some_and(|t| t.contains_key(collection)))
    }

    /// The failure of a table that an event is.
    fn stops(&self, event: &Event<'_>) -> Option<Error> {
        let tracked = |names: Option<(&str, &str)>| names.and_then(|(database, collection)| self.tracked.get(database)?.get(collection)).map(|t| t.table.name.to_string());
        let fails = |table: String, what: String| Some(Error::new(Kind::UndefinedTable, what).for_table(table));
        match event.operation {
            "drop" if self.on_drop == OnDrop::Stop => {
                let table = tracked(event.names)?;
                let what = format!("collection {table} was dropped at the source");
                fails(table, what)
            }
            "rename" if !self.ignores_rename => {
                if let Some(table) = tracked(event.names) {
                    let to = event.to.map_or(String::new(), |(database, collection)| format!(" to {database}.{collection}"));
                    let what = format!("collection {table} was renamed{to} at the source");
                    return fails(table, what);
                }
                let table = tracked(event.to)?;
                let what = format!("collection {table} was replaced by another one at the source");
                fails(table, what)
            }
            _ => None,
        }
    }

    /// Finds the event's transaction, or begins it; gives its index in the batch.
    fn transaction(&mut self, event: &Event<'_>, place: Position) -> Result<u32> {
        let index = |n: usize| u32::try_from(n).map_err(|_| Error::internal("too many transactions in a batch"));
        let Some((session, number)) = event.transaction() else {
            self.complete();
            self.txns.push(Txn { position: place.clone(), commit_time: event.micros(), xid: format!("{}.{}", event.time >> 32, event.time & 0xffff_ffff), origin: None });
            self.position = place;
            return index(self.txns.len() - 1);
        };
        let same = self.current.as_ref().is_some_and(|c| c.number == number && c.time == event.time && c.session == session);
        if !same {
            self.complete();
            self.current = Some(Current { session: session.to_vec(), number, time: event.time, commit_time: event.micros(), end: place.clone(), index: None, delivered: false });
        }
        let Some(current) = &mut self.current else { return Err(Error::internal("a transaction is lost that was just begun")) };
        current.end = place.clone();
        let at = match current.index {
            Some(at) => at,
            None => {
                let xid = format!("{}.{} {}", event.time >> 32, event.time & 0xffff_ffff, number);
                self.txns.push(Txn { position: place.clone(), commit_time: current.commit_time, xid, origin: None });
                current.index = Some(self.txns.len() - 1);
                self.txns.len() - 1
            }
        };
        if let Some(txn) = self.txns.get_mut(at) {
            txn.position = place;
        }
        index(at)
    }

    fn complete(&mut self) {
        let Some(current) = self.current.take() else { return };
        if current.index.is_none() && current.delivered {
            // its rows went with earlier batches: its end is told with this one
            self.txns.push(Txn { position: current.end.clone(), commit_time: current.commit_time, xid: format!("{}.{} {}", current.time >> 32, current.time & 0xffff_ffff, current.number), origin: None });
        }
        self.position = current.end;
    }

    fn row(&mut self, event: &Event<'_>, txn: u32) -> Result<()> {
        let Some((database, collection)) = event.names else { return Ok(()) };
        let Some(tracked) = self.tracked.get_mut(database).and_then(|t| t.get_mut(collection)) else { return Ok(()) };
        let (wanted, op) = match event.operation {
            "insert" => (self.wanted.insert, if self.plain { Op::Insert } else { Op::Upsert }),
            "update" | "replace" => (self.wanted.update, Op::Upsert),
            "delete" => (self.wanted.delete, Op::Delete),
            _ => return Ok(()),
        };
        if !wanted {
            return Ok(());
        }
        let table = tracked.table.name.to_string();
        if op != Op::Delete && event.document.is_none() {
            return match (event.operation, self.images) {
                // it is gone by now, and its delete follows
                ("update", false) => Ok(()),
                ("update", true) => Err(Error::new(Kind::NotSupported, "the source kept no image of an updated document")
                    .with_hint("Run db.runCommand({ collMod: ..., changeStreamPreAndPostImages: { enabled: true } }) at the source and RESYNC the table, or use full-document = 'updateLookup'.")
                    .for_table(table)),
                _ => Err(Error::new(Kind::Protocol, "an event has no document").with_hint("A pipeline must keep fullDocument.").for_table(table)),
            };
        }
        if tracked.gathered.is_none() {
            tracked.gathered = Some((Documents::new(&tracked.table, &tracked.layout, None)?, Vec::new(), Vec::new()));
        }
        let Some(gathered) = &mut tracked.gathered else { return Ok(()) };
        let before = gathered.0.bytes();
        let rows = gather(gathered, event, op, txn);
        let after = gathered.0.bytes();
        match rows {
            Ok(rows) => {
                self.rows += rows;
                self.bytes += after.saturating_sub(before) + rows * ROW_BYTES;
                Ok(())
            }
            Err(e) => {
                tracked.gathered = None;
                Err(if e.table().is_none() { e.for_table(table) } else { e })
            }
        }
    }

    fn truncate(&mut self, event: &Event<'_>) -> Result<()> {
        self.close_rows()?;
        let Some(tracked) = event.names.and_then(|(database, collection)| self.tracked.get(database)?.get(collection)) else { return Ok(()) };
        self.parts.push(Part { table: tracked.table.clone(), content: Content::Truncate });
        self.rows += 1;
        Ok(())
    }

    fn close_rows(&mut self) -> Result<()> {
        for tracked in self.tracked.values_mut().flat_map(HashMap::values_mut) {
            let Some((mut documents, ops, txn)) = tracked.gathered.take() else { continue };
            if ops.is_empty() {
                continue;
            }
            let after = documents.finish()?;
            self.parts.push(Part { table: tracked.table.clone(), content: Content::Rows(Rows { ops, after, old_keys: None, present: None, txn }) });
        }
        Ok(())
    }

    /// What is gathered, as a batch.
    pub fn take(&mut self) -> Result<Batch> {
        self.close_rows()?;
        if let Some(current) = &mut self.current {
            current.delivered |= current.index.take().is_some();
        }
        let unfinished = self.current.as_ref().is_some_and(|c| c.delivered);
        (self.rows, self.bytes) = (0, 0);
        Ok(Batch { parts: std::mem::take(&mut self.parts), txns: std::mem::take(&mut self.txns), ends_transaction: !unfinished, position: self.position.clone() })
    }
}

/// Appends a change's rows; gives how many.
fn gather((documents, ops, txns): &mut (Documents, Vec<Op>, Vec<u32>), event: &Event<'_>, op: Op, txn: u32) -> Result<usize> {
    let mut push = |op: Op| {
        ops.push(op);
        txns.push(txn);
    };
    let Some(document) = event.document.filter(|_| op != Op::Delete) else {
        let key = event.key.ok_or_else(|| Error::new(Kind::Protocol, "a delete has no documentKey").with_hint("A pipeline must keep documentKey."))?;
        documents.append_key(key)?;
        push(Op::Delete);
        return Ok(1);
    };
    // a number may be replaced by an equal one of another type, whose text is another
    let moved = event.key.filter(|_| op != Op::Insert).map(|key| Ok::<_, Error>((key, key_of(document)? != key))).transpose()?.filter(|(_, moved)| *moved);
    if let Some((key, _)) = moved {
        documents.append_key(key)?;
        push(Op::Delete);
    }
    documents.append(document)?;
    push(op);
    Ok(1 + usize::from(moved.is_some()))
}

/// What a row takes beside its document.
const ROW_BYTES: usize = 64;
