//! What a PostgreSQL source needs, each fact with what was found, what is needed and the statement that mends it.

use super::client::{Access, Session, Target, failed};
use super::publication::{self, Names};
use super::types::{Wanted, fact, tables};
use crate::data::{TableName, TableVersion};
use crate::error::{Error, Result};
use crate::plugin::findings::Findings;
use crate::plugin::policy::Operations;
use crate::plugin::{Finding, FindingStatus, Needs, Options};
use std::sync::Arc;
use std::time::Instant;

/// The oldest version whose catalog and protocol are known here.
const OLDEST: u32 = 110_000;

/// First version whose standbys decode changes.
const STANDBY_DECODES: u32 = 160_000;

/// All findings; a server that can't be reached is the only one then.
pub(super) async fn findings(target: &Target, needs: &Needs) -> Result<Vec<Finding>> {
    let mut out = Findings::default();
    if needs.joining {
        let session = Session::connect(target, Access::Read).await?;
        let needs = &present(&session, needs, &mut out).await?;
        row_security(needs, &mut out);
        if needs.changes {
            tables_of_changes(&session, needs, &mut out).await?;
        }
        return Ok(out.0);
    }
    let started = Instant::now();
    let session = match Session::connect(target, Access::Read).await {
        Ok(session) => session,
        Err(e) => {
            let (name, needed) = if e.kind() == crate::error::Kind::Unreachable { ("reachability", "a server that answers") } else { ("login", "a login that is let in") };
            out.must(name, false, text(&e), needed, e.hint().unwrap_or("Check the options host and port of the source."));
            return Ok(out.0);
        }
    };
    out.must("reachability", true, format!("{}, connected in {} ms", target.place(), started.elapsed().as_millis()), "a server that answers", "");
    out.must("login", true, "let in", "a login that is let in", "");
    let major = session.version() / 10_000;
    out.must("server_version", session.version() >= OLDEST, major.to_string(), format!("{} or later", OLDEST / 10_000), "Upgrade the source.");
    let needs = &present(&session, needs, &mut out).await?;
    if let Err(e) = general(&session, needs, &mut out).await {
        out.must("catalog", false, text(&e), "a catalog that can be read", "Give the source's role the rights it has by default on pg_catalog.");
    }
    if needs.changes
        && let Err(e) = changes(&session, needs, &mut out).await
    {
        out.must("change_capture", false, text(&e), "a catalog that can be read", "Give the source's role the rights it has by default on pg_catalog.");
    }
    Ok(out.0)
}

/// The tables as they are at the source now: those that are asked about as they were synced know neither their kind nor their identity.
async fn present(session: &Session, needs: &Needs, out: &mut Findings) -> Result<Needs> {
    if needs.tables.iter().all(|t| t.facts.contains_key(fact::IDENTITY)) {
        return Ok(needs.clone());
    }
    let names: Vec<TableName> = needs.tables.iter().map(|t| t.name.clone()).collect();
    let found = tables(session, Wanted::Names(&names)).await?;
    let missing: Vec<String> = names.iter().filter(|n| !found.iter().any(|t| t.name == **n)).map(TableName::to_string).collect();
    if !missing.is_empty() {
        let found = format!("{} not there, or not readable", missing.join(", "));
        out.must("tables", false, found, "every synced table", "Run REFRESH TABLES FROM SOURCE, or GRANT USAGE and SELECT to the source's role.");
    }
    Ok(Needs { tables: found.into_iter().map(Arc::new).collect(), ..needs.clone() })
}

fn text(e: &Error) -> String {
    match e.detail() {
        Some(detail) => format!("{}: {detail}", e.message()),
        None => e.message().to_string(),
    }
}

async fn general(session: &Session, needs: &Needs, out: &mut Findings) -> Result<()> {
    let sql = "SELECT pg_catalog.count(DISTINCT n.oid)::int8, pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), pg_catalog.current_setting('server_encoding') \
               FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
               AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')";
    let row = session.query_one(sql, &[]).await.map_err(failed("could not read the source's catalog"))?;
    let (schemas, may_create, encoding): (i64, bool, String) = (row.get(0), row.get(1), row.get(2));
    let status = if schemas > 0 || needs.write { FindingStatus::Ok } else { FindingStatus::Warning };
    out.add("readable_schemas", status, format!("{schemas} with tables that may be read"), "at least one", "Run GRANT USAGE ON SCHEMA ... and GRANT SELECT ON ... TO the source's role.");
    let status = if encoding == "SQL_ASCII" { FindingStatus::Warning } else { FindingStatus::Ok };
    out.add("server_encoding", status, encoding, "an encoding", "Texts of a SQL_ASCII database that are not UTF-8 are errors when they are read.");
    if needs.write {
        out.must("create_right", may_create, if may_create { "may create schemas" } else { "may not create schemas" }, "CREATE on the database, for the schema _standpipe", "Run GRANT CREATE ON DATABASE ... TO the source's role.");
    }
    row_security(needs, out);
    Ok(())
}

