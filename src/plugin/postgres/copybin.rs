//! PostgreSQL's COPY binary format: finding the ends of tuples, and decoding them column by column into Arrow.
//! (PostgreSQL documentation, COPY, "Binary Format")

use super::values::ColumnBuilder;
use crate::data::Column;
use crate::error::{Error, Kind, Result};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

/// Signature, flags and the length of the header's extension.
const HEADER: usize = 19;
/// Bytes of the header's extension that are passed over; there is none in any version.
const EXTENSION: usize = 64 * 1024;
/// Length of a NULL.
const NULL: i32 = -1;
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Follows a stream of COPY binary bytes.
#[derive(Debug, Default)]
pub struct Tuples {
    started: bool,
    ended: bool,
}

impl Tuples {
    /// Takes the header off the front of the first bytes. False: more bytes are needed.
    pub fn strip_header(&mut self, buffer: &mut Vec<u8>) -> Result<bool> {
        if self.started {
            return Ok(true);
        }
        let Some(header) = buffer.first_chunk::<HEADER>() else { return Ok(false) };
        let extension = u32::from_be_bytes([header[15], header[16], header[17], header[18]]) as usize;
        // bit 16 told of OIDs in versions before 12
        if !header.starts_with(SIGNATURE) || header[11..15] != [0; 4] || extension > EXTENSION {
            return Err(malformed());
        }
        if buffer.len() < HEADER + extension {
            return Ok(false);
        }
        buffer.drain(..HEADER + extension);
        self.started = true;
        Ok(true)
    }
    /// Counts the whole tuples at the front: (bytes they take, how many). The trailer ends the stream and belongs to no tuple. Errors:
    /// `Protocol` for what is no tuple, or for one of more than `most` bytes: a server sends each as one message.
    pub fn whole(&mut self, buffer: &[u8], most: usize) -> Result<(usize, u64)> {
        let (end, rows) = self.count(buffer)?;
        if buffer.len() - end > most && !self.ended { Err(malformed()) } else { Ok((end, rows)) }
    }
    fn count(&mut self, buffer: &[u8]) -> Result<(usize, u64)> {
        let (mut end, mut rows) = (0, 0);
        while !self.ended {
            let Some(count) = buffer.get(end..end + 2).map(|b| i16::from_be_bytes([b[0], b[1]])) else { break };
            if count < 0 {
                if count != -1 {
                    return Err(malformed());
                }
                self.ended = true;
                break;
            }
            let mut at = end + 2;
            for _ in 0..count {
                let Some(bytes) = buffer.get(at..).and_then(|b| b.first_chunk::<4>()) else { return Ok((end, rows)) };
                let length = i32::from_be_bytes(*bytes);
                if length < NULL {
                    return Err(malformed());
                }
                at += 4 + usize::try_from(length).unwrap_or(0);
            }
            if at > buffer.len() {
                break;
            }
            end = at;
            rows += 1;
        }
        Ok((end, rows))
    }
    /// The trailer was seen.
    pub fn ended(&self) -> bool {
        self.ended
    }
}

