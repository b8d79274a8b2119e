//! THE CONTRACT between Standpipe and the systems it moves data between. (architecture.md section 3 and 4)
//!
//! Three phases: options are checked (pure, at planning), a plugin is `open`ed (no IO, no spawn), then it connects, anchors or begins (IO).
//! No plugin spawns a task that outlives its own value, but to remove what nothing names any more (files of a given-up transaction). Traits stay small and are `dyn` at batch granularity; what a plugin can do is data
//! on its descriptor ([`Capabilities`]), never an optional method that somebody has to guess.

pub mod findings;
pub mod identity;
#[cfg(feature = "lake")]
pub mod lake;
pub mod local;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "mysql")]
pub mod mysql;
pub mod net;
pub mod obstacle;
pub mod option;
pub mod policy;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod processor;
pub mod registry;
pub mod shared;

pub use option::{Fault, Given, GivenValue, Opt, OptKind, Options};

use crate::config::Config;
use crate::data::{Batch, LogicalType, Losses, Lossy, OldKeys, Part, Payload, Position, TableId, TableName, TableVersion, WireFormat, Witness};
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::logical_expr::Expr;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

// ---------------------------------------------------------------------------------------------------------------- descriptors

/// What part a plugin plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The `type` of CREATE SOURCE: a connection, its tables, its scanner.
    Source,
    /// The change side of a pipe's source.
    Extractor,
    /// Between the two.
    Processor,
    /// The target side of a pipe.
    Connector,
}

/// How a target makes data and mark durable together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It can't: at least once, with writes that can be repeated.
    None,
    /// One atomic commit per shard, with the flush's `seq` in it.
    PerShard,
    /// One transaction for the whole flush, with the whole checkpoint in it.
    Whole,
}

/// What a plugin can do, as data.
#[derive(Debug, Clone, Copy)]
pub struct Capabilities {
    /// Tables can be scanned at an instant.
    pub snapshot: bool,
    /// Changes can be captured.
    pub changes: bool,
    /// How commits are made durable.
    pub commit: Commit,
    /// Changes that one target transaction may hold at most.
    pub transaction_limit: Option<u64>,
    /// DDL rolls back with its transaction.
    pub transactional_ddl: bool,
    /// Rows can be written without knowing whether they are there.
    pub upsert: bool,
    /// Canonical digests can be computed in place.
    pub digest_in_place: bool,
    /// The anchor's readers see exactly the instant after which the changes follow. Otherwise chunks are written by upsert from the start.
    pub exact_anchor: bool,
    /// The wire format it can give (scanner) or take (connector) untouched.
    pub wire_format: Option<WireFormat>,
}

impl Capabilities {
    /// Nothing: the base for struct update syntax.
    pub const NONE: Capabilities = Capabilities {
        snapshot: false,
        changes: false,
        commit: Commit::None,
        transaction_limit: None,
        transactional_ddl: false,
        upsert: false,
        digest_in_place: false,
        exact_anchor: false,
        wire_format: None,
    };
}

/// A plugin, described once. `registry::PLUGINS` is the only list of them.
pub struct Plugin {
    /// The one name that is printed: `postgres`, `postgres-extractor`, `filter-processor`.
    pub name: &'static str,
    /// Other names it answers to (any case, `_` = `-`).
    pub aliases: &'static [&'static str],
    /// Its part.
    pub role: Role,
    /// The system it is for: the source type's name; empty for system-independent ones.
    pub system: &'static str,
    /// One line.
    pub doc: &'static str,
    /// Its option tables; shared ones are listed by reference, so each option is described once.
    pub options: &'static [&'static [Opt]],
    /// What it can do.
    pub capabilities: Capabilities,
    /// Checks that go beyond one option (exactly one of, needs). Pure.
    pub check: fn(&Options) -> Vec<Fault>,
    /// Sources: a scan's filter that the system evaluates exactly as DataFusion does (collation, NULL, number formats included).
    pub pushes: fn(&TableVersion, &Expr) -> bool,
    /// Makes a value; no IO, no spawn.
    pub open: Open,
    /// Removes what a pipe left at this end (slot, publication, marks, staging), repeatably; names what could not be removed. Of a source: what
    /// the source object itself, whose UUID is given, holds in this process; called when it is removed for good.
    pub release: fn(OpenRequest, Uuid) -> BoxFuture<'static, Vec<Leftover>>,
    /// Extractors: what the source has and keeps for a pipe, running or not. None where it does not count in bytes, or has nothing of the pipe.
    pub backlog: fn(OpenRequest, Uuid) -> BoxFuture<'static, Result<Option<Backlog>>>,
}

