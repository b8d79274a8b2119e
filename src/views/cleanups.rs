//! `cleanups`: what CLEAN PIPE has removed, per pipe the newest first. CLEAN is 0A000 yet, so it is empty.

use super::{View, at, some};
use standpipe_catalog::{Cleanup, Cleanups, Entry, Page};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "cleanups",
    doc: "what CLEAN PIPE has removed",
    columns: &[("at", "timestamptz"), ("user_name", "text"), ("client_addr", "text"), ("pipe", "text"), ("table_name", "text"), ("sql", "text"), ("rows_deleted", "int8")],
    rows: |cx| {
        let mut out = Vec::new();
        for p in cx.pipes() {
            let page = cx.engine.catalog.page::<Cleanups>(&p.uuid, Page::newest(u32::MAX))?;
            out.extend(page.into_iter().map(row));
        }
        Ok(out)
    },
};

fn row(e: Entry<Cleanup>) -> Vec<Option<String>> {
    let v = e.value;
    vec![at(e.at), some(v.user_name), v.client_addr, some(v.pipe), v.table_name, some(v.sql), some(v.rows_deleted.to_string())]
}
