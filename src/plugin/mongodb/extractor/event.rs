//! One event of a change stream, found where it lies. (MongoDB Manual, "Change Events")

use super::super::position::token_text;
use super::super::raw::{self, Value};
use crate::error::{Error, Kind, Result};

/// An event's parts; what it does not have is None.
#[derive(Debug, Default, Clone, Copy)]
pub struct Event<'a> {
    /// Its place.
    pub token: &'a str,
    /// What its place needs beside, if anything.
    type_bits: Option<&'a [u8]>,
    /// `insert`, `update`, `replace`, `delete`, `drop`, `rename`, `dropDatabase`, `invalidate`, ...
    pub operation: &'a str,
    /// Commit time by the cluster's clock.
    pub time: u64,
    /// Commit time by the server's clock, milliseconds since 1970.
    pub wall: Option<i64>,
    /// Database and collection.
    pub names: Option<(&'a str, &'a str)>,
    /// The same after a rename.
    pub to: Option<(&'a str, &'a str)>,
    /// The document's `_id`.
    pub key: Option<Value<'a>>,
    /// The document after the change.
    pub document: Option<&'a [u8]>,
    session: Option<&'a [u8]>,
    number: Option<i64>,
    /// Which fragment of how many.
    pub fragment: Option<(i32, i32)>,
}

impl<'a> Event<'a> {
    /// Reads one. Errors: `Protocol` where it lacks its place or kind.
    pub fn read(bytes: &'a [u8]) -> Result<Event<'a>> {
        let mut event = Event::default();
        event.add(bytes)?;
        event.whole()
    }
    /// The parts of several fragments together.
    pub fn of_fragments(fragments: &'a [Vec<u8>]) -> Result<Event<'a>> {
        let mut event = Event::default();
        fragments.iter().try_for_each(|f| event.add(f))?;
        event.whole()
    }
    fn whole(self) -> Result<Event<'a>> {
        if self.token.is_empty() || (self.operation.is_empty() && self.fragment.is_none()) {
            return Err(Error::new(Kind::Protocol, "an event of the change stream has no _id or operationType").with_hint("A pipeline must keep _id, operationType, clusterTime, ns, documentKey and fullDocument."));
        }
        Ok(self)
    }
    fn add(&mut self, bytes: &'a [u8]) -> Result<()> {
        for element in raw::elements(bytes)? {
            let element = element?;
            let value = element.value;
            match element.name {
                b"_id" => {
                    let part = |name: &str| value.as_document().map(|d| raw::get(d, name)).transpose().map(Option::flatten);
                    self.token = part("_data")?.and_then(|v| v.as_str()).unwrap_or_default();
                    self.type_bits = part("_typeBits")?.and_then(|v| v.as_binary()).map(|(_, bits)| bits);
                }
                b"operationType" => self.operation = value.as_str().unwrap_or_default(),
                b"clusterTime" => self.time = value.as_timestamp().unwrap_or_default(),
                b"wallTime" => self.wall = value.as_date(),
                b"ns" => self.names = value.as_document().map(names).transpose()?,
                b"to" => self.to = value.as_document().map(names).transpose()?,
                b"documentKey" => self.key = value.as_document().map(|d| raw::get(d, "_id")).transpose()?.flatten(),
                b"fullDocument" => self.document = value.as_document(),
                b"lsid" => self.session = value.as_document(),
                b"txnNumber" => self.number = value.as_whole(),
                b"splitEvent" => {
                    let part = |name: &str| -> Result<Option<i32>> { Ok(value.as_document().map(|d| raw::get(d, name)).transpose()?.flatten().and_then(|v| v.as_i32())) };
                    self.fragment = part("fragment")?.zip(part("of")?);
                }
                _ => {}
            }
        }
        Ok(())
    }
    /// Its place as a text.
    pub fn place(&self) -> String {
        token_text(self.token, self.type_bits)
    }
    /// Session and number of its transaction.
    pub fn transaction(&self) -> Option<(&'a [u8], i64)> {
        self.session.zip(self.number)
    }
    /// Commit time, microseconds since 1970.
    pub fn micros(&self) -> i64 {
        self.wall.unwrap_or_else(|| i64::try_from(self.time >> 32).unwrap_or(0).saturating_mul(1000)).saturating_mul(1000)
    }
}

fn names(bytes: &[u8]) -> Result<(&str, &str)> {
    let text = |name: &str| -> Result<&str> { Ok(raw::get(bytes, name)?.and_then(|v| v.as_str()).unwrap_or_default()) };
    Ok((text("db")?, text("coll")?))
}
