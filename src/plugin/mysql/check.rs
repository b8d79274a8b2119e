//! What a MySQL or MariaDB source needs, each fact with what was found, what is needed and the statement that mends it.

use super::charset;
use super::client::{Access, Target, literal, server_code};
use super::grants::Grants;
use super::server::{self, lacks_right, variables};
use super::types::{Carriage, MyType, OWN, Wanted, fact, tables, unclear_label};
use super::wire::Wire;
use crate::data::{TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::findings::Findings;
use crate::plugin::{Finding, FindingStatus, Needs, Options};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// The oldest versions whose protocol and log are known here.
const OLDEST_MYSQL: u32 = 50_600;
const OLDEST_MARIADB: u32 = 100_200;
/// A log that is kept for less is a trap for a pipe that stops over a weekend.
const RETENTION_DAYS: u64 = 3;
const DAY_SECONDS: u64 = 86_400;

/// All findings; a server that can't be reached is the only one then.
pub(super) async fn findings(target: &Target, carriage: Carriage, needs: &Needs) -> Result<Vec<Finding>> {
    let mut out = Findings::default();
    if needs.joining {
        let mut wire = Wire::connect(target, Access::Read).await?;
        let needs = &present(&mut wire, carriage, needs, &mut out).await?;
        if needs.changes {
            let all = variables(&mut wire, VARIABLES).await?;
            tables_of_changes(&mut wire, &all, needs, &mut out).await?;
        }
        return Ok(out.0);
    }
    let started = Instant::now();
    let mut wire = match Wire::connect(target, Access::Read).await {
        Ok(wire) => wire,
        Err(e) => {
            let (name, needed) = if e.kind() == Kind::Unreachable { ("reachability", "a server that answers") } else { ("login", "a login that is let in") };
            out.must(name, false, text(&e), needed, e.hint().unwrap_or("Check the options host and port of the source."));
            return Ok(out.0);
        }
    };
    out.must("reachability", true, format!("{}, connected in {} ms", target.place(), started.elapsed().as_millis()), "a server that answers", "");
    out.must("login", true, "let in", "a login that is let in", "");
    let server = wire.server().clone();
    let oldest = if server.mariadb { OLDEST_MARIADB } else { OLDEST_MYSQL };
    out.must("server_version", server.version >= oldest, server.to_string(), "MySQL 5.6 or MariaDB 10.2, or later", "Upgrade the source.");
    let asked = async {
        let needs = present(&mut wire, carriage, needs, &mut out).await?;
        general(&mut wire, target, &needs, &mut out).await?;
        if needs.changes {
            changes(&mut wire, &needs, &mut out).await?;
        }
        Ok::<_, Error>(())
    };
    if let Err(e) = asked.await {
        out.must("catalog", false, text(&e), "a catalog that can be read", "Give the source's login its rights on information_schema back.");
    }
    Ok(out.0)
}

/// The tables as they are at the source now: those that are asked about as they were synced know neither their kind nor their engine.
async fn present(wire: &mut Wire, carriage: Carriage, needs: &Needs, out: &mut Findings) -> Result<Needs> {
    if needs.tables.iter().all(|t| t.facts.contains_key(fact::KIND)) {
        return Ok(needs.clone());
    }
    let names: Vec<TableName> = needs.tables.iter().map(|t| t.name.clone()).collect();
    let found = tables(wire, Wanted::Names(&names), carriage).await?;
    let missing: Vec<String> = names.iter().filter(|n| !found.iter().any(|t| t.name == **n)).map(TableName::to_string).collect();
    if !missing.is_empty() {
        let found = format!("{} not there, or not readable", missing.join(", "));
        out.must("tables", false, found, "every synced table", "Run REFRESH TABLES FROM SOURCE, or GRANT SELECT to the source's login.");
    }
    Ok(Needs { tables: found.into_iter().map(Arc::new).collect(), ..needs.clone() })
}

fn text(e: &Error) -> String {
    match e.detail() {
        Some(detail) => format!("{}: {detail}", e.message()),
        None => e.message().to_string(),
    }
}

async fn general(wire: &mut Wire, target: &Target, needs: &Needs, out: &mut Findings) -> Result<()> {
    let listed = tables(wire, Wanted::All { schemas: &target.schemas() }, Carriage::default()).await?;
    out.should("readable_tables", !listed.is_empty() || needs.write, format!("{} tables", listed.len()), "at least one", "Run GRANT SELECT ON ... TO the source's login.");
    if needs.write {
        let may = Grants::of(wire).await?.on_database("CREATE", OWN);
        out.should("create_right", may, if may { "may create it" } else { "no right to create it is listed" }, "all rights on the database _standpipe, for the marks", "Run GRANT ALL ON `_standpipe`.* TO the source's login.");
    }
    Ok(())
}

const VARIABLES: &[&str] = &[
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_expire_logs_seconds",
    "expire_logs_days",
    "server_id",
    "gtid_mode",
    "log_slave_updates",
    "log_replica_updates",
    "innodb_native_foreign_keys",
];

async fn changes(wire: &mut Wire, needs: &Needs, out: &mut Findings) -> Result<()> {
    let all = variables(wire, VARIABLES).await?;
    let get = |name: &str| all.get(name).map(String::as_str);
    let is = |name: &str, wanted: &str| get(name).is_none_or(|v| v.eq_ignore_ascii_case(wanted));
    let logs = get("log_bin").is_some_and(|v| matches!(v, "ON" | "1"));
    out.must("log_bin", logs, get("log_bin").unwrap_or("OFF"), "ON", "Add log_bin to the source's configuration and restart it.");
    let set = |name: &str, value: &str| format!("Run SET GLOBAL {name} = {value} at the source, add it to its configuration, and let its sessions connect anew.");
    out.must("binlog_format", is("binlog_format", "ROW"), get("binlog_format").unwrap_or("ROW"), "ROW", set("binlog_format", "'ROW'"));
    out.must("binlog_row_image", is("binlog_row_image", "FULL"), get("binlog_row_image").unwrap_or("FULL"), "FULL", set("binlog_row_image", "'FULL'"));
    let metadata = get("binlog_row_metadata");
    let needed = "FULL: names of columns in the log tell a renamed column for sure";
    out.should("binlog_row_metadata", metadata.is_some_and(|m| m == "FULL"), metadata.unwrap_or("not known to this server"), needed, set("binlog_row_metadata", "'FULL'"));
    let partial = get("binlog_row_value_options").unwrap_or_default();
    out.must("binlog_row_value_options", partial.is_empty(), if partial.is_empty() { "none" } else { partial }, "none: parts of JSON values can't be carried", set("binlog_row_value_options", "''"));
    retention(&all, out);
    replica(wire, &all, out).await?;
    server_ids(wire, &all, needs.options.as_ref().filter(|_| needs.fresh), out).await?;
    rights(wire, needs, out).await?;
    tables_of_changes(wire, &all, needs, out).await
}

async fn tables_of_changes(wire: &mut Wire, all: &HashMap<String, String>, needs: &Needs, out: &mut Findings) -> Result<()> {
    log_filter(wire, needs, out).await?;
    // MySQL 9.6 can do cascades where they are logged
    if !needs.inserts_only && all.get("innodb_native_foreign_keys").is_none_or(|v| v.eq_ignore_ascii_case("on")) {
        cascades(wire, needs, out).await?;
    }
    let before = out.0.len();
    needs.tables.iter().for_each(|table| table_needs(table, needs.inserts_only, out));
    if before == out.0.len() && !needs.tables.is_empty() {
        out.must("keys", true, format!("{} tables have a key", needs.tables.len()), "a key in every table", "");
    }
    Ok(())
}

fn retention(all: &HashMap<String, String>, out: &mut Findings) {
    let number = |name: &str| all.get(name).and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0);
    let seconds = number("binlog_expire_logs_seconds").max(number("expire_logs_days") * DAY_SECONDS as f64) as u64;
    let found = if seconds == 0 { "kept until it is purged".to_string() } else { format!("{} hours", seconds / 3600) };
    let hint = format!("Run SET GLOBAL binlog_expire_logs_seconds = {} at the source; a pipe that falls further behind needs RESYNC.", RETENTION_DAYS * DAY_SECONDS);
    out.should("log_retention", seconds == 0 || seconds >= RETENTION_DAYS * DAY_SECONDS, found, format!("{RETENTION_DAYS} days"), hint);
}

