//! What clients send, read strictly: every count and length is checked against the message it stands in.
//!
//! Of pgwire we use the messages of the server and its SCRAM. Its decoders of client messages are not used: they panic on a message that
//! is shorter than its counts say, read past a message into the next, and replace bytes that are no UTF-8 without a word.

use super::decode::utf8;
use crate::error::{Error, Kind, Result};
use bytes::{Buf, Bytes};

/// A message after login.
#[derive(Debug)]
pub enum Message {
    /// Simple query.
    Query(Bytes),
    /// Prepared statement.
    Parse { name: String, query: Bytes, types: Vec<u32> },
    /// Portal of a prepared statement.
    Bind(Bind),
    /// What a statement or portal gives.
    Describe(Target),
    /// Runs a portal; at most so many rows, 0: all.
    Execute { portal: String, max_rows: usize },
    /// Forgets a statement or portal.
    Close(Target),
    /// Sends what is there.
    Flush,
    /// Ends a group of extended messages.
    Sync,
    /// The client goes.
    Terminate,
    /// Data, end or failure of a COPY that is not under way (any more): ignored, as the protocol asks.
    CopyRemains,
}

/// Bind.
#[derive(Debug)]
pub struct Bind {
    /// Portal.
    pub portal: String,
    /// Statement.
    pub statement: String,
    /// Formats of the parameters.
    pub formats: Vec<i16>,
    /// Values; none is NULL.
    pub values: Vec<Option<Bytes>>,
    /// Formats of the result.
    pub result_formats: Vec<i16>,
}

/// A statement or a portal.
#[derive(Debug)]
pub enum Target {
    /// Prepared statement of that name.
    Statement(String),
    /// Portal of that name.
    Portal(String),
}

/// Largest body of messages that carry names and numbers only.
const SMALL: usize = 10_000;

/// How large a message of a type may be. Errors: 08P01 for a type that there is not.
pub fn limit(kind: u8, large: usize) -> Result<usize> {
    match kind {
        b'Q' | b'P' | b'B' | b'd' | b'F' => Ok(large),
        b'D' | b'E' | b'C' | b'H' | b'S' | b'X' | b'c' | b'f' => Ok(SMALL),
        other => Err(Error::new(Kind::Protocol, format!("invalid frontend message type {other}"))),
    }
}

/// Reads a message's body. Errors: 08P01 where it is malformed, 22021 for names that are no UTF-8.
pub fn decode(kind: u8, body: Bytes) -> Result<Message> {
    let mut body = Body(body);
    let message = match kind {
        b'Q' => Message::Query(body.text()?),
        b'P' => {
            let (name, query) = (body.name()?, body.text()?);
            let count = body.u16()?;
            Message::Parse { name, query, types: (0..count).map(|_| body.u32()).collect::<Result<_>>()? }
        }
        b'B' => Message::Bind(bind(&mut body)?),
        b'D' => Message::Describe(body.target()?),
        b'C' => Message::Close(body.target()?),
        b'E' => Message::Execute { portal: body.name()?, max_rows: usize::try_from(body.u32()? as i32).unwrap_or(0) },
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => return Ok(Message::Terminate),
        b'd' | b'c' | b'f' => return Ok(Message::CopyRemains),
        b'F' => return Err(Error::new(Kind::NotSupported, "function calls of the protocol are not supported").with_hint("Use SELECT.")),
        other => return Err(Error::new(Kind::Protocol, format!("invalid frontend message type {other}"))),
    };
    if body.0.is_empty() { Ok(message) } else { Err(malformed()) }
}

fn bind(body: &mut Body) -> Result<Bind> {
    let (portal, statement) = (body.name()?, body.name()?);
    let count = body.u16()?;
    let formats = (0..count).map(|_| body.u16().map(|c| c as i16)).collect::<Result<_>>()?;
    let count = body.u16()?;
    let values = (0..count).map(|_| body.value()).collect::<Result<_>>()?;
    let count = body.u16()?;
    let result_formats = (0..count).map(|_| body.u16().map(|c| c as i16)).collect::<Result<_>>()?;
    Ok(Bind { portal, statement, formats, values, result_formats })
}

fn malformed() -> Error {
    Error::new(Kind::Protocol, "invalid message format")
}

/// The rest of a message.
pub struct Body(pub Bytes);

