//! TABLE_MAP events: the structure of the rows that follow. What they say is the truth about a row's bytes, whatever any catalog says now.

use super::super::client::malformed;
use super::super::wire::packet::Reader;
use crate::data::TableName;
use crate::error::Result;

/// Column types of the log that results don't have.
pub mod kind {
    pub const VARCHAR: u8 = 15;
    pub const TIMESTAMP2: u8 = 17;
    pub const DATETIME2: u8 = 18;
    pub const TIME2: u8 = 19;
    pub const BLOB_COMPRESSED: u8 = 140;
    pub const VARCHAR_COMPRESSED: u8 = 141;
    pub const VECTOR: u8 = 242;
    pub const JSON: u8 = 245;
    pub const ENUM: u8 = 247;
    pub const SET: u8 = 248;
    pub const TINY_BLOB: u8 = 249;
    pub const MEDIUM_BLOB: u8 = 250;
    pub const LONG_BLOB: u8 = 251;
    pub const BLOB: u8 = 252;
    pub const VAR_STRING: u8 = 253;
    pub const STRING: u8 = 254;
    pub const GEOMETRY: u8 = 255;
}

/// A column as the log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogColumn {
    /// Type; of CHAR, ENUM and SET, which share one, the real one.
    pub kind: u8,
    /// Length, precision or digits, as the type has it.
    pub meta: u16,
}

/// A table as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    /// The number by which row events name it.
    pub number: u64,
    /// Database and name.
    pub name: TableName,
    /// Columns, invisible and computed ones included.
    pub columns: Vec<LogColumn>,
    /// Their names, with `binlog_row_metadata = FULL`.
    pub names: Option<Vec<String>>,
    /// Per column: a number without sign; where the log says it.
    pub unsigned: Option<Vec<bool>>,
}

/// Fields of the metadata at the end (MySQL, `Table_map_event::Optional_metadata_field_type`).
const SIGNEDNESS: u8 = 1;
/// The type of a YEAR.
const YEAR: u8 = 13;
const COLUMN_NAMES: u8 = 4;

/// The number of the table that a TABLE_MAP or row event is about.
pub fn number(body: &[u8]) -> Result<u64> {
    Reader::new(body).u48()
}

/// Of its body. `mariadb`: it counts YEAR among the numbers, which MySQL does not (where signs are told).
pub fn parse(body: &[u8], mariadb: bool) -> Result<TableMap> {
    let mut r = Reader::new(body);
    let number = r.u48()?;
    r.u16()?;
    let mut name = || -> Result<String> {
        let n = usize::from(r.u8()?);
        let text = String::from_utf8_lossy(r.bytes(n)?).into_owned();
        r.u8()?;
        Ok(text)
    };
    let name = TableName::new(name()?, name()?);
    let count = usize::try_from(r.lenenc()?).map_err(|_| malformed("A table of too many columns."))?;
    let types = r.bytes(count)?;
    let mut metas = Reader::new(r.lenenc_bytes()?);
    let columns = types.iter().map(|t| column(*t, &mut metas)).collect::<Result<Vec<_>>>()?;
    r.bytes(count.div_ceil(8))?;
    let mut out = TableMap { number, name, columns, names: None, unsigned: None };
    while !r.rest().is_empty() {
        let field = r.u8()?;
        let mut value = Reader::new(r.lenenc_bytes()?);
        match field {
            SIGNEDNESS => out.unsigned = Some(signedness(&out.columns, value.rest(), mariadb)),
            COLUMN_NAMES => {
                let names = (0..count).map(|_| value.lenenc_bytes().map(|b| String::from_utf8_lossy(b).into_owned()));
                out.names = Some(names.collect::<Result<_>>()?);
            }
            _ => {}
        }
    }
    Ok(out)
}

/// One bit per number, the first one highest.
fn signedness(columns: &[LogColumn], bits: &[u8], mariadb: bool) -> Vec<bool> {
    let mut at = 0;
    let mut next = |is_number: bool| {
        let set = is_number && bits.get(at / 8).is_some_and(|b| b >> (7 - at % 8) & 1 == 1);
        at += usize::from(is_number);
        set
    };
    columns.iter().map(|c| next(matches!(c.kind, 1..=5 | 8 | 9 | 246) || mariadb && c.kind == YEAR)).collect()
}

