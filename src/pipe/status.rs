//! What is to be seen of a running pipe: plain values that views read, kept by the session as it works.

use super::checkpoint::{Fault, Tables};
use super::measure::{Measures, Totals};
use super::state::{Connection, ConnectionEvent, Phase, TableState, phase};
use crate::chunk::Copied;
use crate::data::{Losses, Lossy, Position, TableId, TableName};
use crate::plugin::{Backlog, Counts, Flushed};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// A pipe at one moment.
#[derive(Debug, Clone)]
pub struct PipeStatus {
    /// Which pipe.
    pub uuid: Uuid,
    /// What users see.
    pub phase: Phase,
    /// Of its connections.
    pub connection: Connection,
    /// The last error that still matters: of the pipe, or of its failed tables.
    pub exception: Option<Fault>,
    /// When a retryable error is tried again, microseconds since 1970-01-01 UTC.
    pub retry_at: Option<i64>,
    /// Where the changes began.
    pub start_position: Option<Position>,
    /// Everything at or before it is durable in the target.
    pub position: Option<Position>,
    /// Seconds between the source's last commit that is known and the last one that is durable in the target; None before the first, and while
    /// the pipe does not follow its source.
    pub lag_seconds: Option<f64>,
    /// Changes taken and not yet flushed.
    pub remaining_event_count: u64,
    /// Seconds that these will take at the rate of the last minute; while a snapshot runs, that the chunks will take. None: not known.
    pub estimated_remaining_seconds: Option<f64>,
    /// `exactly once`, `exactly once per table`, `at least once`.
    pub delivery: &'static str,
    /// Its tables.
    pub tables: Vec<TableStatus>,
    /// Steps of the running session.
    pub operators: Vec<OperatorStatus>,
}

/// A table of a pipe at one moment.
#[derive(Debug, Clone)]
pub struct TableStatus {
    /// Number for life.
    pub table_id: TableId,
    /// At the source.
    pub name: TableName,
    /// At the target.
    pub target: TableName,
    /// Where it stands.
    pub phase: TableState,
    /// Rows of the snapshot copied.
    pub snapshot_rows: u64,
    /// Rows of the snapshot in all, as the source estimates.
    pub snapshot_rows_total: Option<u64>,
    /// Share of its chunks that are done.
    pub snapshot_percent: Option<f64>,
    /// Rows inserted, updated, deleted; truncates.
    pub counts: Counts,
    /// Values that lost something under an `on-lossy` or `on-mismatch` option, by column.
    pub lossy: Lossy,
    /// Commit time of its last change, microseconds since 1970-01-01 UTC.
    pub last_change_at: Option<i64>,
    /// As the pipe's, for this table.
    pub lag_seconds: Option<f64>,
    /// The last change of structure that was applied, in words.
    pub ddl_sql: Option<String>,
    /// Why it has FAILED.
    pub exception: Option<Fault>,
}

/// A step of a session.
#[derive(Debug, Clone)]
pub struct OperatorStatus {
    /// `extractor`, `processor`, `connector`.
    pub operator: &'static str,
    /// How many at once.
    pub parallelism: usize,
    /// Rows in and out, bytes out.
    pub rows_in: u64,
    /// Rows that left it.
    pub rows_out: u64,
    /// Bytes that left it.
    pub bytes: u64,
    /// Share of the time that it worked.
    pub busy_percent: f64,
    /// Share of the time that it waited for the next step.
    pub backpressure_percent: f64,
}

/// Times and counts of one step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    /// Rows in.
    pub rows_in: u64,
    /// Rows out.
    pub rows_out: u64,
    /// Bytes out.
    pub bytes: u64,
    /// Time at work.
    pub busy: Duration,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    exception: Option<Fault>,
    retry_at: Option<i64>,
    start_position: Option<Position>,
    position: Option<Position>,
    /// Commit time of the last change that is durable, and of the last that was taken.
    durable_time: Option<i64>,
    taken_time: Option<i64>,
    pending: u64,
    delivery: &'static str,
    tables: BTreeMap<TableId, TableStatus>,
    /// States that are only shown, over those of the checkpoint.
    shown: BTreeMap<TableId, TableState>,
    chunks: BTreeMap<TableId, (u64, u64)>,
    meters: [Meter; 3],
    parallelism: usize,
    since: std::time::Instant,
    totals: Totals,
    backlog: Option<Backlog>,
    losses: Losses,
}

/// The cell that a session writes and everybody reads. Locks are held for plain assignments only.
#[derive(Debug)]
pub struct Live {
    uuid: Uuid,
    inner: Mutex<Inner>,
}

