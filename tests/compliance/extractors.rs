//! Extractors: changes in order and whole, from any transaction's end on, and none from a source that is another one.

use super::*;
use standpipe::data::{Batch, Content, Op, Part, Position};
use standpipe::error::{Error, Kind};
use standpipe::plugin::{Extractor, Identity, Limit, PipeRef, Resume};
use std::collections::BTreeMap;

/// Of every extractor here: only the number of rows differs.
const WAIT: Duration = Duration::from_millis(200);
const MANY: Limit = Limit { rows: 1000, bytes: 1 << 20, wait: WAIT };
const ONE: Limit = Limit { rows: 1, ..MANY };
/// Batches until a position is reached.
const BATCHES: usize = 600;
/// Changes in a transaction of a system that changes by itself (the generator).
const ITS_OWN: usize = 4;

/// Our transactions on rows 1 to 3. Different rows in each, as only the order of one key's changes is promised.
const TRANSACTIONS: &[&[Change]] = &[
    &[Change::Insert(11, "new")],
    &[Change::Update(1, "changed")],
    &[Change::Delete(2)],
    &[Change::Insert(12, "twelve"), Change::Update(3, "three"), Change::Delete(1), Change::Insert(13, "thirteen")],
];

/// A pipe's view of a source.
struct Pipe<'a> {
    fixture: &'a dyn Fixture,
    plugin: &'a Plugin,
    pipe: PipeRef,
    tables: Vec<Arc<TableVersion>>,
    position: Position,
    identity: Identity,
}

impl Pipe<'_> {
    fn extractor(&self) -> Box<dyn Extractor> {
        match self.plugin.open {
            Open::Extractor(open) => open(request(self.fixture, self.plugin), self.pipe.clone()).expect("opens"),
            _ => panic!("{} does not open as an extractor", self.plugin.name),
        }
    }
    fn resume(&self, stop: &Stop) -> Resume {
        let witnesses = vec![(stop.position.clone(), stop.witness.clone())];
        Resume { position: stop.position.clone(), identity: self.identity.clone(), witnesses, tables: self.tables.clone() }
    }
    async fn from(&self, stop: &Stop) -> Box<dyn Extractor> {
        let mut extractor = self.extractor();
        extractor.connect(&self.resume(stop)).await.unwrap_or_else(|e| panic!("{} from {}: {e}", self.plugin.name, stop.position));
        extractor
    }
    /// Why the source is refused, at once or with the first change.
    async fn refused(&self, why: &str, resume: &Resume) -> Error {
        let mut extractor = self.extractor();
        let answer = match extractor.connect(resume).await {
            Ok(()) => extractor.next(&MANY).await.map(|_| ()),
            Err(e) => Err(e),
        };
        answer.err().unwrap_or_else(|| panic!("{}: {why} is taken", self.plugin.name))
    }
}

/// A place between transactions, and how many changes lie before it.
#[derive(Debug, Clone)]
struct Stop {
    position: Position,
    witness: Option<Witness>,
    changes: usize,
}

/// A change as text, and as what it does to a copy: the key, and the row that is there afterwards.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    op: Op,
    text: String,
    key: String,
    row: Option<String>,
}

fn seen(part: &Part) -> Vec<Seen> {
    let Content::Rows(rows) = &part.content else { panic!("rows, and nothing else: {:?}", part.content) };
    let keys = rows.after.project(&part.table.key).expect("the key");
    let one = |i: usize| {
        assert!(rows.old_keys.as_ref().is_none_or(|o| !o.set.value(i)), "no key was changed");
        let absent = rows.present.iter().flatten().flatten().any(|m| !m.value(i));
        assert!(rows.ops[i] == Op::Delete || !absent, "short values are never left out");
        let (key, row) = (row_text(&keys, i), row_text(&rows.after, i));
        let (sign, row) = match rows.ops[i] {
            Op::Insert => ("+", Some(row)),
            // some logs don't tell an update from a replacement
            Op::Update | Op::Upsert => ("~", Some(row)),
            Op::Delete => ("-", None),
        };
        Seen { op: rows.ops[i], text: format!("{sign}{}", row.as_ref().unwrap_or(&key)), key, row }
    };
    (0..rows.len()).map(one).collect()
}

