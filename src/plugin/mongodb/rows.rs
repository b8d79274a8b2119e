//! Documents on their way into Arrow: one builder per column, filled straight from the bytes.

use super::declared::{Field, Layout, OnMismatch};
use super::raw::{self, Value, tag};
use super::types::key_of;
use super::{id, json};
use crate::data::{LogicalType, Losses, Lossy, TableId, TableVersion};
use crate::error::{Error, Kind, Result};
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int32Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;

/// Bytes that a text column is reserved for at once.
const FIRST_BYTES: usize = 64 * 1024;
const FIRST_ROWS: usize = 64;

enum Cells {
    Bool(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Uuid(FixedSizeBinaryBuilder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl Cells {
    fn new(logical: &LogicalType) -> Cells {
        match logical {
            LogicalType::Bool => Cells::Bool(BooleanBuilder::with_capacity(FIRST_ROWS)),
            LogicalType::Int32 => Cells::Int32(Int32Builder::with_capacity(FIRST_ROWS)),
            LogicalType::Int64 => Cells::Int64(Int64Builder::with_capacity(FIRST_ROWS)),
            LogicalType::Float64 => Cells::Float64(Float64Builder::with_capacity(FIRST_ROWS)),
            LogicalType::Bytes => Cells::Bytes(BinaryBuilder::new()),
            LogicalType::Uuid => Cells::Uuid(FixedSizeBinaryBuilder::new(16)),
            LogicalType::TimestampTz => Cells::Timestamp(TimestampMicrosecondBuilder::with_capacity(FIRST_ROWS).with_timezone("UTC")),
            _ => Cells::Text(StringBuilder::with_capacity(FIRST_ROWS, FIRST_BYTES)),
        }
    }
    fn null(&mut self) {
        match self {
            Cells::Bool(b) => b.append_null(),
            Cells::Int32(b) => b.append_null(),
            Cells::Int64(b) => b.append_null(),
            Cells::Float64(b) => b.append_null(),
            Cells::Text(b) => b.append_null(),
            Cells::Bytes(b) => b.append_null(),
            Cells::Uuid(b) => b.append_null(),
            Cells::Timestamp(b) => b.append_null(),
        }
    }
    fn finish(&mut self) -> ArrayRef {
        match self {
            Cells::Bool(b) => Arc::new(b.finish()),
            Cells::Int32(b) => Arc::new(b.finish()),
            Cells::Int64(b) => Arc::new(b.finish()),
            Cells::Float64(b) => Arc::new(b.finish()),
            Cells::Text(b) => Arc::new(b.finish()),
            Cells::Bytes(b) => Arc::new(b.finish()),
            Cells::Uuid(b) => Arc::new(b.finish()),
            Cells::Timestamp(b) => Arc::new(b.finish()),
        }
    }
}

struct Slot {
    cells: Cells,
    field: Field,
    logical: LogicalType,
    name: String,
}

/// Documents of one table in the making.
pub struct Documents {
    slots: Vec<Slot>,
    /// Top-level fields that columns take, for the rest.
    taken: Vec<Vec<u8>>,
    on_mismatch: OnMismatch,
    schema: SchemaRef,
    rows: usize,
    bytes: usize,
    scratch: String,
    /// Values that were not of their column's type and became NULL, and where the runtime learns of them.
    lost: Lossy,
    losses: Losses,
    table: TableId,
}

impl Documents {
    /// For the columns of a table at these places, or all.
    pub fn new(table: &TableVersion, layout: &Layout, columns: Option<&[usize]>) -> Result<Documents> {
        let all: Vec<usize> = (0..table.columns.len()).collect();
        let chosen = columns.unwrap_or(&all);
        let mut slots = Vec::with_capacity(chosen.len());
        for &i in chosen {
            let Some(column) = table.columns.get(i) else { return Err(Error::internal("a column is asked for that the table has not")) };
            let place = layout.columns.iter().position(|c| c.name == column.name && c.logical == column.logical);
            let Some(place) = place else {
                let e = Error::new(Kind::UndefinedColumn, format!("column \"{}\" of collection {} is not declared", column.name, table.name));
                return Err(e.with_hint("REFRESH TABLES FROM SOURCE takes over the columns that the source declares.").for_table(table.name.to_string()));
            };
            slots.push(Slot { cells: Cells::new(&column.logical), field: layout.fields[place].clone(), logical: column.logical.clone(), name: column.name.clone() });
        }
        let mut taken = vec![b"_id".to_vec()];
        taken.extend(layout.fields.iter().filter_map(|f| if let Field::Path(p) = f { p.first().filter(|_| p.len() == 1).map(|n| n.as_bytes().to_vec()) } else { None }));
        let schema = match columns {
            None => table.schema.clone(),
            Some(some) => Arc::new(Schema::new(some.iter().map(|&i| table.columns[i].field()).collect::<Vec<_>>())),
        };
        Ok(Documents { slots, taken, on_mismatch: layout.on_mismatch, schema, rows: 0, bytes: 0, scratch: String::new(), lost: Lossy::default(), losses: layout.losses.clone(), table: table.id })
    }
    /// Rows so far.
    pub fn len(&self) -> usize {
        self.rows
    }
    /// Bytes of the documents so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// Appends a document. After an error the builder is of no use.
    pub fn append(&mut self, document: &[u8]) -> Result<()> {
        let key = key_of(document)?;
        for slot in &mut self.slots {
            self.scratch.clear();
            let value = match &slot.field {
                Field::Id => {
                    id::write(&mut self.scratch, key)?;
                    append_text(&mut slot.cells, &self.scratch);
                    continue;
                }
                Field::Whole => {
                    json::document(&mut self.scratch, document).map_err(|e| about(e, key))?;
                    append_text(&mut slot.cells, &self.scratch);
                    continue;
                }
                Field::Rest => {
                    rest(&mut self.scratch, document, &self.taken).map_err(|e| about(e, key))?;
                    append_text(&mut slot.cells, &self.scratch);
                    continue;
                }
                Field::Path(path) => at(document, path)?,
            };
            let Some(value) = value.filter(|v| !matches!(v.tag, tag::NULL | tag::UNDEFINED)) else {
                slot.cells.null();
                continue;
            };
            if cell(slot, value, &mut self.scratch).map_err(|e| about(e, key))? {
                continue;
            }
            match (self.on_mismatch, &slot.logical) {
                (OnMismatch::Null, _) => {
                    slot.cells.null();
                    self.lost.note(&slot.name, 1, || shown_key(key));
                }
                (OnMismatch::Text, LogicalType::Text) => {
                    self.scratch.clear();
                    json::value(&mut self.scratch, value)?;
                    append_text(&mut slot.cells, &self.scratch);
                }
                _ => return Err(mismatch(slot, value, key)),
            }
        }
        self.rows += 1;
        self.bytes += document.len();
        Ok(())
    }
    /// Appends a row that has its key alone: a delete's.
    pub fn append_key(&mut self, key: Value<'_>) -> Result<()> {
        for slot in &mut self.slots {
            if slot.field == Field::Id {
                self.scratch.clear();
                id::write(&mut self.scratch, key)?;
                append_text(&mut slot.cells, &self.scratch);
            } else {
                slot.cells.null();
            }
        }
        self.rows += 1;
        self.bytes += key.bytes.len();
        Ok(())
    }
    /// The rows; the builder is empty again.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let arrays = self.slots.iter_mut().map(|s| s.cells.finish()).collect::<Vec<_>>();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        self.losses.note(self.table, &std::mem::take(&mut self.lost));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?)
    }
}

fn append_text(cells: &mut Cells, text: &str) {
    match cells {
        Cells::Text(b) => b.append_value(text),
        other => other.null(),
    }
}

/// A document's key as messages show it.
fn shown_key(key: Value<'_>) -> String {
    let mut text = String::new();
    match id::write(&mut text, key) {
        Ok(()) => format!("key (_id) = ({text})"),
        Err(_) => String::from("a key that can't be read"),
    }
}

/// Names the document that an error is about.
fn about(e: Error, key: Value<'_>) -> Error {
    let mut text = String::new();
    match id::write(&mut text, key) {
        Ok(()) => e.with_detail(format!("The document's _id is {text}.")),
        Err(_) => e,
    }
}

fn mismatch(slot: &Slot, value: Value<'_>, key: Value<'_>) -> Error {
    let mut text = String::new();
    let shown = if json::value(&mut text, value).is_ok() { text.chars().take(SHOWN).collect() } else { String::from("unreadable") };
    let e = Error::new(Kind::TypeMismatch, format!("a value of column \"{}\" is not of its type", slot.name)).with_detail(format!("The value is {shown}."));
    about(e, key).with_hint("Set on-mismatch of the source to null or text, or declare the column as json.")
}

/// Characters of a value that are shown in an error.
const SHOWN: usize = 60;

/// The value at a path; None: there is none.
fn at<'a>(document: &'a [u8], path: &[String]) -> Result<Option<Value<'a>>> {
    let mut here = document;
    for (i, name) in path.iter().enumerate() {
        let Some(value) = raw::get(here, name)? else { return Ok(None) };
        if i + 1 == path.len() {
            return Ok(Some(value));
        }
        let Some(inner) = value.as_document() else { return Ok(None) };
        here = inner;
    }
    Ok(None)
}

