//! Compressed pieces of the log, unpacked within bounds: what a piece says of its size is not believed before it is.

use super::super::client::malformed;
use super::super::wire::packet::Reader;
use crate::error::{Error, Kind, Result};
use std::io::Read;

/// MariaDB's form: a byte whose low three bits are the length of the size, the size (big-endian), and a zlib stream.
pub fn maria(bytes: &[u8], most: usize) -> Result<Vec<u8>> {
    let mut r = Reader::new(bytes);
    let head = r.u8()?;
    if head >> 4 & 7 != 0 {
        return Err(Error::new(Kind::NotSupported, "an event of the log is compressed in a way that is not known"));
    }
    let size = r.bytes(usize::from(head & 7))?.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    bounded(flate2::read::ZlibDecoder::new(r.rest()), size, most)
}

/// A zstd stream.
pub fn zstd(bytes: &[u8], size: u64, most: usize) -> Result<Vec<u8>> {
    let decoder = zstd::stream::read::Decoder::new(bytes).map_err(|e| malformed(e.to_string()))?;
    bounded(decoder, size, most)
}

fn bounded(reader: impl Read, size: u64, most: usize) -> Result<Vec<u8>> {
    const FIRST: u64 = 1 << 20;
    if size > most as u64 {
        return Err(too_large(most));
    }
    let mut out = Vec::with_capacity(size.min(FIRST) as usize);
    reader.take(most as u64 + 1).read_to_end(&mut out).map_err(|e| malformed(format!("A compressed event can't be unpacked: {e}.")))?;
    if out.len() > most {
        return Err(too_large(most));
    }
    if out.len() as u64 != size {
        return Err(malformed("A compressed event is of another size than it says."));
    }
    Ok(out)
}

fn too_large(most: usize) -> Error {
    Error::new(Kind::LimitExceeded, "a compressed event of the log is beyond the limit").with_detail(format!("source.max-message-size is {most} bytes."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn bombs_are_not_unpacked() {
        let mut z = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        z.write_all(&vec![0; 100_000]).expect("written");
        let stream = z.finish().expect("a stream");
        let piece = |size: u32| [&[0x84][..], &size.to_be_bytes(), &stream].concat();
        assert_eq!(maria(&piece(100_000), 1 << 20).expect("unpacked").len(), 100_000);
        assert_eq!(maria(&piece(100_000), 1000).expect_err("too large").kind(), Kind::LimitExceeded);
        assert_eq!(maria(&piece(10), 1000).expect_err("lies").kind(), Kind::LimitExceeded);
        assert_eq!(maria(&piece(99), 1 << 20).expect_err("lies").kind(), Kind::Protocol);
        assert!(maria(&[0x84, 0], 10).is_err() && maria(&[], 10).is_err());
        let packed = zstd::stream::encode_all(&[7u8; 5000][..], 3).expect("packed");
        assert_eq!(zstd(&packed, 5000, 1 << 20).expect("unpacked").len(), 5000);
        assert!(zstd(&packed[..packed.len() - 3], 5000, 1 << 20).is_err() && zstd(&packed, 5000, 100).is_err());
    }
}
