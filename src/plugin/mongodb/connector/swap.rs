//! Exchanging a new copy for the old: a rename is no part of a transaction, so what belongs to it is written down first, with the mark of its flush and
//! the copy's UUID. Whoever begins after a crash sees by the UUID of the collection whether it has happened, and stores the mark then or forgets it.
//!
//! The copy goes to the collection's name by way of a name that has the epoch: a process that was held up before its rename, while another one took over,
//! finds nothing under that name, for the other one has given the copy its own name back.

use super::super::client::{run, server_code};
use super::marks;
use super::survey::Survey;
use super::writer::MongoWriter;
use crate::data::TableName;
use crate::error::{Error, Kind, Result};
use crate::plugin::obstacle::obstacles_error;
use crate::plugin::policy::OnRows;
use crate::plugin::{Mark, Place, TargetTable};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};

const WHAT: &str = "could not swap a collection at the target";

/// The names of a swap.
struct Names {
    stage: TableName,
    aside: TableName,
    live: TableName,
}

impl MongoWriter {
    /// The copy in the making becomes the collection, and the mark is stored.
    pub(super) async fn swap_now(&mut self, t: &TargetTable, mark: &Mark) -> Result<()> {
        let pipe = self.identity.pipe;
        let stage = self.place(&TargetTable { place: Place::Stage, ..t.clone() });
        let aside = TableName::new(&stage.schema, marks::aside_name(&stage.name, self.identity.epoch));
        let names = Names { stage, aside, live: t.target.clone() };
        let copy = self.ready(t, &names.stage).await?;
        let mut journal = doc! {
            "database": &names.stage.schema, "stage": &names.stage.name, "aside": &names.aside.name, "live": &names.live.name, "copy": Binary { subtype: BinarySubtype::Uuid, bytes: copy },
            "seq": mark.seq, "table": i64::from(t.table.id.0), "generation": t.table.generation,
        };
        if let Some(checkpoint) = &mark.checkpoint {
            journal.insert("checkpoint", checkpoint);
        }
        self.own_now(doc! { "update": marks::SWAP, "updates": [{ "q": { "_id": pipe.to_string() }, "u": journal.clone(), "upsert": true }] }).await?;
        self.fence().await?;
        // from here on only a new begin can tell what has happened
        self.sent = true;
        self.commit().await.map_err(unsettled)?;
        crate::failpoint::hit("mongodb-journalled").await?;
        let mut moved = false;
        if let Err(e) = self.exchange(&names, &journal, &mut moved).await {
            if !refused(&e) {
                return Err(unsettled(e));
            }
            self.take_back(&names, mark.seq, moved).await.map_err(unsettled)?;
            return Err(e.for_table(t.table.name.to_string()));
        }
        Ok(())
    }

    /// Looks whether the copy may take the collection's place, gives it what the collection has, and its UUID.
    async fn ready(&mut self, t: &TargetTable, stage: &TableName) -> Result<Vec<u8>> {
        let pipe = self.identity.pipe;
        let survey = Survey::take(&self.target, &self.client, pipe, &t.target).await?;
        if let Some(e) = obstacles_error(survey.plan(t, &self.settings.policies).1) {
            return Err(e);
        }
        let Some(copy) = marks::collection_uuid(&self.target, &self.client, stage).await? else {
            let e = Error::new(Kind::UndefinedTable, format!("the new copy of table {} is not there", t.table.name));
            return Err(e.with_hint("RESYNC PIPE ... TABLE takes a new one.").for_table(t.table.name.to_string()));
        };
        if survey.own.is_none() && survey.has_rows && self.settings.policies.on_rows == OnRows::Append {
            let e = Error::new(Kind::NotSupported, format!("the new copy of table {} can't be laid over documents that are there", t.table.name));
            return Err(e.with_hint("Empty the collection, or use 'on-existing-rows' = 'truncate'.").for_table(t.table.name.to_string()));
        }
        if survey.kind.is_some() {
            self.copy_indexes(&t.target, stage).await.map_err(|e| e.for_table(t.table.name.to_string()))?;
            if let Ok(validator) = survey.options.get_document("validator") {
                let keep = doc! { "collMod": &stage.name, "validator": validator.clone() };
                run(&self.target, &self.client.database(&stage.schema), WHAT, keep).await.map_err(|e| e.for_table(t.table.name.to_string()))?;
            }
        }
        Ok(copy)
    }

    async fn exchange(&mut self, names: &Names, journal: &Document, moved: &mut bool) -> Result<()> {
        marks::rename(&self.target, &self.client, &names.stage, &names.aside, false).await?;
        *moved = true;
        self.fence().await?;
        self.commit().await?;
        marks::rename(&self.target, &self.client, &names.aside, &names.live, true).await?;
        crate::failpoint::hit("mongodb-renamed").await?;
        self.begin().await?;
        let client = self.client.clone();
        marks::swapped(&client, &mut self.session, self.identity.pipe, self.identity.epoch, &names.live, journal).await.map_err(after_rename)?;
        self.commit().await.map_err(after_rename)
    }

    /// The server would not rename the copy: as if the swap had not been tried.
    async fn take_back(&mut self, names: &Names, seq: i64, moved: bool) -> Result<()> {
        if moved {
            marks::put_back(&self.target, &self.client, &names.aside, &names.stage).await?;
        }
        self.begin().await?;
        let client = self.client.clone();
        marks::forgotten(&client, &mut self.session, self.identity.pipe, self.identity.epoch, seq).await?;
        self.commit().await
    }
}

/// The server said no to a rename: nothing has happened.
fn refused(e: &Error) -> bool {
    server_code(e).is_some() && !matches!(e.kind(), Kind::Busy | Kind::ConnectionLost | Kind::Unreachable | Kind::Fenced)
}

/// The collection has its new copy, whatever became of the mark: no refusal.
fn after_rename(e: Error) -> Error {
    if e.kind() == Kind::Fenced { e } else { unsettled(e) }
}

/// What has happened is found out by whoever begins next.
fn unsettled(e: Error) -> Error {
    match e.kind() {
        Kind::Fenced | Kind::ConnectionLost => e,
        _ => Error::new(Kind::ConnectionLost, WHAT).with_detail(e.detail().map_or_else(|| e.message().to_string(), |d| format!("{}: {d}", e.message()))),
    }
}
