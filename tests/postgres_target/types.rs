//! Every type, by COPY, by parameters and by staging: the target shows the same text each time.

use super::*;
use arrow::array::*;
use standpipe::data::special::*;
use standpipe::error::Kind;

struct Case {
    logical: LogicalType,
    native: &'static str,
    array: ArrayRef,
    shown: &'static [Option<&'static str>],
}

fn case(logical: LogicalType, native: &'static str, array: impl Array + 'static, shown: &'static [Option<&'static str>]) -> Case {
    Case { logical, native, array: Arc::new(array), shown }
}

/// Three rows of every type.
fn cases() -> Vec<Case> {
    use LogicalType as L;
    let decimal = |v: [Option<i128>; 3], p, s| Decimal128Array::from(v.to_vec()).with_precision_and_scale(p, s).expect("valid");
    let uuid = FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some([7u8; 16]), None, Some([255u8; 16])].into_iter(), 16).expect("16 bytes");
    let micros = |v: [Option<i64>; 3]| TimestampMicrosecondArray::from(v.to_vec());
    vec![
        case(L::Bool, "boolean", BooleanArray::from(vec![Some(true), None, Some(false)]), &[Some("true"), None, Some("false")]),
        case(L::Int16, "smallint", Int16Array::from(vec![Some(i16::MIN), None, Some(7)]), &[Some("-32768"), None, Some("7")]),
        case(L::Int32, "integer", Int32Array::from(vec![Some(i32::MIN), None, Some(7)]), &[Some("-2147483648"), None, Some("7")]),
        case(L::Int64, "bigint", Int64Array::from(vec![Some(i64::MIN), None, Some(7)]), &[Some("-9223372036854775808"), None, Some("7")]),
        case(L::Int32, "bigint", Int32Array::from(vec![Some(-5), None, Some(7)]), &[Some("-5"), None, Some("7")]),
        case(L::Int64, "integer", Int64Array::from(vec![Some(-5), None, Some(7)]), &[Some("-5"), None, Some("7")]),
        case(L::UInt64, "numeric(20,0)", UInt64Array::from(vec![Some(u64::MAX), None, Some(0)]), &[Some("18446744073709551615"), None, Some("0")]),
        case(L::Float32, "real", Float32Array::from(vec![Some(1.1), Some(f32::NAN), Some(-0.0)]), &[Some("1.1"), Some("NaN"), Some("-0")]),
        case(L::Float64, "double precision", Float64Array::from(vec![Some(5e-324), Some(f64::INFINITY), None]), &[Some("5e-324"), Some("Infinity"), None]),
        case(L::Decimal { precision: 12, scale: 4 }, "numeric(12,4)", decimal([Some(-12_345_678), Some(DECIMAL_NAN), Some(0)], 12, 4), &[Some("-1234.5678"), Some("NaN"), Some("0.0000")]),
        case(L::Decimal { precision: 38, scale: 0 }, "numeric", decimal([Some(10i128.pow(37)), Some(DECIMAL_INFINITY), Some(DECIMAL_NEG_INFINITY)], 38, 0), &[Some("10000000000000000000000000000000000000"), Some("Infinity"), Some("-Infinity")]),
        case(L::DecimalText, "numeric", StringArray::from(vec![Some("1.50"), Some("NaN"), Some("-0.000000000000000000000000000000000000000000000000017")]), &[Some("1.50"), Some("NaN"), Some("-0.000000000000000000000000000000000000000000000000017")]),
        case(L::Text, "text", StringArray::from(vec![Some("ä\\N\t\n\\."), Some(""), None]), &[Some("ä\\N\t\n\\."), Some(""), None]),
        case(L::Text, "character varying(5)", StringArray::from(vec![Some("abcde"), None, Some("")]), &[Some("abcde"), None, Some("")]),
        case(L::Bytes, "bytea", BinaryArray::from_opt_vec(vec![Some(&[0, 255][..]), Some(&[][..]), None]), &[Some("\\x00ff"), Some("\\x"), None]),
        case(L::Uuid, "uuid", uuid, &[Some("07070707-0707-0707-0707-070707070707"), None, Some("ffffffff-ffff-ffff-ffff-ffffffffffff")]),
        case(L::Date, "date", Date32Array::from(vec![Some(0), Some(DATE_INFINITY), Some(-2_440_588)]), &[Some("1970-01-01"), Some("infinity"), Some("4714-11-24 BC")]),
        case(L::Time, "time without time zone", Time64MicrosecondArray::from(vec![Some(86_400_000_000), Some(1), None]), &[Some("24:00:00"), Some("00:00:00.000001"), None]),
        case(L::Timestamp, "timestamp without time zone", micros([Some(-1), Some(TIMESTAMP_NEG_INFINITY), None]), &[Some("1969-12-31 23:59:59.999999"), Some("-infinity"), None]),
        case(L::TimestampTz, "timestamp with time zone", micros([Some(0), Some(TIMESTAMP_INFINITY), None]).with_timezone("UTC"), &[Some("1970-01-01 00:00:00+00"), Some("infinity"), None]),
        case(L::Json, "json", StringArray::from(vec![Some("{\"b\": 1,  \"a\": 1.0, \"b\": 2}"), None, Some("null")]), &[Some("{\"b\": 1,  \"a\": 1.0, \"b\": 2}"), None, Some("null")]),
        case(L::Json, "jsonb", StringArray::from(vec![Some("{\"b\":1}"), None, Some("[]")]), &[Some("{\"b\": 1}"), None, Some("[]")]),
        case(L::Opaque, "integer[]", StringArray::from(vec![Some("{1,NULL,3}"), None, Some("{}")]), &[Some("{1,NULL,3}"), None, Some("{}")]),
        case(L::Opaque, "public.mood", StringArray::from(vec![Some("so so"), None, Some("fine")]), &[Some("so so"), None, Some("fine")]),
        case(L::Opaque, "public.pair", StringArray::from(vec![Some("(1,\"a b\")"), None, Some("(,)")]), &[Some("(1,\"a b\")"), None, Some("(,)")]),
        case(L::Opaque, "interval", StringArray::from(vec![Some("1 mon -1 days +00:00:01"), None, Some("00:00:00")]), &[Some("1 mon -1 days +00:00:01"), None, Some("00:00:00")]),
        case(L::Opaque, "bit(3)", StringArray::from(vec![Some("101"), None, Some("000")]), &[Some("101"), None, Some("000")]),
        case(L::Opaque, "time with time zone", StringArray::from(vec![Some("12:00:00+02"), None, Some("24:00:00-03")]), &[Some("12:00:00+02"), None, Some("24:00:00-03")]),
        case(L::Opaque, "int4range", StringArray::from(vec![Some("[1,5)"), Some("empty"), Some("(,3)")]), &[Some("[1,5)"), Some("empty"), Some("(,3)")]),
        case(L::Opaque, "inet", StringArray::from(vec![Some("10.0.0.1/8"), None, Some("::1")]), &[Some("10.0.0.1/8"), None, Some("::1/128")]),
        case(L::Int32, "public.positive", Int32Array::from(vec![Some(1), None, Some(7)]), &[Some("1"), None, Some("7")]),
    ]
}

