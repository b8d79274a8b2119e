//! What a MongoDB source needs, each fact with what was found, what is needed and what mends it.

use super::client::{Target, code, run, server_code};
use super::declared::Layouts;
use super::deployment::{self, Deployment, Topology};
use super::stream::{Scope, Spec};
use super::types::{fact, tables};
use crate::data::{TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::findings::Findings;
use crate::plugin::{Finding, FindingStatus, Needs};
use mongodb::Client;
use mongodb::bson::doc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The oldest version whose change streams are known here.
const OLDEST: u32 = 40_200;
/// An oplog that reaches back less than this is a warning, in seconds.
const SHORT_WINDOW: u64 = 24 * 3600;
/// Documents that a snapshot copies in a second, for an estimate.
const DOCUMENTS_PER_SECOND: u64 = 50_000;

fn text(e: &Error) -> String {
    match e.detail() {
        Some(detail) => format!("{}: {detail}", e.message()),
        None => e.message().to_string(),
    }
}

/// All findings; a server that can't be reached is the only one then.
pub(super) async fn findings(target: &Target, layouts: &Layouts, needs: &Needs) -> Result<Vec<Finding>> {
    let mut out = Findings::default();
    if needs.joining {
        let client = target.connect().await?;
        let present = present(target, &client, layouts, needs, &mut out).await?;
        readable(target, &client, &present, &mut out).await?;
        if needs.changes {
            tables_of_changes(needs, &present, &mut out);
        }
        return Ok(out.0);
    }
    let started = Instant::now();
    let client = match target.connect().await {
        Ok(client) => client,
        Err(e) => {
            let (name, needed) = if e.kind() == Kind::Unreachable { ("reachability", "a server that answers") } else { ("login", "a login that is let in") };
            out.must(name, false, text(&e), needed, e.hint().unwrap_or("Check the options host and port (or uri) of the source."));
            return Ok(out.0);
        }
    };
    out.must("reachability", true, format!("{}, connected in {} ms", target.place(), started.elapsed().as_millis()), "a server that answers", "");
    out.must("login", true, "let in", "a login that is let in", "");
    let deployment = Deployment::of(target, &client).await?;
    out.must("server_version", deployment.release >= OLDEST, deployment.version.clone(), "4.2 or later", "Upgrade the source.");
    let kind = match &deployment.topology {
        Topology::ReplicaSet(name) => format!("replica set {name}"),
        Topology::Sharded => "a sharded cluster".to_string(),
        Topology::Alone => "a single server".to_string(),
    };
    let fits = deployment.topology != Topology::Alone || !(needs.changes || needs.write);
    out.must("replica_set", fits, kind, "a replica set or sharded cluster", "Start mongod with --replSet and run rs.initiate() at the source.");
    if fits {
        engine(target, &client, &mut out).await?;
    }
    let present = present(target, &client, layouts, needs, &mut out).await?;
    readable(target, &client, &present, &mut out).await?;
    if needs.changes && fits {
        changes(target, &client, &deployment, needs, &present, &mut out).await?;
    }
    Ok(out.0)
}

/// The storage engine, where the login may see it.
async fn engine(target: &Target, client: &Client, out: &mut Findings) -> Result<()> {
    let status = doc! { "serverStatus": 1, "metrics": 0, "locks": 0, "wiredTiger": 0, "tcmalloc": 0, "mirroredReads": 0 };
    match run(target, &client.database("admin"), "could not ask for the server's status", status).await {
        Ok(answer) => {
            if let Ok(name) = answer.get_document("storageEngine").and_then(|e| e.get_str("name")) {
                out.must("storage_engine", name == "wiredTiger", name, "wiredTiger", "Move the source's members to WiredTiger.");
            }
            Ok(())
        }
        Err(e) if server_code(&e) == Some(code::UNAUTHORIZED) => Ok(()),
        Err(e) => Err(e),
    }
}

/// The tables as they are at the source now.
async fn present(target: &Target, client: &Client, layouts: &Layouts, needs: &Needs, out: &mut Findings) -> Result<Vec<Arc<TableVersion>>> {
    let names: Vec<TableName> = needs.tables.iter().map(|t| t.name.clone()).collect();
    let found = match tables(target, client, layouts, None).await {
        Ok(all) => all,
        Err(e) if e.kind() == Kind::NoRight => {
            out.must("list_right", false, text(&e), "a login that may list databases and collections", "Grant the source's user the role read on the database.");
            return Ok(Vec::new());
        }
        Err(e) => return Err(e),
    };
    let collections = found.iter().filter(|t| t.facts.get(fact::KIND).is_some_and(|k| k == "collection")).count();
    let status = if collections > 0 || needs.write { FindingStatus::Ok } else { FindingStatus::Warning };
    out.add("collections", status, format!("{collections} that may be listed"), "at least one", "Grant the source's user the role read on the database.");
    let missing: Vec<String> = names.iter().filter(|n| !found.iter().any(|t| t.name == **n)).map(TableName::to_string).collect();
    if !missing.is_empty() {
        out.must("tables", false, format!("{} not there, or not to be seen", missing.join(", ")), "every synced collection", "Run REFRESH TABLES FROM SOURCE, or grant the source's user the role read.");
    }
    Ok(found.into_iter().filter(|t| names.contains(&t.name)).map(Arc::new).collect())
}

/// A majority read of every table.
async fn readable(target: &Target, client: &Client, tables: &[Arc<TableVersion>], out: &mut Findings) -> Result<()> {
    let mut refused: Vec<(String, String)> = Vec::new();
    for table in tables {
        let find = doc! { "find": &table.name.name, "limit": 1, "projection": { "_id": 1 }, "readConcern": { "level": "majority" } };
        match run(target, &client.database(&table.name.schema), "could not read a collection", find).await {
            Ok(_) => {}
            Err(e) if matches!(e.kind(), Kind::NoRight | Kind::Refused) => refused.push((table.name.to_string(), text(&e))),
            Err(e) => return Err(e),
        }
    }
    match refused.first() {
        None if tables.is_empty() => {}
        None => out.must("find_right", true, format!("{} collections answer majority reads", tables.len()), "majority reads of every collection", ""),
        Some((_, why)) => {
            let names = refused.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ");
            out.must("find_right", false, format!("{names} can't be read: {why}"), "majority reads of every collection", "Grant the source's user a role with the action find on the collections.");
        }
    }
    Ok(())
}

fn tables_of_changes(needs: &Needs, present: &[Arc<TableVersion>], out: &mut Findings) {
    for table in present.iter().filter(|t| t.facts.get(fact::KIND).is_some_and(|k| k != "collection")) {
        let kind = table.facts.get(fact::KIND).map_or("", String::as_str);
        out.must("table_kind", false, format!("{} is a {kind}", table.name), "a collection", format!("Leave {} out, or copy it with realtime.enable = false.", table.name));
    }
    let options = needs.options.clone().unwrap_or_default();
    let required = |name: &str| options.get(name).is_some_and(|v| v == "required" || v == "whenAvailable");
    if required("full-document") || required("full-document-before-change") {
        let without: Vec<_> = present.iter().filter(|t| t.facts.get(fact::IMAGES).is_none_or(|i| i != "true")).map(|t| t.name.to_string()).collect();
        let found = if without.is_empty() { "kept".to_string() } else { format!("not kept of {}", without.join(", ")) };
        out.must("images", without.is_empty(), found, "images of documents before and after changes", "Run db.runCommand({ collMod: ..., changeStreamPreAndPostImages: { enabled: true } }) at the source, or use full-document = 'updateLookup'.");
    }
}

async fn changes(target: &Target, client: &Client, deployment: &Deployment, needs: &Needs, present: &[Arc<TableVersion>], out: &mut Findings) -> Result<()> {
    tables_of_changes(needs, present, out);
    let options = needs.options.clone().unwrap_or_default();
    let scope = match (present.is_empty(), &target.database) {
        (true, Some(database)) => Scope::Database(database.clone()),
        _ => Scope::of(present),
    };
    let spec = if present.is_empty() { Spec::bare(scope) } else { Spec::new(present, &options, deployment.release)? };
    match spec.now(target, client, Duration::from_millis(1)).await {
        Ok(_) => out.must("change_stream_right", true, format!("may watch {}", spec.scope.text()), "the actions find and changeStream", ""),
        Err(e) => {
            let hint = e.hint().map_or_else(|| format!("Grant the source's user a role with the privilege {}.", spec.scope.resource()), str::to_string);
            out.must("change_stream_right", false, format!("may not watch {}: {}", spec.scope.text(), text(&e)), "the actions find and changeStream", hint);
        }
    }
    window(target, client, deployment, present, out).await
}

/// How far back the oplog reaches, beside the time that a snapshot of the tables may take.
async fn window(target: &Target, client: &Client, deployment: &Deployment, present: &[Arc<TableVersion>], out: &mut Findings) -> Result<()> {
    if deployment.topology == Topology::Sharded {
        return Ok(());
    }
    let documents: u64 = present.iter().filter_map(|t| t.estimated_rows).sum();
    let snapshot = if documents > 0 { format!("; a snapshot of {documents} documents may take {}", span(documents / DOCUMENTS_PER_SECOND + 1)) } else { String::new() };
    let needed = "an oplog that reaches back longer than a snapshot and the longest stop of a pipe";
    let hint = "Enlarge the oplog with replSetResizeOplog, or set its minRetentionHours; a pipe that falls further behind needs RESYNC.";
    match deployment::oplog_window(target, client).await? {
        Some((oldest, newest)) => {
            let seconds = (newest >> 32).saturating_sub(oldest >> 32);
            let status = if seconds < SHORT_WINDOW { FindingStatus::Warning } else { FindingStatus::Ok };
            out.add("oplog_window", status, format!("{}{snapshot}", span(seconds)), needed, hint);
        }
        None => out.add("oplog_window", FindingStatus::Warning, format!("the login may not see it{snapshot}"), needed, "Grant the source's user the role read on the database local, so that the window can be watched."),
    }
    Ok(())
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
