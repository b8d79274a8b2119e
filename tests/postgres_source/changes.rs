//! What single changes become.

use super::*;
use standpipe::error::Kind;

/// Columns whose values are read back through both ways: name, type, values as literals.
const TYPES: &[(&str, &[&str])] = &[
    ("bool", &["true", "false"]),
    ("int2", &["-32768", "32767"]),
    ("int4", &["-2147483648", "2147483647"]),
    ("int8", &["-9223372036854775808", "9223372036854775807"]),
    ("float4", &["'NaN'", "'-Infinity'", "1.17549435e-38", "'-0'", "0.1"]),
    ("float8", &["'NaN'", "'Infinity'", "5e-324", "1.7976931348623157e308", "0.1"]),
    ("numeric(15,2)", &["-9999999999999.99", "0.01", "'NaN'", "0"]),
    ("numeric(38,10)", &["9999999999999999999999999999.9999999999", "-0.0000000001"]),
    ("numeric", &["1.50", "'NaN'", "'Infinity'", "'-Infinity'", "1e100"]),
    ("numeric(45,5)", &["1234567890123456789012345678901234567890.12345"]),
    ("text", &["''", "'it''s'", "E'tab\\tnew\\nline\\\\.'", "'😀é'"]),
    ("varchar(10)", &["'abc  '"]),
    ("char(6)", &["'abc'"]),
    ("name", &["'abc'"]),
    ("bytea", &["'\\x00ff10'", "''"]),
    ("uuid", &["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]),
    ("date", &["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "'1969-12-31'"]),
    ("time", &["'24:00:00'", "'00:00:00.000001'"]),
    ("timestamp", &["'infinity'", "'-infinity'", "'4713-01-01 00:00:00 BC'", "'294246-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.5'"]),
    ("timestamptz", &["'infinity'", "'2024-03-31 02:30:00+01'", "'0001-01-01 00:00:00+00 BC'"]),
    ("json", &["'{\"b\": 1.0, \"a\":  2, \"a\": 3}'", "'null'"]),
    ("jsonb", &["'{\"b\": 1.0, \"a\":  2}'", "'[]'"]),
    ("interval", &["'1 mon -1 day +00:00:01'", "'-178000000 years'"]),
    ("timetz", &["'24:00:00-15:59'", "'12:00+05:30'"]),
    ("inet", &["'192.168.1.1'", "'10.0.0.0/8'", "'::1'"]),
    ("cidr", &["'10.0.0.0/8'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("bit varying(7)", &["'10101'"]),
    ("money", &["'-1.50'"]),
    ("xml", &["'<a>&amp;</a>'"]),
    ("point", &["'(1.5,-2)'"]),
    ("tsvector", &["'a fat cat'"]),
    ("int4range", &["'[1,5)'", "'empty'", "'(,)'"]),
    ("int4[]", &["'{1,NULL,3}'", "'[0:1]={1,2}'", "'{{1,2},{3,4}}'", "'{}'"]),
    ("text[]", &["'{\"a,b\",\"c\\\"d\",NULL,\"\"}'"]),
    ("inet[]", &["'{192.168.1.1}'"]),
    ("public.mood", &["'so so'"]),
    ("public.mood[]", &["'{\"so so\",fine}'"]),
    ("public.pair", &["'(1,\"a b\")'"]),
    ("public.positive", &["7"]),
    ("\"char\"", &["'x'"]),
    ("oid", &["4294967295"]),
    ("regclass", &["'pg_class'"]),
];

#[tokio::test]
async fn every_type_is_the_same_by_snapshot_and_by_log() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TYPE mood AS ENUM ('so so', 'fine'); CREATE TYPE pair AS (n int, t text); CREATE DOMAIN positive AS numeric(9,3) CHECK (value > 0)").await;
    let columns = TYPES.iter().enumerate().map(|(i, (t, _))| format!("c{i} {t}")).collect::<Vec<_>>().join(", ");
    server.sql(&format!("CREATE TABLE types (id int PRIMARY KEY, {columns}, g int GENERATED ALWAYS AS (id * 2) STORED)")).await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["types"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let rows = TYPES.iter().map(|(_, v)| v.len()).max().unwrap_or(0);
    for row in 0..=rows {
        let values = TYPES.iter().map(|(_, v)| v.get(row).copied().unwrap_or("NULL")).collect::<Vec<_>>().join(", ");
        server.sql(&format!("INSERT INTO types VALUES ({row}, {values})")).await;
    }
    let mut extractor = pipe.after(&anchor, &tables).await;
    let mut by_log = Copy::default();
    until(extractor.as_mut(), &end(&pipe).await).await.iter().for_each(|b| by_log.apply(b));
    let mut instant = pipe.anchor(AnchorKind::Instant, &[], 1).await;
    let mut by_snapshot = Copy::default();
    by_snapshot.load(&tables[0], &read(instant.readers[0].as_mut(), &tables[0], 1000, &Want::default()).await);
    assert_eq!(by_log.rows.len(), rows + 1);
    for (key, row) in &by_snapshot.rows {
        for (i, (name, _)) in TYPES.iter().enumerate() {
            assert_eq!(row[i + 1], by_log.rows[key][i + 1], "{name}, row {key:?}");
        }
    }
    // and they are what the server says they are
    let texts = TYPES.iter().enumerate().filter(|(_, (t, _))| !matches!(*t, "numeric(15,2)" | "char(6)" | "inet"));
    for (i, (name, _)) in texts.filter(|(i, _)| tables[0].columns[i + 1].logical.arrow() == arrow::datatypes::DataType::Utf8) {
        for row in 0..=rows {
            let told = server.value(&format!("SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SELECT c{i}::text FROM types WHERE id = {row}")).await;
            assert_eq!(by_log.rows[&vec![Some(row.to_string())]][i + 1], told, "{name}");
        }
    }
}

#[tokio::test]
async fn absent_columns_keys_and_full_identity() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE t (id int PRIMARY KEY, big text, n int); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; CREATE TABLE f (LIKE t INCLUDING ALL); ALTER TABLE f REPLICA IDENTITY FULL").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t", "f"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    for name in ["t", "f"] {
        server.sql(&format!("INSERT INTO {name} VALUES (1, repeat('y', 50000), 0); UPDATE {name} SET n = 1; UPDATE {name} SET id = 2; DELETE FROM {name}")).await;
    }
    let mut extractor = pipe.after(&anchor, &tables).await;
    let mut parts = BTreeMap::new();
    for batch in until(extractor.as_mut(), &end(&pipe).await).await {
        for part in batch.parts {
            let Content::Rows(rows) = part.content else { panic!("rows") };
            parts.entry(part.table.name.name.clone()).or_insert_with(Vec::new).push(rows);
        }
    }
    for (name, big) in [("t", false), ("f", true)] {
        let rows = &parts[name];
        let all: Vec<_> = rows.iter().flat_map(|r| (0..r.len()).map(move |i| (r, i))).collect();
        let ops: Vec<_> = all.iter().map(|(r, i)| r.ops[*i]).collect();
        assert_eq!(ops, [Op::Insert, Op::Update, Op::Update, Op::Delete], "{name}");
        let has = |(r, i): &(&standpipe::data::Rows, usize)| r.present.as_ref().is_none_or(|p| p[1].as_ref().is_none_or(|m| m.value(*i)));
        assert_eq!(all.iter().map(has).collect::<Vec<_>>(), [true, big, big, true], "{name}");
        let old = all[2].0.old_keys.as_ref().expect("the key changed");
        assert_eq!((old.set.value(all[2].1), text(old.keys.column(0), all[2].1).as_deref()), (true, Some("1")));
        assert!(all[1].0.old_keys.as_ref().is_none_or(|o| !o.set.value(all[1].1)));
        assert_eq!((text(all[3].0.after.column(0), all[3].1).as_deref(), text(all[3].0.after.column(2), all[3].1)), (Some("2"), None));
    }
}

#[tokio::test]
async fn structures_change_in_the_middle() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE t (id int PRIMARY KEY, a text, b int)").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    let mut seen = Vec::new();
    for sql in [
        "INSERT INTO t VALUES (1, 'x', 1)",
        "ALTER TABLE t ADD c numeric(9,3) DEFAULT 7; INSERT INTO t VALUES (2, 'x', 1, 1.5)",
        "ALTER TABLE t RENAME a TO z; INSERT INTO t VALUES (3, 'x', 1)",
        "ALTER TABLE t DROP b; ALTER TABLE t ALTER c TYPE text; INSERT INTO t VALUES (4, 'x', 'y'); TRUNCATE t; INSERT INTO t VALUES (5)",
    ] {
        server.sql(sql).await;
        for batch in until(extractor.as_mut(), &end(&pipe).await).await {
            for (i, part) in batch.parts.iter().enumerate() {
                match &part.content {
                    Content::Rows(r) => seen.push(format!("{} rows of {} columns", r.len(), r.after.num_columns())),
                    Content::Truncate => seen.push("truncate".into()),
                    Content::Schema(c) => seen.push(format!("{:?}", c.changes)),
                }
                assert!(matches!(part.content, Content::Rows(_)) || i + 1 == batch.parts.len(), "a barrier ends its batch");
            }
        }
    }
    let expected = [
        "1 rows of 3 columns",
        "[Add(\"c\")]",
        "1 rows of 4 columns",
        "[Rename { from: \"a\", to: \"z\" }]",
        "1 rows of 4 columns",
        "[Drop(\"b\"), Retype(\"c\")]",
        "1 rows of 3 columns",
        "truncate",
        "1 rows of 3 columns",
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn partitions_are_one_table_and_marked_transactions_are_left_out() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE p (id int PRIMARY KEY, t text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 (t text, id int NOT NULL); ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20); INSERT INTO p VALUES (1, 'a'), (11, 'b')").await;
    let pipe = Pipe::new(&server, &[("forwarding-pipe-requests", "false")]);
    let tables = pipe.tables(&["p"]).await;
    let mut anchor = pipe.anchor(AnchorKind::Durable, &tables, 1).await;
    let mut copy = Copy::default();
    copy.load(&tables[0], &read(anchor.readers[0].as_mut(), &tables[0], 1000, &Want::default()).await);
    server.sql("BEGIN; SELECT pg_logical_emit_message(true, 'standpipe', 'another pipe'); INSERT INTO p VALUES (2, 'not me'); COMMIT").await;
    server.sql("INSERT INTO p VALUES (3, 'c'), (12, 'd'); UPDATE p SET id = 13 WHERE id = 3").await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    let mut marked = 0;
    for batch in until(extractor.as_mut(), &end(&pipe).await).await {
        marked += batch.txns.iter().filter(|t| t.origin.as_deref() == Some("another pipe")).count();
        copy.apply(&batch);
    }
    let ids: Vec<_> = copy.rows.keys().map(|k| k[0].clone().unwrap_or_default()).collect();
    assert_eq!((ids.join(" "), marked), ("1 11 12 13".to_string(), 1));
}

#[tokio::test]
async fn confirming_frees_the_log_also_when_nothing_happens_here() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE quiet (id int PRIMARY KEY); CREATE TABLE busy (id int)").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["quiet"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    let confirmed = "SELECT confirmed_flush_lsn FROM pg_replication_slots";
    let before = server.value(confirmed).await;
    server.sql("INSERT INTO busy SELECT generate_series(1, 10000)").await;
    let goal = end(&pipe).await;
    let batches = until(extractor.as_mut(), &goal).await;
    assert!(batches.iter().all(|b| b.parts.is_empty()));
    assert_eq!(server.value(confirmed).await, before, "nothing is confirmed that was not durable");
    let position = batches.last().expect("batches").position.clone();
    extractor.confirm(&position).await.expect("confirms");
    let arrives = async {
        while server.value(confirmed).await.as_deref() != Some(position.text.as_str()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), arrives).await.expect("the slot is confirmed");
    // and a restart goes on from there
    drop(extractor);
    server.sql("INSERT INTO quiet VALUES (1)").await;
    let mut extractor = pipe.extractor();
    extractor.connect(&resume(&position, &anchor.identity, None, &tables)).await.expect("connects");
    assert_eq!(some(extractor.as_mut()).await.rows(), 1);
}

#[tokio::test]
async fn a_large_transaction_comes_in_pieces_while_nobody_reads() {
    let mut pipe_config = Config::default();
    pipe_config.set("source.receive-buffer", "64kB", standpipe::config::Origin::CommandLine).expect("valid");
    let server = Postgres::start(&[("wal_sender_timeout", "2s")]).await;
    server.sql("CREATE TABLE t (id int PRIMARY KEY, t text)").await;
    let mut pipe = Pipe::new(&server, &[]);
    pipe.config = pipe_config;
    let tables = pipe.tables(&["t"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    server.sql("INSERT INTO t SELECT i, repeat('z', 100) FROM generate_series(1, 60000) i").await;
    let first = some(extractor.as_mut()).await;
    assert!(!first.ends_transaction && first.rows() == LIMIT.rows);
    // longer than the server waits for a sign of life
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut rows = first.rows();
    loop {
        let batch = extractor.next(&LIMIT).await.expect("the connection is alive").expect("a batch");
        rows += batch.rows();
        if batch.ends_transaction && rows > 0 {
            break;
        }
        assert_eq!(batch.position, first.position, "a transaction has no position before its end");
    }
    assert_eq!(rows, 60000);
}

#[tokio::test]
async fn a_failed_connection_is_an_error_of_its_kind() {
    let mut server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE t (id int PRIMARY KEY)").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    server.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots").await;
    let e = loop {
        if let Err(e) = extractor.next(&LIMIT).await {
            break e;
        }
    };
    assert!(matches!(e.kind(), Kind::Busy | Kind::ConnectionLost), "{e}");
    let again = resume(&anchor.position, &anchor.identity, None, &tables);
    extractor.connect(&again).await.expect("the same value connects again");
    server.kill();
    let e = loop {
        if let Err(e) = extractor.next(&LIMIT).await {
            break e;
        }
    };
    assert!(matches!(e.kind(), Kind::Busy | Kind::ConnectionLost), "{e}");
    let e = extractor.connect(&again).await.expect_err("it is down");
    assert_eq!(e.kind(), Kind::Unreachable, "{e}");
    server.boot().await;
    extractor.connect(&again).await.expect("it is up");
}
