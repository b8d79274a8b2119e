//! `source_stats` and `table_stats`: what batch copies have moved. Batches with stages are not there yet, and a view that said "nothing" of the
//! pipes that run would be wrong: reading them is 0A000.

use super::{Rows, View, ViewContext};
use crate::error::{Error, Kind, Result};

pub const SOURCES_VIEW: View = View {
    schema: "standpipe",
    name: "source_stats",
    doc: "what batch copies have moved, per source",
    columns: &[("source_name", "text"), ("operation", "text"), ("executions", "int8"), ("records", "int8"), ("average_seconds", "float8"), ("total_seconds", "float8")],
    rows: not_yet,
};

/// The same per table.
pub const TABLES_VIEW: View = View {
    schema: "standpipe",
    name: "table_stats",
    doc: "what batch copies have moved, per table",
    columns: &[
        ("source_name", "text"),
        ("table_name", "text"),
        ("operation", "text"),
        ("executions", "int8"),
        ("records", "int8"),
        ("average_seconds", "float8"),
        ("total_seconds", "float8"),
    ],
    rows: not_yet,
};

fn not_yet(_: &ViewContext) -> Result<Rows> {
    let e = Error::new(Kind::NotSupported, "statistics of batch copies are not supported yet");
    Err(e.with_hint("SELECT * FROM standpipe.pipe_tables has the counters of each pipe's tables."))
}
