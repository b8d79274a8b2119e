//! Changes as the log has them: rows, keys, transactions, structures.

use super::*;

async fn one_table(server: &Mysql) -> (Pipe, Vec<Arc<TableVersion>>, Anchor) {
    server.sql("CREATE TABLE t (id int primary key, n int, s varchar(20)); INSERT INTO t VALUES (1, 1, 'a')").await;
    let pipe = Pipe::new(server, &[]);
    let tables = pipe.tables(&["t"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 1).await;
    (pipe, tables, anchor)
}

/// The next error.
async fn refusal(extractor: &mut dyn Extractor) -> standpipe::error::Error {
    for _ in 0..50 {
        if let Err(e) = extractor.next(&LIMIT).await {
            return e;
        }
    }
    panic!("nothing was refused");
}

#[tokio::test]
async fn rows_keys_and_truncates() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        let (pipe, tables, anchor) = one_table(&server).await;
        server.sql("CREATE TABLE other (id int primary key); INSERT INTO other VALUES (1)").await;
        server.sql("BEGIN; INSERT INTO t VALUES (2, NULL, 'b'); UPDATE t SET n = 5; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT").await;
        server.sql("BEGIN; INSERT INTO t VALUES (9, 9, 'x'); ROLLBACK; UPDATE t SET id = 3 WHERE id = 2; DELETE FROM t WHERE id = 1").await;
        server.sql("TRUNCATE TABLE t").await;
        let mut extractor = pipe.after(&anchor, &tables).await;
        let batches = until(&mut *extractor, &end(&pipe).await).await;
        assert_eq!(changes(&batches), ["t+ 2,NULL,b", "t~ 1,5,a", "t~ 2,5,b", "t~ 3,5,b from 2", "t- 1,NULL,NULL", "t truncate"], "{flavour:?}");
        assert!(batches.iter().all(|b| b.txns.iter().all(|t| t.commit_time > 1_600_000_000_000_000)));
    }
}

#[tokio::test]
async fn positions_resume_anywhere() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        let (pipe, tables, anchor) = one_table(&server).await;
        for i in 10..30 {
            server.sql(&format!("BEGIN; INSERT INTO t VALUES ({i}, 0, 'x'); UPDATE t SET n = n + 1 WHERE id = {i}; COMMIT")).await;
            if i % 7 == 0 {
                server.sql("FLUSH LOGS").await;
            }
        }
        let last = end(&pipe).await;
        let mut extractor = pipe.after(&anchor, &tables).await;
        let all = changes(&until(&mut *extractor, &last).await);
        assert_eq!(all.len(), 40);
        drop(extractor);
        // from every transaction's end the rest follows
        let (mut at, mut seen, mut known) = (anchor.position.clone(), Vec::new(), None);
        while seen.len() < all.len() {
            let mut extractor = pipe.try_after(&resume(&at, &anchor.identity, known.clone(), &tables)).await.expect("goes on");
            let batch = loop {
                let batch = extractor.next(&Limit { rows: 1, ..LIMIT }).await.expect("a batch").expect("more");
                if !batch.parts.is_empty() {
                    break batch;
                }
            };
            let mut batches = vec![batch];
            while !batches.last().is_some_and(|b| b.ends_transaction) {
                batches.push(extractor.next(&Limit { rows: 1, ..LIMIT }).await.expect("a batch").expect("more"));
            }
            seen.extend(changes(&batches));
            known = witness(&batches);
            at = batches.last().expect("one").position.clone();
        }
        assert_eq!(seen, all, "{flavour:?}");
    }
}

#[tokio::test]
async fn a_part_of_a_transaction_is_left_out() {
    let server = Mysql::mariadb(&[]).await;
    let (pipe, tables, anchor) = one_table(&server).await;
    server.sql("INSERT INTO t VALUES (2, 1, 'a'), (3, 1, 'b'), (4, 1, 'c'), (5, 1, 'd')").await;
    let mut position = anchor.position.clone();
    position.ordinal = 3;
    let mut extractor = pipe.try_after(&resume(&position, &anchor.identity, None, &tables)).await.expect("goes on");
    assert_eq!(changes(&until(&mut *extractor, &end(&pipe).await).await), ["t+ 5,1,d"]);
}

