//! The target through the plugin's own faces: what is durable, and what is not, when something breaks between two steps.

use crate::support::mongodb::{Mongo, ROOT};
use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use standpipe::config::Config;
use standpipe::data::{Column, Content, LogicalType, Losses, Op, Part, Payload, Rows, TableId, TableName, TableVersion};
use standpipe::error::{Kind, Result};
use standpipe::plugin::mongodb::connector::CONNECTOR;
use standpipe::plugin::{Begin, Committed, Connector, Flushed, Input, Mark, MarkKind, Open, OpenRequest, Options, PipeRef, Place, Shard, TargetTable, Writer, WriterRole};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A pipe's view of its target.
struct Pipe {
    connection: Vec<(String, String)>,
    options: Vec<(String, String)>,
    uuid: Uuid,
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn options(pairs: &[(String, String)]) -> Options {
    Options::from_pairs(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())))
}

impl Pipe {
    fn new(server: &Mongo, connection: &[(&str, &str)], options: &[(&str, &str)]) -> Pipe {
        let mut all = owned(&[("host", "127.0.0.1"), ("port", &server.port.to_string())]);
        all.extend(owned(connection));
        Pipe { connection: all, options: owned(options), uuid: Uuid::new_v4() }
    }
    async fn begin(&self) -> Result<Run> {
        let request = OpenRequest {
            source: None,
            connection: options(&self.connection),
            options: options(&self.options).with_defaults(CONNECTOR.options),
            config: Arc::new(Config::default()),
            data_dir: "/".into(),
            losses: Losses::default(),
        };
        let mut connector = match CONNECTOR.open {
            Open::Connector(open) => open(request, PipeRef { uuid: self.uuid, name: "test".into() }).expect("opens"),
            _ => unreachable!("a connector"),
        };
        let committed = connector.begin(&Begin { tables: Vec::new(), snapshot_writers: 1, last_epoch: 0, epoch: 1 }).await?;
        let writer = connector.writer(WriterRole::Changes(Shard(0))).await?;
        Ok(Run { connector, committed, writer, counter: 0 })
    }
}

/// A run: an epoch, and the writer of its changes.
struct Run {
    connector: Box<dyn Connector>,
    committed: Committed,
    writer: Box<dyn Writer>,
    counter: i64,
}

impl Run {
    fn seq(&self) -> i64 {
        (self.committed.epoch << 32) | self.counter
    }
    async fn flush(&mut self) -> Result<Flushed> {
        self.counter += 1;
        let mark = Mark { kind: MarkKind::Changes, seq: self.seq(), previous: 0, checkpoint: Some(format!("checkpoint {}", self.counter)), position: None };
        self.writer.flush(&mark).await
    }
    async fn set_up(&mut self, table: &Arc<TargetTable>) {
        self.writer.write(Input::Setup(table.clone())).await.expect("a set-up");
        self.flush().await.expect("a flush");
    }
    async fn upsert(&mut self, table: &Arc<TargetTable>, rows: &[(i32, String)]) -> Result<()> {
        self.change(table, Op::Upsert, rows).await
    }
    async fn change(&mut self, table: &Arc<TargetTable>, op: Op, rows: &[(i32, String)]) -> Result<()> {
        let after = batch(table, rows);
        let rows = Rows { ops: vec![op; rows.len()], after, old_keys: None, present: None, txn: vec![0; rows.len()] };
        self.writer.write(Input::Change { table: table.clone(), part: Part { table: table.table.clone(), content: Content::Rows(rows) } }).await
    }
    /// A copy in the making, with these rows.
    async fn copy(&mut self, table: &Arc<TargetTable>, rows: &[(i32, String)]) {
        let stage = Arc::new(TargetTable { place: Place::Stage, ..(**table).clone() });
        let mut writer = self.connector.writer(WriterRole::Stage(table.table.id)).await.expect("a writer");
        writer.write(Input::Setup(stage.clone())).await.expect("a set-up");
        let load = Input::Load { table: stage, chunk: "all".into(), payload: Payload::Arrow(batch(table, rows)), upsert: false };
        writer.write(load).await.expect("rows");
        let kind = MarkKind::Stage { table: table.table.id, generation: table.table.generation };
        writer.flush(&Mark { kind, seq: 0, previous: 0, checkpoint: None, position: None }).await.expect("a flush");
    }
}

/// `shop.t (id integer primary key, a text)`.
fn table(generation: i64) -> Arc<TargetTable> {
    let mut columns = vec![Column::new("id", LogicalType::Int32, "integer", "int4"), Column::new("a", LogicalType::Text, "text", "text")];
    columns[0].nullable = false;
    let table = TableVersion { id: TableId(1), generation, ..TableVersion::new(TableName::new("shop", "t"), columns, vec![0]) };
    Arc::new(TargetTable { target: table.name.clone(), table: Arc::new(table), place: Place::Live })
}

