//! `sql_commands`: the statements of the dialect, from the grammar's own table.

use super::{View, some};
use standpipe_grammar::PRODUCTIONS;

pub const VIEW: View = View {
    schema: "standpipe",
    name: "sql_commands",
    doc: "statements of the dialect that are carried out",
    columns: &[("statement", "text"), ("syntax", "text"), ("example", "text"), ("description", "text")],
    rows: |_| Ok(PRODUCTIONS.iter().filter(|p| p.is_supported()).map(|p| vec![some(p.tag), some(p.ebnf), some(p.example), some(p.doc)]).collect()),
};
