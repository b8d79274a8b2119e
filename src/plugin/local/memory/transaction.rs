//! A flush as one transaction: it works on drafts, and either all of them take their tables' places, with the log and the mark, or nothing
//! happens.

use super::Limits;
use super::database::{Owner, Owners, State};
use super::fit::{Arriving, Fit};
use super::log::{Change, What};
use super::survey::{Survey, structure};
use super::table::{Done, Draft, Table, compact, key_columns, key_rows};
use crate::data::{Merged, Op, TableId, TableName, TableVersion};
use crate::error::{Error, Kind, Result, Retry};
use crate::plugin::obstacle::obstacles_error;
use crate::plugin::policy::{DELETED_AT, OnDdl, OnDelete, OnRows, Policies};
use crate::plugin::{Counts, Flushed, Place, TargetTable};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, new_null_array};
use arrow::compute::filter_record_batch;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Which table is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Spot {
    Live(TableName),
    Stage(TableId, i64),
}

/// Merged changes of one table version.
pub struct Changes {
    /// Where they go.
    pub table: Arc<TargetTable>,
    /// The structure they have.
    pub version: Arc<TableVersion>,
    /// What is to be there, and gone.
    pub merged: Merged,
    /// `on-delete = soft`: the same with the deletes, which are marks.
    pub marks: Option<Merged>,
}

/// A flush in progress.
pub struct Transaction<'a> {
    state: &'a State,
    pipe: Uuid,
    policies: &'a Policies,
    now: i64,
    drafts: BTreeMap<Spot, Draft<'a>>,
    /// Stages that take a live table's place.
    swapped: BTreeMap<TableName, (TableId, i64)>,
    /// Stages whose rows are in their table.
    spent: Vec<(TableId, i64)>,
    owners: Owners,
    /// Tables of which only this generation's chunks are kept; None: none.
    forgotten: Vec<(TableId, Option<i64>)>,
    tables_made: u64,
    log: Vec<Change>,
    flushed: Flushed,
}

/// What becomes of the state.
pub struct Outcome {
    drafts: Vec<(Spot, Done)>,
    swapped: BTreeMap<TableName, (TableId, i64)>,
    spent: Vec<(TableId, i64)>,
    owners: Owners,
    forgotten: Vec<(TableId, Option<i64>)>,
    tables_made: u64,
    log: Vec<Change>,
    now: i64,
    /// For the caller.
    pub flushed: Flushed,
}

