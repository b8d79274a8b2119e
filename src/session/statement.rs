//! Prepared statements and portals of a session, and the one way in which both protocols run a statement.

use super::Session;
use super::encode::Style;
use super::rows::Rows;
use super::wire::{Fail, Watch};
use crate::error::{Error, Kind, Result};
use crate::execute::{self, Body};
use crate::plan::CopyFormat;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::physical_plan::SendableRecordBatchStream;
use standpipe_grammar::SyntaxError;
use std::collections::HashMap;
use std::sync::Arc;

/// A prepared statement.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The client's text, for POSITION.
    pub text: Arc<str>,
    /// What execute has made of it.
    pub prepared: execute::Prepared,
}

/// Prepared statements by name; the unnamed one has an empty name.
#[derive(Default)]
pub struct Statements {
    named: HashMap<String, Arc<Prepared>>,
}

impl Statements {
    /// One by name. Errors: 26000.
    pub fn get(&self, name: &str) -> Result<Arc<Prepared>> {
        self.named.get(name).cloned().ok_or_else(|| {
            let what = if name.is_empty() { "unnamed prepared statement does not exist".into() } else { format!("prepared statement \"{name}\" does not exist") };
            Error::new(Kind::UndefinedStatement, what)
        })
    }
    /// Adds one; the unnamed one is replaced. Errors: 42P05 for a name that is taken, 54000 for too many.
    pub fn add(&mut self, name: &str, statement: Prepared, most: usize) -> Result<()> {
        if !name.is_empty() {
            if self.named.contains_key(name) {
                return Err(Error::new(Kind::DuplicateStatement, format!("prepared statement \"{name}\" already exists")));
            }
            if self.named.len() >= most {
                let e = Error::new(Kind::LimitExceeded, format!("a session can have {most} prepared statements"));
                return Err(e.with_hint("DEALLOCATE those that are not used, or raise max_prepared_statements."));
            }
        }
        self.named.insert(name.to_string(), Arc::new(statement));
        Ok(())
    }
    /// Forgets one, if it is there (Close).
    pub fn close(&mut self, name: &str) {
        self.named.remove(name);
    }
    /// DEALLOCATE; None: all. Errors: 26000.
    pub fn deallocate(&mut self, name: Option<&str>) -> Result<()> {
        match name {
            None => self.named.clear(),
            Some(name) => {
                self.get(name)?;
                self.named.remove(name);
            }
        }
        Ok(())
    }
}

/// A statement with its values.
pub struct Portal {
    /// Statement.
    pub statement: Arc<Prepared>,
    /// Values.
    pub values: Vec<ScalarValue>,
    /// Formats of the result as Bind gave them.
    pub formats: Vec<i16>,
    /// How far it is.
    pub progress: Progress,
}

/// How far a portal is.
pub enum Progress {
    /// Not begun.
    Ready,
    /// Rows are left.
    Rows(Box<Rows>),
    /// Its rows have ended.
    NoMore(String),
    /// It has run; it gives no rows.
    Done,
}

/// A statement that runs.
pub enum Opened {
    /// It is done; the tag.
    Done(String),
    /// It was empty.
    Empty,
    /// It gives rows; `binary` whatever was asked for.
    Rows { schema: SchemaRef, stream: SendableRecordBatchStream, tag: String, binary: bool },
    /// It gives COPY data.
    Copy { schema: SchemaRef, stream: SendableRecordBatchStream, format: CopyFormat },
}

/// A text that can't be parsed.
pub fn syntax_error(e: SyntaxError) -> Error {
    let mut error = Error::new(Kind::Syntax, e.message).at(e.position);
    if let Some(detail) = e.detail {
        error = error.with_detail(detail);
    }
    if let Some(hint) = e.hint {
        error = error.with_hint(hint);
    }
    error
}

impl Session {
    /// Begins a statement: its remarks are sent, its result is not.
    pub(super) async fn open(&mut self, statement: &Prepared, values: Vec<ScalarValue>, watch: &Watch) -> Result<Opened, Fail> {
        let parsed = &statement.prepared.parsed;
        self.check_block(&parsed.statement)?;
        let output = self.wire.watch(watch, execute::run(&self.engine, &mut self.state, &statement.prepared, values)).await?;
        self.remark(&output.notices, Some(&statement.text))?;
        Ok(match output.body {
            Body::Done { tag } => Opened::Done(tag),
            Body::Empty => Opened::Empty,
            Body::Rows { schema, stream, tag } => Opened::Rows { schema, stream, tag, binary: false },
            Body::Copy { schema, stream, format } => Opened::Copy { schema, stream, format },
            Body::Session(command) => {
                let tag = parsed.statement.tag().to_string();
                Box::pin(self.command(command, &tag, watch)).await?
            }
        })
    }

    /// The rows of an opened statement, in the formats that were asked for.
    pub(super) fn rows(&self, schema: SchemaRef, stream: SendableRecordBatchStream, tag: String, formats: &[i16]) -> Result<Rows> {
        let limit = u64::try_from(self.state.settings.integer("max_result_rows")).unwrap_or(0);
        Rows::new(schema, stream, tag, formats, Style::of(&self.state.settings), limit)
    }

    /// Sends COPY data; gives the tag.
    pub(super) async fn copy(&mut self, schema: SchemaRef, stream: SendableRecordBatchStream, format: &CopyFormat, watch: &Watch) -> Result<String, Fail> {
        let style = Style::of(&self.state.settings);
        let rows = super::copy::copy_out(&mut self.wire, watch, schema, stream, format, style).await?;
        Ok(format!("COPY {rows}"))
    }
}

/// The tag of a result that has ended: of SELECT the count is appended.
pub fn tag_of(tag: &str, rows: u64) -> String {
    if tag == "SELECT" { format!("SELECT {rows}") } else { tag.to_string() }
}
