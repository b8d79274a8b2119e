//! Rows by key: a condition that names the keys.

use super::super::client::ident;
use super::super::literal::Cells;
use crate::data::TableVersion;
use crate::error::{Error, Kind, Result};
use arrow::array::RecordBatch;

/// `(k1, k2) IN ((...), ...)`.
pub(super) fn condition(table: &TableVersion, keys: &RecordBatch) -> Result<String> {
    if table.key.is_empty() || keys.num_columns() != table.key.len() {
        return Err(Error::internal("rows are fetched by a key that the table has not"));
    }
    let mut cells = Vec::new();
    for (i, &position) in table.key.iter().enumerate() {
        cells.push(Cells::new(&table.columns[position], keys.column(i).as_ref())?);
    }
    let names = table.key.iter().map(|&i| ident(&table.columns[i].name)).collect::<Result<Vec<_>>>()?;
    let mut sql = format!("({}) IN (", names.join(", ")).into_bytes();
    for row in 0..keys.num_rows() {
        sql.extend_from_slice(if row > 0 { b", (" } else { b"(" });
        for (i, cell) in cells.iter().enumerate() {
            if i > 0 {
                sql.push(b',');
            }
            cell.put(row, &mut sql).map_err(|why| Error::new(Kind::OutOfRange, "a key can't be looked up at the source").with_detail(why))?;
        }
        sql.push(b')');
    }
    sql.push(b')');
    String::from_utf8(sql).map_err(|_| Error::internal("a condition that is not UTF-8"))
}
