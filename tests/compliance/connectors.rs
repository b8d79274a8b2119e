//! Connectors: epochs, marks, chunks, and that what is durable is so once. [`Run`] is what fixtures without a language of their own write with.

use super::*;
use arrow::array::{ArrayRef, Int32Array, StringArray};
use standpipe::data::{Column, Content, LogicalType, Op, Part, Rows};
use standpipe::error::{Kind, Result};
use standpipe::plugin::{Begin, Commit, Committed, Connector, Flushed, Input, Mark, MarkKind, PipeRef, Place, Prepared, Shard, TargetTable, Writer, WriterRole};

const ID: TableId = TableId(1);
const GENERATION: i64 = 1;
/// How often a release is tried while a connection that was dropped is still going.
const RELEASES: usize = 50;

/// `<schema>.<name> (id integer primary key, a text)` as a target of table 1.
pub fn target(name: TableName) -> Arc<TargetTable> {
    let mut columns = vec![Column::new("id", LogicalType::Int32, "integer", "int4"), Column::new("a", LogicalType::Text, "text", "text")];
    columns[0].nullable = false;
    let table = TableVersion { id: ID, generation: GENERATION, ..TableVersion::new(name.clone(), columns, vec![0]) };
    Arc::new(TargetTable { table: Arc::new(table), target: name, place: Place::Live })
}

fn batch(table: &TargetTable, rows: &[(i32, Option<&str>)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.0)));
    let texts: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|r| r.1)));
    RecordBatch::try_new(table.table.schema.clone(), vec![ids, texts]).expect("the table's columns")
}

/// Changes of one transaction as a part.
fn rows(table: &TargetTable, changes: &[Change]) -> Rows {
    let one = |c: &Change| match *c {
        Change::Insert(id, a) => (Op::Insert, (id, Some(a))),
        Change::Update(id, a) => (Op::Update, (id, Some(a))),
        Change::Delete(id) => (Op::Delete, (id, None)),
    };
    let (ops, all): (Vec<Op>, Vec<_>) = changes.iter().map(one).unzip();
    Rows { after: batch(table, &all), old_keys: None, present: None, txn: vec![0; ops.len()], ops }
}

/// A connector of a plugin, for a pipe.
fn connector(fixture: &dyn Fixture, plugin: &Plugin, pipe: Uuid) -> Box<dyn Connector> {
    match plugin.open {
        Open::Connector(open) => open(request(fixture, plugin), PipeRef { uuid: pipe, name: "compliance".into() }).expect("opens"),
        _ => panic!("{} does not open as a connector", plugin.name),
    }
}

/// What is the same in all runs of a pipe.
pub struct Pipe<'a> {
    pub fixture: &'a dyn Fixture,
    pub plugin: &'a Plugin,
    pub uuid: Uuid,
    pub table: Arc<TargetTable>,
}

/// A run: an epoch, and the writers under it.
pub struct Run {
    connector: Box<dyn Connector>,
    committed: Committed,
    writer: Box<dyn Writer>,
    loader: Box<dyn Writer>,
    table: Arc<TargetTable>,
    whole: bool,
    counter: i64,
    /// The shard's last seq.
    at: i64,
}

impl Pipe<'_> {
    fn shard(&self) -> Shard {
        match self.plugin.capabilities.commit {
            Commit::PerShard => Shard(ID.0),
            Commit::Whole | Commit::None => Shard(0),
        }
    }
    /// As the runtime begins: with the epoch after the last one it knows.
    pub async fn begin(&self, last_epoch: i64) -> Run {
        let mut connector = connector(self.fixture, self.plugin, self.uuid);
        let begin = Begin { tables: vec![(*self.table).clone()], snapshot_writers: 2, last_epoch, epoch: last_epoch + 1 };
        let committed = connector.begin(&begin).await.unwrap_or_else(|e| panic!("{}: begin: {e}", self.plugin.name));
        let writer = connector.writer(WriterRole::Changes(self.shard())).await.expect("a writer of changes");
        let loader = connector.writer(WriterRole::Snapshot(1)).await.expect("a writer of chunks");
        let at = committed.shards.get(&self.shard()).copied().unwrap_or(0);
        let whole = self.plugin.capabilities.commit == Commit::Whole;
        Run { connector, committed, writer, loader, table: self.table.clone(), whole, counter: 0, at }
    }
    async fn contents(&self) -> Vec<String> {
        self.fixture.read(&self.table.target.name).await
    }
}

