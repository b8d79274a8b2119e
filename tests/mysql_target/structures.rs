//! Tables are made, swapped and changed.

use super::*;
use standpipe::data::{ColumnChange, SchemaChange};

#[tokio::test]
async fn every_logical_type_is_written_and_read_back() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        let types = [
            LogicalType::Bool, LogicalType::Int16, LogicalType::Int32, LogicalType::Int64, LogicalType::UInt64, LogicalType::Float32, LogicalType::Float64,
            LogicalType::Decimal { precision: 38, scale: 10 }, LogicalType::DecimalText, LogicalType::Text, LogicalType::Bytes, LogicalType::Uuid,
            LogicalType::Date, LogicalType::Time, LogicalType::Timestamp, LogicalType::TimestampTz, LogicalType::Json, LogicalType::Opaque,
        ];
        let mut columns: Vec<Column> = types.iter().enumerate().map(|(i, t)| Column::new(format!("c{i}"), t.clone(), "x", "x")).collect();
        columns.insert(0, Column { nullable: false, ..Column::new("id", LogicalType::Int32, "integer", "int4") });
        let table = target(TableVersion::new(TableName::new("shop", "t"), columns, vec![0]), 1, 1);
        use arrow::array::*;
        let s = |v: &str| -> ArrayRef { Arc::new(StringArray::from(vec![Some(v), None])) };
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![1, 2])),
            Arc::new(BooleanArray::from(vec![Some(true), None])),
            Arc::new(Int16Array::from(vec![Some(i16::MIN), None])),
            Arc::new(Int32Array::from(vec![Some(i32::MIN), None])),
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None])),
            Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])),
            Arc::new(Float32Array::from(vec![Some(1.1), None])),
            Arc::new(Float64Array::from(vec![Some(f64::MAX), None])),
            Arc::new(Decimal128Array::from(vec![Some(-12_345_678_901_234_567_890), None]).with_precision_and_scale(38, 10).expect("fits")),
            s("-1.50"),
            s("it's \\ \n\t😀\u{1}"),
            Arc::new(BinaryArray::from(vec![Some(&b"\0\xff'\\"[..]), None])),
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some([7u8; 16]), None].into_iter(), 16).expect("UUIDs")),
            Arc::new(Date32Array::from(vec![Some(-719_162), None])),
            Arc::new(Time64MicrosecondArray::from(vec![Some(86_399_999_999), None])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(253_402_300_799_999_999), None]).with_timezone("UTC")),
            s("{\"b\": 1,  \"a\": 1.0}"),
            s("[1,2)"),
        ];
        let batch = RecordBatch::try_new(table.table.schema.clone(), arrays).expect("the table's columns");
        let pipe = Pipe::new(&server, &[]);
        let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
        let mut loader = run.connector.writer(WriterRole::Snapshot(1)).await.expect("a writer");
        for upsert in [false, true] {
            run.load(loader.as_mut(), &table, &format!("c{upsert}"), batch.clone(), upsert).await.expect("loaded");
        }
        let got: Vec<String> = server.rows("SELECT * FROM t WHERE id = 1").await.remove(0).into_iter().flatten().collect();
        let want = [
            "1", "1", "-32768", "-2147483648", "-9223372036854775808", "18446744073709551615", "1.1", "1.7976931348623157e308", "-1234567890.1234567890", "-1.50",
            "it's \\ \n\t😀\u{1}", "", "07070707-0707-0707-0707-070707070707", "0001-01-01", "23:59:59.999999", "1969-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999",
            "{\"b\": 1,  \"a\": 1.0}", "[1,2)",
        ];
        for (i, (got, want)) in got.iter().zip(want).enumerate().filter(|(i, _)| *i != 11) {
            assert_eq!(got, want, "{flavour:?}: column {i}");
        }
        assert_eq!(server.value("SELECT hex(c10) FROM t WHERE id = 1").await.as_deref(), Some("00FF275C"));
        let empty = (0..types.len()).map(|i| format!("c{i} IS NULL")).collect::<Vec<_>>().join(" AND ");
        assert_eq!(server.value(&format!("SELECT count(*) FROM t WHERE {empty}")).await.as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn a_new_copy_takes_the_place_of_the_old() {
    let server = Mysql::mariadb(&[]).await;
    let pipe = Pipe::new(&server, &[]);
    let live = target(small_table("t"), 1, 1);
    let mut run = pipe.begin(std::slice::from_ref(&live)).await.expect("begins");
    run.set_up(std::slice::from_ref(&live)).await.expect("sets up");
    run.change(&live, changes(&live.table, &[(Op::Insert, None, 1, Some("old"), Some("old"))])).await.expect("written");
    run.flush().await.expect("flushed");
    let next = target(small_table("t"), 1, 2);
    let staged = Arc::new(TargetTable { place: Place::Stage, ..(*next).clone() });
    let mut stage = run.connector.writer(WriterRole::Stage(TableId(1))).await.expect("a writer");
    let mark = Mark { kind: MarkKind::Stage { table: TableId(1), generation: 2 }, seq: 0, previous: 0, checkpoint: None, position: None };
    stage.write(Input::Setup(staged.clone())).await.expect("set up");
    let rows = changes(&next.table, &[(Op::Insert, None, 5, Some("new"), Some("new")), (Op::Insert, None, 6, Some("new"), Some("new"))]).after;
    stage.write(Input::Load { table: staged.clone(), chunk: "c".into(), payload: Payload::Arrow(rows), upsert: false }).await.expect("loaded");
    stage.flush(&mark).await.expect("flushed");
    assert_eq!(contents(&server, "t").await, "(1,old,old)");
    run.writer.write(Input::Swap(staged)).await.expect("written");
    run.flush().await.expect("swapped");
    assert_eq!(contents(&server, "t").await, "(5,new,new) (6,new,new)");
    assert_eq!(server.value("SELECT count(*) FROM information_schema.tables WHERE table_schema = '_standpipe'").await.as_deref(), Some("3"));
    let begun = pipe.begin(std::slice::from_ref(&next)).await.expect("begins");
    assert!(begun.committed.set_up.contains(&(TableId(1), 2)));
}

#[tokio::test]
async fn structures_follow_and_may_be_applied_twice() {
    let server = Mysql::mariadb(&[]).await;
    let pipe = Pipe::new(&server, &[("on-ddl", "propagate")]);
    let table = target(small_table("t"), 1, 1);
    let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
    run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
    let before = table.table.clone();
    let mut columns = before.columns.clone();
    columns.remove(1);
    columns[1].name = "c".into();
    columns.push(Column::new("d", LogicalType::Int64, "bigint", "int8"));
    let after = Arc::new(TableVersion { id: TableId(1), generation: 1, ..TableVersion::new(before.name.clone(), columns, vec![0]) });
    let changes = vec![ColumnChange::Drop("a".into()), ColumnChange::Rename { from: "b".into(), to: "c".into() }, ColumnChange::Add("d".into())];
    let part = Part { table: after.clone(), content: Content::Schema(SchemaChange { before, after, changes }) };
    for _ in 0..2 {
        run.writer.write(Input::Change { table: table.clone(), part: part.clone() }).await.expect("written");
        run.flush().await.expect("flushed");
        let names = "SELECT group_concat(column_name ORDER BY ordinal_position) FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = 't'";
        assert_eq!(server.value(names).await.as_deref(), Some("id,c,d"));
    }
    let additive = Pipe { uuid: pipe.uuid, ..Pipe::new(&server, &[]) };
    let mut run = additive.begin(std::slice::from_ref(&table)).await.expect("begins");
    run.writer.write(Input::Change { table: table.clone(), part }).await.expect("written");
    let e = run.flush().await.expect_err("stops");
    assert_eq!((e.sqlstate(), e.table()), ("0A000", Some("shop.t")), "{e}");
}

#[tokio::test]
async fn rows_without_a_key_never_come_twice_around_a_structure() {
    let server = Mysql::mariadb(&[]).await;
    let pipe = Pipe::new(&server, &[("on-ddl", "propagate")]);
    let table = target(small_table("t"), 1, 1);
    let audit = target(TableVersion::new(TableName::new("shop", "audit"), small_table("audit").columns.clone(), vec![]), 2, 1);
    let tables = [table.clone(), audit.clone()];
    let mut run = pipe.begin(&tables).await.expect("begins");
    run.set_up(&tables).await.expect("sets up");
    // what the rename makes is there already: it fails
    server.sql("ALTER TABLE t ADD COLUMN c int").await;
    let after = |change: &dyn Fn(&mut Vec<Column>)| {
        let mut columns = table.table.columns.clone();
        change(&mut columns);
        Arc::new(TableVersion { id: TableId(1), generation: 1, ..TableVersion::new(table.table.name.clone(), columns, vec![0]) })
    };
    let part = |after: Arc<TableVersion>, one: ColumnChange| {
        let change = SchemaChange { before: table.table.clone(), after: after.clone(), changes: vec![one] };
        Part { table: after, content: Content::Schema(change) }
    };
    let renamed = part(after(&|c| c[1].name = "c".into()), ColumnChange::Rename { from: "a".into(), to: "c".into() });
    let added = part(after(&|c| c.push(Column::new("d", LogicalType::Int64, "bigint", "int8"))), ColumnChange::Add("d".into()));
    let entry = || {
        let after = changes(&table.table, &[(Op::Insert, None, 1, Some("a"), Some("b"))]).after;
        let after = RecordBatch::try_new(audit.table.schema.clone(), after.columns().to_vec()).expect("the same columns");
        Rows { ops: vec![Op::Insert], after, old_keys: None, present: None, txn: vec![0] }
    };
    for rows_before in [false, true] {
        run.change(&audit, entry()).await.expect("written");
        if rows_before {
            run.change(&table, changes(&table.table, &[(Op::Insert, None, 1, Some("a"), Some("b"))])).await.expect("written");
        }
        run.writer.write(Input::Change { table: table.clone(), part: renamed.clone() }).await.expect("written");
        let e = run.flush().await.expect_err("fails");
        assert_eq!(e.table(), Some("shop.t"), "{e}");
        assert!(!rows_before || e.sqlstate() == "0A000", "{e}");
        assert_eq!(server.value("SELECT count(*) FROM audit").await.as_deref(), Some("0"), "{rows_before}");
    }
    run.change(&audit, entry()).await.expect("written");
    run.change(&table, changes(&table.table, &[(Op::Insert, None, 1, Some("a"), Some("b"))])).await.expect("written");
    run.writer.write(Input::Change { table: table.clone(), part: added }).await.expect("written");
    run.flush().await.expect("flushed");
    assert_eq!(server.value("SELECT count(*) FROM audit").await.as_deref(), Some("1"));
    assert_eq!(server.value("SELECT group_concat(id, a, b, d IS NULL) FROM t").await.as_deref(), Some("1ab1"));
}

#[tokio::test]
async fn a_change_that_is_applied_drops_nothing_more() {
    let server = Mysql::mariadb(&[]).await;
    let pipe = Pipe::new(&server, &[("on-ddl", "propagate")]);
    let table = target(small_table("t"), 1, 1);
    let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
    run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
    run.change(&table, changes(&table.table, &[(Op::Insert, None, 1, Some("kept"), Some("gone"))])).await.expect("written");
    run.flush().await.expect("flushed");
    let before = table.table.clone();
    let mut columns = before.columns.clone();
    columns.remove(2);
    columns[1].name = "b".into();
    let after = Arc::new(TableVersion { id: TableId(1), generation: 1, ..TableVersion::new(before.name.clone(), columns, vec![0]) });
    let changes = vec![ColumnChange::Drop("b".into()), ColumnChange::Rename { from: "a".into(), to: "b".into() }];
    let part = Part { table: after.clone(), content: Content::Schema(SchemaChange { before, after, changes }) };
    for _ in 0..2 {
        run.writer.write(Input::Change { table: table.clone(), part: part.clone() }).await.expect("written");
        run.flush().await.expect("flushed");
        assert_eq!(server.value("SELECT group_concat(id, b) FROM t").await.as_deref(), Some("1kept"));
    }
}

#[tokio::test]
async fn a_new_copy_brings_its_structure_where_nothing_hangs_on_the_old() {
    for plain in [true, false] {
        let server = Mysql::mariadb(&[]).await;
        let pipe = Pipe::new(&server, &[]);
        let live = target(small_table("t"), 1, 1);
        let mut run = pipe.begin(std::slice::from_ref(&live)).await.expect("begins");
        run.set_up(std::slice::from_ref(&live)).await.expect("sets up");
        run.change(&live, changes(&live.table, &[(Op::Insert, None, 1, Some("old"), Some("old"))])).await.expect("written");
        run.flush().await.expect("flushed");
        if !plain {
            server.sql("CREATE INDEX mine ON t (a(20))").await;
        }
        let mut columns = live.table.columns.clone();
        columns.push(Column::new("d", LogicalType::Int32, "integer", "int4"));
        let next = target(TableVersion::new(TableName::new("shop", "t"), columns, vec![0]), 1, 2);
        let staged = Arc::new(TargetTable { place: Place::Stage, ..(*next).clone() });
        let mut stage = run.connector.writer(WriterRole::Stage(TableId(1))).await.expect("a writer");
        let mark = Mark { kind: MarkKind::Stage { table: TableId(1), generation: 2 }, seq: 0, previous: 0, checkpoint: None, position: None };
        stage.write(Input::Setup(staged.clone())).await.expect("set up");
        let mut arrays = changes(&live.table, &[(Op::Insert, None, 5, Some("new"), Some("new"))]).after.columns().to_vec();
        arrays.push(Arc::new(Int32Array::from(vec![7])));
        let rows = RecordBatch::try_new(next.table.schema.clone(), arrays).expect("the table's columns");
        stage.write(Input::Load { table: staged.clone(), chunk: "c".into(), payload: Payload::Arrow(rows), upsert: false }).await.expect("loaded");
        stage.flush(&mark).await.expect("flushed");
        run.writer.write(Input::Swap(staged)).await.expect("written");
        let done = run.flush().await;
        if plain {
            done.expect("swapped");
            assert_eq!(server.value("SELECT group_concat(id, a, b, d) FROM t").await.as_deref(), Some("5newnew7"));
        } else {
            let refused = done.expect_err("a column is missing");
            assert_eq!(refused.sqlstate(), "42703", "{refused}");
            assert_eq!(contents(&server, "t").await, "(1,old,old)");
        }
    }
}
