//! The source side of MongoDB against a real replica set: through the plugin's own faces, and through pipes of the program.

mod changes;
mod pipes;
mod places;
mod prerequisites;
mod scanning;

use crate::support::mongodb::Mongo;
use arrow::array::{Array, AsArray, RecordBatch};
use futures::StreamExt;
use mongodb::bson::{Document, RawDocumentBuf};
use standpipe::config::{Config, Origin};
use standpipe::data::{Batch, Content, Losses, Op, Payload, Position, TableId, TableName, TableVersion, Witness};
use standpipe::plugin::mongodb::{EXTRACTOR, SOURCE, json};
use standpipe::plugin::{Anchor, AnchorKind, AnchorRequest, Chunk, Extractor, Identity, Limit, Open, OpenRequest, Options, PipeRef, Resume, Scanner, Source, Want};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A pipe's view of a server.
struct Pipe {
    connection: Options,
    options: Options,
    config: Config,
    pipe: PipeRef,
}

impl Pipe {
    fn new(server: &Mongo, connection: &[(&str, &str)], options: &[(&str, &str)]) -> Pipe {
        let port = server.port.to_string();
        let pairs = [("host", "127.0.0.1"), ("port", port.as_str())];
        Pipe {
            connection: Options::from_pairs(pairs.into_iter().chain(connection.iter().copied())).with_defaults(SOURCE.options),
            options: Options::from_pairs(options.iter().copied()).with_defaults(EXTRACTOR.options),
            config: Config::default(),
            pipe: PipeRef { uuid: Uuid::new_v4(), name: "test".into() },
        }
    }
    fn request(&self) -> OpenRequest {
        OpenRequest { source: None, connection: self.connection.clone(), options: self.options.clone(), config: Arc::new(self.config.clone()), data_dir: "/".into(), losses: Losses::default() }
    }
    fn source(&self) -> Box<dyn Source> {
        match SOURCE.open {
            Open::Source(open) => open(self.request()).expect("opens"),
            _ => unreachable!("a source"),
        }
    }
    fn extractor(&self) -> Box<dyn Extractor> {
        match EXTRACTOR.open {
            Open::Extractor(open) => open(self.request(), self.pipe.clone()).expect("opens"),
            _ => unreachable!("an extractor"),
        }
    }
    async fn tables(&self, names: &[&str]) -> Vec<Arc<TableVersion>> {
        let names: Vec<_> = names.iter().map(|n| n.split_once('.').unwrap_or(("shop", n))).map(|(d, n)| TableName::new(d, n)).collect();
        let tables = self.source().tables(Some(&names)).await.expect("tables");
        tables.into_iter().enumerate().map(|(i, t)| Arc::new(TableVersion { id: TableId(i as u32 + 1), generation: 1, ..t })).collect()
    }
    async fn anchor(&self, kind: AnchorKind, tables: &[Arc<TableVersion>], readers: usize) -> Anchor {
        let request = AnchorRequest { kind, pipe: Some(self.pipe.clone()), tables: tables.to_vec(), readers, options: Some(self.options.clone()) };
        self.source().anchor(request).await.expect("an anchor")
    }
    /// An extractor that goes on from an anchor.
    async fn after(&self, anchor: &Anchor, tables: &[Arc<TableVersion>]) -> Box<dyn Extractor> {
        let mut extractor = self.extractor();
        extractor.connect(&resume(&anchor.position, &anchor.identity, None, tables)).await.expect("connects");
        extractor
    }
}

fn resume(position: &Position, identity: &Identity, witness: Option<Witness>, tables: &[Arc<TableVersion>]) -> Resume {
    Resume { position: position.clone(), identity: identity.clone(), witnesses: vec![(position.clone(), witness)], tables: tables.to_vec() }
}

const LIMIT: Limit = Limit { rows: 1000, bytes: 1 << 20, wait: Duration::from_millis(200) };

/// Everything up to where the source is now.
async fn rest(pipe: &Pipe, extractor: &mut dyn Extractor) -> Vec<Batch> {
    let end = pipe.anchor(AnchorKind::Instant, &[], 0).await.position;
    let mut out = Vec::new();
    for _ in 0..1000 {
        let batch = extractor.next(&LIMIT).await.expect("a batch").expect("it never ends");
        let reached = batch.ends_transaction && batch.position.reached(&end);
        out.push(batch);
        if reached {
            return out;
        }
    }
    panic!("{end} was not reached");
}