fn batch(table: &TargetTable, rows: &[(i32, String)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.0)));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.1.as_str())));
    RecordBatch::try_new(table.table.schema.clone(), vec![ids, texts]).expect("the table's columns")
}

fn rows(ids: std::ops::Range<i32>, text: &str) -> Vec<(i32, String)> {
    ids.map(|i| (i, text.to_string())).collect()
}

async fn documents(server: &Mongo, database: &str, name: &str) -> Vec<Document> {
    server.collection(database, name).await.find(doc! {}).await.expect("a find").try_collect().await.expect("documents")
}

async fn contents(server: &Mongo) -> Vec<(i32, String)> {
    let all = documents(server, "shop", "t").await;
    let by_id: BTreeMap<i32, String> = all.iter().map(|d| (d.get_i32("_id").expect("a key"), d.get_str("a").expect("a text").to_string())).collect();
    by_id.into_iter().collect()
}

/// Names and UUIDs of the database's collections.
async fn collections(server: &Mongo) -> BTreeMap<String, Bson> {
    let answer = server.command("shop", doc! { "listCollections": 1 }).await;
    let all = answer.get_document("cursor").and_then(|c| c.get_array("firstBatch")).expect("a listing").clone();
    let one = |b: &Bson| {
        let d = b.as_document().expect("a collection");
        (d.get_str("name").expect("a name").to_string(), d.get_document("info").expect("facts").get("uuid").expect("a UUID").clone())
    };
    all.iter().map(one).collect()
}

#[tokio::test]
async fn a_chunk_is_not_marked_without_its_rows() {
    let server = Mongo::start(&[]).await;
    // what a source prefers to read from is nothing to a target
    let (pipe, t) = (Pipe::new(&server, &[("read-preference", "secondary")], &[]), table(1));
    let mut run = pipe.begin().await.expect("begins");
    run.set_up(&t).await;
    let chunk = || Mark { kind: MarkKind::Chunk { table: t.table.id, generation: 1, chunk: "a..b".into() }, seq: 0, previous: 0, checkpoint: None, position: None };
    let load = || Input::Load { table: t.clone(), chunk: "a..b".into(), payload: Payload::Arrow(batch(&t, &rows(0..10, "x"))), upsert: false };
    let mut writer = run.connector.writer(WriterRole::Snapshot(1)).await.expect("a writer");
    writer.write(load()).await.expect("rows");
    // the server ends the transaction that has the rows
    let sessions: Vec<Bson> = documents(&server, "_standpipe", "session").await.into_iter().filter_map(|d| d.get("_id").cloned()).collect();
    server.command("admin", doc! { "killSessions": sessions }).await;
    writer.flush(&chunk()).await.expect_err("the rows are gone");
    assert!(contents(&server).await.is_empty());
    let mut run = pipe.begin().await.expect("begins");
    assert!(run.committed.chunks.is_empty(), "{:?}", run.committed.chunks);
    let mut writer = run.connector.writer(WriterRole::Snapshot(1)).await.expect("a writer");
    writer.write(load()).await.expect("rows");
    writer.flush(&chunk()).await.expect("a flush");
    assert_eq!(contents(&server).await, rows(0..10, "x"));
    let committed = pipe.begin().await.expect("begins").committed;
    assert!(committed.chunks.values().any(|c| c.contains("a..b")), "{committed:?}");
}

