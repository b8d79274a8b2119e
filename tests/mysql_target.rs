//! MySQL and MariaDB as a target, against real servers.

mod delivery;
mod keys;
mod outcomes;
mod structures;

use crate::support::mysql::{Flavour, Mysql, connection};
use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::buffer::BooleanBuffer;
use standpipe::config::Config;
use standpipe::data::{Column, Content, LogicalType, Losses, OldKeys, Op, Part, Payload, Rows, TableId, TableName, TableVersion};
use standpipe::error::Result;
use standpipe::plugin::mysql::connector::CONNECTOR;
use standpipe::plugin::{Begin, Committed, Connector, Flushed, Input, Mark, MarkKind, Open, OpenRequest, Options, PipeRef, Place, Shard, TargetTable, Writer, WriterRole};
use std::sync::Arc;
use uuid::Uuid;

/// A pipe's view of its target.
struct Pipe {
    port: u16,
    options: Vec<(String, String)>,
    config: Config,
    uuid: Uuid,
    login: Option<[&'static str; 2]>,
}

impl Pipe {
    fn new(server: &Mysql, options: &[(&str, &str)]) -> Pipe {
        let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Pipe { port: server.port, options, config: Config::default(), uuid: Uuid::new_v4(), login: None }
    }
    fn login(self, user: &'static str, password: &'static str) -> Pipe {
        Pipe { login: Some([user, password]), ..self }
    }
    fn request(&self) -> OpenRequest {
        let mut pairs = connection(self.port);
        if let Some([user, password]) = self.login {
            pairs.extend([("user", user.to_string()), ("password", password.to_string())]);
        }
        let options = Options::from_pairs(self.options.iter().map(|(k, v)| (k.as_str(), v.as_str()))).with_defaults(CONNECTOR.options);
        OpenRequest { source: None, connection: Options::from_pairs(pairs.iter().map(|(k, v)| (*k, v.as_str()))), options, config: Arc::new(self.config.clone()), data_dir: "/".into(), losses: Losses::default() }
    }
    fn connector(&self) -> Box<dyn Connector> {
        match CONNECTOR.open {
            Open::Connector(open) => open(self.request(), PipeRef { uuid: self.uuid, name: "test".into() }).expect("opens"),
            _ => unreachable!("a connector"),
        }
    }
    async fn begin(&self, tables: &[Arc<TargetTable>]) -> Result<Run> {
        let mut connector = self.connector();
        let begin = Begin { tables: tables.iter().map(|t| (**t).clone()).collect(), snapshot_writers: 2, last_epoch: 0, epoch: 1 };
        let committed = connector.begin(&begin).await?;
        let writer = connector.writer(WriterRole::Changes(Shard(0))).await?;
        Ok(Run { connector, committed, writer, counter: 0 })
    }
}

/// A run: an epoch, and the writer of its changes.
struct Run {
    connector: Box<dyn Connector>,
    committed: Committed,
    writer: Box<dyn Writer>,
    counter: i64,
}

impl Run {
    fn mark(&mut self) -> Mark {
        self.counter += 1;
        let seq = (self.committed.epoch << 32) | self.counter;
        Mark { kind: MarkKind::Changes, seq, previous: 0, checkpoint: Some(format!("checkpoint {}", self.counter)), position: None }
    }
    async fn flush(&mut self) -> Result<Flushed> {
        let mark = self.mark();
        self.writer.flush(&mark).await
    }
    async fn set_up(&mut self, tables: &[Arc<TargetTable>]) -> Result<()> {
        for t in tables {
            self.writer.write(Input::Setup(t.clone())).await?;
        }
        self.flush().await.map(|_| ())
    }
    async fn change(&mut self, table: &Arc<TargetTable>, rows: Rows) -> Result<()> {
        let part = Part { table: table.table.clone(), content: Content::Rows(rows) };
        self.writer.write(Input::Change { table: table.clone(), part }).await
    }
    /// A chunk by a snapshot's writer.
    async fn load(&mut self, writer: &mut dyn Writer, table: &Arc<TargetTable>, chunk: &str, batch: RecordBatch, upsert: bool) -> Result<Flushed> {
        let input = Input::Load { table: table.clone(), chunk: chunk.into(), payload: Payload::Arrow(batch), upsert };
        writer.write(input).await?;
        let kind = MarkKind::Chunk { table: table.table.id, generation: table.table.generation, chunk: chunk.into() };
        writer.flush(&Mark { kind, seq: 0, previous: 0, checkpoint: None, position: None }).await
    }
}

fn target(table: TableVersion, id: u32, generation: i64) -> Arc<TargetTable> {
    let table = TableVersion { id: TableId(id), generation, ..table };
    Arc::new(TargetTable { target: table.name.clone(), table: Arc::new(table), place: Place::Live })
}

/// `shop.<name> (id integer primary key, a text, b text)`.
fn small_table(name: &str) -> TableVersion {
    let mut columns = vec![
        Column::new("id", LogicalType::Int32, "integer", "int4"),
        Column::new("a", LogicalType::Text, "text", "text"),
        Column::new("b", LogicalType::Text, "text", "text"),
    ];
    columns[0].nullable = false;
    TableVersion::new(TableName::new("shop", name), columns, vec![0])
}

/// A change of `small_table`: what it does, its old key if that changed, its key, and the columns it has.
type Change<'a> = (Op, Option<i32>, i32, Option<&'a str>, Option<&'a str>);

fn changes(table: &TableVersion, all: &[Change<'_>]) -> Rows {
    let column = |f: &dyn Fn(&Change<'_>) -> Option<String>| -> ArrayRef { Arc::new(StringArray::from_iter(all.iter().map(f))) };
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(all.iter().map(|c| c.2)));
    let after = RecordBatch::try_new(table.schema.clone(), vec![ids, column(&|c| c.3.map(str::to_string)), column(&|c| c.4.map(str::to_string))]);
    let old: ArrayRef = Arc::new(Int32Array::from_iter_values(all.iter().map(|c| c.1.unwrap_or(0))));
    let keys = RecordBatch::try_new(table.key_schema(), vec![old]).expect("a key");
    let set = BooleanBuffer::collect_bool(all.len(), |i| all[i].1.is_some());
    let has = |f: &dyn Fn(&Change<'_>) -> bool| Some(BooleanBuffer::collect_bool(all.len(), |i| f(&all[i]) || all[i].0 == Op::Delete));
    Rows {
        ops: all.iter().map(|c| c.0).collect(),
        after: after.expect("the table's columns"),
        old_keys: all.iter().any(|c| c.1.is_some()).then_some(OldKeys { keys, set }),
        present: Some(vec![None, has(&|c| c.3.is_some()), has(&|c| c.4.is_some())]),
        txn: vec![0; all.len()],
    }
}

/// All rows of `small_table` as text, in key order.
async fn contents(server: &Mysql, table: &str) -> String {
    let rows = server.rows(&format!("SELECT id, a, b FROM {table} ORDER BY id")).await;
    let text = |r: &Vec<Option<String>>| format!("({})", r.iter().map(|v| v.clone().unwrap_or_default()).collect::<Vec<_>>().join(","));
    rows.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Both servers that can be installed.
const BOTH: [Flavour; 2] = [Flavour::MariaDb, Flavour::MySql56];