/// Bytes of a source's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// After what the pipe has confirmed.
    pub behind: u64,
    /// Kept for the pipe. More than `behind`: it begins where the oldest transaction began that was open then.
    pub held: u64,
}

/// How a plugin is opened, by role.
#[derive(Clone, Copy)]
pub enum Open {
    /// [`Role::Source`]
    Source(fn(OpenRequest) -> Result<Box<dyn Source>>),
    /// [`Role::Extractor`]
    Extractor(fn(OpenRequest, PipeRef) -> Result<Box<dyn Extractor>>),
    /// [`Role::Processor`]: the tables it is to be applied to are asked of `output`.
    Processor(fn(&Options) -> Result<Box<dyn Processor>>),
    /// [`Role::Connector`]
    Connector(fn(OpenRequest, PipeRef) -> Result<Box<dyn Connector>>),
}

/// What `open` gets.
#[derive(Debug, Clone)]
pub struct OpenRequest {
    /// The source object that `connection` is of, by its number for life; None: the options stand in place.
    pub source: Option<Uuid>,
    /// Options of the source object (`CREATE SOURCE`), or those in place; empty where none is needed.
    pub connection: Options,
    /// Options of the plugin's own clause; for a source the same as `connection`.
    pub options: Options,
    /// The server's settings.
    pub config: Arc<Config>,
    /// The server's data directory, absolute.
    pub data_dir: PathBuf,
    /// Where a source or an extractor notes values that became NULL under an option of its own.
    pub losses: Losses,
}

/// The pipe one acts for. The name is for `application_name` and messages only; the UUID is its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipeRef {
    /// Identity for life.
    pub uuid: Uuid,
    /// Name at this time.
    pub name: String,
}

/// Something that could not be removed at another system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// What: `replication slot "standpipe_..."`.
    pub what: String,
    /// Why not, in the other system's words.
    pub why: String,
    /// The statement that removes it there.
    pub statement: String,
}

/// One result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Short name: `wal_level`.
    pub check_name: String,
    /// Verdict.
    pub status: FindingStatus,
    /// What is there.
    pub found: String,
    /// What is needed.
    pub needed: String,
    /// The statement or change that mends it; empty when ok.
    pub hint: String,
}

/// Verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingStatus {
    /// As needed.
    Ok,
    /// Works, with a drawback.
    Warning,
    /// Will not work.
    Failed,
}

// ---------------------------------------------------------------------------------------------------------------- the source side

/// A system that has tables. Connects lazily at its first call.
#[async_trait]
pub trait Source: Send {
    /// The tables' present structure: those named, in that order, or all that the login may see. Missing ones: one `UndefinedTable` error whose
    /// DETAIL lists them all.
    async fn tables(&mut self, wanted: Option<&[TableName]>) -> Result<Vec<TableVersion>>;
    /// All checks, never just the first failure. An unreachable system is a failed finding, not an error.
    async fn check(&mut self, needs: &Needs) -> Result<Vec<Finding>>;
    /// An instant that several readers share; see [`AnchorKind`].
    async fn anchor(&mut self, request: AnchorRequest) -> Result<Anchor>;
}

/// What a check is for.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Changes will be captured, by this pipe (None: in general, as TEST SOURCE asks).
    pub changes: bool,
    /// The tables concerned.
    pub tables: Vec<Arc<TableVersion>>,
    /// Only inserts are wanted (`inclusion = data.insert`): a key is not needed.
    pub inserts_only: bool,
    /// It will be written to (a target).
    pub write: bool,
    /// The extractor's options, where it is for a pipe.
    pub options: Option<Options>,
    /// The pipe is being created: what its options name at the source (a slot, a server's number) must be nobody's. Later it may be its own.
    pub fresh: bool,
    /// The tables are to join a pipe: what is found is about them alone, and a source that can't be asked is an error of its kind, not a finding.
    pub joining: bool,
}

