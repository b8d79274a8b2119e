//! Set-up, faults, changes of structure and swaps.

use super::*;
use standpipe::data::{ColumnChange, SchemaChange};
use standpipe::error::Kind;

#[tokio::test]
async fn all_faults_at_once() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE t1 (id int PRIMARY KEY, a int, extra text NOT NULL); CREATE VIEW t2 AS SELECT 1 AS id; CREATE TABLE t3 (id int PRIMARY KEY, a text, b text); INSERT INTO t3 VALUES (1)").await;
    let pipe = Pipe::new(&server, &[]);
    let tables: Vec<TargetTable> = (1..=4).map(|i| (*target(small_table(&format!("t{i}")), i, 1)).clone()).collect();
    let e = pipe.connector().prepare(&tables).await.expect_err("faults");
    let detail = e.detail().expect("a detail");
    for part in ["column \"a\" of table public.t1 has type integer", "column \"b\" of table public.t1 does not exist", "column \"extra\" of table public.t1", "public.t2 at the target is not a table", "table public.t3 at the target has rows"] {
        assert!(detail.contains(part), "{part} is missing in:\n{detail}");
    }
    assert_eq!((e.sqlstate(), detail.lines().count()), ("42804", 5));
    let fine = pipe.connector().prepare(&tables[3..]).await.expect("no faults");
    assert!(!fine[0].exists && fine[0].statements.iter().any(|s| s.starts_with("CREATE TABLE")), "{fine:?}");
    assert_eq!(server.value("SELECT to_regclass('t4')").await, None, "nothing is changed");
}

#[tokio::test]
async fn a_table_belongs_to_one_pipe() {
    let server = Postgres::start(&[]).await;
    let table = target(small_table("t"), 1, 1);
    let tables = [table.clone()];
    let first = Pipe::new(&server, &[]);
    first.begin(&tables).await.expect("begins").set_up(&tables).await.expect("sets up");
    let second = Pipe::new(&server, &[]);
    let e = second.begin(&tables).await.expect("begins").set_up(&tables).await.expect_err("another pipe's");
    assert_eq!((e.sqlstate(), e.table()), ("55006", Some("public.t")));
    assert!(e.hint().is_some_and(|h| h.contains(&first.uuid.to_string())));
    // the same generation again changes nothing, another one begins empty
    server.sql("INSERT INTO t VALUES (1, 'a', 'b')").await;
    first.begin(&tables).await.expect("begins").set_up(&tables).await.expect("again");
    assert_eq!(contents(&server, "t").await, "(1,a,b)");
    let next = [target(small_table("t"), 1, 2)];
    first.begin(&next).await.expect("begins").set_up(&next).await.expect("anew");
    assert_eq!(contents(&server, "t").await, "");
    let shared = Pipe::new(&server, &[("shared-target", "true")]);
    shared.begin(&tables).await.expect("begins").set_up(&tables).await.expect("shares");
    server.sql("INSERT INTO t VALUES (1, 'a', 'b')").await;
    let last = [target(small_table("t"), 1, 3)];
    let first = Pipe { uuid: first.uuid, ..Pipe::new(&server, &[("shared-target", "true")]) };
    let e = first.begin(&last).await.expect("begins").set_up(&last).await.expect_err("another pipe's rows");
    assert_eq!(e.sqlstate(), "55006");
}

#[tokio::test]
async fn rows_that_are_there_are_kept_or_go_as_asked() {
    let server = Postgres::start(&[]).await;
    for (how, left) in [("append", "(1,a,b)"), ("truncate", "")] {
        server.sql(&format!("CREATE TABLE {how} (id int PRIMARY KEY, a text, b text); INSERT INTO {how} VALUES (1, 'a', 'b')")).await;
        let tables = [target(small_table(how), 1, 1)];
        let pipe = Pipe::new(&server, &[("on-existing-rows", how)]);
        pipe.begin(&tables).await.expect("begins").set_up(&tables).await.expect("sets up");
        assert_eq!(contents(&server, how).await, left);
    }
}

fn wider(table: &TableVersion, column: Column) -> Arc<TableVersion> {
    let mut columns = table.columns.clone();
    columns.push(column);
    let wide = TableVersion::new(table.name.clone(), columns, table.key.clone());
    Arc::new(TableVersion { id: table.id, generation: table.generation, ..wide })
}

#[tokio::test]
async fn columns_come_and_change() {
    let server = Postgres::start(&[]).await;
    let table = target(small_table("t"), 1, 1);
    let pipe = Pipe::new(&server, &[]);
    let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
    run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
    let row = [(Op::Insert, None, 1, Some("a"), Some("b"))];
    run.change(&table, changes(&table.table, &row)).await.expect("written");
    let mut c = Column::new("c", LogicalType::Int32, "integer", "int4");
    c.type_id = 23;
    c.default = Some("7".into());
    let after = wider(&table.table, c);
    let schema = |changes: Vec<ColumnChange>| Part {
        table: table.table.clone(),
        content: Content::Schema(SchemaChange { before: table.table.clone(), after: after.clone(), changes }),
    };
    run.writer.write(Input::Change { table: table.clone(), part: schema(vec![ColumnChange::Add("c".into())]) }).await.expect("written");
    let wide = Arc::new(TargetTable { table: after.clone(), ..(*table).clone() });
    let narrow = changes(&table.table, &[(Op::Insert, None, 2, Some("a"), Some("b"))]);
    let mut arrays = narrow.after.columns().to_vec();
    arrays.push(Arc::new(Int32Array::from(vec![5])));
    let rows = Rows::full(Op::Insert, RecordBatch::try_new(after.schema.clone(), arrays).expect("four columns"));
    run.change(&wide, rows).await.expect("written");
    run.flush().await.expect("flushed");
    assert_eq!(contents(&server, "t").await, "(1,a,b,7) (2,a,b,5)");
    run.writer.write(Input::Change { table: table.clone(), part: schema(vec![ColumnChange::Drop("c".into())]) }).await.expect("written");
    let e = run.flush().await.expect_err("only additions");
    assert_eq!((e.sqlstate(), e.table()), ("0A000", Some("public.t")));
    let all = Pipe { uuid: pipe.uuid, ..Pipe::new(&server, &[("on-ddl", "propagate")]) };
    let mut run = all.begin(std::slice::from_ref(&table)).await.expect("begins");
    let changes = vec![ColumnChange::Rename { from: "a".into(), to: "aa".into() }, ColumnChange::Drop("b".into())];
    run.writer.write(Input::Change { table: table.clone(), part: schema(changes) }).await.expect("written");
    run.flush().await.expect("flushed");
    assert_eq!(server.value("SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped").await.as_deref(), Some("id,aa,c"));
}

