//! `pipe_tables`: SHOW TABLES OF PIPE, with the pipe's name.

use super::{View, some};
use crate::data::TableName;
use crate::pipe::status::TableStatus;
use standpipe_catalog::{Pipe, PipeTable, Request};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipe_tables",
    doc: "tables of pipes with their phase, progress and counters",
    columns: &[
        ("pipe", "text"),
        ("table_name", "text"),
        ("target_name", "text"),
        ("phase", "text"),
        ("snapshot_rows", "int8"),
        ("snapshot_rows_total", "int8"),
        ("snapshot_percent", "float8"),
        ("inserts", "int8"),
        ("updates", "int8"),
        ("deletes", "int8"),
        ("truncates", "int8"),
        ("last_change_at", "timestamptz"),
        ("lag_seconds", "float8"),
        ("lossy_values", "int8"),
        ("ddl_sql", "text"),
        ("exception_message", "text"),
    ],
    rows: |cx| {
        let mut out = Vec::new();
        for p in cx.pipes() {
            let live = super::pipes::status(cx, &p).map(|s| s.tables).unwrap_or_default();
            out.extend(tables(&p).map(|t| match live.iter().find(|l| l.table_id.0 == t.oid.0) {
                Some(status) => row(&p.name, status),
                None => waiting(&p.name, t),
            }));
        }
        Ok(out)
    },
};

/// Tables as users have asked for them: those that are to be added, without those that are to go.
fn tables(p: &Pipe) -> impl Iterator<Item = &PipeTable> {
    let leaves = |t: &PipeTable| p.want.iter().any(|w| matches!(&w.request, Request::DropTable { table } if *table == t.table));
    let added = p.want.iter().filter_map(|w| if let Request::AddTable { table } = &w.request { Some(table) } else { None });
    p.tables.iter().filter(move |t| !leaves(t)).chain(added.filter(|a| p.table(&a.table).is_none()))
}

fn waiting(pipe: &str, t: &PipeTable) -> Vec<Option<String>> {
    let name = |schema: &str, table: &str| some(TableName::new(schema, table).to_string());
    let mut row = vec![some(pipe), name(&t.schema, &t.name), name(&t.target_schema, &t.target_name), some("WAITING")];
    row.resize(VIEW.columns.len(), None);
    row
}

fn row(pipe: &str, t: &TableStatus) -> Vec<Option<String>> {
    let n = |n: u64| Some(n.to_string());
    let exception = t.exception.as_ref().map(|f| super::pipe_exceptions::one_line(&f.message, f.detail.as_deref(), f.hint.as_deref()));
    vec![
        some(pipe),
        some(t.name.to_string()),
        some(t.target.to_string()),
        some(t.phase.to_string()),
        n(t.snapshot_rows),
        t.snapshot_rows_total.and_then(n),
        t.snapshot_percent.map(|p| format!("{p:.1}")),
        n(t.counts.inserts),
        n(t.counts.updates),
        n(t.counts.deletes),
        n(t.counts.truncates),
        t.last_change_at.map(|t| t.to_string()),
        t.lag_seconds.map(|s| format!("{s:.3}")),
        n(t.lossy.values()),
        t.ddl_sql.clone(),
        exception,
    ]
}
