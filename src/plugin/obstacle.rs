//! What stands in the way of writing tables, gathered so that `Connector::prepare` says all of it at once.

use crate::data::TableName;
use crate::error::{Error, Kind};

/// Something that stands in the way of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    kind: Kind,
    table: String,
    message: String,
    hint: String,
}

impl Obstacle {
    /// What kind of error it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// Those of one table, by its name at the source.
#[derive(Debug)]
pub struct Obstacles {
    table: String,
    /// What was found.
    pub list: Vec<Obstacle>,
}

impl Obstacles {
    /// None yet.
    pub fn of(table: &TableName) -> Obstacles {
        Obstacles { table: table.to_string(), list: Vec::new() }
    }
    /// One more.
    pub fn add(&mut self, kind: Kind, message: String, hint: &str) {
        self.list.push(Obstacle { kind, table: self.table.clone(), message, hint: hint.to_string() });
    }
}

/// What happens to a column's values in an existing column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage {
    /// All arrive as they are.
    Exact,
    /// All that arrive are as they were; some may be refused.
    Note(String),
    /// Some change.
    Loss(String),
    /// The types have nothing to do with each other.
    Impossible,
}

/// All obstacles as one error: the first one is the message, all are in DETAIL. About one table only if all are.
pub fn obstacles_error(all: Vec<Obstacle>) -> Option<Error> {
    let first = all.first()?;
    let mut e = Error::new(first.kind, first.message.clone());
    if all.len() > 1 {
        e = e.with_detail(all.iter().map(|o| o.message.as_str()).collect::<Vec<_>>().join("\n"));
    }
    let hints: Vec<&str> = all.iter().map(|o| o.hint.as_str()).fold(Vec::new(), |mut v, h| {
        if !v.contains(&h) {
            v.push(h);
        }
        v
    });
    e = e.with_hint(hints.join(" "));
    if all.iter().all(|o| o.table == first.table) {
        e = e.for_table(first.table.clone());
    }
    Some(e)
}
