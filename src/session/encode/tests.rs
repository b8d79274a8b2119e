//! Our text and binary forms against PostgreSQL 15's own: `postgresql15.txt` has `type[@zone|/escape]`, text and binary (hexadecimal) of
//! values, written by that server with `type::text` and `type_send`.

use super::*;
use crate::data::column::PG_TYPE_KEY;
use crate::data::special::*;
use arrow::array::*;
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Int32Type, Schema};
use std::collections::HashMap;
use std::sync::Arc;

const GOLDEN: &str = include_str!("postgresql15.txt");

fn be<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes[..N].try_into().expect("as long as the type")
}

/// The Arrow array of one value from PostgreSQL's binary form, for types that have an Arrow type of their own.
fn array(name: &str, bytes: &[u8]) -> Option<ArrayRef> {
    let micros = |b: &[u8]| match i64::from_be_bytes(be(b)) {
        v @ (i64::MAX | i64::MIN) => Some(v),
        // the last 29 years of PostgreSQL's range are beyond a count from 1970
        v => v.checked_add(datetime::EPOCH_MICROS),
    };
    Some(match name {
        "bool" => Arc::new(BooleanArray::from(vec![bytes[0] == 1])),
        "int2" => Arc::new(Int16Array::from(vec![i16::from_be_bytes(be(bytes))])),
        "int4" => Arc::new(Int32Array::from(vec![i32::from_be_bytes(be(bytes))])),
        "int8" => Arc::new(Int64Array::from(vec![i64::from_be_bytes(be(bytes))])),
        "oid" => Arc::new(UInt32Array::from(vec![u32::from_be_bytes(be(bytes))])),
        "float4" => Arc::new(Float32Array::from(vec![f32::from_be_bytes(be(bytes))])),
        "float8" => Arc::new(Float64Array::from(vec![f64::from_be_bytes(be(bytes))])),
        "bytea" => Arc::new(BinaryArray::from_vec(vec![bytes])),
        "uuid" => Arc::new(FixedSizeBinaryArray::try_from_iter(std::iter::once(bytes)).expect("16 bytes")),
        "date" => Arc::new(Date32Array::from(vec![match i32::from_be_bytes(be(bytes)) {
            v @ (i32::MAX | i32::MIN) => v,
            v => v + datetime::EPOCH_DAYS,
        }])),
        "time" => Arc::new(Time64MicrosecondArray::from(vec![i64::from_be_bytes(be(bytes))])),
        "timestamp" => Arc::new(TimestampMicrosecondArray::from(vec![micros(bytes)?])),
        "timestamptz" => Arc::new(TimestampMicrosecondArray::from(vec![micros(bytes)?]).with_timezone("UTC")),
        "interval" => {
            let nanos = i64::from_be_bytes(be(bytes)).checked_mul(1000).expect("small");
            let (days, months) = (i32::from_be_bytes(be(&bytes[8..])), i32::from_be_bytes(be(&bytes[12..])));
            Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(months, days, nanos)]))
        }
        _ => return None,
    })
}

fn decimal(text: &str) -> Option<ArrayRef> {
    let value = match text {
        "NaN" => DECIMAL_NAN,
        "Infinity" => DECIMAL_INFINITY,
        "-Infinity" => DECIMAL_NEG_INFINITY,
        _ => text.replace('.', "").parse().ok()?,
    };
    let scale = text.split_once('.').map_or(0, |(_, f)| f.len() as i8);
    (scale <= 38).then(|| Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).expect("fits")) as ArrayRef)
}

fn written(array: &ArrayRef, oid: u32, format: Format, style: &Style) -> Vec<u8> {
    let mut out = Vec::new();
    writer::writer(array, oid, format, style).expect("a writer").value(0, &mut out).expect("a value");
    out
}