impl Run {
    /// The mark of the next flush.
    fn mark(&mut self) -> Mark {
        self.counter += 1;
        let seq = (self.committed.epoch << 32) | self.counter;
        Mark { kind: MarkKind::Changes, seq, previous: self.at, checkpoint: self.whole.then(|| format!("checkpoint {seq}")), position: None }
    }
    pub async fn flush(&mut self) -> Result<(Mark, Flushed)> {
        let mark = self.mark();
        let flushed = self.writer.flush(&mark).await?;
        self.at = mark.seq;
        Ok((mark, flushed))
    }
    pub async fn set_up(&mut self) {
        self.writer.write(Input::Setup(self.table.clone())).await.expect("set-up");
        self.flush().await.expect("set up");
    }
    pub async fn change(&mut self, changes: &[Change]) -> Result<()> {
        let content = Content::Rows(rows(&self.table, changes));
        self.input(content).await
    }
    async fn input(&mut self, content: Content) -> Result<()> {
        let part = Part { table: self.table.table.clone(), content };
        self.writer.write(Input::Change { table: self.table.clone(), part }).await
    }
    async fn load(&mut self, chunk: &str, rows: &[(i32, Option<&str>)]) -> Result<Flushed> {
        let payload = Payload::Arrow(batch(&self.table, rows));
        self.loader.write(Input::Load { table: self.table.clone(), chunk: chunk.into(), payload, upsert: false }).await?;
        let kind = MarkKind::Chunk { table: ID, generation: GENERATION, chunk: chunk.into() };
        self.loader.flush(&Mark { kind, seq: 0, previous: 0, checkpoint: None, position: None }).await
    }
    /// Written and flushed, or why not.
    async fn commit(&mut self, changes: &[Change]) -> Result<Mark> {
        self.change(changes).await?;
        self.flush().await.map(|(mark, _)| mark)
    }
}

pub async fn check(fixture: &dyn Fixture, plugin: &Plugin) {
    let tasks_before = tasks();
    let pipe = Pipe { fixture, plugin, uuid: Uuid::new_v4(), table: target(fixture.name("copied")) };
    prepares(&pipe).await;
    if plugin.capabilities.commit == Commit::None {
        takes(&pipe).await;
    } else {
        let epoch = chunks(&pipe).await;
        let epoch = flushes(&pipe, epoch).await;
        releases(&pipe, epoch).await;
        assert_eq!(fixture.marks().await, 0, "{} leaves marks at the target", plugin.name);
    }
    all_gone(fixture, plugin.name, tasks_before).await;
}

/// Looking changes nothing, and says every column.
async fn prepares(pipe: &Pipe<'_>) {
    for _ in 0..2 {
        let found: Vec<Prepared> = connector(pipe.fixture, pipe.plugin, pipe.uuid).prepare(&[(*pipe.table).clone()]).await.expect("prepares");
        let [one] = found.as_slice() else { panic!("{}: {found:?}", pipe.plugin.name) };
        assert!(one.target == pipe.table.target && !one.exists && !one.has_rows, "{}: {one:?}", pipe.plugin.name);
        assert_eq!(one.columns.iter().map(|c| c.0.as_str()).collect::<Vec<_>>(), ["id", "a"], "{}", pipe.plugin.name);
        assert!(one.wire.is_none() || one.wire == pipe.plugin.capabilities.wire_format, "{}: {one:?}", pipe.plugin.name);
    }
}

/// A target that keeps no mark: it takes everything, and its epochs rise.
async fn takes(pipe: &Pipe<'_>) {
    let mut first = pipe.begin(0).await;
    first.set_up().await;
    let flushed = first.load("c1", &[(1, Some("r1"))]).await.expect("loaded");
    assert_eq!(flushed.tables[&ID].inserts, 1, "{}", pipe.plugin.name);
    first.commit(&[Change::Insert(2, "r2"), Change::Delete(1)]).await.expect("flushed");
    let second = pipe.begin(first.committed.epoch).await;
    assert!(second.committed.epoch > first.committed.epoch && second.committed.checkpoint.is_none(), "{}: {:?}", pipe.plugin.name, second.committed);
    assert!(second.committed.shards.is_empty() && second.committed.chunks.is_empty(), "{}: {:?}", pipe.plugin.name, second.committed);
    assert_eq!((pipe.plugin.release)(request(pipe.fixture, pipe.plugin), pipe.uuid).await, []);
}

/// A chunk and its record are one; a second begin sees them, and fences the first. Gives the epoch.
async fn chunks(pipe: &Pipe<'_>) -> i64 {
    let name = pipe.plugin.name;
    let mut first = pipe.begin(0).await;
    let c = &first.committed;
    assert!(c.epoch > 0 && c.checkpoint.is_none() && c.shards.is_empty() && c.chunks.is_empty() && c.set_up.is_empty(), "{name}: {c:?}");
    first.set_up().await;
    let flushed = first.load("c1", &[(1, Some("r1")), (2, Some("r2")), (3, None)]).await.expect("a chunk");
    assert_eq!(flushed.tables[&ID].inserts, 3, "{name}");
    let there = ["1|r1", "2|r2", "3|NULL"];
    assert_eq!(pipe.contents().await, there, "{name}");

    let mut second = pipe.begin(first.committed.epoch).await;
    assert!(second.committed.epoch > first.committed.epoch, "{name}: {} after {}", second.committed.epoch, first.committed.epoch);
    let done = second.committed.chunks.get(&(ID, GENERATION)).into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(done, ["c1"], "{name}");
    assert!(second.committed.set_up.contains(&(ID, GENERATION)), "{name}: {:?}", second.committed.set_up);
    marked(pipe, &second, first.at);
    // an older epoch's writers are fenced, whichever they are
    let late = first.commit(&[Change::Insert(7, "late")]).await.map(|_| ());
    let chunk = first.load("c2", &[(8, Some("late"))]).await.map(|_| ());
    for (what, answer) in [("changes", late), ("a chunk", chunk)] {
        let e = answer.err().unwrap_or_else(|| panic!("{name}: {what} of an older epoch are taken"));
        assert_eq!(e.kind(), Kind::Fenced, "{name}: {what}: {e}");
    }
    assert_eq!(pipe.contents().await, there, "{name}");
    drop(first);
    second.load("c2", &[(4, Some("r4"))]).await.expect("the successor goes on");
    drop(second.connector);
    second.committed.epoch
}