async fn resync(server: &Postgres, pipe: &Pipe, table: &Arc<TargetTable>, name: &str, generation: i64) -> Run {
    let mut run = pipe.begin(std::slice::from_ref(table)).await.expect("begins");
    let next = TableVersion { generation, ..(*table.table).clone() };
    let staged = Arc::new(TargetTable { table: Arc::new(next), target: table.target.clone(), place: Place::Stage });
    let mut side = run.connector.writer(WriterRole::Stage(TableId(1))).await.expect("a writer");
    side.write(Input::Setup(staged.clone())).await.expect("written");
    let mark = || Mark { kind: MarkKind::Stage { table: TableId(1), generation }, seq: 0, previous: 0, checkpoint: None, position: None };
    side.flush(&mark()).await.expect("set up");
    let rows = changes(&table.table, &[(Op::Insert, None, 8, Some("new"), Some("x")), (Op::Insert, None, 9, Some("new"), Some("y"))]);
    let input = Input::Load { table: staged.clone(), chunk: "c".into(), payload: Payload::Arrow(rows.after), upsert: false };
    side.write(input).await.expect("written");
    side.flush(&mark()).await.expect("loaded");
    let part = Part { table: staged.table.clone(), content: Content::Rows(changes(&table.table, &[(Op::Update, None, 9, Some("newer"), None)])) };
    side.write(Input::Change { table: staged.clone(), part }).await.expect("written");
    side.flush(&mark()).await.expect("caught up");
    assert_eq!(contents(server, name).await, "(1,old,row)", "the old copy is what is seen");
    run.writer.write(Input::Swap(staged)).await.expect("written");
    run.flush().await.expect("swapped");
    run
}

#[tokio::test]
async fn a_new_copy_takes_the_place_of_the_old() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE ROLE reader; CREATE TABLE parent (id int PRIMARY KEY)").await;
    for (name, extra) in [("plain", ""), ("looked_at", "CREATE VIEW v AS SELECT * FROM looked_at")] {
        let table = target(small_table(name), 1, 1);
        let pipe = Pipe::new(&server, &[]);
        let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
        run.change(&table, changes(&table.table, &[(Op::Insert, None, 1, Some("old"), Some("row"))])).await.expect("written");
        run.flush().await.expect("flushed");
        server.sql(&format!("GRANT SELECT ON {name} TO reader; {extra}")).await;
        let before = server.value(&format!("SELECT '{name}'::regclass::oid")).await;
        let mut run = resync(&server, &pipe, &table, name, 2).await;
        assert_eq!(contents(&server, name).await, "(8,new,x) (9,newer,y)");
        assert_eq!(server.value(&format!("SELECT has_table_privilege('reader', '{name}', 'SELECT')")).await.as_deref(), Some("t"));
        assert_eq!(before == server.value(&format!("SELECT '{name}'::regclass::oid")).await, name == "looked_at");
        let key = server.value(&format!("SELECT conname FROM pg_constraint WHERE conrelid = '{name}'::regclass AND contype = 'p'")).await;
        assert_eq!(key, Some(format!("{name}_pkey")));
        assert_eq!(server.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'stage_%'").await.as_deref(), Some("0"));
        // changes go on into the new copy
        let next = target(small_table(name), 1, 2);
        run.change(&next, changes(&next.table, &[(Op::Delete, None, 8, None, None)])).await.expect("written");
        run.flush().await.expect("flushed");
        assert_eq!(contents(&server, name).await, "(9,newer,y)");
        run.writer.write(Input::Leave(next)).await.expect("written");
        run.flush().await.expect("left");
        assert_eq!(server.value("SELECT count(*) FROM _standpipe.owner").await.as_deref(), Some("0"));
    }
}

#[tokio::test]
async fn a_type_that_is_not_there_is_refused_or_becomes_text() {
    let server = Postgres::start(&[]).await;
    let mut table = small_table("t");
    (table.columns[1].logical, table.columns[1].native, table.columns[1].type_id) = (LogicalType::Opaque, "public.mood".into(), 20000);
    table = TableVersion::new(table.name, table.columns, table.key);
    let t = target(table, 1, 1);
    let e = Pipe::new(&server, &[]).connector().prepare(&[(*t).clone()]).await.expect_err("no such type");
    assert_eq!((e.kind(), e.table()), (Kind::Lossy, Some("public.t")));
    assert!(e.message().contains("column \"a\"") && e.hint().is_some_and(|h| h.contains("on-lossy.public.t.a")), "{e}");
    let p = Pipe::new(&server, &[("on-lossy.public.t.a", "text")]).connector().prepare(&[(*t).clone()]).await.expect("text");
    assert_eq!(p[0].columns[1].1, "text");
}
