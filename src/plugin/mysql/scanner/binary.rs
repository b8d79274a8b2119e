//! Rows of a query in binary form (protocol, "Binary Protocol Resultset Row"), decoded column by column with one dispatch per batch.

use super::super::client::malformed;
use super::super::column::{ColumnBuilder, Shape};
use super::super::moment::Moment;
use super::super::types::MyType;
use super::super::wire::ResultColumn;
use super::super::wire::packet::Reader;
use crate::data::Column;
use crate::error::{Error, Result};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

/// Column types (protocol, "Column Types"); the log has the same.
pub mod kind {
    pub const DECIMAL: u8 = 0;
    pub const TINY: u8 = 1;
    pub const SHORT: u8 = 2;
    pub const LONG: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const DOUBLE: u8 = 5;
    pub const TIMESTAMP: u8 = 7;
    pub const LONGLONG: u8 = 8;
    pub const INT24: u8 = 9;
    pub const DATE: u8 = 10;
    pub const TIME: u8 = 11;
    pub const DATETIME: u8 = 12;
    pub const YEAR: u8 = 13;
    pub const NEWDATE: u8 = 14;
    pub const BIT: u8 = 16;
    pub const NEWDECIMAL: u8 = 246;
}

/// The column's number has no sign.
const UNSIGNED: u16 = 32;
/// A field that is NULL.
const NULL: u32 = u32::MAX;

/// Rows on their way from the wire: their bytes, and where each begins.
#[derive(Debug, Default)]
pub struct Rows {
    /// The rows, one after the other.
    pub bytes: Vec<u8>,
    /// Where each begins.
    pub starts: Vec<u32>,
}

/// The width of a value in binary form; None where it says so itself.
fn width(kind: u8) -> Option<usize> {
    match kind {
        kind::TINY => Some(1),
        kind::SHORT | kind::YEAR => Some(2),
        kind::LONG | kind::INT24 | kind::FLOAT => Some(4),
        kind::LONGLONG | kind::DOUBLE => Some(8),
        _ => None,
    }
}

fn too_long(_: std::num::TryFromIntError) -> Error {
    malformed("A row beyond 4 GB.")
}

/// Where each value lies: begin and length, row by row.
fn fields(rows: &Rows, wire: &[ResultColumn]) -> Result<Vec<(u32, u32)>> {
    let mut out = Vec::with_capacity(rows.starts.len() * wire.len());
    let bitmap = (wire.len() + 7 + 2) / 8;
    for (i, &start) in rows.starts.iter().enumerate() {
        let end = rows.starts.get(i + 1).map_or(rows.bytes.len(), |e| *e as usize);
        let mut r = Reader::new(rows.bytes.get(start as usize..end).ok_or_else(|| malformed("A row that has no bytes."))?);
        r.u8()?;
        let nulls = r.bytes(bitmap)?;
        for (c, column) in wire.iter().enumerate() {
            // the first two bits are reserved
            if nulls[(c + 2) / 8] >> ((c + 2) % 8) & 1 == 1 {
                out.push((0, NULL));
                continue;
            }
            let value = match (width(column.kind), column.kind) {
                (Some(n), _) => r.bytes(n)?,
                (None, kind::DATE | kind::TIME | kind::DATETIME | kind::TIMESTAMP | kind::NEWDATE) => {
                    let n = r.u8()?;
                    r.bytes(usize::from(n))?
                }
                (None, _) => r.lenenc_bytes()?,
            };
            let at = end - r.rest().len() - value.len();
            out.push((u32::try_from(at).map_err(too_long)?, u32::try_from(value.len()).map_err(too_long)?));
        }
    }
    Ok(out)
}

