//! A result on its way to the client: pulled batch by batch, encoded, sent by bytes; it stops at a row limit and goes on later.

use super::encode::{Encoder, Style};
use super::wire::{Fail, Watch, Wire};
use crate::error::{Error, Kind, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Batches that are computed ahead of the one being sent.
const AHEAD: usize = 1;

/// A result's batches, computed by a task of their own: a step of a query that computes for long then holds up neither a cancel nor the
/// end of the session, and the next batch is made while one is sent. Dropping it ends the query.
pub struct Batches {
    /// The end is a message, too: a task that panics says nothing, and that must not look like the end of the rows.
    coming: mpsc::Receiver<Result<Option<RecordBatch>>>,
    ended: bool,
    _task: AbortOnDropHandle<()>,
}

impl Batches {
    /// Begins to compute.
    pub fn of(mut stream: SendableRecordBatchStream) -> Batches {
        let (send, coming) = mpsc::channel(AHEAD);
        let task = tokio::spawn(async move {
            loop {
                let next = stream.next().await.transpose().map_err(crate::query::error::map);
                let last = !matches!(next, Ok(Some(_)));
                if send.send(next).await.is_err() || last {
                    break;
                }
            }
        });
        Batches { coming, ended: false, _task: AbortOnDropHandle::new(task) }
    }
    /// The next batch; none at the end.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.ended {
            return Ok(None);
        }
        let next = self.coming.recv().await.unwrap_or_else(|| Err(Error::internal("a query broke off").with_detail("Its task ended without a word.")));
        self.ended = !matches!(next, Ok(Some(_)));
        next
    }
}

/// A result that is being sent.
pub struct Rows {
    /// How rows are written.
    pub encoder: Encoder,
    /// Command tag; of `SELECT` the count is appended.
    pub tag: String,
    batches: Option<Batches>,
    current: Option<(RecordBatch, usize)>,
    sent: u64,
    limit: u64,
}

impl Rows {
    /// A result that has not begun. `codes` are Bind's result formats, `limit` is `max_result_rows` (0: none).
    pub fn new(schema: SchemaRef, stream: SendableRecordBatchStream, tag: String, codes: &[i16], style: Style, limit: u64) -> Result<Rows> {
        Ok(Rows { encoder: Encoder::new(schema, codes, style)?, tag, batches: Some(Batches::of(stream)), current: None, sent: 0, limit })
    }

    /// Sends rows until the result ends (then true) or `most` are sent; 0 is no limit. Gives the number of rows sent now.
    pub async fn pump(&mut self, wire: &mut Wire, watch: &Watch, most: u64) -> Result<(u64, bool), Fail> {
        let mut now = 0;
        loop {
            let Some((batch, mut row)) = self.next(wire, watch).await? else { return Ok((now, true)) };
            let rows = batch.num_rows() as u64 - row as u64;
            self.check_limit(rows, most.saturating_sub(now))?;
            let end = if most > 0 { (row as u64 + rows.min(most - now)) as usize } else { batch.num_rows() };
            let writers = self.encoder.writers(&batch)?;
            while row < end {
                let next = self.encoder.data_rows(&batch, &writers, row, end, wire.bounds.send, &mut wire.out)?;
                now += (next - row) as u64;
                self.sent += (next - row) as u64;
                row = next;
                if wire.out.len() >= wire.bounds.send {
                    wire.flush().await?;
                    watch.check()?;
                }
            }
            if row < batch.num_rows() {
                self.current = Some((batch, row));
            }
            if most > 0 && now >= most {
                return Ok((now, false));
            }
        }
    }

    /// The batch to go on with and the first row of it that is not sent; none at the end. The stream is let go of there.
    async fn next(&mut self, wire: &mut Wire, watch: &Watch) -> Result<Option<(RecordBatch, usize)>, Fail> {
        if let Some(current) = self.current.take() {
            return Ok(Some(current));
        }
        while let Some(batches) = &mut self.batches {
            match wire.watch(watch, batches.next()).await? {
                Some(batch) if batch.num_rows() > 0 => return Ok(Some((batch, 0))),
                Some(_) => {}
                None => self.batches = None,
            }
        }
        Ok(None)
    }

