//! A source that is not the one remembered is refused, never silently read on from.

use super::*;
use standpipe::error::{Error, Kind};
use standpipe::plugin::{Finding, FindingStatus, Needs};

/// How often a slow machine may fail to connect within the short time that the impatient one waits for a slot.
const PATIENCE: usize = 20;

async fn refused(pipe: &Pipe, from: &Resume) -> Error {
    let e = pipe.extractor().connect(from).await.expect_err("refused");
    assert!(e.kind() != Kind::PositionLost || e.hint().is_some_and(|h| h.contains("RESYNC PIPE test")), "{e}");
    e
}

#[tokio::test]
async fn a_lost_position_is_found_out() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t", "u"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let slot = format!("standpipe_{}", pipe.pipe.uuid.simple());
    server.sql("INSERT INTO t VALUES (1)").await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    let batch = some(extractor.as_mut()).await;
    let txn = &batch.txns[0];
    let witness = Witness { position: txn.position.clone(), xid: txn.xid.clone() };
    let good = resume(&batch.position, &anchor.identity, Some(witness.clone()), &tables);

    // somebody else has it
    let mut impatient = Pipe::new(&server, &[]);
    (impatient.pipe, impatient.options) = (pipe.pipe.clone(), pipe.options.clone());
    impatient.config.set("connect_timeout", "2000ms", standpipe::config::Origin::CommandLine).expect("valid");
    let mut kind = Kind::Unreachable;
    for _ in 0..PATIENCE {
        kind = refused(&impatient, &good).await.kind();
        if kind != Kind::Unreachable {
            break;
        }
    }
    assert_eq!(kind, Kind::Busy);
    drop(extractor);
    pipe.extractor().connect(&good).await.expect("the history that was read");

    // another history: the transaction is another one, or there should be none, or it lies where nothing was
    let mut other = good.clone();
    other.witnesses[0].1 = Some(Witness { xid: "1".into(), ..witness.clone() });
    assert_eq!(refused(&pipe, &other).await.kind(), Kind::PositionLost);
    other.witnesses[0].1 = None;
    assert_eq!(refused(&pipe, &other).await.kind(), Kind::PositionLost);
    // another source
    for key in anchor.identity.keys() {
        let mut other = good.clone();
        other.identity.insert(key.clone(), "other".into());
        let e = refused(&pipe, &other).await;
        assert!(e.kind() == Kind::PositionLost && e.detail().is_some_and(|d| d.contains(key)), "{e}");
    }
    // the log does not reach the position
    let mut other = good.clone();
    other.position = Position::new("postgres", vec![0x7f; 8], "far");
    other.witnesses = vec![(other.position.clone(), Some(witness.clone()))];
    assert_eq!(refused(&pipe, &other).await.kind(), Kind::PositionLost);
    // a table was taken out of the publication
    server.sql(&format!("ALTER PUBLICATION {slot} DROP TABLE u")).await;
    let e = refused(&pipe, &good).await;
    assert_eq!((e.kind(), e.table()), (Kind::PositionLost, Some("public.u")), "{e}");
    // and put back: it was out for a while
    server.sql(&format!("ALTER PUBLICATION {slot} ADD TABLE ONLY u")).await;
    let e = refused(&pipe, &good).await;
    assert_eq!((e.kind(), e.table()), (Kind::PositionLost, Some("public.u")), "{e}");
    // a copy taken anew sets that right
    let u = tables.iter().filter(|t| t.name.name == "u").cloned().collect::<Vec<_>>();
    drop(pipe.anchor(AnchorKind::Temporary, &u, 0).await);
    // the slot was moved on
    server.sql("INSERT INTO t VALUES (2)").await;
    server.sql(&format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())")).await;
    assert!(refused(&pipe, &good).await.message().contains("confirmed past"));
    // made anew
    server.sql(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    assert!(refused(&pipe, &good).await.message().contains("is gone"));
    server.sql(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    assert_eq!(refused(&pipe, &good).await.kind(), Kind::PositionLost);
    // the publication was altered, for a while
    let noted = server.value(&format!("SELECT obj_description(oid) FROM pg_publication WHERE pubname = '{slot}'")).await.expect("a note");
    server.sql(&format!("ALTER PUBLICATION {slot} SET (publish = 'insert'); ALTER PUBLICATION {slot} SET (publish = 'insert, update, delete, truncate')")).await;
    let e = refused(&pipe, &good).await;
    assert!(noted.contains('/') && e.kind() == Kind::PositionLost && e.detail().is_some_and(|d| d.contains("publication written")), "{noted}: {e}");
    // the publication was made anew
    server.sql(&format!("DROP PUBLICATION {slot}; CREATE PUBLICATION {slot} FOR TABLE t, u")).await;
    assert_eq!(refused(&pipe, &good).await.kind(), Kind::PositionLost);
    server.sql(&format!("DROP PUBLICATION {slot}")).await;
    assert!(refused(&pipe, &good).await.message().contains("is gone"));
}

#[tokio::test]
async fn dropped_log_is_a_lost_position() {
    let server = Postgres::start(&[("max_slot_wal_keep_size", "1MB"), ("min_wal_size", "32MB"), ("max_wal_size", "32MB")]).await;
    server.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE noise (t text)").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    for _ in 0..6 {
        server.sql("INSERT INTO noise SELECT repeat('n', 100) FROM generate_series(1, 100000); TRUNCATE noise; SELECT pg_switch_wal(); CHECKPOINT").await;
    }
    assert_eq!(server.value("SELECT wal_status FROM pg_replication_slots").await.as_deref(), Some("lost"));
    let e = refused(&pipe, &resume(&anchor.position, &anchor.identity, None, &tables)).await;
    assert!(e.kind() == Kind::PositionLost && e.message().contains("dropped log"), "{e}");
}

