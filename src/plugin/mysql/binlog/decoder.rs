//! The decoder of the log: events in, batches of Arrow rows out. Pure: what needs the catalog is asked for by a [`Step`].
//!
//! A batch may hold several tables; the order inside each is kept. It ends at a truncate, at a change of structure, at its bounds, and at each
//! place where an earlier flush ended, so that it can be made again to exactly the same end.

mod changes;
mod payload;
mod transactions;

use super::cells::Charsets;
use super::event::{self, Checksum, Event, kind};
use super::rows::{Layout, RowsBuilder};
use super::table_map::TableMap;
use crate::data::{Batch, Content, Part, Position, TableName, TableVersion, Txn};
use crate::error::{Error, Kind, Result};
use crate::plugin::mysql::position::{File, Gtids, Place, Suspects};
use payload::Payload;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// A statement that loads a file, where rows are not logged.
const EXECUTE_LOAD: u8 = 18;

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is taken.
    Taken,
    /// It is not taken: the structure of this table is to be looked up first ([`Decoder::restructure`]).
    Restructure(TableName),
    /// It is not taken: the batch ends before it.
    Ends,
}

/// The event is to be given again: it is not taken, or has failed one table and may mean others too.
pub fn is_kept(step: &Result<Step>) -> bool {
    match step {
        Ok(step) => *step != Step::Taken,
        Err(e) => e.table().is_some(),
    }
}

/// How the log is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// What another pipe wrote is handed on.
    pub forwarding: bool,
    /// Names of tables differ in more than case.
    pub exact_names: bool,
    /// The log is MariaDB's.
    pub mariadb: bool,
    /// Updates and deletes are wanted, and what foreign keys change is not in the log.
    pub cascades: bool,
    /// Largest event, packed or unpacked.
    pub most: usize,
}

/// A table that is followed.
#[derive(Debug)]
struct Tracked {
    table: Arc<TableVersion>,
    /// How its rows are read, for the structure that the log has shown.
    layout: Option<(Arc<TableMap>, Arc<Layout>)>,
    rows: Option<RowsBuilder>,
    /// A statement named it: its structure is looked up at its next change. Positions say so too, for whoever goes on from one.
    suspect: bool,
    /// One of its changes could not be read: nothing of it is taken until it is asked for anew.
    broken: bool,
}

/// A structure that the log has shown.
#[derive(Debug)]
struct Mapped {
    body: Vec<u8>,
    map: Arc<TableMap>,
    /// Its name as tables are looked up.
    key: TableName,
}

/// The transaction being read.
#[derive(Debug)]
struct Current {
    /// Where it begins.
    start: Place,
    /// In the source's words.
    id: String,
    gtid: Option<Gtid>,
    /// One statement without an end.
    standalone: bool,
    time: i64,
    origin: Option<String>,
    /// Its rows are left out: another pipe wrote it.
    dropped: bool,
    /// A row, or a mark, was seen.
    begun: bool,
    /// Place in the batch's list.
    index: Option<u32>,
    /// Rows of it were handed out.
    delivered: bool,
    /// It is before our start and among what was read then.
    stale: bool,
    /// Followed tables that it has changed.
    touched: Vec<TableName>,
}

#[derive(Debug, Clone)]
enum Gtid {
    Maria(u32, u32, u64),
    Mysql(String, u64),
}

/// Where an event ends, and what tells it from any other.
#[derive(Debug, Clone)]
struct At {
    end: Place,
    /// Where it begins.
    begin: u64,
    print: u32,
    time: u32,
}

/// Decoder of one connection.
#[derive(Debug)]
pub struct Decoder {
    settings: Settings,
    charsets: Charsets,
    checksum: Checksum,
    maps: HashMap<u64, Mapped>,
    tables: HashMap<TableName, Tracked>,
    /// What positions say of those among them whose structures are in doubt.
    doubts: String,
    current: Option<Current>,
    payload: Option<Payload>,
    /// Where the last event ended.
    place: Place,
    start: Place,
    /// Nothing after the start was read yet, and nobody before us has.
    fresh: bool,
    position: Place,
    gtids: Gtids,
    skip: u64,
    stops: VecDeque<Place>,
    parts: Vec<Part>,
    txns: Vec<Txn>,
    open: Vec<TableName>,
    count: usize,
    bytes: usize,
    ends: bool,
}

