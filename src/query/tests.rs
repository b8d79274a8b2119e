//! The engine on a catalog of its own, without a server.

use super::*;
use crate::config::Origin;
use crate::data::{Column, LogicalType, TableName, TableVersion};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::sql::sqlparser::{dialect::PostgreSqlDialect, parser::Parser};
use standpipe_catalog::{Catalog, Change, Expect, Oid, OpenOptions, Source, SourceState, Sources, Tables, Timestamp, Uuid};

/// An engine, a catalog with the source `shop` and its tables, and a session's settings.
pub struct Bench {
    _dir: tempfile::TempDir,
    catalog: Catalog,
    engine: QueryEngine,
    settings: Config,
    database: String,
    pub extra: Vec<ExtraTable>,
}

fn table(schema: &str, name: &str, columns: Vec<(&str, LogicalType, &str, &str)>) -> TableVersion {
    let columns = columns.into_iter().map(|(n, l, native, pg)| Column::new(n, l, native, pg)).collect();
    TableVersion::new(TableName::new(schema, name), columns, vec![0])
}

impl Bench {
    pub fn new() -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let catalog = Catalog::open(dir.path(), OpenOptions { fsync: false, ..OpenOptions::default() }).expect("a catalog");
        let (uuid, now) = (Uuid::new_v4(), Timestamp(0));
        let source = Source {
            uuid,
            oid: Oid(16384),
            name: "shop".into(),
            kind: "generator".into(),
            options: Default::default(),
            comment: Some("the shop".into()),
            state: SourceState::Normal,
            created_at: now,
            updated_at: now,
        };
        let amount = ("amount", LogicalType::Decimal { precision: 15, scale: 2 }, "numeric(15,2)", "numeric");
        let orders = table("public", "orders", vec![("id", LogicalType::Int64, "bigint", "int8"), amount, ("note", LogicalType::Json, "jsonb", "jsonb"), ("tag", LogicalType::Uuid, "uuid", "uuid")]);
        let mixed = table("public", "Mixed", vec![("a", LogicalType::Int32, "integer", "int4"), ("B", LogicalType::Text, "text", "text")]);
        let mut changes = vec![Change::put::<Sources>(&uuid, &source, Expect::Absent)];
        for (i, t) in [orders, mixed].iter().enumerate() {
            let id = Uuid::new_v4();
            let mut record = crate::synced::to_record(t, uuid, id, Oid(16400 + i as u32), now).expect("a record");
            record.comment = (i == 0).then(|| "all orders".to_string());
            changes.push(Change::put::<Tables>(&(uuid, id), &record, Expect::Absent));
        }
        catalog.write(changes).wait().expect("written");
        let mut config = Config::default();
        config.set("catalog.fsync", "off", Origin::CommandLine).expect("valid");
        let engine = QueryEngine::new(Arc::new(config.clone()), dir.path().to_path_buf()).expect("an engine");
        Bench { _dir: dir, catalog, engine, settings: config, database: "shop".into(), extra: vec![] }
    }
    pub fn env(&self) -> QueryEnv<'_> {
        QueryEnv {
            database: &self.database,
            user: "standpipe",
            admin: true,
            pid: 7,
            snapshot: self.catalog.snapshot(),
            settings: &self.settings,
            extra_tables: self.extra.clone(),
        }
    }
    pub async fn plan(&self, sql: &str, declared: &[Option<u32>]) -> Result<Planned> {
        let statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap_or_else(|e| panic!("{sql}: {e}")).remove(0);
        self.engine.plan(&self.env(), &statement, declared).await
    }
    /// Rows as text, columns divided by `|`, NULL as empty.
    pub async fn run(&self, sql: &str, values: Vec<ScalarValue>) -> Result<Vec<String>> {
        let planned = self.plan(sql, &[]).await?;
        self.fetch(&planned, values).await
    }
    async fn fetch(&self, planned: &Planned, values: Vec<ScalarValue>) -> Result<Vec<String>> {
        let mut stream = self.engine.execute(&self.env(), planned, values).await?;
        let mut out = Vec::new();
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(error::map)?;
            assert_eq!(batch.schema(), planned.schema);
            let options = FormatOptions::default();
            let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).expect("shown")).collect();
            out.extend((0..batch.num_rows()).map(|i| columns.iter().map(|c| c.value(i).to_string()).collect::<Vec<_>>().join("|")));
        }
        Ok(out)
    }
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        self.run(sql, vec![]).await.unwrap_or_else(|e| panic!("{sql}\n{e} {:?}", std::error::Error::source(&e).map(|s| s.to_string())))
    }
    pub async fn state(&self, sql: &str) -> &'static str {
        let e = self.run(sql, vec![]).await.err().unwrap_or_else(|| panic!("{sql} did not fail"));
        e.sqlstate()
    }
    async fn columns(&self, sql: &str) -> Vec<String> {
        let planned = self.plan(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
        planned.schema.fields().iter().map(|f| format!("{} {}", f.name(), f.metadata()[types::PG_TYPE_KEY])).collect()
    }
}

