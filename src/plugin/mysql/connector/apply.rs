//! One outcome per key, applied by a few statements with many rows each; and the rows of chunks.

use super::super::client::server_code;
use super::super::literal::Cells;
use super::super::wire::Outcome;
use super::shape::{Shape, key_text};
use super::writer::MyWriter;
use crate::data::{Lossy, Merged, Op, Payload};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::DELETED_AT;
use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use std::sync::Arc;

const WHAT: &str = "could not write rows to the target";

/// Keys that one statement names at most: of longer lists MariaDB makes a table (`in_predicate_conversion_threshold`, 1000), and either server may
/// read, and lock, all rows instead.
const KEYS_AT_ONCE: usize = 500;

/// What a statement says of each row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// `(a, b)`.
    Values,
    /// The key's one value.
    Key,
    /// `(k1=1 AND k2=2)`. Row constructors use no index everywhere. `exact`: as bytes too, where the target finds more than is asked for.
    Condition { exact: bool },
}

/// Rows of a statement on their way.
struct Rows<'a> {
    shape: &'a Shape,
    batch: &'a RecordBatch,
    cells: Vec<Cells<'a>>,
    says: Says,
    lossy: Lossy,
}

impl<'a> Rows<'a> {
    fn whole(shape: &'a Shape, batch: &'a RecordBatch) -> Result<Rows<'a>> {
        Ok(Rows { shape, batch, cells: shape.cells(batch)?, says: Says::Values, lossy: Lossy::default() })
    }
    fn keys(shape: &'a Shape, batch: &'a RecordBatch, cells: Vec<Cells<'a>>, soft: bool) -> Rows<'a> {
        let exact = soft && shape.has_inexact_key();
        let says = if cells.len() == 1 && !exact { Says::Key } else { Says::Condition { exact } };
        Rows { shape, batch, cells, says, lossy: Lossy::default() }
    }
    fn most(&self) -> usize {
        if self.says == Says::Values { usize::MAX } else { KEYS_AT_ONCE }
    }
    fn between(&self) -> &'static [u8] {
        if let Says::Condition { .. } = self.says { b" OR " } else { b"," }
    }
    /// Appends what is said of a row. Errors: `Lossy` for the table.
    fn put(&mut self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match self.says {
            Says::Key => key_value(self.shape, (self.batch, row), 0, &self.cells[0], out),
            Says::Condition { exact } => {
                out.push(b'(');
                key_condition(self.shape, self.batch, &self.cells, row, exact, out)?;
                out.push(b')');
                Ok(())
            }
            Says::Values => {
                for (c, cells) in self.cells.iter().enumerate() {
                    out.push(if c > 0 { b',' } else { b'(' });
                    value(self.shape, (self.batch, row), c, cells, out, &mut self.lossy)?;
                }
                out.push(b')');
                Ok(())
            }
        }
    }
}

