//! Tables of sources: learn their structure, follow its changes, forget them, show and describe them.

use super::options::Options;
use super::{Ident, ObjectName};
use crate::print::{Print, Printer, printed};

/// `SYNC TABLE ...` and `SYNC TABLES ...`.
#[derive(Clone, PartialEq, Eq)]
pub struct SyncTable {
    pub tables: Tables,
    pub source: Ident,
    pub options: Options,
}

/// `REFRESH TABLE ...` and `REFRESH TABLES ...`.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshTable {
    /// Never `Like`.
    pub tables: Tables,
    pub source: Ident,
    pub options: Options,
}

/// Which tables of a source.
#[derive(Clone, PartialEq, Eq)]
pub enum Tables {
    Named(Vec<ObjectName>),
    Like(String),
    All,
}

#[derive(Clone, PartialEq, Eq)]
pub struct DetachTable {
    pub table: ObjectName,
    pub source: Ident,
}

/// `SHOW TABLES FROM SOURCE`.
#[derive(Clone, PartialEq, Eq)]
pub struct ShowTables {
    pub source: Ident,
    /// Also those that are not synced.
    pub available: bool,
}

/// `DESCRIBE`; SHOW COLUMNS FROM a table is the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Describe {
    pub target: DescribeTarget,
}

#[derive(Clone, PartialEq, Eq)]
pub enum DescribeTarget {
    Table(ObjectName),
    Source(Ident),
    Pipe(Ident),
}

impl Print for SyncTable {
    fn print(&self, p: &mut Printer<'_>) {
        print_tables("SYNC", &self.tables, &self.source, &self.options, p);
    }
}

impl Print for RefreshTable {
    fn print(&self, p: &mut Printer<'_>) {
        print_tables("REFRESH", &self.tables, &self.source, &self.options, p);
    }
}

fn print_tables(verb: &str, tables: &Tables, source: &Ident, options: &Options, p: &mut Printer<'_>) {
    p.text(verb);
    match tables {
        Tables::Named(names) => p.text(" TABLE ").list(names),
        Tables::Like(pattern) => p.text(" TABLES LIKE ").string(pattern),
        Tables::All => p.text(" TABLES"),
    };
    p.text(" FROM SOURCE ").node(source);
    if !options.is_empty() {
        p.text(" WITH ").node(options);
    }
}

impl Print for DetachTable {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("DETACH TABLE ").node(&self.table).text(" FROM SOURCE ").node(&self.source);
    }
}

impl Print for ShowTables {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("SHOW TABLES FROM SOURCE ").node(&self.source).word_if(self.available, "AVAILABLE");
    }
}

impl Print for Describe {
    fn print(&self, p: &mut Printer<'_>) {
        match &self.target {
            DescribeTarget::Table(name) => p.text("DESCRIBE ").node(name),
            DescribeTarget::Source(name) => p.text("DESCRIBE SOURCE ").node(name),
            DescribeTarget::Pipe(name) => p.text("DESCRIBE PIPE ").node(name),
        };
    }
}

printed!(SyncTable, RefreshTable, DetachTable, ShowTables, Describe);
