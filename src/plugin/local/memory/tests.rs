//! The contract's faces, as a pipe uses them, and the log as another pipe reads it.

use super::connector::{self, MemoryConnector};
use super::extractor::MemoryExtractor;
use super::source::MemorySource;
use crate::config::Config;
use crate::data::*;
use crate::error::Kind;
use crate::plugin::*;
use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::util::display::array_value_to_string;
use futures::TryStreamExt;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const PIPE: Uuid = Uuid::from_u128(7);
const TABLE: u32 = 16385;

/// A database of its own, and what a pipe's clause says.
#[derive(Clone)]
struct Bench {
    source: Uuid,
    connection: Vec<(&'static str, &'static str)>,
    options: Vec<(&'static str, &'static str)>,
}

impl Bench {
    fn new(options: &[(&'static str, &'static str)]) -> Bench {
        Bench { source: Uuid::new_v4(), connection: vec![], options: options.to_vec() }
    }
    fn request(&self) -> OpenRequest {
        OpenRequest {
            source: Some(self.source),
            connection: Options::from_pairs(self.connection.iter().copied()),
            options: Options::from_pairs(self.options.iter().copied()),
            config: Arc::new(Config::default()),
            data_dir: "/".into(),
            losses: Losses::default(),
        }
    }
    fn connector(&self, pipe: Uuid) -> MemoryConnector {
        MemoryConnector::new(&self.request(), &PipeRef { uuid: pipe, name: "p".into() }).expect("opens")
    }
    fn extractor(&self) -> MemoryExtractor {
        MemoryExtractor::new(&self.request(), &PipeRef { uuid: Uuid::nil(), name: "q".into() }).expect("opens")
    }
    async fn anchor(&self) -> (Arc<TableVersion>, Anchor) {
        let mut source = MemorySource::new(&self.request()).expect("opens");
        let mut table = source.tables(Some(&[TableName::new("m", "orders")])).await.expect("there").remove(0);
        table.id = TableId(TABLE + 1);
        let table = Arc::new(table);
        let request = AnchorRequest { kind: AnchorKind::Durable, pipe: None, tables: vec![table.clone()], readers: 1, options: None };
        let anchor = source.anchor(request).await.expect("anchors");
        (table, anchor)
    }
    /// Every row as text, by key.
    async fn read(&self) -> BTreeMap<i64, String> {
        let (table, mut anchor) = self.anchor().await;
        read(anchor.readers[0].as_mut(), &table, 2).await
    }
}

async fn read(reader: &mut dyn Scanner, table: &Arc<TableVersion>, chunk_rows: u64) -> BTreeMap<i64, String> {
    let mut all = BTreeMap::new();
    for chunk in reader.split(table, chunk_rows).await.expect("splits") {
        let want = Want { payload_bytes: 100, ..Want::default() };
        let found: Vec<Payload> = reader.scan(&chunk, &want).await.expect("scans").try_collect().await.expect("reads");
        for payload in found {
            let Payload::Arrow(batch) = payload else { panic!("arrow") };
            for (key, row) in texts(&batch) {
                assert!(all.insert(key, row).is_none(), "key {key} is in two chunks");
            }
        }
    }
    all
}

fn texts(batch: &RecordBatch) -> Vec<(i64, String)> {
    let ids = batch.column(0).as_any().downcast_ref::<Int64Array>().expect("ids");
    let row = |i: usize| batch.columns()[1..].iter().map(|c| if c.is_null(i) { "-".to_string() } else { array_value_to_string(c, i).expect("text") }).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(|i| (ids.value(i), row(i))).collect()
}

fn version(generation: i64, extra: bool) -> Arc<TableVersion> {
    let mut columns = vec![
        Column::new("id", LogicalType::Int64, "bigint", "int8"),
        Column::new("note", LogicalType::Text, "text", "text"),
        Column::new("amount", LogicalType::Int64, "bigint", "int8"),
    ];
    if extra {
        columns.push(Column::new("more", LogicalType::Text, "text", "text"));
    }
    let mut v = TableVersion::new(TableName::new("public", "orders"), columns, vec![0]);
    (v.id, v.generation) = (TableId(TABLE), generation);
    Arc::new(v)
}

