//! Collections as tables: which there are, and the columns they have.

use super::client::{SYSTEM_DATABASES, Target, code, failed, run, server_code};
use super::declared::Layouts;
use super::raw::{self, tag};
use crate::data::{TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use futures::TryStreamExt;
use mongodb::Client;
use mongodb::bson::doc;
use std::collections::{BTreeMap, HashMap};

/// Facts of a table version that only this plugin reads.
pub mod fact {
    /// `collection`, `view`, `timeseries`.
    pub const KIND: &str = "type";
    /// The collection's UUID, as 32 digits.
    pub const UUID: &str = "uuid";
    /// `true` where the server keeps documents' images before and after changes (changeStreamPreAndPostImages).
    pub const IMAGES: &str = "images";
}

/// Our own database at a target.
pub const OWN: &str = "_standpipe";
/// Collections of one answer whose documents are counted; of more, nobody waits for that.
const COUNTED: usize = 200;

/// A collection is meant for users.
fn listed(name: &TableName) -> bool {
    !SYSTEM_DATABASES.contains(&name.schema.as_str()) && name.schema != OWN && !name.name.starts_with("system.")
}

/// The tables of these names, in that order, or all. Errors: one `UndefinedTable` whose DETAIL lists all that are missing.
pub async fn tables(target: &Target, client: &Client, layouts: &Layouts, wanted: Option<&[TableName]>) -> Result<Vec<TableVersion>> {
    let Some(names) = wanted else {
        let mut all = Vec::new();
        for database in databases(target, client).await? {
            all.extend(collections(client, layouts, &database).await?.into_iter().filter(|t| listed(&t.name)));
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        layouts.check_names(all.iter().map(|t| &t.name))?;
        if all.len() <= COUNTED {
            count(target, client, &mut all).await?;
        }
        return Ok(all);
    };
    let mut found: HashMap<TableName, TableVersion> = HashMap::new();
    let schemas: std::collections::BTreeSet<&str> = names.iter().map(|n| n.schema.as_str()).collect();
    for schema in schemas {
        found.extend(collections(client, layouts, schema).await?.into_iter().map(|t| (t.name.clone(), t)));
    }
    layouts.check_names(found.keys())?;
    let missing: Vec<_> = names.iter().filter(|n| !found.contains_key(n)).map(TableName::to_string).collect();
    let mut tables: Vec<TableVersion> = match missing.as_slice() {
        [] => names.iter().filter_map(|n| found.get(n).cloned()).collect(),
        [one] => return Err(Error::new(Kind::UndefinedTable, format!("collection {one} does not exist at the source, or may not be read")).with_detail(one.clone())),
        many => return Err(Error::new(Kind::UndefinedTable, format!("{} collections do not exist at the source, or may not be read", many.len())).with_detail(many.join("\n"))),
    };
    count(target, client, &mut tables).await?;
    Ok(tables)
}

/// The databases that are meant: the one of the source, or all that the login may see.
pub async fn databases(target: &Target, client: &Client) -> Result<Vec<String>> {
    if let Some(one) = &target.database {
        return Ok(vec![one.clone()]);
    }
    let answer = run(target, &client.database("admin"), "could not list the databases", doc! { "listDatabases": 1, "nameOnly": true, "authorizedDatabases": true }).await?;
    let listed = answer.get_array("databases").map(Vec::as_slice).unwrap_or_default();
    let names = listed.iter().filter_map(|d| d.as_document()?.get_str("name").ok().map(str::to_string));
    Ok(names.filter(|n| !SYSTEM_DATABASES.contains(&n.as_str()) && n != OWN).collect())
}

/// The collections of a database. Where the login may not see their options, their names alone.
async fn collections(client: &Client, layouts: &Layouts, database: &str) -> Result<Vec<TableVersion>> {
    const WHAT: &str = "could not list the collections";
    let db = client.database(database);
    let full = async {
        let cursor = db.run_cursor_command(doc! { "listCollections": 1, "cursor": {} }).await.map_err(failed(WHAT))?;
        cursor.try_collect::<Vec<_>>().await.map_err(failed(WHAT))
    };
    let all = match full.await {
        Err(e) if server_code(&e) == Some(code::UNAUTHORIZED) => {
            let command = doc! { "listCollections": 1, "nameOnly": true, "authorizedCollections": true, "cursor": {} };
            let cursor = db.run_cursor_command(command).await.map_err(failed(WHAT))?;
            cursor.try_collect::<Vec<_>>().await.map_err(failed(WHAT))?
        }
        other => other?,
    };
    let table = |info: &mongodb::bson::Document| {
        let name = TableName::new(database, info.get_str("name").ok()?);
        let kind = info.get_str("type").unwrap_or("collection");
        let uuid = info.get_document("info").ok().and_then(|i| i.get_binary_generic("uuid").ok().cloned().or_else(|| uuid_of(i)));
        let images = info.get_document("options").ok().and_then(|o| o.get_document("changeStreamPreAndPostImages").ok()).and_then(|i| i.get_bool("enabled").ok());
        let mut table = layouts.of(&name).version(name);
        // positive in every number that may have to hold it
        table.source_id = uuid.as_deref().and_then(<[u8]>::first_chunk::<8>).map_or(0, |b| u64::from_be_bytes(*b) >> 1);
        table.facts = BTreeMap::from([(fact::KIND.to_string(), kind.to_string()), (fact::IMAGES.to_string(), images.unwrap_or(false).to_string())]);
        if let Some(uuid) = uuid {
            table.facts.insert(fact::UUID.to_string(), hex::encode(uuid));
        }
        Some(table)
    };
    Ok(all.iter().filter_map(table).collect())
}

fn uuid_of(info: &mongodb::bson::Document) -> Option<Vec<u8>> {
    match info.get("uuid")? {
        mongodb::bson::Bson::Binary(binary) => Some(binary.bytes.clone()),
        _ => None,
    }
}

/// The number of documents as the collections' own books have it; a login that may not ask gets none.
async fn count(target: &Target, client: &Client, tables: &mut [TableVersion]) -> Result<()> {
    for table in tables.iter_mut().filter(|t| t.facts.get(fact::KIND).is_none_or(|k| k == "collection")) {
        let command = doc! { "count": &table.name.name };
        match run(target, &client.database(&table.name.schema), "could not count documents", command).await {
            Ok(answer) => table.estimated_rows = raw_number(&answer).and_then(|n| u64::try_from(n).ok()),
            Err(e) if e.kind() == Kind::NoRight => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn raw_number(answer: &mongodb::bson::Document) -> Option<i64> {
    match answer.get("n")? {
        mongodb::bson::Bson::Int32(n) => Some(i64::from(*n)),
        mongodb::bson::Bson::Int64(n) => Some(*n),
        mongodb::bson::Bson::Double(n) => Some(*n as i64),
        _ => None,
    }
}

/// The `_id` of a document. Errors: one that has none.
pub fn key_of(document: &[u8]) -> Result<raw::Value<'_>> {
    // the server puts it first
    if let Some(first) = raw::elements(document)?.next() {
        let first = first?;
        if first.name == b"_id" {
            return Ok(first.value);
        }
    }
    raw::get(document, "_id")?.filter(|v| v.tag != tag::UNDEFINED).ok_or_else(|| Error::new(Kind::Protocol, "a document has no _id").with_hint("A pipeline or view must keep _id."))
}
