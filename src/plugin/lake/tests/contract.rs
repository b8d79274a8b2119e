//! The contract's faces, as a pipe uses them.

use super::super::connector::{self, LakeConnector};
use super::super::source::LakeSource;
use crate::config::Config;
use crate::data::special::DATE_INFINITY;
use crate::data::{Column, ColumnChange, Content, LogicalType, Losses, OldKeys, Op, Part, Payload, Rows, SchemaChange, TableId, TableName, TableVersion};
use crate::error::Kind;
use crate::plugin::*;
use arrow::array::*;
use arrow::buffer::BooleanBuffer;
use futures::TryStreamExt;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

const PIPE: Uuid = Uuid::from_u128(7);
const SHARD: Shard = Shard(16385);

struct Bench {
    dir: tempfile::TempDir,
    options: Vec<(&'static str, &'static str)>,
}

impl Bench {
    fn new(options: &[(&'static str, &'static str)]) -> Bench {
        Bench { dir: tempfile::tempdir().expect("a temporary directory"), options: options.to_vec() }
    }
    fn request(&self) -> OpenRequest {
        OpenRequest {
            source: None,
            connection: Options::default(),
            options: Options::from_pairs(self.options.iter().copied()).with_defaults(&[shared::CONNECTOR]),
            config: Arc::new(Config::default()),
            data_dir: PathBuf::from(self.dir.path()),
            losses: Losses::default(),
        }
    }
    fn connector(&self, pipe: Uuid) -> LakeConnector {
        LakeConnector::new(&self.request(), &PipeRef { uuid: pipe, name: "p".into() }).expect("opens")
    }
    /// `id, text, amount` of every row, by a reader of its own.
    async fn read(&self, version: &TableVersion) -> Vec<String> {
        let mut source = LakeSource::new(&self.request()).expect("opens");
        let name = TableName::new("lake", &version.name.name);
        let table = Arc::new(source.tables(Some(&[name])).await.expect("there").remove(0));
        let request = AnchorRequest { kind: AnchorKind::Instant, pipe: None, tables: vec![table.clone()], readers: 1, options: None };
        let mut anchor = source.anchor(request).await.expect("anchors");
        let reader = &mut anchor.readers[0];
        let chunks = reader.split(&table, 1000).await.expect("splits");
        let want = Want::default();
        let found: Vec<Payload> = reader.scan(&chunks[0], &want).await.expect("scans").try_collect().await.expect("reads");
        let mut rows = vec![];
        for payload in found {
            let Payload::Arrow(batch) = payload else { panic!("arrow") };
            for i in 0..batch.num_rows() {
                let values = batch.columns().iter().map(|c| arrow::util::display::array_value_to_string(c, i).expect("text"));
                rows.push(values.collect::<Vec<_>>().join("|"));
            }
        }
        rows.sort();
        rows
    }
}

fn version(generation: i64, extra: bool) -> Arc<TableVersion> {
    let mut columns = vec![
        Column::new("id", LogicalType::Int64, "bigint", "int8"),
        Column::new("note", LogicalType::Text, "text", "text"),
        Column::new("day", LogicalType::Date, "date", "date"),
    ];
    if extra {
        columns.push(Column::new("new one", LogicalType::Decimal { precision: 12, scale: 2 }, "numeric(12,2)", "numeric"));
    }
    let mut v = TableVersion::new(TableName::new("public", "orders"), columns, vec![0]);
    (v.id, v.generation) = (TableId(SHARD.0), generation);
    Arc::new(v)
}

fn target(table: &Arc<TableVersion>, place: Place) -> Arc<TargetTable> {
    Arc::new(TargetTable { table: table.clone(), target: TableName::new("lake", "orders"), place })
}

fn batch(table: &TableVersion, rows: &[(i64, Option<&str>, Option<i32>)]) -> RecordBatch {
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))),
        Arc::new(StringArray::from_iter(rows.iter().map(|r| r.1))),
        Arc::new(Date32Array::from_iter(rows.iter().map(|r| r.2))),
    ];
    if table.columns.len() > 3 {
        columns.push(Arc::new(Decimal128Array::from_iter_values(rows.iter().map(|r| i128::from(r.0) * 150)).with_precision_and_scale(12, 2).expect("decimal")));
    }
    RecordBatch::try_new(table.schema.clone(), columns).expect("a batch")
}

fn change(table: &Arc<TableVersion>, rows: Rows) -> Input {
    Input::Change { table: target(table, Place::Live), part: Part { table: table.clone(), content: Content::Rows(rows) } }
}

fn mark(seq: i64, previous: i64) -> Mark {
    Mark { kind: MarkKind::Changes, seq, previous, checkpoint: None, position: None }
}