impl<'a> Transaction<'a> {
    /// Nothing is changed yet.
    pub fn new(state: &'a State, pipe: Uuid, policies: &'a Policies) -> Transaction<'a> {
        Transaction {
            state,
            pipe,
            policies,
            now: chrono::Utc::now().timestamp_micros(),
            drafts: BTreeMap::new(),
            swapped: BTreeMap::new(),
            spent: Vec::new(),
            owners: state.owners.clone(),
            forgotten: Vec::new(),
            tables_made: state.tables_made,
            log: Vec::new(),
            flushed: Flushed::default(),
        }
    }

    fn spot(t: &TargetTable) -> Spot {
        match t.place {
            Place::Live => Spot::Live(t.target.clone()),
            Place::Stage => Spot::Stage(t.table.id, t.table.generation),
        }
    }

    /// The draft of a table that rows go to. A live one must be ours.
    fn draft(&mut self, t: &TargetTable) -> Result<&mut Draft<'a>> {
        let spot = Self::spot(t);
        if let (Spot::Live(name), false) = (&spot, self.owns(&t.target)) {
            return Err(Error::new(Kind::Fenced, format!("table {name} is no longer this pipe's")).with_hint("RESYNC PIPE takes it again."));
        }
        if !self.drafts.contains_key(&spot) {
            let draft = match &spot {
                Spot::Live(name) => Draft::of(self.state.tables.get(name).ok_or_else(|| gone(t))?),
                Spot::Stage(id, generation) => match self.state.stages.get(&(self.pipe, *id, *generation)) {
                    Some(stage) => Draft::of(stage),
                    None => Draft::fresh(structure(t, self.policies, 0)),
                },
            };
            self.drafts.insert(spot.clone(), draft);
        }
        self.drafts.get_mut(&spot).ok_or_else(|| Error::internal("a draft is lost that was just made"))
    }

    fn owns(&self, target: &TableName) -> bool {
        self.owners.get(target).is_some_and(|pipes| pipes.contains_key(&self.pipe))
    }
    fn own(&mut self, t: &TargetTable) {
        let owner = Owner { table: t.table.id, generation: t.table.generation };
        self.owners.entry(t.target.clone()).or_default().insert(self.pipe, owner);
        self.forgotten.push((t.table.id, Some(t.table.generation)));
    }
    fn log(&mut self, t: &TargetTable, table: &Arc<TableVersion>, what: What) {
        if t.place == Place::Live {
            self.log.push(Change { table: table.clone(), what });
        }
    }
    fn counts(&mut self, t: &TargetTable) -> &mut Counts {
        self.flushed.tables.entry(t.table.id).or_default()
    }
    fn number(&mut self) -> u64 {
        self.tables_made += 1;
        self.tables_made
    }

    /// Rows of chunks.
    pub fn load(&mut self, t: &TargetTable, rows: &RecordBatch) -> Result<()> {
        let lenient = self.policies.on_ddl == OnDdl::Ignore;
        let draft = self.draft(t)?;
        let fit = Fit::new(&draft.version, &t.table, lenient)?;
        let whole = fit.whole(draft, &Arriving { rows, present: None, base_keys: None })?;
        self.upsert(t, whole)
    }

    fn upsert(&mut self, t: &TargetTable, rows: RecordBatch) -> Result<()> {
        let rows = compact(rows)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.flushed.bytes += rows.get_array_memory_size() as u64;
        let draft = self.draft(t)?;
        let ops = draft.upsert(rows.clone())?;
        let version = draft.version.clone();
        let counts = self.counts(t);
        let fresh = ops.iter().filter(|o| **o == Op::Insert).count() as u64;
        (counts.inserts, counts.updates) = (counts.inserts + fresh, counts.updates + ops.len() as u64 - fresh);
        self.log(t, &version, What::Rows { ops, after: rows });
        Ok(())
    }

    /// Rows of the stream: what is inherited is looked up before anything goes.
    pub fn change(&mut self, changes: &Changes) -> Result<()> {
        let (t, merged, lenient) = (&*changes.table, &changes.merged, self.policies.on_ddl == OnDdl::Ignore);
        let draft = self.draft(t)?;
        let fit = Fit::new(&draft.version, &changes.version, lenient)?;
        let whole = fit.whole(draft, &Arriving { rows: &merged.upserts, present: merged.present.as_deref(), base_keys: merged.base_keys.as_ref() })?;
        self.delete(t, &merged.deletes)?;
        self.upsert(t, whole)?;
        if let Some(marks) = &changes.marks {
            self.mark_deleted(t, &marks.deletes)?;
            self.mark_deleted(t, &marks.vanished)?;
        }
        Ok(())
    }

    fn delete(&mut self, t: &TargetTable, keys: &RecordBatch) -> Result<()> {
        if keys.num_rows() == 0 {
            return Ok(());
        }
        let draft = self.draft(t)?;
        let there = draft.delete(keys)?;
        let version = draft.version.clone();
        let gone = filter_record_batch(keys, &BooleanArray::new(there, None))?;
        if gone.num_rows() > 0 {
            self.counts(t).deletes += gone.num_rows() as u64;
            let after = of_keys(&version, &gone)?;
            self.log(t, &version, What::Rows { ops: vec![Op::Delete; gone.num_rows()], after });
        }
        Ok(())
    }

    /// `on-delete = soft`: the rows stay as they are, with the time.
    fn mark_deleted(&mut self, t: &TargetTable, keys: &RecordBatch) -> Result<()> {
        if keys.num_rows() == 0 {
            return Ok(());
        }
        let now = self.now;
        let draft = self.draft(t)?;
        let version = draft.version.clone();
        let keys_only = of_keys(&version, keys)?;
        // nothing but the key arrives: every other column is the old row's
        let is_key = |c: usize| version.key.contains(&c);
        let absent = arrow::buffer::BooleanBuffer::new_unset(keys.num_rows());
        let present: Vec<_> = (0..version.columns.len()).map(|c| (!is_key(c)).then(|| absent.clone())).collect();
        let old = Fit::new(&version, &version, false)?.whole(draft, &Arriving { rows: &keys_only, present: Some(&present), base_keys: None })?;
        let Some(at) = version.column(DELETED_AT) else { return Err(Error::internal("a table without the column that marks deleted rows")) };
        let mut columns = old.columns().to_vec();
        columns[at] = Arc::new(TimestampMicrosecondArray::from(vec![now; old.num_rows()]).with_timezone("UTC"));
        let marked = RecordBatch::try_new_with_options(version.schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(old.num_rows())))?;
        let n = marked.num_rows() as u64;
        self.upsert(t, marked)?;
        let counts = self.counts(t);
        (counts.updates, counts.deletes) = (counts.updates.saturating_sub(n), counts.deletes + n);
        Ok(())
    }

    /// A truncate of the stream.
    pub fn truncate(&mut self, t: &TargetTable) -> Result<()> {
        let draft = self.draft(t)?;
        draft.truncate();
        let version = draft.version.clone();
        self.counts(t).truncates += 1;
        self.log(t, &version, What::Truncate);
        Ok(())
    }

    /// Another structure, from the stream.
    pub fn restructure(&mut self, t: &TargetTable, after: Arc<TableVersion>, column: impl Fn(&RecordBatch, usize) -> Result<ArrayRef>) -> Result<()> {
        let draft = self.draft(t)?;
        draft.restructure(after.clone(), column)?;
        self.log(t, &after, What::Structure);
        Ok(())
    }
    /// The structure that a table has in this transaction.
    pub fn version(&mut self, t: &TargetTable) -> Result<Arc<TableVersion>> {
        Ok(self.draft(t)?.version.clone())
    }

    /// Creates or takes the table, empty. Doing it again for the same generation changes nothing.
    pub fn set_up(&mut self, t: &TargetTable) -> Result<()> {
        if t.place == Place::Stage {
            // a copy in the making is there with its first row; one without rows too
            return self.draft(t).map(|_| ());
        }
        let mine = Owner { table: t.table.id, generation: t.table.generation };
        if self.owners.get(&t.target).and_then(|pipes| pipes.get(&self.pipe)) == Some(&mine) {
            return Ok(());
        }
        let survey = self.survey(t)?;
        self.own(t);
        let Some(there) = &survey.there else {
            let number = self.number();
            let version = structure(t, self.policies, number);
            self.drafts.insert(Self::spot(t), Draft::fresh(version.clone()));
            self.log(t, &version, What::Structure);
            return Ok(());
        };
        if survey.has_rows() && (self.policies.recreate || survey.own || self.policies.on_rows == OnRows::Truncate) {
            let draft = self.draft(t)?;
            draft.truncate();
            self.log(t, &there.version, What::Truncate);
        }
        let wanted = structure(t, self.policies, there.version.source_id);
        if self.policies.recreate {
            return self.restructure(t, evolve(&there.version, &wanted), |_, _| Err(Error::internal("a row in an empty table")));
        }
        if self.policies.on_delete == OnDelete::Soft && there.version.column(DELETED_AT).is_none() {
            let mut columns = there.version.columns.clone();
            columns.push(super::survey::deleted_at());
            let marked = TableVersion { source_id: there.version.source_id, ..TableVersion::new(t.target.clone(), columns, there.version.key.clone()) };
            let null = |rows: &RecordBatch, c: usize| Ok(rows.columns().get(c).cloned().unwrap_or_else(|| new_null_array(&marked.columns[c].logical.arrow(), rows.num_rows())));
            return self.restructure(t, evolve(&there.version, &marked), null);
        }
        Ok(())
    }

    /// What is there; an error where something stands in the way.
    fn survey(&self, t: &TargetTable) -> Result<Survey> {
        let survey = Survey::take(self.state, &self.owners, self.pipe, t);
        if let Some(e) = obstacles_error(survey.plan(t, self.policies).1) {
            return Err(e);
        }
        if survey.has_rows() && survey.own && survey.others {
            let e = Error::new(Kind::InUse, format!("table {} is shared with another pipe and can't be emptied", t.target));
            return Err(e.with_hint("Take it out of one of the pipes."));
        }
        Ok(survey)
    }

    /// The copy in the making takes the live table's place. For those who read the log it is the difference of the two.
    pub fn swap(&mut self, t: &TargetTable) -> Result<()> {
        let stage = (t.table.id, t.table.generation);
        let survey = self.survey(t)?;
        let keep = !survey.own && self.policies.on_rows == OnRows::Append;
        self.own(t);
        let copy = self.state.stages.get(&(self.pipe, stage.0, stage.1));
        if let (Some(_), true) = (&survey.there, keep) {
            return copy.map_or(Ok(()), |copy| self.pour(t, copy, stage));
        }
        let number = survey.there.as_ref().map_or_else(|| self.number(), |there| there.version.source_id);
        let wanted = copy.map_or_else(|| structure(t, self.policies, number), |c| c.version().clone());
        let wanted = Arc::new(TableVersion { name: t.target.clone(), source_id: number, ..TableVersion::clone(&wanted) });
        let version = survey.there.as_ref().map_or_else(|| wanted.clone(), |there| evolve(&there.version, &wanted));
        let mut draft = copy.map_or_else(|| Draft::fresh(version.clone()), Draft::of);
        draft.restructure(version.clone(), |rows, c| Ok(rows.column(c).clone()))?;
        let old = self.state.tables.get(&t.target);
        self.log_difference(t, old.map(Draft::of), &draft)?;
        self.drafts.insert(Self::spot(t), draft);
        if copy.is_some() {
            self.swapped.insert(t.target.clone(), stage);
        }
        Ok(())
    }

    /// The rows of a copy in the making go to those that others left in the table, by the columns' names.
    fn pour(&mut self, t: &TargetTable, copy: &Table, stage: (TableId, i64)) -> Result<()> {
        let lenient = self.policies.on_ddl == OnDdl::Ignore;
        for segment in copy.image().segments {
            let rows = segment.living()?;
            let draft = self.draft(t)?;
            let whole = Fit::new(&draft.version, copy.version(), lenient)?.whole(draft, &Arriving { rows: &rows, present: None, base_keys: None })?;
            self.upsert(t, whole)?;
        }
        self.spent.push(stage);
        Ok(())
    }

    fn log_difference(&mut self, t: &TargetTable, old: Option<Draft<'_>>, new: &Draft<'_>) -> Result<()> {
        let comparable = old.as_ref().is_some_and(|o| !new.version.key.is_empty() && o.version.columns == new.version.columns && o.version.key == new.version.key);
        match &old {
            Some(old) if comparable => {
                for segment in old.image().segments {
                    let rows = segment.living()?;
                    let ops = vec![Op::Delete; rows.num_rows()];
                    self.log_rows(t, &new.version, &rows, |i, found: &[bool]| (!found[i]).then_some(ops[i]), new)?;
                }
            }
            Some(old) => {
                if old.image().rows() > 0 {
                    self.log(t, &old.version, What::Truncate);
                }
                self.log(t, &new.version, What::Structure);
            }
            None => self.log(t, &new.version, What::Structure),
        }
        let empty = Draft::fresh(new.version.clone());
        let before = old.as_ref().filter(|_| comparable).unwrap_or(&empty);
        for segment in new.image().segments {
            let rows = segment.living()?;
            self.log_rows(t, &new.version, &rows, |i, found: &[bool]| Some(if found[i] { Op::Update } else { Op::Insert }), before)?;
        }
        Ok(())
    }

    /// Rows as what `op` makes of each, which is told whether `other` has its key.
    fn log_rows(&mut self, t: &TargetTable, version: &Arc<TableVersion>, rows: &RecordBatch, op: impl Fn(usize, &[bool]) -> Option<Op>, other: &Draft<'_>) -> Result<()> {
        let found: Vec<bool> = if version.key.is_empty() {
            vec![false; rows.num_rows()]
        } else {
            let keys = key_rows(version, &key_columns(version, rows))?;
            keys.iter().map(|k| other.find(k.data()).is_some()).collect()
        };
        let ops: Vec<Option<Op>> = (0..rows.num_rows()).map(|i| op(i, &found)).collect();
        let kept = filter_record_batch(rows, &BooleanArray::from_iter(ops.iter().map(|o| Some(o.is_some()))))?;
        let ops: Vec<Op> = ops.into_iter().flatten().collect();
        if !ops.is_empty() {
            self.log(t, version, What::Rows { ops, after: kept });
        }
        Ok(())
    }

    /// The pipe lets go of the table; its rows stay.
    pub fn leave(&mut self, t: &TargetTable) {
        if let Some(pipes) = self.owners.get_mut(&t.target) {
            pipes.remove(&self.pipe);
        }
        self.forgotten.push((t.table.id, None));
    }

    /// All of it, if it fits.
    pub fn finish(self, limits: &Limits) -> Result<Outcome> {
        let untouched = |spot: Spot| !self.drafts.contains_key(&spot);
        let live = self.state.tables.iter().filter(|(name, _)| untouched(Spot::Live((*name).clone()))).map(|(_, t)| t.bytes());
        let stages = self.state.stages.iter().filter(|((_, id, generation), _)| untouched(Spot::Stage(*id, *generation)) && !self.swapped.values().any(|s| s == &(*id, *generation)));
        let bytes: usize = live.chain(stages.map(|(_, t)| t.bytes())).chain(self.drafts.values().map(Draft::bytes)).sum();
        if bytes > limits.memory && bytes > self.state.bytes() {
            return Err(full(bytes, limits));
        }
        Ok(Outcome {
            drafts: self.drafts.into_iter().map(|(spot, d)| (spot, d.done())).collect(),
            swapped: self.swapped,
            spent: self.spent,
            owners: self.owners,
            forgotten: self.forgotten,
            tables_made: self.tables_made,
            log: self.log,
            now: self.now,
            flushed: self.flushed,
        })
    }
}

