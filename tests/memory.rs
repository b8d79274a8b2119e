//! Tables in memory over a restart of the server: they are gone, and every pipe that wrote to them or read from them says so and is mended by RESYNC.

use crate::support::server::Server;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, SimpleQueryMessage};

/// The longest wait for a phase, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let all = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let row = |m| match m {
        SimpleQueryMessage::Row(r) => Some((0..r.len()).map(|i| r.get(i).unwrap_or("NULL").to_string()).collect::<Vec<_>>().join("|")),
        _ => None,
    };
    all.into_iter().filter_map(row).collect()
}

/// Waits until a pipe is in a phase; gives its exception.
async fn phase(client: &Client, pipe: &str, wanted: &str) -> String {
    let began = Instant::now();
    loop {
        let now = rows(client, &format!("SELECT phase, exception_message FROM standpipe.pipes WHERE id = '{pipe}'")).await;
        if let Some(exception) = now.first().and_then(|r| r.strip_prefix(&format!("{wanted}|"))) {
            return exception.to_string();
        }
        assert!(began.elapsed() < PATIENCE, "pipe {pipe} is not {wanted} but {now:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn different(client: &Client, a: &str, b: &str) -> Vec<String> {
    rows(client, &format!("SELECT count(*) FROM (SELECT * FROM {a} EXCEPT SELECT * FROM {b}) d")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_pipes_of_a_memory_say_that_it_is_gone() {
    let data = tempfile::tempdir().expect("a directory");
    let settings = ["catalog.fsync=off", "lake.fsync=off"];
    let server = Server::start(data.path(), &settings, &[]);
    let client = server.connect("standpipe").await;
    for sql in [
        "CREATE SOURCE shop WITH (type = 'generator', tables = 'orders', rows = 300, rate = 50)",
        "SYNC TABLES FROM SOURCE shop",
        "CREATE SOURCE m WITH (type = 'memory')",
        "CREATE PIPE inward WITH EXTRACTOR ('source-name' = 'shop') WITH CONNECTOR ('target-name' = 'm') WITH RUNTIME (start = true)",
        "WAIT FOR PIPE inward UNTIL CAUGHT UP TIMEOUT '30s'",
        "SYNC TABLES FROM SOURCE m",
        "CREATE PIPE onward WITH EXTRACTOR ('source-name' = 'm') WITH CONNECTOR ('connector' = 'lake-connector') WITH RUNTIME (start = true)",
        "WAIT FOR PIPE onward UNTIL CAUGHT UP TIMEOUT '30s'",
    ] {
        rows(&client, sql).await;
    }
    assert_eq!(rows(&client, "SELECT count(*) FROM lake.orders").await, ["300"]);
    drop(client);
    let data_dir = server.kill();

    let server = Server::start(&data_dir, &settings, &[]);
    let client = server.connect("standpipe").await;
    let exception = phase(&client, "inward", "FAILED").await;
    assert!(exception.contains("the target went back") && exception.contains("RESYNC PIPE"), "{exception}");
    let exception = phase(&client, "onward", "FAILED").await;
    assert!(exception.contains("not the one that was read") && exception.contains("RESYNC PIPE onward"), "{exception}");
    assert_eq!(rows(&client, "SELECT count(*) FROM lake.orders").await, ["300"], "what is in the lake stays");
    for sql in ["RESYNC PIPE inward", "WAIT FOR PIPE inward UNTIL CAUGHT UP TIMEOUT '30s'", "RESYNC PIPE onward", "WAIT FOR PIPE onward UNTIL CAUGHT UP TIMEOUT '30s'"] {
        rows(&client, sql).await;
    }
    // Still, so that the three can be compared.
    for sql in ["STOP PIPE inward", "WAIT FOR PIPE inward UNTIL PAUSED TIMEOUT '30s'", "WAIT FOR PIPE onward UNTIL CAUGHT UP TIMEOUT '30s'"] {
        rows(&client, sql).await;
    }
    assert_eq!(different(&client, "m.shop.orders", "lake.orders").await, ["0"]);
    assert_eq!(different(&client, "lake.orders", "m.shop.orders").await, ["0"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM m.shop.orders").await, ["300"]);
}