/// The shard's seq, and a whole target's checkpoint, are those of the last flush.
fn marked(pipe: &Pipe<'_>, run: &Run, seq: i64) {
    let (name, c) = (pipe.plugin.name, &run.committed);
    assert_eq!(run.at, seq, "{name}: {:?}", c.shards);
    if run.whole {
        assert_eq!(c.checkpoint.as_deref(), Some(format!("checkpoint {seq}").as_str()), "{name}");
    }
}

/// What is flushed is there, once, with its mark; what is not is gone.
async fn flushes(pipe: &Pipe<'_>, epoch: i64) -> i64 {
    let name = pipe.plugin.name;
    let mut run = pipe.begin(epoch).await;
    let before = run.at;
    let mark = run.commit(&[Change::Insert(5, "r5"), Change::Update(1, "one"), Change::Delete(2)]).await.expect("flushed");
    let there = ["1|one", "3|NULL", "4|r4", "5|r5"];
    assert_eq!(pipe.contents().await, there, "{name}");
    let last = run.committed.epoch;
    drop(run);

    // the reply was lost, says the runtime: the same flush once more, where the target does not say that it is done
    let mut run = pipe.begin(last).await;
    marked(pipe, &run, mark.seq);
    if pipe.plugin.capabilities.commit == Commit::PerShard {
        run.change(&[Change::Update(1, "twice"), Change::Insert(6, "twice")]).await.expect("written");
        run.writer.flush(&Mark { previous: before, ..mark }).await.expect("it was done before");
        assert_eq!(pipe.contents().await, there, "{name}: a flush is applied twice");
    }
    run.change(&[Change::Insert(9, "lost"), Change::Delete(1)]).await.expect("written");
    let last = run.committed.epoch;
    drop(run);
    let mut run = pipe.begin(last).await;
    assert_eq!(pipe.contents().await, there, "{name}: what was not flushed");
    marked(pipe, &run, mark.seq);

    run.input(Content::Truncate).await.expect("a truncate");
    run.flush().await.expect("flushed");
    assert_eq!(pipe.contents().await, Vec::<String>::new(), "{name}: truncated");
    run.commit(&[Change::Insert(1, "again")]).await.expect("flushed");
    assert_eq!(pipe.contents().await, ["1|again"], "{name}");
    run.committed.epoch
}

/// A release fences who still writes, and removes every mark; rows stay. It can be repeated.
async fn releases(pipe: &Pipe<'_>, epoch: i64) {
    let name = pipe.plugin.name;
    let release = || (pipe.plugin.release)(request(pipe.fixture, pipe.plugin), pipe.uuid);
    let mut run = pipe.begin(epoch).await;
    // a connection that is there may keep something of its own from going
    release().await;
    let e = run.commit(&[Change::Insert(2, "zombie")]).await.expect_err("the pipe was dropped");
    assert_eq!(e.kind(), Kind::Fenced, "{name}: {e}");
    drop(run);
    released(pipe).await;
    assert_eq!(pipe.contents().await, ["1|again"], "{name}");
    assert_eq!(pipe.fixture.marks().await, 0, "{name} leaves marks");
    // nothing is known of the pipe any more; rows that nobody owns are refused where that is not asked for
    let run = pipe.begin(epoch + 1).await;
    let c = &run.committed;
    assert!(c.checkpoint.is_none() && c.shards.is_empty() && c.chunks.is_empty() && c.set_up.is_empty(), "{name}: {c:?}");
    drop(run);
    released(pipe).await;
    connector(pipe.fixture, pipe.plugin, Uuid::new_v4()).prepare(&[(*pipe.table).clone()]).await.expect_err("a table with rows of nobody");
}

async fn released(pipe: &Pipe<'_>) {
    for _ in 0..RELEASES {
        let left = (pipe.plugin.release)(request(pipe.fixture, pipe.plugin), pipe.uuid).await;
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    assert_eq!((pipe.plugin.release)(request(pipe.fixture, pipe.plugin), pipe.uuid).await, [], "{}", pipe.plugin.name);
}