impl Outcome {
    /// Takes effect. Nothing here can fail.
    pub fn install(self, state: &mut State, pipe: Uuid, limits: &Limits) -> Flushed {
        for (name, (id, generation)) in self.swapped {
            if let Some(stage) = state.stages.remove(&(pipe, id, generation)) {
                state.tables.insert(name, stage);
            }
        }
        for (id, generation) in self.spent {
            state.stages.remove(&(pipe, id, generation));
        }
        for (spot, done) in self.drafts {
            match spot {
                Spot::Live(name) => state.tables.entry(name).or_insert_with(|| Table::new(done.version().clone())).take(done),
                Spot::Stage(id, generation) => {
                    // an older copy in the making of the same table is left over from a side run that broke
                    state.stages.retain(|(p, t, g), _| (*p, *t) != (pipe, id) || *g == generation);
                    state.stages.entry((pipe, id, generation)).or_insert_with(|| Table::new(done.version().clone())).take(done);
                }
            }
        }
        state.owners = self.owners;
        state.owners.retain(|_, pipes| !pipes.is_empty());
        if let Some(marks) = state.pipes.get_mut(&pipe) {
            for (table, keep) in self.forgotten {
                marks.chunks.retain(|(t, generation), _| *t != table || Some(*generation) == keep);
            }
        }
        state.tables_made = self.tables_made;
        if !self.log.is_empty() {
            state.log.add(pipe, self.now, self.log, limits.log);
        }
        self.flushed
    }
}

