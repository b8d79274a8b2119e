//! Processors that no system is needed for: rows are filtered and columns are chosen, renamed and computed between an extractor and a connector.
//!
//! All of them are one thing inside, a [`spec::Spec`]: result columns and a condition, both scalar expressions in PostgreSQL's syntax. It is
//! compiled once per table version and then applied to columns, never to single rows. (dialect.md section 5)

mod apply;
mod compile;
mod literal;
mod own;
mod reshape;
mod result;
mod spec;
#[cfg(test)]
mod tests;

use super::{Capabilities, Fault, Open, Opt, Options, Plugin, Processor, Role, no_backlog, no_more_checks, nothing_left, pushes_nothing};
use crate::data::pattern::{self, Pattern};
use crate::data::{Content, Part, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use compile::Compiled;
use spec::Spec;
use std::collections::HashMap;
use std::sync::Arc;

const TABLE: Opt = Opt { name: "table", default: Some("*"), doc: "which tables: comma list of schema.table, * as wildcard", ..Opt::TEXT };

const NOW: Opt = Opt { name: "now", doc: "the time that now() stands for; without it now() is refused, as a change that is read again must come out the same", ..Opt::TEXT };

const fn plugin(name: &'static str, doc: &'static str, options: &'static [&'static [Opt]], check: fn(&Options) -> Vec<Fault>, open: fn(&Options) -> Result<Box<dyn Processor>>) -> Plugin {
    Plugin {
        name,
        aliases: &[],
        role: Role::Processor,
        system: "",
        doc,
        options,
        capabilities: Capabilities::NONE,
        check,
        pushes: pushes_nothing,
        open: Open::Processor(open),
        release: nothing_left,
        backlog: no_backlog,
    }
}

/// `do-nothing-processor`.
pub static DO_NOTHING: Plugin = plugin("do-nothing-processor", "lets everything pass as it is", &[], no_more_checks, |_| Ok(Box::new(Nothing)));

/// `filter-processor`.
pub static FILTER: Plugin = plugin(
    "filter-processor",
    "keeps the rows for which a condition is true",
    &[&[TABLE, Opt { name: "filter", required: true, doc: "a condition on a row's columns", ..Opt::TEXT }, NOW]],
    |o| faults(o, "filter", |text| Spec::filter(text, o.get(NOW.name))),
    |o| open(o, "filter", |text| Spec::filter(text, o.get(NOW.name))),
);

/// `project-processor`.
pub static PROJECT: Plugin = plugin(
    "project-processor",
    "chooses, renames and computes columns",
    &[&[TABLE, Opt { name: "columns", required: true, doc: "comma list of columns and expressions: a, b AS c, cast(d AS text) AS d", ..Opt::TEXT }]],
    |o| faults(o, "columns", Spec::columns),
    |o| open(o, "columns", Spec::columns),
);

/// `sql-processor`.
pub static SQL: Plugin = plugin(
    "sql-processor",
    "chooses, renames and computes columns, and keeps the rows for which a condition is true",
    &[&[TABLE, Opt { name: "query", required: true, doc: "SELECT scalar expressions FROM batch WHERE condition", ..Opt::TEXT }]],
    |o| faults(o, "query", Spec::query),
    |o| open(o, "query", Spec::query),
);

/// What is no expression at all is found before anything is reached; the rest needs a table.
fn faults(options: &Options, name: &str, parse: impl Fn(&str) -> Result<Spec>) -> Vec<Fault> {
    let given = options.get(name).map(parse);
    let chosen = options.get("table").map(tables);
    let of = |name: &str, e: Error| Fault { message: format!("invalid value for option \"{name}\": {}", e.message()), hint: e.detail().or(e.hint()).map(str::to_string), position: None };
    let mut out: Vec<Fault> = chosen.and_then(|t| t.err()).map(|e| of("table", e)).into_iter().collect();
    out.extend(given.and_then(|g| g.err()).filter(|e| e.kind() == Kind::Syntax).map(|e| of(name, e)));
    out
}

/// The tables that the option `table` means; an empty list means none and is a slip.
fn tables(list: &str) -> Result<Vec<Pattern>> {
    let patterns = pattern::parse(list)?;
    if patterns.is_empty() {
        return Err(Error::new(Kind::BadOption, "no table is named").with_hint("Write schema.table, schema.table; * is a wildcard."));
    }
    Ok(patterns)
}

fn open(options: &Options, name: &str, parse: impl Fn(&str) -> Result<Spec>) -> Result<Box<dyn Processor>> {
    let tables = tables(options.get("table").unwrap_or("*"))?;
    Ok(Box::new(Scalars { spec: parse(options.text(name)?)?, tables, compiled: HashMap::new() }))
}

/// `do-nothing-processor`: it concerns no table, so that bytes may still pass untouched.
struct Nothing;

impl Processor for Nothing {
    fn output(&mut self, _: &Arc<TableVersion>) -> Result<Option<Arc<TableVersion>>> {
        Ok(None)
    }
    fn process(&mut self, part: Part) -> Result<Part> {
        Ok(part)
    }
    fn needs_whole_rows(&self, _: &TableVersion) -> bool {
        false
    }
}

/// Versions of one table that are kept compiled: both sides of a change of structure, for the table itself and a copy in the making.
const VERSIONS_KEPT: usize = 4;

/// The other three.
struct Scalars {
    spec: Spec,
    tables: Vec<Pattern>,
    compiled: HashMap<TableName, Vec<Arc<Compiled>>>,
}

impl Scalars {
    fn takes(&self, table: &TableName) -> bool {
        self.tables.iter().any(|p| p.takes(table))
    }
    /// The compiled form for a version, the newest last.
    fn compiled(&mut self, table: &Arc<TableVersion>) -> Result<Arc<Compiled>> {
        let known = self.compiled.entry(table.name.clone()).or_default();
        if let Some(found) = known.iter().find(|c| Arc::ptr_eq(&c.input, table)) {
            return Ok(found.clone());
        }
        let new = Arc::new(Compiled::new(&self.spec, table)?);
        if known.len() == VERSIONS_KEPT {
            known.remove(0);
        }
        known.push(new.clone());
        Ok(new)
    }
}

impl Processor for Scalars {
    fn output(&mut self, table: &Arc<TableVersion>) -> Result<Option<Arc<TableVersion>>> {
        if !self.takes(&table.name) {
            return Ok(None);
        }
        Ok(Some(self.compiled(table)?.output.clone()))
    }

    fn process(&mut self, part: Part) -> Result<Part> {
        let compiled = self.compiled(&part.table)?;
        let content = match part.content {
            Content::Rows(rows) => Content::Rows(apply::rows(&compiled, rows)?),
            Content::Truncate => Content::Truncate,
            Content::Schema(change) => {
                let before = self.compiled(&change.before)?;
                let after = self.compiled(&change.after)?;
                Content::Schema(reshape::change(&before, &after, &change.changes))
            }
        };
        Ok(Part { table: compiled.output.clone(), content })
    }

    fn needs_whole_rows(&self, table: &TableVersion) -> bool {
        if !self.takes(&table.name) {
            return false;
        }
        let known = self.compiled.get(&table.name).and_then(|all| all.iter().find(|c| std::ptr::eq(Arc::as_ptr(&c.input), table)));
        match known {
            Some(c) => c.needs_whole_rows(),
            // A version that can't be compiled has failed at `output` already.
            None => Compiled::new(&self.spec, &Arc::new(table.clone())).is_ok_and(|c| c.needs_whole_rows()),
        }
    }
}
