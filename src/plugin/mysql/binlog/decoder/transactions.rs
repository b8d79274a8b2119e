//! Where transactions begin and end, and what statements in the log mean for the tables that are followed.

use super::super::event;
use super::super::statement::{self, Statement};
use super::{At, Current, Decoder, Gtid, Step};
use crate::data::{Content, Part, TableName, Txn};
use crate::error::{Error, Kind, Result};
use crate::plugin::mysql::client::malformed;
use crate::plugin::mysql::position::{Gtids, Place};
use arrow::buffer::BooleanBuffer;

/// With these words CREATE TABLE ... SELECT of MySQL 8.0.21 is logged: its rows follow in the same transaction.
const GOES_ON: &str = "START TRANSACTION";

impl Decoder {
    /// A transaction begins; `standalone`: one statement alone.
    pub(super) fn begin(&mut self, at: &At, id: String, gtid: Option<Gtid>, standalone: bool) -> Result<Step> {
        let start = Place { file: at.end.file.clone(), offset: at.begin };
        if self.current.is_some() {
            return Err(malformed("A transaction of the log begins inside another one."));
        }
        let time = i64::from(at.time) * 1_000_000;
        let mut current = Current {
            start,
            id,
            gtid,
            standalone,
            time,
            origin: None,
            dropped: false,
            begun: false,
            index: None,
            delivered: false,
            stale: false,
            touched: Vec::new(),
        };
        let start = &current.start;
        if start.order() < self.start.order() {
            if self.fresh && matches!(current.gtid, Some(Gtid::Mysql(..))) {
                (current.stale, current.dropped) = (true, true);
                self.current = Some(current);
                return Ok(Step::Taken);
            }
            return Err(Error::new(Kind::PositionLost, "the source shows another history than the one that was read")
                .with_detail(format!("Transaction {} begins at {start}, before {}, and was not there.", current.id, self.start)));
        }
        if let Some(stop) = self.stops.front().filter(|s| s.order() <= start.order()).cloned() {
            self.stops.pop_front();
            self.reach(stop);
            self.ends = true;
            return Ok(Step::Ends);
        }
        self.reach(start.clone());
        self.fresh = false;
        if current.id.is_empty() {
            current.id = start.to_string();
        }
        self.current = Some(current);
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
        if current.stale {
            return Ok(());
        }
        let xid = format!("{}@{}/{:08x}", current.id, at.begin, at.print);
        let txn = Txn { position: self.position_of(&at.end), commit_time: i64::from(at.time) * 1_000_000, xid, origin: current.origin };
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
    /// Rows of a transaction whose outcome is not known must not be handed on: its tables fail, each with an error of its own.
    pub(super) fn refuse_undecided(&mut self) -> Result<()> {
        let error = |c: &Current| {
            Error::new(Kind::NotSupported, "an XA transaction that is only prepared changes a table of the pipe")
                .with_detail(format!("Transaction {} at {}.", c.id, c.start))
                .with_hint("RESYNC the table when it is committed; leave tables that XA transactions write out.")
        };
        self.fail_touched(error)
    }
    /// The next one of the transaction's tables fails; without one left it is as if it had changed none of ours.
    fn fail_touched(&mut self, error: impl Fn(&Current) -> Error) -> Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        let Some(key) = current.touched.iter().find(|key| self.tables.get(*key).is_some_and(|t| !t.broken)).cloned() else { return Ok(()) };
        let e = error(current);
        Err(self.broke(&key, e))
    }
    /// The server was started again where a transaction should go on: what it wrote of that one before it fell is no transaction.
    pub(super) fn cut_off(&mut self, at: &At) -> Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        if current.delivered {
            return Err(Error::new(Kind::PositionLost, "the source's log ends inside a transaction, of which a part was handed on")
                .with_detail(format!("Transaction {} began at {}; the log goes on at {}.", current.id, current.start, at.end)));
        }
        let index = current.index;
        self.close()?;
        self.current = None;
        let Some(index) = index else { return Ok(()) };
        for part in std::mem::take(&mut self.parts) {
            let content = match part.content {
                Content::Rows(rows) => {
                    let before = BooleanBuffer::collect_bool(rows.len(), |i| rows.txn[i] != index);
                    Content::Rows(rows.select(&before)?)
                }
                other => other,
            };
            if !matches!(&content, Content::Rows(rows) if rows.is_empty()) {
                self.parts.push(Part { table: part.table, content });
            }
        }
        self.txns.truncate(index as usize);
        Ok(())
    }
    pub(super) fn statement(&mut self, query: &event::Query, at: &At) -> Result<Step> {
        let statement = statement::parse(&query.sql, &query.database);
        match statement {
            Statement::Begin => {
                match &mut self.current {
                    // MySQL's GTID stands before the BEGIN
                    Some(current) => current.standalone = false,
                    None => return self.begin(at, String::new(), None, false),
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
                self.fail_touched(|c| {
                    Error::new(Kind::NotSupported, "the log has a transaction that was rolled back")
                        .with_detail(format!("Transaction {} at {}; it changed tables of engines without transactions too.", c.id, c.start))
                        .with_hint("RESYNC the table; use InnoDB for all tables.")
                })?;
                if self.current.is_some() {
                    self.commit(at)?;
                }
                return Ok(Step::Taken);
            }
            _ => {}
        }
        if self.current.is_none() {
            let begun = self.begin(at, String::new(), None, true)?;
            if begun != Step::Taken {
                return Ok(begun);
            }
        }
        if self.current.as_ref().is_some_and(|c| !c.stale) {
            self.definition(statement, query)?;
        }
        if query.sql.trim_end().to_ascii_uppercase().ends_with(GOES_ON)
            && let Some(current) = &mut self.current
        {
            current.standalone = false;
        }
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
                    let replaced = pairs.iter().any(|(copy, to)| self.key(to) == self.key(from) && statement::is_copy_of(copy, from));
                    if !replaced {
                        self.gone(from, "renamed")?;
                    }
                }
            }
            Statement::DropDatabase(name) => {
                let lost = self.key(&TableName::new(name, String::new())).schema;
                let names: Vec<TableName> = self.tables.iter().filter(|(key, t)| key.schema == lost && !t.broken).map(|(_, t)| t.table.name.clone()).collect();
                for name in names {
                    self.gone(&name, "dropped")?;
                }
            }
            Statement::RowsUnlogged(names) => {
                for name in names {
                    self.unlogged(&name)?;
                }
            }
            Statement::Cascade(name) if self.settings.cascades => self.cascades(&name)?,
            Statement::Rows => self.by_statement(query.sql.as_bytes())?,
            _ => {}
        }
        for tracked in self.tables.values_mut().filter(|t| statement::mentions(query.sql.as_bytes(), &t.table.name)) {
            tracked.suspect = true;
        }
        self.note_doubts();
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
    /// Rows of a table came or went, and the log does not say which.
    fn unlogged(&mut self, name: &TableName) -> Result<()> {
        let key = self.key(name);
        let Some(tracked) = self.tables.get(&key).filter(|t| !t.broken) else { return Ok(()) };
        let name = &tracked.table.name;
        let e = Error::new(Kind::NotSupported, format!("rows of table {name} came or went with a partition or a tablespace, which the source's log does not have"));
        Err(self.broke(&key, e.with_hint("RESYNC the table.")))
    }
    /// Rows of a table change with those of another from here on, and the log does not say so.
    fn cascades(&mut self, name: &TableName) -> Result<()> {
        let key = self.key(name);
        let Some(tracked) = self.tables.get(&key).filter(|t| !t.broken) else { return Ok(()) };
        let name = &tracked.table.name;
        let e = Error::new(Kind::NotSupported, format!("table {name} got a foreign key that changes its rows, which the source's log does not have"));
        let hint = "Drop the foreign key at the source, make it again with RESTRICT and let the application change the rows; then RESYNC the table.";
        Err(self.broke(&key, e.with_hint(hint)))
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