/// What kind of anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorKind {
    /// The pipe's own position for life is made (PostgreSQL: its slot and publication): PROVISIONING. A left-over of the same pipe from a
    /// provisioning that did not reach the catalog is replaced.
    Durable,
    /// A position of its own that goes with the anchor (a side run); `extractor` is given. Before the instant is taken, the tables are added to
    /// what the pipe's own position captures (PostgreSQL: its publication), so that the main run sees their changes after it too.
    Temporary,
    /// The instant E of a window: the readers see exactly what was committed at or before `position`. Anything less loses rows: a change that
    /// lies before E and is not seen by the readers would be completed from a row that is not its own, or taken for one that is gone. Where the
    /// anchor says `moving`: what was committed at or before `position`, or later.
    Exact,
    /// Only an instant: a query, a verification. `position` is at or after everything the readers see.
    Instant,
}

/// What is to be anchored.
#[derive(Debug, Clone)]
pub struct AnchorRequest {
    /// Which kind.
    pub kind: AnchorKind,
    /// For whom; None for queries.
    pub pipe: Option<PipeRef>,
    /// The tables to read or capture.
    pub tables: Vec<Arc<TableVersion>>,
    /// How many readers.
    pub readers: usize,
    /// The extractor's options (slot and publication names and the like); None for queries.
    pub options: Option<Options>,
}

/// The hand-over from snapshot to changes: all readers see one instant, and the changes after `position` follow it.
pub struct Anchor {
    /// Durable, Temporary: the changes strictly after it are exactly those that the readers don't see. Instant: an upper bound.
    pub position: Position,
    /// The readers see each row as it is at the position or later, for the system keeps no instant as long as a snapshot takes, or does not let us take
    /// one: it is not exact then, whatever the plugin's capabilities say, and E is asked for again when the readers are done (`Instant`). Only where the
    /// changes have every column, as nothing may be fetched at an instant that is not held.
    pub moving: bool,
    /// Facts that must be the same at every later connect: system identifier, timeline, incarnation of the slot.
    pub identity: Identity,
    /// The readers. Each may be moved to a task of its own. When its connection dies, the instant is lost for it: an error, never a silent reconnect.
    pub readers: Vec<Box<dyn Scanner>>,
    /// Temporary only: reads on from `position`.
    pub extractor: Option<Box<dyn Extractor>>,
    /// Keeps the instant alive; dropped when no reader needs it any more.
    pub hold: Box<dyn Send + Sync>,
}

/// Facts that say whether a source is still the one that was read.
pub type Identity = BTreeMap<String, String>;

/// The one reader of a system: snapshot, export, SELECT on a source, verification.
#[async_trait]
pub trait Scanner: Send {
    /// Cuts a table into chunks of about `target_rows`. Deterministic in what is scanned: the chunks cover the table exactly once, rows that
    /// appear later (other instants) included, so the last one is open-ended.
    async fn split(&mut self, table: &Arc<TableVersion>, target_rows: u64) -> Result<Vec<Chunk>>;
    /// Reads one chunk. Payloads are bounded in bytes. Where bounds are physical and the table has another file by now: `Conflict` for the table,
    /// which is then started over.
    async fn scan<'a>(&'a mut self, chunk: &'a Chunk, want: &'a Want) -> Result<BoxStream<'a, Result<Payload>>>;
    /// Reads rows by key (`keys`: the key columns in key order). Rows that are gone are missing in the answer; order is free.
    async fn fetch(&mut self, table: &Arc<TableVersion>, keys: &RecordBatch) -> Result<RecordBatch>;
}

/// A piece of a table.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The table.
    pub table: Arc<TableVersion>,
    /// Unique within table and generation and never computed again: its bounds and, where the bounds are physical, the file node.
    pub id: String,
    /// Bounds in the scanner's own form, stored in the catalog as JSON.
    pub bounds: serde_json::Value,
    /// Estimate.
    pub rows: u64,
}