/// A replica that does not log what it replicates shows a pipe nothing of it.
async fn replica(wire: &mut Wire, all: &HashMap<String, String>, out: &mut Findings) -> Result<()> {
    let set = ["log_replica_updates", "log_slave_updates"].iter().find_map(|name| all.get(*name));
    if set.is_none_or(|v| !v.eq_ignore_ascii_case("off")) {
        return Ok(());
    }
    let sql = match (wire.server().mariadb, wire.server().version) {
        (true, _) => "SHOW ALL SLAVES STATUS",
        (false, 80_022..) => "SHOW REPLICA STATUS",
        _ => "SHOW SLAVE STATUS",
    };
    let (status, found) = match wire.rows("could not ask the source whether it is a replica", sql).await {
        Ok(rows) if rows.is_empty() => return Ok(()),
        Ok(_) => (FindingStatus::Failed, "OFF, and the source is a replica"),
        Err(e) if server_code(&e).is_some() => (FindingStatus::Warning, "OFF; the login may not see whether the source is a replica"),
        Err(e) => return Err(e),
    };
    let hint = "Set log_slave_updates = ON (MySQL 8: log_replica_updates) in the source's configuration and restart it, or read from its primary.";
    out.add("log_replica_updates", status, found, "ON at a replica: else what it replicates is not in its log", hint);
    Ok(())
}

