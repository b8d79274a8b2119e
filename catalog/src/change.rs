//! A change as data: planners make lists of them, the writer applies a list whole or not at all.

use std::fmt;
use std::sync::Arc;

use crate::collection::{Collection, Key};
use crate::history::History;
use crate::id::{Timestamp, Version};
use crate::secret::hex;

/// What must hold of a record at the moment its change is applied; otherwise the whole list is a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything; the last writer wins.
    Any,
    /// There is none.
    Absent,
    /// There is one, at whatever version.
    Present,
    /// There is one and it has this version.
    Version(Version),
}

/// One change of the catalog. Its `Debug` form leaves values out: they may hold what is not to be shown.
#[derive(Clone, PartialEq)]
pub enum Change {
    /// The record of `key` is `value` (JSON) from now on.
    Put { collection: &'static str, key: Vec<u8>, value: Arc<str>, expect: Expect },
    /// There is no record of `key` from now on. Deleting what is not there is fine with `Expect::Any`.
    Delete { collection: &'static str, key: Vec<u8>, expect: Expect },
    /// No record's key begins with `prefix` from now on.
    DeleteUnder { collection: &'static str, prefix: Vec<u8> },
    /// Changes nothing: the list depends on this record staying as it is (a pipe on its source).
    Require { collection: &'static str, key: Vec<u8>, expect: Expect },
    /// Changes nothing: no record of the collection was written or removed after the version.
    Unchanged { collection: &'static str, since: Version },
    /// Another entry (JSON) of a history. Of its subject the newest `keep` stay; `None`: the history's own setting.
    Append { history: &'static str, subject: Vec<u8>, at: Timestamp, entry: Arc<str>, keep: Option<u32> },
    /// A subject's history is forgotten.
    Forget { history: &'static str, subject: Vec<u8> },
}

impl Change {
    pub fn put<C: Collection>(key: &C::Key, value: &C::Value, expect: Expect) -> Change {
        Change::Put { collection: C::NAME, key: key.encode(), value: json(value), expect }
    }

    pub fn delete<C: Collection>(key: &C::Key, expect: Expect) -> Change {
        Change::Delete { collection: C::NAME, key: key.encode(), expect }
    }

    /// Deletes every record whose key begins with `prefix`, a leading part of the collection's key.
    pub fn delete_under<C: Collection>(prefix: &impl Key) -> Change {
        Change::DeleteUnder { collection: C::NAME, prefix: prefix.encode() }
    }

    pub fn require<C: Collection>(key: &C::Key, expect: Expect) -> Change {
        Change::Require { collection: C::NAME, key: key.encode(), expect }
    }

    pub fn unchanged<C: Collection>(since: Version) -> Change {
        Change::Unchanged { collection: C::NAME, since }
    }

    /// An entry of a history, of now.
    pub fn append<H: History>(subject: &H::Subject, entry: &H::Entry) -> Change {
        Change::append_keeping::<H>(subject, entry, None)
    }

    /// The same, with a bound of its own for this subject.
    pub fn append_keeping<H: History>(subject: &H::Subject, entry: &H::Entry, keep: Option<u32>) -> Change {
        let (subject, at) = (subject.encode(), Timestamp::now());
        Change::Append { history: H::NAME, subject, at, entry: json(entry), keep }
    }

    pub fn forget<H: History>(subject: &H::Subject) -> Change {
        Change::Forget { history: H::NAME, subject: subject.encode() }
    }

    /// The key, if this writes or removes a record of `C`. Watchers never see `DeleteUnder`: it reaches them as one
    /// `Delete` for each record it removed.
    pub fn key_of<C: Collection>(&self) -> Option<C::Key> {
        match self {
            Change::Put { collection, key, .. } | Change::Delete { collection, key, .. } if *collection == C::NAME => {
                C::Key::decode(key)
            }
            _ => None,
        }
    }

    /// The record, if this writes one of `C`.
    pub fn value_of<C: Collection>(&self) -> Option<C::Value> {
        match self {
            Change::Put { collection, value, .. } if *collection == C::NAME => serde_json::from_str(value).ok(),
            _ => None,
        }
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Put { collection, key, expect, .. } => write!(f, "put {collection} {} if {expect:?}", hex(key)),
            Change::Delete { collection, key, expect } => write!(f, "delete {collection} {} if {expect:?}", hex(key)),
            Change::DeleteUnder { collection, prefix } => write!(f, "delete {collection} {}*", hex(prefix)),
            Change::Require { collection, key, expect } => write!(f, "require {collection} {}: {expect:?}", hex(key)),
            Change::Unchanged { collection, since } => write!(f, "require {collection} unchanged since {since}"),
            Change::Append { history, subject, .. } => write!(f, "append to {history} of {}", hex(subject)),
            Change::Forget { history, subject } => write!(f, "forget {history} of {}", hex(subject)),
        }
    }
}

fn json<V: serde::Serialize>(value: &V) -> Arc<str> {
    // Records are plain structs and maps with text keys, which always have a JSON form.
    serde_json::to_string(value).expect("a record has a JSON form").into()
}
