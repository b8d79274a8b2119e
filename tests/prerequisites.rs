//! CREATE PIPE and EXPLAIN CREATE PIPE against a real PostgreSQL: which way rows take, and what is refused before anything is made.

use crate::support::postgres::Postgres;
use crate::support::server::Server;
use tokio_postgres::{Client, SimpleQueryMessage};

async fn ask(client: &Client, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let row = |m| match m {
        SimpleQueryMessage::Row(r) => Some((0..r.len()).map(|i| r.get(i).unwrap_or("NULL").to_string()).collect()),
        _ => None,
    };
    match client.simple_query(sql).await {
        Ok(all) => Ok(all.into_iter().filter_map(row).collect()),
        Err(e) => {
            let e = e.as_db_error().unwrap_or_else(|| panic!("{sql}: {e:?}"));
            Err(format!("{}: {} HINT: {}", e.code().code(), e.message(), e.hint().unwrap_or_default()))
        }
    }
}

/// The way of each table, as EXPLAIN has it.
async fn ways(client: &Client, processors: &str) -> Vec<String> {
    let sql = format!("EXPLAIN CREATE PIPE p WITH EXTRACTOR ('source-name' = 'pg') {processors} WITH CONNECTOR ('target-name' = 'pg', 'table' = 'copy.${{table}}')");
    let all = ask(client, &sql).await.expect("explained");
    let mut ways: Vec<String> = all.into_iter().filter(|r| r[0] == "way").map(|r| format!("{} {}", r[1], r[2].split(':').next().unwrap_or_default())).collect();
    ways.sort();
    ways
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_the_way_and_create_refuses_what_updates_leave_out() {
    let postgres = Postgres::start(&[("wal_level", "logical")]).await;
    postgres.sql("CREATE TABLE a (id bigint PRIMARY KEY, note text, n int); CREATE TABLE b (id bigint PRIMARY KEY, n int, m int)").await;
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path(), &["catalog.fsync=off"], &[]);
    let client = server.connect("standpipe").await;
    let source = format!("CREATE SOURCE pg WITH (type = 'postgres', host = '127.0.0.1', port = {}, database = 'postgres', user = 'postgres', password = 'secret')", postgres.port);
    for sql in [source.as_str(), "SYNC TABLES FROM SOURCE pg"] {
        ask(&client, sql).await.expect("done");
    }
    assert_eq!(ways(&client, "").await, ["public.a wire", "public.b wire"]);
    assert_eq!(ways(&client, "WITH PROCESSOR ('processor' = 'do-nothing-processor')").await, ["public.a wire", "public.b wire"]);
    assert_eq!(ways(&client, "WITH PROCESSOR ('processor' = 'filter-processor', 'table' = 'b', 'filter' = 'n > 1')").await, ["public.a wire", "public.b arrow"]);

    // A long value that an update does not change is not in the log, so a condition or an expression must not need it.
    let create = |verb: &str, processor: &str| {
        format!("{verb} PIPE p WITH EXTRACTOR ('source-name' = 'pg') WITH PROCESSOR ({processor}) WITH CONNECTOR ('connector' = 'do-nothing-connector')")
    };
    let filter = "'processor' = 'filter-processor', 'table' = 'a', 'filter' = 'n > 1'";
    let project = "'processor' = 'project-processor', 'table' = 'a', 'columns' = 'id, note || n AS both'";
    for (verb, processor) in [("CREATE", filter), ("EXPLAIN CREATE", filter), ("CREATE", project)] {
        let e = ask(&client, &create(verb, processor)).await.expect_err("refused");
        assert!(e.starts_with("0A000: a processor needs columns of table public.a") && e.contains("ALTER TABLE public.a REPLICA IDENTITY FULL"), "{e}");
    }
    ask(&client, &create("EXPLAIN CREATE", "'processor' = 'filter-processor', 'filter' = 'id > 1'")).await.expect("the key is always there");
    postgres.sql("ALTER TABLE a REPLICA IDENTITY FULL").await;
    ask(&client, &create("CREATE", filter)).await.expect("now whole rows are there");
}