const USER_TYPES: &str = "CREATE TYPE mood AS ENUM ('fine', 'so so'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN positive AS int CHECK (value > 0)";

/// A table of these cases with key `id`, and its three rows.
fn table_of(name: &str, cases: &[Case]) -> (Arc<TargetTable>, RecordBatch) {
    let mut columns = vec![Column::new("id", LogicalType::Int32, "integer", "int4")];
    columns[0].type_id = 23;
    for (i, c) in cases.iter().enumerate() {
        let mut column = Column::new(format!("c{i}"), c.logical.clone(), c.native, if c.native == "jsonb" { "jsonb" } else { "text" });
        column.type_id = 1;
        columns.push(column);
    }
    let table = TableVersion::new(TableName::new("public", name), columns, vec![0]);
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let arrays = std::iter::once(ids).chain(cases.iter().map(|c| c.array.clone())).collect();
    let batch = RecordBatch::try_new(table.schema.clone(), arrays).expect("the table's columns");
    (target(table, 1, 1), batch)
}

async fn check(server: &Postgres, name: &str, cases: &[Case]) {
    for (i, c) in cases.iter().enumerate() {
        for (row, shown) in c.shown.iter().enumerate() {
            let sql = format!("SET timezone = 'UTC'; SELECT c{i}::text FROM {name} WHERE id = {}", row + 1);
            assert_eq!(server.value(&sql).await.as_deref(), *shown, "{name}: {:?} as {}, row {}", c.logical, c.native, row + 1);
        }
    }
}

#[tokio::test]
async fn every_type_arrives_as_it_was_whatever_the_way() {
    let server = Postgres::start(&[]).await;
    server.sql(USER_TYPES).await;
    for (name, small) in [("few", 1000), ("many", 0)] {
        let cases = cases();
        let (table, batch) = table_of(name, &cases);
        let pipe = Pipe::new(&server, &[]).small_batch(small);
        let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
        run.change(&table, Rows::full(Op::Insert, batch.clone())).await.expect("written");
        run.flush().await.expect("flushed");
        check(&server, name, &cases).await;
        // over themselves
        run.change(&table, Rows::full(Op::Update, batch)).await.expect("written");
        run.flush().await.expect("flushed");
        check(&server, name, &cases).await;
    }
    // chunks: all types by the detour, then those that go straight; each once more by upsert
    for (name, all) in [("detour", true), ("straight", false)] {
        let cases: Vec<Case> = cases().into_iter().filter(|c| all || (c.logical != LogicalType::Opaque && !(c.logical == LogicalType::Int64 && c.native == "integer"))).collect();
        let (table, batch) = table_of(name, &cases);
        let pipe = Pipe::new(&server, &[]);
        let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
        let mut loader = run.connector.writer(WriterRole::Snapshot(1)).await.expect("a writer");
        for (chunk, upsert) in [("one", false), ("two", true)] {
            let flushed = run.load(loader.as_mut(), &table, chunk, batch.clone(), upsert).await.expect("loaded");
            let counts = flushed.tables[&TableId(1)];
            assert_eq!((counts.inserts, counts.updates), if upsert { (0, 3) } else { (3, 0) });
            check(&server, name, &cases).await;
        }
    }
}