#[tokio::test]
async fn structures_change_in_the_middle() {
    for (flavour, settings) in [(Flavour::MariaDb, &["--binlog-row-metadata=FULL"][..]), (Flavour::MariaDb, &[]), (Flavour::MySql56, &[])] {
        let server = Mysql::start(flavour, settings).await;
        let (pipe, tables, anchor) = one_table(&server).await;
        server.sql("INSERT INTO t VALUES (2, 2, 'b')").await;
        let mut extractor = pipe.after(&anchor, &tables).await;
        let mut seen = changes(&until(&mut *extractor, &end(&pipe).await).await);
        for sql in [
            "ALTER TABLE t ADD COLUMN x bigint FIRST; INSERT INTO t VALUES (7, 3, 3, 'c')",
            "ALTER TABLE t CHANGE COLUMN n m int; INSERT INTO t VALUES (8, 4, 4, 'd')",
            "ALTER TABLE t DROP COLUMN x, MODIFY s varchar(300); UPDATE t SET m = 9 WHERE id = 4",
            "CREATE TABLE _t_gho LIKE t; INSERT INTO _t_gho SELECT * FROM t; RENAME TABLE t TO _t_del, _t_gho TO t; INSERT INTO t VALUES (5, 5, 'e')",
        ] {
            server.sql(sql).await;
            seen.extend(changes(&until(&mut *extractor, &end(&pipe).await).await));
        }
        let want = [
            "t+ 2,2,b",
            "t [Add(\"x\")]",
            "t+ 7,3,3,c",
            "t [Rename { from: \"n\", to: \"m\" }]",
            "t+ 8,4,4,d",
            "t [Drop(\"x\"), Retype(\"s\")]",
            "t~ 4,9,d",
            "t+ 5,5,e",
        ];
        assert_eq!(seen, want, "{flavour:?} {settings:?}");
    }
}

#[tokio::test]
async fn a_structure_that_no_row_has_shown_is_known_after_a_break() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        let (pipe, tables, anchor) = one_table(&server).await;
        let mut extractor = pipe.after(&anchor, &tables).await;
        server.sql("ALTER TABLE t CHANGE COLUMN n m int").await;
        let batches = until(&mut *extractor, &end(&pipe).await).await;
        assert!(changes(&batches).is_empty());
        drop(extractor);
        let from = resume(&batches.last().expect("one").position, &anchor.identity, witness(&batches), &tables);
        let mut extractor = pipe.try_after(&from).await.expect("goes on");
        server.sql("INSERT INTO t VALUES (2, 2, 'b')").await;
        let seen = changes(&until(&mut *extractor, &end(&pipe).await).await);
        assert_eq!(seen, ["t [Rename { from: \"n\", to: \"m\" }]", "t+ 2,2,b"], "{flavour:?}");
    }
}

#[tokio::test]
async fn columns_may_change_places() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        server.sql("CREATE TABLE t (id int primary key, a int, b int)").await;
        let pipe = Pipe::new(&server, &[]);
        let tables = pipe.tables(&["t"]).await;
        let anchor = pipe.anchor(AnchorKind::Durable, &tables, 1).await;
        server.sql("ALTER TABLE t MODIFY b int AFTER id; INSERT INTO t (id, a, b) VALUES (1, 10, 20)").await;
        let mut extractor = pipe.after(&anchor, &tables).await;
        let batches = until(&mut *extractor, &end(&pipe).await).await;
        assert_eq!(changes(&batches), ["t []", "t+ 1,20,10"], "{flavour:?}");
        let last = batches.iter().flat_map(|b| &b.parts).last().expect("rows");
        assert_eq!(last.table.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["id", "b", "a"], "{flavour:?}");
    }
}

