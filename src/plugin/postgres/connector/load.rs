//! Chunks of a snapshot: COPY straight into the table where its types allow, else, or where rows may be there already, through a temporary
//! table. What arrives as COPY bytes goes on as such.

use super::super::client::qualified;
use super::encode::{COPY_HEADER, COPY_TRAILER, Lost, tuples};
use super::pipeline::{Effect, StepError};
use super::shape::{From, Shape};
use super::writer::PgWriter;
use crate::data::{Payload, TableId, TableVersion};
use crate::error::{Error, Result};
use crate::plugin::{Mark, MarkKind, TargetTable};
use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::SinkExt;
use std::pin::Pin;
use std::sync::Arc;
use tokio_postgres::CopyInSink;

/// Rows encoded at once.
const ROWS_AT_ONCE: usize = 256;
/// Bytes sent at once.
const COPY_BYTES: usize = 256 * 1024;

/// Where the rows of a chunk go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Into the table.
    Straight,
    /// Into a temporary table of the target's types.
    StagedDirect,
    /// Into a temporary table of wire types.
    Staged,
}

/// A chunk on its way.
pub struct Load {
    /// The table's quoted name.
    pub quoted: String,
    shape: Arc<Shape>,
    way: Way,
    wire: bool,
    upsert: bool,
    rows: u64,
    /// The keys of the rows sent, by which an error's line of the COPY is told; none of bytes that went on untouched.
    keys: Vec<RecordBatch>,
    sink: Pin<Box<CopyInSink<Bytes>>>,
}

/// The key of a row sent, by its line, which counts from 1.
fn key_of(keys: &[RecordBatch], table: &TableVersion, line: usize) -> Option<String> {
    let mut row = line.checked_sub(1)?;
    for batch in keys.iter().filter(|b| b.num_columns() > 0) {
        if row < batch.num_rows() {
            return Some(table.key_text(batch, row));
        }
        row -= batch.num_rows();
    }
    None
}

