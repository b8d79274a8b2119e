//! What goes on at the source: several writers with transfers between accounts, a row with a dense number in every transaction, rows that live
//! and die, and blocks that are rolled back. Writers know what was acknowledged, and find out what became of a COMMIT whose answer they missed.

use super::systems::{Session, System};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Accounts in each of the tables of accounts.
const ACCOUNTS: i64 = 100;
/// What all accounts of a table have together, of the one table that keeps it by itself.
pub const BANK: i64 = ACCOUNTS * 1000;
/// What those of the two tables have together that transfers go between.
pub const BOTH: i64 = 2 * ACCOUNTS * 1000;
/// Keys per writer of rows that live and die.
const LIVES: i64 = 200;
/// Every so many of them are there from the beginning.
const BORN: usize = 2;
/// Percent of the transactions that are prepared first, and longest time until they are committed.
const PREPARED: i32 = 8;
const PREPARED_PAUSE: u64 = 60;
/// Percent of those with blocks that are rolled back, in blocks.
const NESTED: i32 = 20;
/// Blocks of one transaction, now and then: more than a session's cache of them holds.
const MANY_BLOCKS: usize = 70;
/// Length of a value that is stored out of line.
const BIG: usize = 5000;
/// Pause of a writer after an error.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Marks rows of blocks that are rolled back.
pub const POISON: &str = "poison";
/// Writers.
pub const WRITERS: usize = 3;

/// A table and the columns of its digest; the first ones are its key.
pub const TABLES: &[(&str, &[&str])] = &[
    ("bank", &["id", "balance", "ver"]),
    ("bank_l", &["id", "balance"]),
    ("bank_r", &["id", "balance"]),
    ("ledger", &["writer", "seq", "note"]),
    ("life", &["id", "n", "big"]),
    ("bulk", &["id", "n", "pad"]),
];

/// The tables, with their first rows.
pub async fn create(system: &dyn System, bulk_rows: usize) {
    let mut sql = String::from(
        "create table bank (id int primary key, balance bigint not null, ver bigint not null);
         create table bank_l (id int primary key, balance bigint not null);
         create table bank_r (id int primary key, balance bigint not null);
         create table ledger (writer int, seq bigint, note varchar(100), primary key (writer, seq));
         create table life (id bigint primary key, n int, big text);
         create table bulk (id bigint primary key, n int, pad varchar(100));",
    );
    let rows = |columns: fn(i64) -> String, n: i64| (0..n).map(columns).collect::<Vec<_>>().join(",");
    sql += &format!("insert into bank values {};", rows(|i| format!("({i},1000,0)"), ACCOUNTS));
    for side in ["bank_l", "bank_r"] {
        sql += &format!("insert into {side} values {};", rows(|i| format!("({i},1000)"), ACCOUNTS));
    }
    system.run(&sql).await.expect("the tables");
    let mut session = system.session().await.expect("a session");
    let mut rng = StdRng::seed_from_u64(bulk_rows as u64);
    let lives: Vec<i64> = (0..LIVES * WRITERS as i64).step_by(BORN).collect();
    for some in lives.chunks(100) {
        let rows = some.iter().map(|k| format!("({k}, {}, '{}')", k % 7, letters(&mut rng, BIG))).collect::<Vec<_>>().join(",");
        session.rows(&format!("insert into life values {rows}")).await.expect("rows");
    }
    for first in (0..bulk_rows).step_by(1000) {
        let rows = (first..(first + 1000).min(bulk_rows)).map(|i| format!("({i},{},'{:050}')", i % 7, i)).collect::<Vec<_>>().join(",");
        session.rows(&format!("insert into bulk values {rows}")).await.expect("rows");
    }
}

/// A text that does not compress to nothing.
fn letters(rng: &mut StdRng, size: usize) -> String {
    (0..size).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect()
}

struct Shared {
    system: Arc<dyn System>,
    bulk_rows: i64,
    pause: AtomicBool,
    stop: AtomicBool,
    parked: AtomicUsize,
    /// Longest time between two transactions of a writer, in milliseconds.
    pace: AtomicU64,
    acked: Vec<AtomicI64>,
    transactions: AtomicU64,
    prepared: AtomicU64,
    nested: AtomicU64,
}

