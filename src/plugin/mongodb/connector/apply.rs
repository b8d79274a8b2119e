//! Rows into collections, by set: deletes, then documents that are to be there, in commands of bounded size.

use super::super::raw::{self, Builder, Value, tag};
use super::encode::{Shape, filter_of, has, laid_over};
use super::typed::Typed;
use super::writer::{MongoWriter, affected};
use crate::data::{Content, Merged, Op, Part, Payload, Rows, TableName, TableVersion, collapse};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::{DELETED_AT, OnDelete};
use crate::plugin::{Input, TargetTable};
use arrow::array::RecordBatch;
use mongodb::bson::Document;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes and writes of one command: below what the server takes (16 MB and a little for the command itself, and 100,000; MongoDB Limits). One write alone
/// may be more, up to what a document may be.
const COMMAND_BYTES: usize = 8 << 20;
const COMMAND_WRITES: usize = 20_000;
/// Bytes of a piece of a chunk: what one transaction writes in a snapshot.
const PIECE_BYTES: usize = 16 << 20;

/// A command in the making: a name, a collection, and an array of writes.
struct Command {
    name: &'static str,
    array: &'static str,
    writes: Vec<u8>,
    count: usize,
}

impl Command {
    fn new(name: &'static str, array: &'static str) -> Command {
        Command { name, array, writes: vec![0; 4], count: 0 }
    }
    /// One more write, a document.
    fn push(&mut self, write: &[u8]) {
        self.writes.push(tag::DOCUMENT);
        self.writes.extend_from_slice(itoa::Buffer::new().format(self.count).as_bytes());
        self.writes.push(0);
        self.writes.extend_from_slice(write);
        self.count += 1;
    }
    /// There is no room for a write of so many bytes. An empty command has room for any.
    fn is_full(&self, more: usize) -> bool {
        self.count > 0 && (self.writes.len() + more > COMMAND_BYTES || self.count >= COMMAND_WRITES)
    }
    /// The command; None: there is nothing to do. Empty again.
    fn take(&mut self, collection: &str) -> Option<Vec<u8>> {
        if self.count == 0 {
            return None;
        }
        let mut writes = std::mem::replace(&mut self.writes, vec![0; 4]);
        self.count = 0;
        writes.push(0);
        let length = i32::try_from(writes.len()).unwrap_or(i32::MAX);
        writes[..4].copy_from_slice(&length.to_le_bytes());
        let mut out = Builder::default();
        out.push_str(self.name, collection);
        out.push(self.array, Value { tag: tag::ARRAY, bytes: &writes });
        Some(out.finish())
    }
}

/// In which order rows are written: those that are not there before, among themselves, from the last to the first. A server that looks for a missing key stops at
/// the next one that it may see, and steps over each that another transaction has not committed, or took back: with rising keys it would step over all of
/// those for every row, while backwards the next one is the row written just before.
fn order(ops: &[Op]) -> impl Iterator<Item = usize> {
    let runs = ops.chunk_by(|a, b| *a == Op::Insert && *b == Op::Insert);
    runs.scan(0, |at, run| Some(std::mem::replace(at, *at + run.len())..*at)).flat_map(|run| run.rev())
}

const TRUE: Value<'static> = Value { tag: tag::BOOL, bytes: &[1] };

fn update(filter: &[u8], change: &[u8], upsert: bool) -> Vec<u8> {
    let mut out = Builder::default();
    out.push("q", Value { tag: tag::DOCUMENT, bytes: filter });
    out.push("u", Value { tag: tag::DOCUMENT, bytes: change });
    if upsert {
        out.push("upsert", TRUE);
    }
    out.finish()
}

fn delete(filter: &[u8]) -> Vec<u8> {
    let mut out = Builder::default();
    out.push("q", Value { tag: tag::DOCUMENT, bytes: filter });
    out.push("limit", Value { tag: tag::INT32, bytes: &1i32.to_le_bytes() });
    out.finish()
}

fn set(fields: &[u8]) -> Vec<u8> {
    let mut out = Builder::default();
    out.push("$set", Value { tag: tag::DOCUMENT, bytes: fields });
    out.finish()
}

