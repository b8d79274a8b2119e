//! Lists as PostgreSQL's arrays, structs as records, maps as JSON.
//!
//! Arrow nests lists, PostgreSQL has rectangular arrays of several dimensions: a ragged list has a text form only.

use super::writer::{Put, Write, writer};
use super::{Format, Style, pg_type};
use crate::error::{Error, Kind, Result};
use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use std::ops::Range;

/// One level of lists, and what is inside.
struct Level {
    range: Box<dyn Fn(usize) -> Range<usize> + Send + Sync>,
    inner: Inner,
}

enum Inner {
    List(Box<Level>, Option<arrow::buffer::NullBuffer>),
    Leaf(Write),
}

fn level(array: &ArrayRef, element: u32, format: Format, style: &Style) -> Result<Level> {
    macro_rules! offsets {
        ($list:expr) => {{
            let (list, offsets) = ($list, $list.offsets().clone());
            (list.values().clone(), Box::new(move |row: usize| offsets[row] as usize..offsets[row + 1] as usize) as Box<_>)
        }};
    }
    macro_rules! views {
        ($list:expr) => {{
            let (list, offsets, sizes) = ($list, $list.offsets().clone(), $list.sizes().clone());
            let range = move |row: usize| offsets[row] as usize..offsets[row] as usize + sizes[row] as usize;
            (list.values().clone(), Box::new(range) as Box<dyn Fn(usize) -> Range<usize> + Send + Sync>)
        }};
    }
    let (values, range): (ArrayRef, Box<dyn Fn(usize) -> Range<usize> + Send + Sync>) = match array.data_type() {
        DataType::List(_) => offsets!(array.as_list::<i32>()),
        DataType::LargeList(_) => offsets!(array.as_list::<i64>()),
        DataType::ListView(_) => views!(array.as_list_view::<i32>()),
        DataType::LargeListView(_) => views!(array.as_list_view::<i64>()),
        DataType::FixedSizeList(_, size) => {
            let size = usize::try_from(*size).unwrap_or(0);
            (array.as_fixed_size_list().values().clone(), Box::new(move |row| row * size..(row + 1) * size))
        }
        other => return Err(Error::internal(format!("{other} is no list"))),
    };
    let inner = match values.data_type() {
        DataType::List(_) | DataType::LargeList(_) | DataType::ListView(_) | DataType::LargeListView(_) | DataType::FixedSizeList(..) => {
            Inner::List(Box::new(level(&values, element, format, style)?), values.logical_nulls())
        }
        _ => Inner::Leaf(writer(&values, element, format, style)?),
    };
    Ok(Level { range, inner })
}

/// The element type of a list shown as `oid`: that of the array type, or the one nearest to its values.
fn element(array: &ArrayRef, oid: u32) -> u32 {
    let natural = || match array.data_type() {
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) | DataType::ListView(f) | DataType::LargeListView(f) => {
            pg_type::shown(pg_type::innermost(f)).map_or(pg_type::TEXT, |s| s.oid)
        }
        _ => pg_type::TEXT,
    };
    pg_type::element_of(oid).map_or_else(natural, |t| t.oid)
}

/// `{1,NULL,"a b"}`
pub fn array_text(array: &ArrayRef, oid: u32, style: &Style) -> Result<Put> {
    let level = level(array, element(array, oid), Format::Text, style)?;
    Ok(Box::new(move |row, out| put_level_text(&level, row, out)))
}

fn put_level_text(level: &Level, row: usize, out: &mut Vec<u8>) -> Result<()> {
    out.push(b'{');
    for (i, at) in (level.range)(row).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match &level.inner {
            Inner::List(_, nulls) if nulls.as_ref().is_some_and(|n| n.is_null(at)) => out.extend_from_slice(b"NULL"),
            Inner::List(inner, _) => put_level_text(inner, at, out)?,
            Inner::Leaf(leaf) if leaf.is_null(at) => out.extend_from_slice(b"NULL"),
            Inner::Leaf(leaf) => {
                let start = out.len();
                leaf.value(at, out)?;
                quote_element(start, out);
            }
        }
    }
    out.push(b'}');
    Ok(())
}