/// The line in `COPY orders, line 2, column v`.
fn line_of(place: &str) -> Option<usize> {
    let (_, rest) = place.rsplit_once(", line ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl PgWriter {
    /// Sends a payload on.
    pub(super) async fn load_payload(&mut self, t: &TargetTable, payload: Payload, upsert: bool) -> Result<(), StepError> {
        let wire = matches!(payload, Payload::Wire { .. });
        let same = |l: &Load| l.shape.table.id == t.table.id && l.wire == wire && l.upsert == upsert;
        if self.load.as_ref().is_some_and(|l| !same(l)) {
            self.end_load().await?;
        }
        if self.load.is_none() {
            self.start_load(t, wire, upsert).await?;
        }
        let Some(load) = self.load.as_mut() else { return Err(Error::internal("no load was started").into()) };
        load.rows += payload.rows();
        let about = |e: tokio_postgres::Error| StepError::of("could not copy rows to the target", e);
        match payload {
            Payload::Wire { bytes, .. } => {
                self.bytes += bytes.len() as u64;
                load.sink.send(bytes).await.map_err(about)?;
            }
            Payload::Arrow(batch) => {
                load.keys.push(batch.project(&load.shape.table.key).map_err(Error::from)?);
                let mut lost = Lost::new();
                let mut start = 0;
                while start < batch.num_rows() {
                    let mut out = Vec::with_capacity(COPY_BYTES + COPY_BYTES / 4);
                    {
                        let cells = load.shape.cells(&batch, load.way != Way::Staged)?;
                        while start < batch.num_rows() && out.len() < COPY_BYTES {
                            let end = (start + ROWS_AT_ONCE).min(batch.num_rows());
                            tuples(&cells, start..end, &mut out, &mut lost).map_err(|e| load.shape.impossible(&batch, &e))?;
                            start = end;
                        }
                    }
                    self.bytes += out.len() as u64;
                    load.sink.send(Bytes::from(out)).await.map_err(about)?;
                }
                let shape = load.shape.clone();
                shape.note_lost(&batch, &lost, self.lossy(t.table.id));
            }
        }
        Ok(())
    }

    async fn start_load(&mut self, t: &TargetTable, wire: bool, upsert: bool) -> Result<(), StepError> {
        let mut shape = self.shape(t, &t.table).await?;
        if upsert && shape.key.is_empty() {
            let e = Error::internal("rows without a key can't be laid over others").for_table(t.table.name.to_string());
            return Err(e.into());
        }
        if upsert && !shape.arbiter {
            self.finish_table(&shape.quoted, t.table.id, &t.table.name.to_string()).await?;
            shape = self.shape(t, &t.table).await?;
        }
        let way = match (upsert, wire || shape.is_direct()) {
            (false, true) => Way::Straight,
            (true, true) => Way::StagedDirect,
            (_, false) => Way::Staged,
        };
        self.begin();
        if way != Way::Straight {
            let direct = way == Way::StagedDirect;
            self.stage_table(&shape.load_stage(direct), shape.create_load_stage(direct)).await?;
        }
        let sql = match way {
            Way::Straight => shape.copy_direct(),
            other => format!("COPY {} FROM STDIN (FORMAT binary)", shape.load_stage(other == Way::StagedDirect)),
        };
        let subject = Some(self.subject(t.table.id));
        let statement = self.statement_for(&sql, &[], subject).await?;
        self.drain().await?;
        let about = |e: tokio_postgres::Error| StepError { subject, ..StepError::of("could not copy rows to the target", e) };
        let mut sink = Box::pin(self.session.copy_in::<_, Bytes>(&statement).await.map_err(about)?);
        sink.send(Bytes::from_static(COPY_HEADER)).await.map_err(about)?;
        self.load = Some(Load { quoted: qualified(&self.place(t))?, shape, way, wire, upsert, rows: 0, keys: Vec::new(), sink });
        Ok(())
    }

    /// Ends the COPY and moves staged rows on.
    async fn end_load(&mut self) -> Result<(), StepError> {
        let Some(mut load) = self.load.take() else { return Ok(()) };
        let id = load.shape.table.id;
        let (keys, table) = (std::mem::take(&mut load.keys), load.shape.table.clone());
        let named = |mut e: StepError| {
            e.error = e.error.for_table(table.name.to_string());
            e
        };
        let about = |e: tokio_postgres::Error| {
            let place = e.as_db_error().and_then(|d| d.where_()).map(str::to_string);
            let mut e = StepError::of("could not copy rows to the target", e);
            if let Some(place) = place {
                let key = line_of(&place).and_then(|line| key_of(&keys, &table, line)).map(|key| format!("\n{key} of table {}.", table.name));
                e.error = e.error.with_detail(place + key.as_deref().unwrap_or_default());
            }
            if e.is_data() { named(e) } else { e }
        };
        load.sink.send(Bytes::from_static(COPY_TRAILER)).await.map_err(about)?;
        load.sink.as_mut().finish().await.map_err(about)?;
        let direct = load.way == Way::StagedDirect;
        let subject = self.subject(id);
        match (load.way, load.upsert) {
            (Way::Straight, _) => self.counts(id).inserts += load.rows,
            (_, false) => {
                self.counts(id).inserts += load.rows;
                self.queue(load.shape.insert(From::Load { direct }), &[], Vec::new(), Effect::None, subject).await?;
            }
            (_, true) if load.shape.arbiter => self.queue(load.shape.upsert(From::Load { direct }, true), &[], Vec::new(), Effect::Upserted, subject).await?,
            (_, true) => {
                self.counts(id).updates += load.rows;
                self.queue(load.shape.delete_load(direct), &[], Vec::new(), Effect::None, subject).await?;
                self.queue(load.shape.insert(From::Load { direct }), &[], Vec::new(), Effect::None, subject).await?;
            }
        }
        let shape = load.shape.clone();
        self.drain().await.map_err(|mut e| {
            e.error = if e.is_data() { e.error.for_table(shape.table.name.to_string()) } else { e.error };
            e
        })
    }

    /// Before a flush: the chunk's rows are all in.
    pub(super) async fn finish_load(&mut self, mark: &Mark) -> Result<(), StepError> {
        let loaded: Option<(TableId, String)> = self.load.as_ref().map(|l| (l.shape.table.id, l.quoted.clone()));
        if let (MarkKind::Chunk { table, .. }, Some((id, _))) = (&mark.kind, &loaded)
            && table != id
        {
            return Err(Error::internal("rows of another table than the mark's").into());
        }
        self.end_load().await?;
        self.loaded = loaded.map(|(_, quoted)| quoted);
        Ok(())
    }
}
