//! A lake in a temporary directory and short ways to write and read its table `t (id, v, n)`.

use super::super::changes::{ChangeSet, Presence};
use super::super::work::{Changes, Existing, Setup, Work};
use super::super::find::KeyCache;
use super::super::location::Location;
use super::super::schema::TableMeta;
use super::super::settings::Settings;
use super::super::state::Claim;
use super::super::table::LakeTable;
use super::super::types::LakeType;
use super::super::query;
use crate::data::Op;
use crate::error::Result;
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, new_empty_array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

pub const PIPE: Uuid = Uuid::from_u128(42);
pub type Row = (i64, String, i32);

pub fn own(r: (i64, &str, i32)) -> Row {
    (r.0, r.1.to_string(), r.2)
}

pub struct Lake {
    pub dir: tempfile::TempDir,
    pub settings: Arc<Settings>,
    pub cache: Arc<KeyCache>,
}

impl Lake {
    pub fn new() -> Lake {
        Self::with(Settings { compact_min_files: 3, ..Settings::default() })
    }

    pub fn with(settings: Settings) -> Lake {
        let cache = Arc::new(KeyCache::new(settings.key_cache_bytes));
        Lake { dir: tempfile::tempdir().expect("a temporary directory"), settings: Arc::new(settings), cache }
    }

    pub fn location(&self) -> Location {
        Location::open(self.dir.path().to_str().expect("UTF-8"), &BTreeMap::new(), self.settings.fsync).expect("a location")
    }

    pub fn table(&self, schema: &str, name: &str) -> LakeTable {
        LakeTable::new(self.location().table(schema, name).expect("a table's place"), self.settings.clone(), self.cache.clone())
    }

    /// Claimed under epoch 7, set up with seq 1.
    pub async fn fresh(&self, schema: &str, name: &str) -> LakeTable {
        let t = self.table(schema, name);
        t.claim(Claim::new(PIPE, 7)).await.expect("claim");
        t.flush(1, 0, &[setup(1)]).await.expect("set-up");
        t
    }

    /// As another process sees it.
    pub async fn reopened(&self, schema: &str, name: &str) -> LakeTable {
        let t = self.table(schema, name);
        drop(t.lock().await.expect("it opens"));
        t
    }

    /// What queries read, sorted by id.
    pub async fn read(&self, schema: &str, name: &str) -> Vec<Row> {
        self.sql(schema, name, query::At::Now, "select id, v, n from t order by id").await
    }

    pub async fn sql(&self, schema: &str, name: &str, at: query::At, sql: &str) -> Vec<Row> {
        let opened = query::open(&self.location(), schema, name, at).await.expect("it opens");
        let ctx = datafusion::prelude::SessionContext::new();
        ctx.register_table("t", opened.provider).expect("registers");
        let batches = ctx.sql(sql).await.expect("plans").collect().await.expect("runs");
        batches.iter().flat_map(rows_of).collect()
    }
}

fn rows_of(b: &RecordBatch) -> Vec<Row> {
    let text = arrow::compute::cast(b.column(1), &DataType::Utf8).expect("text");
    let (id, v, n) = (b.column(0).as_primitive::<Int64Type>(), text.as_string::<i32>(), b.column(2).as_primitive::<Int32Type>());
    (0..b.num_rows()).map(|i| (id.value(i), if v.is_null(i) { "NULL".into() } else { v.value(i).to_string() }, n.value(i))).collect()
}

impl LakeTable {
    pub async fn alive(&self) -> u64 {
        self.lock().await.expect("it opens").files.values().map(|f| f.alive()).sum()
    }
}

pub fn columns() -> Vec<(String, LakeType, String)> {
    vec![("id".into(), LakeType::Long, "int8".into()), ("v".into(), LakeType::String, "text".into()), ("n".into(), LakeType::Integer, "int4".into())]
}