/// The error of a full memory.
pub fn full(bytes: usize, limits: &Limits) -> Error {
    Error::new(Kind::OutOfMemory, "the memory of the target is full")
        .with_detail(format!("The tables would take {bytes} bytes, memory-limit is {}.", limits.memory))
        .with_hint("ALTER SOURCE ... SET ('memory-limit' = '...') raises it; the pipe then goes on by itself.")
}

fn gone(t: &TargetTable) -> Error {
    Error::new(Kind::UndefinedTable, format!("table {} does not exist at the target", t.target)).with_hint("RESYNC PIPE makes it anew.")
}

/// An error about a table says so, where a person must mend it.
pub fn about(e: Error, t: &TargetTable) -> Error {
    if e.table().is_some() || e.retry() != Retry::Manual { e } else { e.for_table(t.table.name.to_string()) }
}

/// The new structure with the old columns' numbers, so that a reader of the log can tell a column that stayed from a new one.
pub fn evolve(old: &TableVersion, new: &TableVersion) -> Arc<TableVersion> {
    let mut next = old.columns.iter().map(|c| c.ordinal).max().unwrap_or(0);
    let mut ordinal = |name: &str| {
        old.columns.iter().find(|c| c.name == name).map_or_else(
            || {
                next += 1;
                next
            },
            |c| c.ordinal,
        )
    };
    let columns = new.columns.iter().map(|c| crate::data::Column { ordinal: ordinal(&c.name), ..c.clone() }).collect();
    Arc::new(TableVersion { source_id: old.source_id, ..TableVersion::new(new.name.clone(), columns, new.key.clone()) })
}

/// Rows with nothing but their keys (in key order).
fn of_keys(table: &TableVersion, keys: &RecordBatch) -> Result<RecordBatch> {
    let n = keys.num_rows();
    let column = |c: usize| match table.key.iter().position(|&k| k == c) {
        Some(k) => keys.column(k).clone(),
        None => new_null_array(&table.columns[c].logical.arrow(), n),
    };
    let columns = (0..table.columns.len()).map(column).collect();
    Ok(RecordBatch::try_new_with_options(table.schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(n)))?)
}
