//! The catalog's own numbers: versions, OIDs, generations, times.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::Rng;
use serde::{Deserialize, Serialize};
pub use uuid::Uuid;

/// Counts the catalog's writes; a record's version is that of the write which last changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version of a record that an open transaction has written and not committed: see
    /// [`crate::Snapshot::with`]. As an expectation: "written earlier in this same list of changes".
    pub const PENDING: Version = Version(u64::MAX);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Version::PENDING { f.write_str("pending") } else { self.0.fmt(f) }
    }
}

/// A number that PostgreSQL clients know objects by; for life, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Oid(pub u32);

impl Oid {
    /// Smaller ones belong to the system, as in PostgreSQL (`FirstNormalObjectId`).
    pub const FIRST: Oid = Oid(16384);
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Microseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The clock; the start of 1970 if it stands before that.
    pub fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// How many low bits of a generation are random.
const GENERATION_RANDOM_BITS: u32 = 20;

/// A number for a new generation of a table, after `last`: positive, growing, and never one that was used before, even
/// when the catalog was restored from a backup that does not know what came after it. Milliseconds above random bits.
pub fn next_generation(last: i64) -> i64 {
    let random = rand::rng().random_range(0..1i64 << GENERATION_RANDOM_BITS);
    let drawn = ((Timestamp::now().0 / 1000) << GENERATION_RANDOM_BITS) | random;
    drawn.max(last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_never_comes_twice() {
        let mut last = 0;
        for _ in 0..1000 {
            let next = next_generation(last);
            assert!(next > last);
            last = next;
        }
        assert_eq!(next_generation(i64::MAX - 1), i64::MAX);
    }
}