impl MyWriter {
    /// Runs `head row, row ... tail` for these rows, in as many statements as their size asks for; gives the rows affected. While the server works
    /// on one, the next is written.
    async fn in_sets(&mut self, mut rows: Rows<'_>, all: &[usize], head: &str, tail: &str) -> Result<u64> {
        let (mut affected, mut sent): (u64, Option<usize>) = (0, None);
        let mut next = 0;
        while next < all.len() || sent.is_some() {
            let (first, mut sql) = (next, Vec::with_capacity(self.statement_bytes + self.statement_bytes / 4));
            if next < all.len() {
                sql.extend_from_slice(head.as_bytes());
            }
            while next < all.len() && next - first < rows.most() && (sql.len() < self.statement_bytes || next == first) {
                let before = sql.len();
                if next > first {
                    sql.extend_from_slice(rows.between());
                }
                rows.put(all[next], &mut sql)?;
                if sql.len() + tail.len() > self.max_statement {
                    if next == first {
                        return Err(self.too_large(rows.shape, rows.batch, all[next]));
                    }
                    sql.truncate(before);
                    break;
                }
                next += 1;
            }
            if let Some(first) = sent.take() {
                let done = self.wire.outcome(WHAT).await;
                affected += done.map_err(|e| at_row(e, &rows, all, first))?.affected.iter().sum::<u64>();
            }
            if next > first {
                sql.extend_from_slice(tail.as_bytes());
                self.bytes += sql.len() as u64;
                self.wire.send_sql(&sql).await?;
                sent = Some(first);
            }
        }
        self.lost(rows.shape.table.id, &rows.lossy);
        Ok(affected)
    }
    fn too_large(&self, shape: &Shape, batch: &RecordBatch, row: usize) -> Error {
        Error::new(Kind::LimitExceeded, format!("a row of table {} is too large for the target", shape.table.name))
            .with_detail(format!("{}; max_allowed_packet there leaves {} bytes for a row.", key_text(&shape.table, batch, row), self.max_statement))
            .with_hint("Raise max_allowed_packet at the target.")
            .for_table(shape.table.name.to_string())
    }
    /// Runs the statement of one row.
    async fn one(&mut self, shape: &Shape, batch: &RecordBatch, row: usize, sql: &[u8]) -> Result<Outcome> {
        if sql.len() > self.max_statement {
            return Err(self.too_large(shape, batch, row));
        }
        self.bytes += sql.len() as u64;
        self.wire.send_sql(sql).await?;
        self.wire.outcome(WHAT).await
    }

    /// Makes the target hold the outcome. Where something else than the key could catch a row, all rows that are changed go before any comes.
    pub(super) async fn apply(&mut self, shape: &Arc<Shape>, m: &Merged) -> Result<()> {
        let masks: Vec<&BooleanBuffer> = m.present.iter().flat_map(|all| shape.columns.iter().filter_map(|c| all[c.source].as_ref())).collect();
        let lacks = |r: &usize| masks.iter().any(|b| !b.value(*r));
        let moved = |r: &usize| m.base_keys.as_ref().is_some_and(|b| b.set.value(*r));
        let (partial, whole): (Vec<usize>, Vec<usize>) = (0..m.upserts.num_rows()).partition(lacks);
        let (inheriting, rest): (Vec<usize>, Vec<usize>) = partial.into_iter().partition(|r| !shape.arbiter || moved(r));
        // what is inherited is read from rows as they were before
        let inherited = self.inherited(shape, m, &inheriting).await?;
        self.delete(shape, &m.deletes, false, true).await?;
        let changed: Vec<usize> = whole.iter().copied().chain(inherited.iter().map(|(row, _)| *row)).collect();
        self.make_way(shape, &m.upserts, &changed).await?;
        let tail = if shape.arbiter { shape.over() } else { String::new() };
        for (row, values) in inherited {
            let sql = [shape.insert().as_bytes(), &values, tail.as_bytes()].concat();
            self.one(shape, &m.upserts, row, &sql).await?;
            self.counts(shape.table.id).updates += 1;
        }
        self.in_sets(Rows::whole(shape, &m.upserts)?, &whole, &shape.insert(), &tail).await?;
        for &r in &whole {
            let counts = self.counts(shape.table.id);
            if m.ops[r] == Op::Insert { counts.inserts += 1 } else { counts.updates += 1 }
        }
        self.update_parts(shape, m, &rest).await
    }

    /// Rows can't be laid over others where another unique index than the key's could catch them: then those of the keys go.
    async fn make_way(&mut self, shape: &Shape, batch: &RecordBatch, rows: &[usize]) -> Result<()> {
        if shape.arbiter || shape.key.is_empty() || rows.is_empty() {
            return Ok(());
        }
        let keys = Rows::keys(shape, batch, shape.own_keys(batch)?, false);
        let head = shape.delete(false, keys.says == Says::Key);
        self.in_sets(keys, rows, &head, ")").await.map(|_| ())
    }