/// A run of rows of one table, or a barrier.
enum Work {
    Rows(Arc<TargetTable>, Arc<TableVersion>, Vec<Rows>),
    Barrier(Input),
}

const WHAT: &str = "could not write documents at the target";

impl MongoWriter {
    fn works(&self) -> Vec<Work> {
        let (mut done, mut open): (Vec<Work>, Vec<Work>) = (Vec::new(), Vec::new());
        for input in &self.pending {
            let Input::Change { table, part: Part { table: version, content: Content::Rows(rows) } } = input else {
                done.append(&mut open);
                done.push(Work::Barrier(input.clone()));
                continue;
            };
            let same = |w: &Work| matches!(w, Work::Rows(t, v, _) if t.place == table.place && t.table.id == table.table.id && (Arc::ptr_eq(v, version) || v.columns == version.columns));
            match open.iter().position(same) {
                Some(i) => {
                    if let Some(Work::Rows(_, _, all)) = open.get_mut(i) {
                        all.push(rows.clone());
                    }
                }
                None => {
                    // another structure of the same table: what came before goes first
                    if open.iter().any(|w| matches!(w, Work::Rows(t, ..) if t.table.id == table.table.id)) {
                        done.append(&mut open);
                    }
                    open.push(Work::Rows(table.clone(), version.clone(), vec![rows.clone()]));
                }
            }
        }
        done.append(&mut open);
        done
    }

    /// Applies what is pending, in the flush's transaction as far as one can hold it.
    pub(super) async fn apply_pending(&mut self) -> Result<()> {
        for work in self.works() {
            match work {
                Work::Rows(t, version, parts) => self.apply_set(&t, &version, parts).await.map_err(|e| about(e, &version))?,
                Work::Barrier(input) => self.barrier(input).await?,
            }
        }
        Ok(())
    }

    async fn apply_set(&mut self, t: &TargetTable, version: &Arc<TableVersion>, parts: Vec<Rows>) -> Result<()> {
        let name = self.place(t);
        let mut shape = self.shape(t.place, version);
        let policy = self.settings.policies.on_delete;
        if policy == OnDelete::Delete {
            let merged = collapse(version, &parts)?;
            let bases = self.bases(&name, &mut shape, &merged).await?;
            self.deletes(&name, &mut shape, &merged.deletes).await?;
            self.upserts(&name, &mut shape, &merged, bases).await?;
        } else {
            let kept = parts.iter().map(Rows::without_deletes).collect::<Result<Vec<_>>>()?;
            let merged = collapse(version, &kept)?;
            let bases = self.bases(&name, &mut shape, &merged).await?;
            self.upserts(&name, &mut shape, &merged, bases).await?;
            if policy == OnDelete::Soft {
                let all = collapse(version, &parts)?;
                self.soft_deletes(&name, &mut shape, &all.deletes).await?;
                self.soft_deletes(&name, &mut shape, &all.vanished).await?;
            }
        }
        self.keep_shape(t.place, shape);
        Ok(())
    }

    async fn send(&mut self, name: &TableName, command: Option<Vec<u8>>) -> Result<Document> {
        let Some(command) = command else { return Ok(Document::new()) };
        self.begin().await?;
        self.flushed.bytes += command.len() as u64;
        self.held += command.len() as u64;
        self.now(&name.schema, WHAT, command).await
    }

    async fn deletes(&mut self, name: &TableName, shape: &mut Shape, keys: &RecordBatch) -> Result<()> {
        let columns = shape.key_columns(keys)?;
        let mut command = Command::new("delete", "deletes");
        for row in 0..keys.num_rows() {
            let write = delete(&shape.filter(&columns, row)?);
            if command.is_full(write.len()) {
                self.send_deletes(name, shape, &mut command).await?;
            }
            command.push(&write);
        }
        self.send_deletes(name, shape, &mut command).await
    }

    /// Deletes, or updates that stand for them.
    async fn send_deletes(&mut self, name: &TableName, shape: &Shape, command: &mut Command) -> Result<()> {
        let answer = self.send(name, command.take(&name.name)).await?;
        self.counts(shape.table.id).deletes += affected(&answer);
        Ok(())
    }

