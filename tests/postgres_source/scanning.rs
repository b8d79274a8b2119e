//! Reading tables: chunks, wire format, filters, keys, and tables that are rewritten.

use super::*;
use arrow::array::{Int32Array, StringArray};
use datafusion::prelude::{col, lit};
use standpipe::data::WireFormat;
use standpipe::error::Kind;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, name text, g int GENERATED ALWAYS AS (id + 1) STORED); INSERT INTO t SELECT i, 'n' || i FROM generate_series(1, 20000) i; ANALYZE t";

fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[tokio::test]
async fn chunks_cover_the_table_once_in_both_formats() {
    let server = Postgres::start(&[]).await;
    server.sql(TABLE).await;
    let pipe = Pipe::new(&server, &[]);
    let table = pipe.tables(&["t"]).await.remove(0);
    assert_eq!((table.key.as_slice(), table.columns.len(), table.columns[2].generated), (&[0][..], 3, true));
    let mut anchor = pipe.anchor(AnchorKind::Instant, &[], 2).await;
    server.sql("DELETE FROM t WHERE id > 10").await;
    let chunks = anchor.readers[0].split(&table, 3000).await.expect("chunks");
    assert!((6..10).contains(&chunks.len()), "{}", chunks.len());
    let ids: std::collections::BTreeSet<_> = chunks.iter().map(|c| c.id.clone()).collect();
    assert_eq!(ids.len(), chunks.len());
    let (mut arrow, mut wire, mut bytes) = (Vec::new(), 0, 0);
    for chunk in &chunks {
        let want = Want { payload_bytes: 10_000, ..Want::default() };
        for payload in scan(anchor.readers[0].as_mut(), chunk, &want).await {
            let Payload::Arrow(batch) = payload else { panic!("rows") };
            arrow.push(batch);
        }
        let want = Want { wire: Some(WireFormat::PostgresCopyBinary), payload_bytes: 10_000, ..Want::default() };
        for payload in scan(anchor.readers[1].as_mut(), chunk, &want).await {
            assert!(payload.bytes() < 20_000);
            wire += payload.rows();
            bytes += payload.bytes();
        }
    }
    assert_eq!((rows(&arrow), wire), (20000, 20000));
    assert_eq!(arrow[0].num_columns(), 3);
    // two fields, their lengths, and the count: the generated column is left out
    let texts: usize = (1..=20000usize).map(|i| 1 + i.to_string().len()).sum();
    assert_eq!(bytes, 20000 * (2 + 4 + 4 + 4) + texts);
}

#[tokio::test]
async fn filters_projections_limits_and_keys() {
    let server = Postgres::start(&[]).await;
    server.sql(TABLE).await;
    server.sql("CREATE TABLE k (a int, b text COLLATE \"C\", v timestamptz DEFAULT '2024-01-01 00:00:00Z', PRIMARY KEY (b, a)); INSERT INTO k VALUES (1, 'it''s'), (1, 'x'), (2, 'x')").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t", "k"]).await;
    let mut anchor = pipe.anchor(AnchorKind::Instant, &[], 1).await;
    let reader = anchor.readers[0].as_mut();
    let filters = vec![col("id").between(lit(5), lit(8)).and(col("name").not_eq(lit("n6")))];
    assert!((SOURCE.pushes)(&tables[0], &filters[0]));
    let want = Want { columns: Some(vec![1]), filters, ..Want::default() };
    let got = read(reader, &tables[0], 1_000_000, &want).await;
    assert_eq!((rows(&got), got[0].num_columns()), (3, 1));
    let got = read(reader, &tables[0], 1_000_000, &Want { columns: Some(vec![]), limit: Some(7), ..Want::default() }).await;
    assert_eq!((rows(&got), got[0].num_columns()), (7, 0));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["it's", "x", "gone"]));
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 9]));
    let keys = RecordBatch::try_new(tables[1].key_schema(), vec![names, numbers]).expect("keys");
    assert_eq!(reader.fetch(&tables[1], &keys).await.expect("rows").num_rows(), 2);
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![3, 4, 30000]));
    let keys = RecordBatch::try_new(tables[0].key_schema(), vec![ids]).expect("keys");
    assert_eq!(reader.fetch(&tables[0], &keys).await.expect("rows").num_rows(), 2);
    // a scan that is dropped half way leaves the reader usable, at the same instant
    server.sql("DELETE FROM t").await;
    let chunk = reader.split(&tables[0], 1_000_000).await.expect("chunks").remove(0);
    let want = Want { payload_bytes: 1000, ..Want::default() };
    let mut stream = reader.scan(&chunk, &want).await.expect("a scan");
    assert!(stream.next().await.is_some());
    drop(stream);
    assert_eq!(rows(&read(reader, &tables[0], 1_000_000, &Want::default()).await), 20000);
}

