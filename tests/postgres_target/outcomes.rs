//! What a flush leaves at the target: every kind of outcome, by parameters and by staging alike.

use super::*;

/// Both ways of applying.
const WAYS: [usize; 2] = [0, 1000];

async fn with_rows(server: &Postgres, pipe: &Pipe, table: &Arc<TargetTable>, rows: &[(i32, &str, &str)]) -> Run {
    let mut run = pipe.begin(std::slice::from_ref(table)).await.expect("begins");
    run.set_up(std::slice::from_ref(table)).await.expect("sets up");
    let all: Vec<Change<'_>> = rows.iter().map(|r| (Op::Insert, None, r.0, Some(r.1), Some(r.2))).collect();
    run.change(table, changes(&table.table, &all)).await.expect("written");
    let flushed = run.flush().await.expect("flushed");
    assert_eq!(flushed.tables[&table.table.id].inserts, rows.len() as u64);
    assert!(server.value("SELECT 1").await.is_some());
    run
}

#[tokio::test]
async fn inserts_updates_deletes_and_partial_rows() {
    let server = Postgres::start(&[]).await;
    for (i, way) in WAYS.into_iter().enumerate() {
        let name = format!("t{i}");
        let pipe = Pipe::new(&server, &[]).small_batch(way);
        let table = target(small_table(&name), 1, 1);
        let mut run = with_rows(&server, &pipe, &table, &[(1, "a1", "b1"), (2, "a2", "b2"), (3, "a3", "b3")]).await;
        let all = [
            (Op::Update, None, 1, Some("A1"), None),
            (Op::Delete, None, 2, None, None),
            (Op::Insert, None, 4, Some("a4"), Some("b4")),
            (Op::Update, None, 4, None, Some("B4")),
            (Op::Update, None, 3, None, Some("B3")),
            (Op::Insert, None, 5, Some("a5"), Some("b5")),
            (Op::Delete, None, 5, None, None),
            (Op::Upsert, None, 1, Some("A1"), Some("B1")),
            (Op::Upsert, None, 6, Some("a6"), Some("b6")),
        ];
        run.change(&table, changes(&table.table, &all)).await.expect("written");
        let counts = run.flush().await.expect("flushed").tables[&TableId(1)];
        assert_eq!(contents(&server, &name).await, "(1,A1,B1) (3,a3,B3) (4,a4,B4) (6,a6,b6)");
        assert_eq!((counts.inserts, counts.updates, counts.deletes), (2, 2, 1), "way {way}");
        let primary = server.value(&format!("SELECT count(*) FROM pg_index WHERE indrelid = '{name}'::regclass AND indisprimary")).await;
        assert_eq!(primary.as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn keys_change_swap_and_chain_and_absent_columns_come_along() {
    let server = Postgres::start(&[]).await;
    for (i, way) in WAYS.into_iter().enumerate() {
        let name = format!("t{i}");
        let pipe = Pipe::new(&server, &[]).small_batch(way);
        let table = target(small_table(&name), 1, 1);
        let mut run = with_rows(&server, &pipe, &table, &[(1, "a1", "b1"), (2, "a2", "b2"), (3, "a3", "b3"), (7, "a7", "b7")]).await;
        let all = [
            // 1 and 2 change places, one with a new value
            (Op::Update, Some(1), 9, None, None),
            (Op::Update, Some(2), 1, None, None),
            (Op::Update, Some(9), 2, Some("A"), None),
            // 3 goes to 4 and on to 5
            (Op::Update, Some(3), 4, None, Some("B")),
            (Op::Update, Some(4), 5, Some("A"), None),
            // 7 goes to 8, and another 7 comes
            (Op::Update, Some(7), 8, None, None),
            (Op::Insert, None, 7, Some("new"), Some("row")),
        ];
        run.change(&table, changes(&table.table, &all)).await.expect("written");
        run.flush().await.expect("flushed");
        assert_eq!(contents(&server, &name).await, "(1,a2,b2) (2,A,b1) (5,A,B) (7,new,row) (8,a7,b7)", "way {way}");
    }
}

#[tokio::test]
async fn another_unique_index_makes_it_go_row_by_row() {
    let server = Postgres::start(&[]).await;
    for (i, way) in WAYS.into_iter().enumerate() {
        let name = format!("t{i}");
        let pipe = Pipe::new(&server, &[]).small_batch(way);
        let table = target(small_table(&name), 1, 1);
        let mut run = with_rows(&server, &pipe, &table, &[(1, "x", "1"), (2, "y", "2")]).await;
        server.sql(&format!("CREATE UNIQUE INDEX ON {name} (a)")).await;
        // as sets, row 1 would take y while row 2 has it
        let all = [
            (Op::Update, None, 1, Some("z"), None),
            (Op::Update, None, 2, Some("x"), None),
            (Op::Update, None, 1, Some("y"), None),
            (Op::Insert, None, 3, Some("q"), Some("3")),
            (Op::Update, Some(3), 4, None, None),
        ];
        run.change(&table, changes(&table.table, &all)).await.expect("written");
        run.flush().await.expect("flushed");
        assert_eq!(contents(&server, &name).await, "(1,y,1) (2,x,2) (4,q,3)", "way {way}");
        // and what really is a violation names the row, and leaves nothing behind
        let bad = [(Op::Insert, None, 8, Some("fine"), Some("")), (Op::Insert, None, 9, Some("x"), Some(""))];
        run.change(&table, changes(&table.table, &bad)).await.expect("written");
        let e = run.flush().await.expect_err("a violation");
        assert_eq!((e.sqlstate(), e.table()), ("23000", Some(format!("public.{name}").as_str())));
        assert!(e.detail().is_some_and(|d| d.contains("key (id) = (9)")), "{e}");
        // the others can be written again without it
        run.change(&table, changes(&table.table, &bad[..1])).await.expect("written");
        run.flush().await.expect("flushed");
        assert_eq!(contents(&server, &name).await, "(1,y,1) (2,x,2) (4,q,3) (8,fine,\"\")");
    }
}

#[tokio::test]
async fn deletes_may_mark_or_do_nothing() {
    let server = Postgres::start(&[]).await;
    let all = [
        (Op::Delete, None, 1, None, None),
        (Op::Update, Some(2), 5, None, None),
        (Op::Delete, None, 3, None, None),
        (Op::Insert, None, 3, Some("again"), Some("")),
        (Op::Insert, None, 4, Some("brief"), Some("")),
        (Op::Delete, None, 4, None, None),
    ];
    for (name, mode, live) in [("soft", "soft", "(3,again,\"\",) (5,a2,b2,)"), ("keep", "ignore", "(1,a1,b1) (3,again,\"\") (4,brief,\"\") (5,a2,b2)")] {
        let pipe = Pipe::new(&server, &[("on-delete", mode)]);
        let table = target(small_table(name), 1, 1);
        let mut run = with_rows(&server, &pipe, &table, &[(1, "a1", "b1"), (2, "a2", "b2"), (3, "a3", "b3")]).await;
        run.change(&table, changes(&table.table, &all)).await.expect("written");
        run.flush().await.expect("flushed");
        if mode == "soft" {
            let marked = server.value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM soft WHERE _standpipe_deleted_at IS NOT NULL").await;
            assert_eq!(marked.as_deref(), Some("1 4"));
            server.sql("DELETE FROM soft WHERE _standpipe_deleted_at IS NOT NULL").await;
        }
        assert_eq!(contents(&server, name).await, live);
    }
}

#[tokio::test]
async fn large_transactions_are_sent_on_before_their_end() {
    let server = Postgres::start(&[]).await;
    let pipe = Pipe::new(&server, &[("batch.size-bytes", "1000")]).small_batch(4);
    let table = target(small_table("t"), 1, 1);
    let mut run = with_rows(&server, &pipe, &table, &[(1000, "x", "y")]).await;
    server.sql("CREATE UNIQUE INDEX ON t (a)").await;
    for n in 0..20 {
        let names: Vec<String> = (0..10).map(|i| format!("v{}", n * 10 + i)).collect();
        let all: Vec<Change<'_>> = names.iter().enumerate().map(|(i, v)| (Op::Insert, None, n * 10 + i as i32, Some(v.as_str()), Some(""))).collect();
        run.change(&table, changes(&table.table, &all)).await.expect("written");
    }
    // a set that must go row by row, behind much that was sent
    let swap = [(Op::Update, None, 1, Some("z"), None), (Op::Update, None, 2, Some("v1"), None), (Op::Update, None, 1, Some("v2"), None)];
    run.change(&table, changes(&table.table, &swap)).await.expect("written");
    assert_eq!(server.value("SELECT count(*) FROM t").await.as_deref(), Some("1"), "nobody sees it yet");
    let counts = run.flush().await.expect("flushed").tables[&TableId(1)];
    assert_eq!(counts.inserts, 200);
    assert_eq!(server.value("SELECT count(*) || ' ' || string_agg(a, ',' ORDER BY id) FILTER (WHERE id < 4) FROM t").await.as_deref(), Some("201 v0,v2,v1,v3"));
}

#[tokio::test]
async fn a_table_without_a_unique_index_is_upserted_all_the_same() {
    let server = Postgres::start(&[]).await;
    for (i, way) in WAYS.into_iter().enumerate() {
        let name = format!("t{i}");
        let pipe = Pipe::new(&server, &[("primary-key", "false")]).small_batch(way);
        let table = target(small_table(&name), 1, 1);
        let mut run = with_rows(&server, &pipe, &table, &[(1, "a1", "b1"), (2, "a2", "b2")]).await;
        let all = [
            (Op::Update, None, 1, Some("A1"), Some("B1")),
            (Op::Update, Some(2), 3, None, Some("B3")),
            (Op::Upsert, None, 4, Some("a4"), Some("b4")),
        ];
        run.change(&table, changes(&table.table, &all)).await.expect("written");
        run.flush().await.expect("flushed");
        assert_eq!(contents(&server, &name).await, "(1,A1,B1) (3,a2,B3) (4,a4,b4)", "way {way}");
    }
}

#[tokio::test]
async fn truncates_stand_between_the_rows_around_them() {
    let server = Postgres::start(&[]).await;
    let pipe = Pipe::new(&server, &[]);
    let table = target(small_table("t"), 1, 1);
    let mut run = with_rows(&server, &pipe, &table, &[(1, "a1", "b1")]).await;
    server.sql("CREATE TABLE child (id int REFERENCES t)").await;
    run.change(&table, changes(&table.table, &[(Op::Insert, None, 2, Some("a2"), Some("b2"))])).await.expect("written");
    let truncate = Part { table: table.table.clone(), content: Content::Truncate };
    run.writer.write(Input::Change { table: table.clone(), part: truncate.clone() }).await.expect("written");
    run.change(&table, changes(&table.table, &[(Op::Insert, None, 3, Some("a3"), Some("b3"))])).await.expect("written");
    let counts = run.flush().await.expect("flushed").tables[&TableId(1)];
    assert_eq!((contents(&server, "t").await.as_str(), counts.truncates), ("(3,a3,b3)", 1));
    let stop = Pipe { uuid: pipe.uuid, ..Pipe::new(&server, &[("on-truncate", "stop")]) };
    let mut run = stop.begin(std::slice::from_ref(&table)).await.expect("begins");
    run.writer.write(Input::Change { table: table.clone(), part: truncate }).await.expect("written");
    let e = run.flush().await.expect_err("stops");
    assert_eq!((e.sqlstate(), e.table()), ("0A000", Some("public.t")));
}
