//! The hand-over from snapshot to changes: nothing twice, nothing lost, whatever is written meanwhile.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_changes_meet_without_gap_or_overlap() {
    for flavour in BOTH {
        let server = Arc::new(Mysql::start(flavour, &[]).await);
        server.sql("CREATE TABLE a (id int auto_increment primary key, n int) ; CREATE TABLE b (id int primary key, n int)").await;
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..3)
            .map(|w| {
                let (server, stop) = (server.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut wire = server.client().await;
                    let mut n = w * 1_000_000;
                    while !stop.load(Ordering::SeqCst) {
                        n += 1;
                        let sql = format!("BEGIN; INSERT INTO a (n) VALUES ({n}); INSERT INTO b VALUES ({n}, 0); UPDATE b SET n = n + 1 WHERE id = {n}; COMMIT");
                        wire.run("a test", &sql).await.expect("written");
                    }
                })
            })
            .collect();
        let pipe = Pipe::new(&server, &[]);
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let tables = pipe.tables(&["a", "b"]).await;
            let mut anchor = pipe.anchor(AnchorKind::Durable, &tables, 2).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let mut stand = pipe.anchor(AnchorKind::Exact, &tables, 2).await;
            let mut extractor = pipe.after(&anchor, &tables).await;
            let batches = until(&mut *extractor, &stand.position).await;
            let (mut first, mut last) = (std::mem::take(&mut anchor.readers), std::mem::take(&mut stand.readers));
            for (i, table) in tables.iter().enumerate() {
                let (_, mut rows) = scan(&mut first[i], table, 100).await;
                for (batch, part) in batches.iter().flat_map(|b| b.parts.iter().map(move |p| (b, p))) {
                    let Content::Rows(changed) = &part.content else { continue };
                    let before = |r: &usize| stand.position.reached(&batch.txns[changed.txn[*r] as usize].position);
                    for r in (0..changed.len()).filter(|_| part.table.name == table.name).filter(before) {
                        let values = row_text(&changed.after, r);
                        let was = rows.insert(values[0].clone(), values.clone()).is_some();
                        assert_eq!(was, changed.ops[r] == Op::Update, "{values:?}: seen by the snapshot and by the changes, or by none");
                    }
                }
                let (_, want) = scan(&mut last[i], table, 100).await;
                let only = |a: &BTreeMap<String, Vec<String>>, b: &BTreeMap<String, Vec<String>>| a.keys().filter(|k| !b.contains_key(*k)).take(5).cloned().collect::<Vec<_>>();
                assert_eq!(rows.len(), want.len(), "{flavour:?} {}: only by changes {:?}, only seen {:?}", table.name, only(&rows, &want), only(&want, &rows));
                assert_eq!(rows, want, "{flavour:?} {}", table.name);
            }
        }
        stop.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.await.expect("a writer");
        }
    }
}

/// Rows come and go, and are written over; the key is what a row is told by.
async fn written(server: Arc<Mysql>, stop: Arc<AtomicBool>, first: u32) {
    let mut wire = server.client().await;
    let mut n = first;
    while !stop.load(Ordering::SeqCst) {
        n += 1;
        let sql = format!("BEGIN; INSERT INTO a VALUES ({n}, 0); UPDATE a SET n = n + 1 WHERE id BETWEEN {} AND {n}; DELETE FROM a WHERE id = {}; COMMIT", n - 5, n - 9);
        // the server undoes one of two transactions that wait for each other
        if let Err(e) = wire.run("a test", &sql).await {
            assert!(e.detail().is_some_and(|d| d.contains("(error 1213)")), "{e}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_may_not_lock_see_the_anchor_and_changes_write_over_it() {
    let server = Arc::new(Mysql::start(Flavour::MySql56, &[]).await);
    server.sql("CREATE TABLE a (id int primary key, n int); CREATE TABLE keyless (n int); CREATE USER plain IDENTIFIED BY 'plain'").await;
    server.sql("GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO plain").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (1..4).map(|w| tokio::spawn(written(server.clone(), stop.clone(), w * 1_000_000))).collect();
    let (pipe, root) = (Pipe::with(&server, &[("user", "plain"), ("password", "plain")], &[]), Pipe::new(&server, &[]));
    let tables = pipe.tables(&["a"]).await;
    for _ in 0..3 {
        let mut anchor = pipe.anchor(AnchorKind::Durable, &tables, 2).await;
        assert!(anchor.moving);
        let mut stand = root.anchor(AnchorKind::Exact, &tables, 1).await;
        assert!(!stand.moving);
        let mut extractor = pipe.after(&anchor, &tables).await;
        let batches = until(&mut *extractor, &stand.position).await;
        let (_, want) = scan(&mut stand.readers[0], &tables[0], 100).await;
        for reader in &mut anchor.readers {
            let (_, mut rows) = scan(reader, &tables[0], 100).await;
            for (batch, part) in batches.iter().flat_map(|b| b.parts.iter().map(move |p| (b, p))) {
                let Content::Rows(changed) = &part.content else { continue };
                for r in (0..changed.len()).filter(|&r| stand.position.reached(&batch.txns[changed.txn[r] as usize].position)) {
                    let values = row_text(&changed.after, r);
                    let _ = match changed.ops[r] {
                        Op::Delete => rows.remove(&values[0]),
                        _ => rows.insert(values[0].clone(), values),
                    };
                }
            }
            assert_eq!(rows, want);
        }
    }
    // where nothing can be written over, nothing is begun
    let keyless = pipe.tables(&["keyless"]).await;
    let request = |kind, tables: &[Arc<TableVersion>]| AnchorRequest { kind, pipe: Some(pipe.pipe.clone()), tables: tables.to_vec(), readers: 2, options: Some(pipe.options.clone()) };
    for request in [request(AnchorKind::Durable, &keyless), request(AnchorKind::Instant, &tables)] {
        let refused = pipe.source().anchor(request).await.err().expect("refused");
        assert!(refused.hint().is_some_and(|h| h.starts_with("GRANT LOCK TABLES")), "{refused:?}");
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.expect("a writer");
    }
}

#[tokio::test]
async fn chunks_cover_the_table_once() {
    let server = Mysql::mariadb(&[]).await;
    server.sql("CREATE TABLE i (id int primary key, x int); CREATE TABLE s (id varchar(20) primary key); CREATE TABLE n (x int); CREATE TABLE b (id varbinary(4) primary key)").await;
    server.sql("INSERT INTO i SELECT cast(seq AS signed) * 3 - 1000, seq FROM seq_1_to_5000; INSERT INTO s SELECT concat('k', seq) FROM seq_1_to_3000; INSERT INTO s VALUES ('it''s'); INSERT INTO n SELECT 1 FROM seq_1_to_100").await;
    server.sql("INSERT INTO b SELECT unhex(lpad(hex(seq), 8, '0')) FROM seq_1_to_2000; ANALYZE TABLE i, s, n, b").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["i", "s", "b"]).await;
    let mut anchor = pipe.anchor(AnchorKind::Instant, &tables, 1).await;
    for (table, rows) in tables.iter().zip([5000, 3001, 2000]) {
        let (chunks, got) = scan(&mut anchor.readers[0], table, 500).await;
        assert!(chunks > 3, "{}: {chunks} chunks", table.name);
        assert_eq!(got.len(), rows, "{}", table.name);
    }
}
