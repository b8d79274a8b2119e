//! Exchanging a new copy for the old: a rename is no part of a transaction, so what belongs to it is written down first, with the mark of its flush. Whoever
//! begins after a crash sees by the copy's name whether it has happened, and stores the mark then or forgets it.

use super::super::client::run;
use super::marks;
use super::survey::Survey;
use super::writer::MongoWriter;
use crate::error::{Error, Kind, Result};
use crate::plugin::obstacle::obstacles_error;
use crate::plugin::policy::OnRows;
use crate::plugin::{Mark, Place, TargetTable};
use mongodb::bson::doc;

const WHAT: &str = "could not swap a collection at the target";

impl MongoWriter {
    /// The copy in the making becomes the collection, and the mark is stored.
    pub(super) async fn swap_now(&mut self, t: &TargetTable, mark: &Mark) -> Result<()> {
        let pipe = self.identity.pipe;
        let stage = self.place(&TargetTable { place: Place::Stage, ..t.clone() });
        let survey = Survey::take(&self.target, &self.client, pipe, &t.target).await?;
        if let Some(e) = obstacles_error(survey.plan(t, &self.settings.policies).1) {
            return Err(e);
        }
        let there = Survey::take(&self.target, &self.client, pipe, &stage).await?;
        if there.kind.is_none() {
            let e = Error::new(Kind::UndefinedTable, format!("the new copy of table {} is not there", t.table.name));
            return Err(e.with_hint("RESYNC PIPE ... TABLE takes a new one.").for_table(t.table.name.to_string()));
        }
        if survey.own.is_none() && survey.has_rows && self.settings.policies.on_rows == OnRows::Append {
            let e = Error::new(Kind::NotSupported, format!("the new copy of table {} can't be laid over documents that are there", t.table.name));
            return Err(e.with_hint("Empty the collection, or use 'on-existing-rows' = 'truncate'.").for_table(t.table.name.to_string()));
        }
        if survey.kind.is_some() {
            self.copy_indexes(&t.target, &stage).await.map_err(|e| e.for_table(t.table.name.to_string()))?;
            if let Ok(validator) = survey.options.get_document("validator") {
                let keep = doc! { "collMod": &stage.name, "validator": validator.clone() };
                run(&self.target, &self.client.database(&stage.schema), WHAT, keep).await.map_err(|e| e.for_table(t.table.name.to_string()))?;
            }
        }
        let mut journal = doc! {
            "database": &stage.schema, "stage": &stage.name, "live": &t.target.name, "seq": mark.seq, "table": i64::from(t.table.id.0), "generation": t.table.generation,
        };
        if let Some(checkpoint) = &mark.checkpoint {
            journal.insert("checkpoint", checkpoint);
        }
        self.own_now(doc! { "update": marks::SWAP, "updates": [{ "q": { "_id": pipe.to_string() }, "u": { "$set": journal.clone() }, "upsert": true }] }).await?;
        self.fence().await?;
        self.commit().await?;
        crate::failpoint::hit("mongodb-journalled").await?;
        let rename = doc! {
            "renameCollection": format!("{}.{}", stage.schema, stage.name), "to": format!("{}.{}", t.target.schema, t.target.name), "dropTarget": true, "writeConcern": { "w": "majority" },
        };
        run(&self.target, &self.client.database("admin"), WHAT, rename).await.map_err(|e| e.for_table(t.table.name.to_string()))?;
        crate::failpoint::hit("mongodb-renamed").await?;
        self.fence().await?;
        let client = self.client.clone();
        marks::swapped(&client, &mut self.session, pipe, &t.target, &journal).await?;
        self.commit().await
    }
}
