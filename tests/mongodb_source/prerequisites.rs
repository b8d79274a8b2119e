//! What is missing is named.

use super::*;
use crate::support::mongodb::ROOT;
use mongodb::bson::doc;
use standpipe::plugin::{Finding, FindingStatus, Needs};

async fn findings(pipe: &Pipe, tables: Vec<Arc<TableVersion>>) -> BTreeMap<String, Finding> {
    let needs = Needs { changes: true, tables, options: Some(pipe.options.clone()), ..Needs::default() };
    pipe.source().check(&needs).await.expect("findings").into_iter().map(|f| (f.check_name.clone(), f)).collect()
}

fn failed(all: &BTreeMap<String, Finding>) -> Vec<&str> {
    all.values().filter(|f| f.status == FindingStatus::Failed).map(|f| f.check_name.as_str()).collect()
}

#[tokio::test]
async fn a_single_server_and_a_dead_one() {
    let server = Mongo::start_alone().await;
    server.collection("shop", "a").await.insert_one(doc! {}).await.expect("a document");
    let mut pipe = Pipe::new(&server, &[], &[]);
    let tables = pipe.tables(&["a"]).await;
    let all = findings(&pipe, tables).await;
    assert_eq!(failed(&all), ["replica_set"]);
    assert!(all["replica_set"].hint.contains("rs.initiate"));
    drop(server);
    pipe.config.set("connect_timeout", "500ms", standpipe::config::Origin::CommandLine).expect("a setting");
    assert_eq!(failed(&findings(&pipe, Vec::new()).await), ["reachability"]);
}

#[tokio::test]
async fn rights_are_asked_for_by_name() {
    let server = Mongo::start_with_auth().await;
    for name in ["a", "b"] {
        server.collection("shop", name).await.insert_one(doc! {}).await.expect("a document");
    }
    let tables = Pipe::new(&server, &[("user", ROOT.0), ("password", ROOT.1)], &[]).tables(&["a"]).await;
    let role = |name: &str, actions: &[&str]| {
        let privileges = doc! { "resource": { "db": "shop", "collection": "a" }, "actions": actions };
        doc! { "createRole": name, "privileges": [privileges], "roles": [] }
    };
    for (name, actions) in [("reader", &["find"][..]), ("watcher", &["changeStream"][..]), ("both", &["find", "changeStream"][..])] {
        server.command("admin", role(name, actions)).await;
        server.command("admin", doc! { "createUser": name, "pwd": "secret", "roles": [name] }).await;
    }
    let of = |user: &str, password: &str| Pipe::new(&server, &[("user", user), ("password", password)], &[]);
    assert_eq!(failed(&findings(&of("both", "wrong"), tables.clone()).await), ["login"]);
    let reader = findings(&of("reader", "secret"), tables.clone()).await;
    assert_eq!(failed(&reader), ["change_stream_right"]);
    assert!(reader["change_stream_right"].hint.contains("changeStream"), "{:?}", reader["change_stream_right"]);
    assert_eq!(failed(&findings(&of("watcher", "secret"), tables.clone()).await), ["change_stream_right", "find_right"]);
    let both = findings(&of("both", "secret"), tables.clone()).await;
    assert_eq!(failed(&both), Vec::<&str>::new(), "{both:?}");
    assert_eq!(both["oplog_window"].status, FindingStatus::Warning);
    // and so much is enough
    let pipe = of("both", "secret");
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    server.collection("shop", "a").await.insert_one(doc! { "_id": 1 }).await.expect("a document");
    let batch = extractor.next(&Limit { wait: Duration::from_secs(5), ..LIMIT }).await.expect("a batch").expect("it never ends");
    assert_eq!(texts(&[batch]), ["a insert 1 {\"_id\":1}"]);
}
