//! One outcome per key, applied by a few statements with many rows each; and the rows of chunks.

use super::super::client::server_code;
use super::super::literal::Cells;
use super::shape::{Shape, key_text};
use super::writer::MyWriter;
use crate::data::{Lossy, Merged, Op, Payload};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::DELETED_AT;
use arrow::array::RecordBatch;
use std::sync::Arc;

const WHAT: &str = "could not write rows to the target";

/// Rows of a statement on their way.
struct Rows<'a> {
    shape: &'a Shape,
    batch: &'a RecordBatch,
    cells: Vec<Cells<'a>>,
    lossy: Lossy,
}

impl Rows<'_> {
    /// Appends `(a, b)`. Errors: `Lossy` for the table.
    fn put(&mut self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        out.push(b'(');
        for (c, cells) in self.cells.iter().enumerate() {
            if c > 0 {
                out.push(b',');
            }
            if let Err(why) = cells.put(row, out) {
                if !self.shape.columns.get(c).is_some_and(|c| c.lossy_null) {
                    return Err(self.shape.impossible(self.batch, row, c, why));
                }
                self.shape.lost(self.batch, row, c, &mut self.lossy);
                out.extend_from_slice(b"NULL");
            }
        }
        out.push(b')');
        Ok(())
    }
}

impl MyWriter {
    /// Runs `head (row), (row) ... tail` for these rows, in as many statements as their size asks for; gives the rows affected. While the server
    /// works on one, the next is written.
    async fn in_sets(&mut self, mut rows: Rows<'_>, all: &[usize], head: &str, tail: &str) -> Result<u64> {
        let (mut affected, mut sent): (u64, Option<usize>) = (0, None);
        let mut next = 0;
        while next < all.len() || sent.is_some() {
            let (first, mut sql) = (next, Vec::with_capacity(self.statement_bytes + self.statement_bytes / 4));
            if next < all.len() {
                sql.extend_from_slice(head.as_bytes());
            }
            while next < all.len() && (sql.len() < self.statement_bytes || next == first) {
                let before = sql.len();
                if next > first {
                    sql.push(b',');
                }
                rows.put(all[next], &mut sql)?;
                if sql.len() + tail.len() > self.max_statement {
                    if next == first {
                        return Err(self.too_large(&rows, all[next]));
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
    fn too_large(&self, rows: &Rows<'_>, row: usize) -> Error {
        Error::new(Kind::LimitExceeded, format!("a row of table {} is too large for the target", rows.shape.table.name))
            .with_detail(format!("{}; max_allowed_packet there leaves {} bytes for a row.", key_text(&rows.shape.table, rows.batch, row), self.max_statement))
            .with_hint("Raise max_allowed_packet at the target.")
            .for_table(rows.shape.table.name.to_string())
    }

    /// Makes the target hold the outcome.
    pub(super) async fn apply(&mut self, shape: &Arc<Shape>, m: &Merged) -> Result<()> {
        let partial = m.partial();
        let lacks = |r: &usize| partial.as_ref().is_some_and(|p| p.value(*r));
        let inheriting: Vec<usize> = m.base_keys.as_ref().map_or_else(Vec::new, |b| b.set.set_indices().filter(lacks).collect());
        // what is inherited is read from rows as they were before
        let inherited = self.inherited(shape, m, &inheriting).await?;
        self.delete(shape, &m.deletes, false, true).await?;
        self.put_inherited(shape, m, inherited).await?;
        let whole: Vec<usize> = (0..m.upserts.num_rows()).filter(|r| !lacks(r)).collect();
        self.upsert(shape, &m.upserts, &whole).await?;
        for &r in &whole {
            let counts = self.counts(shape.table.id);
            if m.ops[r] == Op::Insert { counts.inserts += 1 } else { counts.updates += 1 }
        }
        let rest: Vec<usize> = (0..m.upserts.num_rows()).filter(|r| lacks(r) && !inheriting.contains(r)).collect();
        self.update_parts(shape, m, &rest).await
    }

    /// Whole rows are laid over what is there. Where another unique index than the key's could catch a row, those of the keys go first.
    async fn upsert(&mut self, shape: &Shape, batch: &RecordBatch, rows: &[usize]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut tail = String::new();
        if shape.arbiter {
            tail = shape.over();
        } else if !shape.key.is_empty() {
            let cells = shape.key.iter().map(|&k| Cells::new(&shape.columns[k].column, batch.column(shape.columns[k].source).as_ref())).collect::<Result<_>>()?;
            self.in_sets(Rows { shape, batch, cells, lossy: Lossy::default() }, rows, &shape.delete(false), ")").await?;
        }
        let cells = shape.cells(batch)?;
        self.in_sets(Rows { shape, batch, cells, lossy: Lossy::default() }, rows, &shape.insert(), &tail).await.map(|_| ())
    }

    /// Deletes, or marks, the rows of these keys.
    pub(super) async fn delete(&mut self, shape: &Shape, keys: &RecordBatch, soft: bool, count: bool) -> Result<()> {
        if keys.num_rows() == 0 || shape.key.is_empty() {
            return Ok(());
        }
        let all: Vec<usize> = (0..keys.num_rows()).collect();
        let rows = Rows { shape, batch: keys, cells: shape.key_cells(keys)?, lossy: Lossy::default() };
        let affected = self.in_sets(rows, &all, &shape.delete(soft), ")").await?;
        if count {
            self.counts(shape.table.id).deletes += affected;
        }
        Ok(())
    }

    /// Rows that have only some columns: the others keep what they have.
    async fn update_parts(&mut self, shape: &Shape, m: &Merged, rows: &[usize]) -> Result<()> {
        let (cells, mut lossy) = (shape.cells(&m.upserts)?, Lossy::default());
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
            sql.extend_from_slice(b" WHERE ");
            let keys: Vec<&Cells<'_>> = shape.key.iter().map(|&k| &cells[k]).collect();
            key_condition(shape, &keys, row, &mut sql)?;
            self.bytes += sql.len() as u64;
            self.wire.send_sql(&sql).await?;
            self.wire.outcome(WHAT).await?;
            self.counts(shape.table.id).updates += 1;
        }
        self.lost(shape.table.id, &lossy);
        Ok(())
    }

    /// Rows with another key than before whose absent columns come from the row that had the old one, whole. They are read before anything is
    /// changed, whatever keys pass from one to the other. Without a row to inherit from there is nothing to write.
    async fn inherited(&mut self, shape: &Shape, m: &Merged, rows: &[usize]) -> Result<Vec<(usize, Vec<u8>)>> {
        let Some(base) = m.base_keys.as_ref().filter(|_| !rows.is_empty()) else { return Ok(Vec::new()) };
        let (cells, base_cells) = (shape.cells(&m.upserts)?, shape.key_cells(&base.keys)?);
        let old_cells: Vec<&Cells<'_>> = base_cells.iter().collect();
        let (mut out, mut lossy) = (Vec::new(), Lossy::default());
        for &row in rows {
            let has = present(shape, m, row);
            let absent: Vec<usize> = (0..shape.columns.len()).filter(|c| !has.contains(c)).collect();
            let read: Vec<String> = absent.iter().map(|&c| shape.columns[c].in_hexadecimal()).collect();
            let mut sql = format!("SELECT {} FROM {} WHERE ", read.join(","), shape.quoted).into_bytes();
            key_condition(shape, &old_cells, row, &mut sql)?;
            self.wire.send_sql(&sql).await?;
            let Some(old) = self.wire.outcome(WHAT).await?.rows.into_iter().next() else { continue };
            let mut whole = vec![b'('];
            for c in 0..shape.columns.len() {
                if c > 0 {
                    whole.push(b',');
                }
                match absent.iter().position(|a| *a == c) {
                    None => put(shape, m, &cells, (row, c), &mut whole, &mut lossy)?,
                    Some(i) => whole.extend_from_slice(shape.columns[c].of_hexadecimal(old.get(i).and_then(|v| v.as_deref())).as_bytes()),
                }
            }
            whole.push(b')');
            out.push((row, whole));
        }
        self.lost(shape.table.id, &lossy);
        Ok(out)
    }
    /// Rows that were read and completed.
    async fn put_inherited(&mut self, shape: &Shape, m: &Merged, rows: Vec<(usize, Vec<u8>)>) -> Result<()> {
        let cells = shape.cells(&m.upserts)?;
        let keys: Vec<&Cells<'_>> = shape.key.iter().map(|&k| &cells[k]).collect();
        for (row, whole) in rows {
            if !shape.arbiter {
                let mut sql = format!("DELETE FROM {} WHERE ", shape.quoted).into_bytes();
                key_condition(shape, &keys, row, &mut sql)?;
                self.wire.send_sql(&sql).await?;
                self.wire.outcome(WHAT).await?;
            }
            let tail = if shape.arbiter { shape.over() } else { String::new() };
            let sql = [shape.insert().as_bytes(), &whole, tail.as_bytes()].concat();
            self.bytes += sql.len() as u64;
            self.wire.send_sql(&sql).await?;
            self.wire.outcome(WHAT).await?;
            self.counts(shape.table.id).updates += 1;
        }
        Ok(())
    }

    /// Rows of a chunk.
    pub(super) async fn load(&mut self, shape: &Arc<Shape>, payload: Payload, upsert: bool) -> Result<()> {
        let Payload::Arrow(batch) = payload else { return Err(Error::internal("a wire format that MySQL does not take")) };
        let all: Vec<usize> = (0..batch.num_rows()).collect();
        if upsert {
            if shape.key.is_empty() {
                return Err(Error::internal("rows without a key can't be laid over others").for_table(shape.table.name.to_string()));
            }
            self.upsert(shape, &batch, &all).await?;
            self.counts(shape.table.id).updates += all.len() as u64;
            return Ok(());
        }
        let cells = shape.cells(&batch)?;
        self.in_sets(Rows { shape, batch: &batch, cells, lossy: Lossy::default() }, &all, &shape.insert(), "").await?;
        self.counts(shape.table.id).inserts += all.len() as u64;
        Ok(())
    }
}

/// Of the shape's columns, those that a row has.
fn present(shape: &Shape, m: &Merged, row: usize) -> Vec<usize> {
    let has = |c: &usize| m.present.as_ref().is_none_or(|p| p[shape.columns[*c].source].as_ref().is_none_or(|b| b.value(row)));
    (0..shape.columns.len()).filter(has).collect()
}

/// A row's value, and what is lost of it where that was asked for.
fn put(shape: &Shape, m: &Merged, cells: &[Cells<'_>], (row, column): (usize, usize), out: &mut Vec<u8>, lossy: &mut Lossy) -> Result<()> {
    match cells[column].put(row, out) {
        Ok(()) => Ok(()),
        Err(_) if shape.columns[column].lossy_null => {
            shape.lost(&m.upserts, row, column, lossy);
            out.extend_from_slice(b"NULL");
            Ok(())
        }
        Err(why) => Err(shape.impossible(&m.upserts, row, column, why)),
    }
}

/// `a=1,b=2`.
fn assignments(shape: &Shape, m: &Merged, cells: &[Cells<'_>], row: usize, columns: &[usize], out: &mut Vec<u8>, lossy: &mut Lossy) -> Result<()> {
    for (i, &c) in columns.iter().enumerate() {
        out.extend_from_slice(format!("{}{}=", if i > 0 { "," } else { "" }, shape.columns[c].quoted).as_bytes());
        put(shape, m, cells, (row, c), out, lossy)?;
    }
    Ok(())
}

/// `k1=1 AND k2=2`.
fn key_condition(shape: &Shape, cells: &[&Cells<'_>], row: usize, out: &mut Vec<u8>) -> Result<()> {
    for (i, (&k, cell)) in shape.key.iter().zip(cells).enumerate() {
        out.extend_from_slice(format!("{}{}=", if i > 0 { " AND " } else { "" }, shape.columns[k].quoted).as_bytes());
        cell.put(row, out).map_err(|why| Error::new(Kind::Lossy, "a key can't be written to the target").with_detail(why).for_table(shape.table.name.to_string()))?;
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
