//! Packets: a length of three bytes, a sequence number, a body (protocol, "MySQL Packets"); and the basic types in their bodies.

use super::TextRows;
use crate::error::Result;
use crate::plugin::mysql::client::malformed;
use bytes::{BufMut, BytesMut};

/// Length and sequence number.
pub const HEADER: usize = 4;
/// A body of this length goes on in the next packet.
pub const MAX: usize = 0xff_ffff;

/// Length and sequence number of the first packet, if they are there.
pub fn header(input: &[u8]) -> Option<(usize, u8)> {
    let &[a, b, c, sequence] = input.first_chunk::<HEADER>()?;
    Some((u32::from_le_bytes([a, b, c, 0]) as usize, sequence))
}

/// Appends a body as one packet or several.
pub fn write(out: &mut BytesMut, mut sequence: u8, mut body: &[u8]) {
    loop {
        let (piece, rest) = body.split_at(body.len().min(MAX));
        out.put_slice(&(piece.len() as u32).to_le_bytes()[..3]);
        out.put_u8(sequence);
        out.put_slice(piece);
        if piece.len() < MAX {
            return;
        }
        (sequence, body) = (sequence.wrapping_add(1), rest);
    }
}

/// Appends an integer of variable length (protocol, "Length-Encoded Integer").
pub fn put_lenenc(out: &mut Vec<u8>, n: u64) {
    match n {
        0..=0xfa => out.push(n as u8),
        0xfb..=0xffff => {
            out.push(0xfc);
            out.extend_from_slice(&(n as u16).to_le_bytes());
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&(n as u32).to_le_bytes()[..3]);
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&n.to_le_bytes());
        }
    }
}

/// A cursor over a body. Errors: `Protocol` where the body ends too early.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// At the beginning.
    pub fn new(body: &'a [u8]) -> Self {
        Reader(body)
    }
    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
    /// The next bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        if n > self.0.len() {
            return Err(malformed("A packet ends before its content does."));
        }
        let (a, b) = self.0.split_at(n);
        self.0 = b;
        Ok(a)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }
    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }
    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    /// Six bytes, little-endian.
    pub fn u48(&mut self) -> Result<u64> {
        let b: [u8; 6] = self.array()?;
        Ok(u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], 0, 0]))
    }
    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    /// An integer of variable length.
    pub fn lenenc(&mut self) -> Result<u64> {
        Ok(match self.u8()? {
            n @ 0..=0xfa => u64::from(n),
            0xfc => u64::from(self.u16()?),
            0xfd => {
                let b: [u8; 3] = self.array()?;
                u64::from(u32::from_le_bytes([b[0], b[1], b[2], 0]))
            }
            0xfe => self.u64()?,
            _ => return Err(malformed("A length that is none.")),
        })
    }
    /// Bytes behind their length.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8]> {
        let n = self.lenenc()?;
        self.bytes(usize::try_from(n).map_err(|_| malformed("A length beyond this machine's."))?)
    }
    /// Bytes up to a NUL, or to the end.
    pub fn until_nul(&mut self) -> &'a [u8] {
        let end = memchr::memchr(0, self.0).unwrap_or(self.0.len());
        let text = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        text
    }
}

/// A row of a text result.
pub fn text_row(body: &[u8], columns: usize) -> Result<<TextRows as IntoIterator>::Item> {
    let mut r = Reader::new(body);
    let mut row = Vec::with_capacity(columns);
    for _ in 0..columns {
        if r.rest().first() == Some(&0xfb) {
            r.u8()?;
            row.push(None);
        } else {
            row.push(Some(String::from_utf8_lossy(r.lenenc_bytes()?).into_owned()));
        }
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_beyond_sixteen_megabytes_are_several() {
        let mut out = BytesMut::new();
        write(&mut out, 3, &vec![1u8; MAX]);
        assert_eq!((out.len(), header(&out)), (MAX + 2 * HEADER, Some((MAX, 3))));
        assert_eq!(header(&out[MAX + HEADER..]), Some((0, 4)));
        assert_eq!(header(&out[..3]), None);
    }

    #[test]
    fn lengths() {
        for n in [0, 250, 251, 65_535, 65_536, 0xff_ffff, 0x100_0000, u64::MAX] {
            let mut out = Vec::new();
            put_lenenc(&mut out, n);
            let mut r = Reader::new(&out);
            assert_eq!((r.lenenc().expect("a length"), r.rest().len()), (n, 0));
        }
        assert!(Reader::new(&[0xfc, 1]).lenenc().is_err() && Reader::new(&[5, 1]).lenenc_bytes().is_err());
        assert_eq!(text_row(&[1, b'a', 0xfb, 0], 3).expect("a row"), [Some("a".to_string()), None, Some(String::new())]);
    }
}
