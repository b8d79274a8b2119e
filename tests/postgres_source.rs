//! The source side of PostgreSQL against a real server.

mod changes;
mod handover;
mod refusals;
mod scanning;
mod speed;

use crate::support::postgres::Postgres;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use standpipe::config::Config;
use standpipe::data::{Batch, Content, Losses, Op, Payload, Position, TableId, TableName, TableVersion, Witness};
use standpipe::plugin::postgres::{EXTRACTOR, SOURCE};
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
    fn new(server: &Postgres, options: &[(&str, &str)]) -> Pipe {
        let port = server.port.to_string();
        let pairs = [("host", "127.0.0.1"), ("port", port.as_str()), ("database", "postgres"), ("user", "postgres"), ("password", "secret")];
        Pipe {
            connection: Options::from_pairs(pairs).with_defaults(SOURCE.options),
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
        let names: Vec<_> = names.iter().map(|n| TableName::new("public", *n)).collect();
        let tables = self.source().tables(Some(&names)).await.expect("tables");
        tables.into_iter().enumerate().map(|(i, t)| Arc::new(TableVersion { id: TableId(i as u32 + 1), generation: 1, ..t })).collect()
    }
    async fn anchor(&self, kind: AnchorKind, tables: &[Arc<TableVersion>], readers: usize) -> Anchor {
        self.try_anchor(kind, tables, readers).await.expect("an anchor")
    }
    async fn try_anchor(&self, kind: AnchorKind, tables: &[Arc<TableVersion>], readers: usize) -> standpipe::error::Result<Anchor> {
        let request = AnchorRequest { kind, pipe: Some(self.pipe.clone()), tables: tables.to_vec(), readers, options: Some(self.options.clone()) };
        self.source().anchor(request).await
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

/// Batches until one holds something, or nothing came for a while.
async fn some(extractor: &mut dyn Extractor) -> Batch {
    for _ in 0..50 {
        let batch = extractor.next(&LIMIT).await.expect("a batch").expect("it never ends");
        if !batch.parts.is_empty() || !batch.txns.is_empty() {
            return batch;
        }
    }
    panic!("no change came");
}

/// Everything up to a position.
async fn until(extractor: &mut dyn Extractor, position: &Position) -> Vec<Batch> {
    let mut out = Vec::new();
    for _ in 0..1000 {
        let batch = extractor.next(&LIMIT).await.expect("a batch").expect("it never ends");
        // a test that goes on from here needs a place between transactions
        let reached = batch.ends_transaction && batch.position.reached(position);
        out.push(batch);
        if reached {
            return out;
        }
    }
    panic!("{position} was not reached");
}

/// Where the source's log ends.
async fn end(pipe: &Pipe) -> Position {
    pipe.anchor(AnchorKind::Instant, &[], 0).await.position
}

async fn scan(reader: &mut dyn Scanner, chunk: &Chunk, want: &Want) -> Vec<Payload> {
    let mut stream = reader.scan(chunk, want).await.expect("a scan");
    let mut out = Vec::new();
    while let Some(payload) = stream.next().await {
        out.push(payload.expect("a payload"));
    }
    out
}

/// All rows of a table, in chunks of about `rows`.
async fn read(reader: &mut dyn Scanner, table: &Arc<TableVersion>, rows: u64, want: &Want) -> Vec<RecordBatch> {
    let mut out = Vec::new();
    for chunk in reader.split(table, rows).await.expect("chunks") {
        for payload in scan(reader, &chunk, want).await {
            match payload {
                Payload::Arrow(batch) => out.push(batch),
                Payload::Wire { .. } => panic!("bytes where rows were asked for"),
            }
        }
    }
    out
}

fn text(array: &ArrayRef, row: usize) -> Option<String> {
    let options = FormatOptions::default();
    array.is_valid(row).then(|| ArrayFormatter::try_new(array, &options).expect("formats").value(row).to_string())
}

type Row = Vec<Option<String>>;

/// A target in memory: rows by key, all as text.
#[derive(Default)]
struct Copy {
    rows: BTreeMap<Row, Row>,
}

impl Copy {
    fn load(&mut self, table: &TableVersion, batches: &[RecordBatch]) {
        for batch in batches {
            for i in 0..batch.num_rows() {
                let row: Row = batch.columns().iter().map(|c| text(c, i)).collect();
                let key = table.key.iter().map(|&k| row[k].clone()).collect();
                assert!(self.rows.insert(key, row).is_none(), "a row came twice");
            }
        }
    }
    /// Applies changes one by one; an insert of what is there, or a change of what is not, is a fault.
    fn apply(&mut self, batch: &Batch) {
        for part in &batch.parts {
            let rows = match &part.content {
                Content::Rows(rows) => rows,
                Content::Truncate => {
                    self.rows.clear();
                    continue;
                }
                Content::Schema(_) => panic!("no change of structure here"),
            };
            for i in 0..rows.len() {
                let mut row: Row = rows.after.columns().iter().map(|c| text(c, i)).collect();
                let key: Row = part.table.key.iter().map(|&k| row[k].clone()).collect();
                let old_key = rows.old_keys.as_ref().filter(|o| o.set.value(i)).map(|o| o.keys.columns().iter().map(|c| text(c, i)).collect::<Row>());
                match rows.ops[i] {
                    Op::Insert => assert!(self.rows.insert(key, row).is_none(), "an insert of a row that is there"),
                    Op::Delete => assert!(self.rows.remove(&key).is_some(), "a delete of a row that is not there"),
                    Op::Update => {
                        let before = self.rows.remove(old_key.as_ref().unwrap_or(&key)).expect("an update of a row that is not there");
                        for (c, value) in row.iter_mut().enumerate() {
                            if rows.present.as_ref().is_some_and(|p| p[c].as_ref().is_some_and(|m| !m.value(i))) {
                                *value = before[c].clone();
                            }
                        }
                        assert!(self.rows.insert(key, row).is_none(), "an update to a key that is there");
                    }
                    Op::Upsert => panic!("the log knows what it does"),
                }
            }
        }
    }
}
