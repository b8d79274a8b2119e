//! Every metric and label, each described once: what `/metrics` and the view `metrics` show. What is counted for the whole program stands here
//! too; what is counted for a pipe stands with the pipe ([`crate::pipe::measure`]) and goes with it, so that a dropped pipe leaves no series.
//!
//! Nothing is recorded per row: a flush, a statement or a commit is the smallest thing that is counted.

pub mod exposition;
pub mod process;
mod times;

pub use times::Times;

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How a metric behaves, in Prometheus' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, from 0 at the start of the program.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations by size.
    Histogram,
}

impl MetricKind {
    /// As the exposition format spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// Name with its unit, by Prometheus' rules.
    pub name: &'static str,
    /// Kind.
    pub kind: MetricKind,
    /// Labels, in order.
    pub labels: &'static [&'static str],
    /// One line.
    pub doc: &'static str,
}

impl Metric {
    /// A value. `labels` are the values of the metric's labels, in order.
    pub fn sample(&'static self, labels: &[&str], value: f64) -> Sample {
        debug_assert_eq!(labels.len(), self.labels.len(), "{}", self.name);
        let labels = self.labels.iter().zip(labels).map(|(name, value)| (*name, value.to_string())).collect();
        Sample { metric: self, suffix: "", labels, value }
    }
}

/// One value of a metric at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Of what.
    pub metric: &'static Metric,
    /// `_bucket`, `_sum` or `_count` of a histogram, else empty.
    pub suffix: &'static str,
    /// Labels and their values.
    pub labels: Vec<(&'static str, String)>,
    /// Value.
    pub value: f64,
}

/// Label: the pipe's name.
pub const PIPE: &str = "pipe";
/// Label: a phase of a pipe or table.
pub const PHASE: &str = "phase";
/// Label: `snapshot`, `insert`, `update`, `delete`.
pub const KIND: &str = "kind";
/// Label: plugin of the source side.
pub const EXTRACTOR: &str = "extractor";
/// Label: plugin of the target side.
pub const CONNECTOR: &str = "connector";
/// Label: state of a session, as `pg_stat_activity` has it.
pub const STATE: &str = "state";
/// Label: the SQLSTATE of an error.
pub const SQLSTATE: &str = "sqlstate";
/// Label: version of the program.
pub const VERSION: &str = "version";
/// Label of a histogram's buckets: their upper bound.
pub const LE: &str = "le";

