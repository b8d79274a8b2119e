//! Statements about the session itself that PostgreSQL has and sqlparser lacks, HELP, and what is named but not built yet.

use super::{Ident, ObjectName};
use crate::print::{Print, Printer, printed};

/// FETCH and MOVE, in all of PostgreSQL's forms.
#[derive(Clone, PartialEq, Eq)]
pub struct Fetch {
    pub cursor: Ident,
    pub direction: FetchDirection,
    /// MOVE: go there and return no rows.
    pub is_move: bool,
}

/// Where a cursor goes. `FETCH c` is `Forward(1)`, as are NEXT and FORWARD; PRIOR and BACKWARD are `Backward(1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchDirection {
    First,
    Last,
    Absolute(i64),
    Relative(i64),
    /// A negative number goes backward, 0 is the current row.
    Forward(i64),
    ForwardAll,
    Backward(i64),
    BackwardAll,
}

/// RESET of a setting; TIME ZONE, SESSION AUTHORIZATION and TRANSACTION ISOLATION LEVEL are those by the names that
/// PostgreSQL has for them.
#[derive(Clone, PartialEq, Eq)]
pub enum Reset {
    All,
    /// `timezone`, `role`, `session_authorization`, `transaction_isolation`, `work_mem`, `my.own`: parts joined by dots.
    Setting(ObjectName),
}

/// HELP: the statements, or one by its first words.
#[derive(Clone, PartialEq, Eq)]
pub struct Help {
    /// In upper case; empty: all of them.
    pub topic: Vec<String>,
}

/// A statement of the dialect that this version names but does not carry out: 0A000.
///
/// Only its head is kept: the rest may hold secrets and was not looked at.
#[derive(Clone)]
pub struct Unsupported {
    /// `CREATE STAGE`, or what in a statement is missing: `CREATE PIPE ... SCHEDULE`.
    pub head: String,
    /// Byte offset of what is missing.
    pub position: usize,
    pub hint: Option<String>,
}

impl PartialEq for Unsupported {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head
    }
}
impl Eq for Unsupported {}

impl Print for Fetch {
    fn print(&self, p: &mut Printer<'_>) {
        p.text(if self.is_move { "MOVE " } else { "FETCH " });
        p.text(&match self.direction {
            FetchDirection::First => "FIRST".to_string(),
            FetchDirection::Last => "LAST".to_string(),
            FetchDirection::Absolute(count) => format!("ABSOLUTE {count}"),
            FetchDirection::Relative(count) => format!("RELATIVE {count}"),
            FetchDirection::Forward(1) => "NEXT".to_string(),
            FetchDirection::Forward(count) => format!("FORWARD {count}"),
            FetchDirection::ForwardAll => "ALL".to_string(),
            FetchDirection::Backward(1) => "PRIOR".to_string(),
            FetchDirection::Backward(count) => format!("BACKWARD {count}"),
            FetchDirection::BackwardAll => "BACKWARD ALL".to_string(),
        });
        p.text(" FROM ").node(&self.cursor);
    }
}

impl Print for Reset {
    fn print(&self, p: &mut Printer<'_>) {
        match self {
            Reset::All => p.text("RESET ALL"),
            Reset::Setting(name) => p.text("RESET ").node(name),
        };
    }
}

impl Print for Help {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("HELP");
        for word in &self.topic {
            p.text(" ").text(word);
        }
    }
}

impl Print for Unsupported {
    fn print(&self, p: &mut Printer<'_>) {
        p.text(&self.head);
    }
}

printed!(Fetch, Reset, Help, Unsupported);
