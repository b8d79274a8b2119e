//! What is missing is said, and a position that can't be continued is refused, never skipped.

use super::*;
use crate::support::mysql::session;
use standpipe::plugin::{Finding, FindingStatus, Needs};

async fn findings(pipe: &Pipe, tables: &[Arc<TableVersion>]) -> Vec<Finding> {
    pipe.source().check(&Needs { changes: true, tables: tables.to_vec(), options: Some(pipe.options.clone()), fresh: true, ..Needs::default() }).await.expect("findings")
}

fn failed(findings: &[Finding]) -> Vec<&str> {
    findings.iter().filter(|f| f.status == FindingStatus::Failed).map(|f| f.check_name.as_str()).collect()
}

#[tokio::test]
async fn everything_is_there() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        server.sql("CREATE TABLE t (id int primary key)").await;
        let pipe = Pipe::new(&server, &[]);
        let tables = pipe.tables(&["t"]).await;
        let all = findings(&pipe, &tables).await;
        assert!(failed(&all).is_empty(), "{all:?}");
        assert!(all.iter().all(|f| f.status != FindingStatus::Ok || f.hint.is_empty()));
    }
}

#[tokio::test]
async fn each_missing_prerequisite_is_named() {
    let server = Mysql::mariadb(&[]).await;
    server.sql("CREATE TABLE t (id int primary key); CREATE TABLE nokey (a int); CREATE TABLE my (a int primary key) ENGINE = MyISAM; CREATE VIEW v AS SELECT 1 AS a").await;
    server.sql("CREATE TABLE g (a int primary key, b varchar(9) character set gbk)").await;
    server.sql("CREATE TABLE e (a int primary key, b enum('\u{1f600}'), c enum('?') character set latin1) character set utf8mb4; CREATE TABLE n (a int primary key, c set('x', '?') character set utf8)").await;
    let pipe = Pipe::new(&server, &[("server-id", "1")]);
    let tables = pipe.tables(&["t", "nokey", "my", "v", "g", "e", "n"]).await;
    assert_eq!(failed(&findings(&pipe, &tables).await), ["server_id_clash", "key", "table_engine", "table_kind", "charset", "labels"]);
    let pipe = Pipe::new(&server, &[]);
    let one = &tables[..1];
    for (set, reset, name) in [
        ("SET GLOBAL binlog_format = 'STATEMENT'", "SET GLOBAL binlog_format = 'ROW'", "binlog_format"),
        ("SET GLOBAL binlog_row_image = 'MINIMAL'", "SET GLOBAL binlog_row_image = 'FULL'", "binlog_row_image"),
    ] {
        server.sql(set).await;
        assert_eq!(failed(&findings(&pipe, one).await), [name]);
        server.sql(reset).await;
    }
    server.sql("CREATE USER bob@'127.0.0.1' IDENTIFIED BY 'pw'; GRANT SELECT ON shop.* TO bob@'127.0.0.1'").await;
    let bob = Pipe::with(&server, &[("user", "bob"), ("password", "pw")], &[]);
    assert_eq!(failed(&findings(&bob, one).await), ["replication_right", "log_status_right"]);
    let wrong = Pipe::with(&server, &[("password", "wrong")], &[]);
    let said = findings(&wrong, one).await;
    assert!(said.len() == 1 && said[0].check_name == "login" && !said[0].found.contains("root"), "{said:?}");
    drop(server);
    assert_eq!(failed(&findings(&pipe, one).await), ["reachability"]);
}

#[tokio::test]
async fn foreign_keys_that_change_rows_are_named() {
    for flavour in BOTH {
        let server = Mysql::start(flavour, &[]).await;
        server.sql("CREATE TABLE p (id int primary key); CREATE TABLE plain (id int primary key, p int, FOREIGN KEY (p) REFERENCES p (id))").await;
        for (table, rule) in [("a", "ON DELETE CASCADE"), ("b", "ON DELETE SET NULL"), ("c", "ON UPDATE CASCADE")] {
            server.sql(&format!("CREATE TABLE {table} (id int primary key, p int, FOREIGN KEY (p) REFERENCES p (id) {rule})")).await;
        }
        let pipe = Pipe::new(&server, &[]);
        let tables = pipe.tables(&["p", "plain", "a", "b", "c"]).await;
        let all = findings(&pipe, &tables).await;
        assert_eq!(failed(&all), ["foreign_key"; 3], "{flavour:?} {all:?}");
        assert!(failed(&findings(&pipe, &tables[..2]).await).is_empty());
        let inserts = Needs { changes: true, tables: tables.clone(), inserts_only: true, options: Some(pipe.options.clone()), fresh: true, ..Needs::default() };
        assert!(failed(&pipe.source().check(&inserts).await.expect("findings")).is_empty());
    }
}

