//! Character sets of columns. A query's results come as UTF-8; the log has texts as the column stores them.

use super::client::literal;
use super::wire::Wire;
use crate::error::{Error, Kind, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// How a column's texts become UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charset {
    /// They are.
    Utf8,
    /// Two bytes big-endian, without or with surrogates.
    Utf16 { little: bool },
    /// Four bytes big-endian.
    Utf32,
    /// One byte: what the server itself makes of each.
    Single(Arc<[String]>),
}

impl Charset {
    /// Appends a text as UTF-8. Errors: `BadEncoding`.
    pub fn decode(&self, text: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut put = |c: Option<char>| -> Result<()> {
            let c = c.ok_or_else(|| Error::new(Kind::BadEncoding, "a text of the source is not of its column's character set"))?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            Ok(())
        };
        match self {
            Charset::Utf8 => out.extend_from_slice(text),
            Charset::Single(table) => text.iter().for_each(|b| out.extend_from_slice(table.get(usize::from(*b)).map_or("", String::as_str).as_bytes())),
            Charset::Utf16 { little } => {
                let units = text.chunks(2).map(|c| {
                    let pair = [c[0], c.get(1).copied().unwrap_or(0)];
                    if *little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
                });
                for c in char::decode_utf16(units) {
                    put(c.ok())?;
                }
            }
            Charset::Utf32 => {
                for c in text.chunks(4) {
                    put(<[u8; 4]>::try_from(c).ok().and_then(|b| char::from_u32(u32::from_be_bytes(b))))?;
                }
            }
        }
        Ok(())
    }
}

/// The character sets that some columns have, by name. Those of one byte are asked of the server, byte by byte, so that both paths agree.
pub async fn learn(wire: &mut Wire, names: impl IntoIterator<Item = String>) -> Result<HashMap<String, Charset>> {
    let mut out = HashMap::new();
    for name in names {
        if out.contains_key(&name) {
            continue;
        }
        if let Some(known) = well_known(&name) {
            out.insert(name, known);
            continue;
        }
        let what = "could not ask the source for a character set";
        let single = format!("SELECT maxlen = 1 FROM information_schema.character_sets WHERE character_set_name = {}", literal(&name));
        if wire.value(what, &single).await?.as_deref() != Some("1") || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(unknown(&name));
        }
        let columns: Vec<String> = (0..=255u8).map(|b| format!("CONVERT(_{name} x'{b:02x}' USING utf8mb4)")).collect();
        let row = wire.row(what, &format!("SELECT {}", columns.join(", "))).await?.unwrap_or_default();
        out.insert(name, Charset::Single(row.into_iter().map(Option::unwrap_or_default).collect()));
    }
    Ok(out)
}

fn well_known(name: &str) -> Option<Charset> {
    Some(match name {
        "utf8" | "utf8mb3" | "utf8mb4" | "ascii" => Charset::Utf8,
        "ucs2" | "utf16" => Charset::Utf16 { little: false },
        "utf16le" => Charset::Utf16 { little: true },
        "utf32" => Charset::Utf32,
        _ => return None,
    })
}

/// The texts of a column with this character set can't be read from the log.
pub fn unknown(name: &str) -> Error {
    Error::new(Kind::NotSupported, format!("texts in character set {name} can't be read from the change log")).with_hint("Convert the column to utf8mb4, or leave its table out.")
}

/// Changes of columns with this character set can be captured: those of one byte, and Unicode's.
pub fn is_readable(name: &str) -> bool {
    !matches!(name, "big5" | "sjis" | "cp932" | "ujis" | "eucjpms" | "euckr" | "gb2312" | "gbk" | "gb18030")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_utf8() {
        let decoded = |c: &Charset, t: &[u8]| {
            let mut out = Vec::new();
            c.decode(t, &mut out).map(|()| String::from_utf8(out).expect("UTF-8"))
        };
        assert_eq!(decoded(&Charset::Utf16 { little: false }, &[0, b'a', 0xd8, 0x3d, 0xde, 0]).expect("text"), "a😀");
        assert_eq!(decoded(&Charset::Utf32, &[0, 1, 0xf6, 0]).expect("text"), "😀");
        assert!(decoded(&Charset::Utf32, &[0, 1, 0xf6]).is_err() && decoded(&Charset::Utf16 { little: false }, &[0xd8, 0x3d]).is_err());
        let mut table = vec![String::new(); 256];
        table[0x80] = "€".into();
        assert_eq!(decoded(&Charset::Single(table.into()), &[0x80]).expect("text"), "€");
    }
}
