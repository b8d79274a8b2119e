//! DECLARE, FETCH, MOVE and CLOSE. A plain cursor keeps no rows and goes forward; with SCROLL it keeps them, within a bound, and goes
//! anywhere.

use super::rows::Batches;
use crate::error::{Error, Kind, Result};
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::SendableRecordBatchStream;
use standpipe_grammar::ast::session::FetchDirection;
use std::collections::{BTreeMap, VecDeque};

/// A cursor.
pub struct Cursor {
    /// Columns.
    pub schema: SchemaRef,
    /// Rows are sent in binary.
    pub binary: bool,
    hold: bool,
    scroll: bool,
    batches: Option<Batches>,
    /// Rows that are there: those from `dropped` on.
    kept: VecDeque<RecordBatch>,
    dropped: u64,
    held: u64,
    memory: usize,
    most_memory: usize,
    /// Where it stands: 0 before the first row, n on the n-th, one more than there are after the last.
    at: u64,
}

/// How a cursor is declared.
pub struct Options {
    /// WITH HOLD
    pub hold: bool,
    /// SCROLL
    pub scroll: bool,
    /// BINARY
    pub binary: bool,
    /// `cursor.scroll-memory`
    pub memory: usize,
}

impl Cursor {
    /// A cursor before its first row.
    pub fn new(schema: SchemaRef, stream: SendableRecordBatchStream, options: Options) -> Cursor {
        let Options { hold, scroll, binary, memory } = options;
        Cursor { schema, binary, hold, scroll, batches: Some(Batches::of(stream)), kept: VecDeque::new(), dropped: 0, held: 0, memory: 0, most_memory: memory, at: 0 }
    }

    fn there(&self) -> u64 {
        self.dropped + self.held
    }

    /// Pulls until `rows` rows are there or the result ends.
    async fn reach(&mut self, rows: u64) -> Result<()> {
        while self.there() < rows {
            let Some(batches) = &mut self.batches else { break };
            match batches.next().await? {
                Some(batch) => {
                    self.held += batch.num_rows() as u64;
                    self.memory += batch.get_array_memory_size();
                    self.kept.push_back(batch);
                    if self.scroll && self.memory > self.most_memory {
                        let e = Error::new(Kind::OutOfMemory, "a scrollable cursor has more rows than it may keep");
                        return Err(e.with_hint("Declare it NO SCROLL, or raise cursor.scroll-memory."));
                    }
                }
                None => self.batches = None,
            }
        }
        Ok(())
    }

    /// Lets go of batches that a forward cursor has passed.
    fn forget(&mut self) {
        while !self.scroll && self.kept.front().is_some_and(|b| self.dropped + b.num_rows() as u64 + 1 <= self.at) {
            if let Some(batch) = self.kept.pop_front() {
                self.dropped += batch.num_rows() as u64;
                self.held -= batch.num_rows() as u64;
                self.memory = self.memory.saturating_sub(batch.get_array_memory_size());
            }
        }
    }

    /// Rows `first..=last`, counted from 1, that are there.
    fn slice(&self, first: u64, last: u64) -> Vec<RecordBatch> {
        let mut out = Vec::new();
        let mut start = self.dropped + 1;
        for batch in &self.kept {
            let end = start + batch.num_rows() as u64 - 1;
            let (from, to) = (first.max(start), last.min(end));
            if batch.num_rows() > 0 && from <= to {
                out.push(batch.slice((from - start) as usize, (to - from + 1) as usize));
            }
            start = end + 1;
        }
        out
    }

    /// Goes somewhere and gives the rows on the way, in its order. Errors: 55000 for going back without SCROLL.
    pub async fn go(&mut self, direction: FetchDirection) -> Result<Vec<RecordBatch>> {
        use FetchDirection as D;
        match direction {
            D::Forward(n) if n < 0 => self.backward(n.unsigned_abs()).await,
            D::Backward(n) if n < 0 => self.forward(n.unsigned_abs()).await,
            D::Forward(0) | D::Backward(0) | D::Relative(0) => self.absolute(self.at).await,
            D::Forward(n) => self.forward(n.unsigned_abs()).await,
            D::Backward(n) => self.backward(n.unsigned_abs()).await,
            D::ForwardAll => self.forward(u64::MAX).await,
            D::BackwardAll => self.backward(u64::MAX).await,
            D::First => self.absolute(1).await,
            D::Relative(n) => self.absolute(self.at.saturating_add_signed(n)).await,
            D::Absolute(n) if n >= 0 => self.absolute(n.unsigned_abs()).await,
            D::Absolute(n) => self.from_end(n.unsigned_abs()).await,
            D::Last => self.from_end(1).await,
        }
    }

    async fn forward(&mut self, count: u64) -> Result<Vec<RecordBatch>> {
        let last = self.at.saturating_add(count);
        self.reach(last).await?;
        let rows = self.slice(self.at + 1, last);
        self.at = if last <= self.there() { last } else { self.there() + 1 };
        self.forget();
        Ok(rows)
    }

    async fn backward(&mut self, count: u64) -> Result<Vec<RecordBatch>> {
        self.need_scroll()?;
        let last = self.at.saturating_sub(1);
        let first = self.at.saturating_sub(count).max(1);
        let rows = if last >= first { self.slice(first, last) } else { Vec::new() };
        self.at = self.at.saturating_sub(count);
        let all = concat_batches(&self.schema, &rows)?;
        let order = UInt32Array::from_iter_values((0..u32::try_from(all.num_rows()).unwrap_or(u32::MAX)).rev());
        Ok(vec![take_record_batch(&all, &order)?])
    }

