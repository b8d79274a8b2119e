//! Options that every extractor, every connector and the runtime of every pipe share (dialect.md section 5). Plugins list these tables by
//! reference beside their own.

use super::option::{Opt, OptKind};

const BOOL: Opt = Opt { kind: OptKind::Bool, ..Opt::TEXT };
const POLICY: &[&str] = &["propagate", "ignore", "stop"];

/// Options of every extractor.
pub const EXTRACTOR: &[Opt] = &[
    Opt { name: "extractor", aliases: &["source", "extractor.plugin"], doc: "the extractor plugin; by default the source's type tells", applies: "never", ..Opt::TEXT },
    Opt { name: "source-name", doc: "which source; by default the current database", applies: "never", ..Opt::TEXT },
    Opt { name: "tables", default: None, doc: "comma list of schema.table, * as wildcard; by default every synced table", ..Opt::TEXT },
    Opt { name: "exclude", doc: "tables to leave out, written as in tables", ..Opt::TEXT },
    Opt { name: "pattern", doc: "a plain prefix of schema.table", ..Opt::TEXT },
    Opt { name: "history.enable", aliases: &["history-enable"], default: Some("true"), doc: "copy what is there (the snapshot)", applies: "never", ..BOOL },
    Opt { name: "realtime.enable", aliases: &["realtime-enable"], default: Some("true"), doc: "follow the changes", applies: "never", ..BOOL },
    Opt { name: "history.start-time", aliases: &["start-time"], doc: "earliest time-column value of the snapshot, inclusive", applies: "never", ..Opt::TEXT },
    Opt { name: "history.end-time", aliases: &["end-time"], doc: "latest time-column value of the snapshot, inclusive", applies: "never", ..Opt::TEXT },
    Opt { name: "time-column", doc: "the column that history.start-time and history.end-time bound", applies: "never", ..Opt::TEXT },
    Opt { name: "filter", doc: "a condition on every table's rows", ..Opt::TEXT },
    Opt { name: "filter", kind: OptKind::Family, doc: "filter.schema.table: a condition on one table's rows", ..Opt::TEXT },
    Opt { name: "realtime.mode", default: Some("hybrid"), kind: OptKind::Enum(&["hybrid", "stream", "log", "file", "batch"]), doc: "as changes come, or only at a checkpoint (file, batch)", ..Opt::TEXT },
    Opt { name: "inclusion", default: Some("data"), doc: "comma list of data, data.insert, data.update, data.delete, schema", ..Opt::TEXT },
    Opt { name: "exclusion", doc: "what to leave out again, written as in inclusion", ..Opt::TEXT },
    Opt { name: "forwarding-pipe-requests", default: Some("true"), doc: "false leaves out what another pipe wrote", ..BOOL },
    Opt { name: "parallelism", aliases: &["snapshot.parallelism", "parallelism.default"], default: Some("2"), kind: OptKind::Integer { min: 1, max: 64 }, doc: "chunks in flight", ..Opt::TEXT },
    Opt { name: "snapshot.chunk-rows", default: Some("250000"), kind: OptKind::Integer { min: 1, max: 100_000_000 }, doc: "rows per chunk, about", ..Opt::TEXT },
];

/// Options of every connector.
pub const CONNECTOR: &[Opt] = &[
    Opt { name: "connector", aliases: &["sink", "connector.plugin"], doc: "the connector plugin; by default the target's type tells", applies: "never", ..Opt::TEXT },
    Opt { name: "target-name", doc: "a source by name as the target", applies: "never", ..Opt::TEXT },
    Opt { name: "table", doc: "naming template with ${schema} and ${table}", applies: "never", ..Opt::TEXT },
    Opt { name: "tables", doc: "explicit comma list from=to", applies: "never", ..Opt::TEXT },
    Opt { name: "create-table", default: Some("true"), doc: "create tables that are missing", ..BOOL },
    Opt { name: "primary-key", default: Some("true"), doc: "create the primary key", ..BOOL },
    Opt { name: "indexes", default: Some("false"), doc: "create the source's other indexes", ..BOOL },
    Opt { name: "recreate-table", default: Some("false"), doc: "drop and create tables that exist", ..BOOL },
    Opt { name: "on-existing-rows", default: Some("error"), kind: OptKind::Enum(&["error", "append", "truncate"]), doc: "before a snapshot into a table that has rows", ..Opt::TEXT },
    Opt { name: "on-delete", default: Some("delete"), kind: OptKind::Enum(&["delete", "soft", "ignore"]), doc: "what a delete does; soft sets _standpipe_deleted_at", ..Opt::TEXT },
    Opt { name: "on-truncate", default: Some("propagate"), kind: OptKind::Enum(POLICY), doc: "what a truncate does", ..Opt::TEXT },
    Opt { name: "on-ddl", default: Some("additive"), kind: OptKind::Enum(&["additive", "propagate", "ignore", "stop"]), doc: "what a change of structure does; additive adds columns and stops on the rest", ..Opt::TEXT },
    Opt { name: "shared-target", default: Some("false"), doc: "allow tables that another pipe writes", ..BOOL },
    Opt { name: "on-lossy", default: Some("error"), kind: OptKind::Enum(&["error", "text", "null"]), doc: "a value that the target can't hold", ..Opt::TEXT },
    Opt { name: "on-lossy", kind: OptKind::Family, doc: "on-lossy.schema.table.column: the same for one column", ..Opt::TEXT },
    Opt { name: "batch.enable", default: Some("true"), doc: "gather changes before a flush", ..BOOL },
    Opt { name: "batch.max-delay-seconds", default: Some("1"), kind: OptKind::Number { min: 0.0, max: 3600.0 }, doc: "the longest a change waits for a flush", ..Opt::TEXT },
    Opt { name: "batch.min-interval-seconds", default: None, kind: OptKind::Number { min: 0.0, max: 3600.0 }, doc: "the shortest time between flushes; 0, and 0.5 where each costs a file", ..Opt::TEXT },
    Opt { name: "batch.size-bytes", default: Some("16777216"), kind: OptKind::Size, doc: "what is gathered at most before a flush", ..Opt::TEXT },
    Opt { name: "apply.shards", default: Some("1"), kind: OptKind::Integer { min: 1, max: 64 }, doc: "writers of changes", ..Opt::TEXT },
    Opt { name: "parallelism", default: None, kind: OptKind::Integer { min: 1, max: 64 }, doc: "the same as the extractor's parallelism", ..Opt::TEXT },
];

