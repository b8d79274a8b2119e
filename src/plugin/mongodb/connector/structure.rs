//! Taking and leaving collections, truncates and changes of structure. What is done to collections themselves is no part of a transaction: it is done when
//! the epoch was found to be ours, and doing it again does no harm. What is done to all documents of one is more than a transaction may hold: it is done in
//! several, each of which fails where the epoch is not ours.

use super::super::client::{code, failed, run, server_code, within};
use super::marks;
use super::survey::Survey;
use super::writer::MongoWriter;
use crate::data::{ColumnChange, Content, SchemaChange, TableName};
use crate::error::{Error, Kind, Result};
use crate::plugin::obstacle::obstacles_error;
use crate::plugin::policy::{OnDdl, OnRows, OnTruncate, stopped, truncated};
use crate::plugin::{Input, Place, TargetTable};
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};

/// Documents of one transaction where all of a collection are meant.
const TOGETHER: i64 = 1_000;

const WHAT: &str = "could not set up a collection at the target";

impl MongoWriter {
    pub(super) async fn barrier(&mut self, input: Input) -> Result<()> {
        match input {
            Input::Setup(t) => self.setup(&t).await,
            Input::Swap(t) => {
                self.swap = Some(t);
                Ok(())
            }
            Input::Leave(t) => self.leave(&t).await,
            Input::Change { table, part } => match part.content {
                Content::Truncate => self.truncate(&table).await,
                Content::Schema(change) => self.alter(&table, &change).await,
                Content::Rows(_) => Ok(()),
            },
            Input::Load { .. } => Err(Error::internal("a chunk among changes")),
        }
    }

    /// Runs a command outside of the transaction, under an epoch that is ours.
    async fn outside(&mut self, database: &str, what: &str, command: Document) -> Result<Document> {
        self.check_epoch().await?;
        // what a transaction has not seen being made it can't write to
        self.commit().await?;
        run(&self.target, &self.client.database(database), what, command).await
    }

    async fn create(&mut self, name: &TableName) -> Result<()> {
        match self.outside(&name.schema, WHAT, doc! { "create": &name.name }).await {
            Err(e) if server_code(&e) != Some(code::NAMESPACE_EXISTS) => Err(e),
            _ => Ok(()),
        }
    }

    /// Creates or takes the collection, empty. Doing it again for the same generation changes nothing.
    async fn setup(&mut self, t: &TargetTable) -> Result<()> {
        let pipe = self.identity.pipe;
        let about = |e: Error| if matches!(e.kind(), Kind::NoRight | Kind::Refused) { e.for_table(t.table.name.to_string()) } else { e };
        if t.place == Place::Stage {
            // copies that broke are nobody's any more
            marks::drop_stages(&self.target, &self.client, &t.target.schema, &marks::stages_of(pipe, t.table.id)).await?;
            let place = self.place(t);
            return self.create(&place).await.map_err(about);
        }
        let (table, generation) = (i64::from(t.table.id.0), t.table.generation);
        let survey = Survey::take(&self.target, &self.client, pipe, &t.target).await?;
        if survey.own == Some((table, generation)) {
            return Ok(());
        }
        let policies = self.settings.policies.clone();
        if let Some(e) = obstacles_error(survey.plan(t, &policies).1) {
            return Err(e);
        }
        if survey.has_rows && survey.own.is_some() && survey.other.is_some() {
            let e = Error::new(Kind::InUse, format!("collection {} is shared with another pipe and can't be emptied", t.target));
            return Err(e.with_hint("Empty it at the target, or take it out of one of the pipes.").for_table(t.table.name.to_string()));
        }
        if policies.recreate && survey.kind.is_some() {
            self.outside(&t.target.schema, WHAT, doc! { "drop": &t.target.name }).await.map_err(about)?;
        } else if survey.has_rows && (survey.own.is_some() || policies.on_rows == OnRows::Truncate) {
            self.empty(&t.target).await.map_err(about)?;
        }
        self.create(&t.target).await.map_err(about)?;
        self.own.push(marks::take_over(&t.target, pipe, table, generation));
        self.own.push(doc! { "delete": marks::CHUNK, "deletes": [{ "q": { "_id.pipe": pipe.to_string(), "_id.table": table, "_id.generation": { "$ne": generation } }, "limit": 0 }] });
        Ok(())
    }

    async fn empty(&mut self, name: &TableName) -> Result<()> {
        let delete = |ids: Bson| doc! { "delete": &name.name, "deletes": [{ "q": { "_id": { "$in": ids } }, "limit": 0 }] };
        self.in_parts(name, "could not empty a collection at the target", &doc! {}, delete).await
    }