/// The rows as a batch of these columns, which are those that were selected.
pub fn decode(rows: &Rows, wire: &[ResultColumn], columns: &[&Column], schema: &SchemaRef) -> Result<RecordBatch> {
    if wire.len() != columns.len() {
        return Err(malformed("A result has another number of columns than were asked for."));
    }
    let fields = fields(rows, wire)?;
    let mut arrays = Vec::with_capacity(columns.len());
    for (i, column) in columns.iter().enumerate() {
        let about = |e: Error| e.with_detail(format!("Column \"{}\".", column.name));
        let mut builder = ColumnBuilder::new(column, rows.starts.len());
        let values = fields.iter().skip(i).step_by(wire.len().max(1)).map(|&(at, n)| (n != NULL).then(|| &rows.bytes[at as usize..at as usize + n as usize]));
        append(&mut builder, wire[i], &MyType::parse(&column.native), values).map_err(about)?;
        arrays.push(builder.finish().map_err(about)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.starts.len()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?)
}

/// Appends one column's values.
fn append<'a>(builder: &mut ColumnBuilder, wire: ResultColumn, my: &MyType, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<()> {
    let signed = wire.flags & UNSIGNED == 0;
    macro_rules! fixed {
        ($number:ty, $append:expr) => {
            each(builder, values, |b, v| {
                let bytes: [u8; std::mem::size_of::<$number>()] = v.try_into().map_err(|_| malformed("A number of another length than its type's."))?;
                $append(b, <$number>::from_le_bytes(bytes))
            })
        };
    }
    type B = ColumnBuilder;
    match wire.kind {
        kind::TINY if signed => fixed!(i8, |b: &mut B, n| b.append_integer(i64::from(n))),
        kind::TINY => fixed!(u8, |b: &mut B, n| b.append_integer(i64::from(n))),
        kind::SHORT | kind::YEAR if signed && wire.kind == kind::SHORT => fixed!(i16, |b: &mut B, n| b.append_integer(i64::from(n))),
        kind::SHORT | kind::YEAR => fixed!(u16, |b: &mut B, n| b.append_integer(i64::from(n))),
        kind::LONG | kind::INT24 if signed => fixed!(i32, |b: &mut B, n| b.append_integer(i64::from(n))),
        kind::LONG | kind::INT24 => fixed!(u32, |b: &mut B, n| b.append_integer(i64::from(n))),
        kind::LONGLONG if signed => fixed!(i64, |b: &mut B, n| b.append_integer(n)),
        kind::LONGLONG => fixed!(u64, |b: &mut B, n| b.append_unsigned(n)),
        kind::FLOAT => fixed!(f32, |b: &mut B, n| b.append_f32(n)),
        kind::DOUBLE => fixed!(f64, |b: &mut B, n| b.append_f64(n)),
        kind::DECIMAL | kind::NEWDECIMAL => each(builder, values, |b, v| b.append_decimal(v)),
        kind::DATE | kind::NEWDATE => each(builder, values, |b, v| b.append_moment(&date_time(v)?, Shape::Date)),
        kind::DATETIME | kind::TIMESTAMP => each(builder, values, |b, v| b.append_moment(&date_time(v)?, Shape::DateTime)),
        kind::TIME => each(builder, values, |b, v| b.append_moment(&time(v)?, Shape::Time)),
        kind::BIT => {
            let bits = if let MyType::Bit(n) = my { *n } else { 64 };
            each(builder, values, |b, v| b.append_bits(v, bits))
        }
        _ if *my == MyType::Uuid => each(builder, values, |b, v| {
            let id = uuid::Uuid::try_parse_ascii(v).map_err(|_| malformed("A UUID that is none."))?;
            b.append_uuid(id.into_bytes())
        }),
        _ => each(builder, values, |b, v| b.append_bytes(v)),
    }
}

fn each<'a>(builder: &mut ColumnBuilder, values: impl Iterator<Item = Option<&'a [u8]>>, mut append: impl FnMut(&mut ColumnBuilder, &'a [u8]) -> Result<()>) -> Result<()> {
    for value in values {
        match value {
            Some(value) => append(builder, value)?,
            None => builder.append_null(),
        }
    }
    Ok(())
}

/// No byte is zero, four are a date, seven with the time, eleven with microseconds.
fn date_time(value: &[u8]) -> Result<Moment> {
    let mut r = Reader::new(value);
    let mut m = Moment::default();
    if !r.rest().is_empty() {
        (m.year, m.month, m.day) = (u32::from(r.u16()?), u32::from(r.u8()?), u32::from(r.u8()?));
    }
    if !r.rest().is_empty() {
        (m.hour, m.minute, m.second) = (u32::from(r.u8()?), u32::from(r.u8()?), u32::from(r.u8()?));
    }
    if !r.rest().is_empty() {
        m.micro = r.u32()?;
    }
    Ok(m)
}

/// No byte is zero, eight have the sign, days, hours, minutes and seconds, twelve microseconds too.
fn time(value: &[u8]) -> Result<Moment> {
    let mut r = Reader::new(value);
    let mut m = Moment::default();
    if !r.rest().is_empty() {
        m.negative = r.u8()? != 0;
        let days = r.u32()?;
        (m.hour, m.minute, m.second) = (u32::from(r.u8()?), u32::from(r.u8()?), u32::from(r.u8()?));
        m.hour = days.checked_mul(24).and_then(|h| h.checked_add(m.hour)).ok_or_else(|| malformed("A time beyond all bounds."))?;
    }
    if !r.rest().is_empty() {
        m.micro = r.u32()?;
    }
    Ok(m)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{LogicalType, TableName, TableVersion};
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int32Type;

    #[test]
    fn rows_become_columns() {
        let table = TableVersion::new(
            TableName::new("d", "t"),
            vec![
                Column::new("id", LogicalType::Int32, "int(11)", "int4"),
                Column::new("t", LogicalType::Opaque, "time(1)", "text"),
                Column::new("s", LogicalType::Text, "varchar(9)", "text"),
            ],
            vec![0],
        );
        let wire = [ResultColumn { kind: kind::LONG, flags: 0 }, ResultColumn { kind: kind::TIME, flags: 0 }, ResultColumn { kind: 253, flags: 0 }];
        let mut rows = Rows::default();
        for row in [&[0u8, 0, 7, 0, 0, 0, 12, 1, 34, 0, 0, 0, 22, 59, 59, 0x20, 0xa1, 7, 0, 2, b'a', b'b'][..], &[0, 0b11000, 9, 0, 0, 0]] {
            rows.starts.push(rows.bytes.len() as u32);
            rows.bytes.extend_from_slice(row);
        }
        let columns: Vec<&Column> = table.columns.iter().collect();
        let batch = decode(&rows, &wire, &columns, &table.schema).expect("rows");
        assert_eq!(batch.column(0).as_primitive::<Int32Type>().values(), &[7, 9]);
        assert_eq!((batch.column(1).as_string::<i32>().value(0), batch.column(2).as_string::<i32>().value(0)), ("-838:59:59.5", "ab"));
        assert!(batch.column(1).is_null(1) && batch.column(2).is_null(1));
        rows.bytes.truncate(20);
        rows.starts.truncate(1);
        assert!(decode(&rows, &wire, &columns, &table.schema).is_err());
    }
}
