//! The extended protocol: Parse, Bind, Describe, Execute, Close, Sync. After an error everything up to Sync is passed over.

use super::encode::{self, Encoder, Format, Style};
use super::message::{Bind, Target};
use super::statement::{Opened, Portal, Prepared, Progress, syntax_error, tag_of};
use super::wire::{Closed, Fail};
use super::{Session, decode, reply};
use crate::error::{Error, Kind, Result};
use crate::execute;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use pgwire::messages::PgWireBackendMessage as Backend;
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use std::sync::Arc;

impl Session {
    /// Parse.
    pub(super) async fn parse(&mut self, name: &str, query: &Bytes, types: &[u32]) -> Result<(), Fail> {
        let text: Arc<str> = Arc::from(decode::utf8(query)?);
        self.text = Some(text.clone());
        let mut statements = standpipe_grammar::parse(&text).map_err(syntax_error)?;
        let (Some(parsed), true) = (statements.pop(), statements.is_empty()) else {
            return Err(Error::new(Kind::Syntax, "cannot insert multiple commands into a prepared statement").into());
        };
        self.check_block(&parsed.statement)?;
        let watch = self.watch_for(&parsed);
        // 0 and unknown mean: find out
        let declared: Vec<Option<u32>> = types.iter().map(|t| Some(*t).filter(|t| *t != 0 && *t != encode::pg_type::UNKNOWN)).collect();
        let prepared = self.wire.watch(&watch, execute::prepare(&self.engine, &self.state, &parsed, &declared)).await?;
        self.statements.add(name, Prepared { text, prepared }, self.most_statements)?;
        Ok(self.wire.put(Backend::ParseComplete(ParseComplete::new()))?)
    }

