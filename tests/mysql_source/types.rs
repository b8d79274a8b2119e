//! Every type, the same by snapshot and by changes, and as the server itself shows it.

use super::*;

/// Column, type, value as SQL, what arrives. Of every server.
const TYPES: &[(&str, &str, &str)] = &[
    ("tinyint(1)", "-1", "-1"),
    ("tinyint(1)", "127", "127"),
    ("tinyint unsigned", "255", "255"),
    ("smallint", "-32768", "-32768"),
    ("smallint unsigned", "65535", "65535"),
    ("mediumint", "-8388608", "-8388608"),
    ("mediumint unsigned", "16777215", "16777215"),
    ("int", "-2147483648", "-2147483648"),
    ("int unsigned", "4294967295", "4294967295"),
    ("bigint", "-9223372036854775808", "-9223372036854775808"),
    ("bigint unsigned", "18446744073709551615", "18446744073709551615"),
    ("int(5) zerofill", "42", "42"),
    ("float", "1.1", "1.1"),
    ("float", "-3.4e38", "-3.4e38"),
    ("double", "1.7976931348623157e308", "1.7976931348623157e308"),
    ("double", "-0.0000001", "-1e-7"),
    ("decimal(10,2)", "-12345678.90", "-12345678.90"),
    ("decimal(38,10)", "1234567890123456789012345678.0123456789", "1234567890123456789012345678.0123456789"),
    ("decimal(65,30)", "-12345678901234567890123456789012345.012345678901234567890123456789", "-12345678901234567890123456789012345.012345678901234567890123456789"),
    ("decimal(9,9)", "0.000000001", "0.000000001"),
    ("bit(1)", "b'1'", "true"),
    ("bit(5)", "b'10101'", "10101"),
    ("bit(64)", "b'1000000000000000000000000000000000000000000000000000000000000001'", "1000000000000000000000000000000000000000000000000000000000000001"),
    ("date", "'1000-01-01'", "1000-01-01"),
    ("date", "'9999-12-31'", "9999-12-31"),
    ("datetime(6)", "'1969-12-31 23:59:59.999999'", "1969-12-31T23:59:59.999999"),
    ("datetime", "'2024-02-29 12:34:56'", "2024-02-29T12:34:56"),
    ("datetime(3)", "'0001-01-01 00:00:00.001'", "0001-01-01T00:00:00.001"),
    ("timestamp(6) null", "'2038-01-19 03:14:07.999999'", "2038-01-19T03:14:07.999999Z"),
    ("timestamp null", "'1970-01-01 00:00:01'", "1970-01-01T00:00:01Z"),
    ("time", "'838:59:59'", "838:59:59"),
    ("time", "'-838:59:59'", "-838:59:59"),
    ("time(6)", "'-01:00:00.000001'", "-01:00:00.000001"),
    ("time(2)", "'-00:00:00.10'", "-00:00:00.10"),
    ("time(4)", "'23:59:59.1234'", "23:59:59.1234"),
    ("year", "0", "0"),
    ("year", "1901", "1901"),
    ("year", "2155", "2155"),
    ("char(5)", "'ab'", "ab"),
    ("char(5)", "'ab   '", "ab"),
    ("varchar(300)", "'  é😀 \\\\ \\' \"\t'", "  é😀 \\ ' \"\t"),
    ("varchar(9) character set latin1", "'é€'", "é€"),
    ("varchar(9) character set cp1251", "'жя'", "жя"),
    ("varchar(9) character set utf16", "'a😀'", "a😀"),
    ("varchar(9) character set ucs2", "'aé'", "aé"),
    ("varchar(9) character set utf32", "'a😀'", "a😀"),
    ("char(9) character set utf8", "'aé'", "aé"),
    ("text", "repeat('x', 60000)", ""),
    ("mediumtext", "repeat('xyz', 100000)", ""),
    ("binary(4)", "x'01'", "01000000"),
    ("binary(4)", "x'00000000'", "00000000"),
    ("varbinary(9)", "x'0100'", "0100"),
    ("blob", "x'00ff27'", "00ff27"),
    ("tinyblob", "''", ""),
    ("enum('a','it''s','')", "'it''s'", "it's"),
    ("enum('a\\\\b','c\\nd')", "'a\\\\b'", "a\\b"),
    ("set('a\\\\b','c\\nd')", "'c\\nd,a\\\\b'", "a\\b,c\nd"),
    ("set('x','y','z')", "'z,x'", "x,z"),
    ("set('x','y','z')", "''", ""),
    ("geometry", "ST_GeomFromText('POINT(1 2)')", "000000000101000000000000000000f03f0000000000000040"),
];