#[test]
fn every_form_is_postgresqls() {
    let (mut arrays, mut texts) = (0, 0);
    for line in GOLDEN.lines() {
        let mut parts = line.split('\t');
        let (Some(spec), Some(text), Some(binary)) = (parts.next(), parts.next(), parts.next()) else { panic!("{line}") };
        let bytes = hex::decode(binary).expect("hexadecimal");
        let (name, zone) = spec.split_once('@').unwrap_or((spec, "UTC"));
        let (name, escape) = name.split_once('/').map_or((name, false), |(n, _)| (n, true));
        let style = Style { zone: Zone::parse(zone).expect("a zone"), float_digits: 1, bytea_escape: escape };
        let oid = by_name(name).unwrap_or_else(|| panic!("{name}"));
        let values = array(name, &bytes).or_else(|| if name == "numeric" { decimal(text) } else { None });
        if let Some(values) = &values {
            assert_eq!(String::from_utf8_lossy(&written(values, oid, Format::Text, &style)), text, "text of {line}");
            assert_eq!(hex::encode(written(values, oid, Format::Binary, &style)), binary, "binary of {line}");
            arrays += 1;
        }
        // float text is not ours to make binary of exactly here: it is, too
        let values: ArrayRef = Arc::new(StringArray::from(vec![text]));
        assert_eq!(hex::encode(written(&values, oid, Format::Binary, &style)), binary, "binary from text of {line}");
        texts += 1;
    }
    assert!(arrays > 700 && texts > 850, "{arrays} {texts}");
}

#[test]
fn numerics_survive_the_way_to_text_and_back() {
    for line in GOLDEN.lines().filter(|l| l.starts_with("numeric\t")) {
        let mut parts = line.split('\t').skip(1);
        let (Some(text), Some(binary)) = (parts.next(), parts.next()) else { panic!("{line}") };
        assert_eq!(numeric::text_of_binary(&hex::decode(binary).expect("hexadecimal")).expect("valid"), text);
    }
    assert_eq!(numeric::text_of_binary(&[0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff]).expect_err("no digit group").sqlstate(), "22P03");
    assert_eq!(numeric::text_of_binary(&[0, 9]).expect_err("short").sqlstate(), "22P03");
}

#[test]
fn lists_and_structs_are_arrays_and_records() {
    let style = Style::of(&Config::default());
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None, Some(3)])]));
    assert_eq!(written(&list, 1007, Format::Text, &style), b"{1,NULL,3}");
    let golden = |text: &str| GOLDEN.lines().find_map(|l| l.strip_prefix(&format!("_int4\t{text}\t"))).expect("there").to_string();
    assert_eq!(hex::encode(written(&list, 1007, Format::Binary, &style)), golden("{1,NULL,3}"));

    let mut nested = ListBuilder::new(ListBuilder::new(Int32Builder::new()));
    nested.values().append_value([Some(1), Some(2)]);
    nested.values().append_value([Some(3), Some(4)]);
    nested.append(true);
    let nested: ArrayRef = Arc::new(nested.finish());
    assert_eq!(pg_type::natural(nested.data_type()), Some(1007));
    assert_eq!(written(&nested, 1007, Format::Text, &style), b"{{1,2},{3,4}}");
    assert_eq!(hex::encode(written(&nested, 1007, Format::Binary, &style)), golden("{{1,2},{3,4}}"));

    let mut strings = ListBuilder::new(StringBuilder::new());
    strings.append_value([Some("a"), Some("b c"), Some(""), Some("null"), None, Some("x\"y"), Some("back\\slash")]);
    let strings: ArrayRef = Arc::new(strings.finish());
    assert_eq!(String::from_utf8_lossy(&written(&strings, 1009, Format::Text, &style)), r#"{a,"b c","","null",NULL,"x\"y","back\\slash"}"#);

    let record: ArrayRef = Arc::new(StructArray::from(vec![
        (Arc::new(Field::new("a", DataType::Int32, true)), Arc::new(Int32Array::from(vec![Some(1)])) as ArrayRef),
        (Arc::new(Field::new("b", DataType::Utf8, true)), Arc::new(StringArray::from(vec![Some("x \"y\"")])) as ArrayRef),
        (Arc::new(Field::new("c", DataType::Utf8, true)), Arc::new(StringArray::from(vec![None::<&str>])) as ArrayRef),
    ]));
    assert_eq!(String::from_utf8_lossy(&written(&record, 2249, Format::Text, &style)), "(1,\"x \"\"y\"\"\",)");
    assert_eq!(
        hex::encode(written(&record, 2249, Format::Binary, &style)),
        "00000003000000170000000400000001000000190000000578202279220000001 9ffffffff".replace(' ', "")
    );
}

