//! One flush of a table: set-up, truncate, change of structure, changes of rows or swap, in one commit with the flush's `seq`.

use super::draft::Draft;
use super::log::Plan;
use super::schema::{GENERATION, OWNER, TABLE_ID, TableMeta};
use super::state::{Claim, Outcome, State, View, seq_id};
use super::table::{LakeTable, now};
use super::work::{Applied, Existing, Setup, Work};
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::MutexGuard;
use uuid::Uuid;

impl LakeTable {
    /// Does the work in one commit with `seq`. A shard that is at `seq` already did it before: nothing happens. `previous` is where the
    /// shard must be; anywhere else it is fenced (set-up takes the table wherever it is).
    pub async fn flush(&self, seq: i64, previous: i64, work: &[Work]) -> Result<Applied> {
        self.flush_draft(None, seq, previous, work).await
    }

    /// The same, after what was done ahead.
    pub async fn flush_draft(&self, draft: Option<Draft>, seq: i64, previous: i64, work: &[Work]) -> Result<Applied> {
        let mut state = self.lock().await?;
        for _ in 0..self.settings.commit_attempts.max(1) {
            if state.is_ours() && state.marks.seq == Some(seq) {
                self.check_claim(&state)?;
                return Ok(Applied::default());
            }
            if let Some(applied) = self.attempt(&mut state, draft.as_ref(), seq, previous, work).await? {
                return Ok(applied);
            }
        }
        Err(self.busy())
    }

    /// Lets go of the table of a dropped pipe. Nobody else commits for that pipe any more.
    pub async fn leave(&self, pipe: Uuid) -> Result<()> {
        let mut state = self.lock().await?;
        for _ in 0..self.settings.commit_attempts.max(1) {
            if state.meta.properties.get(OWNER) != Some(&pipe.hyphenated().to_string()) {
                return Ok(());
            }
            let plan = plan_leave(&state);
            if self.commit_unchecked(&mut state, plan).await? == Outcome::Done {
                return Ok(());
            }
        }
        Err(self.busy())
    }

    /// One plan and commit; `None`: the version moved.
    async fn attempt(&self, state: &mut MutexGuard<'_, State>, draft: Option<&Draft>, seq: i64, previous: i64, work: &[Work]) -> Result<Option<Applied>> {
        let Some(claim) = state.claim else { return Err(Error::internal("a lake table is written before it is claimed")) };
        let (plan, applied) = match work {
            [Work::Setup(_) | Work::Swap(_) | Work::Leave] if draft.is_some() => {
                return Err(Error::internal("a set-up or swap of a lake table is a flush of its own"));
            }
            [Work::Setup(setup)] => (self.plan_setup(state, claim, setup)?, Applied::default()),
            [Work::Swap(setup)] if !state.is_ours() => (self.plan_take(state, claim, setup).await?, Applied::default()),
            _ => {
                self.check_claim(state)?;
                let there = state.marks.seq.unwrap_or(0);
                if there != previous {
                    return Err(self.fenced(format!("it is at flush {there}, expected {previous}")));
                }
                match work {
                    [Work::Swap(setup)] => (self.plan_swap(state, setup).await?, Applied::default()),
                    [Work::Leave] => (plan_leave(state), Applied::default()),
                    work => {
                        let (mut view, mut applied) = match draft {
                            Some(draft) => draft.on(state)?,
                            None => (state.view(), Applied::default()),
                        };
                        applied.add(&view.work(self, work, "part-").await?);
                        (self.difference(state, &view, "WRITE").await?, applied)
                    }
                }
            }
        };
        let mut plan = plan;
        plan.transactions.push((seq_id(&claim.pipe), seq));
        draft.inspect(|d| d.offer());
        if self.commit_unchecked(state, plan).await? == Outcome::Moved {
            return Ok(None);
        }
        state.loading = matches!(work, [Work::Setup(_)]);
        if let [Work::Swap(setup)] = work {
            state.stages.remove(&setup.generation);
        }
        Ok(Some(applied))
    }

    fn plan_setup(&self, state: &State, claim: Claim, setup: &Setup) -> Result<Plan> {
        self.may_take(state, claim, setup)?;
        let (properties, transactions) = (self.ownership(claim, setup), claim.transactions());
        if state.version.is_none() {
            let mut meta = TableMeta::create(&setup.columns, properties, now())?;
            meta.set_key(&setup.key)?;
            return Ok(Plan { operation: "CREATE TABLE", meta: Some(meta), protocol: true, transactions, ..Plan::default() });
        }
        let rows: u64 = state.files.values().map(|f| f.alive()).sum();
        let again = state.is_ours() && state.meta.properties.get(GENERATION) == Some(&setup.generation.to_string());
        let keep = again || (!state.is_ours() && rows > 0 && setup.existing == Existing::Append);
        let mut meta = TableMeta::clone(&state.meta);
        meta.properties.extend(properties);
        if keep {
            self.widen(&mut meta, setup)?;
        } else {
            meta.replace_columns(&setup.columns)?;
        }
        meta.set_key(&setup.key)?;
        let remove = if keep { vec![] } else { state.files.values().cloned().collect() };
        let protocol = meta.writer_features != state.meta.writer_features;
        Ok(Plan { operation: "WRITE", remove, meta: Some(meta), protocol, transactions, data_change: true, ..Plan::default() })
    }

