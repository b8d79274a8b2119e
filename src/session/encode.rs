//! Results as the client sees them: which PostgreSQL type a column is shown as, and record batches into rows of the wire.
//!
//! Columnar on purpose: the typed writer of a column is chosen once per batch; a cell costs one call and no look-up of types. Rows of a
//! batch go into one buffer with lengths patched afterwards. The text forms are those of PostgreSQL 15 with `DateStyle` ISO; the
//! binary forms are those of its `..._send` functions.

mod datetime;
mod float;
pub(super) mod from_text;
mod nested;
mod numeric;
pub(super) mod pg_type;
mod writer;
mod zone;

pub use datetime::{EPOCH_DAYS, EPOCH_MICROS, Interval};
pub use numeric::text_of_binary as numeric_of_binary;
pub use pg_type::{PgType, by_name, by_oid};
pub use writer::Write;
pub use zone::Zone;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

/// Text or binary, per column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// PostgreSQL's text form.
    Text,
    /// PostgreSQL's binary form.
    Binary,
}

impl Format {
    /// The code of the protocol: 0 text, 1 binary. Errors: 08P01 for any other.
    pub fn from_code(code: i16) -> Result<Format> {
        match code {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            other => Err(Error::new(Kind::Protocol, format!("unsupported format code: {other}"))),
        }
    }
    /// The code of the protocol.
    pub fn code(self) -> i16 {
        self as i16
    }
    /// Codes as Bind carries them: none is text for all, one is for all, otherwise one per column. Errors: 08P01 for another count.
    pub fn per_column(codes: &[i16], columns: usize) -> Result<Vec<Format>> {
        match codes {
            [] => Ok(vec![Format::Text; columns]),
            [one] => Ok(vec![Format::from_code(*one)?; columns]),
            many if many.len() == columns => many.iter().map(|c| Format::from_code(*c)).collect(),
            many => Err(Error::new(Kind::Protocol, format!("bind message has {} result formats but query has {columns} columns", many.len()))),
        }
    }
}

/// What settings of the session say about text forms.
#[derive(Debug, Clone)]
pub struct Style {
    /// `TimeZone`
    pub zone: Zone,
    /// `extra_float_digits`
    pub float_digits: i32,
    /// `bytea_output` is `escape`
    pub bytea_escape: bool,
}

impl Style {
    /// Reads the settings.
    pub fn of(settings: &Config) -> Style {
        Style {
            zone: Zone::parse(settings.text("TimeZone")).unwrap_or(Zone::UTC),
            float_digits: i32::try_from(settings.integer("extra_float_digits")).unwrap_or(1),
            bytea_escape: settings.text("bytea_output") == "escape",
        }
    }
}

/// A column as RowDescription announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type.
    pub oid: u32,
    /// `typlen`: bytes, or -1 for a type of varying length.
    pub len: i16,
}

/// The columns a schema is shown as; the same for Describe of a statement, of a portal, and for the rows. Errors: 0A000 for a type that
/// has no form on the wire.
pub fn columns(schema: &Schema) -> Result<Vec<Column>> {
    schema
        .fields()
        .iter()
        .map(|field| {
            let shown = pg_type::shown(field)?;
            Ok(Column { name: field.name().clone(), oid: shown.oid, len: shown.len })
        })
        .collect()
}

/// Turns the batches of one result into DataRow messages.
pub struct Encoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    formats: Vec<Format>,
    style: Style,
}

impl Encoder {
    /// An encoder for one result. `codes` are the format codes of Bind.
    pub fn new(schema: SchemaRef, codes: &[i16], style: Style) -> Result<Encoder> {
        let columns = columns(&schema)?;
        // CREATE statements and the like: formats for no columns are harmless
        let formats = if columns.is_empty() { Vec::new() } else { Format::per_column(codes, columns.len())? };
        Ok(Encoder { schema, columns, formats, style })
    }
    /// What RowDescription says, with each column's format.
    pub fn columns(&self) -> impl Iterator<Item = (&Column, Format)> {
        self.columns.iter().zip(self.formats.iter().copied())
    }
    /// The schema it was made for.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
    /// The typed writers of a batch, one per column.
    pub fn writers(&self, batch: &RecordBatch) -> Result<Vec<Write>> {
        if batch.num_columns() != self.columns.len() {
            return Err(Error::internal(format!("a batch has {} columns and its result {}", batch.num_columns(), self.columns.len())));
        }
        let each = batch.columns().iter().zip(self.columns());
        each.map(|(array, (column, format))| writer::writer(array, column.oid, format, &self.style)).collect()
    }
    /// Writes rows from `from` on as DataRow messages until `out` has `enough` bytes or the rows end; gives the row after the last.
    ///
    /// Errors: a value that its PostgreSQL type can't hold (22003, 22008), or one above 2 GiB.
    pub fn data_rows(&self, batch: &RecordBatch, writers: &[Write], from: usize, to: usize, enough: usize, out: &mut Vec<u8>) -> Result<usize> {
        let count = u16::try_from(writers.len()).map_err(|_| Error::new(Kind::LimitExceeded, "a result can have at most 65535 columns"))?;
        let mut row = from;
        while row < to.min(batch.num_rows()) && (out.len() < enough || row == from) {
            let start = out.len();
            out.extend_from_slice(&[b'D', 0, 0, 0, 0]);
            out.extend_from_slice(&count.to_be_bytes());
            for writer in writers {
                writer.field(row, out)?;
            }
            patch_length(out, start + 1, start + 1)?;
            row += 1;
        }
        Ok(row)
    }
}

/// Writes at `at` how many bytes `out` has from `counted` on. Errors: 54000 above 2 GiB, before a client could misread it.
pub(crate) fn patch_length(out: &mut [u8], at: usize, counted: usize) -> Result<()> {
    let length = i32::try_from(out.len() - counted).map_err(|_| Error::new(Kind::LimitExceeded, "a value or row is larger than 2 GiB"))?;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests;
