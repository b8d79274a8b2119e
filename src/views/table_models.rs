//! `table_models` and `table_model_columns`: structures that several sources can share. None can be made yet (CREATE MODEL is 0A000), so they
//! are empty.

use super::{View, at, some};
use standpipe_catalog::{Models, Sources};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "table_models",
    doc: "structures that several sources can share",
    columns: &[
        ("schema", "text"),
        ("name", "text"),
        ("title", "text"),
        ("description", "text"),
        ("columns", "int4"),
        ("primary_key", "text"),
        ("case_sensitive", "bool"),
        ("origin", "text"),
        ("sources", "text"),
        ("updated_at", "timestamptz"),
    ],
    rows: |cx| {
        let sources = |m: &standpipe_catalog::Model| m.sources.iter().filter_map(|s| cx.snapshot.get::<Sources>(s)).map(|s| s.name.clone()).collect::<Vec<_>>().join(", ");
        let row = |m: &standpipe_catalog::Model| {
            let (columns, key) = (m.columns.len().to_string(), m.primary_key.join(", "));
            vec![some(&m.schema), some(&m.name), m.title.clone(), m.description.clone(), some(columns), some(key), some(m.case_sensitive.to_string()), m.origin.clone(), some(sources(m)), at(m.updated_at)]
        };
        Ok(cx.snapshot.scan::<Models>().map(|(_, m)| row(&m)).collect())
    },
};

/// Their columns.
pub const COLUMNS_VIEW: View = View {
    schema: "standpipe",
    name: "table_model_columns",
    doc: "columns of table models",
    columns: &[
        ("schema", "text"),
        ("model", "text"),
        ("position", "int4"),
        ("column_name", "text"),
        ("type", "text"),
        ("length", "int4"),
        ("precision", "int4"),
        ("nullable", "bool"),
        ("comment", "text"),
        ("is_key", "bool"),
    ],
    rows: |cx| {
        let n = |n: Option<u32>| n.map(|n| n.to_string());
        let mut out = Vec::new();
        for (_, m) in cx.snapshot.scan::<Models>() {
            out.extend(m.columns.iter().map(|c| {
                let is_key = m.primary_key.contains(&c.name).to_string();
                vec![some(&m.schema), some(&m.name), n(Some(c.position)), some(&c.name), some(&c.data_type), n(c.length), n(c.precision), some(c.nullable.to_string()), c.comment.clone(), some(is_key)]
            }));
        }
        Ok(out)
    },
};
