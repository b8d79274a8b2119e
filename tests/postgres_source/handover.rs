//! Snapshot and changes meet without gap or overlap, under load.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Random inserts, updates, changes of key and deletes until told to end.
async fn write(client: tokio_postgres::Client, seed: i64, stop: Arc<AtomicBool>) -> u64 {
    let (mut n, mut committed) = (seed, 0);
    while !stop.load(Ordering::Relaxed) {
        n = (n.wrapping_mul(6364136223846793005)).wrapping_add(1442695040888963407);
        let (id, other) = ((n >> 33) % 500, (n >> 17) % 500);
        let (id, other) = (id.abs(), other.abs());
        let sql = match (n >> 40) & 3 {
            0 => format!("INSERT INTO account SELECT {id}, {n}, repeat('x', 3000 + {id}) ON CONFLICT DO NOTHING"),
            1 => format!("UPDATE account SET balance = {n} WHERE id = {id}"),
            2 => format!("UPDATE account SET id = {other} WHERE id = {id} AND NOT EXISTS (SELECT FROM account WHERE id = {other})"),
            _ => format!("BEGIN; UPDATE account SET balance = balance + 1 WHERE id = {id}; DELETE FROM account WHERE id = {other}; COMMIT"),
        };
        match client.batch_execute(&sql).await {
            Ok(()) => committed += 1,
            Err(_) => client.batch_execute("ROLLBACK").await.expect("rolls back"),
        }
    }
    committed
}

async fn compare(server: &Postgres, pipe: &Pipe, table: &Arc<TableVersion>, copy: &Copy) {
    let mut now = pipe.anchor(AnchorKind::Instant, &[], 1).await;
    let mut there = Copy::default();
    there.load(table, &read(now.readers[0].as_mut(), table, 1_000_000, &Want::default()).await);
    assert_eq!(copy.rows.len(), there.rows.len());
    assert!(copy.rows == there.rows, "the copy differs; log:\n{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_others_write() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE account (id int8 PRIMARY KEY, balance int8, filler text); ALTER TABLE account ALTER filler SET STORAGE EXTERNAL; INSERT INTO account SELECT i, 0, repeat('x', 3000) FROM generate_series(0, 499, 2) i").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["account"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for seed in 1..4 {
        writers.push(tokio::spawn(write(server.client("postgres").await, seed * 7919, stop.clone())));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut anchor = pipe.anchor(AnchorKind::Durable, &tables, 3).await;
    let chunks = anchor.readers[0].split(&tables[0], 50).await.expect("chunks");
    assert!(chunks.len() > 5, "{} chunks", chunks.len());
    let mut copy = Copy::default();
    for (i, chunk) in chunks.iter().enumerate() {
        let reader = anchor.readers[i % 3].as_mut();
        for payload in scan(reader, chunk, &Want { payload_bytes: 20_000, ..Want::default() }).await {
            let Payload::Arrow(batch) = payload else { panic!("rows") };
            copy.load(&tables[0], &[batch]);
        }
    }
    let mut extractor = pipe.after(&anchor, &tables).await;
    anchor.readers.clear();
    // a restart in the middle, at a position that is not confirmed, so that transactions are sent again
    let first = until(extractor.as_mut(), &end(&pipe).await).await;
    first.iter().for_each(|b| copy.apply(b));
    let last = first.iter().flat_map(|b| &b.txns).last().expect("transactions").clone();
    let position = first.last().expect("batches").position.clone();
    assert!(first.last().expect("batches").ends_transaction);
    drop(extractor);
    let mut extractor = pipe.extractor();
    let witness = Some(Witness { position: last.position, xid: last.xid });
    extractor.connect(&resume(&position, &anchor.identity, witness, &tables)).await.expect("the history that was read");
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut committed = 0;
    for writer in writers {
        committed += writer.await.expect("a writer");
    }
    assert!(committed > 100, "{committed} transactions");
    for batch in until(extractor.as_mut(), &end(&pipe).await).await {
        copy.apply(&batch);
    }
    compare(&server, &pipe, &tables[0], &copy).await;
}

#[tokio::test]
async fn a_side_run_has_a_slot_of_its_own_that_goes_with_it() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, t text); INSERT INTO b VALUES (1, 'x')").await;
    let pipe = Pipe::new(&server, &[]);
    let (first, second) = (pipe.tables(&["a"]).await, pipe.tables(&["b"]).await);
    let main = pipe.anchor(AnchorKind::Durable, &first, 0).await;
    let mut side = pipe.anchor(AnchorKind::Temporary, &second, 1).await;
    server.sql("INSERT INTO b VALUES (2, 'y')").await;
    let mut copy = Copy::default();
    copy.load(&second[0], &read(side.readers[0].as_mut(), &second[0], 1000, &Want::default()).await);
    assert_eq!(copy.rows.len(), 1);
    let mut extractor = side.extractor.take().expect("an extractor");
    copy.apply(&some(extractor.as_mut()).await);
    assert_eq!(copy.rows.len(), 2);
    // the main run's publication has the table too, from before the side run's instant
    let both: Vec<_> = first.iter().chain(&second).cloned().collect();
    let mut main_run = pipe.after(&main, &both).await;
    assert_eq!(some(main_run.as_mut()).await.parts.len(), 1);
    drop((extractor, side));
    let gone = async {
        while server.value("SELECT count(*) FROM pg_replication_slots").await.as_deref() != Some("1") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the temporary slot is gone");
}
