//! Events: a header of nineteen bytes, a body, and where the log has them four bytes of checksum.

use super::super::client::malformed;
use super::super::wire::packet::Reader;
use super::inflate;
use crate::error::{Error, Kind, Result};
use std::borrow::Cow;

/// Bytes of a header.
pub const HEADER: usize = 19;
/// Bytes of a checksum.
const CHECKSUM: usize = 4;
/// Bytes of the log's and the server's version in a format description.
const VERSIONS: usize = 2 + 50;
/// The event was made for this connection and is not in the file.
const ARTIFICIAL: u16 = 0x20;

/// Event types (MySQL, "Binary Log Event Types"; MariaDB from 160 on).
pub mod kind {
    pub const QUERY: u8 = 2;
    pub const STOP: u8 = 3;
    pub const ROTATE: u8 = 4;
    pub const FORMAT_DESCRIPTION: u8 = 15;
    pub const XID: u8 = 16;
    pub const TABLE_MAP: u8 = 19;
    pub const WRITE_ROWS_V0: u8 = 20;
    pub const DELETE_ROWS_V0: u8 = 22;
    pub const WRITE_ROWS_V1: u8 = 23;
    pub const UPDATE_ROWS_V1: u8 = 24;
    pub const DELETE_ROWS_V1: u8 = 25;
    pub const INCIDENT: u8 = 26;
    pub const HEARTBEAT: u8 = 27;
    pub const WRITE_ROWS: u8 = 30;
    pub const UPDATE_ROWS: u8 = 31;
    pub const DELETE_ROWS: u8 = 32;
    pub const GTID: u8 = 33;
    pub const ANONYMOUS_GTID: u8 = 34;
    pub const PREVIOUS_GTIDS: u8 = 35;
    pub const XA_PREPARE: u8 = 38;
    pub const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub const TRANSACTION_PAYLOAD: u8 = 40;
    pub const HEARTBEAT_V2: u8 = 41;
    pub const GTID_TAGGED: u8 = 42;
    pub const MARIA_GTID: u8 = 162;
    pub const MARIA_GTID_LIST: u8 = 163;
    pub const MARIA_START_ENCRYPTION: u8 = 164;
    pub const MARIA_QUERY_COMPRESSED: u8 = 165;
    pub const MARIA_WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    pub const MARIA_DELETE_ROWS_COMPRESSED_V1: u8 = 168;
    pub const MARIA_WRITE_ROWS_COMPRESSED: u8 = 169;
    pub const MARIA_DELETE_ROWS_COMPRESSED: u8 = 171;
    pub const MARIA_PARTIAL_ROW_DATA: u8 = 172;
}

/// How events end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// Not said yet: whether the last four bytes fit tells.
    #[default]
    Unknown,
    /// With nothing.
    Off,
    /// With CRC32.
    Crc32,
}

/// An event's header, and its body without checksum.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// Seconds since 1970.
    pub time: u32,
    /// [`kind`].
    pub kind: u8,
    /// The server that wrote it first.
    pub server: u32,
    /// Bytes in the file.
    pub size: u32,
    /// Where it ends in the file, modulo 4 GB; 0 where that is not known.
    pub end: u32,
    /// It is not in the file.
    pub artificial: bool,
    /// What follows the header.
    pub body: Cow<'a, [u8]>,
    /// A number made of all its bytes: tells it from any other one at the same place.
    pub print: u32,
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

impl<'a> Event<'a> {
    /// One whole event. Errors: `Protocol`, `Corrupt` where its checksum does not fit.
    pub fn parse(bytes: &'a [u8], checksum: &mut Checksum) -> Result<Event<'a>> {
        let mut r = Reader::new(bytes);
        let (time, kind, server, size, end, flags) = (r.u32()?, r.u8()?, r.u32()?, r.u32()?, r.u32()?, r.u16()?);
        if size as usize != bytes.len() {
            return Err(malformed("An event of the log has another length than it says."));
        }
        let fits = || {
            let (content, sum) = bytes.split_at(bytes.len() - CHECKSUM);
            bytes.len() >= HEADER + CHECKSUM && sum == crc(content).to_le_bytes()
        };
        let body = r.rest();
        let has = match (kind, *checksum) {
            (_, Checksum::Off) if kind != kind::FORMAT_DESCRIPTION => false,
            (_, Checksum::Crc32) if kind != kind::FORMAT_DESCRIPTION => {
                if !fits() {
                    return Err(Error::new(Kind::Protocol, "an event of the source's log is damaged").with_detail(format!("Its checksum does not fit; it ends at {end}.")));
                }
                true
            }
            // these two come before the form of the others is known
            _ => bytes.len() >= HEADER + CHECKSUM && fits(),
        };
        let body = if has { &body[..body.len() - CHECKSUM] } else { body };
        if kind == kind::FORMAT_DESCRIPTION {
            *checksum = described(body, has);
        }
        Ok(Event { time, kind, server, size, end, artificial: flags & ARTIFICIAL != 0, body: Cow::Borrowed(body), print: crc(&bytes[..HEADER + body.len()]) })
    }
}

/// The form of the events that follow: the last byte of a format description says it, where the server knows checksums at all.
fn described(body: &[u8], has: bool) -> Checksum {
    match (has, body.last()) {
        (true, Some(1)) => Checksum::Crc32,
        _ => Checksum::Off,
    }
}

/// A file's first event says that the server was started with it, and did not go on from the file before.
pub fn begins_a_run(body: &[u8]) -> bool {
    body.get(VERSIONS..VERSIONS + 4).is_some_and(|created| created != [0; 4])
}

/// Where the log goes on: offset and file.
pub fn rotate(body: &[u8]) -> Result<(u64, String)> {
    let mut r = Reader::new(body);
    let offset = r.u64()?;
    Ok((offset, String::from_utf8_lossy(r.rest()).trim_end_matches('\0').to_string()))
}

/// MariaDB's GTID event, with which a transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MariaGtid {
    pub number: u64,
    pub domain: u32,
    /// One event alone follows, without an end: DDL.
    pub standalone: bool,
    /// It prepares an XA transaction, whose outcome is not known.
    pub prepares: bool,
}