fn row_security(needs: &Needs, out: &mut Findings) {
    let hidden: Vec<_> = needs.tables.iter().filter(|t| t.facts.get(fact::ROW_SECURITY).is_some_and(|v| v == "true")).map(|t| t.name.to_string()).collect();
    if !hidden.is_empty() {
        out.must("row_security", false, format!("policies hide rows of {}", hidden.join(", ")), "a role that sees all rows", "Run ALTER ROLE ... BYPASSRLS for the source's role.");
    }
}

async fn changes(session: &Session, needs: &Needs, out: &mut Findings) -> Result<()> {
    let options = needs.options.clone().unwrap_or_default();
    server(session, &options, out).await?;
    if let Some(name) = options.get("slot-name").filter(|_| needs.fresh) {
        let slot = session.query_opt("SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", &[&name]).await;
        let there = slot.map_err(failed("could not look for the replication slot"))?.is_some();
        out.must("slot_name", !there, if there { format!("slot \"{name}\" exists") } else { "free".into() }, "a name that is free", "Choose another slot-name, or drop the slot if nothing uses it.");
    }
    tables_of_changes(session, needs, out).await
}

async fn tables_of_changes(session: &Session, needs: &Needs, out: &mut Findings) -> Result<()> {
    let options = needs.options.clone().unwrap_or_default();
    let given = options.get("publication-name").is_some();
    if given {
        user_publication(session, needs, &options, out).await?;
    } else if !needs.tables.is_empty() {
        owned(session, needs, out).await?;
    }
    let operations = if needs.inserts_only { Operations { insert: true, update: false, delete: false } } else { Operations::new(&options) };
    let via_root = options.get("publish-via-partition-root").is_none() || options.flag("publish-via-partition-root");
    let before = out.0.len();
    needs.tables.iter().for_each(|table| table_needs(table, operations, via_root, out));
    if before == out.0.len() && !needs.tables.is_empty() {
        out.must("replica_identity", true, format!("{} tables have a key that their changes carry", needs.tables.len()), "a key in every change", "");
    }
    Ok(())
}

async fn server(session: &Session, options: &Options, out: &mut Findings) -> Result<()> {
    let sql = "SELECT pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('max_replication_slots')::int8, pg_catalog.current_setting('max_wal_senders')::int8, \
               (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots), (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication), \
               (SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = current_user) \
               OR EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rds_replication' AND pg_catalog.pg_has_role(oid, 'MEMBER')), \
               pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), pg_catalog.pg_is_in_recovery(), \
               coalesce((SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'), -1)";
    let row = session.query_one(sql, &[]).await.map_err(failed("could not read the source's settings"))?;
    let (level, slots, senders): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let (slots_used, senders_used): (i64, i64) = (row.get(3), row.get(4));
    let (replicates, creates, standby, kept): (bool, bool, bool, i64) = (row.get(5), row.get(6), row.get(7), row.get(8));
    out.must("wal_level", level == "logical", level, "logical", "Run ALTER SYSTEM SET wal_level = 'logical' at the source and restart it.");
    out.must("replication_right", replicates, if replicates { "has it" } else { "has it not" }, "the REPLICATION attribute", "Run ALTER ROLE ... REPLICATION for the source's role.");
    out.must("free_slots", slots_used < slots, format!("{slots_used} of {slots} used"), "one free replication slot", "Raise max_replication_slots at the source and restart it, or drop a slot that is not used.");
    let (needed, free) = (2, senders - senders_used);
    let status = if free < 1 { FindingStatus::Failed } else if free < needed { FindingStatus::Warning } else { FindingStatus::Ok };
    out.add("free_senders", status, format!("{senders_used} of {senders} used"), "two free WAL senders, one of them for tables added later", "Raise max_wal_senders at the source and restart it.");
    let too_old = standby && session.version() < STANDBY_DECODES;
    let found = if standby { format!("a standby of version {}", session.version() / 10_000) } else { "a primary".to_string() };
    out.must("primary", !too_old, found, "a primary, or a standby of PostgreSQL 16 or later", "Name the primary in the source's options host and port: a standby of this version decodes no changes.");
    if options.get("publication-name").is_none() && !too_old {
        out.must("publication_right", creates && !standby, if standby { "a standby" } else if creates { "may create" } else { "may not create" }, "CREATE on the database of a primary", "Run GRANT CREATE ON DATABASE ... TO the source's role, or create a publication and name it in publication-name.");
    }
    let status = if kept < 0 { FindingStatus::Warning } else { FindingStatus::Ok };
    out.add("max_slot_wal_keep_size", status, if kept < 0 { "no limit".to_string() } else { format!("{kept} MB") }, "a limit, so that a stopped pipe can't fill the source's disk", "Run ALTER SYSTEM SET max_slot_wal_keep_size = '...' at the source; a pipe that falls further behind needs RESYNC.");
    Ok(())
}

