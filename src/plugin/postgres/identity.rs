//! Facts that say whether a source is still the one that was read.

use super::client::{Session, failed};
use super::publication::{self, Names};
use super::walsender::Identified;
use crate::error::Result;
use crate::plugin::Identity;

/// Keys of an anchor's identity.
pub mod fact {
    /// `system_identifier` of the cluster.
    pub const SYSTEM: &str = "system_identifier";
    /// Timeline.
    pub const TIMELINE: &str = "timeline";
    /// Database, by OID and name.
    pub const DATABASE: &str = "database";
    /// The slot's name.
    pub const SLOT: &str = "slot";
    /// Publication, by OID and name: one that was dropped and made anew did not carry what happened between.
    pub const PUBLICATION: &str = "publication";
    /// Who wrote the publication's row: one that was altered did not carry what it left out for a while.
    pub const ALTERED: &str = "publication written by transaction";
}

/// What identifies a server as a whole.
pub(super) fn cluster(who: &Identified) -> Identity {
    Identity::from([(fact::SYSTEM.to_string(), who.system.clone()), (fact::TIMELINE.to_string(), who.timeline.clone())])
}

/// What identifies a source now.
pub(super) async fn identity(session: &Session, who: &Identified, names: &Names, publication_oid: u32) -> Result<Identity> {
    let row = session.query_one("SELECT oid, datname::text FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()", &[]).await;
    let row = row.map_err(failed("could not identify the source's database"))?;
    let mut all = cluster(who);
    all.extend([
        (fact::DATABASE.to_string(), format!("{} {}", row.get::<_, u32>(0), row.get::<_, String>(1))),
        (fact::SLOT.to_string(), names.slot.clone()),
        (fact::PUBLICATION.to_string(), format!("{publication_oid} {}", names.publication)),
    ]);
    all.extend(publication::version(session, &names.publication).await?.map(|version| (fact::ALTERED.to_string(), version)));
    Ok(all)
}
