//! `pipe_exceptions`: SHOW EXCEPTIONS OF PIPE, with the pipe's name; the newest first.

use super::{View, at, some};
use standpipe_catalog::{Exceptions, Page};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "pipe_exceptions",
    doc: "errors of pipes",
    columns: &[("pipe", "text"), ("at", "timestamptz"), ("table_name", "text"), ("sqlstate", "text"), ("message", "text"), ("detail", "text"), ("hint", "text"), ("attempt", "int4"), ("retry_at", "timestamptz")],
    rows: |cx| {
        let mut out = Vec::new();
        for p in cx.pipes() {
            for e in cx.engine.catalog.page::<Exceptions>(&p.uuid, Page::newest(cx.newest))? {
                let v = e.value;
                out.push(vec![some(&p.name), at(e.at), v.table, some(v.sqlstate), some(v.message), v.detail, v.hint, v.attempt.map(|n| n.to_string()), v.retry_at.and_then(at)]);
            }
        }
        Ok(out)
    },
};

/// An error as `exception_message` shows it.
pub fn one_line(message: &str, detail: Option<&str>, hint: Option<&str>) -> String {
    let mut out = message.to_string();
    if let Some(detail) = detail {
        out += &format!(" DETAIL: {}", detail.replace('\n', " "));
    }
    if let Some(hint) = hint {
        out += &format!(" HINT: {}", hint.replace('\n', " "));
    }
    out
}