/// The document without some of its fields.
fn rest(out: &mut String, document: &[u8], taken: &[Vec<u8>]) -> Result<()> {
    let mut literal = false;
    let start = out.len();
    out.push('{');
    let mut first = true;
    for element in raw::elements(document)? {
        let element = element?;
        if taken.iter().any(|t| t == element.name) {
            continue;
        }
        if std::mem::replace(&mut first, false) {
            // as a document that begins so is told from a value
            literal = json::is_form(element.name);
        } else {
            out.push(',');
        }
        json::string(out, raw::utf8(element.name)?);
        out.push(':');
        json::value(out, element.value)?;
    }
    out.push('}');
    if literal {
        out.insert_str(start, "{\"$literal\":");
        out.push('}');
    }
    Ok(())
}

/// Appends a value if it is of the column's type. False: it is not, and nothing was appended.
fn cell(slot: &mut Slot, v: Value<'_>, scratch: &mut String) -> Result<bool> {
    let done = match &mut slot.cells {
        Cells::Bool(b) => (v.tag == tag::BOOL).then(|| b.append_value(v.bytes != [0])),
        Cells::Int32(b) => v.as_whole().and_then(|n| i32::try_from(n).ok()).map(|n| b.append_value(n)),
        Cells::Int64(b) => v.as_whole().map(|n| b.append_value(n)),
        Cells::Float64(b) => v.as_f64().or_else(|| v.as_whole().filter(|n| n.unsigned_abs() <= 1 << 53).map(|n| n as f64)).map(|d| b.append_value(d)),
        // the old subtype has its length once more in front
        Cells::Bytes(b) => v.as_binary().map(|(subtype, bytes)| b.append_value(if subtype == 2 { bytes.get(4..).unwrap_or_default() } else { bytes })),
        Cells::Uuid(b) => match v.as_binary() {
            Some((4, bytes)) => b.append_value(bytes).ok(),
            _ => None,
        },
        Cells::Timestamp(b) => v.as_date().and_then(|ms| ms.checked_mul(1000)).map(|us| b.append_value(us)),
        Cells::Text(b) => match (&slot.logical, v.tag) {
            (LogicalType::Json, _) => {
                json::value(scratch, v)?;
                Some(b.append_value(&*scratch))
            }
            (LogicalType::DecimalText, _) => decimal(v).map(|text| b.append_value(text)),
            (_, tag::STRING) => Some(b.append_value(v.text()?)),
            (_, tag::OBJECT_ID) => Some(b.append_value(hex::encode(v.bytes))),
            _ => None,
        },
    };
    Ok(done.is_some())
}

