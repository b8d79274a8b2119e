//! Transaction blocks: BEGIN to COMMIT or ROLLBACK, savepoints, and the implicit block of several statements sent together.

use super::Session;
use super::wire::{Fail, Watch};
use crate::error::{Error, Kind, Result};
use crate::execute;
use crate::plan::{Block, Notice, Overlay};
use standpipe_grammar::Statement;
use standpipe_grammar::sqlparser::ast::Statement as Sql;

/// Ends a block, or goes back inside it: what a failed block still takes.
pub fn ends_block(statement: &Statement) -> bool {
    matches!(statement, Statement::Sql(s) if matches!(**s, Sql::Commit { .. } | Sql::Rollback { .. })) || *statement == Statement::Empty
}

impl Session {
    /// The status of ReadyForQuery.
    pub(super) fn status(&self) -> u8 {
        match self.state.block {
            Block::None | Block::Open { implicit: true, .. } => b'I',
            Block::Open { .. } => b'T',
            Block::Failed { .. } => b'E',
        }
    }

    /// Refuses what a failed block does not take. Errors: 25P02.
    pub(super) fn check_block(&self, statement: &Statement) -> Result<()> {
        match self.state.block {
            Block::Failed { .. } if !ends_block(statement) => {
                Err(Error::new(Kind::FailedTransaction, "current transaction is aborted, commands ignored until end of transaction block"))
            }
            _ => Ok(()),
        }
    }

    /// Opens an implicit block where there is none.
    pub(super) fn open_implicit(&mut self) {
        if let Block::None = self.state.block {
            self.state.block = Block::Open { overlay: Overlay::default(), implicit: true };
            self.settings.begin();
        }
    }

    /// Commits an implicit block, if one is open.
    pub(super) async fn close_implicit(&mut self, watch: &Watch) -> Result<(), Fail> {
        if let Block::Open { implicit: true, .. } = self.state.block {
            self.commit(watch).await?;
        }
        Ok(())
    }

    /// After an error: an implicit block is undone, an open one has failed.
    pub(super) fn failed(&mut self) {
        match std::mem::take(&mut self.state.block) {
            Block::None => {}
            Block::Open { implicit: true, .. } => self.undo(),
            Block::Open { overlay, .. } | Block::Failed { overlay } => self.state.block = Block::Failed { overlay },
        }
    }

    fn undo(&mut self) {
        execute::rollback(&mut self.state);
        self.settings.rollback(&mut self.state.settings);
        self.cursors.block_ended(false);
    }

    async fn commit(&mut self, watch: &Watch) -> Result<(), Fail> {
        let done = self.wire.watch(watch, execute::commit(&self.engine, &mut self.state)).await;
        match done {
            Ok(notices) => {
                self.settings.commit(&mut self.state.settings);
                self.cursors.block_ended(true);
                self.remark(&notices, None)?;
                Ok(())
            }
            Err(e) => {
                self.undo();
                Err(e)
            }
        }
    }

    /// BEGIN. Inside an implicit block it makes that one the user's.
    pub(super) fn begin(&mut self, read_only: Option<bool>, isolation: Option<&str>) -> Result<()> {
        match &mut self.state.block {
            Block::Open { implicit, .. } if *implicit => *implicit = false,
            Block::None => {
                self.state.block = Block::Open { overlay: Overlay::default(), implicit: false };
                self.settings.begin();
            }
            _ => self.remark(&[Notice::warning("25001", "there is already a transaction in progress")], None)?,
        }
        self.modes(read_only, isolation, true)
    }

    fn modes(&mut self, read_only: Option<bool>, isolation: Option<&str>, this_block: bool) -> Result<()> {
        let prefix = if this_block { "transaction" } else { "default_transaction" };
        if let Some(on) = read_only {
            self.set(&format!("{prefix}_read_only"), Some(if on { "on" } else { "off" }), this_block)?;
        }
        if let Some(level) = isolation {
            self.set(&format!("{prefix}_isolation"), Some(level), this_block)?;
        }
        Ok(())
    }

    /// SET TRANSACTION, SET SESSION CHARACTERISTICS.
    pub(super) fn set_transaction(&mut self, session: bool, read_only: Option<bool>, isolation: Option<&str>) -> Result<()> {
        if !session && !matches!(self.state.block, Block::Open { .. }) {
            return self.remark(&[Notice::warning("25P01", "SET TRANSACTION can only be used in transaction blocks")], None);
        }
        self.modes(read_only, isolation, !session)
    }

    /// COMMIT and ROLLBACK; gives the tag.
    pub(super) async fn end(&mut self, well: bool, chain: bool, watch: &Watch) -> Result<String, Fail> {
        let settings = self.state.settings.clone();
        let outside = matches!(self.state.block, Block::None | Block::Open { implicit: true, .. });
        if outside {
            if chain {
                let what = if well { "COMMIT" } else { "ROLLBACK" };
                return Err(Error::new(Kind::NoTransaction, format!("{what} AND CHAIN can only be used in transaction blocks")).into());
            }
            self.remark(&[Notice::warning("25P01", "there is no transaction in progress")], None)?;
        }
        let tag = match &self.state.block {
            Block::None if well => "COMMIT",
            Block::None => "ROLLBACK",
            Block::Open { .. } if well => {
                self.commit(watch).await?;
                "COMMIT"
            }
            _ => {
                self.undo();
                "ROLLBACK"
            }
        };
        if chain {
            self.begin(Some(settings.flag("transaction_read_only")), Some(settings.text("transaction_isolation")))?;
        }
        Ok(tag.to_string())
    }

    fn overlay(&mut self, what: &str) -> Result<&mut Overlay> {
        match &mut self.state.block {
            Block::Open { overlay, implicit: false } | Block::Failed { overlay } => Ok(overlay),
            _ => Err(Error::new(Kind::NoTransaction, format!("{what} can only be used in transaction blocks"))),
        }
    }

    /// SAVEPOINT.
    pub(super) fn savepoint(&mut self, name: &str) -> Result<()> {
        let overlay = self.overlay("SAVEPOINT")?;
        let here = (name.to_string(), overlay.changes.len(), overlay.after.len());
        overlay.savepoints.push(here);
        self.settings.savepoint(&self.state.settings, name);
        Ok(())
    }

    fn find_savepoint(overlay: &Overlay, name: &str) -> Result<usize> {
        let at = overlay.savepoints.iter().rposition(|(n, ..)| n == name);
        at.ok_or_else(|| Error::new(Kind::UndefinedSavepoint, format!("savepoint \"{name}\" does not exist")))
    }

    /// RELEASE SAVEPOINT.
    pub(super) fn release(&mut self, name: &str) -> Result<()> {
        let overlay = self.overlay("RELEASE SAVEPOINT")?;
        let at = Self::find_savepoint(overlay, name)?;
        overlay.savepoints.truncate(at);
        self.settings.release(name);
        Ok(())
    }

    /// ROLLBACK TO SAVEPOINT: also mends a failed block.
    pub(super) fn rollback_to(&mut self, name: &str) -> Result<()> {
        let overlay = self.overlay("ROLLBACK TO SAVEPOINT")?;
        let at = Self::find_savepoint(overlay, name)?;
        let (_, changes, after) = &overlay.savepoints[at];
        let (changes, after) = (*changes, *after);
        overlay.changes.truncate(changes);
        overlay.after.truncate(after);
        overlay.savepoints.truncate(at + 1);
        let overlay = std::mem::take(overlay);
        self.state.block = Block::Open { overlay, implicit: false };
        self.settings.rollback_to(&mut self.state.settings, name);
        Ok(())
    }
}