    /// The refusal of a table with rows that are not the pipe's own.
    pub fn not_ours(&self, owner: Option<&str>, rows: u64) -> Error {
        let (kind, detail) = match owner {
            Some(owner) => (Kind::InUse, format!("it has {rows} rows of pipe {owner}")),
            None => (Kind::WrongPhase, format!("it has {rows} rows and was not made by this pipe")),
        };
        Error::new(kind, format!("lake table {} is not empty", self.name()))
            .with_detail(detail)
            .with_hint("Choose another table name, or set on-existing-rows to append or truncate.")
            .for_table(self.name())
    }

    /// Columns that the table lacks are added; those it has must be of the same type.
    pub(super) fn widen(&self, meta: &mut TableMeta, setup: &Setup) -> Result<()> {
        for (name, ty, pg_type) in &setup.columns {
            match meta.columns.iter().find(|c| c.name == *name) {
                Some(there) if there.ty == *ty => {}
                Some(there) => {
                    return Err(Error::new(Kind::TypeMismatch, format!("column \"{name}\" of lake table {} has another type", self.name()))
                        .with_detail(format!("{} is there, {ty} arrives", there.ty))
                        .with_hint("RESYNC the table, or choose another table name.")
                        .for_table(self.name()));
                }
                None => meta.add_column(name, *ty, pg_type)?,
            }
        }
        Ok(())
    }

    /// Refuses a table that the pipe may not have.
    fn may_take(&self, state: &State, claim: Claim, setup: &Setup) -> Result<()> {
        if state.version.is_none() && !setup.create {
            return Err(Error::new(Kind::UndefinedTable, format!("lake table {} does not exist", self.name())).with_hint("Set create-table to true."));
        }
        if let Some(there) = state.marks.epoch.filter(|e| *e > claim.epoch) {
            return Err(self.fenced(format!("its epoch is {there}, ours {}", claim.epoch)));
        }
        let rows: u64 = state.files.values().map(|f| f.alive()).sum();
        if !state.is_ours() && rows > 0 && setup.existing == Existing::Error {
            return Err(self.not_ours(state.meta.properties.get(OWNER).map(String::as_str), rows));
        }
        Ok(())
    }

    /// The properties of a table that say whose it is.
    fn ownership(&self, claim: Claim, setup: &Setup) -> BTreeMap<String, String> {
        let interval = |d: std::time::Duration| format!("interval {} seconds", d.as_secs());
        BTreeMap::from([
            (OWNER.to_string(), claim.pipe.hyphenated().to_string()),
            (GENERATION.to_string(), setup.generation.to_string()),
            (TABLE_ID.to_string(), setup.table_id.to_string()),
            ("delta.logRetentionDuration".to_string(), interval(self.settings.log_retention)),
            ("delta.deletedFileRetentionDuration".to_string(), interval(self.settings.vacuum_retention)),
        ])
    }

    /// A copy becomes a table that was not the pipe's own (ADD TABLE): made or taken, with all its rows, in one commit. No number can be
    /// expected in it, since an earlier life of the pipe may have left one.
    async fn plan_take(&self, state: &State, claim: Claim, setup: &Setup) -> Result<Plan> {
        self.may_take(state, claim, setup)?;
        let stage = self.staged_in(state, setup.generation)?;
        let created = state.version.is_none();
        let mut meta = if created { TableMeta::clone(&stage.meta) } else { stage.meta.replacing(&state.meta) };
        meta.properties.extend(self.ownership(claim, setup));
        let plan = self.difference(state, &View { meta: Arc::new(meta), files: stage.files }, if created { "CREATE TABLE" } else { "WRITE" }).await?;
        Ok(Plan { protocol: plan.protocol || created, transactions: claim.transactions(), ..plan })
    }

    async fn plan_swap(&self, state: &State, setup: &Setup) -> Result<Plan> {
        let stage = self.staged_in(state, setup.generation)?;
        let mut meta = stage.meta.replacing(&state.meta);
        meta.properties.insert(GENERATION.into(), setup.generation.to_string());
        meta.properties.insert(TABLE_ID.into(), setup.table_id.to_string());
        self.difference(state, &View { meta: Arc::new(meta), files: stage.files }, "WRITE").await
    }
}

/// The commit that lets go of a table: its rows stay.
fn plan_leave(state: &State) -> Plan {
    let mut meta = TableMeta::clone(&state.meta);
    for key in [OWNER, GENERATION, TABLE_ID] {
        meta.properties.remove(key);
    }
    Plan { operation: "SET TBLPROPERTIES", meta: Some(meta), ..Plan::default() }
}