    /// Deletes, or marks, the rows of these keys.
    pub(super) async fn delete(&mut self, shape: &Shape, keys: &RecordBatch, soft: bool, count: bool) -> Result<()> {
        if keys.num_rows() == 0 || shape.key.is_empty() {
            return Ok(());
        }
        let all: Vec<usize> = (0..keys.num_rows()).collect();
        let rows = Rows::keys(shape, keys, shape.key_cells(keys)?, soft);
        let head = shape.delete(soft, rows.says == Says::Key);
        let affected = self.in_sets(rows, &all, &head, ")").await?;
        if count {
            self.counts(shape.table.id).deletes += affected;
        }
        Ok(())
    }

    /// Rows that have only some columns: the others keep what they have.
    async fn update_parts(&mut self, shape: &Shape, m: &Merged, rows: &[usize]) -> Result<()> {
        let (cells, keys, mut lossy) = (shape.cells(&m.upserts)?, shape.own_keys(&m.upserts)?, Lossy::default());
        for &row in rows {
            let mut sql = format!("UPDATE {} SET ", shape.quoted).into_bytes();
            let present = present(shape, m, row);
            let set: Vec<usize> = present.into_iter().filter(|c| !shape.key.contains(c)).collect();
            if set.is_empty() && !shape.soft {
                continue;
            }
            assignments(shape, m, &cells, row, &set, &mut sql, &mut lossy)?;
            if shape.soft {
                sql.extend_from_slice(format!("{}{DELETED_AT}=NULL", if set.is_empty() { "" } else { "," }).as_bytes());
            }
            sql.extend_from_slice(shape.still(&set).as_bytes());
            sql.extend_from_slice(b" WHERE ");
            key_condition(shape, &m.upserts, &keys, row, false, &mut sql)?;
            self.one(shape, &m.upserts, row, &sql).await?;
            self.counts(shape.table.id).updates += 1;
        }
        self.lost(shape.table.id, &lossy);
        Ok(())
    }

    /// Rows whose absent columns come from the row that had their old key, or their own, whole. They are read before anything is changed, whatever
    /// keys pass from one to the other. Without a row to inherit from there is nothing to write.
    async fn inherited(&mut self, shape: &Shape, m: &Merged, rows: &[usize]) -> Result<Vec<(usize, Vec<u8>)>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let cells = shape.cells(&m.upserts)?;
        let old_cells = m.base_keys.as_ref().map_or_else(|| shape.own_keys(&m.upserts), |b| shape.key_cells(&b.keys))?;
        let (mut out, mut lossy) = (Vec::new(), Lossy::default());
        for &row in rows {
            let has = present(shape, m, row);
            let absent: Vec<usize> = (0..shape.columns.len()).filter(|c| !has.contains(c)).collect();
            let read: Vec<String> = if absent.is_empty() { vec!["1".into()] } else { absent.iter().map(|&c| shape.columns[c].in_hexadecimal()).collect() };
            let mut sql = format!("SELECT {} FROM {} WHERE ", read.join(","), shape.quoted).into_bytes();
            key_condition(shape, &m.upserts, &old_cells, row, false, &mut sql)?;
            sql.extend_from_slice(b" FOR UPDATE");
            let Some(old) = self.one(shape, &m.upserts, row, &sql).await?.rows.into_iter().next() else { continue };
            let mut whole = vec![b'('];
            for c in 0..shape.columns.len() {
                if c > 0 {
                    whole.push(b',');
                }
                match absent.iter().position(|a| *a == c) {
                    None => value(shape, (&m.upserts, row), c, &cells[c], &mut whole, &mut lossy)?,
                    Some(i) => whole.extend_from_slice(shape.columns[c].of_hexadecimal(old.get(i).and_then(|v| v.as_deref())).as_bytes()),
                }
            }
            whole.push(b')');
            out.push((row, whole));
        }
        self.lost(shape.table.id, &lossy);
        Ok(out)
    }

    /// Rows of a chunk.
    pub(super) async fn load(&mut self, shape: &Arc<Shape>, payload: Payload, upsert: bool) -> Result<()> {
        let Payload::Arrow(batch) = payload else { return Err(Error::internal("a wire format that MySQL does not take")) };
        let all: Vec<usize> = (0..batch.num_rows()).collect();
        if upsert {
            if shape.key.is_empty() {
                return Err(Error::internal("rows without a key can't be laid over others").for_table(shape.table.name.to_string()));
            }
            self.make_way(shape, &batch, &all).await?;
            let tail = if shape.arbiter { shape.over() } else { String::new() };
            self.in_sets(Rows::whole(shape, &batch)?, &all, &shape.insert(), &tail).await?;
            self.counts(shape.table.id).updates += all.len() as u64;
            return Ok(());
        }
        self.in_sets(Rows::whole(shape, &batch)?, &all, &shape.insert(), "").await?;
        self.counts(shape.table.id).inserts += all.len() as u64;
        Ok(())
    }
}

