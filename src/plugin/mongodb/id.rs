//! The key of a document as text. Different keys have different texts, and a text leads back to its key: an ObjectId is its 24 digits, a string is itself
//! unless it could be taken for anything else, then it is quoted; every other type is as in the document's JSON.

use super::json;
use super::parse;
use super::raw::{Value, tag};
use crate::error::{Error, Kind, Result};

/// Appends the text of a key.
pub fn write(out: &mut String, v: Value<'_>) -> Result<()> {
    match v.tag {
        tag::OBJECT_ID => out.push_str(&hex::encode(v.bytes)),
        tag::STRING => {
            let text = v.text()?;
            if plain(text) { out.push_str(text) } else { json::string(out, text) }
        }
        _ => json::value(out, v)?,
    }
    Ok(())
}

/// A string whose text can't be that of another type.
fn plain(text: &str) -> bool {
    let Some(&first) = text.as_bytes().first() else { return false };
    !matches!(first, b'"' | b'{' | b'[' | b'-' | b'0'..=b'9') && !object_id(text) && !matches!(text, "true" | "false" | "null") && !text.bytes().any(|b| b < 0x20)
}

fn object_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The key of a text, as type and bytes. Errors: `BadText` where no key has this text.
pub fn read(text: &str) -> Result<(u8, Vec<u8>)> {
    if object_id(text) {
        let bytes = hex::decode(text).map_err(|_| bad(text))?;
        return Ok((tag::OBJECT_ID, bytes));
    }
    if plain(text) {
        let mut bytes = Vec::with_capacity(text.len() + 5);
        super::raw::string(&mut bytes, text);
        return Ok((tag::STRING, bytes));
    }
    parse::value(text).map_err(|e| bad(text).with_detail(e.message().to_string()))
}

fn bad(text: &str) -> Error {
    Error::new(Kind::BadText, "a text is not the key of a document").with_detail(format!("The text is {text:?}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{self, Bson, doc};
    use std::collections::BTreeSet;

    #[test]
    fn keys_are_told_apart_and_found_again() {
        let oid = bson::oid::ObjectId::from_bytes([0xab; 12]);
        let keys: Vec<(Bson, &str)> = vec![
            (Bson::ObjectId(oid), "abababababababababababab"),
            (Bson::String(oid.to_hex()), "\"abababababababababababab\""),
            (Bson::String("abc".into()), "abc"),
            (Bson::String("5".into()), "\"5\""),
            (Bson::Int32(5), "5"),
            (Bson::Int64(5), "{\"$numberLong\":\"5\"}"),
            (Bson::Double(5.0), "5.0"),
            (Bson::String("\"5\"".into()), "\"\\\"5\\\"\""),
            (Bson::String("null".into()), "\"null\""),
            (Bson::Null, "null"),
            (Bson::String(String::new()), "\"\""),
            (Bson::Document(doc! { "a": 1 }), "{\"a\":1}"),
            (Bson::String("{\"a\":1}".into()), "\"{\\\"a\\\":1}\""),
            (Bson::Boolean(true), "true"),
            (Bson::String("a b/ü".into()), "a b/ü"),
            (Bson::DateTime(bson::DateTime::from_millis(0)), "{\"$date\":\"1970-01-01T00:00:00Z\"}"),
            (Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![1; 16] }), "{\"$uuid\":\"01010101-0101-0101-0101-010101010101\"}"),
        ];
        let mut seen = BTreeSet::new();
        for (key, want) in keys {
            let bytes = bson::RawDocumentBuf::try_from(&doc! { "_id": key.clone() }).expect("bson").into_bytes();
            let value = super::super::raw::get(&bytes, "_id").expect("whole").expect("a key");
            let mut text = String::new();
            write(&mut text, value).expect("a key");
            assert_eq!(text, want, "{key:?}");
            assert_eq!(read(&text).expect("a key's text"), (value.tag, value.bytes.to_vec()), "{key:?}");
            assert!(seen.insert(text));
        }
    }
}