#[tokio::test]
async fn a_swap_that_broke_off_is_told_by_the_copy() {
    let server = Mongo::start(&[]).await;
    let (pipe, one, two) = (Pipe::new(&server, &[], &[]), table(1), table(2));
    let mut run = pipe.begin().await.expect("begins");
    run.set_up(&one).await;
    run.upsert(&one, &rows(0..3, "old")).await.expect("rows");
    run.flush().await.expect("a flush");
    run.copy(&two, &rows(0..5, "new")).await;
    let before = run.seq();
    let (stage, copy) = collections(&server).await.into_iter().find(|(n, _)| n.starts_with("_standpipe_")).expect("a copy");
    let aside = format!("{stage}_e{:x}", run.committed.epoch);
    let journal = |seq: i64| {
        doc! { "_id": pipe.uuid.to_string(), "database": "shop", "stage": &stage, "aside": &aside, "live": "t", "copy": copy.clone(), "seq": seq, "table": 1i64, "generation": 2i64, "checkpoint": "of the swap" }
    };
    let swaps = server.collection("_standpipe", "swap").await;
    let full = |name: &str| format!("shop.{name}");
    // the process died before the rename, and between the two
    for renamed in [false, true] {
        if renamed {
            server.command("admin", doc! { "renameCollection": full(&stage), "to": full(&aside) }).await;
        }
        swaps.insert_one(journal(before + 1)).await.expect("a journal");
        let began = pipe.begin().await.expect("begins").committed;
        assert_eq!((began.shards.get(&Shard(0)).copied(), began.checkpoint.as_deref()), (Some(before), Some("checkpoint 2")), "renamed: {renamed}");
        assert_eq!(swaps.count_documents(doc! {}).await.expect("a count"), 0);
        assert_eq!(collections(&server).await.get(&stage), Some(&copy), "the copy has its name again");
        assert_eq!(contents(&server).await, rows(0..3, "old"));
    }
    // an old journal: what was marked after it stays
    swaps.insert_one(journal(before - 1)).await.expect("a journal");
    let mut run = pipe.begin().await.expect("begins");
    assert_eq!(run.committed.shards.get(&Shard(0)).copied(), Some(before));
    assert_eq!(swaps.count_documents(doc! {}).await.expect("a count"), 0);
    // the swap itself, and once more as if the process had died after its rename
    run.writer.write(Input::Swap(two.clone())).await.expect("a swap");
    run.flush().await.expect("a flush");
    assert_eq!(contents(&server).await, rows(0..5, "new"));
    assert_eq!(collections(&server).await.into_iter().collect::<Vec<_>>(), [("t".to_string(), copy.clone())]);
    let after = run.seq();
    swaps.insert_one(journal(after + 1)).await.expect("a journal");
    let began = pipe.begin().await.expect("begins").committed;
    assert_eq!((began.shards.get(&Shard(0)).copied(), began.checkpoint.as_deref()), (Some(after + 1), Some("of the swap")));
    assert_eq!(swaps.count_documents(doc! {}).await.expect("a count"), 0);
    assert!(began.set_up.contains(&(TableId(1), 2)), "{began:?}");
    // and a process of an earlier epoch swaps nothing
    assert_eq!(run.flush().await.expect_err("another process has begun").kind(), Kind::Fenced);
}

#[tokio::test]
async fn a_swap_that_the_server_refuses_leaves_no_journal() {
    let server = Mongo::start_with_auth().await;
    let all = ["find", "insert", "update", "remove", "createCollection", "listCollections", "listIndexes", "createIndex", "collMod"];
    let privileges = [doc! { "resource": { "db": "shop", "collection": "" }, "actions": &all[..] }];
    let own = doc! { "role": "readWrite", "db": "_standpipe" };
    server.command("admin", doc! { "createRole": "writer", "privileges": &privileges[..], "roles": [own] }).await;
    server.command("admin", doc! { "createUser": "writer", "pwd": ROOT.1, "roles": ["writer"] }).await;
    let (pipe, one, two) = (Pipe::new(&server, &[("user", "writer"), ("password", ROOT.1)], &[]), table(1), table(2));
    let mut run = pipe.begin().await.expect("begins");
    run.set_up(&one).await;
    run.upsert(&one, &rows(0..3, "old")).await.expect("rows");
    run.flush().await.expect("a flush");
    run.copy(&two, &rows(0..5, "new")).await;
    run.writer.write(Input::Swap(two.clone())).await.expect("a swap");
    let refused = run.flush().await.expect_err("no right to rename");
    assert_eq!((refused.kind(), refused.table()), (Kind::NoRight, Some("shop.t")), "{refused}");
    assert_eq!(server.collection("_standpipe", "swap").await.count_documents(doc! {}).await.expect("a count"), 0);
    // the others go on with the same writer, and what they mark stays
    run.upsert(&one, &rows(3..4, "later")).await.expect("rows");
    run.flush().await.expect("a flush");
    let marked = run.seq();
    let began = pipe.begin().await.expect("begins").committed;
    assert_eq!(began.shards.get(&Shard(0)).copied(), Some(marked));
    assert_eq!(contents(&server).await.len(), 4);
}

#[tokio::test]
async fn rows_that_fill_messages_are_sent_in_several() {
    const MB: usize = 1 << 20;
    let server = Mongo::start(&[]).await;
    let (pipe, t) = (Pipe::new(&server, &[], &[("batch.size-bytes", "256 MB")]), table(1));
    let mut run = pipe.begin().await.expect("begins");
    run.set_up(&t).await;
    // each fits, two do not; the largest has to go by itself after a small one
    let sizes = [7 * MB, 100, 15 * MB, 16 * MB - 100];
    let want: Vec<(i32, String)> = sizes.iter().enumerate().map(|(i, n)| (i as i32, "x".repeat(*n))).collect();
    run.upsert(&t, &want).await.expect("rows");
    run.flush().await.expect("a flush");
    assert!(contents(&server).await == want, "by changes");
    run.writer.write(Input::Change { table: t.clone(), part: Part { table: t.table.clone(), content: Content::Truncate } }).await.expect("a truncate");
    run.flush().await.expect("a flush");
    for upsert in [false, true] {
        let mut writer = run.connector.writer(WriterRole::Snapshot(1)).await.expect("a writer");
        writer.write(Input::Load { table: t.clone(), chunk: "all".into(), payload: Payload::Arrow(batch(&t, &want)), upsert }).await.expect("rows");
        let kind = MarkKind::Chunk { table: t.table.id, generation: 1, chunk: format!("all {upsert}").into() };
        writer.flush(&Mark { kind, seq: 0, previous: 0, checkpoint: None, position: None }).await.expect("a flush");
        assert!(contents(&server).await == want, "by a snapshot, upsert: {upsert}");
    }
}