fn target(table: &Arc<TableVersion>, place: Place) -> Arc<TargetTable> {
    Arc::new(TargetTable { table: table.clone(), target: TableName::new("m", "orders"), place })
}

type Row<'a> = (i64, Option<&'a str>, Option<i64>);

fn batch(table: &TableVersion, rows: &[Row<'_>]) -> RecordBatch {
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))),
        Arc::new(StringArray::from_iter(rows.iter().map(|r| r.1))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.2))),
    ];
    if table.columns.len() > 3 {
        columns.push(Arc::new(StringArray::from_iter(rows.iter().map(|r| Some(format!("m{}", r.0))))));
    }
    RecordBatch::try_new(table.schema.clone(), columns).expect("a batch")
}

fn change(table: &Arc<TableVersion>, place: Place, content: Content) -> Input {
    Input::Change { table: target(table, place), part: Part { table: table.clone(), content } }
}
fn rows(table: &Arc<TableVersion>, op: Op, all: &[Row<'_>]) -> Input {
    change(table, Place::Live, Content::Rows(Rows::full(op, batch(table, all))))
}
fn load(table: &Arc<TableVersion>, place: Place, all: &[Row<'_>]) -> Input {
    Input::Load { table: target(table, place), chunk: "a".into(), payload: Payload::Arrow(batch(table, all)), upsert: false }
}
fn mark(seq: i64) -> Mark {
    Mark { kind: MarkKind::Changes, seq, previous: 0, checkpoint: Some(format!("at {seq}")), position: None }
}
fn of(kind: MarkKind) -> Mark {
    Mark { kind, seq: 0, previous: 0, checkpoint: None, position: None }
}
fn begin(epoch: i64) -> Begin {
    Begin { tables: vec![], snapshot_writers: 2, last_epoch: epoch - 1, epoch }
}

/// A table that is set up and has rows 1 to 3.
async fn loaded(c: &mut MemoryConnector, v: &Arc<TableVersion>) -> Box<dyn Writer> {
    c.begin(&begin(1)).await.expect("begins");
    let mut changes = c.writer(WriterRole::Changes(Shard(0))).await.expect("writer");
    changes.write(Input::Setup(target(v, Place::Live))).await.expect("set-up");
    changes.flush(&mark(1)).await.expect("set up");
    let mut snapshot = c.writer(WriterRole::Snapshot(1)).await.expect("writer");
    for (chunk, all) in [("a", vec![(1, Some("one"), Some(10)), (2, Some("two"), None)]), ("b", vec![(3, None, Some(30))])] {
        snapshot.write(load(v, Place::Live, &all)).await.expect("rows");
        let done = snapshot.flush(&of(MarkKind::Chunk { table: v.id, generation: v.generation, chunk: chunk.into() })).await.expect("chunk");
        assert_eq!(done.tables[&v.id].inserts, all.len() as u64);
    }
    changes
}

fn table(of: &[(i64, &str)]) -> BTreeMap<i64, String> {
    of.iter().map(|(k, v)| (*k, v.to_string())).collect()
}

#[tokio::test]
async fn a_pipe_loads_and_follows_a_table() {
    let (bench, v) = (Bench::new(&[]), version(1, false));
    let mut c = bench.connector(PIPE);
    let prepared = c.prepare(&[TargetTable::clone(&target(&v, Place::Live))]).await.expect("prepares");
    assert!(!prepared[0].exists && !prepared[0].has_rows);
    let mut changes = loaded(&mut c, &v).await;
    assert_eq!(bench.read().await, table(&[(1, "one|10"), (2, "two|-"), (3, "-|30")]));
    // An insert, an update without its text, a change of key without its text, a delete, an update of a row that nobody has.
    let after = batch(&v, &[(4, Some("four"), None), (1, None, Some(11)), (20, None, Some(22)), (3, None, None), (77, None, Some(1))]);
    let keys = RecordBatch::try_new(v.key_schema(), vec![Arc::new(Int64Array::from(vec![0, 0, 2, 0, 0]))]).expect("keys");
    let part = Rows {
        ops: vec![Op::Insert, Op::Update, Op::Update, Op::Delete, Op::Update],
        after,
        old_keys: Some(OldKeys { keys, set: BooleanBuffer::from_iter([false, false, true, false, false]) }),
        present: Some(vec![None, Some(BooleanBuffer::from_iter([true, false, false, true, false])), None]),
        txn: vec![0; 5],
    };
    changes.write(change(&v, Place::Live, Content::Rows(part))).await.expect("changes");
    let counts = changes.flush(&mark(2)).await.expect("flushes").tables[&v.id];
    assert_eq!((counts.inserts, counts.updates, counts.deletes), (2, 1, 2), "a change of key is a delete and an insert");
    assert_eq!(bench.read().await, table(&[(1, "one|11"), (4, "four|-"), (20, "two|22")]));
    // The next run sees everything, and the last run's writers are fenced.
    let committed = bench.connector(PIPE).begin(&begin(1)).await.expect("begins again");
    assert_eq!((committed.epoch, committed.checkpoint.as_deref(), committed.shards[&Shard(0)]), (2, Some("at 2"), 2));
    assert_eq!(committed.chunks[&(v.id, 1)].iter().cloned().collect::<Vec<_>>(), ["a", "b"]);
    assert!(committed.set_up.contains(&(v.id, 1)));
    changes.write(rows(&v, Op::Insert, &[(5, None, None)])).await.expect("taken");
    assert_eq!(changes.flush(&mark(3)).await.expect_err("fenced").kind(), Kind::Fenced);
    assert_eq!(bench.read().await.len(), 3);
    // So are those of a pipe that was dropped.
    let mut c = bench.connector(PIPE);
    c.begin(&begin(9)).await.expect("begins");
    let mut late = c.writer(WriterRole::Changes(Shard(0))).await.expect("writer");
    assert!(connector::release(bench.request(), PIPE).await.is_empty());
    assert_eq!(late.flush(&mark(4)).await.expect_err("fenced").kind(), Kind::Fenced);
    assert_eq!(bench.read().await.len(), 3, "its rows stay");
}

#[tokio::test]
async fn a_flush_is_all_or_nothing() {
    let (mut bench, v) = (Bench::new(&[]), version(1, false));
    let mut changes = loaded(&mut bench.connector(PIPE), &v).await;
    let before = (bench.read().await, bench.anchor().await.1.position);
    // A structure that does not fit comes after rows that do.
    let other = Arc::new(TableVersion { id: v.id, generation: 1, ..TableVersion::new(v.name.clone(), vec![v.columns[0].clone(), Column::new("note", LogicalType::Int64, "bigint", "int8")], vec![0]) });
    let odd = RecordBatch::try_new(other.schema.clone(), vec![Arc::new(Int64Array::from(vec![9])), Arc::new(Int64Array::from(vec![9]))]).expect("a batch");
    changes.write(rows(&v, Op::Delete, &[(1, None, None)])).await.expect("taken");
    changes.write(change(&other, Place::Live, Content::Rows(Rows::full(Op::Insert, odd)))).await.expect("taken");
    let e = changes.flush(&mark(2)).await.expect_err("a type that does not fit");
    assert_eq!((e.kind(), e.table()), (Kind::TypeMismatch, Some("public.orders")));
    assert_eq!((bench.read().await, bench.anchor().await.1.position), before);
    // More than memory-limit is refused and leaves what was there.
    bench.connection = vec![("memory-limit", "4 kB")];
    let mut c = bench.connector(PIPE);
    c.begin(&begin(2)).await.expect("begins");
    let mut small = c.writer(WriterRole::Changes(Shard(0))).await.expect("writer");
    let text = "x".repeat(3500);
    small.write(rows(&v, Op::Insert, &[(100, Some(&text), None)])).await.expect("fits by itself");
    let e = small.flush(&mark(3)).await.expect_err("too much");
    assert_eq!(e.sqlstate(), "53200", "{e}");
    assert_eq!(bench.read().await, before.0);
    let text = "x".repeat(10_000);
    assert_eq!(small.write(rows(&v, Op::Insert, &[(100, Some(&text), None)])).await.expect_err("too much at once").sqlstate(), "53200");
    // What makes it smaller is taken.
    small.write(rows(&v, Op::Delete, &[(1, None, None), (99, None, None)])).await.expect("taken");
    assert_eq!(small.flush(&mark(3)).await.expect("flushes").tables[&v.id].deletes, 1);
}

#[tokio::test]
async fn structure_truncate_and_swap_go_through_the_contract() {
    let (bench, v) = (Bench::new(&[("on-delete", "soft")]), version(1, false));
    let mut c = bench.connector(PIPE);
    let mut changes = loaded(&mut c, &v).await;
    changes.write(rows(&v, Op::Delete, &[(1, None, None), (99, None, None)])).await.expect("delete");
    changes.write(rows(&v, Op::Insert, &[(5, Some("five"), None)])).await.expect("rows before");
    let wide = version(1, true);
    let content = Content::Schema(SchemaChange { before: v.clone(), after: wide.clone(), changes: vec![ColumnChange::Add("more".into())] });
    changes.write(change(&wide, Place::Live, content)).await.expect("column");
    changes.write(rows(&wide, Op::Upsert, &[(2, Some("back"), None)])).await.expect("rows after");
    assert_eq!(changes.flush(&mark(2)).await.expect("one flush").tables[&v.id].deletes, 1);
    let now = bench.read().await;
    assert!(now[&1].starts_with("one|10|2") && now[&1].ends_with("|-"), "marked, with its values: {now:?}");
    assert_eq!((now[&2].as_str(), now[&5].as_str()), ("back|-|-|m2", "five|-|-|-"));
    // RESYNC: a copy is loaded and catches up beside the live table.
    let next = version(2, true);
    let stage = || of(MarkKind::Stage { table: next.id, generation: 2 });
    let mut side = c.writer(WriterRole::Stage(next.id)).await.expect("writer");
    side.write(load(&next, Place::Stage, &[(100, Some("x"), None), (101, Some("y"), None)])).await.expect("rows");
    side.flush(&stage()).await.expect("staged");
    let later = Content::Rows(Rows::full(Op::Update, batch(&next, &[(101, Some("Y"), None)])));
    side.write(change(&next, Place::Stage, later)).await.expect("catch-up");
    side.flush(&stage()).await.expect("caught up");
    assert_eq!(bench.read().await.len(), 4);
    changes.write(Input::Swap(target(&next, Place::Live))).await.expect("swap");
    changes.flush(&mark(3)).await.expect("swapped");
    assert_eq!(bench.read().await, table(&[(100, "x|-|m100|-"), (101, "Y|-|m101|-")]));
    changes.write(change(&next, Place::Live, Content::Truncate)).await.expect("truncate");
    changes.flush(&mark(4)).await.expect("truncated");
    assert!(bench.read().await.is_empty());
    let committed = bench.connector(PIPE).begin(&begin(2)).await.expect("begins");
    assert!(committed.set_up.contains(&(next.id, 2)) && committed.chunks.is_empty());
}

#[tokio::test]
async fn tables_have_owners_and_rows_that_are_there_are_respected() {
    let (bench, v) = (Bench::new(&[]), version(1, false));
    let mut changes = loaded(&mut bench.connector(PIPE), &v).await;
    let other = Uuid::from_u128(8);
    let wanted = [TargetTable::clone(&target(&v, Place::Live))];
    let e = bench.connector(other).prepare(&wanted).await.expect_err("in use");
    assert_eq!((e.kind(), e.table(), e.detail().is_some_and(|d| d.contains("not empty"))), (Kind::InUse, Some("public.orders"), true), "both at once: {e}");
    changes.write(Input::Leave(target(&v, Place::Live))).await.expect("leave");
    changes.flush(&mark(2)).await.expect("left");
    changes.write(rows(&v, Op::Insert, &[(5, None, None)])).await.expect("taken");
    assert_eq!(changes.flush(&mark(3)).await.expect_err("not ours any more").kind(), Kind::Fenced);
    assert_eq!(bench.connector(other).prepare(&wanted).await.expect_err("not empty").kind(), Kind::WrongPhase);
    for (existing, there) in [("append", 6), ("truncate", 3)] {
        let bench = Bench { options: vec![("on-existing-rows", existing)], ..bench.clone() };
        let pipe = Uuid::new_v4();
        let mut c = bench.connector(pipe);
        c.prepare(&wanted).await.expect("prepares");
        c.begin(&begin(1)).await.expect("begins");
        let mut w = c.writer(WriterRole::Changes(Shard(0))).await.expect("writer");
        w.write(Input::Setup(target(&v, Place::Live))).await.expect("set-up");
        w.write(load(&v, Place::Live, &[(11, None, None), (12, None, None), (13, None, None)])).await.expect("rows");
        w.flush(&mark(1)).await.expect("loaded");
        assert_eq!(bench.read().await.len(), there, "{existing}");
        connector::release(bench.request(), pipe).await;
    }
}

#[tokio::test]
async fn a_table_that_joins_may_keep_the_rows_of_others() {
    let (bench, wide) = (Bench::new(&[("on-existing-rows", "append")]), version(1, true));
    let mut first = loaded(&mut bench.connector(PIPE), &wide).await;
    first.write(Input::Leave(target(&wide, Place::Live))).await.expect("leave");
    first.flush(&mark(2)).await.expect("left");
    let (narrow, other) = (version(7, false), Uuid::from_u128(8));
    let mut c = bench.connector(other);
    c.begin(&begin(1)).await.expect("begins");
    let mut side = c.writer(WriterRole::Stage(narrow.id)).await.expect("writer");
    side.write(Input::Setup(target(&narrow, Place::Stage))).await.expect("stage");
    side.write(load(&narrow, Place::Stage, &[(3, Some("mine"), None), (9, Some("nine"), Some(9))])).await.expect("rows");
    side.flush(&of(MarkKind::Stage { table: narrow.id, generation: 7 })).await.expect("staged");
    let mut w = c.writer(WriterRole::Changes(Shard(0))).await.expect("writer");
    w.write(Input::Swap(target(&narrow, Place::Live))).await.expect("swap");
    w.flush(&mark(1)).await.expect("joined");
    assert_eq!(bench.read().await, table(&[(1, "one|10|m1"), (2, "two|-|m2"), (3, "mine|-|m3"), (9, "nine|9|-")]), "columns that do not arrive stay as they are");
}

#[tokio::test]
async fn another_database_or_a_short_log_is_a_lost_position() {
    let (mut bench, v) = (Bench::new(&[]), version(1, false));
    let mut changes = loaded(&mut bench.connector(PIPE), &v).await;
    let (t, anchor) = bench.anchor().await;
    let resume = Resume { position: anchor.position.clone(), identity: anchor.identity.clone(), witnesses: vec![], tables: vec![t] };
    bench.extractor().connect(&resume).await.expect("connects");
    // After a restart the source's database is another one.
    let restarted = Bench { source: Uuid::new_v4(), ..bench.clone() };
    let e = restarted.extractor().connect(&resume).await.expect_err("another database");
    assert!(e.kind() == Kind::PositionLost && e.hint().is_some_and(|h| h.contains("RESYNC PIPE q")), "{e}");
    let beyond = Resume { position: super::position(1000), ..resume.clone() };
    assert_eq!(bench.extractor().connect(&beyond).await.expect_err("not there").kind(), Kind::PositionLost);
    // The log holds one transaction, and the reader has not read two.
    bench.connection = vec![("log-limit", "1")];
    changes.flush(&mark(2)).await.expect("nothing");
    let mut c = bench.connector(PIPE);
    c.begin(&begin(5)).await.expect("begins");
    let mut w = c.writer(WriterRole::Changes(Shard(0))).await.expect("writer");
    let mut reading = bench.extractor();
    reading.connect(&resume).await.expect("still there");
    for (i, key) in [(3, 50), (4, 51)] {
        w.write(rows(&v, Op::Insert, &[(key, None, None)])).await.expect("taken");
        w.flush(&mark(i)).await.expect("flushes");
    }
    let limit = Limit { rows: 10, bytes: 1 << 20, wait: Duration::ZERO };
    let e = reading.next(&limit).await.expect_err("gone");
    assert!(e.kind() == Kind::PositionLost && e.hint().is_some_and(|h| h.contains("RESYNC")), "{e}");
    assert_eq!(bench.extractor().connect(&resume).await.expect_err("gone").kind(), Kind::PositionLost);
}

/// Random flushes, of every kind: the table is what a model of it is, and whoever reads the log from any position on arrives at the same rows.
#[tokio::test]
async fn the_log_leads_to_what_the_table_is() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let (bench, mut v) = (Bench::new(&[]), version(1, false));
        let mut c = bench.connector(PIPE);
        let mut w = loaded(&mut c, &v).await;
        let (t, mut anchor) = bench.anchor().await;
        let mut copy = read(anchor.readers[0].as_mut(), &t, 2).await;
        let mut follower = bench.extractor();
        follower.connect(&Resume { position: anchor.position, identity: anchor.identity, witnesses: vec![], tables: vec![t] }).await.expect("connects");
        let mut model = copy.clone();
        for seq in 2..60 {
            if random.random_ratio(1, 12) {
                v = swap(&mut c, &mut w, &v, &mut model, &mut random).await;
            } else if random.random_ratio(1, 15) {
                w.write(change(&v, Place::Live, Content::Truncate)).await.expect("truncate");
                model.clear();
            } else {
                step(&mut w, &v, &mut model, &mut random).await;
            }
            w.flush(&mark(seq)).await.expect("flushes");
            assert_eq!(bench.read().await, model, "seed {seed} seq {seq}");
            if random.random_ratio(1, 4) {
                follow(&mut follower, &mut copy, &mut random).await;
                assert_eq!(copy, model, "seed {seed} seq {seq}");
            }
        }
    }
}

