//! Exactly once: epochs, marks, owners.

use super::*;
use standpipe::error::Kind;

fn one(table: &Arc<TargetTable>, id: i32) -> Rows {
    changes(&table.table, &[(Op::Insert, None, id, Some("a"), Some("b"))])
}

#[tokio::test]
async fn a_second_begin_fences_the_first() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        let pipe = Pipe::new(&server, &[]);
        let table = target(small_table("t"), 1, 1);
        let tables = [table.clone()];
        let mut first = pipe.begin(&tables).await.expect("begins");
        assert_eq!((first.committed.epoch, first.committed.checkpoint.as_deref()), (1, None));
        first.set_up(&tables).await.expect("sets up");
        let mut loader = first.connector.writer(WriterRole::Snapshot(2)).await.expect("a writer");
        let batch = one(&table, 1).after;
        first.load(loader.as_mut(), &table, "c1", batch.clone(), false).await.expect("loaded");
        let mut second = pipe.begin(&tables).await.expect("begins");
        assert_eq!((second.committed.epoch, second.committed.checkpoint.as_deref()), (2, Some("checkpoint 1")));
        assert_eq!(second.committed.shards[&Shard(0)], (1 << 32) | 1);
        assert!(second.committed.set_up.contains(&(TableId(1), 1)));
        assert_eq!(second.committed.chunks[&(TableId(1), 1)].iter().collect::<Vec<_>>(), ["c1"]);
        first.change(&table, one(&table, 7)).await.expect("written");
        assert_eq!(first.flush().await.expect_err("fenced").kind(), Kind::Fenced);
        let e = first.load(loader.as_mut(), &table, "c2", batch, false).await.expect_err("fenced");
        assert_eq!(e.kind(), Kind::Fenced);
        second.change(&table, one(&table, 2)).await.expect("written");
        second.flush().await.expect("flushed");
        assert_eq!(contents(&server, "t").await, "(1,a,b) (2,a,b)");
        // a pipe that was dropped here is fenced too, and leaves nothing
        assert_eq!((CONNECTOR.release)(pipe.request(), pipe.uuid).await, vec![]);
        second.change(&table, one(&table, 3)).await.expect("written");
        assert_eq!(second.flush().await.expect_err("dropped").kind(), Kind::Fenced);
        let left = "SELECT (SELECT count(*) FROM _standpipe.shard) + (SELECT count(*) FROM _standpipe.chunk) + (SELECT count(*) FROM _standpipe.owner)";
        assert_eq!(server.value(left).await.as_deref(), Some("0"));
    }
}

#[tokio::test]
async fn set_up_is_repeatable_and_refuses_what_is_not_ours() {
    let server = Mysql::mariadb(&[]).await;
    let (pipe, other) = (Pipe::new(&server, &[]), Pipe::new(&server, &[]));
    let table = target(small_table("t"), 1, 1);
    let tables = [table.clone()];
    let mut run = pipe.begin(&tables).await.expect("begins");
    run.set_up(&tables).await.expect("sets up");
    run.set_up(&tables).await.expect("sets up again");
    run.change(&table, one(&table, 1)).await.expect("written");
    run.flush().await.expect("flushed");
    let e = other.connector().prepare(&[(*table).clone()]).await.expect_err("refused");
    assert_eq!((e.sqlstate(), e.table()), ("55006", Some("shop.t")), "{e}");
    // a table with rows that nobody owns
    server.sql("CREATE TABLE u (id int primary key, a text, b text); INSERT INTO u VALUES (1, 'x', 'y')").await;
    let foreign = target(small_table("u"), 2, 1);
    let e = other.connector().prepare(&[(*foreign).clone()]).await.expect_err("refused");
    assert_eq!(e.sqlstate(), "55000", "{e}");
    // of a table that is there a new copy may be made, whoever makes tables
    let careful = Pipe::new(&server, &[("create-table", "false")]);
    let copy = |name: &str| TargetTable { place: Place::Stage, ..(*target(small_table(name), 2, 1)).clone() };
    careful.connector().prepare(&[copy("u")]).await.expect("it is there");
    assert_eq!(careful.connector().prepare(&[copy("nothing")]).await.expect_err("refused").kind(), Kind::UndefinedTable);
    // a new generation of ours begins empty
    let mut run = pipe.begin(&tables).await.expect("begins");
    run.set_up(&[target(small_table("t"), 1, 2)]).await.expect("sets up");
    assert_eq!(contents(&server, "t").await, "");
    // a table that is taken away from us fences
    server.sql("DELETE FROM _standpipe.owner").await;
    run.change(&table, one(&table, 5)).await.expect("written");
    assert_eq!(run.flush().await.expect_err("fenced").kind(), Kind::Fenced);
}

