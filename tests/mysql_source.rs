//! The source side of MySQL and MariaDB against real servers.

mod changes;
mod handover;
mod refusals;
mod types;

use crate::support::mysql::{Flavour, Mysql};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use standpipe::config::Config;
use standpipe::data::{Batch, Content, Losses, Op, Payload, Position, TableId, TableName, TableVersion, Witness};
use standpipe::plugin::mysql::{EXTRACTOR, SOURCE};
use standpipe::plugin::{Anchor, AnchorKind, AnchorRequest, Extractor, Identity, Limit, Open, OpenRequest, Options, PipeRef, Resume, Scanner, Source, Want};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Both servers that can be installed.
const BOTH: [Flavour; 2] = [Flavour::MariaDb, Flavour::MySql56];

/// A pipe's view of a server.
struct Pipe {
    connection: Options,
    options: Options,
    config: Config,
    pipe: PipeRef,
}

impl Pipe {
    fn new(server: &Mysql, options: &[(&str, &str)]) -> Pipe {
        Pipe::with(server, &[], options)
    }
    /// With options of the source besides those that reach it.
    fn with(server: &Mysql, connection: &[(&str, &str)], options: &[(&str, &str)]) -> Pipe {
        let own = server.options();
        let all = own.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain(connection.iter().copied());
        Pipe {
            connection: Options::from_pairs(all),
            options: Options::from_pairs(options.iter().copied()),
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
        let names: Vec<_> = names.iter().map(|n| TableName::new("shop", *n)).collect();
        let tables = self.source().tables(Some(&names)).await.expect("tables");
        tables.into_iter().enumerate().map(|(i, t)| Arc::new(TableVersion { id: TableId(i as u32 + 1), generation: 1, ..t })).collect()
    }
    async fn anchor(&self, kind: AnchorKind, tables: &[Arc<TableVersion>], readers: usize) -> Anchor {
        let request = AnchorRequest { kind, pipe: Some(self.pipe.clone()), tables: tables.to_vec(), readers, options: Some(self.options.clone()) };
        self.source().anchor(request).await.expect("an anchor")
    }
    async fn try_after(&self, from: &Resume) -> standpipe::error::Result<Box<dyn Extractor>> {
        let mut extractor = self.extractor();
        extractor.connect(from).await?;
        Ok(extractor)
    }
    /// An extractor that goes on from an anchor.
    async fn after(&self, anchor: &Anchor, tables: &[Arc<TableVersion>]) -> Box<dyn Extractor> {
        self.try_after(&resume(&anchor.position, &anchor.identity, None, tables)).await.expect("connects")
    }
}

fn resume(position: &Position, identity: &Identity, witness: Option<Witness>, tables: &[Arc<TableVersion>]) -> Resume {
    Resume { position: position.clone(), identity: identity.clone(), witnesses: vec![(position.clone(), witness)], tables: tables.to_vec() }
}

const LIMIT: Limit = Limit { rows: 1000, bytes: 1 << 20, wait: Duration::from_millis(200) };

/// Everything up to a position.
async fn until(extractor: &mut dyn Extractor, position: &Position) -> Vec<Batch> {
    let mut out = Vec::new();
    for _ in 0..200 {
        let batch = extractor.next(&LIMIT).await.expect("a batch").expect("it never ends");
        let reached = batch.position.reached(position);
        out.push(batch);
        if reached {
            return out;
        }
    }
    panic!("{position} was not reached; the last batch: {:?}", out.last());
}

/// Where the source's log ends.
async fn end(pipe: &Pipe) -> Position {
    pipe.anchor(AnchorKind::Instant, &[], 0).await.position
}

/// The last transaction of some batches.
fn witness(batches: &[Batch]) -> Option<Witness> {
    let last = batches.iter().flat_map(|b| &b.txns).last()?;
    Some(Witness { position: last.position.clone(), xid: last.xid.clone() })
}

fn text(array: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::default().with_null("NULL");
    ArrayFormatter::try_new(array, &options).expect("shown").value(row).to_string()
}

fn row_text(batch: &RecordBatch, row: usize) -> Vec<String> {
    batch.columns().iter().map(|c| text(c, row)).collect()
}

/// Changes as text: what, and the row; of a table or of all.
fn changes(batches: &[Batch]) -> Vec<String> {
    let mut out = Vec::new();
    for part in batches.iter().flat_map(|b| &b.parts) {
        match &part.content {
            Content::Rows(rows) => {
                for i in 0..rows.len() {
                    let old = rows.old_keys.as_ref().filter(|o| o.set.value(i)).map(|o| format!(" from {}", row_text(&o.keys, i).join(",")));
                    let what = match rows.ops[i] {
                        Op::Insert => "+",
                        Op::Update => "~",
                        Op::Delete => "-",
                        Op::Upsert => "?",
                    };
                    out.push(format!("{}{what} {}{}", part.table.name.name, row_text(&rows.after, i).join(","), old.unwrap_or_default()));
                }
            }
            Content::Truncate => out.push(format!("{} truncate", part.table.name.name)),
            Content::Schema(change) => out.push(format!("{} {:?}", part.table.name.name, change.changes)),
        }
    }
    out
}

/// All rows of a table, by their first column's text.
async fn scan(reader: &mut Box<dyn Scanner>, table: &Arc<TableVersion>, target_rows: u64) -> (usize, BTreeMap<String, Vec<String>>) {
    let chunks = reader.split(table, target_rows).await.expect("chunks");
    let (want, mut out) = (Want::default(), BTreeMap::new());
    for chunk in &chunks {
        let mut stream = reader.scan(chunk, &want).await.expect("a scan");
        while let Some(payload) = stream.next().await {
            let Payload::Arrow(batch) = payload.expect("rows") else { panic!("Arrow") };
            for row in 0..batch.num_rows() {
                let values = row_text(&batch, row);
                let old = out.insert(values[0].clone(), values);
                assert!(old.is_none(), "a row stands in two chunks: {old:?}");
            }
        }
    }
    (chunks.len(), out)
}