fn begin(table: &Arc<TableVersion>, epoch: i64) -> Begin {
    Begin { tables: vec![TargetTable::clone(&target(table, Place::Live))], snapshot_writers: 2, last_epoch: epoch - 1, epoch }
}

async fn loaded(c: &mut LakeConnector, v: &Arc<TableVersion>) -> Box<dyn Writer> {
    c.begin(&begin(v, 1)).await.expect("begins");
    let mut changes = c.writer(WriterRole::Changes(SHARD)).await.expect("writer");
    changes.write(Input::Setup(target(v, Place::Live))).await.expect("set-up");
    changes.flush(&mark(1, 0)).await.expect("set up");
    let mut snapshot = c.writer(WriterRole::Snapshot(1)).await.expect("writer");
    for (chunk, rows) in [("a", vec![(1, Some("one"), Some(0)), (2, Some("two"), None)]), ("b", vec![(3, None, Some(1))])] {
        let payload = Payload::Arrow(batch(v, &rows));
        snapshot.write(Input::Load { table: target(v, Place::Live), chunk: chunk.into(), payload, upsert: false }).await.expect("rows");
        let kind = MarkKind::Chunk { table: v.id, generation: v.generation, chunk: chunk.into() };
        let done = snapshot.flush(&Mark { kind, ..mark(0, 0) }).await.expect("chunk");
        assert_eq!(done.tables[&v.id].inserts, rows.len() as u64);
    }
    changes.flush(&mark(2, 1)).await.expect("end of snapshot");
    changes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_loads_and_follows_a_table() {
    let bench = Bench::new(&[]);
    let v = version(1, false);
    let mut c = bench.connector(PIPE);
    let prepared = c.prepare(&[TargetTable::clone(&target(&v, Place::Live))]).await.expect("prepares");
    assert!(!prepared[0].exists && prepared[0].columns[2].2.contains("infinities"));
    let mut changes = loaded(&mut c, &v).await;
    assert_eq!(bench.read(&v).await, ["1|one|1970-01-01", "2|two|", "3||1970-01-02"]);
    // An insert, an update without its text, a change of key without its text, a delete.
    let after = batch(&v, &[(4, Some("four"), None), (1, None, Some(9)), (20, None, Some(2)), (3, None, None)]);
    let old = OldKeys { keys: RecordBatch::try_new(v.key_schema(), vec![Arc::new(Int64Array::from(vec![0, 0, 2, 0]))]).expect("keys"), set: BooleanBuffer::from_iter([false, false, true, false]) };
    let has_text = BooleanBuffer::from_iter([true, false, false, true]);
    let rows = Rows {
        ops: vec![Op::Insert, Op::Update, Op::Update, Op::Delete],
        after,
        old_keys: Some(old),
        present: Some(vec![None, Some(has_text), None]),
        txn: vec![0; 4],
    };
    changes.write(change(&v, rows)).await.expect("changes");
    let counts = changes.flush(&mark(3, 2)).await.expect("flushes").tables[&v.id];
    assert_eq!((counts.inserts, counts.updates, counts.deletes), (2, 1, 2), "a change of key is a delete and an insert");
    assert_eq!(bench.read(&v).await, ["1|one|1970-01-10", "20|two|1970-01-03", "4|four|"]);
    // The process is killed; its successor sees everything, and a replay of the same seq does nothing.
    drop((changes, c));
    let mut c = bench.connector(PIPE);
    let committed = c.begin(&begin(&v, 2)).await.expect("begins again");
    assert_eq!(committed.shards[&SHARD], 3);
    assert!(committed.set_up.contains(&(v.id, 1)));
    let mut changes = c.writer(WriterRole::Changes(SHARD)).await.expect("writer");
    changes.write(change(&v, Rows::full(Op::Insert, batch(&v, &[(4, Some("four"), None)])))).await.expect("again");
    changes.flush(&mark(3, 2)).await.expect("done already");
    assert_eq!(bench.read(&v).await.len(), 3);
    // A copied catalog draws the same epoch; an older one too.
    for epoch in [1, 2] {
        assert_eq!(bench.connector(PIPE).begin(&begin(&v, epoch)).await.expect_err("fenced").kind(), Kind::Fenced);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn structure_truncate_and_swap_go_through_the_contract() {
    let bench = Bench::new(&[("on-delete", "soft")]);
    let v = version(1, false);
    let mut c = bench.connector(PIPE);
    let mut changes = loaded(&mut c, &v).await;
    changes.write(change(&v, Rows::full(Op::Delete, batch(&v, &[(1, None, None), (99, None, None)])))).await.expect("delete");
    changes.flush(&mark(3, 2)).await.expect("flushes");
    let rows = bench.read(&v).await;
    assert!(rows.len() == 3 && rows[0].starts_with("1|one|1970-01-01|20"), "marked, with its values: {rows:?}");
    changes.write(change(&v, Rows::full(Op::Insert, batch(&v, &[(5, Some("five"), None)])))).await.expect("rows before");
    let wide = version(1, true);
    let content = Content::Schema(SchemaChange { before: v.clone(), after: wide.clone(), changes: vec![ColumnChange::Add("new one".into())] });
    changes.write(Input::Change { table: target(&wide, Place::Live), part: Part { table: wide.clone(), content } }).await.expect("column");
    changes.write(change(&wide, Rows::full(Op::Insert, batch(&wide, &[(1, Some("back"), None)])))).await.expect("rows after");
    changes.flush(&mark(4, 3)).await.expect("one commit");
    let rows = bench.read(&wide).await;
    assert_eq!(rows[0], "1|back|||1.50", "it is not deleted any more");
    assert_eq!(rows[3], "5|five|||");
    // RESYNC: a copy is loaded and catches up beside the live table.
    let next = version(2, true);
    let mut side = c.writer(WriterRole::Stage(next.id)).await.expect("writer");
    let staged = target(&next, Place::Stage);
    side.write(Input::Setup(staged.clone())).await.expect("stage");
    let payload = Payload::Arrow(batch(&next, &[(100, Some("x"), None), (101, Some("y"), None)]));
    side.write(Input::Load { table: staged.clone(), chunk: "a".into(), payload, upsert: false }).await.expect("rows");
    let of_stage = Mark { kind: MarkKind::Stage { table: next.id, generation: 2 }, ..mark(0, 0) };
    side.flush(&of_stage).await.expect("staged");
    let part = Part { table: next.clone(), content: Content::Rows(Rows::full(Op::Update, batch(&next, &[(101, Some("Y"), None)]))) };
    side.write(Input::Change { table: staged, part }).await.expect("catch-up");
    side.flush(&of_stage).await.expect("caught up");
    assert_eq!(bench.read(&wide).await.len(), 4);
    changes.write(Input::Swap(target(&next, Place::Live))).await.expect("swap");
    changes.flush(&mark(5, 4)).await.expect("swapped");
    assert_eq!(bench.read(&next).await, ["100|x||150.00|", "101|Y||151.50|"]);
    changes.write(Input::Change { table: target(&next, Place::Live), part: Part { table: next.clone(), content: Content::Truncate } }).await.expect("truncate");
    changes.flush(&mark(6, 5)).await.expect("truncated");
    assert!(bench.read(&next).await.is_empty());
    drop((changes, side, c));
    let committed = bench.connector(PIPE).begin(&begin(&next, 2)).await.expect("begins");
    assert!(committed.set_up.contains(&(next.id, 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_fails_its_table_and_says_where() {
    let bench = Bench::new(&[]);
    let v = version(1, false);
    let mut c = bench.connector(PIPE);
    let mut changes = loaded(&mut c, &v).await;
    changes.write(change(&v, Rows::full(Op::Insert, batch(&v, &[(50, None, Some(1)), (51, None, Some(DATE_INFINITY))])))).await.expect("taken");
    let e = changes.flush(&mark(3, 2)).await.expect_err("infinity");
    assert_eq!((e.kind(), e.table()), (Kind::Lossy, Some("public.orders")));
    assert!(e.detail().is_some_and(|d| d.contains("infinity") && d.contains("key (id) = (51)")), "{e}");
    assert_eq!(bench.read(&v).await.len(), 3, "nothing of it is there");
    // Another pipe may not take the table, until this one is dropped and lets go; then its rows are what on-existing-rows is for.
    let other = Uuid::from_u128(8);
    let wanted = [TargetTable::clone(&target(&v, Place::Live))];
    assert_eq!(bench.connector(other).prepare(&wanted).await.expect_err("in use").kind(), Kind::InUse);
    drop((changes, c));
    assert!(connector::release(bench.request(), PIPE).await.is_empty());
    assert_eq!(bench.connector(other).prepare(&wanted).await.expect_err("not empty").kind(), Kind::WrongPhase);
    let truncating = Bench { dir: bench.dir, options: vec![("on-existing-rows", "truncate"), ("on-lossy", "null")] };
    let mut c = truncating.connector(other);
    c.prepare(&wanted).await.expect("prepares");
    let mut changes = loaded(&mut c, &v).await;
    changes.write(change(&v, Rows::full(Op::Insert, batch(&v, &[(51, None, Some(DATE_INFINITY))])))).await.expect("taken");
    assert_eq!(changes.flush(&mark(3, 2)).await.expect("flushes").lossy[&v.id].values(), 1);
    assert_eq!(truncating.read(&v).await.len(), 4);
}
