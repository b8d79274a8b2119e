//! `COPY (query) TO STDOUT` in text, CSV and binary: one CopyData message per row, as PostgreSQL sends it and clients rely on.

use super::encode::{Encoder, Format, Style, Write, patch_length};
use super::rows::Batches;
use super::wire::{Fail, Watch, Wire};
use crate::error::{Error, Kind, Result};
use crate::plan::CopyFormat;
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::SendableRecordBatchStream;
use pgwire::messages::PgWireBackendMessage as Backend;
use pgwire::messages::copy::{CopyDone, CopyOutResponse};

/// The start of binary COPY: signature, flags, length of the header's extension.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Sends a result as COPY data; gives the number of rows.
pub async fn copy_out(wire: &mut Wire, watch: &Watch, schema: SchemaRef, stream: SendableRecordBatchStream, format: &CopyFormat, style: Style) -> Result<u64, Fail> {
    let code = if *format == CopyFormat::Binary { Format::Binary.code() } else { Format::Text.code() };
    let encoder = Encoder::new(schema, &[code], style)?;
    let shape = Shape::new(format, &encoder)?;
    let columns = encoder.columns().count();
    let count = i16::try_from(columns).map_err(|_| Error::new(Kind::LimitExceeded, "COPY can have at most 32767 columns"))?;
    // the first batch before the first byte: an error of the query is then a plain error
    let mut batches = Batches::of(stream);
    let mut next = wire.watch(watch, batches.next()).await?;
    wire.put(Backend::CopyOutResponse(CopyOutResponse::new(code as i8, count, vec![code; columns])))?;
    let mut pending = shape.header(&encoder, &mut wire.out)?;
    let mut rows = 0;
    while let Some(batch) = next {
        let writers = encoder.writers(&batch)?;
        for row in 0..batch.num_rows() {
            shape.row(&writers, row, std::mem::take(&mut pending), &mut wire.out)?;
            rows += 1;
            if wire.out.len() >= wire.bounds.send {
                wire.flush().await?;
                watch.check()?;
            }
        }
        next = wire.watch(watch, batches.next()).await?;
    }
    shape.trailer(pending, &mut wire.out)?;
    wire.put(Backend::CopyDone(CopyDone::new()))?;
    Ok(rows)
}

/// A format with everything that does not depend on a row.
enum Shape {
    Text { delimiter: u8, null: Vec<u8>, header: bool },
    Csv { delimiter: u8, null: Vec<u8>, header: bool, quote: u8, escape: u8, force: Vec<bool> },
    Binary,
}

fn message(out: &mut Vec<u8>) -> usize {
    out.push(b'd');
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    at
}

fn one_byte(what: &str, c: char) -> Result<u8> {
    match u8::try_from(c) {
        Ok(b) if b.is_ascii() && b != b'\n' && b != b'\r' => Ok(b),
        _ => Err(Error::new(Kind::BadOption, format!("COPY {what} must be a single one-byte character"))),
    }
}