#[tokio::test]
async fn copy_bytes_pass_untouched() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE s (id int PRIMARY KEY, a text, b interval); INSERT INTO s SELECT i, 'row ' || i, i * interval '1 hour' FROM generate_series(1, 100) i").await;
    let client = server.client("postgres").await;
    let stream = client.copy_out("COPY s TO STDOUT (FORMAT binary)").await.expect("copies");
    let all: Vec<bytes::Bytes> = futures::TryStreamExt::try_collect(stream).await.expect("copies");
    let all = all.concat();
    let tuples = bytes::Bytes::copy_from_slice(&all[19..all.len() - 2]);
    let mut t = small_table("t");
    (t.columns[2].logical, t.columns[2].native) = (LogicalType::Opaque, "interval".into());
    (t.columns[2].pg_type, t.columns[0].type_id, t.columns[1].type_id, t.columns[2].type_id) = ("interval".into(), 23, 25, 1186);
    let table = target(TableVersion::new(t.name, t.columns, t.key), 1, 1);
    let pipe = Pipe::new(&server, &[]);
    let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
    let prepared = run.connector.prepare(&[(*table).clone()]).await.expect("no faults");
    assert!(prepared[0].wire.is_some());
    run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
    let mut loader = run.connector.writer(WriterRole::Snapshot(1)).await.expect("a writer");
    for (chunk, upsert) in [("one", false), ("two", true)] {
        let payload = Payload::Wire { format: standpipe::data::WireFormat::PostgresCopyBinary, bytes: tuples.clone(), rows: 100 };
        loader.write(Input::Load { table: table.clone(), chunk: chunk.into(), payload, upsert }).await.expect("written");
        let kind = MarkKind::Chunk { table: TableId(1), generation: 1, chunk: chunk.into() };
        loader.flush(&Mark { kind, seq: 0, previous: 0, checkpoint: None, position: None }).await.expect("flushed");
        let same = server.value("SELECT count(*) FROM s JOIN t USING (id, a, b)").await;
        assert_eq!(same.as_deref(), Some("100"));
    }
}

#[tokio::test]
async fn a_value_that_can_not_be_held_is_named_or_null() {
    let server = Postgres::start(&[]).await;
    let bad = [(Op::Insert, None, 1, Some("fine"), Some("")), (Op::Insert, None, 2, Some("a\0b"), Some(""))];
    for small in [0, 1000] {
        let name = format!("t{small}");
        let table = target(small_table(&name), 1, 1);
        let pipe = Pipe::new(&server, &[]).small_batch(small);
        let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
        run.change(&table, changes(&table.table, &bad)).await.expect("written");
        let e = run.flush().await.expect_err("a NUL");
        assert_eq!((e.kind(), e.table()), (Kind::Lossy, Some(format!("public.{name}").as_str())));
        assert!(e.message().contains("column \"a\"") && e.detail().is_some_and(|d| d.contains("key (id) = (2)")), "{e}");
        assert_eq!(contents(&server, &name).await, "");
        let pipe = Pipe { uuid: pipe.uuid, ..Pipe::new(&server, &[("on-lossy", "null")]).small_batch(small) };
        let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        run.change(&table, changes(&table.table, &bad)).await.expect("written");
        let flushed = run.flush().await.expect("flushed");
        assert_eq!(flushed.lossy[&TableId(1)].values(), 1);
        assert_eq!(contents(&server, &name).await, "(1,fine,\"\") (2,,\"\")");
    }
    // what only the server sees is found row by row
    server.sql("CREATE TABLE n (id int PRIMARY KEY, a varchar(3), b text)").await;
    let table = target(small_table("n"), 1, 1);
    let mut run = Pipe::new(&server, &[]).begin(std::slice::from_ref(&table)).await.expect("begins");
    run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
    let long = [(Op::Insert, None, 1, Some("abc"), Some("")), (Op::Insert, None, 2, Some("abcd"), Some(""))];
    run.change(&table, changes(&table.table, &long)).await.expect("written");
    let e = run.flush().await.expect_err("too long");
    assert!(e.table() == Some("public.n") && e.detail().is_some_and(|d| d.contains("key (id) = (2)")), "{e}");
}
