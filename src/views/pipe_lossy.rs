//! `pipe_lossy`: columns of pipes that lost values under an `on-lossy` option.

use super::{View, some};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipe_lossy",
    doc: "columns of pipes that lost values under on-lossy: how many, and the key of the first",
    columns: &[("pipe", "text"), ("table_name", "text"), ("target_name", "text"), ("column_name", "text"), ("lossy_values", "int8"), ("first_key", "text")],
    rows: |cx| {
        let mut out = Vec::new();
        for p in cx.pipes() {
            for t in super::pipes::status(cx, &p).map(|s| s.tables).unwrap_or_default() {
                for (column, l) in t.lossy.columns() {
                    let key = Some(l.first_key.clone()).filter(|k| !k.is_empty());
                    out.push(vec![some(&p.name), some(t.name.to_string()), some(t.target.to_string()), some(column), Some(l.values.to_string()), key]);
                }
            }
        }
        Ok(out)
    },
};
