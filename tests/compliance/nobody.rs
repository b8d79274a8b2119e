//! Nobody there: a port that is closed, and one that takes connections and never says a word. Every face of every plugin that reaches another system
//! ends in time with an error that says where, and with no word of the password.

use super::*;
use standpipe::config::Origin;
use standpipe::data::{Column, LogicalType, Losses, Position};
use standpipe::error::{Kind, Result};
use standpipe::plugin::mongodb::position::Place as MongoPlace;
use standpipe::plugin::mysql::position::{File, Gtids, Place as MyPlace};
use standpipe::plugin::option;
use standpipe::plugin::postgres::position::Lsn;
use standpipe::plugin::{Begin, Connector, Extractor, FindingStatus, Identity, Needs, PipeRef, Place, Resume, TargetTable};
use std::fmt::Debug;
use tokio::net::TcpListener;

const PASSWORD: &str = "S3cr3t-Pw";
/// `connect_timeout`, and the time after which a face that has not ended is stuck: some connect twice.
const TIMEOUT: &str = "1000ms";
const STUCK: Duration = Duration::from_secs(10);

/// An opening towards a port, with every option that says where and as whom, as far as the plugin's system has it.
pub fn request(plugin: &Plugin, port: u16) -> OpenRequest {
    let port = port.to_string();
    let pairs = [("host", "127.0.0.1"), ("port", port.as_str()), ("database", "shop"), ("user", "somebody"), ("password", PASSWORD)];
    let tables = of_system(Role::Source, plugin.system).map_or(plugin.options, |s| s.options);
    let mut connection = Options::default();
    for (name, value) in pairs.into_iter().filter(|(name, _)| option::find(tables, name).is_some()) {
        connection.set(name, value, name == "password");
    }
    let connection = connection.with_defaults(tables);
    let options = if plugin.role == Role::Source { connection.clone() } else { Options::default().with_defaults(plugin.options) };
    let mut config = Config::default();
    config.set("connect_timeout", TIMEOUT, Origin::CommandLine).expect("valid");
    OpenRequest { source: Some(Uuid::new_v4()), connection, options, config: Arc::new(config), data_dir: "/".into(), losses: Losses::default() }
}

/// It has an address.
fn reaches(plugin: &Plugin) -> bool {
    of_system(Role::Source, plugin.system).is_some_and(|s| option::find(s.options, "host").is_some()) && plugin.role != Role::Processor
}

/// A position that the system could have given.
fn position(system: &str) -> Position {
    match system {
        "postgres" => Lsn(1 << 24).position(),
        "mysql" => MyPlace { file: File::parse("binlog.000001").expect("a name"), offset: 4 }.position(&Gtids::None),
        "mongodb" => MongoPlace::After(1 << 32).position().expect("a time"),
        other => panic!("{other} needs a position in tests/compliance/nobody.rs"),
    }
}

fn table() -> Arc<TableVersion> {
    let columns = vec![Column::new("id", LogicalType::Int32, "integer", "int4"), Column::new("a", LogicalType::Text, "text", "text")];
    Arc::new(TableVersion { id: TableId(1), generation: 1, ..TableVersion::new(TableName::new("shop", "t"), columns, vec![0]) })
}

/// Waits for a face, no longer than it may take.
async fn ends<T>(what: &str, face: impl Future<Output = T>) -> T {
    tokio::time::timeout(STUCK, face).await.unwrap_or_else(|_| panic!("{what} has not ended after {STUCK:?}"))
}

fn no_secret(what: &str, shown: &str) {
    assert!(!shown.contains(PASSWORD), "{what} tells the password: {shown}");
}

fn refused<T>(what: &str, port: u16, answer: Result<T>) {
    let e = answer.err().unwrap_or_else(|| panic!("{what}: nobody is there"));
    assert!(matches!(e.kind(), Kind::Unreachable | Kind::ConnectionLost), "{what}: {:?}: {e}", e.kind());
    assert!(e.to_string().contains(&format!("127.0.0.1:{port}")), "{what} does not say where: {e}");
    let mut shown = vec![e.to_string(), format!("{e:?}")];
    let mut cause = std::error::Error::source(&e);
    while let Some(c) = cause {
        shown.push(format!("{c} {c:?}"));
        cause = c.source();
    }
    shown.iter().for_each(|s| no_secret(what, s));
}