/// What a foreign key does to the rows that refer to a changed one is done by the engine: the log has nothing of it.
async fn cascades(wire: &mut Wire, needs: &Needs, out: &mut Findings) -> Result<()> {
    let names: Vec<String> = needs.tables.iter().map(|t| format!("({}, {})", literal(&t.name.schema), literal(&t.name.name))).collect();
    if names.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT c.constraint_schema, c.table_name, c.constraint_name, c.delete_rule, c.update_rule FROM information_schema.referential_constraints c \
         WHERE (c.constraint_schema, c.table_name) IN ({}) AND (c.delete_rule IN ({RULES}) OR c.update_rule IN ({RULES})) ORDER BY 1, 2, 3",
        names.join(", ")
    );
    for row in wire.rows("could not read the source's foreign keys", &sql).await? {
        let [schema, table, key, deletes, updates] = <[Option<String>; 5]>::try_from(row).unwrap_or_default().map(Option::unwrap_or_default);
        let table = TableName::new(schema, table);
        let found = format!("foreign key {key} of {table}: ON DELETE {deletes}, ON UPDATE {updates}");
        let hint = format!(
            "Run ALTER TABLE {table} DROP FOREIGN KEY {key}, make it again with RESTRICT and let the application change the rows; or leave {table} out, \
             or take inserts alone with inclusion = 'data.insert'."
        );
        out.must("foreign_key", false, found, "no foreign key that changes rows: the log does not have what it does", hint);
    }
    unseen_rules(wire, &names.join(", "), out).await
}