/// Changes as text: `table op _id doc`.
fn texts(batches: &[Batch]) -> Vec<String> {
    let mut out = Vec::new();
    for part in batches.iter().flat_map(|b| &b.parts) {
        let Content::Rows(rows) = &part.content else {
            out.push(format!("{} truncate", part.table.name.name));
            continue;
        };
        let (ids, docs) = (rows.after.column(0).as_string::<i32>(), rows.after.column(1).as_string::<i32>());
        for (i, op) in rows.ops.iter().enumerate() {
            let op = match op {
                Op::Insert => "insert",
                Op::Delete => "delete",
                Op::Update => "update",
                Op::Upsert => "upsert",
            };
            let doc = if docs.is_null(i) { "" } else { docs.value(i) };
            out.push(format!("{} {op} {} {doc}", part.table.name.name, ids.value(i)).trim_end().to_string());
        }
    }
    out
}

/// All rows of a table by its chunks: `_id` and `doc`.
async fn rows(reader: &mut dyn Scanner, chunks: &[Chunk]) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for chunk in chunks {
        let want = Want::default();
        let mut stream = reader.scan(chunk, &want).await.expect("a scan");
        while let Some(payload) = stream.next().await {
            let Payload::Arrow(batch) = payload.expect("rows") else { panic!("no wire format") };
            out.extend(pairs(&batch));
        }
    }
    out
}

fn pairs(batch: &RecordBatch) -> Vec<(String, String)> {
    let (ids, docs) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
    (0..batch.num_rows()).map(|i| (ids.value(i).to_string(), docs.value(i).to_string())).collect()
}

/// A document as a pipe gives it.
fn text_of(document: &Document) -> String {
    let mut out = String::new();
    json::document(&mut out, RawDocumentBuf::try_from(document).expect("bson").as_bytes()).expect("a document");
    out
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = items.into_iter().collect();
    all.sort();
    all
}

/// A value of that name can be a key beside the others: equal numbers are one key, and arrays and patterns are none.
pub fn is_key(name: &str) -> bool {
    !matches!(name, "array" | "regex" | "document" | "long" | "double" | "decimal")
}

/// Every BSON type, as values of documents and as keys.
pub fn all_types() -> BTreeMap<&'static str, mongodb::bson::Bson> {
    use mongodb::bson::{Binary, Bson, DateTime, JavaScriptCodeWithScope, Regex, Timestamp, doc, oid::ObjectId, spec::BinarySubtype};
    BTreeMap::from([
        ("int", Bson::Int32(7)),
        ("long", Bson::Int64(7)),
        ("big", Bson::Int64(i64::MAX)),
        ("double", Bson::Double(7.0)),
        ("nan", Bson::Double(f64::NAN)),
        ("decimal", Bson::Decimal128("7.00".parse().expect("decimal"))),
        ("string", Bson::String("7 \u{0} \" ü 😀".into())),
        ("oid", Bson::ObjectId(ObjectId::from_bytes([7; 12]))),
        ("date", Bson::DateTime(DateTime::from_millis(1_700_000_000_123))),
        ("early", Bson::DateTime(DateTime::from_millis(-62_135_596_800_001))),
        ("bool", Bson::Boolean(true)),
        ("null", Bson::Null),
        ("binary", Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 255] })),
        ("uuid", Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 16] })),
        ("regex", Bson::RegularExpression(Regex { pattern: mongodb::bson::cstr!("a.b").to_owned(), options: mongodb::bson::cstr!("i").to_owned() })),
        ("code", Bson::JavaScriptCode("f()".into())),
        ("scoped", Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code: "f()".into(), scope: doc! { "a": 1 } })),
        ("symbol", Bson::Symbol("s".into())),
        ("timestamp", Bson::Timestamp(Timestamp { time: 7, increment: 8 })),
        ("min", Bson::MinKey),
        ("max", Bson::MaxKey),
        ("array", Bson::Array(vec![Bson::Int32(1), Bson::Document(doc! {}), Bson::Array(vec![])])),
        ("document", Bson::Document(doc! { "b": 1, "a": { "$oid": "no" } })),
    ])
}