    fn check_limit(&self, rows: u64, most: u64) -> Result<()> {
        let wanted = if most > 0 { rows.min(most) } else { rows };
        if self.limit > 0 && self.sent + wanted > self.limit {
            let e = Error::new(Kind::LimitExceeded, format!("the result has more than {} rows", self.limit));
            return Err(e.with_hint("Use LIMIT, or SET max_result_rows."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Bounds;
    use super::*;
    use crate::config::Config;
    use arrow::array::Int32Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::io::AsyncReadExt;
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, true)]))
    }

    /// Batches of the given sizes, numbered on.
    fn numbers(sizes: &[i32]) -> SendableRecordBatchStream {
        let mut from = 0;
        let batches: Vec<_> = sizes
            .iter()
            .map(|n| {
                from += n;
                Ok(RecordBatch::try_new(schema(), vec![Arc::new((from - n..from).collect::<Int32Array>())]).expect("a batch"))
            })
            .collect();
        Box::pin(RecordBatchStreamAdapter::new(schema(), futures::stream::iter(batches)))
    }

    fn rows(stream: SendableRecordBatchStream, limit: u64) -> Rows {
        Rows::new(schema(), stream, "SELECT".into(), &[], Style::of(&Config::default()), limit).expect("rows")
    }

    fn wire(room: usize) -> (Wire, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(room);
        let bounds = Bounds { message: 1 << 20, send: 64, receive: 1024, stall: Duration::ZERO };
        (Wire::new(Box::new(near), bounds, CancellationToken::new()), far)
    }

    fn watch() -> Watch {
        Watch { cancel: CancellationToken::new(), deadline: None }
    }

    /// How many DataRow messages these bytes are.
    fn counted(mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while let [b'D', a, b, c, d, ..] = bytes {
            bytes = &bytes[1 + u32::from_be_bytes([*a, *b, *c, *d]) as usize..];
            count += 1;
        }
        assert!(bytes.is_empty());
        count
    }

    #[tokio::test]
    async fn a_query_that_panics_is_no_short_result() {
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::new_empty(schema.clone());
        let stream = futures::stream::iter([false, true]).map(move |bad| if bad { panic!("a bug in a kernel") } else { Ok(batch.clone()) });
        let mut batches = Batches::of(Box::pin(RecordBatchStreamAdapter::new(schema, stream)));
        assert!(batches.next().await.expect("one batch").is_some());
        assert_eq!(batches.next().await.expect_err("broken off").sqlstate(), "XX000");
        assert!(batches.next().await.expect("over").is_none());
    }

    #[tokio::test]
    async fn a_result_stops_at_a_row_limit_and_goes_on() {
        let (mut wire, mut far) = wire(1 << 16);
        let mut rows = rows(numbers(&[3, 0, 4]), 0);
        assert_eq!(rows.pump(&mut wire, &watch(), 2).await.expect("sent"), (2, false));
        assert_eq!(rows.pump(&mut wire, &watch(), 3).await.expect("sent"), (3, false));
        assert_eq!(rows.pump(&mut wire, &watch(), 0).await.expect("sent"), (2, true));
        assert_eq!(rows.pump(&mut wire, &watch(), 5).await.expect("over"), (0, true));
        wire.flush().await.expect("flushed");
        drop(wire);
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.expect("read");
        assert_eq!(counted(&bytes), 7);
    }

    #[tokio::test]
    async fn more_rows_than_are_allowed_are_an_error() {
        let (mut wire, _far) = wire(1 << 16);
        let Err(Fail::Statement(e)) = rows(numbers(&[3, 3]), 5).pump(&mut wire, &watch(), 0).await else { panic!("not refused") };
        assert_eq!(e.sqlstate(), "54000");
        // as many as are fetched are counted, not as many as there are
        assert_eq!(rows(numbers(&[3, 3]), 5).pump(&mut wire, &watch(), 5).await.expect("sent"), (5, false));
    }

    #[tokio::test]
    async fn cancels_and_deadlines_end_a_result_that_has_begun() {
        for late in [false, true] {
            let (mut wire, mut far) = wire(1 << 16);
            let forever = futures::stream::iter([1]).chain(futures::stream::pending()).map(|_| Ok(RecordBatch::new_empty(schema())));
            let mut rows = rows(Box::pin(RecordBatchStreamAdapter::new(schema(), forever)), 0);
            let watch = Watch { deadline: late.then(|| Instant::now() + Duration::from_millis(20)), ..watch() };
            let cancel = watch.cancel.clone();
            if !late {
                tokio::spawn(async move { cancel.cancel() });
            }
            let Err(Fail::Statement(e)) = rows.pump(&mut wire, &watch, 0).await else { panic!("not ended") };
            assert_eq!((e.sqlstate(), e.message().contains("timeout")), ("57014", late));
            drop(wire);
            assert_eq!(far.read_to_end(&mut Vec::new()).await.expect("read"), 0);
        }
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_the_query() {
        let (mut wire, far) = wire(1 << 16);
        let (ended, told) = tokio::sync::oneshot::channel::<()>();
        let stream = futures::stream::once(async move {
            // held by the query as a source's connection is
            let _held = ended;
            std::future::pending::<datafusion::error::Result<RecordBatch>>().await
        });
        let mut rows = rows(Box::pin(RecordBatchStreamAdapter::new(schema(), stream)), 0);
        drop(far);
        assert!(matches!(rows.pump(&mut wire, &watch(), 0).await, Err(Fail::Connection(_))));
        drop(rows);
        assert!(tokio::time::timeout(Duration::from_secs(5), told).await.expect("let go of").is_err());
    }
}