    async fn soft_deletes(&mut self, name: &TableName, shape: &mut Shape, keys: &RecordBatch) -> Result<()> {
        let columns = shape.key_columns(keys)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(0));
        let mut field = Builder::default();
        field.push(DELETED_AT, Value { tag: tag::DATE, bytes: &now.to_le_bytes() });
        let change = set(&field.finish());
        let mut command = Command::new("update", "updates");
        for row in 0..keys.num_rows() {
            let write = update(&shape.filter(&columns, row)?, &change, false);
            if command.is_full(write.len()) {
                self.send_deletes(name, shape, &mut command).await?;
            }
            command.push(&write);
        }
        self.send_deletes(name, shape, &mut command).await
    }

    /// The documents that upserts with another base key inherit from, as they are before anything of this flush.
    async fn bases(&mut self, name: &TableName, shape: &mut Shape, merged: &Merged) -> Result<Vec<Option<Vec<u8>>>> {
        let Some(base) = &merged.base_keys else { return Ok(Vec::new()) };
        let columns = shape.key_columns(&base.keys)?;
        let mut out = vec![None; merged.upserts.num_rows()];
        for row in base.set.set_indices() {
            let filter = shape.filter(&columns, row)?;
            let mut find = Builder::default();
            find.push_str("find", &name.name);
            find.push("filter", Value { tag: tag::DOCUMENT, bytes: &filter });
            find.push("limit", Value { tag: tag::INT32, bytes: &1i32.to_le_bytes() });
            let answer = self.now(&name.schema, WHAT, find.finish()).await?;
            let found = answer.get_document("cursor").and_then(|c| c.get_array("firstBatch")).ok().and_then(|b| b.first()?.as_document().cloned());
            if let Some(found) = found {
                let bytes = mongodb::bson::RawDocumentBuf::try_from(&found).map_err(|e| Error::new(Kind::Protocol, WHAT).with_detail(e.to_string()))?;
                out[row] = Some(bytes.into_bytes());
            }
        }
        Ok(out)
    }

    async fn upserts(&mut self, name: &TableName, shape: &mut Shape, merged: &Merged, bases: Vec<Option<Vec<u8>>>) -> Result<()> {
        let (batch, rows) = (&merged.upserts, merged.upserts.num_rows());
        let columns = shape.columns(batch)?;
        if shape.table.key.is_empty() {
            return self.inserts(name, shape, &columns, rows).await;
        }
        let partial = merged.partial();
        let mut command = Command::new("update", "updates");
        for row in order(&merged.ops) {
            let there = |c: usize| has(merged.present.as_ref(), c, row);
            let write = if partial.as_ref().is_some_and(|p| p.value(row)) {
                match (merged.base_keys.as_ref().is_some_and(|b| b.set.value(row)), bases.get(row).and_then(Option::as_ref)) {
                    // nothing to inherit from: nothing to write
                    (true, None) => continue,
                    (true, Some(base)) => {
                        let document = laid_over(base, &shape.document(&columns, row, there)?)?;
                        update(&filter_of(&document)?, &document, true)
                    }
                    (false, _) => {
                        let document = shape.document(&columns, row, |_| false)?;
                        let fields = shape.fields(&columns, row, there)?;
                        // servers before 5.0 take no empty $set
                        if raw::elements(&fields)?.next().is_none() {
                            continue;
                        }
                        update(&filter_of(&document)?, &set(&fields), false)
                    }
                }
            } else {
                let document = shape.document(&columns, row, |_| true)?;
                update(&filter_of(&document)?, &document, true)
            };
            if command.is_full(write.len()) {
                self.send_upserts(name, shape, &mut command).await?;
            }
            command.push(&write);
        }
        self.send_upserts(name, shape, &mut command).await
    }

    async fn send_upserts(&mut self, name: &TableName, shape: &Shape, command: &mut Command) -> Result<()> {
        let answer = self.send(name, command.take(&name.name)).await?;
        let inserted = answer.get_array("upserted").map_or(0, Vec::len) as u64;
        let counts = self.counts(shape.table.id);
        counts.inserts += inserted;
        counts.updates += affected(&answer).saturating_sub(inserted);
        Ok(())
    }

    async fn inserts(&mut self, name: &TableName, shape: &mut Shape, columns: &[Typed<'_>], rows: usize) -> Result<()> {
        let mut command = Command::new("insert", "documents");
        for row in 0..rows {
            let mut document = shape.document(columns, row, |_| true)?;
            if raw::get(&document, "_id")?.is_none() {
                document = with_new_id(&document)?;
            }
            if command.is_full(document.len()) {
                self.send_inserts(name, shape, &mut command).await?;
            }
            command.push(&document);
        }
        self.send_inserts(name, shape, &mut command).await?;
        if rows > 0 {
            self.keyless = Some(shape.table.name.clone());
        }
        Ok(())
    }

    async fn send_inserts(&mut self, name: &TableName, shape: &Shape, command: &mut Command) -> Result<()> {
        let answer = self.send(name, command.take(&name.name)).await?;
        self.counts(shape.table.id).inserts += affected(&answer);
        Ok(())
    }

    /// Rows of a chunk, in pieces that are each durable.
    pub(super) async fn load(&mut self, t: &TargetTable, payload: Payload, upsert: bool) -> Result<()> {
        let Payload::Arrow(batch) = payload else { return Err(Error::internal("bytes of another system's wire arrived")) };
        let name = self.place(t);
        let mut shape = self.shape(t.place, &t.table);
        let loaded = self.load_rows(&name, &mut shape, &batch, upsert).await;
        self.keep_shape(t.place, shape);
        loaded.map_err(|e| about(e, &t.table))
    }

    async fn load_rows(&mut self, name: &TableName, shape: &mut Shape, batch: &RecordBatch, upsert: bool) -> Result<()> {
        let (columns, rows) = (shape.columns(batch)?, batch.num_rows());
        let upsert = upsert && !shape.table.key.is_empty();
        let mut command = if upsert { Command::new("update", "updates") } else { Command::new("insert", "documents") };
        for n in 0..rows {
            // backwards: see `order`
            let row = if upsert { rows - 1 - n } else { n };
            let document = shape.document(&columns, row, |_| true)?;
            let write = match upsert {
                true => update(&filter_of(&document)?, &document, true),
                false if shape.table.key.is_empty() => with_new_id(&document)?,
                false => document,
            };
            if command.is_full(write.len()) {
                self.send_loaded(name, shape, &mut command).await?;
            }
            command.push(&write);
        }
        self.send_loaded(name, shape, &mut command).await
    }

    async fn send_loaded(&mut self, name: &TableName, shape: &Shape, command: &mut Command) -> Result<()> {
        // nothing pending has these rows: a mark may not be written without the transaction that has them
        self.sent |= command.count > 0;
        self.send_inserts(name, shape, command).await?;
        // rows without a key would be there twice after a second attempt: their chunk is one transaction
        if !shape.table.key.is_empty() && self.flushed.bytes.saturating_sub(self.piece_began()) >= PIECE_BYTES as u64 {
            self.note_chunk().await?;
            self.commit_piece().await?;
            self.begin_piece();
        }
        Ok(())
    }
}

/// A document of a table without a key gets one of its own.
fn with_new_id(document: &[u8]) -> Result<Vec<u8>> {
    let mut out = Builder::default();
    out.push("_id", Value { tag: tag::OBJECT_ID, bytes: &mongodb::bson::oid::ObjectId::new().bytes() });
    for element in raw::elements(document)? {
        let element = element?;
        out.push(raw::utf8(element.name)?, element.value);
    }
    Ok(out.finish())
}

/// An error of the data is about its table.
fn about(e: Error, table: &TableVersion) -> Error {
    match e.kind() {
        Kind::Constraint | Kind::Refused | Kind::NoRight | Kind::Lossy | Kind::BadText | Kind::NotSupported if e.table().is_none() => e.for_table(table.name.to_string()),
        _ => e,
    }
}

