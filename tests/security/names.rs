//! S9: names and values that would end what they stand in, and functions that lie in wait where a careless query would find them.

use super::*;
use crate::support::postgres::Postgres;
use tokio_postgres::SimpleQueryMessage;

const SCHEMA: &str = "sch\"e'm\\a;--$$";
const TYPE: &str = "ty\"p'e;--$x$";
const LABEL: &str = "la\"b'el;--\\$$";
const DATABASE: &str = "da\"ta'ba;se--😀";
const TABLES: [&str; 3] = ["ta\"b'le\\ ; DROP TABLE x; -- $$ /* 😀", "select", "t23456789_123456789_123456789_123456789_123456789_123456789_123"];
const COLUMNS: [&str; 8] = ["co\"l'1", "c\\2", "c;3--", "c 4/*", "$c$5", "😀6", "from", "c23456789_123456789_123456789_123456789_123456789_123456789_123"];
const VALUES: [&str; 9] = ["it's", "\\'; DROP TABLE x; --", "$$;$x$", "a\nb\r\t", "\"q\"", "😀", "", "\\", "%_'\\\\"];

fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Functions, operators and casts of the names that queries use, where a search path that is not pinned finds them first: each says so.
fn traps() -> String {
    let body = "LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION 'a trap was stepped into'; END $f$";
    let mut sql = String::new();
    for schema in ["public", "postgres"] {
        sql += &format!("CREATE SCHEMA IF NOT EXISTS {schema};");
        for (arguments, result) in [
            ("format_type(oid, int4)", "text"), ("pg_get_expr(pg_node_tree, oid)", "text"), ("unnest(text[])", "text"), ("unnest(oid[])", "oid"), ("current_database()", "name"),
            ("count(text)", "int8"), ("lower(text)", "text"), ("concat(text, text)", "text"), ("pg_relation_filenode(regclass)", "oid"), ("pg_relation_size(regclass)", "int8"),
            ("to_regtype(text)", "regtype"), ("format(text, text)", "text"), ("now()", "timestamptz"), ("hashtextextended(text, int8)", "int8"), ("pg_current_wal_lsn()", "pg_lsn"),
            ("has_table_privilege(oid, text)", "bool"), ("obj_description(oid, name)", "text"), ("col_description(oid, int4)", "text"), ("quote_ident(text)", "text"),
        ] {
            sql += &format!("CREATE FUNCTION {schema}.{arguments} RETURNS {result} {body};");
        }
        for (kind, operators) in [("oid", "= <>"), ("name", "= <>"), ("text", "= <> || <"), ("int4", "= <> > < >="), ("int2", "= > <"), ("\"char\"", "= <>"), ("int8", "= > <")] {
            for (i, operator) in operators.split(' ').enumerate() {
                let name = format!("trap_{}_{i}", kind.replace('"', ""));
                let result = if operator == "||" { "text" } else { "bool" };
                sql += &format!("CREATE FUNCTION {schema}.{name}({kind}, {kind}) RETURNS {result} {body}; CREATE OPERATOR {schema}.{operator} (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = {schema}.{name});");
            }
        }
        for relation in ["pg_class", "pg_namespace", "pg_attribute", "pg_type", "pg_publication", "pg_replication_slots", "pg_index"] {
            sql += &format!("CREATE TABLE {schema}.{relation} (trap int);");
        }
    }
    sql + "ALTER ROLE postgres SET search_path = postgres, public, pg_catalog"
}

