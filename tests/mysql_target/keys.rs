//! Keys find their rows and no others, and rows that come in part are made whole from what is there, bit by bit.

use super::*;
use arrow::array::Float32Array;
use standpipe::error::Kind;

/// `shop.<name> (k primary key, a text)`.
fn keyed(name: &str, logical: LogicalType, native: &str) -> TableVersion {
    let key = Column { nullable: false, ..Column::new("k", logical, native, native) };
    TableVersion::new(TableName::new("shop", name), vec![key, Column::new("a", LogicalType::Text, "text", "text")], vec![0])
}

/// Changes of [`keyed`]: what it does, the key, the other column.
fn of_keys(table: &TableVersion, all: &[(Op, &str, &str)]) -> Rows {
    let column = |f: &dyn Fn(&(Op, &str, &str)) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(all.iter().map(f))) };
    let after = RecordBatch::try_new(table.schema.clone(), vec![column(&|c| c.1.to_string()), column(&|c| c.2.to_string())]).expect("the table's columns");
    Rows { ops: all.iter().map(|c| c.0).collect(), after, old_keys: None, present: None, txn: vec![0; all.len()] }
}

#[tokio::test]
async fn numbers_in_text_columns_are_compared_as_texts() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        let pipe = Pipe::new(&server, &[]);
        let table = target(keyed("t", LogicalType::DecimalText, "numeric"), 1, 1);
        let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
        // as doubles, the first two are the same
        let all = [(Op::Insert, "12345678901234567890", "x"), (Op::Insert, "12345678901234567891", "y"), (Op::Insert, "1.50", "z")];
        run.change(&table, of_keys(&table.table, &all)).await.expect("written");
        run.flush().await.expect("flushed");
        run.change(&table, of_keys(&table.table, &[(Op::Delete, "12345678901234567890", "x"), (Op::Update, "1.50", "Z")])).await.expect("written");
        run.flush().await.expect("flushed");
        let left = server.value("SELECT group_concat(k, '=', a ORDER BY k) FROM t").await;
        assert_eq!(left.as_deref(), Some("1.50=Z,12345678901234567891=y"), "{flavour:?}");
    }
}

#[tokio::test]
async fn texts_that_differ_in_anything_are_different_keys() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        let pipe = Pipe::new(&server, &[]);
        let table = target(keyed("t", LogicalType::Text, "text"), 1, 1);
        let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
        let all = ["a", "A", "a ", "ä"].map(|k| (Op::Insert, k, k));
        run.change(&table, of_keys(&table.table, &all)).await.expect("written");
        run.flush().await.expect("flushed");
        run.change(&table, of_keys(&table.table, &[(Op::Delete, "a", "a"), (Op::Update, "ä", "new")])).await.expect("written");
        run.flush().await.expect("flushed");
        let left = server.value("SELECT group_concat(hex(k), '=', a ORDER BY hex(k)) FROM t").await;
        assert_eq!(left.as_deref(), Some("41=A,6120=a ,C3A4=new"), "{flavour:?}");
        // a table that would make one of them
        server.sql("CREATE TABLE ci (k varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, a text)").await;
        let ci = target(keyed("ci", LogicalType::Text, "text"), 2, 1);
        let e = pipe.connector().prepare(&[(*ci).clone()]).await.expect_err("refused");
        assert_eq!((e.kind(), e.table()), (Kind::Lossy, Some("shop.ci")), "{e}");
    }
}

#[tokio::test]
async fn an_index_over_a_part_of_the_key_is_not_the_key() {
    let server = Mysql::mariadb(&[]).await;
    server.sql("CREATE TABLE t (k varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL, a text, UNIQUE (k(1)))").await;
    let pipe = Pipe::new(&server, &[]);
    let table = target(keyed("t", LogicalType::Text, "text"), 1, 1);
    let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
    run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
    run.change(&table, of_keys(&table.table, &[(Op::Insert, "ab", "1"), (Op::Insert, "ac", "2")])).await.expect("written");
    // the second row is never laid over the first
    assert_eq!(run.flush().await.expect_err("a violation").sqlstate(), "23000");
    assert_eq!(server.value("SELECT count(*) FROM t").await.as_deref(), Some("0"));
}

