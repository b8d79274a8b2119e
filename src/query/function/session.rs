//! What a session and its server are: names, versions, settings, sizes.

use super::value::Value;
use super::{Arg, Scalar};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::query::context::StatementContext;
use Arg::{A, B, I, T};

const STABLE: Scalar = Scalar { name: "", args: &[&[]], returns: "text", strict: true, pure: false, model: false, call: |_, _| Ok(Value::Null) };

/// The functions.
pub const FUNCTIONS: &[Scalar] = &[
    Scalar { name: "current_database", returns: "name", call: |cx, _| Ok(cx.database.as_str().into()), ..STABLE },
    Scalar { name: "current_catalog", returns: "name", call: |cx, _| Ok(cx.database.as_str().into()), ..STABLE },
    Scalar { name: "current_user", returns: "name", call: |cx, _| Ok(cx.user.as_str().into()), ..STABLE },
    Scalar { name: "session_user", returns: "name", call: |cx, _| Ok(cx.user.as_str().into()), ..STABLE },
    Scalar { name: "user", returns: "name", call: |cx, _| Ok(cx.user.as_str().into()), ..STABLE },
    Scalar { name: "current_role", returns: "name", call: |cx, _| Ok(cx.user.as_str().into()), ..STABLE },
    Scalar { name: "current_schema", returns: "name", model: true, call: |cx, _| Ok(schemas(cx, false)?.into_iter().next().unwrap_or(Value::Null)), ..STABLE },
    Scalar { name: "current_schemas", args: &[&[B]], returns: "_name", model: true, call: |cx, a| Ok(Value::List(schemas(cx, a[0].bool())?)), ..STABLE },
    Scalar { name: "version", call: |_, _| Ok(version().into()), ..STABLE },
    Scalar { name: "current_setting", args: &[&[T], &[T, B]], call: current_setting, ..STABLE },
    Scalar { name: "set_config", args: &[&[T, T, B]], strict: false, call: set_config, ..STABLE },
    Scalar { name: "pg_backend_pid", returns: "int4", call: |cx, _| Ok(cx.pid.into()), ..STABLE },
    Scalar { name: "pg_is_in_recovery", returns: "bool", call: |_, _| Ok(false.into()), ..STABLE },
    Scalar { name: "pg_is_wal_replay_paused", returns: "bool", call: |_, _| Ok(false.into()), ..STABLE },
    Scalar { name: "pg_my_temp_schema", returns: "oid", call: |_, _| Ok(Value::Int(0)), ..STABLE },
    Scalar { name: "pg_is_other_temp_schema", args: &[&[I]], returns: "bool", call: |_, _| Ok(false.into()), ..STABLE },
    Scalar { name: "txid_current", returns: "int8", call: transaction, ..STABLE },
    Scalar { name: "pg_current_xact_id", returns: "xid8", call: |cx, a| transaction(cx, a).map(|v| Value::Text(v.int().to_string())), ..STABLE },
    Scalar { name: "txid_current_if_assigned", returns: "int8", call: |_, _| Ok(Value::Null), ..STABLE },
    Scalar { name: "pg_advisory_lock", args: &[&[I], &[I, I]], returns: "void", call: no_locks, ..STABLE },
    Scalar { name: "pg_try_advisory_lock", args: &[&[I], &[I, I]], returns: "bool", call: no_locks, ..STABLE },
    Scalar { name: "pg_advisory_unlock", args: &[&[I], &[I, I]], returns: "bool", call: |_, _| Ok(false.into()), ..STABLE },
    Scalar { name: "pg_advisory_unlock_all", returns: "void", call: |_, _| Ok("".into()), ..STABLE },
    Scalar { name: "pg_client_encoding", returns: "name", call: |_, _| Ok("UTF8".into()), ..STABLE },
    Scalar { name: "getdatabaseencoding", returns: "name", call: |_, _| Ok("UTF8".into()), ..STABLE },
    Scalar { name: "pg_encoding_to_char", args: &[&[I]], returns: "name", pure: true, call: |_, a| Ok(encoding_name(a[0].int()).into()), ..STABLE },
    Scalar { name: "pg_char_to_encoding", args: &[&[T]], returns: "int4", pure: true, call: |_, a| Ok(encoding_number(a[0].text()).into()), ..STABLE },
    Scalar { name: "pg_size_pretty", args: &[&[A]], pure: true, call: |_, a| Ok(size_pretty(&a[0]).into()), ..STABLE },
    Scalar { name: "pg_postmaster_start_time", returns: "timestamptz", call: |_, _| Ok(Value::Int(*STARTED)), ..STABLE },
    Scalar { name: "pg_conf_load_time", returns: "timestamptz", call: |_, _| Ok(Value::Int(*STARTED)), ..STABLE },
    Scalar { name: "now", returns: "timestamptz", call: |cx, _| Ok(Value::Int(cx.started)), ..STABLE },
    Scalar { name: "current_timestamp", returns: "timestamptz", call: |cx, _| Ok(Value::Int(cx.started)), ..STABLE },
    Scalar { name: "transaction_timestamp", returns: "timestamptz", call: |cx, _| Ok(Value::Int(cx.started)), ..STABLE },
    Scalar { name: "statement_timestamp", returns: "timestamptz", call: |cx, _| Ok(Value::Int(cx.started)), ..STABLE },
    Scalar { name: "clock_timestamp", returns: "timestamptz", call: |_, _| Ok(Value::Int(chrono::Utc::now().timestamp_micros())), ..STABLE },
    Scalar { name: "localtimestamp", returns: "timestamp", call: |cx, _| Ok(Value::Int(local(cx).and_utc().timestamp_micros())), ..STABLE },
    Scalar { name: "current_date", returns: "date", call: |cx, _| Ok(Value::Int(days(cx))), ..STABLE },
    Scalar { name: "inet_client_addr", returns: "inet", call: |_, _| Ok(Value::Null), ..STABLE },
    Scalar { name: "inet_server_addr", returns: "inet", call: |_, _| Ok(Value::Null), ..STABLE },
    Scalar { name: "inet_server_port", returns: "int4", call: |_, _| Ok(Value::Null), ..STABLE },
];