/// Decodes whole tuples into a batch of `schema`, whose columns are `columns`.
pub fn decode(buffer: &[u8], rows: u64, columns: &[&Column], schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = usize::try_from(rows).map_err(|_| malformed())?;
    let width = columns.len();
    let mut fields: Vec<(u32, i32)> = Vec::with_capacity(rows * width);
    let mut at = 0usize;
    while at + 2 <= buffer.len() {
        if usize::from(u16::from_be_bytes([buffer[at], buffer[at + 1]])) != width {
            return Err(malformed());
        }
        at += 2;
        for _ in 0..width {
            let length = i32::from_be_bytes(*buffer.get(at..).and_then(|b| b.first_chunk::<4>()).ok_or_else(malformed)?);
            if length < NULL {
                return Err(malformed());
            }
            at += 4;
            fields.push((u32::try_from(at).map_err(|_| malformed())?, length));
            at += usize::try_from(length).unwrap_or(0);
        }
    }
    if at != buffer.len() || fields.len() != rows * width {
        return Err(malformed());
    }
    let mut arrays = Vec::with_capacity(width);
    for (i, column) in columns.iter().enumerate() {
        let mut builder = ColumnBuilder::new(&column.logical, &column.pg_type, rows);
        let of_column = fields.iter().skip(i).step_by(width.max(1)).map(|&(at, n)| usize::try_from(n).ok().map(|n| (at as usize, n)));
        builder.extend_binary(buffer, of_column).map_err(|e| e.with_detail(format!("Column \"{}\".", column.name)))?;
        arrays.push(builder.finish().map_err(|e| e.with_detail(format!("Column \"{}\".", column.name)))?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?)
}

fn malformed() -> Error {
    Error::new(Kind::Protocol, "the source sent malformed COPY data")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{LogicalType, TableName, TableVersion};
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int32Type;

    fn sample() -> Vec<u8> {
        let mut b = SIGNATURE.to_vec();
        b.extend([0; 8]);
        for (id, name) in [(1i32, Some("one")), (2, None), (3, Some(""))] {
            b.extend(2u16.to_be_bytes());
            b.extend(4u32.to_be_bytes());
            b.extend(id.to_be_bytes());
            match name {
                Some(n) => {
                    b.extend((n.len() as u32).to_be_bytes());
                    b.extend(n.as_bytes());
                }
                None => b.extend((-1i32).to_be_bytes()),
            }
        }
        b.extend((-1i16).to_be_bytes());
        b
    }

    #[test]
    fn tuples_are_found_wherever_the_bytes_are_cut() {
        let all = sample();
        let table = TableVersion::new(
            TableName::new("s", "t"),
            vec![Column::new("id", LogicalType::Int32, "integer", "int4"), Column::new("name", LogicalType::Text, "text", "text")],
            vec![0],
        );
        for cut in 1..all.len() {
            let (mut tuples, mut buffer, mut ids, mut names) = (Tuples::default(), Vec::new(), Vec::new(), Vec::new());
            for piece in [&all[..cut], &all[cut..]] {
                buffer.extend_from_slice(piece);
                if !tuples.strip_header(&mut buffer).expect("a header") {
                    continue;
                }
                let (end, rows) = tuples.whole(&buffer, 1000).expect("tuples");
                let columns: Vec<_> = table.columns.iter().collect();
                let batch = decode(&buffer[..end], rows, &columns, &table.schema).expect("decodes");
                ids.extend(batch.column(0).as_primitive::<Int32Type>().values().iter().copied());
                let texts = batch.column(1).as_string::<i32>();
                names.extend((0..texts.len()).map(|i| texts.is_valid(i).then(|| texts.value(i).to_string())));
                buffer.drain(..end);
            }
            assert_eq!((ids, tuples.ended()), (vec![1, 2, 3], true), "cut at {cut}");
            assert_eq!(names, [Some("one".to_string()), None, Some(String::new())]);
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let tuple = |count: i16, length: i32| [&count.to_be_bytes()[..], &length.to_be_bytes()].concat();
        for lie in [tuple(-2, 0), tuple(1, -2), tuple(1, i32::MIN)] {
            assert!(Tuples::default().whole(&lie, 100).is_err(), "{lie:?}");
        }
        let unfinished = [tuple(1, i32::MAX), vec![0; 200]].concat();
        assert!(Tuples::default().whole(&unfinished, 100).is_err(), "it would be waited for as long as there is memory");
        assert_eq!(Tuples::default().whole(&unfinished, 1000).expect("not yet"), (0, 0));
        let mut header = [&SIGNATURE[..], &[0; 4], &u32::MAX.to_be_bytes()].concat();
        assert!(Tuples::default().strip_header(&mut header).is_err());
    }

    #[test]
    fn another_header_is_refused() {
        assert!(Tuples::default().strip_header(&mut vec![b'x'; HEADER]).is_err());
    }
}
