//! What changes become.

use super::*;
use mongodb::bson::doc;
use standpipe::error::Kind;

#[tokio::test]
async fn changes_of_one_collection_and_idle_progress() {
    let server = Mongo::start(&[]).await;
    let c = server.collection("shop", "a").await;
    c.insert_one(doc! { "_id": 0 }).await.expect("a document");
    let pipe = Pipe::new(&server, &[], &[]);
    let tables = pipe.tables(&["a"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    c.insert_one(doc! { "_id": 1, "n": 1 }).await.expect("insert");
    c.update_one(doc! { "_id": 1 }, doc! { "$set": { "n": 2 } }).await.expect("update");
    c.replace_one(doc! { "_id": 0 }, doc! { "x": "y" }).await.expect("replace");
    c.delete_one(doc! { "_id": 0 }).await.expect("delete");
    let batches = rest(&pipe, extractor.as_mut()).await;
    assert_eq!(texts(&batches), ["a insert 1 {\"_id\":1,\"n\":1}", "a upsert 1 {\"_id\":1,\"n\":2}", "a upsert 0 {\"_id\":0,\"x\":\"y\"}", "a delete 0"]);
    let txns: Vec<_> = batches.iter().flat_map(|b| &b.txns).collect();
    assert_eq!(txns.len(), 4);
    assert!(txns.windows(2).all(|w| w[1].position.reached(&w[0].position) && w[1].position != w[0].position));
    // nothing happens here, and the place moves on all the same
    let before = batches.last().expect("a batch").position.clone();
    server.collection("other", "z").await.insert_one(doc! {}).await.expect("insert");
    let idle = rest(&pipe, extractor.as_mut()).await;
    assert!(texts(&idle).is_empty());
    let after = &idle.last().expect("a batch").position;
    assert!(after.reached(&before) && *after != before);
}

#[tokio::test]
async fn transactions_come_whole_across_collections() {
    let server = Mongo::start(&[]).await;
    let client = server.client().await;
    let db = client.database("shop");
    for name in ["a", "b", "c"] {
        db.create_collection(name).await.expect("a collection");
    }
    let pipe = Pipe::new(&server, &[], &[]);
    let tables = pipe.tables(&["a", "b"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    let mut session = client.start_session().await.expect("a session");
    session.start_transaction().await.expect("begin");
    for i in 0..50 {
        for name in ["a", "b", "c"] {
            db.collection::<Document>(name).insert_one(doc! { "_id": i }).session(&mut session).await.expect("insert");
        }
    }
    session.commit_transaction().await.expect("commit");
    session.start_transaction().await.expect("begin");
    db.collection::<Document>("a").insert_one(doc! { "_id": "poison" }).session(&mut session).await.expect("insert");
    session.abort_transaction().await.expect("rollback");
    // in small pieces
    let small = Limit { rows: 30, ..LIMIT };
    let (mut batches, mut count) = (Vec::new(), 0);
    while count < 100 {
        let batch = extractor.next(&small).await.expect("a batch").expect("it never ends");
        count += batch.rows();
        batches.push(batch);
    }
    batches.extend(rest(&pipe, extractor.as_mut()).await);
    let changes = texts(&batches);
    assert_eq!((changes.len(), changes.iter().any(|t| t.contains("poison"))), (100, false));
    assert!(!batches[0].ends_transaction, "a transaction that is larger than a batch");
    let xids: std::collections::BTreeSet<_> = batches.iter().flat_map(|b| &b.txns).map(|t| t.xid.clone()).collect();
    assert_eq!(xids.len(), 1, "{xids:?}");
    assert_eq!(batches[0].position, anchor.position, "the last complete transaction's end");
}

#[tokio::test]
async fn an_answer_that_ends_in_a_transaction_gives_those_before_it() {
    let server = Mongo::start(&[]).await;
    let client = server.client().await;
    let db = client.database("shop");
    db.create_collection("a").await.expect("a collection");
    let mut pipe = Pipe::new(&server, &[], &[]);
    pipe.config.set("source.answer-rows", "10", Origin::CommandLine).expect("a setting");
    let tables = pipe.tables(&["a"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    let mut session = client.start_session().await.expect("a session");
    for t in 0..20 {
        session.start_transaction().await.expect("begin");
        for i in 0..3 {
            db.collection::<Document>("a").insert_one(doc! { "_id": 10 * t + i }).session(&mut session).await.expect("insert");
        }
        session.commit_transaction().await.expect("commit");
    }
    let mut batches = Vec::new();
    while batches.iter().map(Batch::rows).sum::<usize>() < 57 {
        batches.push(extractor.next(&LIMIT).await.expect("a batch").expect("it never ends"));
    }
    let all: Vec<_> = batches.iter().map(|b| (b.rows(), b.ends_transaction)).collect();
    assert!(all.len() > 4 && all.iter().all(|(rows, whole)| rows % 3 == 0 && *whole), "{all:?}");
    batches.extend(rest(&pipe, extractor.as_mut()).await);
    let changes = texts(&batches);
    assert_eq!(changes.len(), 60, "{changes:?}");
    let xids: std::collections::BTreeSet<_> = batches.iter().flat_map(|b| &b.txns).map(|t| t.xid.clone()).collect();
    assert_eq!(xids.len(), 20, "{xids:?}");
}

#[tokio::test]
async fn a_stream_goes_on_where_it_stood_and_knows_another_history() {
    let server = Mongo::start(&[]).await;
    let c = server.collection("shop", "a").await;
    c.insert_one(doc! { "_id": 0 }).await.expect("a document");
    server.collection("shop", "b").await.insert_one(doc! { "_id": 0 }).await.expect("a document");
    let pipe = Pipe::new(&server, &[], &[]);
    let both = pipe.tables(&["a", "b"]).await;
    let tables = vec![both[0].clone()];
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    c.insert_one(doc! { "_id": 1 }).await.expect("insert");
    let batch = rest(&pipe, extractor.as_mut()).await.into_iter().find(|b| !b.txns.is_empty()).expect("a change");
    drop(extractor);
    c.insert_one(doc! { "_id": 2 }).await.expect("insert");
    let txn = batch.txns[0].clone();
    let witness = Witness { position: txn.position.clone(), xid: txn.xid };
    // with other tables than the token was made for
    for tables in [&tables, &both] {
        let mut again = pipe.extractor();
        again.connect(&resume(&txn.position, &anchor.identity, Some(witness.clone()), tables)).await.expect("goes on");
        assert_eq!(texts(&rest(&pipe, again.as_mut()).await), ["a insert 2 {\"_id\":2}"]);
    }
    // a token of an event that never was
    let forged = txn.position.text.replace("2B020004", "2B080004").replace("2B040004", "2B080004");
    assert_ne!(forged, txn.position.text);
    let place = standpipe::plugin::mongodb::position::Place::Token(forged).position().expect("a token");
    let foreign = Witness { position: place, xid: "x".into() };
    let refused = pipe.extractor().connect(&resume(&txn.position, &anchor.identity, Some(foreign), &tables)).await.expect_err("another history");
    assert_eq!(refused.kind(), Kind::PositionLost, "{refused}");
    assert!(refused.hint().is_some_and(|h| h.contains("RESYNC PIPE test")), "{refused}");
    let mut other = anchor.identity.clone();
    other.insert("set_id".into(), "000000000000000000000000".into());
    let refused = pipe.extractor().connect(&resume(&txn.position, &other, None, &tables)).await.expect_err("another deployment");
    assert_eq!(refused.kind(), Kind::PositionLost, "{refused}");
    let future = standpipe::plugin::mongodb::position::Place::After(u64::MAX >> 1).position().expect("a time");
    let refused = pipe.extractor().connect(&resume(&future, &anchor.identity, None, &tables)).await.expect_err("a restored source");
    assert_eq!(refused.kind(), Kind::PositionLost, "{refused}");
}

#[tokio::test]
async fn drops_and_renames_follow_their_policies() {
    let server = Mongo::start(&[]).await;
    let client = server.client().await;
    let db = client.database("shop");
    for name in ["a", "b"] {
        db.collection(name).insert_one(doc! { "_id": 0 }).await.expect("a document");
    }
    // one collection: its stream is invalidated, and opened again
    let pipe = Pipe::new(&server, &[], &[]);
    let tables = pipe.tables(&["a"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    db.collection::<Document>("a").drop().await.expect("drop");
    db.collection("a").insert_one(doc! { "_id": 1 }).await.expect("a document");
    assert_eq!(texts(&rest(&pipe, extractor.as_mut()).await), ["a truncate", "a insert 1 {\"_id\":1}"]);
    db.collection("a").insert_one(doc! { "_id": 2 }).await.expect("a document");
    assert_eq!(texts(&rest(&pipe, extractor.as_mut()).await), ["a insert 2 {\"_id\":2}"]);
    // a database: a rename stops its table, after what came before
    let tables = pipe.tables(&["a", "b"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    db.collection("b").insert_one(doc! { "_id": 3 }).await.expect("a document");
    server.command("admin", doc! { "renameCollection": "shop.a", "to": "shop.c" }).await;
    let mut seen = Vec::new();
    let stopped = loop {
        match extractor.next(&LIMIT).await {
            Ok(batch) => seen.extend(texts(&[batch.expect("a batch")])),
            Err(e) => break e,
        }
    };
    assert_eq!((seen, stopped.table()), (vec!["b insert 3 {\"_id\":3}".to_string()], Some("shop.a")));
}

#[tokio::test]
async fn a_pipeline_shapes_changes_and_snapshot_alike() {
    let server = Mongo::start(&[]).await;
    let c = server.collection("shop", "a").await;
    c.insert_many([doc! { "_id": 1, "user": "alice", "secret": 1 }, doc! { "_id": 2, "user": "bob", "secret": 2 }]).await.expect("documents");
    let pipeline = r#"[{"$match": {"fullDocument.user": "alice"}}, {"$unset": ["fullDocument.secret"]}]"#;
    let pipe = Pipe::new(&server, &[], &[("pipeline", pipeline)]);
    let tables = pipe.tables(&["a"]).await;
    let mut anchor = pipe.anchor(AnchorKind::Durable, &tables, 1).await;
    let reader = anchor.readers[0].as_mut();
    let chunks = reader.split(&tables[0], 1000).await.expect("chunks");
    assert_eq!(rows(reader, &chunks).await, [("1".to_string(), r#"{"_id":1,"user":"alice"}"#.to_string())]);
    let mut extractor = pipe.after(&anchor, &tables).await;
    c.insert_many([doc! { "_id": 3, "user": "alice", "secret": 1 }, doc! { "_id": 4, "user": "bob", "secret": 2 }]).await.expect("documents");
    assert_eq!(texts(&rest(&pipe, extractor.as_mut()).await), [r#"a upsert 3 {"_id":3,"user":"alice"}"#]);
}