fn column(kind: u8, metas: &mut Reader<'_>) -> Result<LogColumn> {
    let plain = |meta| Ok(LogColumn { kind, meta });
    match kind {
        // float, double; digits of the second; length of the length
        4 | 5 | kind::TIMESTAMP2 | kind::DATETIME2 | kind::TIME2 | kind::JSON | kind::GEOMETRY | kind::VECTOR | kind::BLOB_COMPRESSED => plain(u16::from(metas.u8()?)),
        kind::TINY_BLOB..=kind::BLOB => plain(u16::from(metas.u8()?)),
        // longest length; bits and bytes
        kind::VARCHAR | kind::VARCHAR_COMPRESSED | 16 => plain(metas.u16()?),
        // precision and digits
        246 => plain(u16::from(metas.u8()?) << 8 | u16::from(metas.u8()?)),
        kind::STRING | kind::VAR_STRING | kind::ENUM | kind::SET => {
            let (real, length) = (metas.u8()?, metas.u8()?);
            if real & 0x30 == 0x30 {
                return Ok(LogColumn { kind: real, meta: u16::from(length) });
            }
            // the length's upper two bits are hidden in the type, inverted
            Ok(LogColumn { kind: real | 0x30, meta: u16::from(length) | u16::from(real & 0x30 ^ 0x30) << 4 })
        }
        _ => plain(0),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::plugin::mysql::wire::packet::put_lenenc;

    /// The body of an event for columns of these types and metadata.
    pub fn body(number: u64, name: &TableName, columns: &[(u8, &[u8])], names: Option<&[&str]>) -> Vec<u8> {
        let mut out = number.to_le_bytes()[..6].to_vec();
        out.extend_from_slice(&[1, 0]);
        for text in [&name.schema, &name.name] {
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
        put_lenenc(&mut out, columns.len() as u64);
        out.extend(columns.iter().map(|c| c.0));
        let metas: Vec<u8> = columns.iter().flat_map(|c| c.1.iter().copied()).collect();
        put_lenenc(&mut out, metas.len() as u64);
        out.extend_from_slice(&metas);
        out.extend(std::iter::repeat_n(0xff, columns.len().div_ceil(8)));
        if let Some(names) = names {
            let mut list = Vec::new();
            for n in names {
                put_lenenc(&mut list, n.len() as u64);
                list.extend_from_slice(n.as_bytes());
            }
            out.push(COLUMN_NAMES);
            put_lenenc(&mut out, list.len() as u64);
            out.extend_from_slice(&list);
        }
        out
    }

    #[test]
    fn structures_are_read() {
        let name = TableName::new("shop", "t");
        let all = body(258, &name, &[(3, &[]), (15, &[44, 1]), (254, &[0xf7, 1]), (254, &[0xce, 0xfc]), (246, &[10, 2])], Some(&["id", "v", "e", "c", "d"]));
        let map = parse(&all, true).expect("a table");
        assert_eq!((map.number, &map.name, map.names.as_deref().map(|n| n[4].as_str())), (258, &name, Some("d")));
        let column = |i: usize| (map.columns[i].kind, map.columns[i].meta);
        assert_eq!((column(1), column(2), column(4)), ((15, 300), (kind::ENUM, 1), (246, 10 << 8 | 2)));
        // char(255) in utf8mb4: 1020 bytes
        assert_eq!(column(3), (kind::STRING, 0x3fc));
        for cut in 0..all.len() {
            let _ = parse(&all[..cut], true);
        }
        let bits = signedness(&[LogColumn { kind: 3, meta: 0 }, LogColumn { kind: 15, meta: 9 }, LogColumn { kind: 8, meta: 0 }], &[0b0100_0000], false);
        assert_eq!(bits, [false, false, true]);
        // year, int unsigned, int, year, int unsigned as MariaDB 10.11 has them, and as MySQL does
        let columns = [13, 3, 3, 13, 3].map(|kind| LogColumn { kind, meta: 0 });
        let signs = |bits: u8, mariadb| signedness(&columns, &[bits], mariadb)[1..3].to_vec();
        assert_eq!((signs(0xd8, true), signs(0b1010_0000, false)), (vec![true, false], vec![true, false]));
    }
}
