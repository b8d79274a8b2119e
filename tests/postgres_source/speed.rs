//! How fast rows are read, for a look by hand: `cargo test --release -- --ignored --nocapture postgres_source::speed`.

use super::*;
use standpipe::data::WireFormat;
use std::time::Instant;

const ROWS: usize = 500_000;

fn told(what: &str, rows: usize, bytes: usize, since: Instant) {
    let seconds = since.elapsed().as_secs_f64();
    eprintln!("{what}: {:.0} rows/s, {:.0} MB/s", rows as f64 / seconds, bytes as f64 / 1e6 / seconds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; nothing can fail"]
async fn figures() {
    let server = Postgres::start(&[("max_wal_size", "4GB")]).await;
    server.sql("CREATE TABLE t (id int8 PRIMARY KEY, a int, b numeric(15,2), c timestamptz, d text)").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    server.sql(&format!("INSERT INTO t SELECT i, i % 1000, i * 1.25, now(), 'some text of row ' || i FROM generate_series(1, {ROWS}) i")).await;
    let mut instant = pipe.anchor(AnchorKind::Instant, &[], 1).await;
    let reader = instant.readers[0].as_mut();
    for _ in 0..2 {
        for (what, wire) in [("COPY passed through", Some(WireFormat::PostgresCopyBinary)), ("COPY to Arrow", None)] {
            let (since, want) = (Instant::now(), Want { wire, payload_bytes: 1 << 20, ..Want::default() });
            let (mut rows, mut bytes) = (0, 0);
            for chunk in reader.split(&tables[0], 10_000_000).await.expect("chunks") {
                let mut stream = reader.scan(&chunk, &want).await.expect("a scan");
                while let Some(payload) = stream.next().await {
                    let payload = payload.expect("a payload");
                    (rows, bytes) = (rows + payload.rows() as usize, bytes + payload.bytes());
                }
            }
            told(what, rows, bytes, since);
        }
    }
    let since = Instant::now();
    let mut extractor = pipe.after(&anchor, &tables).await;
    let (mut rows, mut first, mut bytes) = (0, None, 0);
    while rows < ROWS {
        let limit = Limit { rows: 16_384, bytes: 4 << 20, wait: Duration::from_secs(60) };
        let batch = extractor.next(&limit).await.expect("a batch").expect("it never ends");
        (rows, bytes) = (rows + batch.rows(), bytes + batch.bytes());
        first.get_or_insert_with(Instant::now);
    }
    told("changes to Arrow, the server's decoding included", rows, bytes, since);
    told("changes to Arrow, from the first batch on", rows, bytes, first.unwrap_or(since));
}