    /// Bind.
    pub(super) fn bind(&mut self, bind: Bind) -> Result<(), Fail> {
        let statement = self.statements.get(&bind.statement)?;
        self.text = Some(statement.text.clone());
        self.check_block(&statement.prepared.parsed.statement)?;
        let wanted = statement.prepared.parameters.len();
        if bind.values.len() != wanted {
            let name = &bind.statement;
            let e = format!("bind message supplies {} parameters, but prepared statement \"{name}\" requires {wanted}", bind.values.len());
            return Err(Error::new(Kind::Protocol, e).into());
        }
        let formats = match Format::per_column(&bind.formats, wanted) {
            Ok(formats) => formats,
            Err(_) => return Err(Error::new(Kind::Protocol, format!("bind message has {} parameter formats but {wanted} parameters", bind.formats.len())).into()),
        };
        let style = Style::of(&self.state.settings);
        let types = statement.prepared.parameters.iter().zip(&statement.prepared.parameter_types);
        let each = bind.values.iter().zip(formats).zip(types).enumerate();
        let values = each.map(|(i, ((value, format), (oid, wanted)))| decode::parameter(i + 1, value.as_ref(), format, *oid, wanted, &style));
        let values = values.collect::<Result<Vec<_>>>()?;
        if let Some(schema) = self.columns_of(&statement)? {
            Encoder::new(schema, &bind.result_formats, style)?;
        }
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            return Err(Error::new(Kind::DuplicateCursor, format!("cursor \"{}\" already exists", bind.portal)).into());
        }
        if self.portals.len() >= self.most_statements {
            return Err(Error::new(Kind::LimitExceeded, format!("a session can have {} portals", self.most_statements)).into());
        }
        let portal = Portal { statement, values, formats: bind.result_formats, progress: Progress::Ready };
        self.portals.insert(bind.portal, portal);
        Ok(self.wire.put(Backend::BindComplete(BindComplete::new()))?)
    }

    /// Columns of a statement's rows, as Describe and Execute agree on them.
    fn columns_of(&self, statement: &Prepared) -> Result<Option<SchemaRef>> {
        match &statement.prepared.columns {
            Some(columns) => Ok(Some(columns.clone())),
            None => self.own_columns(&statement.prepared.parsed.statement),
        }
    }

    /// Describe.
    pub(super) fn describe(&mut self, target: &Target) -> Result<(), Fail> {
        match target {
            Target::Statement(name) => {
                let statement = self.statements.get(name)?;
                reply::parameters(&mut self.wire, &statement.prepared.parameters)?;
                match self.columns_of(&statement)? {
                    Some(schema) => reply::columns(&mut self.wire, &encode::columns(&schema)?)?,
                    None => reply::no_data(&mut self.wire)?,
                }
            }
            Target::Portal(name) => {
                let Some(portal) = self.portals.get(name) else {
                    // PostgreSQL's cursors are portals; psycopg describes the one that it declared
                    let schema = self.cursors.schema(name).map_err(|_| no_portal(name))?;
                    let encoder = Encoder::new(schema, &[], Style::of(&self.state.settings))?;
                    reply::described(&mut self.wire, &encoder)?;
                    return Ok(());
                };
                match self.columns_of(&portal.statement)? {
                    Some(schema) => {
                        let encoder = Encoder::new(schema, &portal.formats, Style::of(&self.state.settings))?;
                        reply::described(&mut self.wire, &encoder)?;
                    }
                    None => reply::no_data(&mut self.wire)?,
                }
            }
        }
        Ok(())
    }

    /// Execute.
    pub(super) async fn execute(&mut self, name: &str, most: usize) -> Result<(), Fail> {
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        self.text = Some(portal.statement.text.clone());
        let parsed = &portal.statement.prepared.parsed;
        let watch = self.watch_for(parsed);
        // a statement alone before its Sync commits by itself; several are one implicit transaction
        if !self.wire.sync_is_next() {
            self.open_implicit();
        }
        if let Progress::Ready = portal.progress {
            let values = std::mem::take(&mut portal.values);
            let statement = portal.statement.clone();
            portal.progress = match self.open(&statement, values, &watch).await? {
                Opened::Done(tag) => {
                    reply::complete(&mut self.wire, tag)?;
                    Progress::Done
                }
                Opened::Empty => {
                    reply::empty(&mut self.wire)?;
                    Progress::Done
                }
                Opened::Copy { schema, stream, format } => {
                    let tag = self.copy(schema, stream, &format, &watch).await?;
                    reply::complete(&mut self.wire, tag)?;
                    Progress::Done
                }
                Opened::Rows { schema, stream, tag, .. } => {
                    self.check_described(&statement, &schema)?;
                    Progress::Rows(Box::new(self.rows(schema, stream, tag, &portal.formats)?))
                }
            };
            if let Progress::Done = portal.progress {
                self.keep(name, portal);
                return Ok(());
            }
        }
        match &mut portal.progress {
            Progress::Rows(rows) => {
                let (sent, ended) = rows.pump(&mut self.wire, &watch, most as u64).await?;
                if ended {
                    let tag = rows.tag.clone();
                    reply::complete(&mut self.wire, tag_of(&tag, sent))?;
                    portal.progress = Progress::NoMore(tag);
                } else {
                    self.wire.put(Backend::PortalSuspended(PortalSuspended::new()))?;
                }
            }
            Progress::NoMore(tag) => reply::complete(&mut self.wire, tag_of(tag, 0))?,
            Progress::Done | Progress::Ready => {
                return Err(Error::new(Kind::WrongPhase, format!("portal \"{name}\" cannot be run")).into());
            }
        }
        self.keep(name, portal);
        Ok(())
    }

    /// Puts a portal back, unless what it ran has ended them all.
    fn keep(&mut self, name: &str, portal: Portal) {
        self.portals.insert(name.to_string(), portal);
    }

    /// What comes must be what was described. Errors: 0A000, as PostgreSQL has it.
    fn check_described(&self, statement: &Prepared, schema: &SchemaRef) -> Result<()> {
        let Some(described) = self.columns_of(statement)? else { return Ok(()) };
        if Arc::ptr_eq(&described, schema) || encode::columns(&described)? == encode::columns(schema)? {
            return Ok(());
        }
        Err(Error::new(Kind::NotSupported, "cached plan must not change result type").with_hint("Prepare the statement again."))
    }

    /// Close: what is not there is no error.
    pub(super) fn close(&mut self, target: &Target) -> Result<(), Fail> {
        match target {
            Target::Statement(name) => self.statements.close(name),
            Target::Portal(name) => drop(self.portals.remove(name)),
        }
        Ok(self.wire.put(Backend::CloseComplete(CloseComplete::new()))?)
    }

    /// Sync: ends the implicit transaction, and portals with it.
    pub(super) async fn sync(&mut self) -> Result<(), Closed> {
        self.skipping = false;
        let watch = self.watch_again();
        match self.close_implicit(&watch).await {
            Ok(()) => {}
            Err(Fail::Statement(e)) => {
                let text = self.text.clone();
                self.report(&e, text.as_deref())?;
            }
            Err(Fail::Connection(closed)) => return Err(closed),
        }
        if !self.state.in_block() {
            self.portals.clear();
        }
        self.ready().await
    }
}

fn no_portal(name: &str) -> Error {
    Error::new(Kind::UndefinedCursor, format!("portal \"{name}\" does not exist"))
}
