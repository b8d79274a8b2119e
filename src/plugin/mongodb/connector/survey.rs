//! Compares what will arrive with what is there, and says every fault of every table at once. Changes nothing.

use super::super::client::{Target, failed, run, within};
use super::super::types::{OWN, fact};
use super::marks;
use super::typed;
use crate::data::TableName;
use crate::error::{Kind, Result};
use crate::plugin::obstacle::{Obstacle, Obstacles, obstacles_error};
use crate::plugin::policy::{OnLossy, OnRows, Policies};
use crate::plugin::{Place, Prepared, TargetTable};
use futures::TryStreamExt;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use uuid::Uuid;

/// Bytes of a collection's full name (MongoDB Limits, "Namespaces").
const NAME_LENGTH: usize = 255;

/// What is there under a collection's name, for one pipe.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// `collection`, `view`, ...; None: nothing.
    pub kind: Option<String>,
    /// Its options, as listCollections gives them.
    pub options: Document,
    /// It has documents.
    pub has_rows: bool,
    /// The table and generation for which this pipe owns it.
    pub own: Option<(i64, i64)>,
    /// Another pipe that owns it.
    pub other: Option<Uuid>,
}

impl Survey {
    /// Looks.
    pub async fn take(target: &Target, client: &Client, pipe: Uuid, name: &TableName) -> Result<Survey> {
        const WHAT: &str = "could not look at a collection of the target";
        let database = client.database(&name.schema);
        let listing = async {
            let cursor = database.run_cursor_command(doc! { "listCollections": 1, "filter": { "name": &name.name }, "cursor": {} }).await.map_err(failed(WHAT))?;
            cursor.try_collect::<Vec<_>>().await.map_err(failed(WHAT))
        };
        let listed = within(target.timeout, WHAT, listing).await?;
        let mut survey = Survey::default();
        if let Some(info) = listed.first() {
            survey.kind = Some(info.get_str("type").unwrap_or("collection").to_string());
            survey.options = info.get_document("options").cloned().unwrap_or_default();
            let first = run(target, &database, WHAT, doc! { "find": &name.name, "limit": 1, "projection": { "_id": 1 } }).await?;
            survey.has_rows = first.get_document("cursor").and_then(|c| c.get_array("firstBatch")).is_ok_and(|b| !b.is_empty());
        }
        for (owner, table, generation) in marks::owners(target, client, std::slice::from_ref(name)).await?.into_values().flatten() {
            if owner == pipe { survey.own = Some((table, generation)) } else { survey.other = Some(owner) }
        }
        Ok(survey)
    }

    /// What the user is told, and what stands in the way.
    pub fn plan(&self, t: &TargetTable, policies: &Policies) -> (Prepared, Vec<Obstacle>) {
        let mut o = Obstacles::of(&t.table.name);
        let mut prepared = Prepared { target: t.target.clone(), exists: self.kind.is_some(), has_rows: self.has_rows, statements: Vec::new(), columns: Vec::new(), wire: None, notices: Vec::new() };
        name_fits(&t.target, &mut o);
        if policies.indexes {
            o.add(Kind::NotSupported, "indexes other than the key can't be copied".to_string(), "Create the other indexes at the target yourself when the snapshot is done.");
        }
        if !policies.primary_key {
            o.add(Kind::NotSupported, "a document's key is always unique".to_string(), "Leave primary-key out.");
        }
        if let (Some(other), false) = (self.other, policies.shared) {
            let hint = format!("Use 'shared-target' = 'true', another table, or, if that pipe is gone, run db.getSiblingDB('{OWN}').owner.deleteMany({{ '_id.pipe': '{other}' }}) at the target.");
            o.add(Kind::InUse, format!("collection {} is written by another pipe", t.target), &hint);
        }
        if self.has_rows && policies.on_rows == OnRows::Error && !policies.recreate && self.own.is_none() && t.place == Place::Live {
            o.add(Kind::WrongPhase, format!("collection {} at the target has documents", t.target), "Use 'on-existing-rows' = 'append' or 'truncate', or empty the collection.");
        }
        match self.kind.as_deref() {
            None if !policies.create_table => o.add(Kind::UndefinedTable, format!("collection {} does not exist at the target", t.target), "Create it, or use 'create-table' = 'true'."),
            Some(kind) if kind != "collection" => o.add(Kind::TypeMismatch, format!("{} at the target is a {kind}", t.target), "Choose another name with the option table or tables."),
            None => prepared.statements.push(format!("db.getSiblingDB('{}').createCollection('{}')", t.target.schema, t.target.name)),
            _ => {}
        }
        columns(t, policies, &mut prepared, &mut o);
        (prepared, o.list)
    }
}

fn columns(t: &TargetTable, policies: &Policies, prepared: &mut Prepared, o: &mut Obstacles) {
    let of_collection = t.table.facts.contains_key(fact::KIND);
    for (i, c) in t.table.columns.iter().enumerate().filter(|(_, c)| !c.generated) {
        if c.name.contains('\0') || c.name.contains('.') || c.name.starts_with('$') || c.name.is_empty() {
            o.add(Kind::BadOption, format!("column \"{}\" of table {} has a name that a field can't have", c.name, t.table.name), "Give it another name with a project-processor.");
        }
        if c.name == "_id" && !of_collection && t.table.key != [i] {
            o.add(Kind::BadOption, format!("column \"_id\" of table {} is not its key", t.table.name), "Give it another name with a project-processor.");
        }
        let on_lossy = policies.on_lossy(&t.table.name, &c.name);
        if typed::is_refused(c) && on_lossy == OnLossy::Error {
            let message = format!("column \"{}\" of table {} has type {}: {}", c.name, t.table.name, c.native, typed::loss(c));
            o.add(Kind::Lossy, message, &format!("Accept it with 'on-lossy.{}.{}.{}' = 'text' (the whole column as text) or 'null'.", t.table.name.schema, t.table.name.name, c.name));
        }
        let loss = match on_lossy {
            OnLossy::Text => String::new(),
            _ => typed::loss(c).to_string(),
        };
        prepared.columns.push((c.name.clone(), typed::kind(c, on_lossy).to_string(), loss));
    }
}

fn name_fits(name: &TableName, o: &mut Obstacles) {
    let bad_database = name.schema.is_empty() || name.schema.len() > 63 || name.schema.contains(['/', '\\', '.', ' ', '"', '$', '*', '<', '>', ':', '|', '?', '\0']);
    let bad_collection = name.name.is_empty() || name.name.contains(['$', '\0']) || name.name.starts_with("system.") || name.schema.len() + name.name.len() + 1 > NAME_LENGTH;
    if bad_database || bad_collection || name.schema == OWN || super::super::client::SYSTEM_DATABASES.contains(&name.schema.as_str()) {
        o.add(Kind::BadOption, format!("{name} can't name a collection at the target"), "Choose another name with the option table or tables.");
    }
}

/// All tables; all faults at once.
pub async fn prepare(target: &Target, client: &Client, pipe: Uuid, tables: &[TargetTable], policies: &Policies) -> Result<Vec<Prepared>> {
    let (mut out, mut obstacles) = (Vec::with_capacity(tables.len()), Vec::new());
    for t in tables {
        let survey = Survey::take(target, client, pipe, &t.target).await?;
        let (prepared, found) = survey.plan(t, policies);
        obstacles.extend(found);
        out.push(prepared);
    }
    match obstacles_error(obstacles) {
        Some(e) => Err(e),
        None => Ok(out),
    }
}