/// How the tests' table is set up.
pub fn how(generation: i64) -> Setup {
    Setup { columns: columns(), key: vec!["id".into()], table_id: 16384, generation, existing: Existing::Error, create: true }
}

pub fn setup(generation: i64) -> Work {
    Work::Setup(how(generation))
}

pub fn swap(generation: i64) -> Work {
    Work::Swap(how(generation))
}

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("v", DataType::Utf8, true), Field::new("n", DataType::Int32, true)]))
}

pub fn batch(rows: &[(i64, &str, i32)]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.1))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.2))),
    ];
    RecordBatch::try_new(schema(), columns).expect("a batch")
}

pub fn rows(rows: &[(i64, &str, i32)], op: Op) -> Work {
    let set = ChangeSet {
        rows: batch(rows),
        ops: vec![op; rows.len()],
        key: vec![0],
        base_keys: None,
        present: vec![Presence::All; 3],
        deletes: vec![new_empty_array(&DataType::Int64)],
        only_there: false,
    };
    Work::Rows(Arc::new(Given(set)))
}

#[derive(Debug)]
pub struct Given(pub ChangeSet);

impl Changes for Given {
    fn for_table(&self, meta: &TableMeta) -> Result<Vec<(ChangeSet, crate::data::Lossy)>> {
        let mut set = self.0.clone();
        // Columns that were added later.
        let mut all = set.rows.columns().to_vec();
        for c in &meta.columns[all.len().min(meta.columns.len())..] {
            all.push(arrow::array::new_null_array(&c.ty.arrow(), set.rows.num_rows()));
            set.present.push(Presence::All);
        }
        set.rows = RecordBatch::try_new(meta.schema(), all)?;
        Ok(vec![(set, crate::data::Lossy::default())])
    }
}

#[derive(Default)]
pub struct Builder {
    rows: Vec<(i64, &'static str, i32)>,
    has_text: Vec<bool>,
    base: Vec<Option<i64>>,
    deletes: Vec<i64>,
}

pub fn changes() -> Builder {
    Builder::default()
}

impl Builder {
    fn row(mut self, row: (i64, &'static str, i32), has_text: bool, base: Option<i64>) -> Self {
        self.rows.push(row);
        self.has_text.push(has_text);
        self.base.push(base);
        self
    }
    pub fn upsert(self, id: i64, v: &'static str, n: i32) -> Self {
        self.row((id, v, n), true, None)
    }
    /// An update without the text column.
    pub fn partial(self, id: i64, n: i32) -> Self {
        self.row((id, "", n), false, None)
    }
    /// A change of key without the text column.
    pub fn moved(mut self, from: i64, to: i64, n: i32) -> Self {
        self.deletes.push(from);
        self.row((to, "", n), false, Some(from))
    }
    pub fn delete(mut self, id: i64) -> Self {
        self.deletes.push(id);
        self
    }
    pub fn work(self) -> Work {
        let rewritten: Vec<i64> = self.rows.iter().map(|r| r.0).collect();
        let deletes: Vec<i64> = self.deletes.into_iter().filter(|d| !rewritten.contains(d)).collect();
        let base: ArrayRef = Arc::new(Int64Array::from_iter_values(self.base.iter().map(|b| b.unwrap_or(0))));
        let set = ChangeSet {
            ops: vec![Op::Upsert; self.rows.len()],
            rows: batch(&self.rows),
            key: vec![0],
            base_keys: self.base.iter().any(Option::is_some).then(|| (vec![base], BooleanBuffer::from_iter(self.base.iter().map(Option::is_some)))),
            present: vec![Presence::All, Presence::Some(BooleanBuffer::from_iter(self.has_text.iter().copied())), Presence::All],
            deletes: vec![Arc::new(Int64Array::from(deletes))],
            only_there: false,
        };
        Work::Rows(Arc::new(Given(set)))
    }
}

/// A claim of the pipe under an epoch.
pub fn claim(epoch: i64) -> Claim {
    Claim::new(PIPE, epoch)
}