#[tokio::test]
async fn left_overs_are_replaced_and_released() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION mine FOR TABLE t").await;
    server.sql("SELECT pg_create_logical_replication_slot('taken', 'pgoutput')").await;
    let pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t"]).await;
    pipe.anchor(AnchorKind::Durable, &tables, 1).await;
    pipe.anchor(AnchorKind::Durable, &tables, 1).await;
    let count = || server.value("SELECT (SELECT count(*) FROM pg_replication_slots) || ' ' || (SELECT count(*) FROM pg_publication)");
    assert_eq!(count().await.as_deref(), Some("2 2"));
    for _ in 0..2 {
        assert_eq!((EXTRACTOR.release)(pipe.request(), pipe.pipe.uuid).await, []);
        assert_eq!(count().await.as_deref(), Some("1 1"));
    }
    // the user's own
    let e = Pipe::new(&server, &[("slot-name", "taken")]).try_anchor(AnchorKind::Durable, &tables, 0).await.err().expect("taken");
    assert_eq!(e.sqlstate(), "42710", "{e}");
    let own = Pipe::new(&server, &[("publication-name", "mine"), ("slot-name", "my_slot")]);
    own.anchor(AnchorKind::Durable, &tables, 0).await;
    assert_eq!((EXTRACTOR.release)(own.request(), own.pipe.uuid).await, []);
    assert_eq!(count().await.as_deref(), Some("1 1"));
    // what can't be removed is named
    let mut down = Pipe::new(&server, &[]);
    down.connection.set("port", "1", false);
    let left = (EXTRACTOR.release)(down.request(), down.pipe.uuid).await;
    assert_eq!(left.len(), 2);
    assert!(left[0].statement.starts_with("SELECT pg_drop_replication_slot('standpipe_"), "{left:?}");
}