/// Some changes of rows, as a source that knows its rows gives them.
async fn step(w: &mut Box<dyn Writer>, v: &Arc<TableVersion>, model: &mut BTreeMap<i64, String>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..6) {
        let key = random.random_range(0..40);
        let amount = random.random_range(0..1000);
        let there = model.contains_key(&key);
        let op = match (there, random.random_range(0..4)) {
            (true, 0) => Op::Delete,
            (true, 1) => Op::Upsert,
            (true, _) => Op::Update,
            (false, 0) => Op::Upsert,
            (false, _) => Op::Insert,
        };
        w.write(rows(v, op, &[(key, Some("n"), Some(amount))])).await.expect("taken");
        match op {
            Op::Delete => drop(model.remove(&key)),
            _ => drop(model.insert(key, format!("n|{amount}"))),
        }
    }
}

/// A new copy of the table takes its place.
async fn swap(c: &mut MemoryConnector, w: &mut Box<dyn Writer>, v: &Arc<TableVersion>, model: &mut BTreeMap<i64, String>, random: &mut StdRng) -> Arc<TableVersion> {
    let next = version(v.generation + 1, false);
    let mut side = c.writer(WriterRole::Stage(next.id)).await.expect("writer");
    model.clear();
    for key in (0..40).filter(|_| random.random_bool(0.5)) {
        side.write(load(&next, Place::Stage, &[(key, Some("copied"), Some(key))])).await.expect("rows");
        model.insert(key, format!("copied|{key}"));
    }
    side.flush(&of(MarkKind::Stage { table: next.id, generation: next.generation })).await.expect("staged");
    w.write(Input::Swap(target(&next, Place::Live))).await.expect("swap");
    next
}

