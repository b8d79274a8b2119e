//! How a catalog is opened: every bound and switch by name.

use std::time::Duration;

use crate::secret::Secret;

/// Where the key that seals secrets comes from.
#[derive(Debug, Default)]
pub enum KeySource {
    /// `DIR/secret.key`, made at first open with mode 0600.
    #[default]
    File,
    /// 64 hexadecimal digits, and those used before it.
    Given { current: Secret, previous: Vec<Secret> },
}

/// How many entries of each history are kept per subject. Trimming is done in steps of a tenth, so that there may be a
/// tenth more.
#[derive(Clone, Debug)]
pub struct Retention {
    pub exceptions: u32,
    pub events: u32,
    pub log_lines: u32,
    pub checkpoints: u32,
    pub cleanups: u32,
    pub audit: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { exceptions: 1000, events: 2000, log_lines: 5000, checkpoints: 10, cleanups: 10_000, audit: 100_000 }
    }
}

/// The settings of a catalog.
#[derive(Debug)]
pub struct OpenOptions {
    pub key: KeySource,
    /// Take a new key although secrets are sealed under one that is gone; those must be set again.
    pub accept_new_key: bool,
    /// Off only where losing acknowledged writes at a power cut is acceptable (tests, the demo).
    pub fsync: bool,
    /// Read every page and row at open.
    pub verify: bool,
    /// How long a statement waits for another reader or writer of the same files.
    pub busy_timeout: Duration,
    /// Writes that share one fsync at most.
    pub group_limit: usize,
    /// Writes that wait at most; more are refused as busy.
    pub queue_limit: usize,
    /// Pages of 4 KiB in the write-ahead log before it is carried over into the main file.
    pub log_pages: u32,
    /// Bytes that the main file may take; none: what the disk has.
    pub size_limit: Option<u64>,
    pub retention: Retention,
    /// Called by the writer between the last statement of a group and its commit: where a test ends the process.
    pub before_commit: fn(),
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            key: KeySource::File,
            accept_new_key: false,
            fsync: true,
            verify: true,
            busy_timeout: Duration::from_secs(10),
            group_limit: 256,
            queue_limit: 65_536,
            log_pages: 1000,
            size_limit: None,
            retention: Retention::default(),
            before_commit: || {},
        }
    }
}
