//! Row events (MySQL, "Rows Events"): changes of one table on their way into Arrow, one builder per column.

use super::super::client::malformed;
use super::super::column::ColumnBuilder;
use super::super::wire::packet::Reader;
use super::cells::{Cell, Charsets, Misfit};
use super::event::kind;
use super::inflate;
use super::table_map::TableMap;
use crate::data::{OldKeys, Op, Rows, TableVersion};
use crate::error::{Error, Kind, Result};
use arrow::array::{BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use std::borrow::Cow;
use std::sync::Arc;

/// Rows that are reserved for at once.
const FIRST_ROWS: usize = 64;
/// The session did not check foreign keys, and the like: not looked at. MariaDB and MySQL agree on the rest of the head.
const EXTRA_HEAD: usize = 2;

/// A row event without its rows.
#[derive(Debug)]
pub struct RowsEvent<'a> {
    /// Which table, by the log's number.
    pub number: u64,
    /// What happens to its rows.
    pub op: Op,
    /// How many columns.
    pub width: usize,
    /// Which columns the image before (of an insert, after) has.
    pub first: Vec<bool>,
    /// Which columns an update's image after has.
    pub second: Vec<bool>,
    /// The rows.
    pub rows: Cow<'a, [u8]>,
}

impl<'a> RowsEvent<'a> {
    /// Of an event's body. Errors: `NotSupported`, `LimitExceeded` beyond `most` bytes unpacked.
    pub fn parse(event: u8, body: &'a [u8], most: usize) -> Result<RowsEvent<'a>> {
        let compressed = (kind::MARIA_WRITE_ROWS_COMPRESSED_V1..=kind::MARIA_DELETE_ROWS_COMPRESSED).contains(&event);
        let (op, second_version) = match event {
            kind::WRITE_ROWS_V1 | 166 => (Op::Insert, false),
            kind::UPDATE_ROWS_V1 | 167 => (Op::Update, false),
            kind::DELETE_ROWS_V1 | 168 => (Op::Delete, false),
            kind::WRITE_ROWS | 169 => (Op::Insert, true),
            kind::UPDATE_ROWS | 170 => (Op::Update, true),
            kind::DELETE_ROWS | 171 => (Op::Delete, true),
            _ => return Err(Error::new(Kind::NotSupported, "the log has rows in a form that is not known").with_detail(format!("Event type {event}."))),
        };
        let mut r = Reader::new(body);
        let number = r.u48()?;
        r.u16()?;
        if second_version {
            let extra = usize::from(r.u16()?);
            r.bytes(extra.saturating_sub(EXTRA_HEAD))?;
        }
        let width = usize::try_from(r.lenenc()?).map_err(|_| malformed("A row of too many columns."))?;
        let bits = |r: &mut Reader<'_>| -> Result<Vec<bool>> {
            let bytes = r.bytes(width.div_ceil(8))?;
            Ok((0..width).map(|i| bytes[i / 8] >> (i % 8) & 1 == 1).collect())
        };
        let first = bits(&mut r)?;
        let second = if op == Op::Update { bits(&mut r)? } else { Vec::new() };
        let rows = if compressed { Cow::Owned(inflate::maria(r.rest(), most)?) } else { Cow::Borrowed(r.rest()) };
        Ok(RowsEvent { number, op, width, first, second, rows })
    }
}

/// The readers of a table's columns, for one structure of the log.
#[derive(Debug)]
pub struct Layout {
    cells: Vec<Cell>,
    /// The key's columns, by position.
    key: Vec<usize>,
    computed: Vec<bool>,
}