fn hides(what: &str, value: &impl Debug) {
    no_secret(what, &format!("{value:?}"));
}

async fn source_faces(what: &str, mut source: Box<dyn Source>, port: u16) {
    refused(&format!("{what}: tables"), port, ends(what, source.tables(None)).await);
    let findings = ends(what, source.check(&Needs { changes: true, tables: vec![table()], ..Needs::default() })).await.expect("a finding, not an error");
    hides(what, &findings);
    let said = findings.iter().find(|f| f.status == FindingStatus::Failed).unwrap_or_else(|| panic!("{what}: check finds nothing wrong"));
    assert!(said.found.contains(&format!("127.0.0.1:{port}")), "{what}: check does not say where: {said:?}");
    let pipe = Some(PipeRef { uuid: Uuid::new_v4(), name: "compliance".into() });
    let durable = AnchorRequest { kind: AnchorKind::Durable, pipe, tables: vec![table()], readers: 1, options: Some(Options::default()) };
    refused(&format!("{what}: anchor"), port, ends(what, source.anchor(durable)).await);
}

async fn extractor_faces(what: &str, mut extractor: Box<dyn Extractor>, system: &str, port: u16) {
    let position = position(system);
    let resume = Resume { witnesses: vec![(position.clone(), None)], position, identity: Identity::new(), tables: vec![table()] };
    refused(&format!("{what}: connect"), port, ends(what, extractor.connect(&resume)).await);
}

async fn connector_faces(what: &str, mut connector: Box<dyn Connector>, port: u16) {
    let target = TargetTable { table: table(), target: TableName::new("shop", "t"), place: Place::Live };
    refused(&format!("{what}: prepare"), port, ends(what, connector.prepare(std::slice::from_ref(&target))).await);
    let begin = Begin { tables: vec![target], snapshot_writers: 1, last_epoch: 0, epoch: 1 };
    refused(&format!("{what}: begin"), port, ends(what, connector.begin(&begin)).await);
}

async fn faces(plugin: &'static Plugin, how: &str, port: u16) {
    let (what, pipe) = (format!("{} at {how}", plugin.name), PipeRef { uuid: Uuid::new_v4(), name: "compliance".into() });
    match plugin.open {
        Open::Source(open) => source_faces(&what, open(request(plugin, port)).unwrap_or_else(|e| panic!("{what}: {e}")), port).await,
        Open::Extractor(open) => extractor_faces(&what, open(request(plugin, port), pipe.clone()).unwrap_or_else(|e| panic!("{what}: {e}")), plugin.system, port).await,
        Open::Connector(open) => connector_faces(&what, open(request(plugin, port), pipe.clone()).unwrap_or_else(|e| panic!("{what}: {e}")), port).await,
        Open::Processor(_) => return,
    }
    hides(&what, &ends(&what, (plugin.release)(request(plugin, port), pipe.uuid)).await);
    if let Err(e) = ends(&what, (plugin.backlog)(request(plugin, port), pipe.uuid)).await {
        refused::<()>(&format!("{what}: backlog"), port, Err(e));
    }
    hides(&what, &request(plugin, port));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_is_an_error_that_says_where() {
    // nobody else is given the number while it is held without listening
    let held = tokio::net::TcpSocket::new_v4().expect("a socket");
    held.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let port = held.local_addr().expect("its number").port();
    let all = PLUGINS.iter().filter(|p| reaches(p)).map(|p| faces(p, "a closed port", port));
    futures::future::join_all(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_an_error_that_says_where() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its number").port();
    let silent = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    let all = PLUGINS.iter().filter(|p| reaches(p)).map(|p| faces(p, "a silent peer", port));
    futures::future::join_all(all).await;
    silent.abort();
}