/// The writers. They end with the value.
pub struct Workload {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Workload {
    /// Starts the writers; their choices come from the seed.
    pub fn start(system: Arc<dyn System>, bulk_rows: usize, seed: u64) -> Workload {
        let shared = Arc::new(Shared {
            system,
            bulk_rows: bulk_rows as i64,
            pause: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            parked: AtomicUsize::new(0),
            pace: AtomicU64::new(20),
            acked: (0..WRITERS).map(|_| AtomicI64::new(0)).collect(),
            transactions: AtomicU64::new(0),
            prepared: AtomicU64::new(0),
            nested: AtomicU64::new(0),
        });
        let writer = |id: usize| Writer { id, rng: StdRng::seed_from_u64(seed ^ (id as u64 + 1) << 32), shared: shared.clone(), session: None, seq: 0 };
        let tasks = (0..WRITERS).map(|id| tokio::spawn(writer(id).run())).collect();
        Workload { shared, tasks }
    }
    /// The last number of each writer that the source has acknowledged.
    pub fn acked(&self) -> Vec<i64> {
        self.shared.acked.iter().map(|a| a.load(Ordering::SeqCst)).collect()
    }
    /// Transactions so far.
    pub fn transactions(&self) -> u64 {
        self.shared.transactions.load(Ordering::SeqCst)
    }
    /// Those of them that were prepared first and then committed, and those that had blocks in blocks.
    pub fn prepared_and_nested(&self) -> (u64, u64) {
        (self.shared.prepared.load(Ordering::SeqCst), self.shared.nested.load(Ordering::SeqCst))
    }
    /// Returns when no writer has anything under way, and none begins.
    pub async fn pause(&self) {
        self.shared.pause.store(true, Ordering::SeqCst);
        while self.shared.parked.load(Ordering::SeqCst) < WRITERS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    /// Goes on after [`Workload::pause`].
    pub fn resume(&self) {
        self.shared.pause.store(false, Ordering::SeqCst);
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.tasks.iter().for_each(|t| t.abort());
    }
}

struct Writer {
    id: usize,
    rng: StdRng,
    shared: Arc<Shared>,
    session: Option<Box<dyn Session>>,
    /// The last number that is in the source.
    seq: i64,
}

impl Writer {
    async fn run(mut self) {
        while !self.shared.stop.load(Ordering::SeqCst) {
            if self.shared.pause.load(Ordering::SeqCst) {
                self.park().await;
            }
            match self.step().await {
                Ok(()) => drop(self.shared.transactions.fetch_add(1, Ordering::SeqCst)),
                Err(_) => {
                    self.session = None;
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
            let pace = self.shared.pace.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..=pace))).await;
        }
    }

    async fn park(&mut self) {
        // What is not known is found out first, so that a pause is a true one.
        if self.session.is_none() && self.connect().await.is_err() {
            tokio::time::sleep(ERROR_PAUSE).await;
            return;
        }
        self.shared.parked.fetch_add(1, Ordering::SeqCst);
        while self.shared.pause.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.shared.parked.fetch_sub(1, Ordering::SeqCst);
    }

    /// A session, and what became of the last transaction: a prepared one that was left is committed.
    async fn connect(&mut self) -> Result<(), String> {
        let mut session = self.shared.system.session().await?;
        if let Some((_, commit)) = self.shared.system.two_phase(&self.prepared()) {
            let _ = session.rows(&commit).await;
        }
        let rows = session.rows(&format!("select coalesce(max(seq), 0) from ledger where writer = {}", self.id)).await?;
        let last = rows.first().and_then(|r| r.first()).cloned().flatten();
        self.seq = last.and_then(|v| v.parse().ok()).ok_or("no number")?;
        self.shared.acked[self.id].store(self.seq, Ordering::SeqCst);
        self.session = Some(session);
        Ok(())
    }

    fn prepared(&self) -> String {
        format!("writer {}", self.id)
    }

    async fn step(&mut self) -> Result<(), String> {
        if self.session.is_none() {
            self.connect().await?;
        }
        let (mut changes, mut next) = (String::new(), self.seq);
        let kind = self.rng.random_range(0..100);
        if kind < 8 {
            let sql = format!("begin; {}; {}; rollback", self.poison(), self.transfer());
            return self.send(&sql).await;
        }
        for _ in 0..if kind < 80 { 1 } else { self.rng.random_range(2..12) } {
            next += 1;
            changes += &format!("{}; {}; ", self.change(), self.entry(next));
        }
        let two_phase = self.shared.system.two_phase(&self.prepared()).filter(|_| kind >= 100 - PREPARED);
        if let Some((prepare, commit)) = two_phase {
            // COMMIT PREPARED must come alone; meanwhile others commit, and anything may happen to it
            let nested = self.nested();
            self.send(&format!("begin; {changes} {nested} {prepare}")).await?;
            let pause = self.rng.random_range(0..=PREPARED_PAUSE);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            self.send(&commit).await?;
            self.shared.prepared.fetch_add(1, Ordering::SeqCst);
        } else if kind < 8 + NESTED {
            let nested = self.nested();
            self.send(&format!("begin; {changes} {nested} commit")).await?;
            self.shared.nested.fetch_add(1, Ordering::SeqCst);
        } else {
            self.send(&format!("begin; {changes} commit")).await?;
        }
        self.seq = next;
        self.shared.acked[self.id].store(next, Ordering::SeqCst);
        Ok(())
    }