const MICROS: f64 = 1e6;

impl Live {
    /// Of a pipe that does nothing yet.
    pub fn new(uuid: Uuid, connection: Connection) -> Live {
        let inner = Inner {
            connection,
            exception: None,
            retry_at: None,
            start_position: None,
            position: None,
            durable_time: None,
            taken_time: None,
            pending: 0,
            delivery: "",
            tables: BTreeMap::new(),
            shown: BTreeMap::new(),
            chunks: BTreeMap::new(),
            meters: [Meter::default(); 3],
            parallelism: 1,
            since: std::time::Instant::now(),
            totals: Totals::default(),
            backlog: None,
            losses: Losses::default(),
        };
        Live { uuid, inner: Mutex::new(inner) }
    }

    /// As it is now.
    pub fn status(&self) -> PipeStatus {
        let i = self.inner.lock();
        let states = i.states();
        let exception = i.exception.clone().or_else(|| i.tables.values().find_map(|t| t.exception.as_ref().map(|f| named(f, &t.name))));
        let lag = i.lag();
        let elapsed = i.since.elapsed().as_secs_f64();
        let share = |d: Duration| if elapsed > 0.0 { (d.as_secs_f64() / elapsed * 100.0).min(100.0) } else { 0.0 };
        let operator = |n: usize, operator, parallelism| {
            let m = i.meters[n];
            let next = i.meters.get(n + 1).map_or(0.0, |m| share(m.busy));
            OperatorStatus { operator, parallelism, rows_in: m.rows_in, rows_out: m.rows_out, bytes: m.bytes, busy_percent: share(m.busy), backpressure_percent: next }
        };
        PipeStatus {
            uuid: self.uuid,
            phase: phase(i.connection, &states),
            connection: i.connection,
            exception,
            retry_at: i.retry_at,
            start_position: i.start_position.clone(),
            position: i.position.clone(),
            lag_seconds: lag,
            remaining_event_count: i.pending,
            estimated_remaining_seconds: i.estimate(elapsed),
            delivery: i.delivery,
            tables: i.tables.values().cloned().map(|mut t| {
                t.phase = i.shown.get(&t.table_id).copied().unwrap_or(t.phase);
                t.snapshot_percent = i.chunks.get(&t.table_id).map(|(done, all)| if *all == 0 { 100.0 } else { *done as f64 / *all as f64 * 100.0 });
                t.lag_seconds = t.last_change_at.and(lag);
                // an estimate that was too low is known to be that much too low
                t.snapshot_rows_total = t.snapshot_rows_total.map(|estimate| estimate.max(t.snapshot_rows));
                t
            }).collect(),
            operators: vec![operator(0, "extractor", 1), operator(1, "processor", 1), operator(2, "connector", i.parallelism)],
        }
    }

    /// In numbers, without its tables.
    pub fn measures(&self) -> Measures {
        let i = self.inner.lock();
        let states = i.states();
        let mut tables = std::collections::BTreeMap::new();
        states.iter().for_each(|s| *tables.entry(*s).or_insert(0) += 1);
        let (done, all) = i.chunks.values().fold((0, 0), |(d, a), (done, all)| (d + done, a + all));
        Measures {
            phase: phase(i.connection, &states),
            tables,
            lag_seconds: i.lag(),
            pending: i.pending,
            last_change_at: i.tables.values().filter_map(|t| t.last_change_at).max(),
            snapshot_rows: i.tables.values().map(|t| t.snapshot_rows).sum(),
            snapshot_expected: i.tables.values().filter_map(|t| t.snapshot_rows_total).reduce(|a, b| a + b),
            chunks: (!i.chunks.is_empty()).then_some((done, all)),
            totals: i.totals.clone(),
            backlog: i.backlog,
        }
    }

    /// The phase alone.
    pub fn phase(&self) -> Phase {
        let i = self.inner.lock();
        phase(i.connection, &i.states())
    }

    pub(super) fn connection(&self) -> Connection {
        self.inner.lock().connection
    }

    pub(super) fn set_connection(&self, connection: Connection, exception: Option<Fault>, retry_at: Option<i64>) {
        let mut i = self.inner.lock();
        i.totals.exceptions += u64::from(exception.is_some());
        i.totals.restarts += u64::from(connection == Connection::Retrying);
        // What broke it stays to be seen while it connects again.
        let again = i.connection == Connection::Retrying && connection == Connection::Provisioning;
        let exception = if again { i.exception.take() } else { exception };
        (i.connection, i.exception, i.retry_at) = (connection, exception, retry_at);
    }