/// Partial rows of `(id, a, b, c)` that have no more than the first two.
fn in_part(table: &TableVersion, all: &[(Option<i32>, i32, Option<&str>)]) -> Rows {
    let n = all.len();
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(all.iter().map(|c| c.1))),
        Arc::new(StringArray::from_iter(all.iter().map(|c| c.2))),
        Arc::new(Float32Array::new_null(n)),
        Arc::new(StringArray::new_null(n)),
    ];
    let after = RecordBatch::try_new(table.schema.clone(), arrays).expect("the table's columns");
    let old: ArrayRef = Arc::new(Int32Array::from_iter_values(all.iter().map(|c| c.0.unwrap_or(0))));
    let keys = RecordBatch::try_new(table.key_schema(), vec![old]).expect("a key");
    let set = BooleanBuffer::collect_bool(n, |i| all[i].0.is_some());
    let (has_a, none) = (BooleanBuffer::collect_bool(n, |i| all[i].2.is_some()), BooleanBuffer::new_unset(n));
    Rows { ops: vec![Op::Update; n], after, old_keys: Some(OldKeys { keys, set }), present: Some(vec![None, Some(has_a), Some(none.clone()), Some(none)]), txn: vec![0; n] }
}

#[tokio::test]
async fn rows_in_part_exchange_unique_values_and_keep_floats_and_bits() {
    for unique in [", UNIQUE (a)", ""] {
        let server = Mysql::mariadb(&[]).await;
        server.sql(&format!("CREATE TABLE t (id int PRIMARY KEY, a varchar(20), b float, c bit(10){unique})")).await;
        let mut columns = vec![
            Column::new("id", LogicalType::Int32, "integer", "int4"),
            Column::new("a", LogicalType::Text, "text", "text"),
            Column::new("b", LogicalType::Float32, "real", "float4"),
            Column::new("c", LogicalType::Opaque, "bit(10)", "text"),
        ];
        columns[0].nullable = false;
        let table = target(TableVersion::new(TableName::new("shop", "t"), columns, vec![0]), 1, 1);
        let pipe = Pipe::new(&server, &[]);
        let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![1, 2])),
            Arc::new(StringArray::from(vec!["x", "y"])),
            Arc::new(Float32Array::from(vec![1.234_567_9, 7_654_321.5])),
            Arc::new(StringArray::from(vec!["1000000101", "1111111111"])),
        ];
        let after = RecordBatch::try_new(table.table.schema.clone(), arrays).expect("the table's columns");
        run.change(&table, Rows { ops: vec![Op::Insert; 2], after, old_keys: None, present: None, txn: vec![0; 2] }).await.expect("written");
        run.flush().await.expect("flushed");
        run.change(&table, in_part(&table.table, &[(None, 1, Some("y")), (None, 2, Some("x"))])).await.expect("written");
        run.flush().await.expect("flushed");
        run.change(&table, in_part(&table.table, &[(Some(2), 9, None)])).await.expect("written");
        run.flush().await.expect("flushed");
        let rows = "SELECT group_concat(concat_ws(' ', id, a, b + 0e0, bin(c + 0)) ORDER BY id) FROM t";
        assert_eq!(server.value(rows).await.as_deref(), Some("1 y 1.2345678806304932 1000000101,9 x 7654321.5 1111111111"), "{unique}");
    }
}

#[tokio::test]
async fn a_mark_on_a_deleted_row_does_not_catch_another_key() {
    let server = Mysql::mariadb(&[]).await;
    server.sql("CREATE TABLE t (k varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, a text)").await;
    let pipe = Pipe::new(&server, &[("on-delete", "soft"), ("on-lossy.shop.t.k", "null")]);
    let table = target(keyed("t", LogicalType::Text, "text"), 1, 1);
    let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
    run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
    run.change(&table, of_keys(&table.table, &[(Op::Insert, "a", "1"), (Op::Insert, "b", "2")])).await.expect("written");
    run.flush().await.expect("flushed");
    run.change(&table, of_keys(&table.table, &[(Op::Delete, "a", ""), (Op::Insert, "A", "3"), (Op::Delete, "b", "")])).await.expect("written");
    run.flush().await.expect("flushed");
    let rows = "SELECT group_concat(k, a, _standpipe_deleted_at IS NULL ORDER BY k) FROM t";
    assert_eq!(server.value(rows).await.as_deref(), Some("A31,b20"));
}
