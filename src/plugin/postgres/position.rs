//! Log sequence numbers: how PostgreSQL counts its history, and how a `Position` carries them.

use crate::data::Position;
use crate::error::{Error, Kind, Result};
use std::fmt;
use std::str::FromStr;

/// `Position::system` of all PostgreSQL positions.
pub const SYSTEM: &str = "postgres";
/// Bytes of the header of a WAL page, of the first page of a segment and of the others (xlog_internal.h).
const PAGE_HEADERS: [u64; 2] = [40, 24];

/// A place in the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// As a position; its key is the number, big-endian.
    pub fn position(self) -> Position {
        Position::new(SYSTEM, self.0.to_be_bytes().to_vec(), self.to_string())
    }
    /// Of a position that this plugin made. Errors: `PositionLost`.
    pub fn of(position: &Position) -> Result<Lsn> {
        match <[u8; 8]>::try_from(position.key.as_slice()) {
            Ok(key) if position.system == SYSTEM => Ok(Lsn(u64::from_be_bytes(key))),
            _ => Err(Error::new(Kind::PositionLost, "the position is not one of a PostgreSQL source").with_detail(format!("It is {position} of {}.", position.system))),
        }
    }
    /// The place where the last record before this one ended: an insert position stands behind the header of a page that has no record yet.
    pub fn end_of_record(self, page: u64) -> Lsn {
        let offset = self.0 % page.max(1);
        if PAGE_HEADERS.contains(&offset) { Lsn(self.0 - offset) } else { self }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = Error;
    fn from_str(text: &str) -> Result<Lsn> {
        let parts = text.split_once('/').and_then(|(high, low)| Some((u32::from_str_radix(high, 16).ok()?, u32::from_str_radix(low, 16).ok()?)));
        match parts {
            Some((high, low)) => Ok(Lsn(u64::from(high) << 32 | u64::from(low))),
            None => Err(Error::new(Kind::Protocol, "the source gave a malformed log position").with_detail(text.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_key_and_order() {
        let (a, b): (Lsn, Lsn) = ("0/16B3748".parse().expect("lsn"), "1/0".parse().expect("lsn"));
        assert_eq!((a.to_string(), Lsn::of(&a.position()).expect("ours")), ("0/16B3748".to_string(), a));
        assert!(a < b && b.position().reached(&a.position()) && !a.position().reached(&b.position()));
        assert!("16B3748".parse::<Lsn>().is_err() && Lsn::of(&Position::new("mysql", vec![0; 8], "x")).is_err());
        assert_eq!((Lsn(8192 + 24).end_of_record(8192), Lsn(8192 + 32).end_of_record(8192)), (Lsn(8192), Lsn(8192 + 32)));
    }
}