#[tokio::test]
async fn rights_that_are_missing_are_named_before_anything_is_written() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        server.sql("CREATE USER writer@'127.0.0.1' IDENTIFIED BY 'pw'; GRANT SELECT ON `sho_`.* TO writer@'127.0.0.1'").await;
        let pipe = Pipe::new(&server, &[]).login("writer", "pw");
        let table = target(small_table("t"), 1, 1);
        let refused = async || {
            let e = pipe.connector().prepare(&[(*table).clone()]).await.expect_err("refused");
            assert_eq!(e.kind(), Kind::NoRight, "{e}");
            e.hint().unwrap_or_default().to_string()
        };
        assert_eq!(refused().await, "Run GRANT ALL ON `_standpipe`.* TO the target's login.");
        server.sql("GRANT ALL ON `\\_standpipe`.* TO writer@'127.0.0.1'").await;
        assert_eq!(refused().await, "Run GRANT INSERT, UPDATE, DELETE, CREATE ON `shop`.* TO the target's login.");
        server.sql("CREATE TABLE t (id int primary key, a text, b text); GRANT INSERT, DELETE ON shop.t TO writer@'127.0.0.1'").await;
        assert_eq!(refused().await, "Run GRANT UPDATE ON `shop`.`t` TO the target's login.");
        server.sql("GRANT UPDATE (a, b) ON shop.t TO writer@'127.0.0.1'; GRANT UPDATE ON shop.t TO writer@'127.0.0.1'").await;
        pipe.connector().prepare(&[(*table).clone()]).await.expect("nothing is missing");
        // and these are all that is needed
        let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
        run.change(&table, one(&table, 1)).await.expect("written");
        run.flush().await.expect("flushed");
        assert_eq!(contents(&server, "t").await, "(1,a,b)");
        // for a new copy neither
        let stage = TargetTable { place: Place::Stage, ..(*table).clone() };
        pipe.connector().prepare(&[stage]).await.expect("nothing is missing");
        // rights of everybody, and of the same user elsewhere, count too
        server.sql("REVOKE ALL PRIVILEGES, GRANT OPTION FROM writer@'127.0.0.1'; GRANT SELECT, INSERT, DELETE ON shop.t TO writer@'127.0.0.1'").await;
        server.sql("GRANT ALL ON `\\_standpipe`.* TO writer@'127.0.0.1'").await;
        assert_eq!(refused().await, "Run GRANT UPDATE ON `shop`.`t` TO the target's login.");
        server.sql("CREATE USER writer@'%' IDENTIFIED BY 'other'; GRANT UPDATE, CREATE ON shop.* TO writer@'%'").await;
        pipe.connector().prepare(&[(*table).clone()]).await.expect("nothing is missing");
        server.sql("DROP TABLE t").await;
        pipe.connector().prepare(&[(*table).clone()]).await.expect("nothing is missing");
        assert_eq!(server.value("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'shop'").await.as_deref(), Some("0"));
    }
}

#[tokio::test]
async fn a_transaction_says_in_the_log_which_pipe_wrote_it() {
    let server = Mysql::mariadb(&[]).await;
    let pipe = Pipe::new(&server, &[]);
    let table = target(small_table("t"), 1, 1);
    let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
    run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
    run.change(&table, one(&table, 1)).await.expect("written");
    run.flush().await.expect("flushed");
    let events = server.rows("SHOW BINLOG EVENTS").await;
    let maps: Vec<String> = events.iter().filter(|e| e[2].as_deref() == Some("Table_map")).filter_map(|e| e[5].clone()).collect();
    let last = maps.iter().rposition(|m| m.contains("(shop.t)")).expect("the row");
    assert!(maps[last - 1].contains("(_standpipe.shard)"), "{maps:?}");
}

#[tokio::test]
async fn a_session_that_was_left_with_its_locks_is_ended() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &["--innodb-lock-wait-timeout=1"]).await;
        let pipe = Pipe::new(&server, &[("batch.size-bytes", "1")]);
        let table = target(small_table("t"), 1, 1);
        let tables = [table.clone()];
        let mut first = pipe.begin(&tables).await.expect("begins");
        first.set_up(&tables).await.expect("sets up");
        // beyond the batch's size it is written, and its transaction stays open
        first.change(&table, one(&table, 1)).await.expect("written");
        let mut second = pipe.begin(&tables).await.expect("takes the epoch");
        assert!(first.flush().await.is_err());
        second.change(&table, one(&table, 2)).await.expect("written");
        second.flush().await.expect("flushed");
        assert_eq!(contents(&server, "t").await, "(2,a,b)", "{flavour:?}");
    }
}