/// Of MariaDB alone.
const OF_MARIADB: &[(&str, &str, &str)] = &[
    ("uuid", "'123e4567-e89b-12d3-a456-426655440000'", "123e4567e89b12d3a456426655440000"),
    ("uuid", "'550e8400-e29b-41d4-a716-446655440000'", "550e8400e29b41d4a716446655440000"),
    ("uuid", "'00000000-0000-4000-8000-000000000001'", "00000000000040008000000000000001"),
    ("uuid", "'017f22e2-79b0-7cc3-98c4-dc0c0c07398f'", "017f22e279b07cc398c4dc0c0c07398f"),
    ("inet6", "'2001:db8::ff00:42:8329'", "2001:db8::ff00:42:8329"),
    ("inet6", "'::ffff:1.2.3.4'", "::ffff:1.2.3.4"),
    ("inet4", "'192.0.2.1'", "192.0.2.1"),
    ("json", "'{\"b\": 1,  \"a\": [1.0, null]}'", "{\"b\": 1,  \"a\": [1.0, null]}"),
];

async fn every_type(flavour: Flavour, settings: &[&str], own: &[(&str, &str, &str)]) {
    let server = Mysql::start(flavour, settings).await;
    let all: Vec<_> = TYPES.iter().chain(own).collect();
    let columns = all.iter().enumerate().map(|(i, (t, _, _))| format!("c{i} {t}")).collect::<Vec<_>>().join(", ");
    let values = all.iter().map(|(_, v, _)| *v).collect::<Vec<_>>().join(", ");
    let nulls = vec!["NULL"; all.len()].join(", ");
    server.sql(&format!("CREATE TABLE t (id int primary key, {columns}) ROW_FORMAT=DYNAMIC; INSERT INTO t VALUES (1, {values}), (2, {nulls})")).await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t"]).await;
    let mut anchor = pipe.anchor(AnchorKind::Durable, &tables, 1).await;
    let (_, rows) = scan(&mut anchor.readers[0], &tables[0], 1000).await;
    for (i, (t, v, want)) in all.iter().enumerate() {
        let got = &rows["1"][i + 1];
        assert!(want.is_empty() || got == want, "{t} {v}: {got} instead of {want}");
        assert_eq!(rows["2"][i + 1], "NULL", "{t}");
    }
    server.sql(&format!("INSERT INTO t VALUES (3, {values}), (4, {nulls}); UPDATE t SET id = 5 WHERE id = 1")).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    let batches = until(&mut *extractor, &end(&pipe).await).await;
    let mut seen = 0;
    for part in batches.iter().flat_map(|b| &b.parts) {
        let Content::Rows(changed) = &part.content else { panic!("rows alone") };
        for i in 0..changed.len() {
            let got = row_text(&changed.after, i);
            let like = if got[0] == "4" { "2" } else { "1" };
            for (c, (t, v, _)) in all.iter().enumerate() {
                assert_eq!(got[c + 1], rows[like][c + 1], "{t} {v}: by the log, and by a query");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 3);
}

#[tokio::test]
async fn both_paths_give_the_same_of_mariadb() {
    every_type(Flavour::MariaDb, &[], OF_MARIADB).await;
}

#[tokio::test]
async fn both_paths_give_the_same_compressed_and_with_metadata() {
    every_type(Flavour::MariaDb, &["--log-bin-compress=1", "--log-bin-compress-min-len=10", "--binlog-row-metadata=FULL"], OF_MARIADB).await;
}

#[tokio::test]
async fn both_paths_give_the_same_of_mysql() {
    every_type(Flavour::MySql56, &[], &[]).await;
}

#[tokio::test]
async fn json_of_mariadb_is_known_as_such() {
    let server = Mysql::mariadb(&[]).await;
    server.sql("CREATE TABLE t (id int primary key, `a``b` json, c longtext, d longtext check (json_valid(d) and length(d) > 1))").await;
    let tables = Pipe::new(&server, &[]).tables(&["t"]).await;
    let natives: Vec<&str> = tables[0].columns.iter().map(|c| c.native.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(natives, ["int(11)", "json", "longtext", "longtext"]);
}

#[tokio::test]
async fn zero_dates_are_refused_or_carried() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        server.sql("CREATE TABLE t (id int primary key, d date, t timestamp null, n datetime not null); INSERT INTO t VALUES (1, '2024-00-10', '0000-00-00', '0000-00-00')").await;
        let strict = Pipe::new(&server, &[]);
        let tables = strict.tables(&["t"]).await;
        let mut anchor = strict.anchor(AnchorKind::Durable, &tables, 1).await;
        let chunks = anchor.readers[0].split(&tables[0], 10).await.expect("chunks");
        let want = Want::default();
        let refused = anchor.readers[0].scan(&chunks[0], &want).await.expect("a scan").next().await.expect("a piece").expect_err("refused");
        assert!(refused.sqlstate() == "22007" && refused.hint().is_some_and(|h| h.contains("zero-dates")), "{refused}");

        let lenient = Pipe::with(&server, &[("zero-dates", "text")], &[]);
        let tables = lenient.tables(&["t"]).await;
        let mut anchor = lenient.anchor(AnchorKind::Durable, &tables, 1).await;
        let (_, rows) = scan(&mut anchor.readers[0], &tables[0], 10).await;
        assert_eq!(rows["1"][1..], ["2024-00-10", "0000-00-00 00:00:00", "0000-00-00 00:00:00"]);
        server.sql("INSERT INTO t SELECT 2, d, t, n FROM t").await;
        let mut extractor = lenient.after(&anchor, &tables).await;
        let batches = until(&mut *extractor, &end(&lenient).await).await;
        assert_eq!(changes(&batches), ["t+ 2,2024-00-10,0000-00-00 00:00:00,0000-00-00 00:00:00"]);
    }
}

#[tokio::test]
async fn computed_and_invisible_columns_stand_where_they_are() {
    let server = Mysql::mariadb(&[]).await;
    server.sql("CREATE TABLE t (a int invisible default 7, id int primary key, v int as (id + 1) virtual, s int as (id + 2) stored, z varchar(9))").await;
    server.sql("INSERT INTO t (id, z) VALUES (1, 'x')").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t"]).await;
    let generated: Vec<bool> = tables[0].columns.iter().map(|c| c.generated).collect();
    assert_eq!((generated, tables[0].key.as_slice()), (vec![false, false, true, true, false], &[1usize][..]));
    let mut anchor = pipe.anchor(AnchorKind::Durable, &tables, 1).await;
    let (_, rows) = scan(&mut anchor.readers[0], &tables[0], 10).await;
    assert_eq!(rows["7"], ["7", "1", "2", "3", "x"]);
    server.sql("INSERT INTO t (id, z) VALUES (2, 'y')").await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    let batches = until(&mut *extractor, &end(&pipe).await).await;
    assert_eq!(changes(&batches), ["t+ 7,2,3,4,y"]);
}
