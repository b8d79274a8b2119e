//! Where transactions begin and end, and what statements in the log mean for the tables that are followed.

use super::super::event;
use super::super::statement::{self, Statement};
use super::{At, Current, Decoder, Gtid, Step};
use crate::data::{Content, Part, TableName, Txn};
use crate::error::{Error, Kind, Result};
use crate::plugin::mysql::client::malformed;
use crate::plugin::mysql::position::{Gtids, Place};

impl Decoder {
    /// A transaction begins; `marks`: one statement alone, prepared only.
    pub(super) fn begin(&mut self, at: &At, id: String, gtid: Option<Gtid>, (standalone, prepared): (bool, bool)) -> Result<Step> {
        let start = Place { file: at.end.file.clone(), offset: at.begin };
        if self.current.is_some() {
            return Err(malformed("A transaction of the log begins inside another one."));
        }
        if start.order() < self.start.order() {
            return Err(Error::new(Kind::PositionLost, "the source shows another history than the one that was read")
                .with_detail(format!("Transaction {id} begins at {start}, before {}, and was not there.", self.start)));
        }
        if let Some(stop) = self.stops.front().filter(|s| s.order() <= start.order()).cloned() {
            self.stops.pop_front();
            self.reach(stop);
            self.ends = true;
            return Ok(Step::Ends);
        }
        self.reach(start.clone());
        let id = if id.is_empty() { start.to_string() } else { id };
        let time = i64::from(at.time) * 1_000_000;
        self.current = Some(Current { start, id, gtid, standalone, prepared, time, origin: None, dropped: false, begun: false, index: None, delivered: false });
        Ok(Step::Taken)
    }
    pub(super) fn commit(&mut self, at: &At) -> Result<()> {
        let Some(current) = self.current.take() else {
            return Err(malformed("A commit in the log without its transaction."));
        };
        match current.gtid {
            Some(Gtid::Maria(domain, server, number)) => self.gtids.add_maria(domain, server, number),
            Some(Gtid::Mysql(source, number)) => self.gtids.add_mysql(&source, number),
            None => {}
        }
        let xid = format!("{}@{}/{:08x}", current.id, at.begin, at.print);
        let txn = Txn { position: at.end.position(&self.gtids), commit_time: i64::from(at.time) * 1_000_000, xid, origin: current.origin };
        match current.index {
            Some(i) => self.txns[i as usize] = txn,
            None => self.txns.push(txn),
        }
        if current.delivered {
            self.skip = 0;
        }
        if self.stops.front().is_some_and(|s| s.order() <= at.end.order()) {
            self.stops.pop_front();
            self.ends = true;
        }
        self.reach(at.end.clone());
        Ok(())
    }
    /// The transaction's place in the batch's list; None: its rows are left out.
    pub(super) fn txn(&mut self) -> Result<Option<u32>> {
        let Some(current) = &mut self.current else {
            return Err(malformed("A change in the log outside a transaction."));
        };
        current.begun = true;
        if current.dropped {
            return Ok(None);
        }
        if let Some(index) = current.index {
            return Ok(Some(index));
        }
        let index = self.txns.len() as u32;
        // its end is not known yet; this compares with every end and every instant as it will
        let position = Place { offset: current.start.offset + 1, ..current.start.clone() }.position(&Gtids::None);
        self.txns.push(Txn { position, commit_time: current.time, xid: current.id.clone(), origin: current.origin.clone() });
        current.index = Some(index);
        Ok(Some(index))
    }
    /// Rows of a transaction whose outcome is not known, or that was undone, must not be handed on.
    pub(super) fn refuse_undecided(&self) -> Result<()> {
        match &self.current {
            Some(c) if (c.index.is_some() || c.delivered) && c.prepared => {
                Err(Error::new(Kind::NotSupported, "an XA transaction that is only prepared changes a table of the pipe")
                    .with_detail(format!("Transaction {} at {}.", c.id, c.start))
                    .with_hint("RESYNC the pipe when it is committed; leave tables that XA transactions write out."))
            }
            _ => Ok(()),
        }
    }
    pub(super) fn statement(&mut self, query: &event::Query, at: &At) -> Result<Step> {
        let statement = statement::parse(&query.sql, &query.database);
        match statement {
            Statement::Begin => {
                match &mut self.current {
                    // MySQL's GTID stands before the BEGIN
                    Some(current) => current.standalone = false,
                    None => return self.begin(at, String::new(), None, (false, false)),
                }
                return Ok(Step::Taken);
            }
            Statement::Within => return Ok(Step::Taken),
            Statement::Commit | Statement::XaEnd => {
                if self.current.is_some() {
                    self.commit(at)?;
                }
                return Ok(Step::Taken);
            }
            Statement::Rollback => {
                if self.current.as_ref().is_some_and(|c| c.index.is_some() || c.delivered) {
                    return Err(Error::new(Kind::NotSupported, "the log has a transaction that was rolled back")
                        .with_detail("It changed tables of engines without transactions too.")
                        .with_hint("RESYNC the pipe; use InnoDB for all tables."));
                }
                if self.current.is_some() {
                    self.commit(at)?;
                }
                return Ok(Step::Taken);
            }
            _ => {}
        }
        if self.current.is_none() {
            let begun = self.begin(at, String::new(), None, (true, false))?;
            if begun != Step::Taken {
                return Ok(begun);
            }
        }
        self.definition(statement, query)?;
        if self.current.as_ref().is_some_and(|c| c.standalone) {
            self.commit(at)?;
        }
        Ok(Step::Taken)
    }
    /// A statement that may concern followed tables.
    pub(super) fn definition(&mut self, statement: Statement, query: &event::Query) -> Result<()> {
        match statement {
            Statement::Truncate(name) => return self.truncate(&name),
            Statement::Drop(names) => {
                for name in names {
                    self.gone(&name, "dropped")?;
                }
            }
            Statement::Rename(pairs) => {
                for (from, _) in &pairs {
                    let replaced = pairs.iter().any(|(_, to)| self.key(to) == self.key(from));
                    if !replaced {
                        self.gone(from, "renamed")?;
                    }
                }
            }
            Statement::Rows => self.by_statement(query.sql.as_bytes())?,
            _ => {}
        }
        for tracked in self.tables.values_mut().filter(|t| statement::mentions(query.sql.as_bytes(), &t.table.name)) {
            tracked.suspect = true;
        }
        Ok(())
    }
    pub(super) fn truncate(&mut self, name: &TableName) -> Result<()> {
        let Some(table) = self.tables.get(&self.key(name)).filter(|t| !t.broken).map(|t| t.table.clone()) else { return Ok(()) };
        if self.txn()?.is_none() {
            return Ok(());
        }
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        self.close()?;
        self.parts.push(Part { table, content: Content::Truncate });
        self.count += 1;
        self.ends = true;
        Ok(())
    }
    /// A table's rows are no longer where they were.
    pub(super) fn gone(&mut self, name: &TableName, how: &str) -> Result<()> {
        let key = self.key(name);
        let Some(tracked) = self.tables.get_mut(&key).filter(|t| !t.broken) else { return Ok(()) };
        (tracked.rows, tracked.broken) = (None, true);
        let name = tracked.table.name.to_string();
        Err(Error::new(Kind::UndefinedTable, format!("table {name} was {how} at the source")).with_hint("RESYNC the table if there is one of that name again.").for_table(name))
    }
    /// A statement stands in the log where rows should.
    pub(super) fn by_statement(&mut self, sql: &[u8]) -> Result<()> {
        let Some(tracked) = self.tables.values_mut().find(|t| !t.broken && statement::mentions(sql, &t.table.name)) else { return Ok(()) };
        (tracked.rows, tracked.broken) = (None, true);
        let name = tracked.table.name.to_string();
        Err(Error::new(Kind::NotSupported, format!("a statement that seems to change table {name} was logged without its rows"))
            .with_hint("Set binlog_format = ROW at the source, for its sessions too, and RESYNC the table.")
            .for_table(name))
    }
}