#[tokio::test]
async fn a_flush_that_is_more_than_a_transaction_is_committed_in_parts() {
    let server = Mongo::start(&[]).await;
    let (pipe, t) = (Pipe::new(&server, &[], &[("batch.size-bytes", "20 kB"), ("transaction.size-bytes", "60 kB")]), table(1));
    let mut run = pipe.begin().await.expect("begins");
    run.set_up(&t).await;
    let marked = run.seq();
    let text = "x".repeat(200);
    for i in 0..30 {
        run.upsert(&t, &rows(i * 100..(i + 1) * 100, &text)).await.expect("rows");
    }
    // some of it is there before the flush, and no mark says so
    assert!(!contents(&server).await.is_empty());
    let mut run = pipe.begin().await.expect("begins");
    assert_eq!(run.committed.shards.get(&Shard(0)).copied(), Some(marked));
    for i in 0..30 {
        run.upsert(&t, &rows(i * 100..(i + 1) * 100, &text)).await.expect("rows");
    }
    run.flush().await.expect("a flush");
    assert!(contents(&server).await == rows(0..3000, &text));
    // rows without a key would be there twice
    let keyless = TableVersion { key: Vec::new(), id: TableId(2), name: TableName::new("shop", "k"), ..(*t.table).clone() };
    let k = Arc::new(TargetTable { target: keyless.name.clone(), table: Arc::new(keyless), place: Place::Live });
    run.set_up(&k).await;
    let mut refused = None;
    for i in 0..30 {
        refused = refused.or(run.change(&k, Op::Insert, &rows(i * 100..(i + 1) * 100, &text)).await.err());
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("more than a transaction may hold");
    assert_eq!((refused.kind(), refused.table()), (Kind::NotSupported, Some("shop.k")), "{refused}");
    assert!(refused.hint().is_some_and(|h| h.contains("transaction.size-bytes")), "{refused}");
    assert!(documents(&server, "shop", "k").await.is_empty());
}

#[tokio::test]
async fn what_a_dead_writer_left_does_not_slow_the_next_one_down() {
    const ROWS: i32 = 10_000;
    let server = Mongo::start(&[]).await;
    let (pipe, t) = (Pipe::new(&server, &[], &[]), table(1));
    let mut run = pipe.begin().await.expect("begins");
    run.set_up(&t).await;
    let mut writer = run.connector.writer(WriterRole::Snapshot(1)).await.expect("a writer");
    let mut times = Vec::new();
    for (first, left) in [(100_000, false), (0, true), (ROWS, true)] {
        if left {
            let client = server.client().await;
            let mut session = client.start_session().await.expect("a session");
            session.start_transaction().await.expect("a transaction");
            let documents: Vec<Document> = (first..first + ROWS).map(|i| doc! { "_id": i, "v": "left" }).collect();
            client.database("shop").collection::<Document>("t").insert_many(documents).session(&mut session).await.expect("rows");
            session.abort_transaction().await.expect("an end");
        }
        let began = std::time::Instant::now();
        let want = rows(first..first + ROWS, "new");
        match first {
            // by a flush of changes
            ROWS => {
                run.change(&t, Op::Insert, &want).await.expect("rows");
                run.flush().await.expect("a flush");
            }
            _ => {
                let chunk: Arc<str> = format!("from {first}").into();
                writer.write(Input::Load { table: t.clone(), chunk: chunk.clone(), payload: Payload::Arrow(batch(&t, &want)), upsert: true }).await.expect("rows");
                let kind = MarkKind::Chunk { table: t.table.id, generation: 1, chunk };
                writer.flush(&Mark { kind, seq: 0, previous: 0, checkpoint: None, position: None }).await.expect("a flush");
            }
        }
        times.push(began.elapsed());
    }
    assert_eq!(contents(&server).await.len(), 3 * ROWS as usize);
    // going over all that was left for every row takes forty times as long
    assert!(times[1..].iter().all(|time| *time < 10 * times[0]), "{times:?}");
}
