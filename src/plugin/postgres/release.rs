//! Removing what a pipe left at its source: its slot, which holds back the source's log for ever otherwise, and its publication.

use super::client::{Access, Session, Target, failed, ident, literal};
use super::publication::Names;
use crate::error::{Error, Result};
use crate::plugin::{Leftover, OpenRequest};
use futures::future::BoxFuture;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// How often a slot whose holder is just going is tried again; for `connect_timeout` in all.
const PAUSE: Duration = Duration::from_millis(100);

/// Removes slot and publication of a pipe. Repeatable; what could not be removed is named.
pub fn release(request: OpenRequest, uuid: Uuid) -> BoxFuture<'static, Vec<Leftover>> {
    Box::pin(async move {
        let names = Names::new(uuid, &request.options);
        let patience = request.config.duration("connect_timeout");
        let session = match Target::new(&request.connection, &request.config, None) {
            Ok(target) => Session::connect(&target, Access::Write).await,
            Err(e) => Err(e),
        };
        let mut left = Vec::new();
        let session = match session {
            Ok(session) => session,
            Err(e) => return leftovers(&names, &e, true, !names.publication_given),
        };
        if let Err(e) = drop_slot(&session, &names.slot, patience).await {
            left.extend(leftovers(&names, &e, true, false));
        }
        if !names.publication_given
            && let Err(e) = drop_publication(&session, &names.publication).await
        {
            left.extend(leftovers(&names, &e, false, true));
        }
        left
    })
}

fn leftovers(names: &Names, why: &Error, slot: bool, publication: bool) -> Vec<Leftover> {
    let why = why.to_string();
    let slot = slot.then(|| Leftover {
        what: format!("replication slot \"{}\"", names.slot),
        why: why.clone(),
        statement: format!("SELECT pg_drop_replication_slot({})", literal(&names.slot).unwrap_or_default()),
    });
    let publication = publication.then(|| Leftover {
        what: format!("publication \"{}\"", names.publication),
        why: why.clone(),
        statement: format!("DROP PUBLICATION IF EXISTS {}", ident(&names.publication).unwrap_or_default()),
    });
    slot.into_iter().chain(publication).collect()
}

async fn drop_slot(session: &Session, name: &str, patience: Duration) -> Result<()> {
    let until = Instant::now() + patience;
    loop {
        let there = session.query_opt("SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", &[&name]).await;
        match there.map_err(failed("could not look for the replication slot"))?.map(|r| r.get::<_, bool>(0)) {
            None => return Ok(()),
            Some(true) if Instant::now() < until => sleep(PAUSE).await,
            Some(_) => {
                let done = session.execute("SELECT pg_catalog.pg_drop_replication_slot($1)", &[&name]).await;
                return done.map(|_| ()).map_err(failed("could not drop the replication slot"));
            }
        }
    }
}

async fn drop_publication(session: &Session, name: &str) -> Result<()> {
    session.batch_execute(&format!("DROP PUBLICATION IF EXISTS {}", ident(name)?)).await.map_err(failed("could not drop the publication"))
}
