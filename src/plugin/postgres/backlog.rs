//! How much log the source has for a pipe, and how much of it the pipe is behind: what its slot says, whether the pipe runs or not.

use super::client::{Access, Session, Target, failed};
use super::publication::Names;
use crate::error::Result;
use crate::plugin::{Backlog, OpenRequest};
use futures::future::BoxFuture;
use uuid::Uuid;

/// The end of the log, of a standby what it has received, against the slot's two positions.
const SLOT: &str = "SELECT pg_catalog.pg_wal_lsn_diff(now, confirmed_flush_lsn)::bigint, pg_catalog.pg_wal_lsn_diff(now, restart_lsn)::bigint
    FROM pg_catalog.pg_replication_slots,
        (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_receive_lsn() ELSE pg_catalog.pg_current_wal_flush_lsn() END AS now) w
    WHERE slot_name = $1";

/// Asks for the slot of a pipe; None where it has none, or one that was invalidated.
pub fn backlog(request: OpenRequest, uuid: Uuid) -> BoxFuture<'static, Result<Option<Backlog>>> {
    Box::pin(async move {
        let names = Names::new(uuid, &request.options);
        let target = Target::new(&request.connection, &request.config, None)?;
        let session = Session::connect(&target, Access::Read).await?;
        let found = session.query_opt(SLOT, &[&names.slot]).await.map_err(failed("could not look at the replication slot"))?;
        let bytes = |n: Option<i64>| n.and_then(|n| u64::try_from(n.max(0)).ok());
        Ok(found.and_then(|row| Some(Backlog { behind: bytes(row.get(0))?, held: bytes(row.get(1))? })))
    })
}