/// MariaDB shows a foreign key's rules to logins with more than SELECT; its columns it shows to every reader. A key without rules may do anything.
async fn unseen_rules(wire: &mut Wire, names: &str, out: &mut Findings) -> Result<()> {
    let sql = format!(
        "SELECT DISTINCT k.table_schema, k.table_name, k.constraint_name FROM information_schema.key_column_usage k \
         WHERE (k.table_schema, k.table_name) IN ({names}) AND k.referenced_table_name IS NOT NULL AND NOT EXISTS (SELECT 1 FROM information_schema.referential_constraints c \
         WHERE c.constraint_schema = k.constraint_schema AND c.constraint_name = k.constraint_name AND c.table_name = k.table_name) ORDER BY 1, 2, 3"
    );
    for row in wire.rows("could not read the source's foreign keys", &sql).await? {
        let [schema, table, key] = <[Option<String>; 3]>::try_from(row).unwrap_or_default().map(Option::unwrap_or_default);
        let hint = format!("Run GRANT REFERENCES ON `{schema}`.* TO the source's login, so that it may see the key's rules.");
        out.must("foreign_key", false, format!("foreign key {key} of {}: the login may not see what it does to rows", TableName::new(schema, table)), "foreign keys whose rules can be seen", hint);
    }
    Ok(())
}

/// What a foreign key may do to rows without a word in the log.
const RULES: &str = "'CASCADE', 'SET NULL', 'SET DEFAULT'";

/// The number under which a pipe asks for the log must be nobody else's: the server ends the older one of two that have the same.
async fn server_ids(wire: &mut Wire, all: &HashMap<String, String>, options: Option<&Options>, out: &mut Findings) -> Result<()> {
    let own = all.get("server_id").map_or("0", String::as_str);
    out.must("server_id", own != "0", own, "a number other than 0", "Set server_id in the source's configuration and restart it.");
    let Some(ours) = options.and_then(|o| o.integer("server-id").ok()) else { return Ok(()) };
    let new = !wire.server().mariadb && wire.server().version >= 80_022;
    let listed = wire.rows("could not list the source's replicas", if new { "SHOW REPLICAS" } else { "SHOW SLAVE HOSTS" }).await;
    let taken: Vec<String> = listed.unwrap_or_default().into_iter().filter_map(|r| r.into_iter().next().flatten()).chain([own.to_string()]).collect();
    let clash = taken.contains(&ours.to_string());
    out.must("server_id_clash", !clash, if clash { format!("{ours} is taken") } else { "free".into() }, "a server-id that neither the source nor a replica has", "Choose another server-id.");
    Ok(())
}

async fn rights(wire: &mut Wire, needs: &Needs, out: &mut Findings) -> Result<()> {
    let mariadb = wire.server().mariadb;
    let grants = Grants::of(wire).await?;
    let by_role = grants.by_role();
    let mut judge = |name: &str, ok: bool, right: &str| {
        let status = if ok { FindingStatus::Ok } else if by_role { FindingStatus::Warning } else { FindingStatus::Failed };
        let found = if ok { "has it" } else if by_role { "not of its own; a role may have it" } else { "has it not" };
        out.add(name, status, found, right, format!("Run GRANT {right} ON *.* TO the source's login."));
    };
    judge("replication_right", grants.everywhere("REPLICATION SLAVE") || grants.everywhere("REPLICATION REPLICA"), "REPLICATION SLAVE");
    let monitor = if mariadb { "BINLOG MONITOR" } else { "REPLICATION CLIENT" };
    let sees = match server::status(wire).await {
        Ok(_) => true,
        Err(e) if lacks_right(&e) => false,
        Err(e) => return Err(e),
    };
    judge("log_status_right", sees, monitor);
    if !mariadb && !needs.tables.is_empty() {
        let may = needs.tables.iter().all(|t| grants.on_database("LOCK TABLES", &t.name.schema));
        let keyless = needs.tables.iter().any(|t| t.key.is_empty());
        if may || keyless {
            judge("lock_right", may, "LOCK TABLES, SELECT");
        } else {
            let hint = "Run GRANT LOCK TABLES, SELECT ON *.* TO the source's login; without it readers begin source.settle-time after the log was looked at, and changes are written over what was read.";
            out.add("lock_right", FindingStatus::Warning, "has it not", "LOCK TABLES, SELECT", hint);
        }
    }
    Ok(())
}