async fn user_publication(session: &Session, needs: &Needs, options: &Options, out: &mut Findings) -> Result<()> {
    let names = Names::new(uuid::Uuid::nil(), options);
    if publication::oid(session, &names.publication).await?.is_none() {
        out.must("publication", false, "none of that name", format!("publication \"{}\"", names.publication), format!("Run CREATE PUBLICATION {} FOR TABLE ... at the source.", names.publication));
        return Ok(());
    }
    let lacking: Vec<_> = publication::missing(&publication::tables(session, &names.publication).await?, &needs.tables).iter().map(|t| t.name.to_string()).collect();
    let hint = format!("Run ALTER PUBLICATION {} ADD TABLE {} at the source.", names.publication, lacking.join(", "));
    out.must("publication", lacking.is_empty(), if lacking.is_empty() { "carries every table".to_string() } else { format!("lacks {}", lacking.join(", ")) }, "every table of the pipe", hint);
    let wanted = Operations::new(options);
    let left = publication::left_out(session, &names.publication, wanted, &needs.tables).await?;
    if !left.operations.is_empty() {
        let hint = format!("Run ALTER PUBLICATION {} SET (publish = '{}') at the source.", names.publication, wanted.publish());
        out.must("publication_operations", false, format!("leaves out {}", left.operations.join(", ")), "every operation of the pipe", hint);
    }
    if !left.filtered.is_empty() {
        let hint = format!("Run ALTER PUBLICATION {} SET TABLE ... without conditions and column lists at the source; the pipe's filter and its processors choose rows and columns.", names.publication);
        out.must("publication_filters", false, format!("leaves out rows or columns of {}", left.filtered.join(", ")), "whole tables", hint);
    }
    Ok(())
}

/// A publication may only be made of tables that its maker owns.
async fn owned(session: &Session, needs: &Needs, out: &mut Findings) -> Result<()> {
    let oids: Vec<u32> = needs.tables.iter().filter_map(|t| u32::try_from(t.source_id).ok()).collect();
    let sql = "SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1) AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')";
    let rows = session.query(sql, &[&oids]).await.map_err(failed("could not read the tables' owners"))?;
    let foreign: Vec<u32> = rows.iter().map(|r| r.get(0)).collect();
    let names: Vec<_> = needs.tables.iter().filter(|t| u32::try_from(t.source_id).is_ok_and(|id| foreign.contains(&id))).map(|t| t.name.to_string()).collect();
    let hint = "Let the source's role own the tables, or create a publication as their owner and name it in publication-name.";
    out.must("table_owner", names.is_empty(), if names.is_empty() { "owns them".to_string() } else { format!("does not own {}", names.join(", ")) }, "a role that owns the tables it publishes", hint);
    Ok(())
}

/// Why changes of a table can't be captured as asked, if so.
fn table_needs(table: &Arc<TableVersion>, operations: Operations, via_root: bool, out: &mut Findings) {
    let fact_of = |name: &str| table.facts.get(name).map_or("", String::as_str);
    let name = &table.name;
    match fact_of(fact::KIND) {
        "v" | "m" | "f" => return out.must("table_kind", false, format!("{name} is a view or foreign table"), "a table", format!("Leave {name} out, or copy it with realtime.enable = false.")),
        "p" if !via_root => return out.must("table_kind", false, format!("{name} is partitioned"), "its partitions, as publish-via-partition-root is false", "Set publish-via-partition-root = true, or name the partitions."),
        _ => {}
    }
    if !matches!(fact_of(fact::PERSISTENCE), "p" | "") {
        return out.must("table_kind", false, format!("{name} is unlogged or temporary"), "a table whose changes are logged", format!("Run ALTER TABLE {name} SET LOGGED."));
    }
    if !operations.update && !operations.delete {
        return;
    }
    if table.key.is_empty() {
        let hint = format!("Run ALTER TABLE {name} ADD PRIMARY KEY (...), or leave updates and deletes out with inclusion = 'data.insert'.");
        return out.must("key", false, format!("{name} has no key"), "a primary key or a unique index over columns that are NOT NULL", hint);
    }
    let (identity, key) = (fact_of(fact::IDENTITY), fact_of(fact::KEY_KIND));
    let carried = match identity {
        "f" => true,
        "i" => key == "identity",
        "n" => false,
        _ => key == "primary",
    };
    if !carried {
        let columns = table.key.iter().map(|&i| table.columns[i].name.as_str()).collect::<Vec<_>>().join(", ");
        let hint = match key {
            "primary" => format!("Run ALTER TABLE {name} REPLICA IDENTITY DEFAULT."),
            _ => format!("Run ALTER TABLE {name} REPLICA IDENTITY USING INDEX ... (the unique index over {columns}), or ALTER TABLE {name} REPLICA IDENTITY FULL."),
        };
        let found = match identity {
            "n" => "NOTHING",
            "i" => "another index",
            _ => "DEFAULT without a primary key",
        };
        out.must("replica_identity", false, format!("{name} has REPLICA IDENTITY {found}"), "old keys in its updates and deletes", hint);
    }
}
