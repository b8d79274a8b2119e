//! S12, S13, S15: a secret is found nowhere, in no form; rights hold when a statement runs; changes are in the audit log.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE};
use std::collections::BTreeMap;
use std::path::Path;
use tokio_postgres::SimpleQueryMessage;

const CANARY: &str = "cAn@r\"y/7+%é\\'\tZq";

/// The canary as it may be written: raw, doubled quotes, escaped for JSON and URLs, in base64 at each alignment, in hexadecimal.
fn forms() -> Vec<String> {
    let url = |keep: &str| CANARY.bytes().map(|b| if b.is_ascii_alphanumeric() || keep.contains(char::from(b)) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect::<String>();
    let json = serde_json::to_string(CANARY).expect("json");
    let mut forms = vec![CANARY.to_string(), CANARY.replace('\'', "''"), CANARY.replace('\\', "\\\\"), json.trim_matches('"').to_string(), format!("{CANARY:?}").trim_matches('"').to_string()];
    forms.extend([url(""), url("").to_lowercase(), url("@/+"), url("-_.~"), url("").replace("%20", "+"), hex::encode(CANARY), hex::encode_upper(CANARY)]);
    for before in ["", "x", "xx"] {
        let whole = format!("{before}{CANARY}");
        for text in [BASE64.encode(&whole), URL_SAFE.encode(&whole)] {
            // what the bytes around it change is left off
            forms.push(text[4..text.len() - 4].to_string());
        }
    }
    // parts that no escape changes
    forms.push("cAn@r".into());
    forms
}

fn found(text: &[u8], forms: &[String]) -> Option<String> {
    forms.iter().find(|f| memchr::memmem::find(text, f.as_bytes()).is_some()).cloned()
}

fn files(directory: &Path, out: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, out);
        } else if let Ok(bytes) = std::fs::read(&path) {
            out.insert(path.display().to_string(), bytes);
        }
    }
}

