//! `source_tables`: the tables that were synced from sources.

use super::{View, at, some};
use standpipe_catalog::{SourceState, Sources, Tables};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "source_tables",
    doc: "tables that were synced from sources",
    columns: &[
        ("source_name", "text"),
        ("table_schema", "text"),
        ("table_name", "text"),
        ("columns", "int4"),
        ("primary_key", "text"),
        ("estimated_rows", "int8"),
        ("synced_at", "timestamptz"),
        ("description", "text"),
    ],
    rows: |cx| {
        let mut out = Vec::new();
        for (_, t) in cx.snapshot.scan::<Tables>() {
            let Some(source) = cx.snapshot.get::<Sources>(&t.source).filter(|s| s.state == SourceState::Normal) else { continue };
            let (columns, rows) = (t.columns.len().to_string(), t.estimated_rows.map(|n| n.to_string()));
            out.push(vec![some(&source.name), some(&t.schema), some(&t.name), some(columns), some(t.primary_key.join(", ")), rows, at(t.synced_at), t.comment.clone()]);
        }
        Ok(out)
    },
};
