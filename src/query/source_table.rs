//! A synced table of a source as a table of queries. Nothing is opened before the first batch is asked for; then the source is asked for the
//! table's present structure, an instant is anchored, and chunks are read by up to `query.source-readers` connections. What the source can
//! render exactly (columns, filters, a limit) is left to it. Back-pressure is a bounded channel; dropping the stream ends the reading.

use super::context::StatementContext;
use super::error::carry;
use crate::data::{Losses, Payload, TableName, TableVersion, special};
use crate::error::{Error, Kind, Result};
use crate::link::Linker;
use crate::plugin::{AnchorKind, AnchorRequest, Chunk, Open, OpenRequest, Plugin, Role, Scanner, Source, Want, registry};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result as DfResult;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream};
use futures::StreamExt;
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc::Sender;

/// Batches between a source's reader and the query: enough that both work, few enough that a slow client holds the source back.
const READ_AHEAD: usize = 2;

/// A synced table of a source.
pub struct SourceTable {
    /// The database it is in.
    pub database: String,
    /// Its structure as synced.
    pub table: Arc<TableVersion>,
    /// Filters that the source renders exactly.
    pub pushes: fn(&TableVersion, &Expr) -> bool,
    /// PostgreSQL types by column.
    pub types: Vec<Option<String>>,
    /// Those of the columns that are read from their text; see `exact`.
    pub read: Vec<Option<String>>,
    /// The columns as queries see them.
    pub shown: SchemaRef,
}

impl fmt::Debug for SourceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table.name)
    }
}

impl SourceTable {
    /// The same table with the text of these columns as it is.
    pub fn with_text(&self, columns: &BTreeSet<usize>) -> SourceTable {
        let read = super::exact::without(&self.read, columns);
        let shown = super::exact::schema(&self.table.schema, &read);
        SourceTable { database: self.database.clone(), table: self.table.clone(), pushes: self.pushes, types: self.types.clone(), read, shown }
    }
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        self.shown.clone()
    }
    fn table_type(&self) -> TableType {
        TableType::Base
    }
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let exact = |f: &Expr| pushable(f) && !super::exact::touches(f, &self.table.schema, &self.types) && (self.pushes)(&self.table, &unqualified(f));
        Ok(filters.iter().map(|f| if exact(f) { TableProviderFilterPushDown::Exact } else { TableProviderFilterPushDown::Unsupported }).collect())
    }
    async fn scan(&self, state: &dyn Session, projection: Option<&Vec<usize>>, filters: &[Expr], limit: Option<usize>) -> DfResult<Arc<dyn ExecutionPlan>> {
        let cx = StatementContext::of(state.config_options())?;
        let (plugin, request) = open_request(&cx, &self.database).map_err(carry)?;
        let pushed: Vec<Expr> = filters.iter().map(unqualified).collect();
        let columns: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.table.columns.len()).collect());
        let schema = Arc::new(self.table.schema.project(&columns)?);
        let want = Want {
            // a count needs no column, a source's reader gives at least one
            columns: Some(if columns.is_empty() { vec![self.table.key.first().copied().unwrap_or(0)] } else { columns }),
            filters: pushed,
            limit: limit.map(|l| l as u64),
            wire: None,
            payload_bytes: cx.config.size("scan.payload-bytes"),
        };
        let properties = PlanProperties::new(EquivalenceProperties::new(schema.clone()), Partitioning::UnknownPartitioning(1), EmissionType::Incremental, Boundedness::Bounded);
        let scan = Arc::new(SourceScan {
            plugin,
            request,
            database: self.database.clone(),
            table: self.table.clone(),
            want,
            schema,
            readers: cx.config.count("query.source-readers").max(1),
            properties: Arc::new(properties),
        });
        super::exact::read(scan, &self.read, projection, state.config())
    }
}