    /// As it was when it was last noted, in an earlier life of the server: nothing of it is counted.
    pub(super) fn restore(&self, connection: Connection, exception: Option<Fault>) {
        let mut i = self.inner.lock();
        (i.connection, i.exception) = (connection, exception);
    }

    /// Both ends agree with the catalog. A STOP that came meanwhile stays PAUSING.
    pub(super) fn up(&self) {
        let mut i = self.inner.lock();
        if let Ok(up) = i.connection.step(ConnectionEvent::Reached) {
            (i.connection, i.exception, i.retry_at) = (up, None, None);
        }
    }

    /// A session begins: how it delivers, its tables, its start.
    pub(super) fn begin(&self, delivery: &'static str, parallelism: usize) {
        let mut i = self.inner.lock();
        (i.delivery, i.parallelism, i.pending, i.since) = (delivery, parallelism, 0, std::time::Instant::now());
        i.meters = [Meter::default(); 3];
        i.shown.clear();
    }

    /// Tables as they are listed; counters of those that stay are kept.
    pub(super) fn list(&self, tables: impl Iterator<Item = (TableId, TableName, TableName)>) {
        let mut i = self.inner.lock();
        let mut old = std::mem::take(&mut i.tables);
        for (table_id, name, target) in tables {
            let new = TableStatus {
                table_id,
                name,
                target,
                phase: TableState::Waiting,
                snapshot_rows: 0,
                snapshot_rows_total: None,
                snapshot_percent: None,
                counts: Counts::default(),
                lossy: Lossy::default(),
                last_change_at: None,
                lag_seconds: None,
                ddl_sql: None,
                exception: None,
            };
            let kept = old.remove(&table_id).map(|o| TableStatus { name: new.name.clone(), target: new.target.clone(), ..o });
            i.tables.insert(table_id, kept.unwrap_or(new));
        }
    }

    /// What the checkpoint says.
    pub(super) fn tables(&self, marks: &Tables) {
        let mut i = self.inner.lock();
        let at_work = i.connection == Connection::Up;
        for (id, mark) in marks {
            if let Some(t) = i.tables.get_mut(id) {
                let failed = at_work && t.exception.is_none() && mark.error.is_some();
                (t.phase, t.exception) = (mark.state, mark.error.clone());
                i.totals.exceptions += u64::from(failed);
            }
        }
    }

    /// Tables that left the pipe.
    pub(super) fn forget(&self, tables: &[TableId]) {
        let mut i = self.inner.lock();
        for id in tables {
            i.tables.remove(id);
            i.shown.remove(id);
            i.chunks.remove(id);
        }
    }

    /// A state that is only shown, until None or the next session.
    pub(super) fn show(&self, table: TableId, state: Option<TableState>) {
        let mut i = self.inner.lock();
        match state {
            Some(state) => drop(i.shown.insert(table, state)),
            None => drop(i.shown.remove(&table)),
        }
    }

    pub(super) fn update(&self, table: TableId, f: impl FnOnce(&mut TableStatus)) {
        if let Some(t) = self.inner.lock().tables.get_mut(&table) {
            f(t);
        }
    }

    pub(super) fn start_position(&self, position: Option<Position>) {
        self.inner.lock().start_position = position;
    }

    /// It has a place in the source's log.
    pub(super) fn is_provisioned(&self) -> bool {
        self.inner.lock().start_position.is_some()
    }

    /// What the source has for it, as far as that is known now.
    pub(super) fn backlog(&self, backlog: Option<Backlog>) {
        self.inner.lock().backlog = backlog;
    }

    /// Everything up to here is durable.
    pub(super) fn reached(&self, position: &Position) {
        let mut i = self.inner.lock();
        (i.position, i.pending, i.durable_time) = (Some(position.clone()), 0, i.taken_time);
    }

    /// Rows were taken and are not flushed.
    pub(super) fn taken(&self, rows: u64, commit_time: Option<i64>, changed: &[TableId]) {
        let mut i = self.inner.lock();
        i.pending += rows;
        i.taken_time = commit_time.or(i.taken_time);
        for id in changed {
            if let Some(t) = i.tables.get_mut(id) {
                t.last_change_at = commit_time.or(t.last_change_at);
            }
        }
    }

    /// What a flush did.
    pub(super) fn flushed(&self, flushed: &Flushed) {
        let mut i = self.inner.lock();
        for (id, c) in &flushed.tables {
            if let Some(t) = i.tables.get_mut(id) {
                add(&mut t.counts, c);
            }
            add(&mut i.totals.changes, c);
        }
        i.lose(&flushed.lossy);
        i.hear();
        i.meters[2].bytes += flushed.bytes;
        i.totals.bytes += flushed.bytes;
    }

