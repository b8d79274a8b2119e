//! What Standpipe must not forget: what users asked for, and how far each pipe has come.
//!
//! Records live in typed collections ([`collection`], [`record`]) and are read from a [`Snapshot`], which is immutable,
//! whole and cheap to hold. They change by [`Change`]s, given as data with the versions they expect, and applied all or
//! nothing. One thread writes ([`writer`]); a group of writes shares one fsync; a write is acknowledged when it is on
//! the disk and every watcher has seen it. What only ever grows (exceptions, events, audit) is a [`history`]: bounded,
//! read in pages, never held in memory whole.
//!
//! Reading order: `collection`, `record/pipe`, `change`, `snapshot`, `writer`, `store`.
//! The crate knows no SQL dialect, no plugin and no async runtime; `store` alone names the storage engine.

pub mod catalog;
pub mod change;
pub mod check;
pub mod collection;
pub mod error;
pub mod history;
pub mod id;
pub mod pending;
pub mod record;
pub mod secret;
pub mod snapshot;

mod lock;
mod options;
mod store;
mod sum;
mod upgrade;
mod wal;
mod watch;
mod writer;

pub use catalog::Catalog;
pub use change::{Change, Expect};
pub use check::{Finding, Severity};
pub use collection::{Collection, Key, Record, Versioned};
pub use error::{CatalogError, ErrorKind, Invariant};
pub use history::{Entry, History, Page};
pub use id::{Oid, Timestamp, Uuid, Version};
pub use options::{KeySource, OpenOptions, Retention};
pub use pending::Pending;
pub use record::*;
pub use secret::{Keyring, OptionValue, Options, Sealed, Secret};
pub use snapshot::{Keyed, Snapshot};
pub use watch::WatchId;
