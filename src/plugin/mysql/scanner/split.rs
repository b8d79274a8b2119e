//! How a table is cut into chunks: by ranges of its key's first column. Whole numbers are cut by width, anything else by walking the key.

use super::super::client::{ident, literal, qualified};
use super::super::types::MyType;
use super::super::wire::Wire;
use crate::data::TableVersion;
use crate::error::{Error, Result};
use crate::plugin::Chunk;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const WHAT: &str = "could not cut a table of the source into chunks";
/// Chunks of one table at most.
const MOST: u64 = 10_000;

/// A range of the key's first column: above one value, up to another one, both as SQL literals. None: open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The column; empty where the chunk is the table.
    pub column: String,
    /// Values above this.
    pub above: Option<String>,
    /// Values up to this.
    pub upto: Option<String>,
}

impl Bounds {
    /// Of a chunk made here.
    pub fn of(chunk: &Chunk) -> Result<Bounds> {
        serde_json::from_value(chunk.bounds.clone()).map_err(|e| Error::internal("a chunk's bounds can't be read").with_detail(e.to_string()))
    }
    /// The condition; None: all rows.
    pub fn condition(&self) -> Result<Option<String>> {
        let mut all = Vec::new();
        for (sign, value) in [(">", &self.above), ("<=", &self.upto)] {
            if let Some(value) = value {
                all.push(format!("{} {sign} {value}", ident(&self.column)?));
            }
        }
        Ok((!all.is_empty()).then(|| all.join(" AND ")))
    }
    fn id(&self) -> String {
        let end = |v: &Option<String>| v.clone().unwrap_or_default();
        format!("{}..{}", end(&self.above), end(&self.upto))
    }
}

/// The chunks of a table; the first and the last one are open-ended.
pub async fn chunks(wire: &mut Wire, table: &Arc<TableVersion>, target_rows: u64) -> Result<Vec<Chunk>> {
    let rows = table.estimated_rows.unwrap_or(0);
    let column = table.key.first().and_then(|&k| table.columns.get(k));
    let cuts = match column {
        Some(column) if rows > target_rows => match MyType::parse(&column.native) {
            MyType::Integer { .. } => by_width(wire, table, &column.name, rows, target_rows).await?,
            my if walks(&my) => by_walking(wire, table, &column.name, target_rows).await?,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    let name = column.map(|c| c.name.clone()).unwrap_or_default();
    let (parts, mut out) = (cuts.len() as u64 + 1, Vec::with_capacity(cuts.len() + 1));
    let mut above = None;
    for upto in cuts.into_iter().map(Some).chain([None]) {
        let bounds = Bounds { column: name.clone(), above: above.take(), upto: upto.clone() };
        above = upto;
        out.push(Chunk { table: table.clone(), id: bounds.id(), bounds: serde_json::to_value(&bounds).unwrap_or_default(), rows: rows / parts });
    }
    Ok(out)
}

/// The order of the type's values is that of its literals; that of enums, floats and bits is not.
fn walks(my: &MyType) -> bool {
    matches!(my, MyType::Text(_) | MyType::Binary(_) | MyType::Bytes | MyType::Decimal { .. } | MyType::Date | MyType::DateTime(_) | MyType::Timestamp(_) | MyType::Uuid)
}

/// Equal widths between the least and the greatest number.
async fn by_width(wire: &mut Wire, table: &TableVersion, column: &str, rows: u64, target_rows: u64) -> Result<Vec<String>> {
    let column = ident(column)?;
    let ends = wire.row(WHAT, &format!("SELECT min({column}), max({column}) FROM {}", qualified(&table.name)?)).await?.unwrap_or_default();
    let number = |i: usize| ends.get(i).cloned().flatten().and_then(|n| n.parse::<i128>().ok());
    let (Some(low), Some(high)) = (number(0), number(1)) else { return Ok(Vec::new()) };
    let width = high - low + 1;
    let parts = i128::from(rows.div_ceil(target_rows.max(1)).clamp(1, MOST)).min(width);
    Ok((1..parts).map(|i| (low + width * i / parts - 1).to_string()).collect())
}

/// Every so many rows in the key's order.
async fn by_walking(wire: &mut Wire, table: &TableVersion, column: &str, target_rows: u64) -> Result<Vec<String>> {
    let (column, name) = (ident(column)?, qualified(&table.name)?);
    let mut cuts: Vec<String> = Vec::new();
    while (cuts.len() as u64) < MOST {
        let condition = cuts.last().map_or_else(String::new, |after| format!(" WHERE {column} > {after}"));
        // hexadecimal: whatever the column's character set, the value comes back as it is
        let sql = format!("SELECT hex({column}), {column} FROM {name}{condition} ORDER BY {column} LIMIT 1 OFFSET {target_rows}");
        let Some(row) = wire.row(WHAT, &sql).await? else { break };
        let [Some(hex), Some(text)] = <[Option<String>; 2]>::try_from(row).unwrap_or_default() else { break };
        let native = table.key.first().map(|&k| MyType::parse(&table.columns[k].native));
        let cut = cut(native.as_ref(), &hex, &text);
        if cuts.last() == Some(&cut) {
            break;
        }
        cuts.push(cut);
    }
    Ok(cuts)
}

/// A value as a literal that is compared as the column's type is: a decimal in quotes would be compared as a double.
fn cut(native: Option<&MyType>, hex: &str, text: &str) -> String {
    match native {
        Some(MyType::Binary(_) | MyType::Bytes) => format!("x'{hex}'"),
        Some(MyType::Decimal { .. }) => text.to_string(),
        _ => literal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_conditions() {
        let b = Bounds { column: "a`b".into(), above: Some("5".into()), upto: Some("'x'".into()) };
        assert_eq!(b.condition().expect("a name").as_deref(), Some("`a``b` > 5 AND `a``b` <= 'x'"));
        let my = |native: &str| cut(Some(&MyType::parse(native)), "31", "1");
        assert_eq!((my("decimal(30,2)"), my("varbinary(9)"), my("varchar(9)")), ("1".into(), "x'31'".into(), "'1'".into()));
        assert_eq!((Bounds::default().condition().expect("none"), b.id()), (None, "5..'x'".to_string()));
    }
}