/// Options of WITH RUNTIME for streams.
pub const RUNTIME: &[Opt] = &[
    Opt { name: "start", default: Some("false"), doc: "start at once", applies: "never", ..BOOL },
    Opt { name: "validate", default: Some("true"), doc: "reach both ends at CREATE", applies: "never", ..BOOL },
    Opt { name: "memory-limit", kind: OptKind::Size, default: Some("256 MB"), doc: "what one pipe's batches may take", ..Opt::TEXT },
    Opt { name: "execution.checkpointing.interval", kind: OptKind::Duration { unit: "ms" }, doc: "the same as batch.max-delay-seconds", ..Opt::TEXT },
    Opt { name: "execution.checkpointing.min-pause", kind: OptKind::Duration { unit: "ms" }, doc: "the same as batch.min-interval-seconds", ..Opt::TEXT },
    Opt { name: "execution.checkpointing.timeout", default: Some("600000"), kind: OptKind::Duration { unit: "ms" }, doc: "the longest a flush may take", ..Opt::TEXT },
    Opt { name: "state.checkpoints.num-retained", default: Some("1"), kind: OptKind::Integer { min: 1, max: 1000 }, doc: "checkpoints kept for SHOW CHECKPOINTS", ..Opt::TEXT },
    Opt { name: "restart-strategy.type", aliases: &["restart-strategy"], default: Some("exponential-delay"), kind: OptKind::Enum(&["none", "fixed-delay", "failure-rate", "exponential-delay"]), doc: "what happens after a retryable error", ..Opt::TEXT },
    Opt { name: "restart-strategy.fixed-delay.delay", default: Some("1 s"), kind: OptKind::Duration { unit: "s" }, doc: "delay before each attempt", ..Opt::TEXT },
    Opt { name: "restart-strategy.fixed-delay.attempts", default: Some("-1"), kind: OptKind::Integer { min: -1, max: 1_000_000_000 }, doc: "attempts; -1 without end", ..Opt::TEXT },
    Opt { name: "restart-strategy.failure-rate.delay", default: Some("1 s"), kind: OptKind::Duration { unit: "s" }, doc: "delay before each attempt", ..Opt::TEXT },
    Opt { name: "restart-strategy.failure-rate.failure-rate-interval", default: Some("60 s"), kind: OptKind::Duration { unit: "s" }, doc: "the window in which failures are counted", ..Opt::TEXT },
    Opt { name: "restart-strategy.failure-rate.max-failures-per-interval", default: Some("1"), kind: OptKind::Integer { min: 1, max: 1_000_000 }, doc: "failures in the window that are still restarted", ..Opt::TEXT },
    Opt { name: "restart-strategy.exponential-delay.initial-backoff", default: Some("1 s"), kind: OptKind::Duration { unit: "s" }, doc: "first delay", ..Opt::TEXT },
    Opt { name: "restart-strategy.exponential-delay.max-backoff", default: Some("5 min"), kind: OptKind::Duration { unit: "s" }, doc: "longest delay", ..Opt::TEXT },
    Opt { name: "restart-strategy.exponential-delay.backoff-multiplier", aliases: &["restart-strategy.exponential-delay.multiplier"], default: Some("2"), kind: OptKind::Number { min: 1.0, max: 100.0 }, doc: "growth of the delay", ..Opt::TEXT },
    Opt { name: "restart-strategy.exponential-delay.reset-backoff-threshold", aliases: &["restart-strategy.exponential-delay.reset-after"], default: Some("1 h"), kind: OptKind::Duration { unit: "s" }, doc: "quiet time after which the delay starts over", ..Opt::TEXT },
];

/// Options of a real IoTDB or Flink installation that mean nothing here: accepted with a NOTICE. A trailing `*` matches any rest.
pub const FOREIGN: &[&str] = &["mssql-server-name", "jobmanager.*", "taskmanager.*", "state.backend.*", "state.backend", "rest.*", "high-availability.*"];