    /// Does something to all documents that a filter finds, by their keys.
    async fn in_parts(&mut self, name: &TableName, what: &str, filter: &Document, change: impl Fn(Bson) -> Document) -> Result<()> {
        self.check_epoch().await?;
        // what was written before is changed too
        self.commit().await?;
        let mut from: Option<Bson> = None;
        loop {
            let mut find = doc! { "find": &name.name, "filter": filter.clone(), "projection": { "_id": 1 }, "hint": { "_id": 1 }, "limit": TOGETHER, "batchSize": TOGETHER, "singleBatch": true };
            // documents that are done already are not looked at again
            find.extend(from.take().map(|last| ("min".to_string(), Bson::Document(doc! { "_id": last }))));
            let answer = self.now(&name.schema, what, bytes_of(&find)?).await?;
            let found = answer.get_document("cursor").and_then(|c| c.get_array("firstBatch")).map(Vec::as_slice).unwrap_or_default();
            let ids: Vec<Bson> = found.iter().filter_map(|d| d.as_document()?.get("_id").cloned()).collect();
            let Some(last) = ids.last().cloned() else { return self.commit().await };
            self.now(&name.schema, what, bytes_of(&change(Bson::Array(ids)))?).await?;
            self.commit_piece().await?;
            from = Some(last);
        }
    }

    async fn truncate(&mut self, t: &TargetTable) -> Result<()> {
        match self.settings.policies.on_truncate {
            OnTruncate::Ignore => return Ok(()),
            OnTruncate::Stop => return Err(truncated(&t.table.name)),
            OnTruncate::Propagate => {}
        }
        let name = self.place(t);
        self.empty(&name).await?;
        self.counts(t.table.id).truncates += 1;
        Ok(())
    }

    async fn alter(&mut self, t: &TargetTable, change: &SchemaChange) -> Result<()> {
        let (name, on_ddl) = (self.place(t), self.settings.policies.on_ddl);
        for one in &change.changes {
            let (filter, update) = match (on_ddl, one) {
                (OnDdl::Ignore, _) => continue,
                (OnDdl::Additive | OnDdl::Propagate, ColumnChange::Add(column)) => {
                    let added = change.after.column(column).map(|i| &change.after.columns[i]);
                    if let Some(expression) = added.filter(|c| !c.generated).and_then(|c| c.default.as_ref()).filter(|d| !d.to_ascii_lowercase().starts_with("null")) {
                        let e = Error::new(Kind::NotSupported, format!("column \"{column}\" was added to table {} with a default", change.after.name));
                        let e = e.with_detail(format!("Default: {expression}. Rows that were there have values that no change tells."));
                        return Err(e.with_hint("RESYNC PIPE ... TABLE takes a new copy.").for_table(change.after.name.to_string()));
                    }
                    (doc! { column: { "$exists": false } }, doc! { "$set": { column: Bson::Null } })
                }
                (OnDdl::Propagate, ColumnChange::Drop(column)) => (doc! { column: { "$exists": true } }, doc! { "$unset": { column: 1 } }),
                (OnDdl::Propagate, ColumnChange::Rename { from, to }) => (doc! { from: { "$exists": true } }, doc! { "$rename": { from: to } }),
                (_, other) => return Err(stopped(&change.after.name, other, " (additions, drops and renames)")),
            };
            let change = |ids: Bson| doc! { "update": &name.name, "updates": [{ "q": { "_id": { "$in": ids } }, "u": update.clone(), "multi": true }] };
            self.in_parts(&name, "could not change a collection's structure at the target", &filter, change).await?;
        }
        Ok(())
    }

    /// The pipe lets go of a table: its rows stay.
    async fn leave(&mut self, t: &TargetTable) -> Result<()> {
        let (pipe, table) = (self.identity.pipe, i64::from(t.table.id.0));
        self.own.push(doc! { "delete": marks::CHUNK, "deletes": [{ "q": { "_id.pipe": pipe.to_string(), "_id.table": table }, "limit": 0 }] });
        self.own.push(doc! { "delete": marks::OWNER, "deletes": [{ "q": { "_id.pipe": pipe.to_string(), "table": table }, "limit": 0 }] });
        marks::drop_stages(&self.target, &self.client, &t.target.schema, &marks::stages_of(pipe, t.table.id)).await
    }

    /// Indexes of the live collection for its new copy.
    pub(super) async fn copy_indexes(&self, from: &TableName, to: &TableName) -> Result<()> {
        const WHAT: &str = "could not copy a collection's indexes at the target";
        let database = self.client.database(&from.schema);
        let listing = async {
            use futures::TryStreamExt;
            let cursor = database.run_cursor_command(doc! { "listIndexes": &from.name, "cursor": {} }).await.map_err(failed(WHAT))?;
            cursor.try_collect::<Vec<Document>>().await.map_err(failed(WHAT))
        };
        let all = within(self.target.timeout, WHAT, listing).await?;
        let others: Vec<Document> = all.into_iter().filter(|i| i.get_str("name").ok() != Some("_id_")).collect();
        if others.is_empty() {
            return Ok(());
        }
        // as long as the server takes
        database.run_command(doc! { "createIndexes": &to.name, "indexes": others }).await.map_err(failed(WHAT)).map(drop)
    }
}

fn bytes_of(command: &Document) -> Result<Vec<u8>> {
    let raw = RawDocumentBuf::try_from(command).map_err(|e| Error::internal("a command is malformed").with_detail(e.to_string()))?;
    Ok(raw.into_bytes())
}
