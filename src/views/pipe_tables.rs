//! `pipe_tables`: SHOW TABLES OF PIPE, with the pipe's name.

use super::{View, some};
use crate::pipe::status::TableStatus;

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
            match super::pipes::status(cx, &p).filter(|s| !s.tables.is_empty()) {
                Some(live) => out.extend(live.tables.iter().map(|t| row(&p.name, t))),
                None => out.extend(p.tables.iter().map(|t| {
                    let name = |schema: &str, table: &str| some(crate::data::TableName::new(schema, table).to_string());
                    let mut row = vec![some(&p.name), name(&t.schema, &t.name), name(&t.target_schema, &t.target_name), some("WAITING")];
                    row.resize(16, None);
                    row
                })),
            }
        }
        Ok(out)
    },
};

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
        n(t.counts.lossy),
        t.ddl_sql.clone(),
        exception,
    ]
}
