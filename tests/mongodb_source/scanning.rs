//! Reading collections.

use super::*;
use mongodb::bson::{Bson, doc};

#[tokio::test]
async fn chunks_cover_keys_of_all_types_once() {
    let server = Mongo::start(&[]).await;
    let all = server.collection("shop", "mixed").await;
    let mut documents = Vec::new();
    for i in 0..400i64 {
        for key in [Bson::Int64(i << 33), Bson::Double(i as f64 + 0.5), Bson::String(format!("key {i}")), Bson::ObjectId(mongodb::bson::oid::ObjectId::new()), Bson::Document(doc! { "a": i }), Bson::String(i.to_string())] {
            documents.push(doc! { "_id": key, "n": i });
        }
    }
    let types = all_types();
    for (name, value) in types.iter().filter(|(n, _)| is_key(n)) {
        documents.push(doc! { "_id": value.clone(), "name": *name });
    }
    all.insert_many(&documents).await.expect("documents");
    let pipe = Pipe::new(&server, &[("database", "shop")], &[]);
    let tables = pipe.tables(&["mixed"]).await;
    assert_eq!(tables[0].estimated_rows, Some(documents.len() as u64));
    let mut anchor = pipe.anchor(AnchorKind::Durable, &tables, 1).await;
    let reader = anchor.readers[0].as_mut();
    let chunks = reader.split(&tables[0], 200).await.expect("chunks");
    assert!(chunks.len() > 8, "{} chunks", chunks.len());
    assert_eq!(chunks.iter().map(|c| &c.id).collect::<std::collections::BTreeSet<_>>().len(), chunks.len());
    let found = rows(reader, &chunks).await;
    assert_eq!(sorted(found.iter().map(|(_, d)| d.clone())), sorted(documents.iter().map(text_of)));
    let ids: std::collections::BTreeSet<_> = found.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), documents.len(), "different keys have different texts");
    // and each is found by its text
    let table = &tables[0];
    let keys = RecordBatch::try_new(table.key_schema(), vec![Arc::new(arrow::array::StringArray::from_iter_values(found.iter().map(|(id, _)| id)))]).expect("keys");
    let fetched = reader.fetch(table, &keys).await.expect("rows");
    assert_eq!(sorted(pairs(&fetched)), sorted(found));
}

#[tokio::test]
async fn every_type_is_the_same_by_snapshot_and_by_stream() {
    let server = Mongo::start(&[]).await;
    let collection = server.collection("shop", "types").await;
    let value: Document = all_types().into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    let mut one = doc! { "_id": "one" };
    one.extend(value.clone());
    collection.insert_one(&one).await.expect("a document");
    let pipe = Pipe::new(&server, &[], &[]);
    let tables = pipe.tables(&["types"]).await;
    let mut anchor = pipe.anchor(AnchorKind::Durable, &tables, 1).await;
    let reader = anchor.readers[0].as_mut();
    let chunks = reader.split(&tables[0], 1000).await.expect("chunks");
    assert_eq!(rows(reader, &chunks).await, [("one".to_string(), text_of(&one))]);
    let mut extractor = pipe.after(&anchor, &tables).await;
    let mut two = doc! { "_id": "two" };
    two.extend(value);
    collection.insert_one(&two).await.expect("a document");
    assert_eq!(texts(&rest(&pipe, extractor.as_mut()).await), [format!("types insert two {}", text_of(&two))]);
}

#[tokio::test]
async fn declared_columns_and_a_query_instant() {
    let server = Mongo::start(&[]).await;
    let collection = server.collection("shop", "orders").await;
    collection.insert_many([doc! { "_id": 1, "total": { "amount": 5 }, "city": "Ulm" }, doc! { "_id": 2, "city": 7 }]).await.expect("documents");
    let columns = [("columns.shop.orders", "amount bigint from total.amount, city text, rest json from *"), ("on-mismatch", "text")];
    let pipe = Pipe::new(&server, &columns, &[]);
    let tables = pipe.tables(&["orders"]).await;
    let request = AnchorRequest { kind: AnchorKind::Instant, pipe: None, tables: tables.clone(), readers: 2, options: None };
    let mut source = pipe.source();
    let mut anchor = source.anchor(request).await.expect("an instant");
    collection.insert_one(doc! { "_id": 3 }).await.expect("a document");
    let want = Want { columns: Some(vec![2, 1]), ..Want::default() };
    for reader in &mut anchor.readers {
        let chunks = reader.split(&tables[0], 1000).await.expect("chunks");
        let mut stream = reader.scan(&chunks[0], &want).await.expect("a scan");
        let Some(Ok(Payload::Arrow(batch))) = stream.next().await else { panic!("rows") };
        // what came later is not seen
        assert_eq!(batch.num_rows(), 2);
        let cities: Vec<_> = batch.column(0).as_string::<i32>().iter().map(|c| c.unwrap_or("~").to_string()).collect();
        assert_eq!(cities, ["Ulm", "7"]);
        assert_eq!((batch.column(1).is_null(0), batch.column(1).is_null(1)), (false, true));
    }
}
