//! What a flush leaves at the target: every kind of outcome.

use super::*;

async fn with_rows(pipe: &Pipe, table: &Arc<TargetTable>, rows: &[(i32, &str, &str)]) -> Run {
    let mut run = pipe.begin(std::slice::from_ref(table)).await.expect("begins");
    run.set_up(std::slice::from_ref(table)).await.expect("sets up");
    let all: Vec<Change<'_>> = rows.iter().map(|r| (Op::Insert, None, r.0, Some(r.1), Some(r.2))).collect();
    run.change(table, changes(&table.table, &all)).await.expect("written");
    let flushed = run.flush().await.expect("flushed");
    assert_eq!(flushed.tables[&table.table.id].inserts, rows.len() as u64);
    run
}

#[tokio::test]
async fn inserts_updates_deletes_and_partial_rows() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        let pipe = Pipe::new(&server, &[]);
        let table = target(small_table("t"), 1, 1);
        let mut run = with_rows(&pipe, &table, &[(1, "a1", "b1"), (2, "a2", "b2"), (3, "a3", "b3")]).await;
        let all = [
            (Op::Update, None, 1, Some("A1"), None),
            (Op::Delete, None, 2, None, None),
            (Op::Insert, None, 4, Some("a4"), Some("it's \\ so")),
            (Op::Update, None, 4, None, Some("B4")),
            (Op::Update, None, 3, None, Some("B'3\\")),
            (Op::Insert, None, 5, Some("a5"), Some("b5")),
            (Op::Delete, None, 5, None, None),
            (Op::Upsert, None, 1, Some("A1"), Some("B1")),
            (Op::Upsert, None, 6, Some("a6"), Some("😀")),
        ];
        run.change(&table, changes(&table.table, &all)).await.expect("written");
        let counts = run.flush().await.expect("flushed").tables[&TableId(1)];
        assert_eq!(contents(&server, "t").await, "(1,A1,B1) (3,a3,B'3\\) (4,a4,B4) (6,a6,😀)");
        assert_eq!((counts.inserts, counts.deletes), (1, 1));
    }
}

#[tokio::test]
async fn keys_change_swap_and_chain_and_absent_columns_come_along() {
    for other_unique in [false, true] {
        let server = Mysql::mariadb(&[]).await;
        let pipe = Pipe::new(&server, &[]);
        let table = target(small_table("t"), 1, 1);
        let mut run = with_rows(&pipe, &table, &[(1, "a1", "b1"), (2, "a2", "b2"), (3, "a3", "b3"), (7, "a7", "b7")]).await;
        if other_unique {
            server.sql("ALTER TABLE t ADD UNIQUE (a(50))").await;
        }
        let all = [
            // 1 and 2 change places, one with a new value
            (Op::Update, Some(1), 9, None, None),
            (Op::Update, Some(2), 1, None, None),
            (Op::Update, Some(9), 2, Some("A"), None),
            // 3 goes to 4 and on to 5
            (Op::Update, Some(3), 4, None, Some("B")),
            (Op::Update, Some(4), 5, Some("C"), None),
            // 7 goes to 8, and another 7 comes
            (Op::Update, Some(7), 8, Some("new8"), None),
            (Op::Insert, None, 7, Some("new"), Some("row")),
        ];
        if other_unique {
            // a writer of its own, which knows the index
            run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        }
        run.change(&table, changes(&table.table, &all)).await.expect("written");
        run.flush().await.expect("flushed");
        assert_eq!(contents(&server, "t").await, "(1,a2,b2) (2,A,b1) (5,C,B) (7,new,row) (8,new8,b7)", "{other_unique}");
    }
}

#[tokio::test]
async fn another_unique_index_catches_no_row_that_is_not_meant() {
    let server = Mysql::mariadb(&[]).await;
    let pipe = Pipe::new(&server, &[]);
    let table = target(small_table("t"), 1, 1);
    drop(with_rows(&pipe, &table, &[(1, "x", "1"), (2, "y", "2")]).await);
    server.sql("ALTER TABLE t ADD UNIQUE (a(50))").await;
    let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
    let all = [(Op::Update, None, 1, Some("y"), Some("1")), (Op::Update, None, 2, Some("x"), Some("2")), (Op::Insert, None, 3, Some("q"), Some("3"))];
    run.change(&table, changes(&table.table, &all)).await.expect("written");
    run.flush().await.expect("flushed");
    assert_eq!(contents(&server, "t").await, "(1,y,1) (2,x,2) (3,q,3)");
    // what really is a violation leaves nothing behind
    let bad = [(Op::Insert, None, 8, Some("fine"), Some("")), (Op::Insert, None, 9, Some("x"), Some(""))];
    run.change(&table, changes(&table.table, &bad)).await.expect("written");
    let e = run.flush().await.expect_err("a violation");
    assert_eq!((e.sqlstate(), e.table()), ("23000", Some("shop.t")), "{e}");
    run.change(&table, changes(&table.table, &bad[..1])).await.expect("written");
    run.flush().await.expect("flushed");
    assert_eq!(contents(&server, "t").await, "(1,y,1) (2,x,2) (3,q,3) (8,fine,)");
}