#[tokio::test]
async fn expressions_have_postgresqls_names_and_types() {
    let b = Bench::new();
    assert_eq!(b.columns("SELECT 1, 'a', 1.5, true, NULL").await, ["?column? int4", "?column? text", "?column? numeric", "?column? bool", "?column? text"]);
    assert_eq!(b.columns("SELECT count(*), now(), current_user, version()").await, ["count int8", "now timestamptz", "current_user name", "version text"]);
    assert_eq!(b.columns("SELECT id, note, note::text AS t, tag, amount FROM orders").await, ["id int8", "note jsonb", "t text", "tag uuid", "amount numeric"]);
    assert_eq!(b.columns("SELECT q.n FROM (SELECT note AS n FROM orders) q").await, ["n jsonb"]);
    assert_eq!(b.rows("SELECT 1, 1, 2 + 3").await, ["1|1|5"]);
    assert_eq!(b.rows("VALUES (1, 'x'), (2, NULL)").await, ["1|x", "2|"]);
    assert_eq!(b.rows("SELECT '{1,2}'::int[], 2 = ANY('{1,2}'::int[]), 'r' = ANY('{r,v}')").await, ["[1, 2]|true|true"]);
}

#[tokio::test]
async fn errors_have_their_sqlstate() {
    let b = Bench::new();
    for (sql, state) in [
        ("SELECT * FROM nothing", "42P01"),
        ("SELECT * FROM nowhere.public.t", "3D000"),
        ("SELECT nothing FROM orders", "42703"),
        ("SELECT nothing(1)", "42883"),
        ("SELECT a.id FROM orders a, orders b WHERE id = 1", "42702"),
        ("SELECT 1 / 0", "22012"),
        ("SELECT 'x'::int", "22P02"),
        ("SELECT 3000000000::int", "22003"),
        ("SELECT 2147483647 + 1", "22003"),
        ("SELECT x * 4 FROM (VALUES (1), (2000000000)) v(x)", "22003"),
        ("INSERT INTO orders VALUES (1)", "0A000"),
        ("WITH x AS (DELETE FROM orders RETURNING id) SELECT * FROM x", "0A000"),
        ("CREATE TABLE t (a int)", "0A000"),
        ("SELECT 'nothing'::regclass", "42P01"),
        ("SELECT current_setting('no.such.setting')", "42704"),
        ("SELECT id, count(*) FROM orders", "42803"),
        ("SELECT (SELECT * FROM (VALUES (1), (2)) v)", "21000"),
        ("SELECT 'x'::uuid", "22P02"),
    ] {
        assert_eq!(b.state(sql).await, state, "{sql}");
    }
    let e = b.plan("SELECT * FROM nothing", &[]).await.expect_err("42P01");
    assert_eq!(e.hint(), Some("A source's table can be read when it is synced: SYNC TABLE nothing FROM SOURCE shop."));
}

