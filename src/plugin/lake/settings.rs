//! Every bound of the lake's engine, with its default. `config.rs` and the connector's options set them; nothing in the flow has a bare number.

use crate::config::Config;
use std::time::Duration;

/// How a lake writes, finds, compacts and forgets.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Sync files and directories before a flush returns (`lake.fsync`).
    pub fsync: bool,
    /// A data file is closed at about this many bytes (`lake.file-size`).
    pub target_file_bytes: usize,
    /// A row group is closed at about this many encoded bytes: bounds a writer's memory (`lake.row-group-bytes`).
    pub row_group_bytes: usize,
    /// ... and at the latest at this many rows: bounds what one key look-up decodes.
    pub row_group_rows: usize,
    /// Changes of one table in memory, in bytes, from which on they are written ahead of their commit (`lake.draft-bytes`).
    pub draft_bytes: usize,
    /// Rows decoded at a time by readers of ours.
    pub read_batch_rows: usize,
    /// Files whose keys are read at the same time by one flush (`lake.finder-threads`).
    pub find_parallelism: usize,
    /// Tables, or files of one table, that are opened at the same time.
    pub open_parallelism: usize,
    /// Time between looks after checkpoints and what else is due.
    pub keeper_interval: Duration,
    /// Decoded key columns kept in memory, all tables of a lake together (`lake.key-cache`).
    pub key_cache_bytes: usize,
    /// How often a commit is planned again when the table's version moved.
    pub commit_attempts: u32,
    /// Pause before a put whose fate is unknown is tried again, multiplied by the attempt.
    pub commit_backoff: Duration,
    /// A checkpoint of the log every this many versions (`lake.checkpoint-commits`).
    pub checkpoint_interval: u64,
    /// How long log entries are kept after a checkpoint (`lake.log-retention`).
    pub log_retention: Duration,
    /// How long removed files are kept; earlier versions can be read as long (`lake.vacuum-retention`).
    pub vacuum_retention: Duration,
    /// Time between two clean-ups of one table (`lake.vacuum-interval`).
    pub vacuum_interval: Duration,
    /// Compact when this many files of similar size are there (`lake.compact.min-files`).
    pub compact_min_files: usize,
    /// Files of one compaction at most.
    pub compact_max_files: usize,
    /// Files belong to one size class while they are within this factor.
    pub compact_size_factor: u64,
    /// Files up to this size are all of the smallest class.
    pub compact_class_bytes: u64,
    /// Files below this are merged (`lake.compact.small-file`).
    pub compact_small_bytes: u64,
    /// Time between looks for files to compact; zero: never (`lake.compact.interval`).
    pub compact_interval: Duration,
    /// Rewrite a file when more than this share of its rows is dead (`lake.compact.dead-percent`).
    pub compact_dead_share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            fsync: true,
            target_file_bytes: 128 << 20,
            row_group_bytes: 16 << 20,
            row_group_rows: 1 << 18,
            draft_bytes: 32 << 20,
            read_batch_rows: 1 << 13,
            find_parallelism: std::thread::available_parallelism().map_or(1, |n| n.get()),
            open_parallelism: 8,
            keeper_interval: Duration::from_secs(1),
            key_cache_bytes: 64 << 20,
            commit_attempts: 10,
            commit_backoff: Duration::from_millis(50),
            checkpoint_interval: 100,
            log_retention: Duration::from_secs(3600),
            vacuum_retention: Duration::from_secs(3600),
            vacuum_interval: Duration::from_secs(600),
            compact_min_files: 8,
            compact_max_files: 32,
            compact_size_factor: 8,
            compact_class_bytes: 1 << 20,
            compact_small_bytes: 32 << 20,
            compact_interval: Duration::from_secs(30),
            compact_dead_share: 0.2,
        }
    }
}

impl Settings {
    /// The size class of a file that is to be merged with its like; `None`: it is large enough.
    pub fn size_class(&self, bytes: u64) -> Option<u32> {
        let mut limit = self.compact_class_bytes.max(1);
        let mut class = 0;
        while bytes > limit {
            limit = limit.saturating_mul(self.compact_size_factor.max(2));
            class += 1;
        }
        (bytes < self.compact_small_bytes).then_some(class)
    }

    /// As the server's settings say.
    pub fn of(config: &Config) -> Settings {
        Settings {
            fsync: config.flag("lake.fsync"),
            target_file_bytes: config.size("lake.file-size"),
            row_group_bytes: config.size("lake.row-group-bytes"),
            draft_bytes: config.size("lake.draft-bytes"),
            find_parallelism: config.count("lake.finder-threads"),
            key_cache_bytes: config.size("lake.key-cache"),
            checkpoint_interval: config.count("lake.checkpoint-commits") as u64,
            log_retention: config.duration("lake.log-retention"),
            vacuum_retention: config.duration("lake.vacuum-retention"),
            vacuum_interval: config.duration("lake.vacuum-interval"),
            compact_min_files: config.count("lake.compact.min-files"),
            compact_small_bytes: config.size("lake.compact.small-file") as u64,
            compact_interval: config.duration("lake.compact.interval"),
            compact_dead_share: config.integer("lake.compact.dead-percent") as f64 / 100.0,
            ..Settings::default()
        }
    }
}