/// When this program started serving, in microseconds since 1970.
static STARTED: std::sync::LazyLock<i64> = std::sync::LazyLock::new(|| chrono::Utc::now().timestamp_micros());

/// The statement's time in the session's zone.
fn local(cx: &StatementContext) -> chrono::NaiveDateTime {
    use chrono::TimeZone;
    let at = chrono::DateTime::from_timestamp_micros(cx.started).unwrap_or_default();
    match cx.time_zone.parse::<chrono_tz::Tz>() {
        Ok(zone) => zone.from_utc_datetime(&at.naive_utc()).naive_local(),
        Err(_) => at.naive_utc(),
    }
}

fn days(cx: &StatementContext) -> i64 {
    (local(cx).date() - chrono::NaiveDate::default()).num_days()
}

fn version() -> String {
    let number = config::find("server_version").map_or("", |s| s.default);
    let plain = number.split_whitespace().next().unwrap_or(number);
    format!("PostgreSQL {plain} (Standpipe {}) on {}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, std::env::consts::OS)
}

/// The schemas of the search path that are there; with `implicit` also `pg_catalog`, which is always looked at first.
fn schemas(cx: &StatementContext, implicit: bool) -> Result<Vec<Value>> {
    let model = cx.current()?;
    let mut out: Vec<Value> = if implicit && !cx.search_path.iter().any(|s| s == "pg_catalog") { vec!["pg_catalog".into()] } else { vec![] };
    out.extend(cx.search_path.iter().filter(|s| model.schema(s).is_some()).map(|s| s.as_str().into()));
    Ok(out)
}

fn current_setting(cx: &StatementContext, a: &[Value]) -> Result<Value> {
    let name = a[0].text();
    match config::find(name) {
        Some(s) if s.name.eq_ignore_ascii_case("session_authorization") => Ok(cx.user.as_str().into()),
        Some(s) if s.name == "is_superuser" => Ok(if cx.admin { "on" } else { "off" }.into()),
        Some(s) => Ok(cx.settings.text(s.name).into()),
        None if a.get(1).is_some_and(Value::bool) => Ok(Value::Null),
        None => Err(config::unknown(name)),
    }
}

/// SET as a function would have to change the session from inside a query; clients that only set what is set already are served.
fn set_config(cx: &StatementContext, a: &[Value]) -> Result<Value> {
    let (name, wanted) = (a[0].text(), a[1].text());
    let setting = config::find(name).ok_or_else(|| config::unknown(name))?;
    let checked = config::check(setting, wanted)?;
    if checked == cx.settings.text(setting.name) || ACCEPTED.contains(&setting.name) {
        return Ok(checked.into());
    }
    let e = Error::new(Kind::NotSupported, format!("set_config can't change \"{}\" inside a query", setting.name));
    Err(e.with_hint(format!("Use SET {} = '{wanted}'.", setting.name)))
}

/// Settings without an effect here.
const ACCEPTED: &[&str] = &["jit", "row_security", "synchronous_commit", "lock_timeout", "check_function_bodies", "default_tablespace"];

fn transaction(cx: &StatementContext, _: &[Value]) -> Result<Value> {
    Ok(Value::Int(i64::try_from(cx.snapshot.version().0).unwrap_or(i64::MAX)))
}

fn no_locks(_: &StatementContext, _: &[Value]) -> Result<Value> {
    Err(Error::new(Kind::NotSupported, "advisory locks are not supported"))
}

/// Encodings by pg_wchar.h's numbers, those a server may have.
const ENCODINGS: &[(i64, &str)] = &[(0, "SQL_ASCII"), (1, "EUC_JP"), (2, "EUC_CN"), (3, "EUC_KR"), (6, "UTF8"), (8, "LATIN1"), (9, "LATIN2"), (16, "LATIN9"), (24, "WIN1252")];

fn encoding_name(number: i64) -> &'static str {
    ENCODINGS.iter().find(|e| e.0 == number).map_or("", |e| e.1)
}

fn encoding_number(name: &str) -> i64 {
    let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_uppercase();
    ENCODINGS.iter().find(|e| e.1.replace('_', "") == plain || (plain == "UNICODE" && e.0 == 6)).map_or(-1, |e| e.0)
}

/// PostgreSQL's steps: a unit is used up to 10 240 of it, halves are rounded away from zero.
fn size_pretty(v: &Value) -> String {
    let mut size = match v {
        Value::Int(n) => *n as f64,
        Value::Float(f) => *f,
        Value::Text(t) => t.parse().unwrap_or(0.0),
        _ => 0.0,
    };
    for unit in ["bytes", "kB", "MB", "GB", "TB"] {
        if size.abs() < 10240.0 || unit == "TB" {
            return format!("{} {unit}", size.round());
        }
        size /= 1024.0;
    }
    format!("{} PB", size.round())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_postgresql_writes_them() {
        let cases = [(0, "0 bytes"), (10239, "10239 bytes"), (10240, "10 kB"), (1 << 20, "1024 kB"), (10 << 20, "10 MB"), (123456789, "118 MB")];
        for (n, text) in cases {
            assert_eq!(size_pretty(&Value::Int(n)), text);
        }
    }
}
