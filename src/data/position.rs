//! Where in a source's history something is. A position is the source's own; nobody else looks inside.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// A commit's place in the source's log, and an ordinal inside that transaction for targets with a transaction limit.
///
/// `key` orders: the plugin encodes its position so that `memcmp` is the log's order (PostgreSQL: the LSN, big-endian). Two positions
/// of different `system`s don't compare.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Who gave it: `postgres`, `mysql`, `mongodb`, `generator`.
    pub system: String,
    /// Memcmp-ordered form, as hexadecimal in JSON.
    #[serde(with = "hex_bytes")]
    pub key: Vec<u8>,
    /// As the system writes it and users see it: `0/16B3748`, a GTID set, a resume token.
    pub text: String,
    /// Changes of the transaction after `key` that are done already; 0 at a transaction's end.
    #[serde(default)]
    pub ordinal: u64,
}

impl Position {
    /// A position at a transaction's end.
    pub fn new(system: impl Into<String>, key: Vec<u8>, text: impl Into<String>) -> Self {
        Position { system: system.into(), key, text: text.into(), ordinal: 0 }
    }
    /// Orders two positions of one system.
    pub fn compare(&self, other: &Position) -> Option<Ordering> {
        (self.system == other.system).then(|| (self.key.as_slice(), self.ordinal).cmp(&(other.key.as_slice(), other.ordinal)))
    }
    /// `self` is at or past `other`; false where they don't compare.
    pub fn reached(&self, other: &Position) -> bool {
        matches!(self.compare(other), Some(Ordering::Equal | Ordering::Greater))
    }
    /// The later of two; `self` where they don't compare.
    pub fn later(self, other: Position) -> Position {
        if other.compare(&self) == Some(Ordering::Greater) { other } else { self }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.ordinal > 0 { write!(f, "+{}", self.ordinal) } else { Ok(()) }
    }
}

/// The identity of the last transaction at or before a position: a history that shows another one there is not the one we read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Where that transaction ended.
    pub position: Position,
    /// Its identity in the source's words (PostgreSQL: `xid`).
    pub xid: String,
}

mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer};
    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(bytes))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}