impl Layout {
    /// For a version of the table that the log shows as `map`.
    pub fn compile(table: &TableVersion, map: &TableMap, charsets: &Charsets) -> Result<Layout, Misfit> {
        let named = |names: &Vec<String>| names.iter().zip(&table.columns).all(|(n, c)| *n == c.name);
        if map.columns.len() != table.columns.len() || !map.names.as_ref().is_none_or(named) {
            return Err(Misfit::Other);
        }
        let unsigned = |i: usize| map.unsigned.as_ref().and_then(|u| u.get(i).copied());
        let cell = |(i, column)| Cell::compile(map.columns[i], unsigned(i), column, charsets);
        let cells = table.columns.iter().enumerate().map(cell).collect::<Result<_, _>>()?;
        Ok(Layout { cells, key: table.key.clone(), computed: table.columns.iter().map(|c| c.generated).collect() })
    }
    /// One image of a row: the bytes of each column; `None` twice over: absent, or NULL.
    fn image<'a>(&self, r: &mut Reader<'a>, has: &[bool], out: &mut Vec<Option<Option<&'a [u8]>>>) -> Result<()> {
        out.clear();
        let present = has.iter().filter(|h| **h).count();
        let nulls = r.bytes(present.div_ceil(8))?;
        let mut at = 0;
        for (cell, has) in self.cells.iter().zip(has) {
            if !has {
                out.push(None);
                continue;
            }
            let null = nulls[at / 8] >> (at % 8) & 1 == 1;
            at += 1;
            out.push(Some(if null { None } else { Some(cell.take(r)?) }));
        }
        Ok(())
    }
}

/// One image: by column, whether it is there, and its bytes if it is not NULL.
type Image<'a> = [Option<Option<&'a [u8]>>];

/// Changes of one table version.
#[derive(Debug)]
pub struct RowsBuilder {
    table: Arc<TableVersion>,
    ops: Vec<Op>,
    txn: Vec<u32>,
    columns: Vec<ColumnBuilder>,
    present: Vec<Option<BooleanBufferBuilder>>,
    old: Option<(Vec<ColumnBuilder>, BooleanBufferBuilder)>,
}