/// What a scan is to give.
#[derive(Debug, Clone, Default)]
pub struct Want {
    /// Columns by position in the table version, in this order; None: all, as in its schema.
    pub columns: Option<Vec<usize>>,
    /// All must hold. Only such as the source's `renders` accepts are given here.
    pub filters: Vec<Expr>,
    /// At most so many rows.
    pub limit: Option<u64>,
    /// Give the wire format instead of Arrow, if the table allows it (see [`wire_allowed`]).
    pub wire: Option<WireFormat>,
    /// Bytes per payload, about.
    pub payload_bytes: usize,
}

/// The change side of a source.
#[async_trait]
pub trait Extractor: Send {
    /// Takes the position that is there and verifies it while it is held; never creates or moves one. Errors: `PositionLost` where the source is
    /// not the one remembered, was confirmed past `from`, does not reach `from`, or shows another last transaction than the witness.
    async fn connect(&mut self, from: &Resume) -> Result<()>;
    /// The next changes after what was given last. Waits at most `limit.wait`, then gives an empty batch (with the position of idle progress).
    /// None: the source has ended for good (finite sources only). Cancel safe.
    async fn next(&mut self, limit: &Limit) -> Result<Option<Batch>>;
    /// Everything at or before the position is durable in the target and in the catalog: the source may forget it. Returns when it is handed to
    /// the connection; the connection is kept alive meanwhile and while nobody calls `next`.
    async fn confirm(&mut self, position: &Position) -> Result<()>;
    /// From now on these tables (all of them, not a difference) are wanted; changes of others are left out. The runtime asks for a table before
    /// its side run takes an instant and drops what lies before it, so an extractor may take it up at its next batch. Parts carry the id and
    /// generation given here.
    fn follow(&mut self, tables: &[Arc<TableVersion>]) -> Result<()>;
}

/// Where an extractor goes on, and how it knows the place.
#[derive(Debug, Clone)]
pub struct Resume {
    /// Changes strictly after it are wanted.
    pub position: Position,
    /// What the anchor said of the source.
    pub identity: Identity,
    /// For each position (the resume position, an open intent's end): the last transaction at or before it, as remembered; None: there was none
    /// since the anchor.
    pub witnesses: Vec<(Position, Option<Witness>)>,
    /// The tables wanted.
    pub tables: Vec<Arc<TableVersion>>,
}

/// Bounds of one `next`.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Rows at most.
    pub rows: usize,
    /// Bytes at most (a single row may be larger).
    pub bytes: usize,
    /// How long to wait for the first change.
    pub wait: Duration,
}

// ---------------------------------------------------------------------------------------------------------------- between

/// A pure, synchronous transformation, compiled once per table version.
pub trait Processor: Send {
    /// What it makes of a table; None: it does not concern that table. Errors name what is missing or not possible.
    fn output(&mut self, table: &Arc<TableVersion>) -> Result<Option<Arc<TableVersion>>>;
    /// Transforms a part of a table that `output` accepted. Truncate and Schema parts go through it too.
    fn process(&mut self, part: Part) -> Result<Part>;
    /// Needs whole rows of this table: absent columns must be completed first.
    fn needs_whole_rows(&self, table: &TableVersion) -> bool;
}

// ---------------------------------------------------------------------------------------------------------------- the target side

/// A table as a pipe writes it.
#[derive(Debug, Clone)]
pub struct TargetTable {
    /// The structure that arrives (after the processors), with the table's id and generation.
    pub table: Arc<TableVersion>,
    /// Its name at the target.
    pub target: TableName,
    /// Where rows go.
    pub place: Place,
}

/// Where a table's rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The table itself.
    Live,
    /// A copy in the making, for a later swap; it belongs to (pipe, table, generation).
    Stage,
}

/// A number of a commit unit: 0 for a whole target's changes; the table's id where every table is a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(pub u32);

/// A target. Connects lazily at its first call.
#[async_trait]
pub trait Connector: Send {
    /// Compares what is there with what will arrive and changes nothing: every fault of every table at once (a type it can't hold without
    /// `on-lossy`, a table with rows or of another pipe, a missing right). Gives what EXPLAIN and NOTICEs show.
    async fn prepare(&mut self, tables: &[TargetTable]) -> Result<Vec<Prepared>>;
    /// Takes the epoch in the target, on all shards, and reads the marks in the same statement.
    async fn begin(&mut self, begin: &Begin) -> Result<Committed>;
    /// A writer under the epoch that `begin` took. Writers of different roles may work at the same time.
    async fn writer(&mut self, role: WriterRole) -> Result<Box<dyn Writer>>;
}

