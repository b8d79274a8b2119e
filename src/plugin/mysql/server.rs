//! What a server says of itself and its log: the facts that checks, anchors and the change side ask for.

use super::client::{literal, server_code};
use super::position::{File, Gtids, Place};
use super::wire::Wire;
use crate::error::{Error, Kind, Result};
use crate::plugin::Identity;
use std::collections::HashMap;

/// Keys of an anchor's identity.
pub mod fact {
    /// MySQL: `server_uuid`; MariaDB: its server id (`server_uid` is made of the machine's address and the port, which move with neither data nor log).
    pub const SERVER: &str = "server";
    /// Base name of the log's files.
    pub const LOG: &str = "log";
    /// `mysql` or `mariadb`.
    pub const KIND: &str = "kind";
}

/// Variables of the server, by name; ones that it has not are missing.
pub async fn variables(wire: &mut Wire, names: &[&str]) -> Result<HashMap<String, String>> {
    let list = names.iter().map(|n| literal(n)).collect::<Vec<_>>().join(", ");
    let sql = format!("SHOW GLOBAL VARIABLES WHERE variable_name IN ({list})");
    let rows = wire.rows("could not read the source's settings", &sql).await?;
    let pair = |row: Vec<Option<String>>| {
        let [Some(name), Some(value)] = <[Option<String>; 2]>::try_from(row).ok()? else { return None };
        Some((name.to_ascii_lowercase(), value))
    };
    Ok(rows.into_iter().filter_map(pair).collect())
}

/// The log's end as the server has it.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Where the next transaction will be written.
    pub place: Place,
    /// Databases that alone are logged.
    pub only: String,
    /// Databases that are not logged.
    pub ignored: String,
}

/// The end of the log; None where there is none.
pub async fn status(wire: &mut Wire) -> Result<Option<Status>> {
    let new = !wire.server().mariadb && wire.server().version >= 80_400;
    let sql = if new { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
    let Some(row) = wire.row("could not read the end of the source's log", sql).await? else { return Ok(None) };
    let text = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
    let offset = text(1).parse().map_err(|_| Error::new(Kind::Protocol, "the source gave no log position"))?;
    Ok(Some(Status { place: Place { file: File::parse(&text(0))?, offset }, only: text(2), ignored: text(3) }))
}

/// Transactions before a place of the log. MySQL can tell for the end only: it must be held still meanwhile.
pub async fn gtids_at(wire: &mut Wire, place: &Place) -> Result<Gtids> {
    let what = "could not read the source's transaction identifiers";
    if wire.server().mariadb {
        let sql = format!("SELECT BINLOG_GTID_POS({}, {})", literal(&place.file.to_string()), place.offset);
        return Gtids::parse(&wire.value(what, &sql).await?.unwrap_or_default());
    }
    Ok(if gtid_mode(wire).await? { Gtids::parse(&wire.value(what, "SELECT @@GLOBAL.gtid_executed").await?.unwrap_or_default())? } else { Gtids::None })
}

/// MySQL counts its transactions.
pub async fn gtid_mode(wire: &mut Wire) -> Result<bool> {
    Ok(variables(wire, &["gtid_mode"]).await?.get("gtid_mode").is_some_and(|m| m.eq_ignore_ascii_case("on")))
}

/// What identifies a server and its log now.
pub async fn identity(wire: &mut Wire) -> Result<Identity> {
    let all = variables(wire, &["server_uuid", "server_id", "log_bin_basename"]).await?;
    let get = |name: &str| all.get(name).cloned().filter(|v| !v.is_empty());
    let server = get("server_uuid").unwrap_or_else(|| format!("server id {}", get("server_id").unwrap_or_default()));
    let log = get("log_bin_basename").map(|p| p.rsplit('/').next().unwrap_or_default().to_string()).unwrap_or_default();
    let kind = if wire.server().mariadb { "mariadb" } else { "mysql" };
    Ok(Identity::from([(fact::SERVER.to_string(), server), (fact::LOG.to_string(), log), (fact::KIND.to_string(), kind.to_string())]))
}

/// The server said that the login may not do this.
pub fn lacks_right(e: &Error) -> bool {
    matches!(server_code(e), Some(1044 | 1142 | 1227))
}