async fn all(client: &tokio_postgres::Client, query: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(query).await.unwrap_or_else(|e| panic!("{query}: {e:?}"));
    let row = |m: SimpleQueryMessage| match m {
        SimpleQueryMessage::Row(r) => Some((0..r.len()).map(|i| r.get(i).map(str::to_string)).collect()),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

fn inserts(table: &str, from: usize) -> String {
    let rows = VALUES.iter().enumerate().map(|(i, v)| {
        let values = vec![literal(v); COLUMNS.len() - 2].join(", ");
        format!("({}, {values}, {})", from + i, literal(LABEL))
    });
    format!("INSERT INTO {}.{} VALUES {};", ident(SCHEMA), ident(table), rows.collect::<Vec<_>>().join(", "))
}

/// The source with its tables, the target's database of an odd name, and the program between them.
async fn set_up(postgres: &Postgres, client: &tokio_postgres::Client) {
    postgres.sql("CREATE DATABASE source").await;
    postgres.sql(&format!("CREATE DATABASE {}", ident(DATABASE))).await;
    let (source, target) = (postgres.client("source").await, postgres.client(DATABASE).await);
    let types = format!("CREATE SCHEMA {s}; CREATE TYPE {s}.{t} AS ENUM ({l})", s = ident(SCHEMA), t = ident(TYPE), l = literal(LABEL));
    for database in [&source, &target] {
        database.batch_execute(&types).await.expect("a type");
    }
    let mut sql = String::new();
    for table in TABLES {
        let of = |i: usize| match i {
            0 => "int PRIMARY KEY".to_string(),
            7 => format!("{}.{} DEFAULT {}", ident(SCHEMA), ident(TYPE), literal(LABEL)),
            _ => format!("text DEFAULT {}", literal(VALUES[i])),
        };
        let columns: Vec<String> = COLUMNS.iter().enumerate().map(|(i, c)| format!("{} {}", ident(c), of(i))).collect();
        sql += &format!("CREATE TABLE {}.{} ({});", ident(SCHEMA), ident(table), columns.join(", "));
        sql += &inserts(table, 1);
    }
    source.batch_execute(&sql).await.expect("tables");
    for database in [&source, &target] {
        database.batch_execute(&traps()).await.expect("traps");
    }
    for (name, database) in [("src", "source"), ("tgt", DATABASE)] {
        let create = format!("CREATE SOURCE {name} WITH (type = 'postgres', host = '127.0.0.1', port = {}, database = {}, user = 'postgres', password = 'secret')", postgres.port, literal(database));
        client.batch_execute(&create).await.expect("a source");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_and_values_arrive_and_no_trap_is_stepped_into() {
    let postgres = Postgres::start(&[]).await;
    let (_directory, server) = server(&[]);
    let client = server.connect("standpipe").await;
    set_up(&postgres, &client).await;
    let synced = all(&client, "SYNC TABLES FROM SOURCE src").await;
    assert!(synced.len() >= TABLES.len(), "{synced:?}");
    let list = TABLES.map(|t| format!("{}.{}", ident(SCHEMA), ident(t))).join(", ");
    for (pipe, connector) in [("to_pg", "'target-name' = 'tgt'"), ("to_lake", "'connector' = 'lake-connector'")] {
        let create = format!("CREATE PIPE {pipe} WITH EXTRACTOR ('source-name' = 'src', 'tables' = {}, 'publication-name' = {}) WITH CONNECTOR ({connector})", literal(&list), literal(&format!("pu\"b';--{pipe}")));
        let publication = format!("CREATE PUBLICATION {} FOR TABLE {list}", ident(&format!("pu\"b';--{pipe}")));
        postgres.client("source").await.batch_execute(&format!("SET search_path = pg_catalog; {publication}")).await.expect("a publication");
        client.batch_execute(&create).await.unwrap_or_else(|e| panic!("{create}: {e:?}"));
        client.batch_execute(&format!("START PIPE {pipe}")).await.expect("started");
    }
    caught_up(&client).await;
    compare(&postgres, &client, "after the snapshot").await;
    let source = postgres.client("source").await;
    let mut changes = "SET search_path = pg_catalog;".to_string();
    for table in TABLES {
        let t = format!("{}.{}", ident(SCHEMA), ident(table));
        changes += &inserts(table, 101);
        changes += &format!("UPDATE {t} SET {} = {} WHERE {} = 3; DELETE FROM {t} WHERE {} = 4;", ident(COLUMNS[2]), literal("'); DELETE FROM x; --\\"), ident(COLUMNS[0]), ident(COLUMNS[0]));
    }
    source.batch_execute(&changes).await.expect("changes");
    caught_up(&client).await;
    compare(&postgres, &client, "after changes").await;
    // values in conditions that the source evaluates
    let t = format!("src.{}.{}", ident(SCHEMA), ident(TABLES[0]));
    for value in VALUES {
        let found = all(&client, &format!("SELECT count(*) FROM {t} WHERE {} = {} AND {} < 100", ident(COLUMNS[1]), literal(value), ident(COLUMNS[0]))).await;
        let want = i32::from(value != VALUES[3]).to_string();
        assert_eq!(found[0][0].as_deref(), Some(want.as_str()), "{value:?}");
    }
    // NUL is nobody's
    for sql in ["SELECT E'a\\000b'", "SELECT U&'\\0000'", "CREATE SOURCE z WITH (type = 'postgres', host = E'a\\000', database = 'd', user = 'u')"] {
        assert!(client.batch_execute(sql).await.is_err(), "{sql}");
    }
    assert!(!postgres.log().contains("a trap was stepped into") && !server.log().contains("trap"), "{}", server.log());
}

async fn caught_up(client: &tokio_postgres::Client) {
    for pipe in ["to_pg", "to_lake"] {
        let waited = client.simple_query(&format!("WAIT FOR PIPE {pipe} UNTIL CAUGHT UP TIMEOUT '60 s'")).await;
        assert!(waited.is_ok(), "{pipe}: {waited:?} {:?}", all(client, "SHOW PIPES").await);
    }
}

/// Every table: at the source, in the other database, in the lake and read through the program.
async fn compare(postgres: &Postgres, client: &tokio_postgres::Client, when: &str) {
    let (source, target) = (postgres.client("source").await, postgres.client(DATABASE).await);
    for plain in [&source, &target] {
        plain.batch_execute("SET search_path = pg_catalog").await.expect("set");
    }
    let columns = COLUMNS.iter().enumerate().map(|(i, c)| if i == 7 { format!("{}::text", ident(c)) } else { ident(c) }).collect::<Vec<_>>().join(", ");
    for table in TABLES {
        let query = |from: String| format!("SELECT {columns} FROM {from} ORDER BY 1");
        let name = format!("{}.{}", ident(SCHEMA), ident(table));
        let want = all(&source, &query(name.clone())).await;
        assert!(want.len() >= VALUES.len(), "{table}");
        assert_eq!(all(&target, &query(name.clone())).await, want, "{when}: {table} in the other database");
        assert_eq!(all(client, &query(format!("src.{name}"))).await, want, "{when}: {table} read through the program");
        assert_eq!(all(client, &query(format!("lake.{}", ident(table)))).await, want, "{when}: {table} in the lake");
    }
}