/// Of its body.
pub fn maria_gtid(body: &[u8]) -> Result<MariaGtid> {
    let mut r = Reader::new(body);
    let (number, domain, flags) = (r.u64()?, r.u32()?, r.u8()?);
    Ok(MariaGtid { number, domain, standalone: flags & 1 != 0, prepares: flags & 64 != 0 })
}

/// MySQL's GTID event: the source (with its tag) and the number.
pub fn mysql_gtid(body: &[u8]) -> Result<(String, u64)> {
    let mut r = Reader::new(body);
    r.u8()?;
    let source = uuid::Uuid::from_slice(r.bytes(16)?).map_err(|_| malformed("A GTID without its UUID."))?;
    Ok((source.to_string(), r.u64()?))
}

/// MySQL 8.3's GTID event with a tag: a message of numbered fields (MySQL source, `mysql::serialization`). Numbers have variable length: as many
/// low bits of the first byte are set as bytes follow.
pub fn mysql_tagged_gtid(body: &[u8]) -> Result<(String, u64)> {
    let mut r = Reader::new(body);
    // version, size of the message, the last field that a reader must know
    let (_, _, _) = (varlen(&mut r)?, varlen(&mut r)?, varlen(&mut r)?);
    let (mut source, mut number, mut tag) = (None, None, String::new());
    while !r.rest().is_empty() && (source.is_none() || number.is_none() || tag.is_empty()) {
        match varlen(&mut r)? {
            // flags
            0 => {
                r.u8()?;
            }
            1 => {
                let mut bytes = [0u8; 16];
                for b in &mut bytes {
                    *b = u8::try_from(varlen(&mut r)?).map_err(|_| malformed("A GTID without its UUID."))?;
                }
                source = Some(uuid::Uuid::from_bytes(bytes));
            }
            2 => {
                let n = varlen(&mut r)?;
                number = Some((n >> 1) ^ (n & 1).wrapping_neg());
            }
            3 => {
                let n = usize::try_from(varlen(&mut r)?).map_err(|_| malformed("A tag beyond all bounds."))?;
                tag = String::from_utf8_lossy(r.bytes(n)?).into_owned();
                if tag.is_empty() {
                    break;
                }
            }
            _ => break,
        }
    }
    match (source, number) {
        (Some(source), Some(number)) if tag.is_empty() => Ok((source.to_string(), number)),
        (Some(source), Some(number)) => Ok((format!("{source}:{tag}"), number)),
        _ => Err(malformed("A GTID event that can't be read.")),
    }
}

fn varlen(r: &mut Reader<'_>) -> Result<u64> {
    let first = r.u8()?;
    let more = first.trailing_ones() as usize;
    let mut bytes = [0u8; 9];
    bytes[0] = first;
    bytes[1..=more].copy_from_slice(r.bytes(more)?);
    let low = if more >= 8 { 0 } else { u64::from(first) >> (more + 1) };
    let high = u64::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7], bytes[8]]);
    Ok(if more >= 8 { high } else { low | high << (7 - more) })
}

/// A statement in the log: its default database and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub database: String,
    pub sql: String,
}

/// Of the body of a QUERY event; `compressed` is MariaDB's form. Errors: `LimitExceeded` beyond `most` bytes.
pub fn query(body: &[u8], compressed: bool, most: usize) -> Result<Query> {
    let mut r = Reader::new(body);
    r.u32()?;
    r.u32()?;
    let database = usize::from(r.u8()?);
    r.u16()?;
    let variables = usize::from(r.u16()?);
    r.bytes(variables)?;
    let database = String::from_utf8_lossy(r.bytes(database)?).into_owned();
    r.u8()?;
    let text = if compressed { Cow::Owned(inflate::maria(r.rest(), most)?) } else { Cow::Borrowed(r.rest()) };
    Ok(Query { database, sql: String::from_utf8_lossy(&text).into_owned() })
}