impl Decoder {
    /// A decoder of what comes strictly after `start`, before which the log has `gtids`.
    pub fn new(settings: Settings, start: Place, gtids: Gtids) -> Self {
        Decoder {
            settings,
            charsets: Charsets::new(),
            checksum: Checksum::Unknown,
            maps: HashMap::new(),
            tables: HashMap::new(),
            doubts: String::new(),
            current: None,
            payload: None,
            place: start.clone(),
            position: start.clone(),
            start,
            fresh: false,
            gtids,
            skip: 0,
            stops: VecDeque::new(),
            parts: Vec::new(),
            txns: Vec::new(),
            open: Vec::new(),
            count: 0,
            bytes: 0,
            ends: false,
        }
    }
    /// Batches end at these places too; `skip` changes after the start are done already.
    pub fn remember(&mut self, mut stops: Vec<Place>, skip: u64) {
        stops.retain(|s| s.order() > self.start.order());
        stops.sort_by_key(Place::order);
        (self.stops, self.skip) = (stops.into(), skip);
    }
    /// The position is an anchor's, from which nothing was read yet. MySQL reads the log's end and its set of transactions one after the other:
    /// the log may begin with some that are before the end and not in the set.
    pub fn begin_anew(&mut self) {
        self.fresh = true;
    }
    /// Structures that were in doubt at the start.
    pub fn suspect(&mut self, suspects: &Suspects) {
        self.tables.iter_mut().filter(|(key, _)| suspects.contains(key)).for_each(|(_, tracked)| tracked.suspect = true);
        self.note_doubts();
    }
    fn note_doubts(&mut self) {
        self.doubts = Suspects::suffix(self.tables.iter().filter(|(_, t)| t.suspect).map(|(key, _)| key));
    }
    /// A position of ours, with the structures that are in doubt there.
    fn position_of(&self, place: &Place) -> Position {
        let mut position = place.position(&self.gtids);
        position.text += &self.doubts;
        position
    }
    fn key(&self, name: &TableName) -> TableName {
        if self.settings.exact_names { name.clone() } else { TableName::new(name.schema.to_lowercase(), name.name.to_lowercase()) }
    }
    /// Takes up these tables and no others. Ones that are followed already keep the structure the log has reached.
    pub fn follow(&mut self, tables: &[Arc<TableVersion>], charsets: Charsets) -> Result<()> {
        self.close()?;
        self.charsets.extend(charsets);
        let mut known = std::mem::take(&mut self.tables);
        for table in tables {
            let key = self.key(&table.name);
            let tracked = match known.remove(&key) {
                Some(old) if !old.broken => {
                    let mut same = TableVersion::clone(&old.table);
                    (same.id, same.generation, same.name) = (table.id, table.generation, table.name.clone());
                    Tracked { table: Arc::new(same), ..old }
                }
                _ => Tracked { table: table.clone(), layout: None, rows: None, suspect: false, broken: false },
            };
            self.tables.insert(key, tracked);
        }
        self.note_doubts();
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

    // ------------------------------------------------------------------------------------------------------------ events

    /// Takes one event of the stream. What a compressed transaction holds is taken by [`Decoder::pending`] before the next one.
    pub fn event(&mut self, bytes: &[u8]) -> Result<Step> {
        let mut checksum = self.checksum;
        let event = Event::parse(bytes, &mut checksum)?;
        self.checksum = checksum;
        match event.kind {
            kind::ROTATE => {
                let (offset, file) = event::rotate(&event.body)?;
                return self.rotate(Place { file: File::parse(&file)?, offset }, event.artificial || event.end == 0);
            }
            kind::HEARTBEAT => return self.heartbeat(&event),
            _ => {}
        }
        let at = self.at(&event);
        if event.kind == kind::TRANSACTION_PAYLOAD {
            self.payload = Some(Payload::open(&event.body, self.settings.most, (at.begin, at.end.clone(), at.print))?);
            return Ok(Step::Taken);
        }
        let step = self.take_event(&event, &at)?;
        if step == Step::Taken {
            self.place = at.end;
            if self.current.is_none() {
                return self.advance_to_place();
            }
        }
        Ok(step)
    }
    /// Takes the next event of a compressed transaction; None: there is none.
    pub fn pending(&mut self) -> Result<Option<Step>> {
        let Some(payload) = &mut self.payload else { return Ok(None) };
        let (begin, end, print) = payload.outer.clone();
        let Some(bytes) = payload.next()? else {
            self.payload = None;
            self.place = end;
            return Ok(Some(if self.current.is_none() { self.advance_to_place()? } else { Step::Taken }));
        };
        let event = Event::parse(&bytes, &mut Checksum::Off)?;
        let at = At { end, begin, print, time: event.time };
        let step = self.take_event(&event, &at);
        if let (Some(payload), true) = (&mut self.payload, is_kept(&step)) {
            payload.back(bytes);
        }
        step.map(Some)
    }
    /// Where an event begins and ends. The log counts with 32 bits.
    fn at(&self, event: &Event<'_>) -> At {
        let mut end = self.place.clone();
        if !event.artificial {
            match event.end {
                // made for this connection, though it does not say so
                0 if matches!(event.kind, kind::FORMAT_DESCRIPTION | kind::PREVIOUS_GTIDS | kind::MARIA_GTID_LIST | kind::MARIA_START_ENCRYPTION) => {}
                // some servers don't say where an event of a transaction ends
                0 => end.offset += u64::from(event.size),
                low => {
                    end.offset = end.offset & !0xffff_ffff | u64::from(low);
                    if end.offset < self.place.offset {
                        end.offset += 1 << 32;
                    }
                }
            }
        }
        At { begin: end.offset.saturating_sub(u64::from(event.size)), end, print: event.print, time: event.time }
    }
    /// The log goes on elsewhere. One that was made for this connection says where it begins, which may be before our start: what lies between is
    /// skipped by the server.
    fn rotate(&mut self, mut to: Place, artificial: bool) -> Result<Step> {
        if artificial && to.file == self.start.file {
            to.offset |= self.start.offset & !0xffff_ffff;
        }
        self.maps.clear();
        self.place = to;
        if self.current.is_none() { self.advance_to_place() } else { Ok(Step::Taken) }
    }
    fn heartbeat(&mut self, event: &Event<'_>) -> Result<Step> {
        if self.current.is_some() {
            return Ok(Step::Taken);
        }
        let file = File::parse(String::from_utf8_lossy(&event.body).trim_end_matches('\0'))?;
        let mut to = Place { offset: u64::from(event.end), file };
        if to.file == self.place.file {
            to.offset |= self.place.offset & !0xffff_ffff;
        }
        if to.order() > self.place.order() {
            self.place = to;
        }
        self.advance_to_place()
    }
    /// Nothing is half read: everything up to the last event's end is in the batches so far. Idle progress past a place where batches end is for
    /// the next one.
    fn advance_to_place(&mut self) -> Result<Step> {
        let to = self.place.clone();
        match self.stops.front().filter(|s| s.order() <= to.order()).cloned() {
            Some(stop) => {
                self.stops.pop_front();
                self.ends = true;
                self.reach(stop);
            }
            None => self.reach(to),
        }
        Ok(Step::Taken)
    }
    fn reach(&mut self, to: Place) {
        if to.order() > self.position.order() {
            self.position = to;
        }
    }

    fn take_event(&mut self, event: &Event<'_>, at: &At) -> Result<Step> {
        let body = &event.body;
        match event.kind {
            kind::FORMAT_DESCRIPTION => {
                self.maps.clear();
                if !event.artificial && event.end != 0 && event::begins_a_run(body) {
                    self.cut_off(at)?;
                }
            }
            kind::MARIA_GTID => {
                let g = event::maria_gtid(body)?;
                let gtid = Gtid::Maria(g.domain, event.server, g.number);
                return self.begin(at, format!("{}-{}-{}", g.domain, event.server, g.number), Some(gtid), g.standalone);
            }
            kind::GTID => {
                let (source, number) = event::mysql_gtid(body)?;
                return self.begin(at, format!("{source}:{number}"), Some(Gtid::Mysql(source, number)), true);
            }
            kind::GTID_TAGGED => {
                let (source, number) = event::mysql_tagged_gtid(body)?;
                return self.begin(at, format!("{source}:{number}"), Some(Gtid::Mysql(source, number)), true);
            }
            kind::ANONYMOUS_GTID => return self.begin(at, String::new(), None, true),
            kind::QUERY | kind::MARIA_QUERY_COMPRESSED => {
                let query = event::query(body, event.kind == kind::MARIA_QUERY_COMPRESSED, self.settings.most)?;
                return self.statement(&query, at);
            }
            kind::XID => self.commit(at)?,
            kind::XA_PREPARE => {
                // the first byte: it commits in one phase
                if body.first() != Some(&1) {
                    self.refuse_undecided()?;
                }
                self.commit(at)?;
            }
            kind::TABLE_MAP => self.table_map(body)?,
            kind::WRITE_ROWS_V1..=kind::DELETE_ROWS_V1 | kind::WRITE_ROWS..=kind::DELETE_ROWS | kind::MARIA_WRITE_ROWS_COMPRESSED_V1..=kind::MARIA_DELETE_ROWS_COMPRESSED => {
                return self.rows(event.kind, body);
            }
            kind::PARTIAL_UPDATE_ROWS => return self.partial(body),
            kind::WRITE_ROWS_V0..=kind::DELETE_ROWS_V0 | kind::MARIA_PARTIAL_ROW_DATA => {
                return Err(Error::new(Kind::NotSupported, "the log has rows in a form that is not known").with_detail(format!("Event type {}.", event.kind)));
            }
            EXECUTE_LOAD => self.by_statement(body)?,
            kind::INCIDENT => {
                return Err(Error::new(Kind::PositionLost, "the source's log has a gap").with_detail(format!("The server logged an incident at {}.", at.end)));
            }
            _ => {}
        }
        Ok(Step::Taken)
    }

    /// Makes parts of the rows gathered. After an error the tables behind the failed one are still to be closed.
    fn close(&mut self) -> Result<()> {
        let mut keys = std::mem::take(&mut self.open).into_iter();
        while let Some(key) = keys.next() {
            let Some(tracked) = self.tables.get_mut(&key) else { continue };
            let Some(rows) = tracked.rows.take().filter(|r| r.len() > 0) else { continue };
            match rows.finish() {
                Ok(rows) => self.parts.push(Part { table: tracked.table.clone(), content: Content::Rows(rows) }),
                Err(e) => {
                    self.open = keys.collect();
                    return Err(self.broke(&key, e));
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
        Ok(Batch { parts: std::mem::take(&mut self.parts), txns: std::mem::take(&mut self.txns), ends_transaction: !unfinished, position: self.position_of(&self.position) })
    }
}

#[cfg(test)]
mod tests;
