//! Columns of statements whose rows come from outside the query engine: what Describe says without running them.

use crate::data::rows::{self, ColumnSpec, columns};
use super::{pipe, source};
use crate::config;
use crate::plan::SessionCommand;
use arrow::datatypes::SchemaRef;
use standpipe_grammar::Statement;
use standpipe_grammar::ast::table::DescribeTarget;

/// Columns of WAIT FOR PIPE.
pub fn wait() -> Vec<ColumnSpec> {
    columns(&[("phase", "text"), ("waited_ms", "int8")])
}

/// Columns of a statement of the dialect; None: it returns no rows.
pub fn of(statement: &Statement) -> Option<SchemaRef> {
    let list = match statement {
        Statement::TestSource(_) => source::test_columns(),
        Statement::SyncTable(_) | Statement::RefreshTable(_) => source::sync_columns(),
        Statement::ShowTables(_) => source::show_columns(),
        Statement::ExplainPipe(_) => pipe::explain_columns(),
        Statement::WaitForPipe(_) => wait(),
        Statement::Help(_) => columns(&[("statement", "text"), ("syntax", "text"), ("example", "text"), ("description", "text")]),
        Statement::Describe(d) => match d.target {
            DescribeTarget::Table(_) => {
                columns(&[("column_name", "text"), ("type", "text"), ("source_type", "text"), ("nullable", "bool"), ("key", "int4"), ("default", "text"), ("comment", "text")])
            }
            _ => columns(&[("property", "text"), ("value", "text")]),
        },
        _ => return None,
    };
    Some(rows::schema(&list))
}

/// Columns of what the session does itself: SHOW alone has some.
pub fn of_command(command: &SessionCommand) -> Option<SchemaRef> {
    match command {
        SessionCommand::Show(name) => {
            let shown = config::find(name).map_or(name.as_str(), |s| s.name);
            Some(rows::schema(&[(shown.to_string(), "text")]))
        }
        SessionCommand::ShowAll => Some(rows::schema(&columns(&[("name", "text"), ("setting", "text"), ("description", "text")]))),
        _ => None,
    }
}