/// Takes all there is, in batches of any size. A source knows what it had: an insert is new, an update and a delete are not.
async fn follow(follower: &mut MemoryExtractor, copy: &mut BTreeMap<i64, String>, random: &mut StdRng) {
    loop {
        let limit = Limit { rows: random.random_range(1..30), bytes: random.random_range(1..5000), wait: Duration::ZERO };
        let found = follower.next(&limit).await.expect("next").expect("it never ends");
        assert!(found.txns.is_empty() || found.ends_transaction == (found.txns.last().map(|t| &t.position) == Some(&found.position)));
        for part in &found.parts {
            match &part.content {
                Content::Truncate => copy.clear(),
                Content::Schema(change) => panic!("the structure is the same: {:?}", change.changes),
                Content::Rows(rows) => {
                    assert_eq!(part.table.schema, rows.after.schema());
                    for (op, (key, text)) in rows.ops.iter().zip(texts(&rows.after)) {
                        let was = if *op == Op::Delete { copy.remove(&key) } else { copy.insert(key, text) };
                        assert_eq!(was.is_some(), *op != Op::Insert, "{op:?} of {key}");
                    }
                }
            }
        }
        if found.txns.is_empty() {
            return;
        }
    }
}

#[tokio::test]
async fn a_change_of_structure_reaches_who_reads_the_log() {
    let (bench, v) = (Bench::new(&[]), version(1, false));
    let mut changes = loaded(&mut bench.connector(PIPE), &v).await;
    let (t, anchor) = bench.anchor().await;
    let mut follower = bench.extractor();
    follower.connect(&Resume { position: anchor.position, identity: anchor.identity, witnesses: vec![], tables: vec![t.clone()] }).await.expect("connects");
    let wide = version(1, true);
    let step = |before: &Arc<TableVersion>, after: &Arc<TableVersion>, one: ColumnChange| {
        change(after, Place::Live, Content::Schema(SchemaChange { before: before.clone(), after: after.clone(), changes: vec![one] }))
    };
    changes.write(rows(&v, Op::Insert, &[(4, None, None)])).await.expect("before");
    changes.write(step(&v, &wide, ColumnChange::Add("more".into()))).await.expect("added");
    changes.write(rows(&wide, Op::Insert, &[(5, None, None)])).await.expect("after");
    changes.flush(&mark(2)).await.expect("flushes");
    let mut columns = wide.columns.clone();
    columns[3].name = "renamed".into();
    columns.remove(1);
    let narrow = Arc::new(TableVersion { id: v.id, generation: 1, ..TableVersion::new(v.name.clone(), columns, vec![0]) });
    changes.write(step(&wide, &narrow, ColumnChange::Rename { from: "more".into(), to: "renamed".into() })).await.expect("renamed");
    changes.write(step(&wide, &narrow, ColumnChange::Drop("note".into()))).await.expect("dropped");
    changes.flush(&mark(3)).await.expect("flushes");
    assert_eq!(bench.read().await[&5], "-|m5");
    let limit = Limit { rows: 100, bytes: 1 << 20, wait: Duration::ZERO };
    let mut told = Vec::new();
    loop {
        let found = follower.next(&limit).await.expect("next").expect("it never ends");
        let barriers = found.parts.iter().filter(|p| !matches!(p.content, Content::Rows(_))).count();
        assert!(barriers == 0 || (barriers == 1 && !matches!(found.parts.last().expect("one").content, Content::Rows(_))), "a barrier ends its batch");
        for part in &found.parts {
            told.push(match &part.content {
                Content::Rows(rows) => format!("{} rows of {} columns", rows.len(), part.table.columns.len()),
                Content::Schema(change) => format!("{:?}", change.changes),
                Content::Truncate => "truncate".into(),
            });
            assert_eq!((part.table.id, part.table.source_id), (t.id, t.source_id));
        }
        if found.txns.is_empty() {
            break;
        }
    }
    assert_eq!(told, ["1 rows of 3 columns", "[Add(\"more\")]", "1 rows of 4 columns", "[Rename { from: \"more\", to: \"renamed\" }]", "[Drop(\"note\")]"]);
}

#[tokio::test]
async fn rows_are_fetched_by_key_and_scans_are_narrow() {
    let (bench, v) = (Bench::new(&[]), version(1, false));
    loaded(&mut bench.connector(PIPE), &v).await;
    let (t, mut anchor) = bench.anchor().await;
    let keys = RecordBatch::try_new(t.key_schema(), vec![Arc::new(Int64Array::from(vec![3, 1, 8]))]).expect("keys");
    let reader = anchor.readers[0].as_mut();
    let mut found = texts(&reader.fetch(&t, &keys).await.expect("fetches"));
    found.sort();
    assert_eq!(found, [(1, "one|10".to_string()), (3, "-|30".to_string())]);
    let chunks = reader.split(&t, 100).await.expect("splits");
    assert_eq!(chunks.len(), 1);
    let want = Want { columns: Some(vec![2]), limit: Some(2), ..Want::default() };
    let payloads: Vec<Payload> = reader.scan(&chunks[0], &want).await.expect("scans").try_collect().await.expect("reads");
    assert_eq!(payloads.iter().map(Payload::rows).sum::<u64>(), 2);
    let Payload::Arrow(first) = &payloads[0] else { panic!("arrow") };
    assert_eq!(first.schema().fields().len(), 1);
}