impl RowsBuilder {
    /// Empty.
    pub fn new(table: Arc<TableVersion>) -> Self {
        let columns = table.columns.iter().map(|c| ColumnBuilder::new(c, FIRST_ROWS)).collect();
        let present = table.columns.iter().map(|_| None).collect();
        RowsBuilder { table, ops: Vec::new(), txn: Vec::new(), columns, present, old: None }
    }
    /// Rows so far.
    pub fn len(&self) -> usize {
        self.ops.len()
    }
    /// Appends an event's rows but the first `skip`; gives how many the event has. After an error the builder is of no use.
    pub fn extend(&mut self, event: &RowsEvent<'_>, layout: &Layout, txn: u32, skip: u64) -> Result<u64> {
        if event.width != layout.cells.len() {
            return Err(malformed("A row has another number of columns than its table."));
        }
        if event.op != Op::Insert && layout.key.is_empty() {
            return Err(Error::new(Kind::NotSupported, "an update or delete of a table without a key can't be carried").with_hint(format!(
                "Run ALTER TABLE {} ADD PRIMARY KEY (...) at the source, or leave updates and deletes out with inclusion = 'data.insert'.",
                self.table.name
            )));
        }
        whole(event, layout)?;
        let mut r = Reader::new(&event.rows);
        let (mut first, mut second, mut count) = (Vec::new(), Vec::new(), 0);
        while !r.rest().is_empty() {
            layout.image(&mut r, &event.first, &mut first)?;
            if event.op == Op::Update {
                layout.image(&mut r, &event.second, &mut second)?;
            }
            count += 1;
            if count <= skip {
                continue;
            }
            match event.op {
                Op::Update => {
                    self.append_row(&second, layout)?;
                    self.append_old_key(Some((first.as_slice(), second.as_slice())), layout)?;
                }
                Op::Delete => {
                    self.append_delete(&first, layout)?;
                    self.append_old_key(None, layout)?;
                }
                _ => {
                    self.append_row(&first, layout)?;
                    self.append_old_key(None, layout)?;
                }
            }
            self.ops.push(event.op);
            self.txn.push(txn);
        }
        Ok(count)
    }
    fn append_row(&mut self, image: &Image<'_>, layout: &Layout) -> Result<()> {
        let row = self.ops.len();
        for (c, builder) in self.columns.iter_mut().enumerate() {
            let value = image.get(c).copied().flatten();
            match value {
                Some(Some(bytes)) => layout.cells[c].append(bytes, builder).map_err(|e| e.with_detail(format!("Column \"{}\".", self.table.columns[c].name)))?,
                _ => builder.append_null(),
            }
            if value.is_none() && self.present[c].is_none() {
                let mut bits = BooleanBufferBuilder::new(row + FIRST_ROWS);
                bits.append_n(row, true);
                self.present[c] = Some(bits);
            }
            if let Some(bits) = &mut self.present[c] {
                bits.append(value.is_some());
            }
        }
        Ok(())
    }
    fn append_delete(&mut self, image: &Image<'_>, layout: &Layout) -> Result<()> {
        for (c, builder) in self.columns.iter_mut().enumerate() {
            match image.get(c).copied().flatten().flatten() {
                Some(bytes) if layout.key.contains(&c) => layout.cells[c].append(bytes, builder)?,
                _ => builder.append_null(),
            }
            if let Some(bits) = &mut self.present[c] {
                bits.append(true);
            }
        }
        Ok(())
    }
    /// The key before the change, where it was another one.
    fn append_old_key(&mut self, images: Option<(&Image<'_>, &Image<'_>)>, layout: &Layout) -> Result<()> {
        let changed = images.filter(|(before, after)| layout.key.iter().any(|&k| before.get(k) != after.get(k)));
        if changed.is_none() && self.old.is_none() {
            return Ok(());
        }
        let rows = self.ops.len();
        let (columns, set) = self.old.get_or_insert_with(|| {
            let mut columns: Vec<_> = self.table.key.iter().map(|&k| ColumnBuilder::new(&self.table.columns[k], FIRST_ROWS)).collect();
            columns.iter_mut().for_each(|c| (0..rows).for_each(|_| c.append_null()));
            let mut set = BooleanBufferBuilder::new(rows + FIRST_ROWS);
            set.append_n(rows, false);
            (columns, set)
        });
        for (builder, &k) in columns.iter_mut().zip(&layout.key) {
            match changed.and_then(|(before, _)| before.get(k).copied().flatten().flatten()) {
                Some(bytes) => layout.cells[k].append(bytes, builder)?,
                None => builder.append_null(),
            }
        }
        set.append(changed.is_some());
        Ok(())
    }
    /// The rows.
    pub fn finish(mut self) -> Result<Rows> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.ops.len()));
        let arrays = self.columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        let after = RecordBatch::try_new_with_options(self.table.schema.clone(), arrays, &options)?;
        let old_keys = match self.old {
            None => None,
            Some((mut columns, mut set)) => {
                let arrays = columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
                Some(OldKeys { keys: RecordBatch::try_new_with_options(self.table.key_schema(), arrays, &options)?, set: set.finish() })
            }
        };
        let partial = self.present.iter().any(Option::is_some);
        let present = partial.then(|| self.present.into_iter().map(|bits| bits.map(|mut b| b.finish())).collect());
        Ok(Rows { ops: self.ops, after, old_keys, present, txn: self.txn })
    }
}

/// Every column is in the image that counts, of a delete and of an update's image before those of the key. Columns that are computed may be
/// missing.
fn whole(event: &RowsEvent<'_>, layout: &Layout) -> Result<()> {
    let all = |has: &[bool]| has.iter().zip(&layout.computed).all(|(has, computed)| *has || *computed);
    let key = |has: &[bool]| layout.key.iter().all(|&k| has.get(k).copied().unwrap_or(false));
    let fine = match event.op {
        Op::Update => key(&event.first) && all(&event.second),
        Op::Delete => key(&event.first),
        _ => all(&event.first),
    };
    if fine {
        return Ok(());
    }
    Err(Error::new(Kind::NotSupported, "the source's log has only parts of its rows").with_hint("Set binlog_row_image = FULL at the source, for its sessions too, and RESYNC the table."))
}

/// The pipe that a row of the marks' table names in its first column.
pub fn mark(event: &RowsEvent<'_>) -> Option<String> {
    let nulls = event.first.iter().filter(|h| **h).count().div_ceil(8);
    let (length, rest) = event.rows.get(nulls..)?.split_first()?;
    let text = std::str::from_utf8(rest.get(..usize::from(*length))?).ok()?;
    uuid::Uuid::parse_str(text).ok().map(|u| u.to_string())
}
