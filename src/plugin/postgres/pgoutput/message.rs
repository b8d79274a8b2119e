//! Messages of pgoutput, protocol version 1. (PostgreSQL documentation, "Logical Replication Message Formats")

use super::super::position::Lsn;
use crate::error::{Error, Kind, Result};

/// A message, borrowed from the bytes it came in. Tuples are parsed by [`Tuple::parse`] only where somebody wants them.
#[derive(Debug, PartialEq)]
pub enum Message<'a> {
    /// A transaction follows; `commit` is where its commit record starts.
    Begin { commit: Lsn, time: i64, xid: u32 },
    /// It is complete; `end` is where its commit record ends.
    Commit { end: Lsn },
    /// The transaction was replicated from elsewhere.
    Origin { name: &'a str },
    /// What `pg_logical_emit_message` wrote.
    Logical { transactional: bool, prefix: &'a str, content: &'a [u8] },
    /// A table as the rows that follow have it.
    Relation(Relation),
    /// A row came.
    Insert { relation: u32, new: Tuple<'a> },
    /// A row changed; `old` is its key (K) or all of it (O), where the server sends it.
    Update { relation: u32, old: Option<Tuple<'a>>, new: Tuple<'a> },
    /// A row went.
    Delete { relation: u32, old: Tuple<'a> },
    /// Tables were emptied.
    Truncate { relations: Vec<u32> },
    /// Nothing of interest.
    Other,
}

/// A table as announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// OID.
    pub oid: u32,
    /// d, i, f, n: replica identity.
    pub identity: u8,
    /// Columns, in order.
    pub columns: Vec<RelationColumn>,
}

/// A column as announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Part of the replica identity.
    pub key: bool,
    /// Name.
    pub name: String,
    /// Type OID.
    pub type_id: u32,
    /// Type modifier.
    pub modifier: i32,
}

/// A row image: its bytes, not yet looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuple<'a> {
    bytes: &'a [u8],
    count: u16,
}

/// One value of a row image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// Not sent because it did not change.
    Unchanged,
    /// Text form.
    Text(&'a [u8]),
}

impl<'a> Tuple<'a> {
    /// Its values, into a vector that is reused.
    pub fn parse(&self, cells: &mut Vec<Cell<'a>>) -> Result<()> {
        cells.clear();
        let mut input = Input(self.bytes);
        for _ in 0..self.count {
            cells.push(match input.u8()? {
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                b't' => {
                    let length = input.u32()? as usize;
                    Cell::Text(input.take(length)?)
                }
                _ => return Err(malformed()),
            });
        }
        Ok(())
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    #[inline]
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(head)
    }
    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(*head)
    }
    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }
    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }
    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }
    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }
    fn text(&mut self) -> Result<&'a str> {
        let end = memchr::memchr(0, self.0).ok_or_else(malformed)?;
        let text = std::str::from_utf8(&self.0[..end]).map_err(|_| malformed())?;
        self.0 = &self.0[end + 1..];
        Ok(text)
    }
    /// A tuple; its end is found by stepping over its values.
    fn tuple(&mut self) -> Result<Tuple<'a>> {
        let count = self.u16()?;
        let start = self.0;
        for _ in 0..count {
            if matches!(self.u8()?, b't' | b'b') {
                let length = self.u32()? as usize;
                self.take(length)?;
            }
        }
        Ok(Tuple { bytes: &start[..start.len() - self.0.len()], count })
    }
    /// The last tuple of a message: the rest of it.
    fn last_tuple(&mut self) -> Result<Tuple<'a>> {
        let count = self.u16()?;
        Ok(Tuple { bytes: std::mem::take(&mut self.0), count })
    }
}

fn malformed() -> Error {
    Error::new(Kind::Protocol, "the source sent a malformed change")
}

