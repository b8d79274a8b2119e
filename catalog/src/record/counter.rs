//! Numbers that are given once: OIDs, run ids.

use serde::{Deserialize, Serialize};

use crate::change::{Change, Expect};
use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::id::Oid;
use crate::snapshot::Snapshot;

/// The counter of OIDs.
pub const OID: &str = "oid";
/// The counter of batch runs and their tasks.
pub const RUN: &str = "run";

/// The counters, by name.
#[derive(Debug)]
pub enum Counters {}

impl Collection for Counters {
    const NAME: &'static str = "counter";
    type Key = String;
    type Value = Counter;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// The next number to give.
    pub next: u64,
}

impl Record for Counter {
    fn check(&self) -> Result<(), Invariant> {
        Invariant::require(self.next > 0, || "a counter begins at 1".to_string())
    }
}

impl Snapshot {
    /// Draws `count` numbers: the first of them, and the change that makes them taken. The numbers are given when the
    /// list that holds this change is committed; two lists that drew the same ones conflict, and one plans again.
    pub fn draw(&self, counter: &str, count: u64) -> (u64, Change) {
        let name = counter.to_string();
        let first = if counter == OID { u64::from(Oid::FIRST.0) } else { 1 };
        let found = self.get::<Counters>(&name);
        let next = found.as_ref().map_or(first, |c| c.next);
        let expect = found.map_or(Expect::Absent, |c| Expect::Version(c.version));
        (next, Change::put::<Counters>(&name, &Counter { next: next.saturating_add(count) }, expect))
    }

    /// Draws `count` OIDs in a row: the first, and the change. `None` when all 32 bits are used up.
    pub fn draw_oids(&self, count: u32) -> Option<(Oid, Change)> {
        let (first, change) = self.draw(OID, u64::from(count));
        let end = first.saturating_add(u64::from(count));
        (end <= u64::from(u32::MAX)).then(|| Some((Oid(u32::try_from(first).ok()?), change)))?
    }
}