/// A compressed transaction (MySQL, "Transaction_payload_event"): fields of type, length and value; the events are the last one.
#[derive(Debug, Clone, Copy)]
pub struct TransactionPayload<'a> {
    /// 0 zstd, 255 none.
    pub algorithm: u64,
    /// What its events take unpacked, as it says.
    pub size: u64,
    /// The events.
    pub events: &'a [u8],
}

/// Of its body.
pub fn transaction_payload(body: &[u8]) -> Result<TransactionPayload<'_>> {
    let mut r = Reader::new(body);
    let (mut algorithm, mut size, mut length) = (255, 0, None);
    loop {
        let field = r.lenenc()?;
        if field == 0 {
            break;
        }
        let value = r.lenenc_bytes()?;
        let number = Reader::new(value).lenenc()?;
        match field {
            1 => length = Some(number),
            2 => algorithm = number,
            3 => size = number,
            _ => {}
        }
    }
    if length.is_some_and(|n| n != r.rest().len() as u64) {
        return Err(malformed("A compressed transaction of another length than it says."));
    }
    Ok(TransactionPayload { algorithm, size, events: r.rest() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event as a server writes it.
    fn event(kind: u8, body: &[u8], checksum: bool) -> Vec<u8> {
        let size = HEADER + body.len() + if checksum { CHECKSUM } else { 0 };
        let mut out = 5u32.to_le_bytes().to_vec();
        out.push(kind);
        out.extend_from_slice(&1u32.to_le_bytes());
        out.extend_from_slice(&(size as u32).to_le_bytes());
        out.extend_from_slice(&999u32.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(body);
        if checksum {
            let sum = crc(&out);
            out.extend_from_slice(&sum.to_le_bytes());
        }
        out
    }

    #[test]
    fn checksums_are_checked_as_the_log_says() {
        let mut state = Checksum::Unknown;
        let rotated = event(kind::ROTATE, b"\x04\0\0\0\0\0\0\0db.000001", true);
        let parsed = Event::parse(&rotated, &mut state).expect("an event");
        assert_eq!(rotate(&parsed.body).expect("a place"), (4, "db.000001".to_string()));
        let described = event(kind::FORMAT_DESCRIPTION, &[&[4u8; 70][..], &[1]].concat(), true);
        Event::parse(&described, &mut state).expect("an event");
        assert_eq!(state, Checksum::Crc32);
        let mut damaged = event(kind::XID, &[1; 8], true);
        assert_eq!(Event::parse(&damaged, &mut state).expect("an event").body.len(), 8);
        damaged[HEADER] ^= 1;
        assert!(Event::parse(&damaged, &mut state).is_err());
        let plain = event(kind::FORMAT_DESCRIPTION, &[&[4u8; 70][..], &[0]].concat(), true);
        Event::parse(&plain, &mut state).expect("an event");
        assert_eq!((state, Event::parse(&event(kind::XID, &[1; 8], false), &mut state).expect("an event").body.len()), (Checksum::Off, 8));
        assert!(Event::parse(&rotated[..rotated.len() - 1], &mut state).is_err());
    }

    #[test]
    fn gtids() {
        let mut body = vec![1u8];
        body.extend_from_slice(&[0x3e; 16]);
        body.extend_from_slice(&7u64.to_le_bytes());
        assert_eq!(mysql_gtid(&body).expect("a GTID"), ("3e3e3e3e-3e3e-3e3e-3e3e-3e3e3e3e3e3e".to_string(), 7));
        let mut body = 9u64.to_le_bytes().to_vec();
        body.extend_from_slice(&[2, 0, 0, 0, 0b1000001]);
        assert_eq!(maria_gtid(&body).expect("a GTID"), MariaGtid { number: 9, domain: 2, standalone: true, prepares: true });
        assert!(maria_gtid(&body[..10]).is_err() && mysql_gtid(&[]).is_err());
    }

    #[test]
    fn tagged_gtids() {
        // one byte holds seven bits, shifted by one
        let mut body = vec![2, 2 << 1, 0, 0, 1, 1 << 1];
        body.extend_from_slice(&[0x3e << 1; 16]);
        body.extend_from_slice(&[2 << 1, 14 << 1, 3 << 1, 3 << 1, b't', b'a', b'g']);
        assert_eq!(mysql_tagged_gtid(&body).expect("a GTID"), ("3e3e3e3e-3e3e-3e3e-3e3e-3e3e3e3e3e3e:tag".to_string(), 7));
        assert_eq!(varlen(&mut Reader::new(&[0b01, 0b10])).expect("a number"), 0b1000_0000);
        assert_eq!(varlen(&mut Reader::new(&[0xff, 1, 0, 0, 0, 0, 0, 0, 0])).expect("a number"), 1);
    }

    #[test]
    fn payloads_are_taken_apart() {
        let body = [2, 1, 0, 3, 1, 100, 1, 1, 3, 0, b'a', b'b', b'c'];
        let p = transaction_payload(&body).expect("a payload");
        assert_eq!((p.algorithm, p.size, p.events), (0, 100, &b"abc"[..]));
        assert!(transaction_payload(&body[..12]).is_err() && transaction_payload(&[5]).is_err());
    }
}
