//! `audit_log`: statements that changed something, redacted; the newest first.

use super::{View, at, some};
use standpipe_catalog::{AuditLog, Page};

pub const VIEW: View = View {
    schema: "standpipe",
    name: "audit_log",
    doc: "statements that changed something",
    columns: &[("at", "timestamptz"), ("user_name", "text"), ("client_addr", "text"), ("application_name", "text"), ("statement", "text"), ("sqlstate", "text"), ("message", "text"), ("duration_ms", "int8")],
    rows: |cx| {
        let page = cx.engine.catalog.page::<AuditLog>(&String::new(), Page::newest(u32::MAX))?;
        let row = |e: standpipe_catalog::Entry<standpipe_catalog::Audit>| {
            let v = e.value;
            vec![at(e.at), some(v.user_name), v.client_addr, v.application_name, some(v.statement), some(v.sqlstate), v.message, some(v.duration_ms.to_string())]
        };
        Ok(page.into_iter().map(row).collect())
    },
};