/// Everything up to a position: what was seen, and the places between transactions on the way.
async fn until(name: &str, extractor: &mut dyn Extractor, limit: &Limit, from: &Stop, end: &Position) -> (Vec<Seen>, Vec<Stop>) {
    let (mut all, mut stops, mut at) = (Vec::new(), Vec::new(), from.clone());
    for _ in 0..BATCHES {
        let batch: Batch = extractor.next(limit).await.unwrap_or_else(|e| panic!("{name}: {e}")).expect("it never ends");
        assert!(batch.position.reached(&at.position), "{name}: {} after {}", batch.position, at.position);
        assert!(batch.parts.iter().all(|p| p.table.id == TableId(1) && p.table.generation == 1), "{name}: parts carry the id and generation that were given");
        for part in &batch.parts {
            if let Content::Rows(rows) = &part.content {
                assert!(rows.txn.iter().all(|t| (*t as usize) < batch.txns.len()), "{name}: a row of no transaction");
            }
            all.extend(seen(part));
        }
        assert!(batch.rows() <= limit.rows.max(ITS_OWN), "{name}: {} rows of {}", batch.rows(), limit.rows);
        let last = batch.txns.last().map(|t| Witness { position: t.position.clone(), xid: t.xid.clone() });
        at = Stop { position: batch.position.clone(), witness: last.or(at.witness), changes: from.changes + all.len() };
        if batch.ends_transaction {
            assert!(at.witness.as_ref().is_none_or(|w| at.position.reached(&w.position)), "{name}: the last transaction lies behind the end of the batch: {at:?}");
            if stops.last().map_or(from.changes, |s: &Stop| s.changes) < at.changes {
                stops.push(at.clone());
            }
            if at.position.reached(end) {
                return (all, stops);
            }
        }
    }
    panic!("{name}: {end} was not reached, only {}; seen {all:?}", at.position);
}

/// What our transactions are, each sorted.
fn expected() -> Vec<Vec<String>> {
    let one = |c: &Change| match c {
        Change::Insert(id, a) => format!("+{id}|{a}"),
        Change::Update(id, a) => format!("~{id}|{a}"),
        Change::Delete(id) => format!("-{id}"),
    };
    TRANSACTIONS.iter().map(|t| sorted(t.iter().map(one).collect())).collect()
}

/// The changes laid over a copy give what is there.
fn replay(name: &str, copy: &[String], key_of: impl Fn(&str) -> String, all: &[Seen]) -> Vec<String> {
    let mut rows: BTreeMap<String, String> = copy.iter().map(|r| (key_of(r), r.clone())).collect();
    for one in all {
        let before = match &one.row {
            Some(row) => rows.insert(one.key.clone(), row.clone()),
            None => rows.remove(&one.key),
        };
        let fits = match one.op {
            Op::Insert => before.is_none(),
            Op::Update | Op::Delete => before.is_some(),
            Op::Upsert => true,
        };
        assert!(fits, "{name}: {one:?} of a row that was {before:?}");
    }
    sorted(rows.into_values().collect())
}