/// What `prepare` found for one table.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The table at the target.
    pub target: TableName,
    /// It exists already.
    pub exists: bool,
    /// It exists and has rows.
    pub has_rows: bool,
    /// Statements that set-up will run.
    pub statements: Vec<String>,
    /// Per column: name, type at the target, what can be lost (empty: exact).
    pub columns: Vec<(String, String, String)>,
    /// The wire format can be taken for this table.
    pub wire: Option<WireFormat>,
    /// What the user should know.
    pub notices: Vec<String>,
}

/// What `begin` gets.
#[derive(Debug, Clone)]
pub struct Begin {
    /// All tables of the pipe that have not FAILED.
    pub tables: Vec<TargetTable>,
    /// Snapshot writers that will be asked for, at most (each is a shard of a whole target: 1..=n).
    pub snapshot_writers: u32,
    /// The catalog's last epoch of this pipe that is known to have been taken; 0: none yet. Shards may be below it (a table that had FAILED) or
    /// above it (a `begin` that broke off). At or above `epoch`: another process took it, `Fenced`. Whether what is there is ours, the seqs tell.
    pub last_epoch: i64,
    /// The epoch to take, stored in the catalog beforehand and never drawn twice. A whole target counts in the target and answers its own.
    pub epoch: i64,
}

/// What is durable at the target.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// The epoch that is now ours.
    pub epoch: i64,
    /// Whole: the checkpoint in the mark, as it was given to `flush`; None: nothing yet.
    pub checkpoint: Option<String>,
    /// Per shard: the last seq of each; a shard that is not named has none.
    pub shards: BTreeMap<Shard, i64>,
    /// Chunks done, by table and generation: the record that is believed.
    pub chunks: BTreeMap<(TableId, i64), BTreeSet<String>>,
    /// Tables that are set up for (table, generation).
    pub set_up: BTreeSet<(TableId, i64)>,
}

/// Which writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriterRole {
    /// Changes, set-up, swap of a shard.
    Changes(Shard),
    /// Chunks; the number is 1..=`Begin::snapshot_writers`.
    Snapshot(u32),
    /// A side run's copy in the making.
    Stage(TableId),
}

