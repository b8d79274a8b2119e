//! A compressed transaction (MySQL 8.0.20), unpacked event by event as it is read: never the whole of it, however large it is.

use super::super::event::{HEADER, transaction_payload};
use crate::error::{Error, Kind, Result};
use crate::plugin::mysql::client::malformed;
use crate::plugin::mysql::position::Place;
use std::fmt;
use std::io::{Cursor, Read};

/// The number of zstd, and of none.
const ZSTD: u64 = 0;
const PLAIN: u64 = 255;

/// The events of one transaction.
pub(super) struct Payload {
    reader: Box<dyn Read + Send + Sync>,
    back: Option<Vec<u8>>,
    most: usize,
    left: u64,
    /// Where the event that holds them begins and ends, and its print.
    pub outer: (u64, Place, u32),
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a compressed transaction, {} bytes left", self.left)
    }
}

impl Payload {
    /// Of the event's body. Errors: `NotSupported`.
    pub fn open(body: &[u8], most: usize, outer: (u64, Place, u32)) -> Result<Payload> {
        let payload = transaction_payload(body)?;
        let events = Cursor::new(payload.events.to_vec());
        let reader: Box<dyn Read + Send + Sync> = match payload.algorithm {
            ZSTD => Box::new(zstd::stream::read::Decoder::new(events).map_err(|e| malformed(e.to_string()))?),
            PLAIN => Box::new(events),
            other => return Err(Error::new(Kind::NotSupported, "a transaction of the log is compressed in a way that is not known").with_detail(format!("Algorithm {other}."))),
        };
        Ok(Payload { reader, back: None, most, left: payload.size, outer })
    }
    /// The next event. Errors: `LimitExceeded`, `Protocol`.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if let Some(bytes) = self.back.take() {
            return Ok(Some(bytes));
        }
        let broken = |e: std::io::Error| malformed(format!("A compressed transaction can't be unpacked: {e}."));
        let mut event = vec![0; HEADER];
        let first = self.reader.read(&mut event[..1]).map_err(broken)?;
        if first == 0 {
            return if self.left == 0 { Ok(None) } else { Err(malformed("A compressed transaction ends early.")) };
        }
        self.reader.read_exact(&mut event[1..]).map_err(broken)?;
        let size = u32::from_le_bytes([event[9], event[10], event[11], event[12]]) as usize;
        if size < HEADER || size as u64 > self.left {
            return Err(malformed("A compressed transaction is of another size than it says."));
        }
        if size > self.most {
            return Err(Error::new(Kind::LimitExceeded, "an event of the log is beyond the limit").with_detail(format!("source.max-message-size is {} bytes.", self.most)));
        }
        event.resize(size, 0);
        self.reader.read_exact(&mut event[HEADER..]).map_err(broken)?;
        self.left -= size as u64;
        Ok(Some(event))
    }
    /// Gives an event back that could not be taken.
    pub fn back(&mut self, bytes: Vec<u8>) {
        self.back = Some(bytes);
    }
}
