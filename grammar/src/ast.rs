//! The statements as plain structs, a file per family.
//!
//! Equality is of meaning: byte positions and which of two synonyms was written are not compared, so that
//! `parse(print(x)) == x`.

pub mod options;
pub mod pipe;
pub mod plugin;
pub mod role;
pub mod session;
pub mod show;
pub mod source;
pub mod statement;
pub mod table;

pub use statement::Statement;

use crate::print::{Print, Printer, printed};

/// A name. Unquoted names are folded to lower case (ASCII letters, as PostgreSQL does).
#[derive(Clone)]
pub struct Ident {
    pub value: String,
    /// Written in quotes: then it is the name exactly, also where an unquoted one would match in any case.
    pub quoted: bool,
    /// Byte offset into the whole string.
    pub position: usize,
}

impl PartialEq for Ident {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value && self.quoted == other.quoted
    }
}
impl Eq for Ident {}

impl Print for Ident {
    fn print(&self, p: &mut Printer<'_>) {
        if self.quoted || !is_plain_name(&self.value) {
            p.text("\"").text(&self.value.replace('"', "\"\"")).text("\"");
        } else {
            p.text(&self.value);
        }
    }
}

/// Whether a name reads the same without quotes.
fn is_plain_name(name: &str) -> bool {
    let start = |ch: char| ch == '_' || ch.is_ascii_lowercase() || !ch.is_ascii();
    name.starts_with(start) && name.chars().all(|ch| start(ch) || ch.is_ascii_digit() || ch == '$')
}

/// A name of one to several parts: `table`, `schema.table`, `source.schema.table`.
#[derive(Clone, PartialEq, Eq)]
pub struct ObjectName(pub Vec<Ident>);

impl ObjectName {
    /// Byte offset of the first part.
    pub fn position(&self) -> usize {
        self.0.first().map_or(0, |part| part.position)
    }
}

impl Print for ObjectName {
    fn print(&self, p: &mut Printer<'_>) {
        for (index, part) in self.0.iter().enumerate() {
            p.text(if index > 0 { "." } else { "" }).node(part);
        }
    }
}

printed!(Ident, ObjectName);