#[tokio::test]
async fn views_partitions_and_heirs() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE p (id int, t text) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p DEFAULT PARTITION BY LIST (t); CREATE TABLE p21 PARTITION OF p2 DEFAULT; INSERT INTO p VALUES (1, 'a'), (2, 'b'), (3, 'c'); CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2); CREATE VIEW v AS SELECT * FROM p; CREATE MATERIALIZED VIEW m AS SELECT * FROM p; CREATE SCHEMA \"Odd\"; CREATE TABLE \"Odd\".\"a\"\"b\nc\" (\"x y\" int)").await;
    let pipe = Pipe::new(&server, &[]);
    let listed: Vec<_> = pipe.source().tables(None).await.expect("tables").into_iter().map(|t| t.name.name).collect();
    assert_eq!(listed, ["a\"b\nc", "child", "m", "p", "parent", "v"]);
    let mut anchor = pipe.anchor(AnchorKind::Instant, &[], 1).await;
    for (name, count) in [("p", 3), ("parent", 1), ("child", 1), ("v", 3), ("m", 3)] {
        let table = pipe.tables(&[name]).await.remove(0);
        assert_eq!(rows(&read(anchor.readers[0].as_mut(), &table, 1000, &Want::default()).await), count, "{name}");
    }
    let odd = pipe.source().tables(Some(&[TableName::new("Odd", "a\"b\nc")])).await.expect("quoted").remove(0);
    assert_eq!(rows(&read(anchor.readers[0].as_mut(), &Arc::new(odd), 1000, &Want::default()).await), 0);
    let missing = [TableName::new("public", "p"), TableName::new("public", "no"), TableName::new("x", "y")];
    let e = pipe.source().tables(Some(&missing)).await.expect_err("two are missing");
    assert_eq!((e.kind(), e.detail()), (Kind::UndefinedTable, Some("public.no\nx.y")));
}

#[tokio::test]
async fn a_rewritten_table_is_told_and_the_others_go_on() {
    let server = Postgres::start(&[]).await;
    server.sql(TABLE).await;
    server.sql("CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1); CREATE TABLE gone (id int)").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t", "other", "gone"]).await;
    let mut anchor = pipe.anchor(AnchorKind::Instant, &[], 1).await;
    let chunks = anchor.readers[0].split(&tables[0], 3000).await.expect("chunks");
    let gone = anchor.readers[0].split(&tables[2], 3000).await.expect("chunks");
    drop(anchor);
    server.sql("DROP TABLE gone").await;
    server.sql("VACUUM FULL t").await;
    let want = Want::default();
    let mut later = pipe.anchor(AnchorKind::Instant, &[], 1).await;
    let e = later.readers[0].scan(&chunks[0], &want).await.err().expect("another file");
    assert_eq!((e.kind(), e.table()), (Kind::Conflict, Some("public.t")));
    let e = later.readers[0].scan(&gone[0], &want).await.err().expect("no table");
    assert_eq!(e.table(), Some("public.gone"));
    assert_eq!(rows(&read(later.readers[0].as_mut(), &tables[1], 1000, &want).await), 1);
    // a chunk that was read holds its table as it is
    assert_eq!(rows(&read(later.readers[0].as_mut(), &tables[0], 100_000, &want).await), 20000);
    let client = server.client("postgres").await;
    client.batch_execute("SET lock_timeout = '100ms'").await.expect("sets");
    assert!(client.batch_execute("VACUUM FULL t").await.is_err());
}