#[tokio::test]
async fn deletes_may_mark_or_do_nothing() {
    let server = Mysql::mariadb(&[]).await;
    let all = [
        (Op::Delete, None, 1, None, None),
        (Op::Update, Some(2), 5, None, None),
        (Op::Delete, None, 3, None, None),
        (Op::Insert, None, 3, Some("again"), Some("")),
    ];
    for (name, mode, live) in [("soft", "soft", "(3,again,) (5,a2,b2)"), ("keep", "ignore", "(1,a1,b1) (3,again,) (5,a2,b2)")] {
        let pipe = Pipe::new(&server, &[("on-delete", mode)]);
        let table = target(small_table(name), 1, 1);
        let mut run = with_rows(&pipe, &table, &[(1, "a1", "b1"), (2, "a2", "b2"), (3, "a3", "b3")]).await;
        run.change(&table, changes(&table.table, &all)).await.expect("written");
        run.flush().await.expect("flushed");
        if mode == "soft" {
            let marked = server.value("SELECT group_concat(id ORDER BY id) FROM soft WHERE _standpipe_deleted_at IS NOT NULL").await;
            assert_eq!(marked.as_deref(), Some("1"));
            server.sql("DELETE FROM soft WHERE _standpipe_deleted_at IS NOT NULL").await;
        }
        assert_eq!(contents(&server, name).await, live);
    }
}

#[tokio::test]
async fn truncates_stand_between_the_rows_around_them() {
    let server = Mysql::mariadb(&[]).await;
    let pipe = Pipe::new(&server, &[]);
    let table = target(small_table("t"), 1, 1);
    let mut run = with_rows(&pipe, &table, &[(1, "a1", "b1")]).await;
    run.change(&table, changes(&table.table, &[(Op::Insert, None, 2, Some("a2"), Some("b2"))])).await.expect("written");
    let truncate = Part { table: table.table.clone(), content: Content::Truncate };
    run.writer.write(Input::Change { table: table.clone(), part: truncate.clone() }).await.expect("written");
    run.change(&table, changes(&table.table, &[(Op::Insert, None, 3, Some("a3"), Some("b3"))])).await.expect("written");
    assert_eq!(contents(&server, "t").await, "(1,a1,b1)", "nobody sees it yet");
    let counts = run.flush().await.expect("flushed").tables[&TableId(1)];
    assert_eq!((contents(&server, "t").await.as_str(), counts.truncates), ("(3,a3,b3)", 1));
}

#[tokio::test]
async fn a_value_that_does_not_fit_names_its_row() {
    let server = Mysql::mariadb(&["--max-allowed-packet=1M"]).await;
    server.sql("CREATE TABLE t (id int primary key, a varchar(3), b longtext)").await;
    let pipe = Pipe::new(&server, &[]);
    let table = target(small_table("t"), 1, 1);
    let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
    run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
    run.change(&table, changes(&table.table, &[(Op::Insert, None, 1, Some("abc"), Some("")), (Op::Insert, None, 2, Some("abcd"), Some(""))])).await.expect("written");
    let e = run.flush().await.expect_err("too long");
    assert!(e.table() == Some("shop.t") && e.detail().is_some_and(|d| d.contains("key (id) = (2)")), "{e}");
    let huge = "x".repeat(2 << 20);
    run.change(&table, changes(&table.table, &[(Op::Insert, None, 1, Some("abc"), Some(&huge))])).await.expect("written");
    let e = run.flush().await.expect_err("too large");
    assert!(e.sqlstate() == "54000" && e.hint().is_some_and(|h| h.contains("max_allowed_packet")), "{e}");
    assert_eq!(contents(&server, "t").await, "");
    // the same of a row that comes in part
    run.change(&table, changes(&table.table, &[(Op::Insert, None, 1, Some("abc"), Some(""))])).await.expect("written");
    run.flush().await.expect("flushed");
    run.change(&table, changes(&table.table, &[(Op::Update, None, 1, None, Some(&huge))])).await.expect("written");
    assert_eq!(run.flush().await.expect_err("too large").sqlstate(), "54000");
}