/// Databases whose changes the server leaves out of its log.
async fn log_filter(wire: &mut Wire, needs: &Needs, out: &mut Findings) -> Result<()> {
    let Ok(Some(status)) = server::status(wire).await else { return Ok(()) };
    let listed = |list: &str, schema: &str| list.split(',').any(|s| s.trim() == schema);
    let left_out = |schema: &str| (!status.only.is_empty() && !listed(&status.only, schema)) || listed(&status.ignored, schema);
    let names: Vec<String> = needs.tables.iter().filter(|t| left_out(&t.name.schema)).map(|t| t.name.to_string()).collect();
    if !names.is_empty() {
        out.must("binlog_filter", false, format!("changes of {} are not logged", names.join(", ")), "every database of the pipe in the log", "Change binlog_do_db and binlog_ignore_db at the source and restart it.");
    }
    Ok(())
}

/// Why changes of a table can't be captured, if so.
fn table_needs(table: &TableVersion, inserts_only: bool, out: &mut Findings) {
    let fact_of = |name: &str| table.facts.get(name).map_or("", String::as_str);
    let name = &table.name;
    if fact_of(fact::KIND) != "base table" {
        return out.must("table_kind", false, format!("{name} is a {}", fact_of(fact::KIND)), "a table", format!("Leave {name} out, or copy it with realtime.enable = false."));
    }
    if !matches!(fact_of(fact::ENGINE), "innodb" | "rocksdb" | "tokudb" | "ndbcluster" | "xtradb") {
        let hint = format!("Run ALTER TABLE {name} ENGINE = InnoDB, or copy it with realtime.enable = false.");
        return out.must("table_engine", false, format!("{name} is of engine {}", fact_of(fact::ENGINE)), "an engine with transactions", hint);
    }
    for column in &table.columns {
        let labelled = matches!(MyType::parse(&column.native), MyType::Enum(_) | MyType::Set(_));
        if !labelled && column.native.contains("COMPRESSED") {
            let hint = format!("Run ALTER TABLE {name} MODIFY {} ... without COMPRESSED, leave {name} out, or copy it with realtime.enable = false.", column.name);
            return out.must("column_compression", false, format!("column {} of {name} is COMPRESSED", column.name), "columns that the change log shows as they are", hint);
        }
        // information_schema says so of columns that were made with mysql56_temporal_format = OFF; their fractions have a form of their own in the log
        if !labelled && column.native.contains("mariadb-5.3") && column.native.contains('(') {
            let hint = format!("Run SET GLOBAL mysql56_temporal_format = ON and ALTER TABLE {name} FORCE, leave {name} out, or copy it with realtime.enable = false.");
            let found = format!("column {} of {name} is {}", column.name, column.native);
            return out.must("column_format", false, found, "fractional seconds in the form of MySQL 5.6", hint);
        }
        if let Some(e) = unclear_label(column) {
            return out.must("labels", false, format!("{name}: {}", e.message()), "labels that the catalog shows as they are", e.hint().unwrap_or_default());
        }
        if let MyType::Text(set) = MyType::parse(&column.native)
            && !charset::is_readable(&set)
        {
            let hint = format!("Convert the column to utf8mb4, or leave {name} out.");
            return out.must("charset", false, format!("column {} of {name} has character set {set}", column.name), "a character set of Unicode, or of one byte", hint);
        }
    }
    if table.key.is_empty() && !inserts_only {
        let hint = format!("Run ALTER TABLE {name} ADD PRIMARY KEY (...), or leave updates and deletes out with inclusion = 'data.insert'.");
        out.must("key", false, format!("{name} has no key"), "a primary key or a unique index over columns that are NOT NULL", hint);
    }
}