/// A number as PostgreSQL writes numerics.
fn decimal(v: Value<'_>) -> Option<String> {
    match v.tag {
        tag::DECIMAL => plain_decimal(&json::decimal_text(v)),
        tag::INT32 | tag::INT64 => v.as_whole().map(|n| n.to_string()),
        tag::DOUBLE => v.as_f64().map(|d| if d.is_nan() { "NaN".to_string() } else if d.is_infinite() { format!("{}Infinity", if d < 0.0 { "-" } else { "" }) } else { d.to_string() }),
        _ => None,
    }
}

/// `1.5E+3` as `1500`: digits without an exponent. The exponent of a decimal128 is small enough for that.
fn plain_decimal(text: &str) -> Option<String> {
    let Some((digits, exponent)) = text.split_once('E') else { return Some(text.to_string()) };
    let exponent: i64 = exponent.parse().ok()?;
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |d| ("-", d));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let point = whole.len() as i64 + exponent;
    Some(match usize::try_from(point) {
        Err(_) | Ok(0) => format!("{sign}0.{}{all}", "0".repeat(usize::try_from(-point).ok()?)),
        Ok(point) if point >= all.len() => format!("{sign}{all}{}", "0".repeat(point - all.len())),
        Ok(point) => format!("{sign}{}.{}", &all[..point], &all[point..]),
    })
}

