//! `pg_stat_activity`: live sessions, in PostgreSQL's columns. Others' statements are shown to readers of the system alone.

use super::{View, some};
use crate::rights::{Right, level};
use std::time::{SystemTime, UNIX_EPOCH};

pub const VIEW: View = View {
    schema: "pg_catalog",
    name: "pg_stat_activity",
    doc: "live sessions",
    columns: &[
        ("datname", "text"),
        ("pid", "int4"),
        ("usename", "text"),
        ("application_name", "text"),
        ("client_addr", "text"),
        ("backend_start", "timestamptz"),
        ("query_start", "timestamptz"),
        ("state", "text"),
        ("query", "text"),
        ("backend_type", "text"),
    ],
    rows: |cx| {
        let all = level(&cx.snapshot, &cx.user) >= Right::Read;
        let row = |s: crate::engine::LiveSession| {
            let query = if all || s.user == cx.user { s.query } else { "<insufficient privilege>".into() };
            vec![some(s.database), some(s.pid.to_string()), some(s.user), some(s.application_name), some(s.client_addr), micros(s.backend_start), s.query_start.and_then(micros), some(s.state), some(query), some("client backend")]
        };
        Ok(cx.engine.sessions.list().into_iter().map(row).collect())
    },
};

fn micros(t: SystemTime) -> Option<String> {
    t.duration_since(UNIX_EPOCH).ok().map(|d| d.as_micros().to_string())
}