#[tokio::test]
async fn a_structure_that_changed_before_the_anchor_is_looked_up() {
    let server = Mysql::mariadb(&[]).await;
    server.sql("CREATE TABLE t (id int primary key, a int, b int)").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t"]).await;
    server.sql("ALTER TABLE t MODIFY b int AFTER id").await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 1).await;
    server.sql("INSERT INTO t (id, a, b) VALUES (1, 10, 20)").await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    assert_eq!(changes(&until(&mut *extractor, &end(&pipe).await).await), ["t []", "t+ 1,20,10"]);
}

#[tokio::test]
async fn rows_that_go_with_a_partition_fail_their_table() {
    let server = Mysql::mariadb(&[]).await;
    server.sql("CREATE TABLE t (id int primary key) PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (10), PARTITION q VALUES LESS THAN (20))").await;
    server.sql("INSERT INTO t VALUES (1), (11); CREATE TABLE u (id int primary key)").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t", "u"]).await;
    for (sql, failed) in [("ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u", &["shop.t", "shop.u"][..]), ("ALTER TABLE t DROP PARTITION p", &["shop.t"])] {
        let anchor = pipe.anchor(AnchorKind::Durable, &tables, 1).await;
        let mut extractor = pipe.after(&anchor, &tables).await;
        server.sql(sql).await;
        let mut seen = Vec::new();
        for _ in failed {
            let e = refusal(&mut *extractor).await;
            assert!(e.sqlstate() == "0A000" && e.hint().is_some_and(|h| h.contains("RESYNC")), "{e}");
            seen.push(e.table().unwrap_or_default().to_string());
        }
        seen.sort();
        assert_eq!(seen, failed, "{sql}");
        // what else there is goes on
        until(&mut *extractor, &end(&pipe).await).await;
    }
}

#[tokio::test]
async fn a_dropped_table_and_a_statement_without_rows_fail_their_table() {
    let server = Mysql::mariadb(&[]).await;
    let (pipe, tables, anchor) = one_table(&server).await;
    server.sql("SET SESSION binlog_format = 'STATEMENT'; UPDATE t SET n = 3").await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    let e = extractor.next(&LIMIT).await.expect_err("refused");
    assert_eq!((e.table(), e.sqlstate()), (Some("shop.t"), "0A000"), "{e}");
    server.sql("DROP TABLE t").await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    let _ = extractor.next(&LIMIT).await;
    let from = resume(&end(&pipe).await, &anchor.identity, None, &tables);
    server.sql("CREATE TABLE t (id int primary key); DROP TABLE t").await;
    let mut extractor = pipe.try_after(&from).await.expect("connects");
    let e = extractor.next(&LIMIT).await.expect_err("refused");
    assert_eq!((e.table(), e.sqlstate()), (Some("shop.t"), "42P01"), "{e}");
}

#[tokio::test]
async fn a_large_transaction_comes_in_pieces() {
    let server = Mysql::mariadb(&[]).await;
    let (pipe, tables, anchor) = one_table(&server).await;
    server.sql("INSERT INTO t SELECT seq + 10, seq, repeat('x', 15) FROM seq_1_to_20000").await;
    let last = end(&pipe).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    let batches = until(&mut *extractor, &last).await;
    assert!(batches.len() > 10 && batches.iter().all(|b| b.rows() < 3000), "{} batches", batches.len());
    assert_eq!((batches.iter().map(Batch::rows).sum::<usize>(), batches.iter().filter(|b| b.ends_transaction && !b.txns.is_empty()).count()), (20_000, 1));
    let open = batches.iter().filter(|b| !b.ends_transaction).flat_map(|b| &b.txns).last().expect("an unfinished one");
    assert!(open.position.reached(&anchor.position) && last.reached(&open.position));
}