#[cfg(test)]
mod tests {
    use super::super::declared::Layouts;
    use super::*;
    use crate::data::TableName;
    use crate::plugin::Options;
    use arrow::array::AsArray;
    use mongodb::bson::{RawDocumentBuf, doc};

    #[test]
    fn declared_columns_are_filled_from_their_paths() {
        let name = TableName::new("shop", "t");
        let text = "n bigint, total numeric from amount.total, city text from address.city, rest json from *";
        let losses = Losses::default();
        let layout = Layouts::new(&Options::from_pairs([("columns.shop.t", text), ("on-mismatch", "null")]), &losses).expect("columns").of(&name);
        let table = layout.version(name);
        let mut rows = Documents::new(&table, &layout, None).expect("a builder");
        let one = doc! { "_id": 1, "n": 5i64, "amount": { "total": "x" }, "address": { "city": "Ulm" }, "more": [1] };
        rows.append(RawDocumentBuf::try_from(&one).expect("bson").as_bytes()).expect("a row");
        let decimal: mongodb::bson::Decimal128 = "1.5E+3".parse().expect("decimal");
        rows.append(RawDocumentBuf::try_from(&doc! { "_id": "a", "amount": { "total": decimal } }).expect("bson").as_bytes()).expect("a row");
        let batch = rows.finish().expect("rows");
        let lost = losses.take().remove(&table.id).expect("a loss");
        let shown: Vec<_> = lost.columns().map(|(c, l)| (c, l.values, l.first_key.as_str())).collect();
        assert_eq!((shown, losses.take().len()), (vec![("total", 1, "key (_id) = (1)")], 0));
        let texts = |c: usize| batch.column(c).as_string::<i32>().iter().map(|t| t.map(str::to_string)).collect::<Vec<_>>();
        assert_eq!(texts(0), [Some("1".into()), Some("a".into())]);
        assert_eq!(texts(2), [None, Some("1500".into())]);
        assert_eq!(texts(3), [Some("Ulm".into()), None]);
        assert_eq!(texts(4)[0].as_deref(), Some(r#"{"amount":{"total":"x"},"address":{"city":"Ulm"},"more":[1]}"#));
    }

    #[test]
    fn decimals_lose_their_exponent_and_nothing_else() {
        for (text, want) in [("1.5E+3", "1500"), ("1E-8", "0.00000001"), ("-12.34E+1", "-123.4"), ("1.50", "1.50"), ("NaN", "NaN")] {
            assert_eq!(plain_decimal(text).as_deref(), Some(want));
        }
    }
}