async fn said(client: &tokio_postgres::Client, sql: &str) -> String {
    match client.simple_query(sql).await {
        Ok(messages) => messages
            .iter()
            .map(|m| match m {
                SimpleQueryMessage::Row(r) => (0..r.len()).map(|i| r.get(i).unwrap_or("").to_string()).collect::<Vec<_>>().join("|"),
                other => format!("{other:?}"),
            })
            .collect::<Vec<_>>()
            .join("\n"),
        Err(e) => format!("{e:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_nowhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(&directory.path().join("data"), &["log.level=trace", "http=127.0.0.1:0", "connect_timeout=1s"], &[]);
    let (client, other) = (server.connect("standpipe").await, server.connect("standpipe").await);
    let quoted = format!("'{}'", CANARY.replace('\'', "''"));
    let source = |name: &str, more: &str| format!("CREATE SOURCE {name} WITH (type = 'postgres', host = '127.0.0.1', port = 1, database = 'd', user = 'u', password = {quoted}{more})");
    let mut seen = BTreeMap::new();
    let statements = [
        source("a", ""),
        source("a", ""),
        source("b", ", nonsense = 1"),
        format!("CREATE SOURCE c WITH (type = 'postgres', host = '127.0.0.1', database = 'd', user = 'u', passwrod = {quoted})"),
        format!("CREATE SOURCE c WITH (type = 'postgres', host = '127.0.0.1', database = 'd', user = 'u', extparam = SECRET {quoted})"),
        format!("ALTER SOURCE a SET (password = {quoted})"),
        format!("CREATE USER u1 PASSWORD {quoted}"),
        format!("ALTER USER u1 PASSWORD {quoted}"),
        format!("CREATE SOURCE l WITH (type = 'lake', path = 's3://bucket/x', endpoint = 'http://127.0.0.1:1', region = 'r', 'access-key-id' = 'k', 'secret-access-key' = {quoted})"),
        "TEST SOURCE a".into(),
        "SYNC TABLES FROM SOURCE a".into(),
        "SELECT * FROM a.public.t".into(),
        format!("EXPLAIN CREATE PIPE p WITH EXTRACTOR ('source-name' = 'a', 'tables' = 'public.t') WITH CONNECTOR ('connector' = 'postgres-connector', host = '127.0.0.1', port = 1, database = 'd', user = 'u', password = {quoted})"),
    ];
    for (i, sql) in statements.iter().enumerate() {
        let answer = said(&client, sql).await;
        // the words of the statement come back to the one who said them, where they are wrong
        let named = answer.contains("passwrod") || answer.contains("syntax");
        if !named {
            seen.insert(format!("answer {i}"), answer.into_bytes());
        }
        seen.insert(format!("activity {i}"), said(&other, "SELECT * FROM pg_stat_activity").await.into_bytes());
    }
    let _ = said(&client, &format!("CREATE SOURCE nonsense WIHT (password = {quoted})")).await;
    let prepared = client.prepare("CREATE SOURCE d WITH (type = 'postgres', host = '127.0.0.1', port = 1, database = 'd', user = 'u', password = $1)").await.expect("prepares");
    client.execute(&prepared, &[&CANARY]).await.expect("a source");
    for sql in ["SHOW SOURCES", "SHOW ALL", "SHOW GRANTS", "SHOW PIPES", "SHOW EXCEPTIONS", "SHOW LOG", "DESCRIBE SOURCE a", "SHOW CREATE SOURCE a", "SHOW PIPEPLUGINS", "SELECT * FROM pg_settings", "SELECT * FROM pg_roles", "SELECT * FROM pg_authid", "SELECT * FROM pg_shadow", "SELECT * FROM pg_stat_activity"] {
        seen.insert(sql.into(), said(&other, sql).await.into_bytes());
    }
    let views = said(&other, "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_schema = 'standpipe'").await;
    let views: Vec<&str> = views.lines().filter(|l| l.starts_with("standpipe.")).collect();
    assert!(views.len() > 15, "{views:?}");
    for view in views {
        seen.insert(view.into(), said(&other, &format!("SELECT * FROM {view}")).await.into_bytes());
    }
    seen.insert("the log".into(), server.log().into_bytes());
    for file in ["cmdline", "environ", "comm"] {
        seen.insert(file.into(), std::fs::read(format!("/proc/{}/{file}", server.pid())).expect("a file"));
    }
    let filter = std::fs::read_to_string(format!("/proc/{}/coredump_filter", server.pid())).expect("a filter");
    assert_eq!(u32::from_str_radix(filter.trim(), 16), Ok(0), "core dumps hold no memory");
    let sources = String::from_utf8_lossy(&seen["standpipe.sources"]).into_owned();
    assert!(sources.contains("******") && sources.contains('d'), "{sources}");
    let audit = String::from_utf8_lossy(&seen["standpipe.audit_log"]).into_owned();
    let data = server.kill();
    files(&data, &mut seen);
    let forms = forms();
    for (place, text) in &seen {
        assert_eq!(found(text, &forms), None, "in {place}: {}", String::from_utf8_lossy(text));
    }
    // S15: who, what, with what outcome, and from where; failures too
    for part in ["standpipe|127.0.0.1:", "CREATE SOURCE a", "|00000|", "|42710|", "CREATE USER u1 PASSWORD", "******"] {
        assert!(audit.contains(part), "{part} is not in {audit}");
    }
    let server = Server::start(&data, &[], &[]);
    let client = server.connect("standpipe").await;
    assert!(said(&client, "SELECT statement FROM standpipe.audit_log").await.contains("CREATE SOURCE a"), "after a restart");
}

/// A right is looked up when a statement runs: what was prepared before it went is refused.
#[tokio::test(flavor = "multi_thread")]
async fn rights_hold_when_a_statement_runs() {
    let (_directory, server) = server(&[]);
    let admin = server.connect("standpipe").await;
    let set_up = "CREATE SOURCE shop WITH (type = 'generator', rows = 10, rate = 0); SYNC TABLES FROM SOURCE shop; CREATE USER ann PASSWORD 'a'; GRANT standpipe_manage TO ann; CREATE USER bob PASSWORD 'b'; GRANT standpipe_read TO bob";
    admin.batch_execute(set_up).await.expect("users");
    let ann = server.connect_as("ann", "a", "standpipe").await.expect("ann");
    let prepared = [ann.prepare("SELECT count(*) FROM shop.shop.orders").await, ann.prepare("CREATE SOURCE more WITH (type = 'memory')").await, ann.prepare("SHOW SOURCES").await].map(|p| p.expect("prepares"));
    ann.query(&prepared[0], &[]).await.expect("a right");
    ann.batch_execute("BEGIN; CREATE SOURCE late WITH (type = 'memory')").await.expect("in a block");
    admin.batch_execute("REVOKE standpipe_manage FROM ann").await.expect("revoked");
    let code = |e: tokio_postgres::Error| e.code().map(|c| c.code().to_string()).unwrap_or_default();
    ann.batch_execute("ROLLBACK").await.expect("ended");
    for statement in &prepared {
        assert_eq!(code(ann.query(statement, &[]).await.expect_err("no right")), "42501");
    }
    let bob = server.connect_as("bob", "b", "standpipe").await.expect("bob");
    let managing = [
        "CREATE SOURCE x WITH (type = 'memory')", "DROP SOURCE shop", "ALTER SOURCE shop SET (rows = 1)", "SYNC TABLES FROM SOURCE shop", "CREATE PIPE p WITH EXTRACTOR ('source-name' = 'shop') WITH CONNECTOR ('connector' = 'lake-connector')",
        "CREATE USER x PASSWORD 'x'", "GRANT standpipe_admin TO bob", "ALTER USER standpipe PASSWORD 'mine'", "ALTER USER bob SUPERUSER", "COMMENT ON SOURCE shop IS 'x'", "SELECT count(*) FROM shop.shop.orders", "COPY (SELECT * FROM shop.shop.orders) TO STDOUT",
        "SELECT * FROM (SELECT * FROM shop.shop.orders) x", "WITH x AS (SELECT * FROM shop.shop.orders) SELECT 1 FROM x", "SELECT (SELECT count(*) FROM shop.shop.orders)", "EXPLAIN ANALYZE SELECT * FROM shop.shop.orders", "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM shop.shop.orders",
        "SELECT pg_terminate_backend(1)", "SET SESSION AUTHORIZATION standpipe", "SET ROLE standpipe",
    ];
    for sql in managing {
        let outcome = bob.simple_query(sql).await;
        let terminated = sql.contains("pg_terminate") && format!("{outcome:?}").contains("\"f\"");
        assert!(terminated || outcome.as_ref().is_err_and(|e| e.code().is_some_and(|c| ["42501", "0A000", "42601", "42704", "42883"].contains(&c.code()))), "{sql}: {outcome:?}");
    }
    assert_eq!(said(&bob, "SELECT current_user, session_user").await.lines().find(|l| l.contains('|')), Some("bob|bob"));
    let seen = said(&bob, "SHOW SOURCES").await;
    assert!(seen.contains("shop"), "{seen}");
}