pub async fn check(fixture: &dyn Fixture, plugin: &Plugin) {
    fixture.make("moves", 3).await.expect("a table with rows");
    let tasks_before = tasks();
    let tables = vec![version(fixture, "moves").await];
    let pipe = PipeRef { uuid: Uuid::new_v4(), name: "compliance".into() };
    let options = request(fixture, plugin).options;
    let durable = AnchorRequest { kind: AnchorKind::Durable, pipe: Some(pipe.clone()), tables: tables.clone(), readers: 1, options: Some(options) };
    let Anchor { position, identity, mut readers, hold, .. } = source(fixture).anchor(durable).await.expect("an anchor");
    let copy = scan_all(readers[0].as_mut(), &tables[0], 1_000_000).await;
    drop((readers, hold));
    let pipe = Pipe { fixture, plugin, pipe, tables, position, identity };
    let mut ours = true;
    for transaction in TRANSACTIONS {
        ours &= fixture.change("moves", transaction).await;
    }
    let end = instant(fixture, &[], 0).await.position;
    let start = Stop { position: pipe.position.clone(), witness: None, changes: 0 };

    let mut extractor = pipe.from(&start).await;
    let (all, stops) = until(plugin.name, extractor.as_mut(), &ONE, &start, &end).await;
    drop(extractor);
    whole(plugin, &all, &stops, ours);
    let found = fixture.read("moves").await;
    // the key is the first column
    let key_of = |row: &str| row.split('|').next().unwrap_or_default().to_string();
    assert_eq!(replay(plugin.name, &copy, key_of, &all), found, "{}: snapshot and changes", plugin.name);

    for stop in std::iter::once(&start).chain(&stops) {
        let mut extractor = pipe.from(stop).await;
        let (rest, _) = until(plugin.name, extractor.as_mut(), &MANY, stop, &end).await;
        assert_eq!(rest, all[stop.changes..], "{} from {}", plugin.name, stop.position);
    }
    refusals(&pipe, &stops).await;
    confirmed(&pipe, &stops, &end).await;
    all_gone(fixture, plugin.name, tasks_before).await;
    for _ in 0..2 {
        assert_eq!((plugin.release)(request(fixture, plugin), pipe.pipe.uuid).await, [], "{}", plugin.name);
    }
    assert_eq!(fixture.marks().await, 0, "{} leaves something at the source", plugin.name);
}

/// Batches end between transactions alone, and ours are what we did, in order.
fn whole(plugin: &Plugin, all: &[Seen], stops: &[Stop], ours: bool) {
    let texts: Vec<&str> = all.iter().map(|s| s.text.as_str()).collect();
    if !ours {
        assert!(!all.is_empty() && stops.iter().all(|s| s.changes % ITS_OWN == 0), "{}: {texts:?} cut at {stops:?}", plugin.name);
        return;
    }
    let (mut ends, mut got, mut at) = (Vec::new(), Vec::new(), 0);
    for transaction in TRANSACTIONS {
        let next = (at + transaction.len()).min(texts.len());
        got.push(sorted(texts[at..next].iter().map(|t| t.to_string()).collect()));
        at = next;
        ends.push(at);
    }
    assert_eq!(got, expected(), "{}: {texts:?}", plugin.name);
    assert_eq!(at, texts.len(), "{}: more than was done: {texts:?}", plugin.name);
    let cuts: Vec<usize> = stops.iter().map(|s| s.changes).collect();
    assert!(cuts.iter().all(|c| ends.contains(c)), "{}: {cuts:?} are not all ends of transactions, which are {ends:?}", plugin.name);
    assert_eq!(cuts.last(), ends.last(), "{}", plugin.name);
}

async fn refusals(pipe: &Pipe<'_>, stops: &[Stop]) {
    let stop = &stops[0];
    let good = pipe.resume(stop);
    let identity = good.identity.keys().map(|k| (k.clone(), "another".to_string())).collect();
    let witness = stop.witness.as_ref().map(|w| pipe.fixture.forged(w)).expect("a transaction was seen");
    let other = Resume { witnesses: vec![(witness.position.clone(), Some(witness))], ..good.clone() };
    for (why, resume) in [("another identity", Resume { identity, ..good.clone() }), ("another last transaction", other)] {
        let e = pipe.refused(why, &resume).await;
        assert_eq!(e.kind(), Kind::PositionLost, "{}: {why}: {e}", pipe.plugin.name);
        assert!(e.hint().is_some_and(|h| h.contains("RESYNC")), "{}: {why} is no hint to RESYNC: {e}", pipe.plugin.name);
    }
    drop(pipe.from(stop).await);
}

/// A confirmed position can be resumed from, and nothing comes again.
async fn confirmed(pipe: &Pipe<'_>, stops: &[Stop], end: &Position) {
    let last = stops.last().expect("a change was seen");
    let mut extractor = pipe.from(last).await;
    extractor.confirm(&last.position).await.expect("confirmed");
    let (rest, _) = until(pipe.plugin.name, extractor.as_mut(), &MANY, last, end).await;
    assert_eq!(rest, [], "{}", pipe.plugin.name);
    drop(extractor);
    drop(pipe.from(last).await);
}