/// Puts what `out` has from `start` on into double quotes, where an array's text form needs them.
fn quote_element(start: usize, out: &mut Vec<u8>) {
    let value = &out[start..];
    let special = |b: &u8| matches!(b, b'"' | b'\\' | b'{' | b'}' | b',') || is_space(*b);
    if !value.is_empty() && !value.eq_ignore_ascii_case(b"null") && !value.iter().any(special) {
        return;
    }
    let value = out.split_off(start);
    out.push(b'"');
    for b in value {
        if matches!(b, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(b);
    }
    out.push(b'"');
}

/// C's isspace.
fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Dimensions, then the elements.
pub fn array_binary(array: &ArrayRef, oid: u32, style: &Style) -> Result<Put> {
    let element = element(array, oid);
    let level = level(array, element, Format::Binary, style)?;
    Ok(Box::new(move |row, out| {
        let mut dimensions = Vec::new();
        measure(&level, row, 0, &mut dimensions)?;
        if dimensions.contains(&0) {
            dimensions.clear();
        }
        out.extend_from_slice(&(dimensions.len() as i32).to_be_bytes());
        let flag = out.len();
        out.extend_from_slice(&0i32.to_be_bytes());
        out.extend_from_slice(&element.to_be_bytes());
        for length in &dimensions {
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&1i32.to_be_bytes());
        }
        let mut nulls = false;
        if !dimensions.is_empty() {
            put_leaves(&level, row, &mut nulls, out)?;
        }
        out[flag + 3] = u8::from(nulls);
        Ok(())
    }))
}

fn measure(level: &Level, row: usize, depth: usize, dimensions: &mut Vec<i32>) -> Result<()> {
    let range = (level.range)(row);
    let length = i32::try_from(range.len()).map_err(|_| Error::new(Kind::LimitExceeded, "array size exceeds the maximum allowed"))?;
    match dimensions.get(depth) {
        None => dimensions.push(length),
        Some(known) if *known == length => {}
        Some(_) => return Err(ragged()),
    }
    if let Inner::List(inner, nulls) = &level.inner {
        for at in range {
            if nulls.as_ref().is_some_and(|n| n.is_null(at)) {
                return Err(ragged());
            }
            measure(inner, at, depth + 1, dimensions)?;
        }
    }
    Ok(())
}

fn ragged() -> Error {
    Error::new(Kind::NotSupported, "multidimensional arrays must have sub-arrays with matching dimensions")
        .with_hint("Ask for the text format, or cast the column to text.")
}

fn put_leaves(level: &Level, row: usize, nulls: &mut bool, out: &mut Vec<u8>) -> Result<()> {
    for at in (level.range)(row) {
        match &level.inner {
            Inner::List(inner, _) => put_leaves(inner, at, nulls, out)?,
            Inner::Leaf(leaf) => {
                *nulls |= leaf.is_null(at);
                leaf.field(at, out)?;
            }
        }
    }
    Ok(())
}

fn fields(array: &ArrayRef, format: Format, style: &Style) -> Result<Vec<(u32, Write)>> {
    let record = array.as_struct();
    let each = record.fields().iter().zip(record.columns());
    each.map(|(field, column)| {
        let oid = pg_type::shown(field)?.oid;
        Ok((oid, writer(column, oid, format, style)?))
    })
    .collect()
}

/// `(1,,"a b")`
pub fn record_text(array: &ArrayRef, style: &Style) -> Result<Put> {
    let fields = fields(array, Format::Text, style)?;
    Ok(Box::new(move |row, out| {
        out.push(b'(');
        for (i, (_, field)) in fields.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            if !field.is_null(row) {
                let start = out.len();
                field.value(row, out)?;
                quote_field(start, out);
            }
        }
        out.push(b')');
        Ok(())
    }))
}

/// As [`quote_element`] for a record, which doubles instead of escaping.
fn quote_field(start: usize, out: &mut Vec<u8>) {
    let value = &out[start..];
    let special = |b: &u8| matches!(b, b'"' | b'\\' | b'(' | b')' | b',') || is_space(*b);
    if !value.is_empty() && !value.iter().any(special) {
        return;
    }
    let value = out.split_off(start);
    out.push(b'"');
    for b in value {
        if matches!(b, b'"' | b'\\') {
            out.push(b);
        }
        out.push(b);
    }
    out.push(b'"');
}

/// Count, then type and value of each field.
pub fn record_binary(array: &ArrayRef, style: &Style) -> Result<Put> {
    let fields = fields(array, Format::Binary, style)?;
    Ok(Box::new(move |row, out| {
        out.extend_from_slice(&(fields.len() as i32).to_be_bytes());
        for (oid, field) in &fields {
            out.extend_from_slice(&oid.to_be_bytes());
            field.field(row, out)?;
        }
        Ok(())
    }))
}

/// A map as a JSON object, one text for both formats.
pub fn json(array: &ArrayRef) -> Result<Put> {
    let options = arrow::json::writer::EncoderOptions::default();
    let field = std::sync::Arc::new(arrow::datatypes::Field::new("value", array.data_type().clone(), true));
    // the encoder needs `&mut self`, writers are shared: one per cell, of a type too rare to matter
    arrow::json::writer::make_encoder(&field, array.as_ref(), &options)?;
    let array = array.clone();
    Ok(Box::new(move |row, out| {
        arrow::json::writer::make_encoder(&field, array.as_ref(), &options)?.encode(row, out);
        Ok(())
    }))
}