    /// Where the readers of a session note what they lost.
    pub(super) fn listen(&self, losses: Losses) {
        self.inner.lock().losses = losses;
    }

    /// How long a flush took, from its number to the catalog's record.
    pub(super) fn took(&self, flush: Duration) {
        self.inner.lock().totals.flushes.observe(flush);
    }

    /// The chunks of a table: done, in all, rows in all.
    pub(super) fn chunks(&self, table: TableId, done: u64, all: u64, rows: u64) {
        let mut i = self.inner.lock();
        i.chunks.insert(table, (done, all));
        if let Some(t) = i.tables.get_mut(&table) {
            t.snapshot_rows_total = Some(rows);
            // From the beginning: what an earlier copy counted is another copy's.
            if done == 0 {
                t.snapshot_rows = 0;
            }
        }
    }

    /// One more chunk.
    pub(super) fn chunk_done(&self, table: TableId, copied: Copied) {
        let mut i = self.inner.lock();
        if let Some(c) = i.chunks.get_mut(&table) {
            c.0 += 1;
        }
        if let Some(t) = i.tables.get_mut(&table) {
            t.snapshot_rows += copied.rows;
        }
        i.lose(&BTreeMap::from([(table, copied.lossy)]));
        i.hear();
        let t = &mut i.totals;
        (t.copied, t.bytes) = (t.copied + copied.rows, t.bytes + copied.bytes);
        for m in &mut i.meters {
            (m.rows_in, m.rows_out, m.bytes) = (m.rows_in + copied.rows, m.rows_out + copied.rows, m.bytes + copied.bytes);
        }
    }

    /// A step (0 extractor, 1 processor, 2 connector) worked.
    pub(super) fn meter(&self, step: usize, rows_in: u64, rows_out: u64, bytes: u64, busy: Duration) {
        let mut i = self.inner.lock();
        if let Some(m) = i.meters.get_mut(step) {
            *m = Meter { rows_in: m.rows_in + rows_in, rows_out: m.rows_out + rows_out, bytes: m.bytes + bytes, busy: m.busy + busy };
        }
    }
}

impl Inner {
    fn lose(&mut self, lost: &BTreeMap<TableId, Lossy>) {
        for (id, l) in lost {
            if let Some(t) = self.tables.get_mut(id) {
                t.lossy.add(l);
            }
            self.totals.lossy += l.values();
        }
    }
    fn hear(&mut self) {
        let lost = self.losses.take();
        self.lose(&lost);
    }
    /// Seconds between the source's last commit that is known and the last one that is durable. Not known while the pipe does not follow its
    /// source: what happens there meanwhile nobody sees.
    fn lag(&self) -> Option<f64> {
        if self.connection != Connection::Up {
            return None;
        }
        match (self.durable_time, self.taken_time) {
            (_, Some(_)) if self.pending == 0 => Some(0.0),
            (Some(durable), Some(taken)) => Some((taken - durable).max(0) as f64 / MICROS),
            (None, Some(taken)) => Some((chrono::Utc::now().timestamp_micros() - taken).max(0) as f64 / MICROS),
            _ => None,
        }
    }

    fn states(&self) -> Vec<TableState> {
        self.tables.values().map(|t| self.shown.get(&t.table_id).copied().unwrap_or(t.phase)).collect()
    }

    /// Seconds for the chunks that are left, or for the changes that wait, at this session's rate.
    fn estimate(&self, elapsed: f64) -> Option<f64> {
        let (done, all) = self.chunks.values().fold((0, 0), |(d, a), (x, y)| (d + x, a + y));
        if done < all {
            return (done > 0).then(|| elapsed / done as f64 * (all - done) as f64);
        }
        let rate = self.meters[2].rows_out as f64 / elapsed.max(1e-3);
        match self.pending {
            0 => Some(0.0),
            n => (rate > 0.0).then(|| n as f64 / rate),
        }
    }
}

fn add(sum: &mut Counts, c: &Counts) {
    (sum.inserts, sum.updates, sum.deletes) = (sum.inserts + c.inserts, sum.updates + c.updates, sum.deletes + c.deletes);
    sum.truncates += c.truncates;
}

/// A table's fault as the pipe shows it.
fn named(fault: &Fault, table: &TableName) -> Fault {
    Fault { message: format!("table {table}: {}", fault.message), ..fault.clone() }
}
