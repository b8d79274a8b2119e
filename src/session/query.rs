//! The simple protocol: a string of statements, each result sent as it comes, text unless a cursor is binary.

use super::statement::{Opened, Prepared, syntax_error, tag_of};
use super::wire::{Closed, Fail, Watch};
use super::{Session, decode, reply};
use crate::error::Result;
use crate::execute;
use crate::metrics::PROGRAM;
use bytes::Bytes;
use standpipe_grammar::{Parsed, Statement};
use std::sync::Arc;
use std::time::Instant;

impl Session {
    /// Query: all its statements, then ReadyForQuery.
    pub(super) async fn simple(&mut self, query: Bytes) -> Result<(), Closed> {
        // the unnamed statement and portal do not outlive a simple query
        self.statements.close("");
        self.portals.remove("");
        let text: Arc<str> = match decode::utf8(&query) {
            Ok(text) => Arc::from(text),
            Err(e) => {
                self.failed();
                self.report(&e, None)?;
                return self.ready().await;
            }
        };
        if let Err(fail) = self.string(&text).await {
            match fail {
                Fail::Statement(e) => {
                    self.failed();
                    self.report(&e, Some(&text))?;
                }
                Fail::Connection(closed) => return Err(closed),
            }
        }
        self.ready().await
    }

    async fn string(&mut self, text: &Arc<str>) -> Result<(), Fail> {
        let statements = match standpipe_grammar::parse(text) {
            Ok(statements) => statements,
            Err(e) => {
                // what does not parse may hold a secret: others see nothing of it
                self.active("<a statement that does not parse>");
                return Err(syntax_error(e).into());
            }
        };
        let several = statements.len() > 1;
        let mut watch = None;
        for parsed in statements {
            let w = self.watch_for(&parsed);
            if several {
                if acts_at_once(&parsed.statement) {
                    self.close_implicit(&w).await?;
                } else {
                    self.open_implicit();
                }
            }
            let began = Instant::now();
            let outcome = self.one(text, parsed, &w).await;
            PROGRAM.statement(began.elapsed());
            outcome?;
            self.wire.flush_full().await?;
            watch = Some(w);
        }
        if let Some(watch) = watch {
            self.close_implicit(&watch).await?;
        }
        Ok(())
    }

    /// One statement of a string, with its result.
    async fn one(&mut self, text: &Arc<str>, parsed: Parsed, watch: &Watch) -> Result<(), Fail> {
        self.check_block(&parsed.statement)?;
        let prepared = self.wire.watch(watch, execute::prepare(&self.engine, &self.state, &parsed, &[])).await?;
        if !prepared.parameters.is_empty() {
            let e = crate::error::Error::new(crate::error::Kind::UndefinedParameter, "there is no parameter $1");
            return Err(e.with_hint("Parameters come with prepared statements.").into());
        }
        let statement = Prepared { text: text.clone(), prepared };
        match self.open(&statement, Vec::new(), watch).await? {
            Opened::Done(tag) => reply::complete(&mut self.wire, tag)?,
            Opened::Empty => reply::empty(&mut self.wire)?,
            Opened::Rows { schema, stream, tag, binary } => {
                let mut rows = self.rows(schema, stream, tag, if binary { &[1] } else { &[] })?;
                reply::described(&mut self.wire, &rows.encoder)?;
                let (sent, _) = rows.pump(&mut self.wire, watch, 0).await?;
                reply::complete(&mut self.wire, tag_of(&rows.tag, sent))?;
            }
            Opened::Copy { schema, stream, format } => {
                let tag = self.copy(schema, stream, &format, watch).await?;
                reply::complete(&mut self.wire, tag)?;
            }
        }
        Ok(())
    }
}

/// These have effects that no ROLLBACK takes back: they commit what stands before them in the string.
fn acts_at_once(statement: &Statement) -> bool {
    matches!(statement, Statement::TestSource(_) | Statement::WaitForPipe(_))
}