#[test]
fn ragged_lists_have_a_text_form_only() {
    let style = Style::of(&Config::default());
    let mut ragged = ListBuilder::new(ListBuilder::new(Int32Builder::new()));
    ragged.values().append_value([Some(1), Some(2)]);
    ragged.values().append_value([Some(3)]);
    ragged.append(true);
    let ragged: ArrayRef = Arc::new(ragged.finish());
    assert_eq!(written(&ragged, 1007, Format::Text, &style), b"{{1,2},{3}}");
    let put = writer::writer(&ragged, 1007, Format::Binary, &style).expect("a writer");
    assert_eq!(put.value(0, &mut Vec::new()).expect_err("ragged").sqlstate(), "0A000");
}

fn field(data_type: DataType, pg: Option<&str>) -> Field {
    let field = Field::new("c", data_type, true);
    match pg {
        Some(name) => field.with_metadata(HashMap::from([(PG_TYPE_KEY.to_string(), name.to_string())])),
        None => field,
    }
}

#[test]
fn a_column_is_shown_as_its_own_type_where_both_forms_exist() {
    use DataType::*;
    for (data_type, pg, oid) in [
        (Utf8, Some("numeric"), 1700),
        (Utf8, Some("jsonb"), 3802),
        (Utf8, Some("_numeric"), 1231),
        (Utf8, Some("inet"), 25),
        (Utf8, Some("mood"), 25),
        (Utf8, None, 25),
        (Int64, Some("oid"), 26),
        (UInt64, None, 1700),
        (Dictionary(Box::new(Int32), Box::new(Utf8)), Some("name"), 19),
        (FixedSizeBinary(16), Some("uuid"), 2950),
        (FixedSizeBinary(5), None, 17),
        (Null, None, 25),
    ] {
        assert_eq!(pg_type::shown(&field(data_type.clone(), pg)).expect("shown").oid, oid, "{data_type} {pg:?}");
    }
}

#[test]
fn rows_are_framed_and_cut_by_bytes() {
    let schema = Arc::new(Schema::new(vec![field(DataType::Int32, None), field(DataType::Utf8, None)]));
    let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![Some(7), None, Some(8)])), Arc::new(StringArray::from(vec!["a", "b", "c"]))];
    let batch = RecordBatch::try_new(schema.clone(), columns).expect("valid");
    let encoder = Encoder::new(schema, &[], Style::of(&Config::default())).expect("an encoder");
    let writers = encoder.writers(&batch).expect("writers");
    let mut out = Vec::new();
    assert_eq!(encoder.data_rows(&batch, &writers, 0, 2, usize::MAX, &mut out).expect("encoded"), 2);
    assert_eq!(hex::encode(&out), "440000001000020000000137000000016144000000 0f0002ffffffff0000000162".replace(' ', ""));
    assert_eq!(encoder.data_rows(&batch, &writers, 0, 3, 1, &mut Vec::new()).expect("encoded"), 1, "one row is enough");
    assert_eq!(Encoder::new(encoder.schema().clone(), &[1, 1, 1], Style::of(&Config::default())).err().map(|e| e.sqlstate()), Some("08P01"));
}
