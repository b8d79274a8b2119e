//! What the session does itself: transactions, settings, cursors, and prepared statements of SQL.

use super::cursors::{Cursor, Options};
use super::encode::by_name;
use super::statement::{Opened, Prepared};
use super::wire::{Fail, Watch};
use super::{Session, settings};
use crate::config::SETTINGS;
use crate::data::rows;
use crate::error::{Error, Kind, Result};
use crate::execute::{self, Body};
use crate::plan::{Block, SessionCommand};
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use standpipe_grammar::ast::session::Fetch;
use standpipe_grammar::sqlparser::ast as sql;
use standpipe_grammar::{Parsed, Statement};
use std::sync::Arc;

impl Session {
    /// Columns of statements that only the session knows: FETCH and EXECUTE.
    pub(super) fn own_columns(&self, statement: &Statement) -> Result<Option<SchemaRef>> {
        match statement {
            Statement::Fetch(Fetch { is_move: false, cursor, .. }) => self.cursors.schema(&cursor.value).map(Some),
            Statement::Sql(s) => match &**s {
                sql::Statement::Execute { name: Some(name), .. } => {
                    let name = name.0.last().and_then(|p| p.as_ident()).map(|i| folded(i)).unwrap_or_default();
                    Ok(self.statements.get(&name)?.prepared.columns.clone())
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Carries out one command.
    pub(super) async fn command(&mut self, command: SessionCommand, spoken: &str, watch: &Watch) -> Result<Opened, Fail> {
        use SessionCommand as C;
        let mut tag = spoken.to_string();
        match command {
            C::Begin { read_only, isolation } => self.begin(read_only, isolation.as_deref())?,
            C::Commit { chain } => tag = self.end(true, chain, watch).await?,
            C::Rollback { chain } => tag = self.end(false, chain, watch).await?,
            C::Savepoint(name) => self.savepoint(&name)?,
            C::Release(name) => self.release(&name)?,
            C::RollbackTo(name) => self.rollback_to(&name)?,
            C::Set { name, value, local } => self.set(&name, value.as_deref(), local)?,
            C::SetTransaction { session, read_only, isolation } => self.set_transaction(session, read_only, isolation.as_deref())?,
            C::Show(name) => {
                let setting = settings::find(&name)?;
                let value = self.state.settings.text(setting.name).to_string();
                return Ok(text_rows(&[(setting.name.to_string(), "text")], vec![vec![Some(value)]], "SHOW")?);
            }
            C::ShowAll => return Ok(self.show_all()?),
            C::Reset(None) => self.settings.reset_all(&mut self.state.settings)?,
            C::Reset(Some(name)) => self.set(&name, None, false)?,
            C::Discard(what) => self.discard(&what)?,
            C::Declare { name, query, hold, scroll, binary } => self.declare(&name, *query, (hold, scroll, binary), watch).await?,
            C::Fetch(fetch) => return self.fetch(fetch, watch).await,
            C::Close(name) => {
                self.cursors.close(name.as_deref())?;
                tag = if name.is_some() { "CLOSE CURSOR" } else { "CLOSE CURSOR ALL" }.into();
            }
            C::Deallocate(name) => {
                self.statements.deallocate(name.as_deref())?;
                tag = if name.is_some() { "DEALLOCATE" } else { "DEALLOCATE ALL" }.into();
            }
            C::Prepare { name, statement, types } => self.prepare_sql(&name, *statement, &types, watch).await?,
            C::Execute { name, values } => return self.execute_sql(&name, values, watch).await,
            C::Accept(tag) => return Ok(Opened::Done(tag.into())),
        }
        Ok(Opened::Done(tag))
    }

    /// SET of one setting, with what hangs on it.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        if local && !matches!(self.state.block, Block::Open { .. }) {
            let warning = crate::plan::Notice::warning("25P01", "SET LOCAL can only be used in transaction blocks");
            return self.remark(&[warning], None);
        }
        self.settings.set(&mut self.state.settings, name, value, local)
    }

    fn show_all(&self) -> Result<Opened> {
        let row = |s: &crate::config::Setting| vec![Some(s.name.to_string()), Some(self.state.settings.text(s.name).to_string()), Some(s.doc.to_string())];
        let columns = rows::columns(&[("name", "text"), ("setting", "text"), ("description", "text")]);
        let mut all: Vec<_> = SETTINGS.iter().map(row).collect();
        all.sort();
        text_rows(&columns, all, "SHOW")
    }

    fn discard(&mut self, what: &str) -> Result<()> {
        match what {
            "ALL" => {
                if !matches!(self.state.block, Block::None) {
                    return Err(Error::new(Kind::ActiveTransaction, "DISCARD ALL cannot run inside a transaction block"));
                }
                self.cursors.close(None)?;
                self.statements.deallocate(None)?;
                self.portals.clear();
                self.settings.reset_all(&mut self.state.settings)
            }
            // plans are resolved anew when the catalog has moved; there are no temporary tables and no sequences
            _ => Ok(()),
        }
    }

    async fn declare(&mut self, name: &str, query: sql::Statement, (hold, scroll, binary): (bool, bool, bool), watch: &Watch) -> Result<(), Fail> {
        if !hold && matches!(self.state.block, Block::None) {
            return Err(Error::new(Kind::NoTransaction, "DECLARE CURSOR can only be used in transaction blocks").into());
        }
        let Body::Rows { schema, stream, .. } = self.run_ast(query, watch).await? else {
            return Err(Error::internal("a cursor's query gives no rows").into());
        };
        let memory = self.state.settings.size("cursor.scroll-memory");
        let cursor = Cursor::new(schema, stream, Options { hold, scroll, binary, memory });
        let in_block = !matches!(self.state.block, Block::None);
        Ok(self.cursors.declare(name, cursor, in_block)?)
    }

    /// Runs a query that is given as a tree.
    async fn run_ast(&mut self, query: sql::Statement, watch: &Watch) -> Result<Body, Fail> {
        let parsed = from_tree(query);
        let prepared = self.wire.watch(watch, execute::prepare(&self.engine, &self.state, &parsed, &[])).await?;
        let output = self.wire.watch(watch, execute::run(&self.engine, &mut self.state, &prepared, vec![])).await?;
        self.remark(&output.notices, None)?;
        Ok(output.body)
    }

    async fn fetch(&mut self, fetch: Fetch, watch: &Watch) -> Result<Opened, Fail> {
        let cursor = self.cursors.get(&fetch.cursor.value)?;
        let batches = self.wire.watch(watch, cursor.go(fetch.direction)).await?;
        let count: usize = batches.iter().map(|b| b.num_rows()).sum();
        if fetch.is_move {
            return Ok(Opened::Done(format!("MOVE {count}")));
        }
        let (schema, binary) = (cursor.schema.clone(), cursor.binary);
        let stream = RecordBatchStreamAdapter::new(schema.clone(), futures::stream::iter(batches.into_iter().map(Ok)));
        Ok(Opened::Rows { schema, stream: Box::pin(stream), tag: format!("FETCH {count}"), binary })
    }

    async fn prepare_sql(&mut self, name: &str, statement: sql::Statement, types: &[String], watch: &Watch) -> Result<(), Fail> {
        if !matches!(statement, sql::Statement::Query(_) | sql::Statement::Explain { .. }) {
            return Err(Error::new(Kind::NotSupported, "PREPARE takes queries alone").into());
        }
        let declared = types.iter().map(|t| type_number(t).map(Some)).collect::<Result<Vec<_>>>()?;
        let parsed = from_tree(statement);
        let prepared = self.wire.watch(watch, execute::prepare(&self.engine, &self.state, &parsed, &declared)).await?;
        let text = Arc::from(parsed.text.as_str());
        Ok(self.statements.add(name, Prepared { text, prepared }, self.most_statements)?)
    }

    async fn execute_sql(&mut self, name: &str, values: Vec<sql::Expr>, watch: &Watch) -> Result<Opened, Fail> {
        let statement = self.statements.get(name)?;
        let wanted = statement.prepared.parameter_types.clone();
        if wanted.len() != values.len() {
            let e = Error::new(Kind::Syntax, format!("wrong number of parameters for prepared statement \"{name}\""));
            return Err(e.with_detail(format!("Expected {} parameters but got {}.", wanted.len(), values.len())).into());
        }
        let mut params = Vec::new();
        if !values.is_empty() {
            let list = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            params = self.evaluate(&list, watch).await?;
        }
        let cast = |(value, data_type): (ScalarValue, &_)| value.cast_to(data_type).map_err(|e| Error::new(Kind::TypeMismatch, "a parameter does not fit its type").with_detail(e.strip_backtrace()));
        let params = params.into_iter().zip(&wanted).map(cast).collect::<Result<Vec<_>>>()?;
        let output = self.wire.watch(watch, execute::run(&self.engine, &mut self.state, &statement.prepared, params)).await?;
        self.remark(&output.notices, None)?;
        match output.body {
            Body::Rows { schema, stream, tag } => Ok(Opened::Rows { schema, stream, tag, binary: false }),
            _ => Err(Error::internal("a prepared query gives no rows").into()),
        }
    }

    /// Values of constant expressions.
    async fn evaluate(&mut self, list: &str, watch: &Watch) -> Result<Vec<ScalarValue>, Fail> {
        let parsed = standpipe_grammar::parse(&format!("SELECT {list}")).map_err(super::statement::syntax_error)?;
        let Some(Statement::Sql(query)) = parsed.into_iter().next().map(|p| p.statement) else {
            return Err(Error::internal("values are no query").into());
        };
        let Body::Rows { stream, .. } = self.run_ast(*query, watch).await? else {
            return Err(Error::internal("values are no rows").into());
        };
        let batch = self.wire.watch(watch, super::rows::Batches::of(stream).next()).await?;
        let batch = batch.filter(|b| b.num_rows() == 1).ok_or_else(|| Error::internal("values are not one row"))?;
        let value = |c: &ArrayRef| ScalarValue::try_from_array(c, 0).map_err(|e| Error::internal("a value can't be read").with_detail(e.strip_backtrace()));
        Ok(batch.columns().iter().map(value).collect::<Result<_>>()?)
    }
}

fn from_tree(statement: sql::Statement) -> Parsed {
    let text = statement.to_string();
    Parsed { statement: Statement::Sql(Box::new(statement)), span: 0..text.len(), text, notices: Vec::new() }
}

fn folded(name: &sql::Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

fn text_rows(columns: &[rows::ColumnSpec], values: Vec<Vec<Option<String>>>, tag: &str) -> Result<Opened> {
    let batch = rows::batch(columns, &values)?;
    let schema = batch.schema();
    let stream = RecordBatchStreamAdapter::new(schema.clone(), futures::stream::iter([Ok(batch)]));
    Ok(Opened::Rows { schema, stream: Box::pin(stream), tag: tag.to_string(), binary: false })
}

/// The number of a type as SQL spells it. Errors: 42704.
fn type_number(spelled: &str) -> Result<u32> {
    let plain = spelled.split('(').next().unwrap_or(spelled).trim();
    let (base, array) = match plain.strip_suffix("[]") {
        Some(base) => (base, "_"),
        None => (plain, ""),
    };
    let name = match base {
        "boolean" => "bool",
        "smallint" => "int2",
        "integer" | "int" => "int4",
        "bigint" => "int8",
        "real" => "float4",
        "double precision" | "float" | "double" => "float8",
        "decimal" | "dec" => "numeric",
        "character varying" => "varchar",
        "character" | "char" => "bpchar",
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        "time without time zone" => "time",
        "time with time zone" => "timetz",
        other => other,
    };
    by_name(&format!("{array}{name}")).ok_or_else(|| Error::new(Kind::UndefinedObject, format!("type \"{spelled}\" does not exist")))
}