#[tokio::test]
async fn a_publication_that_leaves_something_out_is_refused() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE PUBLICATION few FOR TABLE t WITH (publish = 'insert, update'); CREATE PUBLICATION part FOR TABLE t WHERE (id > 5); CREATE PUBLICATION narrow FOR TABLE t (id); CREATE PUBLICATION whole FOR ALL TABLES").await;
    for (name, check) in [("few", Some("publication_operations")), ("part", Some("publication_filters")), ("narrow", Some("publication_filters")), ("whole", None)] {
        let pipe = Pipe::new(&server, &[("publication-name", name)]);
        let tables = pipe.tables(&["t"]).await;
        let needs = Needs { changes: true, tables: tables.clone(), options: Some(pipe.options.clone()), fresh: true, ..Needs::default() };
        let findings = pipe.source().check(&needs).await.expect("findings");
        assert_eq!(failed(&findings), check.into_iter().collect::<Vec<_>>(), "{name}: {findings:#?}");
        let begun = pipe.try_anchor(AnchorKind::Durable, &tables, 0).await;
        assert_eq!(begun.err().map(|e| e.message().contains("leaves out")), check.map(|_| true), "{name}");
    }
    // what is published without deletes is enough for a pipe without them
    let pipe = Pipe::new(&server, &[("publication-name", "few"), ("exclusion", "data.delete")]);
    let needs = Needs { changes: true, tables: pipe.tables(&["t"]).await, options: Some(pipe.options.clone()), fresh: true, ..Needs::default() };
    assert_eq!(failed(&pipe.source().check(&needs).await.expect("findings")), [""; 0]);
}

fn failed(findings: &[Finding]) -> Vec<&str> {
    findings.iter().filter(|f| f.status == FindingStatus::Failed).map(|f| f.check_name.as_str()).collect()
}

#[tokio::test]
async fn checks_find_everything_at_once() {
    let server = Postgres::start(&[("wal_level", "replica"), ("max_replication_slots", "0")]).await;
    server.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE nokey (a int); CREATE TABLE n (id int PRIMARY KEY); ALTER TABLE n REPLICA IDENTITY NOTHING; CREATE UNLOGGED TABLE u (id int PRIMARY KEY); CREATE VIEW v AS SELECT 1; CREATE ROLE weak LOGIN PASSWORD 'secret'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO weak").await;
    let mut pipe = Pipe::new(&server, &[]);
    let tables = pipe.tables(&["t", "nokey", "n", "u", "v"]).await;
    let needs = Needs { changes: true, tables, options: Some(pipe.options.clone()), fresh: true, ..Needs::default() };
    let findings = pipe.source().check(&needs).await.expect("findings");
    assert_eq!(failed(&findings), ["wal_level", "free_slots", "key", "replica_identity", "table_kind", "table_kind"], "{findings:#?}");
    assert!(findings.iter().any(|f| f.hint.contains("ALTER SYSTEM SET wal_level = 'logical'")));
    pipe.connection.set("user", "weak", false);
    let findings = pipe.source().check(&needs).await.expect("findings");
    for name in ["replication_right", "publication_right", "table_owner"] {
        assert!(failed(&findings).contains(&name), "{name}: {findings:#?}");
    }
    pipe.connection.set("password", "wrong", true);
    let findings = pipe.source().check(&needs).await.expect("findings");
    assert_eq!(failed(&findings), ["login"]);
    assert!(findings[0].found.contains("weak") && !format!("{findings:?}").contains("wrong"), "{findings:?}");
    pipe.connection.set("port", "1", false);
    assert_eq!(failed(&pipe.source().check(&needs).await.expect("findings")), ["reachability"]);
}

#[tokio::test]
async fn a_running_transaction_is_named_when_no_slot_can_be_made() {
    let server = Postgres::start(&[]).await;
    server.sql("CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut pipe = Pipe::new(&server, &[]);
    pipe.config.set("source.lock-timeout", "300ms", standpipe::config::Origin::CommandLine).expect("valid");
    let tables = pipe.tables(&["t"]).await;
    let busy = server.client("postgres").await;
    busy.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.expect("runs");
    let e = pipe.try_anchor(AnchorKind::Durable, &tables, 0).await.err().expect("it waits in vain");
    assert!(e.kind() == Kind::Busy && e.detail().is_some_and(|d| d.contains("transaction")), "{e}");
    assert_eq!(server.value("SELECT count(*) FROM pg_replication_slots").await.as_deref(), Some("0"));
    busy.batch_execute("COMMIT").await.expect("ends");
    pipe.anchor(AnchorKind::Durable, &tables, 0).await;
}