    async fn send(&mut self, sql: &str) -> Result<(), String> {
        let session = self.session.as_mut().ok_or("no session")?;
        session.rows(sql).await.map(|_| ())
    }

    /// Blocks in a block: what is rolled back, what is kept, and what is kept inside of what is rolled back.
    fn nested(&mut self) -> String {
        let mut sql = format!("savepoint a; {}; {}; rollback to savepoint a; {}; ", self.poison(), self.transfer(), self.live());
        sql += &format!("savepoint b; {}; savepoint c; {}; release savepoint c; rollback to savepoint b; ", self.live(), self.poison());
        sql += &format!("savepoint d; {}; savepoint e; {}; release savepoint e; release savepoint d; ", self.live(), self.live());
        if self.rng.random_bool(0.05) {
            for i in 0..MANY_BLOCKS {
                sql += &format!("savepoint m{i}; {}; ", if i % 3 == 0 { format!("{}; rollback to savepoint m{i}", self.poison()) } else { self.live() });
            }
        }
        sql
    }

    fn entry(&mut self, seq: i64) -> String {
        format!("insert into ledger values ({}, {seq}, 'entry {seq} of {}')", self.id, self.id)
    }

    fn poison(&mut self) -> String {
        format!("insert into ledger values ({}, {}, '{POISON}'); update bank set balance = balance - 1000000 where id = 0", self.id, i64::MAX - self.rng.random_range(0..1000))
    }

    /// Rows are locked in the order of the tables and of their keys, so that writers don't wait for each other in a circle.
    fn transfer(&mut self) -> String {
        let amount = self.rng.random_range(1..50);
        if self.rng.random_bool(0.5) {
            let (a, b) = (self.rng.random_range(0..ACCOUNTS - 1), self.rng.random_range(1..ACCOUNTS));
            let (a, b) = if a == b { (a, b + 1) } else { (a.min(b), a.max(b)) };
            return format!(
                "update bank set balance = balance - {amount}, ver = ver + 1 where id = {a}; update bank set balance = balance + {amount}, ver = ver + 1 where id = {}",
                if b == ACCOUNTS { a } else { b }
            );
        }
        let (a, b) = (self.rng.random_range(0..ACCOUNTS), self.rng.random_range(0..ACCOUNTS));
        let amount = if self.rng.random_bool(0.5) { amount } else { -amount };
        format!("update bank_l set balance = balance - {amount} where id = {a}; update bank_r set balance = balance + {amount} where id = {b}")
    }

    fn change(&mut self) -> String {
        match self.rng.random_range(0..10) {
            0..5 => self.transfer(),
            5..8 => self.live(),
            _ => self.bulk(),
        }
    }

    /// Own keys: insert, insert again, update, update without the big value, change of key, delete, NULL.
    fn live(&mut self) -> String {
        let key = |r: &mut StdRng, id: usize| r.random_range(0..LIVES) * WRITERS as i64 + id as i64;
        let (k, other, n) = (key(&mut self.rng, self.id), key(&mut self.rng, self.id), self.rng.random_range(0..1000));
        match self.rng.random_range(0..7) {
            0 | 1 => format!("delete from life where id = {k}; insert into life values ({k}, {n}, '{}')", self.big()),
            2 => format!("update life set n = {n} where id = {k}"),
            3 => format!("update life set big = '{}' where id = {k}", self.big()),
            4 if k != other => format!("delete from life where id = {other}; update life set id = {other}, n = {n} where id = {k}"),
            5 => format!("delete from life where id = {k}"),
            _ => format!("update life set n = null, big = {} where id = {k}", if n % 2 == 0 { "null" } else { "big" }),
        }
    }

    fn big(&mut self) -> String {
        let size = if self.rng.random_bool(0.5) { BIG } else { 20 };
        letters(&mut self.rng, size)
    }

    fn bulk(&mut self) -> String {
        let rows = self.shared.bulk_rows;
        let k = self.rng.random_range(0..rows.max(WRITERS as i64) / WRITERS as i64) * WRITERS as i64 + self.id as i64;
        match self.rng.random_range(0..4) {
            0 => format!("delete from bulk where id = {k}"),
            1 => format!("delete from bulk where id = {k}; insert into bulk values ({k}, 1, 'again')"),
            _ => format!("update bulk set n = n + 1 where id between {k} and {k} and n < 1000000"),
        }
    }
}