#[tokio::test]
async fn parameters_are_inferred_and_declared() {
    let b = Bench::new();
    let planned = b.plan("SELECT $1, id FROM orders WHERE id = $2 AND amount > $3", &[]).await.expect("planned");
    assert_eq!(planned.parameters.iter().map(|p| p.0).collect::<Vec<_>>(), [25, 20, 1700]);
    let planned = b.plan("SELECT $1", &[Some(23)]).await.expect("planned");
    assert_eq!(planned.parameters[0], (23, arrow::datatypes::DataType::Int32));
    assert_eq!(b.run("SELECT $1 || 'b'", vec![ScalarValue::from("a")]).await.expect("runs"), ["ab"]);
    assert_eq!(b.run("SELECT 1 WHERE 5 = $1", vec![ScalarValue::Int64(Some(5))]).await.expect("runs"), ["1"]);
}

#[tokio::test]
async fn subqueries_and_lists() {
    let b = Bench::new();
    assert_eq!(b.rows("SELECT x, (SELECT y FROM (VALUES (1, 'a'), (2, 'b')) v(k, y) WHERE k = x) FROM (VALUES (1), (2), (3)) t(x) ORDER BY x").await, ["1|a", "2|b", "3|"]);
    assert_eq!(b.rows("SELECT ARRAY(SELECT x FROM (VALUES (2), (1)) t(x) ORDER BY 1)").await, ["[1, 2]"]);
    assert_eq!(b.rows("SELECT ARRAY(SELECT x FROM (VALUES (2)) t(x) WHERE x > 5)").await, ["[]"]);
    // what DataFusion can't join: a comparison other than equality, a correlated list, lateral items
    assert_eq!(b.rows("SELECT x, (SELECT y FROM (VALUES (1, 'a'), (2, 'b')) v(k, y) WHERE k > x) FROM (VALUES (1), (2)) t(x) ORDER BY x").await, ["1|b", "2|"]);
    assert_eq!(b.rows("SELECT x, ARRAY(SELECT k FROM (VALUES (1), (2)) v(k) WHERE k <= x ORDER BY k) FROM (VALUES (0), (2)) t(x) ORDER BY x").await, ["0|[]", "2|[1, 2]"]);
    assert_eq!(b.rows("SELECT t.a, s.i FROM (SELECT ARRAY[7, 8] AS a) t, generate_subscripts(t.a, 1) AS s(i)").await, ["[7, 8]|1", "[7, 8]|2"]);
    assert_eq!(b.rows("SELECT t.x, l.k FROM (VALUES (1), (5)) t(x) LEFT JOIN LATERAL (SELECT k FROM (VALUES (3), (4)) v(k) WHERE k > t.x) l ON true ORDER BY 1, 2").await, ["1|3", "1|4", "5|"]);
    assert_eq!(b.rows("SELECT generate_series(1, 3)").await, ["1", "2", "3"]);
    assert_eq!(b.rows("SELECT i FROM generate_series(1, 3) AS i").await, ["1", "2", "3"]);
}

#[tokio::test]
async fn system_tables_describe_the_database() {
    let b = Bench::new();
    assert_eq!(b.rows("SELECT relname, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'public' ORDER BY 1").await, ["Mixed|r", "Mixed_pkey|i", "orders|r", "orders_pkey|i"]);
    assert_eq!(
        b.rows("SELECT attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0 ORDER BY attnum").await,
        ["id|bigint|", "amount|numeric|", "note|jsonb|", "tag|uuid|"]
    );
    assert_eq!(b.rows("SELECT obj_description('public.orders'::regclass, 'pg_class'), 'orders'::regclass, '\"Mixed\"'::regclass::text").await, ["all orders|orders|\"Mixed\""]);
    assert_eq!(b.rows("SELECT datname FROM pg_database ORDER BY 1").await, ["shop", "standpipe"]);
    assert_eq!(b.rows("SELECT typname, typreceive FROM pg_type WHERE typreceive != 0 AND typreceive::text = 'array_recv' AND typname = '_int4'").await, ["_int4|array_recv"]);
    assert_eq!(b.rows("SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'amount'").await, ["orders|amount|numeric"]);
    assert_eq!(b.rows("SELECT pg_get_constraintdef(oid), conkey FROM pg_constraint WHERE conrelid = 'orders'::regclass").await, ["PRIMARY KEY (id)|[1]"]);
    assert_eq!(b.rows("SELECT setting FROM pg_settings WHERE name = 'TimeZone'").await, ["UTC"]);
    assert_eq!(b.rows("SELECT count(*) FROM pg_locks").await, ["0"]);
    assert_eq!(b.rows("SELECT current_database(), current_schema(), pg_backend_pid(), current_setting('server_version_num')::int >= 150000").await, ["shop|public|7|true"]);
}