/// A writer: what is written may be sent on, but is visible and durable only with the flush.
#[async_trait]
pub trait Writer: Send {
    /// Takes input. Errors that concern one table only say so (`Error::for_table`).
    async fn write(&mut self, input: Input) -> Result<()>;
    /// Makes everything written since the last flush durable together with the mark. A lost reply or connection is an error: the caller begins
    /// again and never repeats the flush. `Fenced` where the epoch is no longer ours. An error for one table means that nothing became durable:
    /// the table leaves the stream (unless its kind is retried), and the others are written again without it.
    async fn flush(&mut self, mark: &Mark) -> Result<Flushed>;
    /// Bytes of changes that it holds in memory until the flush and can let go of before.
    fn held(&self) -> usize {
        0
    }
    /// Lets go of them: they are written ahead of the flush, which makes them durable with the rest.
    async fn let_go(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a writer takes.
#[derive(Debug, Clone)]
pub enum Input {
    /// Create or take the table for this pipe and generation, empty.
    Setup(Arc<TargetTable>),
    /// Rows of a chunk. `upsert` false: the rows are known not to be there (the first run into an empty table).
    Load { table: Arc<TargetTable>, chunk: Arc<str>, payload: Payload, upsert: bool },
    /// Changes, in order. Rows are merged per key by `data::collapse` at the flush, each side of a Truncate or Schema part of its table by itself.
    /// The runtime flushes before a transaction with such a part (unless it is larger than a batch) and at its end, never inside: where DDL can't
    /// roll back, applying the transaction again must do no harm. Before the end of a snapshot E, rows come as `Upsert` with every column, and
    /// deletes may name keys that are not there.
    Change { table: Arc<TargetTable>, part: Part },
    /// Exchange the copy in the making for the live table.
    Swap(Arc<TargetTable>),
    /// The pipe lets go of a table (ALTER PIPE ... DROP TABLE): its marks go, its rows stay.
    Leave(Arc<TargetTable>),
}

/// What becomes durable with a flush.
#[derive(Debug, Clone)]
pub struct Mark {
    /// What kind.
    pub kind: MarkKind,
    /// (epoch << 32 | counter): names one flush for ever.
    pub seq: i64,
    /// The shard's seq before this flush, as the catalog has it (per_shard: what the target must be at).
    pub previous: i64,
    /// Whole targets, Changes kind: the checkpoint to store.
    pub checkpoint: Option<String>,
    /// Where the flush ends.
    pub position: Option<Position>,
}

/// What a mark marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkKind {
    /// Changes, set-up, end of a snapshot, join, swap, a table's failure: everything that takes a seq.
    Changes,
    /// A chunk is done; chunks take no seq, but check the epoch.
    Chunk { table: TableId, generation: i64, chunk: Arc<str> },
    /// Rows of a copy in the making, which is started over if it breaks: no seq.
    Stage { table: TableId, generation: i64 },
}

/// What a flush did.
#[derive(Debug, Clone, Default)]
pub struct Flushed {
    /// Per table: rows inserted, updated, deleted; upserts count as inserts or updates where the target tells, else as updates.
    pub tables: BTreeMap<TableId, Counts>,
    /// Per table: values that lost something, under an `on-lossy` option.
    pub lossy: BTreeMap<TableId, Lossy>,
    /// Bytes written, as the target counts them; 0 where it can't tell.
    pub bytes: u64,
}

/// Counters of one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows inserted.
    pub inserts: u64,
    /// Rows updated.
    pub updates: u64,
    /// Rows deleted.
    pub deletes: u64,
    /// Truncates.
    pub truncates: u64,
}

// ---------------------------------------------------------------------------------------------------------------- shared helpers

/// Types whose wire form is the same at both ends whatever the installation: no user types, no type that embeds OIDs.
pub fn wire_allowed(table: &TableVersion) -> bool {
    table.columns.iter().all(|c| !c.generated && (c.logical != LogicalType::Opaque || matches!(c.pg_type.as_str(), "interval" | "timetz")))
}

/// The default of `release` for plugins that leave nothing behind.
pub fn nothing_left(_: OpenRequest, _: Uuid) -> BoxFuture<'static, Vec<Leftover>> {
    Box::pin(async { Vec::new() })
}

/// The default of `backlog`.
pub fn no_backlog(_: OpenRequest, _: Uuid) -> BoxFuture<'static, Result<Option<Backlog>>> {
    Box::pin(async { Ok(None) })
}

/// The default of `pushes`.
pub fn pushes_nothing(_: &TableVersion, _: &Expr) -> bool {
    false
}

/// The default of `check`.
pub fn no_more_checks(_: &Options) -> Vec<Fault> {
    Vec::new()
}

/// One error that says all failed findings, for CREATE.
pub fn failed_findings(findings: &[Finding]) -> Option<Error> {
    let failed: Vec<_> = findings.iter().filter(|f| f.status == FindingStatus::Failed).collect();
    let first = failed.first()?;
    let detail = failed.iter().map(|f| format!("{}: found {}, needed {}", f.check_name, f.found, f.needed)).collect::<Vec<_>>().join("\n");
    let hint = failed.iter().map(|f| f.hint.as_str()).filter(|h| !h.is_empty()).collect::<Vec<_>>().join(" ");
    let message = match failed.len() {
        1 => format!("prerequisite \"{}\" is not met", first.check_name),
        n => format!("{n} prerequisites are not met"),
    };
    Some(Error::new(crate::error::Kind::WrongPhase, message).with_detail(detail).with_hint(hint))
}

/// Old keys of a part, if any row has one: sugar for connectors.
pub fn old_keys(part: &Part) -> Option<&OldKeys> {
    match &part.content {
        crate::data::Content::Rows(rows) => rows.old_keys.as_ref().filter(|o| o.set.count_set_bits() > 0),
        _ => None,
    }
}