    async fn absolute(&mut self, row: u64) -> Result<Vec<RecordBatch>> {
        if row < self.at {
            self.need_scroll()?;
        }
        self.reach(row).await?;
        let rows = if row > 0 { self.slice(row, row) } else { Vec::new() };
        self.at = row.min(self.there() + 1);
        self.forget();
        Ok(rows)
    }

    async fn from_end(&mut self, back: u64) -> Result<Vec<RecordBatch>> {
        self.need_scroll()?;
        self.reach(u64::MAX).await?;
        match (self.there() + 1).checked_sub(back).filter(|row| *row > 0) {
            Some(row) => self.absolute(row).await,
            None => self.absolute(0).await,
        }
    }

    fn need_scroll(&self) -> Result<()> {
        if self.scroll {
            return Ok(());
        }
        let e = Error::new(Kind::WrongPhase, "cursor can only scan forward");
        Err(e.with_hint("Declare it with SCROLL option to enable backward scan."))
    }
}

/// A session's cursors by name.
#[derive(Default)]
pub struct Cursors {
    open: BTreeMap<String, Entry>,
}

struct Entry {
    cursor: Cursor,
    /// Declared in the block that is open now.
    of_this_block: bool,
}

impl Cursors {
    /// Adds one. Errors: 42P03 for a name that is taken.
    pub fn declare(&mut self, name: &str, cursor: Cursor, in_block: bool) -> Result<()> {
        if self.open.contains_key(name) {
            return Err(Error::new(Kind::DuplicateCursor, format!("cursor \"{name}\" already exists")));
        }
        self.open.insert(name.to_string(), Entry { cursor, of_this_block: in_block });
        Ok(())
    }
    /// One by name. Errors: 34000.
    pub fn get(&mut self, name: &str) -> Result<&mut Cursor> {
        self.open.get_mut(name).map(|e| &mut e.cursor).ok_or_else(|| missing(name))
    }
    /// Columns of one.
    pub fn schema(&self, name: &str) -> Result<SchemaRef> {
        self.open.get(name).map(|e| e.cursor.schema.clone()).ok_or_else(|| missing(name))
    }
    /// CLOSE; None: all. Errors: 34000.
    pub fn close(&mut self, name: Option<&str>) -> Result<()> {
        match name {
            None => self.open.clear(),
            Some(name) => drop(self.open.remove(name).ok_or_else(|| missing(name))?),
        }
        Ok(())
    }
    /// A block ends: well, then those WITH HOLD stay; badly, then those of this block go.
    pub fn block_ended(&mut self, well: bool) {
        self.open.retain(|_, e| e.cursor.hold && (well || !e.of_this_block));
        self.open.values_mut().for_each(|e| e.of_this_block = false);
    }
}

fn missing(name: &str) -> Error {
    Error::new(Kind::UndefinedCursor, format!("cursor \"{name}\" does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int32Array};
    use arrow::datatypes::{DataType, Field, Int32Type, Schema};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use std::sync::Arc;

    fn cursor(scroll: bool) -> Cursor {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
        let part = |v: Vec<i32>| RecordBatch::try_new(schema.clone(), vec![Arc::new(Int32Array::from(v))]).map_err(Into::into);
        let batches = vec![part(vec![1, 2, 3]), part(vec![]), part(vec![4, 5])];
        let stream = Box::pin(RecordBatchStreamAdapter::new(schema.clone(), futures::stream::iter(batches)));
        Cursor::new(schema, stream, Options { hold: false, scroll, binary: false, memory: 1 << 20 })
    }

    async fn go(c: &mut Cursor, direction: FetchDirection) -> Vec<i32> {
        let batches = c.go(direction).await.expect("it goes");
        batches.iter().flat_map(|b| b.column(0).as_primitive::<Int32Type>().values().to_vec()).collect()
    }

    #[tokio::test]
    async fn a_scrollable_cursor_goes_as_postgresqls_does() {
        use FetchDirection as D;
        let mut c = cursor(true);
        assert_eq!(go(&mut c, D::Forward(2)).await, [1, 2]);
        assert_eq!(go(&mut c, D::Forward(0)).await, [2]);
        assert_eq!(go(&mut c, D::Backward(1)).await, [1]);
        assert_eq!(go(&mut c, D::Absolute(4)).await, [4]);
        assert_eq!(go(&mut c, D::Relative(-2)).await, [2]);
        assert_eq!(go(&mut c, D::ForwardAll).await, [3, 4, 5]);
        assert_eq!(go(&mut c, D::Forward(1)).await, [] as [i32; 0]);
        assert_eq!(go(&mut c, D::BackwardAll).await, [5, 4, 3, 2, 1]);
        assert_eq!(go(&mut c, D::Last).await, [5]);
        assert_eq!(go(&mut c, D::Absolute(-2)).await, [4]);
        assert_eq!(go(&mut c, D::First).await, [1]);
        assert_eq!(go(&mut c, D::Absolute(9)).await, [] as [i32; 0]);
        assert_eq!(go(&mut c, D::Backward(1)).await, [5]);
    }

    #[tokio::test]
    async fn a_plain_cursor_goes_forward_and_keeps_nothing() {
        use FetchDirection as D;
        let mut c = cursor(false);
        assert_eq!(go(&mut c, D::Forward(4)).await, [1, 2, 3, 4]);
        assert_eq!(c.kept.len(), 1, "the first batch is gone");
        assert_eq!(c.go(D::Backward(1)).await.expect_err("no way back").sqlstate(), "55000");
        assert_eq!(go(&mut c, D::ForwardAll).await, [5]);
    }
}