#[tokio::test]
async fn values_are_written_as_postgresql_writes_them() {
    let mut b = Bench::new();
    b.settings.set("TimeZone", "Asia/Kolkata", Origin::Session).expect("a zone");
    assert_eq!(b.rows("SELECT '2023-11-05 01:40-07:00'::timestamptz::text, '2023-11-05 01:40'::timestamptz::text").await, ["2023-11-05 14:10:00+05:30|2023-11-05 01:40:00+05:30"]);
    assert_eq!(b.rows("SELECT timestamp '2020-01-02 03:04:05.060'::text, ARRAY['a', 'b c', NULL]::text, 1e20::float8::text, 0.1::float8::text").await, ["2020-01-02 03:04:05.06|{a,\"b c\",NULL}|1e+20|0.1"]);
    assert_eq!(b.rows("SELECT '\\x00ff'::bytea::text, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid::text").await, ["\\x00ff|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]);
}

/// A bench whose database is a generator with its tables synced.
async fn generator() -> Bench {
    use crate::plugin::Open;
    let mut b = Bench::new();
    let snapshot = b.catalog.snapshot();
    let (shop, source) = snapshot.named::<Sources>("shop").expect("the source");
    let (uuid, mut record) = (Uuid::new_v4(), source.value.clone());
    (record.uuid, record.name, record.oid) = (uuid, "gen".into(), Oid(16500));
    record.options.insert("rows".into(), standpipe_catalog::OptionValue::Plain("100".into()));
    let mut changes = vec![Change::put::<Sources>(&uuid, &record, Expect::Absent)];
    let (plugin, request) = {
        let cx = b.engine.context(&b.env(), vec![]).expect("a context");
        source_table::open_request(&cx, "shop").expect("a plugin")
    };
    let Open::Source(open) = plugin.open else { panic!("not a source") };
    for (i, t) in open(request).expect("opens").tables(None).await.expect("tables").iter().enumerate() {
        let id = Uuid::new_v4();
        changes.push(Change::put::<Tables>(&(uuid, id), &crate::synced::to_record(t, uuid, id, Oid(16510 + i as u32), Timestamp(0)).expect("a record"), Expect::Absent));
    }
    b.catalog.write(changes).wait().expect("written");
    assert_ne!(shop, uuid);
    b.database = "gen".into();
    b
}

#[tokio::test]
async fn rows_of_a_source_are_read_with_its_filters() {
    let b = generator().await;
    assert_eq!(b.rows("SELECT count(*) FROM customers").await, ["100"]);
    assert_eq!(b.rows("SELECT count(*) FROM gen.shop.customers c JOIN shop.customers d USING (id)").await, ["100"]);
    assert_eq!(b.rows("SELECT id FROM customers WHERE id = 7").await, ["7"]);
    assert_eq!(b.rows("SELECT count(*) FROM (SELECT * FROM orders LIMIT 3) o").await, ["3"]);
    // the filter goes to the source: no filter is left above its scan
    let plan = b.rows("EXPLAIN SELECT id FROM customers WHERE id = 7").await.join("\n");
    assert!(!plan.contains("FilterExec") && plan.contains("SourceScan: gen.shop.customers, columns=[id], filters=["), "{plan}");
    // a synced table that the source has no more
    let gone = Bench::new();
    assert_eq!(gone.state("SELECT * FROM orders").await, "42P01");
}

#[tokio::test]
async fn explain_is_one_column() {
    let b = Bench::new();
    assert_eq!(b.columns("EXPLAIN SELECT 1").await, ["QUERY PLAN text"]);
    assert!(!b.rows("EXPLAIN ANALYZE SELECT count(*) FROM pg_class").await.is_empty());
}