impl Shape {
    fn new(format: &CopyFormat, encoder: &Encoder) -> Result<Shape> {
        Ok(match format {
            CopyFormat::Text { delimiter, null, header } => {
                let delimiter = one_byte("delimiter", *delimiter)?;
                if b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&delimiter) {
                    return Err(Error::new(Kind::BadOption, format!("COPY delimiter cannot be \"{}\"", delimiter as char)));
                }
                Shape::Text { delimiter, null: null.clone().into_bytes(), header: *header }
            }
            CopyFormat::Csv { delimiter, null, header, quote, escape, force_quote, force_quote_all } => {
                let names: Vec<&str> = encoder.columns().map(|(c, _)| c.name.as_str()).collect();
                if let Some(unknown) = force_quote.iter().find(|f| !force_quote_all && !names.contains(&f.as_str())) {
                    return Err(Error::new(Kind::UndefinedColumn, format!("column \"{unknown}\" does not exist")));
                }
                let (delimiter, quote) = (one_byte("delimiter", *delimiter)?, one_byte("quote", *quote)?);
                if delimiter == quote {
                    return Err(Error::new(Kind::BadOption, "COPY delimiter and quote must be different"));
                }
                let force = names.iter().map(|n| *force_quote_all || force_quote.iter().any(|f| f == n)).collect();
                Shape::Csv { delimiter, null: null.clone().into_bytes(), header: *header, quote, escape: one_byte("escape", *escape)?, force }
            }
            CopyFormat::Binary => Shape::Binary,
        })
    }

    /// What stands before the first row: a line of names, or bytes that go with the first row.
    fn header(&self, encoder: &Encoder, out: &mut Vec<u8>) -> Result<&'static [u8]> {
        match self {
            Shape::Binary => return Ok(BINARY_HEADER),
            Shape::Text { header: false, .. } | Shape::Csv { header: false, .. } => return Ok(&[]),
            _ => {}
        }
        let at = message(out);
        for (i, (column, _)) in encoder.columns().enumerate() {
            let start = self.field(i, out);
            out.extend_from_slice(column.name.as_bytes());
            match self {
                Shape::Text { delimiter, .. } => escape_text(*delimiter, start, out),
                Shape::Csv { delimiter, quote, escape, .. } => quote_csv((*delimiter, *quote, *escape), &[], false, false, start, out),
                Shape::Binary => {}
            }
        }
        out.push(b'\n');
        patch_length(out, at, at)?;
        Ok(&[])
    }

    /// Puts the delimiter before all fields but the first; gives where the field starts.
    fn field(&self, index: usize, out: &mut Vec<u8>) -> usize {
        match self {
            Shape::Text { delimiter, .. } | Shape::Csv { delimiter, .. } if index > 0 => out.push(*delimiter),
            _ => {}
        }
        out.len()
    }

    fn row(&self, writers: &[Write], row: usize, before: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let at = message(out);
        out.extend_from_slice(before);
        if let Shape::Binary = self {
            out.extend_from_slice(&(writers.len() as i16).to_be_bytes());
        }
        for (i, writer) in writers.iter().enumerate() {
            let start = self.field(i, out);
            match self {
                Shape::Binary => writer.field(row, out)?,
                Shape::Text { null, .. } | Shape::Csv { null, .. } if writer.is_null(row) => out.extend_from_slice(null),
                Shape::Text { delimiter, .. } => {
                    writer.value(row, out)?;
                    escape_text(*delimiter, start, out);
                }
                Shape::Csv { delimiter, null, quote, escape, force, .. } => {
                    writer.value(row, out)?;
                    quote_csv((*delimiter, *quote, *escape), null, force[i], writers.len() == 1, start, out);
                }
            }
        }
        if !matches!(self, Shape::Binary) {
            out.push(b'\n');
        }
        patch_length(out, at, at)
    }

    fn trailer(&self, before: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if let Shape::Binary = self {
            let at = message(out);
            out.extend_from_slice(before);
            out.extend_from_slice(&(-1i16).to_be_bytes());
            patch_length(out, at, at)?;
        }
        Ok(())
    }
}

/// Escapes what `out` has from `start` on.
fn escape_text(delimiter: u8, start: usize, out: &mut Vec<u8>) {
    let special = |b: &u8| *b == b'\\' || *b == delimiter || (8..=13).contains(b);
    if !out[start..].iter().any(special) {
        return;
    }
    for b in out.split_off(start) {
        match b {
            8 => out.extend_from_slice(b"\\b"),
            9 => out.extend_from_slice(b"\\t"),
            10 => out.extend_from_slice(b"\\n"),
            11 => out.extend_from_slice(b"\\v"),
            12 => out.extend_from_slice(b"\\f"),
            13 => out.extend_from_slice(b"\\r"),
            b if special(&b) => out.extend_from_slice(&[b'\\', b]),
            b => out.push(b),
        }
    }
}

/// Quotes what `out` has from `start` on where it must be, or is to be.
fn quote_csv((delimiter, quote, escape): (u8, u8, u8), null: &[u8], force: bool, alone: bool, start: usize, out: &mut Vec<u8>) {
    let value = &out[start..];
    let special = |b: &u8| *b == delimiter || *b == quote || *b == b'\n' || *b == b'\r';
    if !force && value != null && !(alone && value == b"\\.") && !value.iter().any(special) {
        return;
    }
    let value = out.split_off(start);
    out.push(quote);
    for b in value {
        if b == quote || b == escape {
            out.push(escape);
        }
        out.push(b);
    }
    out.push(quote);
}