impl<'a> Message<'a> {
    /// Parses one message.
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>> {
        let mut input = Input(bytes);
        Ok(match input.u8()? {
            b'B' => Message::Begin { commit: Lsn(input.u64()?), time: input.u64()? as i64, xid: input.u32()? },
            b'C' => {
                input.take(1 + 8)?;
                Message::Commit { end: Lsn(input.u64()?) }
            }
            b'O' => {
                input.take(8)?;
                Message::Origin { name: input.text()? }
            }
            b'M' => {
                let flags = input.u8()?;
                input.take(8)?;
                let prefix = input.text()?;
                let length = input.u32()? as usize;
                Message::Logical { transactional: flags & 1 == 1, prefix, content: input.take(length)? }
            }
            b'R' => Message::Relation(Relation::parse(&mut input)?),
            b'I' => {
                let relation = input.u32()?;
                input.take(1)?;
                Message::Insert { relation, new: input.last_tuple()? }
            }
            b'U' => {
                let relation = input.u32()?;
                let old = match input.u8()? {
                    b'N' => None,
                    _ => {
                        let old = input.tuple()?;
                        input.take(1)?;
                        Some(old)
                    }
                };
                Message::Update { relation, old, new: input.last_tuple()? }
            }
            b'D' => {
                let relation = input.u32()?;
                input.take(1)?;
                Message::Delete { relation, old: input.last_tuple()? }
            }
            b'T' => {
                let count = input.u32()?;
                input.take(1)?;
                Message::Truncate { relations: (0..count).map(|_| input.u32()).collect::<Result<_>>()? }
            }
            _ => Message::Other,
        })
    }
}

impl Relation {
    fn parse(input: &mut Input<'_>) -> Result<Relation> {
        let oid = input.u32()?;
        input.text()?;
        input.text()?;
        let identity = input.u8()?;
        let count = input.u16()?;
        let columns = (0..count)
            .map(|_| {
                let key = input.u8()? & 1 == 1;
                Ok(RelationColumn { key, name: input.text()?.to_string(), type_id: input.u32()?, modifier: input.u32()? as i32 })
            })
            .collect::<Result<_>>()?;
        Ok(Relation { oid, identity, columns })
    }
}

/// Messages for tests.
#[cfg(test)]
pub(super) mod written {
    pub fn begin(commit: u64, xid: u32) -> Vec<u8> {
        [&b"B"[..], &commit.to_be_bytes(), &0u64.to_be_bytes(), &xid.to_be_bytes()].concat()
    }
    pub fn commit(start: u64, end: u64) -> Vec<u8> {
        [&b"C\0"[..], &start.to_be_bytes(), &end.to_be_bytes(), &0u64.to_be_bytes()].concat()
    }
    pub fn relation(oid: u32, identity: u8, columns: &[(u8, &str, u32, i32)]) -> Vec<u8> {
        let mut out = [&b"R"[..], &oid.to_be_bytes(), b"public\0t\0", &[identity], &(columns.len() as u16).to_be_bytes()].concat();
        for (key, name, type_id, modifier) in columns {
            out.extend([&[*key][..], name.as_bytes(), b"\0", &type_id.to_be_bytes(), &modifier.to_be_bytes()].concat());
        }
        out
    }
    pub fn tuple(tag: u8, cells: &[Option<&str>]) -> Vec<u8> {
        let mut out = [&[tag][..], &(cells.len() as u16).to_be_bytes()].concat();
        for cell in cells {
            match cell {
                None => out.push(b'n'),
                Some("<unchanged>") => out.push(b'u'),
                Some(text) => out.extend([&b"t"[..], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()),
            }
        }
        out
    }
    pub fn row(kind: u8, oid: u32, tuples: &[Vec<u8>]) -> Vec<u8> {
        [&[kind][..], &oid.to_be_bytes(), &tuples.concat()].concat()
    }
    pub fn truncate(oid: u32) -> Vec<u8> {
        [&b"T"[..], &1u32.to_be_bytes(), b"\0", &oid.to_be_bytes()].concat()
    }
    pub fn logical(prefix: &str, content: &str) -> Vec<u8> {
        [&b"M\x01"[..], &0u64.to_be_bytes(), prefix.as_bytes(), b"\0", &(content.len() as u32).to_be_bytes(), content.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cut_of_a_message_panics() {
        let messages = [
            written::begin(1, 2),
            written::commit(1, 2),
            written::relation(1, b'd', &[(1, "id", 23, -1)]),
            written::row(b'U', 1, &[written::tuple(b'K', &[Some("1")]), written::tuple(b'N', &[Some("2")])]),
            written::truncate(7),
            written::logical("standpipe", "x"),
        ];
        for message in messages {
            assert!(Message::parse(&message).is_ok());
            for cut in 0..message.len() {
                let mut cells = Vec::new();
                if let Ok(Message::Update { new, .. }) = Message::parse(&message[..cut]) {
                    assert!(new.parse(&mut cells).is_err());
                }
            }
        }
    }
}