impl Body {
    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16> {
        self.0.try_get_u16().map_err(|_| malformed())
    }
    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32> {
        self.0.try_get_u32().map_err(|_| malformed())
    }
    /// Bytes up to a zero.
    pub fn text(&mut self) -> Result<Bytes> {
        let end = memchr::memchr(0, &self.0).ok_or_else(malformed)?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        Ok(text)
    }
    /// A name.
    pub fn name(&mut self) -> Result<String> {
        Ok(utf8(&self.text()?)?.to_string())
    }
    /// A length and as many bytes; -1 is NULL.
    pub fn value(&mut self) -> Result<Option<Bytes>> {
        match self.u32()? as i32 {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).ok().filter(|n| *n <= self.0.len()).ok_or_else(malformed)?;
                Ok(Some(self.0.split_to(length)))
            }
        }
    }
    fn target(&mut self) -> Result<Target> {
        let kind = self.0.try_get_u8().map_err(|_| malformed())?;
        let name = self.name()?;
        match kind {
            b'S' => Ok(Target::Statement(name)),
            b'P' => Ok(Target::Portal(name)),
            other => Err(Error::new(Kind::Protocol, format!("invalid DESCRIBE or CLOSE message subtype {other}"))),
        }
    }
}

/// A packet before login: it has no type byte.
#[derive(Debug)]
pub enum Packet {
    /// TLS, please.
    Ssl,
    /// GSS encryption, please.
    Gss,
    /// Cancel what another connection does.
    Cancel { pid: i32, key: Bytes },
    /// Log in: minor version of protocol 3, parameters.
    Startup { minor: u16, parameters: Vec<(String, String)> },
}

/// Largest packet before login, as PostgreSQL has it.
pub const STARTUP_LIMIT: usize = 10_000;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// Reads a packet's body (without its length). Errors: 08P01, 0A000 for a protocol other than 3.
pub fn packet(body: Bytes) -> Result<Packet> {
    let mut body = Body(body);
    match body.u32()? {
        SSL => Ok(Packet::Ssl),
        GSS => Ok(Packet::Gss),
        CANCEL => {
            let pid = body.u32()? as i32;
            if (4..=256).contains(&body.0.len()) { Ok(Packet::Cancel { pid, key: body.0 }) } else { Err(malformed()) }
        }
        version if version >> 16 == 3 => {
            let mut parameters = Vec::new();
            loop {
                let name = body.name()?;
                if name.is_empty() {
                    break;
                }
                parameters.push((name, body.name()?));
            }
            if body.0.is_empty() { Ok(Packet::Startup { minor: version as u16, parameters }) } else { Err(malformed()) }
        }
        version => {
            let e = Error::new(Kind::NotSupported, format!("unsupported frontend protocol {}.{}: server supports 3.0 to 3.2", version >> 16, version & 0xffff));
            Err(e)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_lie_are_protocol_errors() {
        for (kind, body) in [
            (b'P', &b"s\0select 1\0\xff\xff"[..]),
            (b'P', b"no end"),
            (b'B', b"\0\0\0\x01"),
            (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
            (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
            (b'D', b"X\0"),
            (b'E', b"\0\0\0"),
            (b'S', b"extra"),
            (b'Q', b"select 1\0trailing"),
            (b'!', b""),
        ] {
            assert_eq!(decode(kind, Bytes::from_static(body)).expect_err("malformed").sqlstate(), "08P01", "{} {body:?}", kind as char);
        }
        assert!(matches!(decode(b'Q', Bytes::from_static(b"select 1\0")), Ok(Message::Query(q)) if &q[..] == b"select 1"));
    }

    #[test]
    fn packets_before_login_are_told_apart() {
        assert!(matches!(packet(Bytes::from_static(&[4, 210, 22, 47])), Ok(Packet::Ssl)));
        assert!(matches!(packet(Bytes::from_static(b"\0\x03\0\x02user\0me\0\0")), Ok(Packet::Startup { minor: 2, .. })));
        assert_eq!(packet(Bytes::from_static(b"\0\x02\0\0")).expect_err("protocol 2").sqlstate(), "0A000");
        assert_eq!(packet(Bytes::from_static(b"\0\x03\0\0user\0me\0")).expect_err("no end").sqlstate(), "08P01");
    }

    #[test]
    fn no_soup_of_bytes_panics() {
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..seed % 40 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bytes.push(if seed >> 60 < 8 { 0 } else { (seed >> 33) as u8 });
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let kind = b"QPBDCEHSXdcf"[(seed >> 40) as usize % 12];
            let _ = decode(kind, Bytes::from(bytes.clone()));
            let _ = packet(Bytes::from(bytes));
        }
    }
}