/// Worth asking the source for: columns, constants and operators, no subqueries or calls that change from time to time.
fn pushable(e: &Expr) -> bool {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut plain = true;
    let _ = e.apply(|e| {
        if matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::OuterReferenceColumn(..) | Expr::Placeholder(_)) {
            plain = false;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    plain
}

/// Column names without the table's: the source has one table in view.
fn unqualified(e: &Expr) -> Expr {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let stripped = e.clone().transform(|e| {
        Ok(match e {
            Expr::Column(mut c) if c.relation.is_some() => {
                c.relation = None;
                Transformed::yes(Expr::Column(c))
            }
            other => Transformed::no(other),
        })
    });
    stripped.map_or_else(|_| e.clone(), |t| t.data)
}

/// The plugin of a database's source and what it is opened with.
pub fn open_request(cx: &StatementContext, database: &str) -> Result<(&'static Plugin, OpenRequest)> {
    let source = cx.source(database).ok_or_else(|| super::context::no_database(database))?;
    let linker = Linker { config: cx.config.clone(), data_dir: cx.data_dir.as_path().into(), losses: Losses::default() };
    linker.source_request(&source, cx.snapshot.keyring())
}

/// Opens a source.
fn open(plugin: &Plugin, request: OpenRequest) -> Result<Box<dyn Source>> {
    match plugin.open {
        Open::Source(open) => open(request),
        _ => Err(Error::internal("a source plugin that opens something else")),
    }
}

/// One reading of a table. All its connections feed one stream: the source gives rows at the pace at which the query takes them.
struct SourceScan {
    plugin: &'static Plugin,
    request: OpenRequest,
    database: String,
    table: Arc<TableVersion>,
    want: Want,
    schema: SchemaRef,
    readers: usize,
    properties: Arc<PlanProperties>,
}

impl fmt::Debug for SourceScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} of {}", self.database, self.table.name, self.plugin.name)
    }
}

impl DisplayAs for SourceScan {
    /// What EXPLAIN shows: the table, and what its source is left to do.
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = self.schema.fields().iter().map(|c| c.name().as_str()).collect();
        write!(f, "SourceScan: {}.{}, columns=[{}]", self.database, self.table.name, columns.join(", "))?;
        if !self.want.filters.is_empty() {
            let filters: Vec<_> = self.want.filters.iter().map(|x| x.to_string()).collect();
            write!(f, ", filters=[{}]", filters.join(", "))?;
        }
        self.want.limit.map_or(Ok(()), |n| write!(f, ", limit={n}"))
    }
}

impl ExecutionPlan for SourceScan {
    fn name(&self) -> &str {
        "SourceScan"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }
    fn apply_expressions(&self, _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }
    fn execute(&self, _: usize, _: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let mut builder = RecordBatchReceiverStream::builder(self.schema.clone(), READ_AHEAD);
        let tx = builder.tx();
        let (plugin, request, readers) = (self.plugin, self.request.clone(), self.readers);
        let read = Reading { table: self.table.clone(), want: self.want.clone(), schema: self.schema.clone() };
        // the task belongs to the stream and ends with it
        builder.spawn(async move { read.run(plugin, request, readers, &tx).await.map_err(carry) });
        Ok(builder.build())
    }
}

struct Reading {
    table: Arc<TableVersion>,
    want: Want,
    schema: SchemaRef,
}

impl Reading {
    async fn run(mut self, plugin: &'static Plugin, request: OpenRequest, readers: usize, tx: &Sender<DfResult<RecordBatch>>) -> Result<()> {
        let chunk_rows = u64::try_from(request.config.integer("query.chunk-rows")).unwrap_or(1).max(1);
        let mut source = open(plugin, request)?;
        let now = present(source.as_mut(), &self.table).await?;
        self.want.columns = Some(columns_now(&self.table, &now, self.want.columns.as_deref().unwrap_or_default())?);
        let anchor = AnchorRequest { kind: AnchorKind::Instant, pipe: None, tables: vec![now.clone()], readers, options: None };
        let anchor = source.anchor(anchor).await?;
        let hold = anchor.hold;
        let mut scanners = anchor.readers;
        let first = scanners.first_mut().ok_or_else(|| Error::internal("an anchor without readers"))?;
        let chunks = first.split(&now, chunk_rows).await?;
        let queue = Arc::new(Mutex::new(VecDeque::from(chunks)));
        let left = Arc::new(Mutex::new(self.want.limit));
        let works = scanners.into_iter().map(|scanner| self.work(scanner, queue.clone(), left.clone(), tx));
        futures::future::try_join_all(works).await?;
        drop(hold);
        Ok(())
    }