#[tokio::test]
async fn a_replica_that_does_not_log_is_refused() {
    for (setting, want) in [("--log-slave-updates=0", &["log_replica_updates"][..]), ("--log-slave-updates=1", &[])] {
        let server = Mysql::mariadb(&[setting]).await;
        server.sql("CREATE TABLE t (id int primary key)").await;
        let pipe = Pipe::new(&server, &[]);
        let tables = pipe.tables(&["t"]).await;
        assert!(failed(&findings(&pipe, &tables).await).is_empty());
        server.sql("CHANGE MASTER TO master_host = '127.0.0.1', master_port = 1, master_user = 'x'").await;
        assert_eq!(failed(&findings(&pipe, &tables).await), want, "{setting}");
    }
}

#[tokio::test]
async fn without_a_log_there_is_no_position() {
    let server = Mysql::mariadb(&["--skip-log-bin"]).await;
    server.sql("CREATE TABLE t (id int primary key)").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t"]).await;
    assert_eq!(failed(&findings(&pipe, &tables).await), ["log_bin"]);
    let mut anchor = pipe.anchor(AnchorKind::Instant, &tables, 1).await;
    assert!(scan(&mut anchor.readers[0], &tables[0], 10).await.1.is_empty());
}

async fn lost(pipe: &Pipe, from: &Resume) -> String {
    let e = match pipe.try_after(from).await {
        Err(e) => e,
        Ok(mut extractor) => extractor.next(&LIMIT).await.expect_err("refused"),
    };
    assert!(e.sqlstate() == "55000" && e.hint().is_some_and(|h| h.contains("RESYNC")), "{e}");
    e.to_string()
}

#[tokio::test]
async fn a_position_that_is_gone_is_refused() {
    for flavour in BOTH {
        let mut server = Mysql::start(flavour, &[]).await;
        server.sql("CREATE TABLE t (id int primary key)").await;
        let pipe = Pipe::new(&server, &[]);
        let tables = pipe.tables(&["t"]).await;
        let anchor = pipe.anchor(AnchorKind::Durable, &tables, 1).await;
        server.sql("INSERT INTO t VALUES (1)").await;
        let mut extractor = pipe.after(&anchor, &tables).await;
        let batches = until(&mut *extractor, &end(&pipe).await).await;
        drop(extractor);
        let at = |batches: &[Batch]| resume(&batches.last().expect("one").position, &anchor.identity, witness(batches), &tables);
        pipe.try_after(&at(&batches)).await.expect("goes on");
        // another history at the same place: the server went back to a backup and wrote something else
        server.backup().await;
        let kept = end(&pipe).await;
        server.sql("INSERT INTO t VALUES (2)").await;
        let mut extractor = pipe.try_after(&at(&batches)).await.expect("goes on");
        let later = until(&mut *extractor, &end(&pipe).await).await;
        assert!(later.last().expect("one").position.reached(&kept));
        drop(extractor);
        server.restore().await;
        let gone = lost(&pipe, &at(&later)).await;
        assert!(gone.contains("does not have all") || gone.contains("ends before") || gone.contains("another history"), "{gone}");
        server.sql("INSERT INTO t VALUES (3)").await;
        server.sql("INSERT INTO t VALUES (4)").await;
        let other = lost(&pipe, &at(&later)).await;
        assert!(other.contains("another history") || other.contains("does not have all"), "{flavour:?}: {other}");
        // the log was thrown away
        server.sql("FLUSH LOGS").await;
        let file = server.value("SHOW MASTER STATUS").await.expect("a file");
        let from = resume(&anchor.position, &anchor.identity, None, &tables);
        server.sql(&format!("FLUSH LOGS; PURGE BINARY LOGS TO '{file}'")).await;
        let purged = lost(&pipe, &from).await;
        assert!(purged.contains("purged"), "{flavour:?}: {purged}");
        server.sql("RESET MASTER").await;
        lost(&pipe, &from).await;
        // another server
        let mut identity = anchor.identity.clone();
        identity.insert("server".into(), "somebody else".into());
        let foreign = lost(&pipe, &resume(&anchor.position, &identity, None, &tables)).await;
        assert!(foreign.contains("not the one that was read"), "{foreign}");
    }
}

#[tokio::test]
async fn parts_of_rows_are_refused() {
    let server = Mysql::mariadb(&[]).await;
    server.sql("CREATE TABLE t (id int primary key, a int, b text); INSERT INTO t VALUES (1, 1, 'x')").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 1).await;
    server.sql("SET SESSION binlog_row_image = 'MINIMAL'; UPDATE t SET a = 2").await;
    let e = pipe.after(&anchor, &tables).await.next(&LIMIT).await.expect_err("refused");
    assert!(e.table() == Some("shop.t") && e.hint().is_some_and(|h| h.contains("binlog_row_image")), "{e}");
}

#[tokio::test]
async fn a_login_by_old_and_new_methods() {
    let server = Mysql::mariadb(&[]).await;
    server.sql("CREATE USER empty@'127.0.0.1'").await;
    session(server.port, "empty", "", "information_schema").await.expect("no password");
    let e = session(server.port, "root", "wrong", "shop").await.expect_err("refused");
    assert!(e.to_string().contains("******") && !e.to_string().contains("root"), "{e}");
}
