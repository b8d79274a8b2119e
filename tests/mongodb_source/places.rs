//! Places in the history: they are found again whatever the key's type, whatever is followed, and only in the history that they are of.

use super::*;
use mongodb::bson::{Bson, doc};
use standpipe::error::Kind;
use standpipe::plugin::mongodb::position::{Place, token_of};

/// The first batch with a transaction.
async fn change(pipe: &Pipe, extractor: &mut dyn Extractor) -> Batch {
    rest(pipe, extractor).await.into_iter().find(|b| !b.txns.is_empty()).expect("a change")
}

#[tokio::test]
async fn a_place_after_a_key_of_any_number_type_is_found_again() {
    let server = Mongo::start(&[]).await;
    let c = server.collection("shop", "a").await;
    c.insert_one(doc! { "_id": "first" }).await.expect("a document");
    let pipe = Pipe::new(&server, &[], &[]);
    let tables = pipe.tables(&["a"]).await;
    let decimal: mongodb::bson::Decimal128 = "7.50".parse().expect("a decimal");
    let keys = [Bson::Int64(1 << 40), Bson::Int64(3), Bson::Double(1.7e12), Bson::Double(0.5), Bson::Double(-0.0), Bson::Decimal128(decimal), Bson::Document(doc! { "a": 5i64, "b": 0.25 })];
    for key in keys {
        let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
        let mut extractor = pipe.after(&anchor, &tables).await;
        c.insert_one(doc! { "_id": key.clone() }).await.expect("insert");
        let batch = change(&pipe, extractor.as_mut()).await;
        drop(extractor);
        c.update_one(doc! { "_id": "first" }, doc! { "$inc": { "n": 1 } }).await.expect("update");
        // stored, and read again
        let stored = serde_json::to_string(&batch.txns[0].position).expect("text");
        let position: Position = serde_json::from_str(&stored).expect("a position");
        let witness = Witness { position: position.clone(), xid: batch.txns[0].xid.clone() };
        let mut again = pipe.extractor();
        again.connect(&resume(&position, &anchor.identity, Some(witness), &tables)).await.unwrap_or_else(|e| panic!("{key}: {e} {:?}", e.detail()));
        let changes = texts(&rest(&pipe, again.as_mut()).await);
        assert_eq!((changes.len(), changes[0].starts_with("a upsert first")), (1, true), "{key}: {changes:?}");
        // a user gives it as it is shown
        assert_eq!(token_of(&position.text).expect("a token").position().expect("a place"), position);
    }
}

#[tokio::test]
async fn a_place_outlives_the_table_that_it_is_of() {
    let server = Mongo::start(&[]).await;
    let (a, b) = (server.collection("shop", "a").await, server.collection("shop", "b").await);
    a.insert_one(doc! { "_id": 0 }).await.expect("a document");
    b.insert_one(doc! { "_id": 0 }).await.expect("a document");
    let pipe = Pipe::new(&server, &[], &[]);
    let both = pipe.tables(&["a", "b"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &both, 0).await;
    let mut extractor = pipe.after(&anchor, &both).await;
    a.insert_one(doc! { "_id": 1 }).await.expect("insert");
    let batch = change(&pipe, extractor.as_mut()).await;
    drop(extractor);
    let txn = batch.txns[0].clone();
    let witness = Witness { position: txn.position.clone(), xid: txn.xid };
    // the pipe goes on without the table whose event was the last, on an idle server, and then something happens
    let one = vec![both[1].clone()];
    let mut again = pipe.extractor();
    again.connect(&resume(&txn.position, &anchor.identity, Some(witness), &one)).await.expect("goes on");
    let idle = again.next(&Limit { wait: Duration::from_millis(50), ..LIMIT }).await.expect("a batch").expect("it never ends");
    assert!(texts(&[idle]).is_empty());
    b.insert_one(doc! { "_id": 1 }).await.expect("insert");
    assert_eq!(texts(&rest(&pipe, again.as_mut()).await), ["b insert 1 {\"_id\":1}"]);
    b.insert_one(doc! { "_id": 2 }).await.expect("insert");
    assert_eq!(texts(&rest(&pipe, again.as_mut()).await), ["b insert 2 {\"_id\":2}"]);
    // the same while it runs
    let anchor = pipe.anchor(AnchorKind::Durable, &both, 0).await;
    let mut extractor = pipe.after(&anchor, &both).await;
    a.insert_one(doc! { "_id": 2 }).await.expect("insert");
    let batch = change(&pipe, extractor.as_mut()).await;
    assert_eq!(texts(&[batch]), ["a insert 2 {\"_id\":2}"]);
    extractor.follow(&one).expect("follows");
    b.insert_one(doc! { "_id": 3 }).await.expect("insert");
    assert_eq!(texts(&rest(&pipe, extractor.as_mut()).await), ["b insert 3 {\"_id\":3}"]);
}

#[tokio::test]
async fn a_history_without_the_last_event_is_another_one_though_nothing_followed() {
    let server = Mongo::start(&[]).await;
    let c = server.collection("shop", "a").await;
    c.insert_one(doc! { "_id": 0 }).await.expect("a document");
    let pipe = Pipe::new(&server, &[], &[]);
    let tables = pipe.tables(&["a"]).await;
    let anchor = pipe.anchor(AnchorKind::Durable, &tables, 0).await;
    let mut extractor = pipe.after(&anchor, &tables).await;
    c.insert_one(doc! { "_id": (1i64 << 40) }).await.expect("insert");
    let batch = change(&pipe, extractor.as_mut()).await;
    drop(extractor);
    let txn = batch.txns[0].clone();
    let witness = |position: &Position| Some(Witness { position: position.clone(), xid: txn.xid.clone() });
    // it is there, and nothing came after it
    pipe.extractor().connect(&resume(&txn.position, &anchor.identity, witness(&txn.position), &tables)).await.expect("goes on");
    // the same place, of another collection: an event that this history has not, and nothing comes after it
    let uuid = tables[0].facts.get("uuid").expect("a UUID").to_uppercase();
    let text = txn.position.text.to_uppercase();
    assert!(text.contains(&uuid), "{text} {uuid}");
    let forged = |to: &str| {
        let text = txn.position.text.to_uppercase().replace(&uuid, to);
        Place::Token(text).position().expect("a token")
    };
    for to in ["00000000000000000000000000000000", "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"] {
        let gone = forged(to);
        let refused = pipe.extractor().connect(&resume(&txn.position, &anchor.identity, witness(&gone), &tables)).await.expect_err("another history");
        assert_eq!(refused.kind(), Kind::PositionLost, "{refused}");
        assert!(refused.message().contains("last event"), "{refused}");
    }
}