    /// One connection's share: chunk after chunk until none is left.
    async fn work(&self, mut scanner: Box<dyn Scanner>, queue: Arc<Mutex<VecDeque<Chunk>>>, left: Arc<Mutex<Option<u64>>>, tx: &Sender<DfResult<RecordBatch>>) -> Result<()> {
        loop {
            let Some(chunk) = queue.lock().pop_front() else { return Ok(()) };
            let mut want = self.want.clone();
            want.limit = *left.lock();
            if want.limit == Some(0) {
                return Ok(());
            }
            let mut payloads = scanner.scan(&chunk, &want).await?;
            while let Some(payload) = payloads.next().await {
                let Payload::Arrow(batch) = payload? else { return Err(Error::internal("a scanner gave its wire format unasked")) };
                if let Some(n) = left.lock().as_mut() {
                    *n = n.saturating_sub(batch.num_rows() as u64);
                }
                let batch = fit(&self.schema, batch)?;
                if tx.send(Ok(batch)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// The table as its source has it now.
async fn present(source: &mut dyn Source, table: &TableVersion) -> Result<Arc<TableVersion>> {
    let mut found = source.tables(Some(std::slice::from_ref(&table.name))).await?;
    let mut now = found.pop().ok_or_else(|| gone(&table.name))?;
    (now.id, now.generation) = (table.id, table.generation);
    Ok(Arc::new(now))
}

fn gone(name: &TableName) -> Error {
    Error::new(Kind::UndefinedTable, format!("table {name} is no longer there at its source"))
}

/// The wanted columns' places in the present structure; they must have the types that were synced.
fn columns_now(synced: &TableVersion, now: &TableVersion, wanted: &[usize]) -> Result<Vec<usize>> {
    let changed = |what: String| {
        let e = Error::new(Kind::WrongPhase, format!("table {} has changed at its source", synced.name)).with_detail(what);
        e.with_hint(format!("REFRESH TABLE {} FROM SOURCE ... takes over the new structure.", synced.name))
    };
    let mut out = Vec::with_capacity(wanted.len());
    for &i in wanted {
        let old = synced.columns.get(i).ok_or_else(|| Error::internal("a projection beyond the table"))?;
        let at = now.column(&old.name).ok_or_else(|| changed(format!("column {} was dropped", old.name)))?;
        if now.columns[at].logical != old.logical {
            return Err(changed(format!("column {} was {}, is {}", old.name, old.native, now.columns[at].native)));
        }
        out.push(at);
    }
    Ok(out)
}

/// The batch under the plan's schema: a scan of no columns has rows all the same.
fn fit(schema: &SchemaRef, batch: RecordBatch) -> Result<RecordBatch> {
    let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns: Vec<_> = batch.columns().iter().take(schema.fields().len()).cloned().collect();
    if let Some(column) = columns.iter().position(|c| special::has_wrapped(c.as_ref())) {
        let name = schema.field(column).name();
        let e = Error::new(Kind::DatetimeOverflow, format!("column \"{name}\" has a timestamp that queries can't compute with"));
        return Err(e.with_detail("Timestamps from 294247-01-10 on are copied by pipes, but not read by queries.").with_hint("Leave the column out, or sync a view of the source that has it as text."));
    }
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &rows)?)
}

/// A synced table of a source; a source type that is not in this build is an error of the scan, not of the name.
pub fn of(database: &str, kind: &str, table: TableVersion) -> Arc<dyn TableProvider> {
    let pushes = registry::find(Role::Source, kind).map_or(crate::plugin::pushes_nothing as fn(&TableVersion, &Expr) -> bool, |p| p.pushes);
    let types: Vec<Option<String>> = table.columns.iter().map(|c| Some(c.pg_type.clone())).collect();
    let shown = super::exact::schema(&table.schema, &types);
    Arc::new(SourceTable { database: database.to_string(), table: Arc::new(table), pushes, read: types.clone(), types, shown })
}