macro_rules! metrics {
    ($($name:ident $kind:ident $text:literal [$($label:ident)*] $doc:literal;)*) => {
        $(#[doc = $doc] pub static $name: Metric = Metric { name: $text, kind: MetricKind::$kind, labels: &[$($label),*], doc: $doc };)*
        /// All of them, in the order in which they are shown.
        pub const METRICS: &[&Metric] = &[$(&$name),*];
    };
}

metrics! {
    BUILD_INFO Gauge "standpipe_build_info" [VERSION] "1, with the version of the program";
    START_TIME Gauge "process_start_time_seconds" [] "When the server started, in seconds since 1970";
    RESIDENT_MEMORY Gauge "process_resident_memory_bytes" [] "Memory of the program that is in RAM";
    CPU Counter "process_cpu_seconds_total" [] "Processor time that the program has used";
    OPEN_FILES Gauge "process_open_fds" [] "Files and sockets that the program has open";
    QUERY_MEMORY Gauge "standpipe_query_memory_bytes" [] "Memory that queries have reserved of query.memory-limit";
    SESSIONS Gauge "standpipe_sessions" [STATE] "Clients that are logged in, by what they do";
    SESSIONS_BEGUN Counter "standpipe_sessions_total" [] "Clients that have logged in";
    LOGIN_FAILURES Counter "standpipe_login_failures_total" [] "Logins refused for a wrong password";
    STATEMENT_SECONDS Histogram "standpipe_statement_seconds" [] "Statements of clients, from their arrival to their last row";
    STATEMENT_ERRORS Counter "standpipe_statement_errors_total" [SQLSTATE] "Errors sent to clients";
    PIPE_INFO Gauge "standpipe_pipe_info" [PIPE EXTRACTOR CONNECTOR] "1, with the plugins of the pipe";
    PIPE_PHASE Gauge "standpipe_pipe_phase" [PIPE PHASE] "1 for the phase that the pipe is in, 0 for the others";
    PIPE_TABLES Gauge "standpipe_pipe_tables" [PIPE PHASE] "Tables of the pipe, by their phase";
    PIPE_ROWS Counter "standpipe_pipe_rows_total" [PIPE KIND] "Rows made durable in the target";
    PIPE_BYTES Counter "standpipe_pipe_bytes_total" [PIPE] "Bytes made durable in the target, where it can tell";
    PIPE_TRUNCATES Counter "standpipe_pipe_truncates_total" [PIPE] "TRUNCATEs carried out in the target";
    PIPE_LOSSY Counter "standpipe_pipe_lossy_values_total" [PIPE] "Values that lost something, as on-lossy allows";
    PIPE_FLUSH_SECONDS Histogram "standpipe_pipe_flush_seconds" [PIPE] "Flushes of changes, from their number to the catalog's record";
    PIPE_PENDING Gauge "standpipe_pipe_pending_rows" [PIPE] "Changes that were taken and are not durable yet";
    PIPE_LAG_SECONDS Gauge "standpipe_pipe_lag_seconds" [PIPE] "Time between the source's last known commit and the last one that is durable in the target";
    PIPE_LAG_BYTES Gauge "standpipe_pipe_lag_bytes" [PIPE] "Bytes of the source's log after what is durable in the target, where the source can tell";
    PIPE_HELD_BYTES Gauge "standpipe_pipe_source_held_bytes" [PIPE] "Bytes of log that the source keeps for the pipe, where it can tell";
    PIPE_LAST_CHANGE Gauge "standpipe_pipe_last_change_timestamp_seconds" [PIPE] "Commit time of the last change, in seconds since 1970";
    PIPE_SNAPSHOT_ROWS Gauge "standpipe_pipe_snapshot_rows" [PIPE] "Rows that the snapshot has copied";
    PIPE_SNAPSHOT_EXPECTED Gauge "standpipe_pipe_snapshot_expected_rows" [PIPE] "Rows that the snapshot has in all, as the source estimates";
    PIPE_SNAPSHOT_RATIO Gauge "standpipe_pipe_snapshot_ratio" [PIPE] "Share of the snapshot's chunks that is done, from 0 to 1";
    PIPE_RESTARTS Counter "standpipe_pipe_restarts_total" [PIPE] "Times that the pipe had to begin again after an error";
    PIPE_EXCEPTIONS Counter "standpipe_pipe_exceptions_total" [PIPE] "Errors of the pipe and of its tables";
    LAKE_COMMITS Counter "standpipe_lake_commits_total" [] "Commits to tables of the lake";
    LAKE_CONFLICTS Counter "standpipe_lake_conflicts_total" [] "Commits to the lake that were planned anew because the table had moved";
    LAKE_COMPACTIONS Counter "standpipe_lake_compactions_total" [] "Compactions of tables of the lake";
    LAKE_COMPACTED_FILES Counter "standpipe_lake_compacted_files_total" [] "Files that compactions have replaced";
    LAKE_CLEANED_FILES Counter "standpipe_lake_cleaned_files_total" [] "Files that no kept version needed and that were removed";
}

/// A number that only grows.
#[derive(Debug)]
pub struct Count {
    metric: &'static Metric,
    value: AtomicU64,
}

impl Count {
    const fn of(metric: &'static Metric) -> Count {
        Count { metric, value: AtomicU64::new(0) }
    }
    /// So many more.
    pub fn add(&self, n: u64) {
        self.value.fetch_add(n, Ordering::Relaxed);
    }
    /// How many so far.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// What the whole program counts.
#[derive(Debug)]
pub struct Program {
    /// Clients that have logged in.
    pub sessions: Count,
    /// Wrong passwords.
    pub login_failures: Count,
    /// Commits to the lake.
    pub lake_commits: Count,
    /// Those that were planned anew.
    pub lake_conflicts: Count,
    /// Compactions.
    pub lake_compactions: Count,
    /// Files that they replaced.
    pub lake_compacted_files: Count,
    /// Files that were removed.
    pub lake_cleaned_files: Count,
    statements: Mutex<Times>,
    errors: Mutex<BTreeMap<&'static str, u64>>,
}

/// One program, one set of counters: they are the process's, as its memory is.
pub static PROGRAM: Program = Program {
    sessions: Count::of(&SESSIONS_BEGUN),
    login_failures: Count::of(&LOGIN_FAILURES),
    lake_commits: Count::of(&LAKE_COMMITS),
    lake_conflicts: Count::of(&LAKE_CONFLICTS),
    lake_compactions: Count::of(&LAKE_COMPACTIONS),
    lake_compacted_files: Count::of(&LAKE_COMPACTED_FILES),
    lake_cleaned_files: Count::of(&LAKE_CLEANED_FILES),
    statements: Mutex::new(Times::new()),
    errors: Mutex::new(BTreeMap::new()),
};

impl Program {
    /// A statement has ended.
    pub fn statement(&self, took: Duration) {
        self.statements.lock().observe(took);
    }
    /// An error was sent to a client. SQLSTATEs are those of [`crate::error::Kind`], so there are few.
    pub fn error(&self, sqlstate: &'static str) {
        *self.errors.lock().entry(sqlstate).or_default() += 1;
    }
    /// All counters as they are now.
    pub fn samples(&self) -> Vec<Sample> {
        let Program { sessions, login_failures, lake_commits, lake_conflicts, lake_compactions, lake_compacted_files, lake_cleaned_files, statements, errors } = self;
        let counts = [sessions, login_failures, lake_commits, lake_conflicts, lake_compactions, lake_compacted_files, lake_cleaned_files];
        let mut out: Vec<Sample> = counts.iter().map(|c| c.metric.sample(&[], c.get() as f64)).collect();
        out.extend(statements.lock().samples(&STATEMENT_SECONDS, &[]));
        out.extend(errors.lock().iter().map(|(state, n)| STATEMENT_ERRORS.sample(&[state], *n as f64)));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let word = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
        for m in METRICS {
            assert!(word(m.name) && m.labels.iter().all(|l| word(l) && *l != LE), "{}", m.name);
            assert_eq!(m.name.ends_with("_total"), m.kind == MetricKind::Counter, "{}", m.name);
            assert_eq!(METRICS.iter().filter(|o| o.name == m.name).count(), 1, "{}", m.name);
            assert!(m.kind != MetricKind::Histogram || m.name.ends_with("_seconds"), "{}", m.name);
            assert!(!m.doc.is_empty() && !m.doc.ends_with('.'), "{}", m.name);
        }
    }
}