/// Of the shape's columns, those that a row has.
fn present(shape: &Shape, m: &Merged, row: usize) -> Vec<usize> {
    let has = |c: &usize| m.present.as_ref().is_none_or(|p| p[shape.columns[*c].source].as_ref().is_none_or(|b| b.value(row)));
    (0..shape.columns.len()).filter(has).collect()
}

/// Appends a row's value; NULL where that was asked for in place of what can't be held, which is noted. A key is never NULL.
fn value(shape: &Shape, (batch, row): (&RecordBatch, usize), column: usize, cell: &Cells<'_>, out: &mut Vec<u8>, lossy: &mut Lossy) -> Result<()> {
    match cell.put(row, out) {
        Ok(()) => Ok(()),
        Err(_) if shape.columns[column].lossy_null && !shape.key.contains(&column) => {
            shape.lost(batch, row, column, lossy);
            out.extend_from_slice(b"NULL");
            Ok(())
        }
        Err(why) => Err(shape.impossible(batch, row, column, why)),
    }
}

/// Appends a value of the key; `i` counts the key's columns.
fn key_value(shape: &Shape, (batch, row): (&RecordBatch, usize), i: usize, cell: &Cells<'_>, out: &mut Vec<u8>) -> Result<()> {
    cell.put(row, out).map_err(|why| shape.impossible(batch, row, shape.key[i], why))
}

/// `a=1,b=2`.
fn assignments(shape: &Shape, m: &Merged, cells: &[Cells<'_>], row: usize, columns: &[usize], out: &mut Vec<u8>, lossy: &mut Lossy) -> Result<()> {
    for (i, &c) in columns.iter().enumerate() {
        out.extend_from_slice(format!("{}{}=", if i > 0 { "," } else { "" }, shape.columns[c].quoted).as_bytes());
        value(shape, (&m.upserts, row), c, &cells[c], out, lossy)?;
    }
    Ok(())
}

/// `k1=1 AND k2=2`; `exact`: compared as bytes too where the column finds more.
fn key_condition(shape: &Shape, batch: &RecordBatch, cells: &[Cells<'_>], row: usize, exact: bool, out: &mut Vec<u8>) -> Result<()> {
    for (i, (&k, cell)) in shape.key.iter().zip(cells).enumerate() {
        let column = &shape.columns[k];
        out.extend_from_slice(format!("{}{}=", if i > 0 { " AND " } else { "" }, column.quoted).as_bytes());
        key_value(shape, (batch, row), i, cell, out)?;
        if exact && !column.exact {
            out.extend_from_slice(format!(" AND BINARY CONVERT({} USING utf8mb4)=", column.quoted).as_bytes());
            key_value(shape, (batch, row), i, cell, out)?;
        }
    }
    Ok(())
}

/// Names the row that the server complains of: "... at row 3".
fn at_row(e: Error, rows: &Rows<'_>, all: &[usize], first: usize) -> Error {
    if server_code(&e).is_none() {
        return e;
    }
    let number = e.detail().and_then(|d| d.split("at row ").nth(1)).and_then(|d| d.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<usize>().ok());
    let row = number.and_then(|n| all.get(first + n.checked_sub(1)?));
    match row {
        Some(&row) if rows.batch.num_columns() == rows.shape.table.columns.len() => {
            let text = key_text(&rows.shape.table, rows.batch, row);
            e.with_detail(format!("{text} of table {}.", rows.shape.table.name))
        }
        _ => e,
    }
}
