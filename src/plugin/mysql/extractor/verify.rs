//! Is the source the one that was read, and does it still have everything after our position?

use super::super::binlog::dump::{Dump, Start};
use super::super::client::server_code;
use super::super::position::{Gtids, Place, Suspects};
use super::super::server;
use super::super::wire::Wire;
use super::{Begin, Live, MyExtractor};
use crate::data::Witness;
use crate::error::{Error, Kind, Result};
use crate::plugin::Resume;
use crate::plugin::identity::same;

/// A place beyond a file's end, or in no event.
const FATAL: u16 = 1236;

impl MyExtractor {
    /// Verifies the source and asks for its log. Errors: `PositionLost`.
    pub(super) async fn verified(&mut self, from: &Resume) -> Result<Live> {
        let (place, gtids) = Place::of(&from.position)?;
        if let Some(Begin { place: begins, gtids: known, suspects, identity }) = self.prepared.clone() {
            if begins != place {
                return Err(position_lost("a side run can't go on from another position than its anchor's").with_detail(format!("It begins at {begins}, not at {place}.")));
            }
            same(&from.identity, &identity)?;
            let mut live = self.start(&place, &known, &suspects).await?;
            live.decoder.begin_anew();
            return Ok(live);
        }
        let wire = self.session().await?;
        same(&from.identity, &server::identity(wire).await?)?;
        transactions(wire, &place, &gtids).await?;
        let mut stops = Vec::new();
        for (position, _) in &from.witnesses {
            let (at, _) = Place::of(position)?;
            stops.push(at.clone());
            reaches(wire, &at).await?;
        }
        reaches(wire, &place).await?;
        for (_, witness) in &from.witnesses {
            if let Some(witness) = witness {
                self.remembered(witness).await?;
            }
        }
        let mut live = self.start(&place, &gtids, &Suspects::of(&from.position)).await?;
        if from.witnesses.iter().all(|(_, witness)| witness.is_none()) {
            live.decoder.begin_anew();
        }
        live.decoder.remember(stops, from.position.ordinal);
        Ok(live)
    }
    /// The last transaction that was read is still the one at its place: its last event is the same, byte by byte.
    async fn remembered(&self, witness: &Witness) -> Result<()> {
        let (end, _) = Place::of(&witness.position)?;
        let Some((offset, print)) = print_of(&witness.xid) else {
            return Err(position_lost("a remembered transaction is not one of a MySQL source").with_detail(witness.xid.clone()));
        };
        let start = Place { offset, file: end.file.clone() };
        if start.offset > u64::from(u32::MAX) && self.session.as_ref().is_some_and(|s| s.server().mariadb) {
            // MariaDB gives no place beyond 4 GB; the set of transactions was compared
            return Ok(());
        }
        let mut dump = Dump::open(&self.target, &self.config, &Start::Place(start.clone()), self.replica(true)).await?;
        let found = match dump.first(offset).await {
            Ok(found) => found,
            Err(e) if server_code(&e) == Some(FATAL) || e.kind() == Kind::Protocol => return Err(other_history(witness, e.detail().unwrap_or(e.message()))),
            Err(e) => return Err(e),
        };
        let same = found.0 == end.offset as u32 && found.1 == print;
        if same { Ok(()) } else { Err(other_history(witness, &format!("At {start} there is another event."))) }
    }
}

fn position_lost(message: impl Into<String>) -> Error {
    Error::new(Kind::PositionLost, message)
}

fn other_history(witness: &Witness, found: &str) -> Error {
    position_lost("the source shows another history than the one that was read").with_detail(format!("Remembered: {}, ended at {}. {found}", witness.xid, witness.position))
}

/// Where the last event of a transaction begins, and its print: `id@offset/print`.
fn print_of(xid: &str) -> Option<(u64, u32)> {
    let (offset, print) = xid.rsplit_once('@')?.1.split_once('/')?;
    Some((offset.parse().ok()?, u32::from_str_radix(print, 16).ok()?))
}

/// The server has all of our transactions, and has not thrown away one that we have not seen.
async fn transactions(wire: &mut Wire, place: &Place, ours: &Gtids) -> Result<()> {
    if ours.is_empty() {
        return Ok(());
    }
    let what = "could not compare the source's transactions";
    if wire.server().mariadb {
        let now = server::gtids_at(wire, place).await?;
        // none: the file is gone, which is found when its files are listed
        if !now.is_empty() && now != *ours {
            return Err(position_lost("the source shows another history than the one that was read").with_detail(format!("Transactions before {place}: remembered {ours}; found {now}.")));
        }
        return Ok(());
    }
    let row = wire.row(what, "SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged").await?.unwrap_or_default();
    let set = |i: usize| Gtids::parse(row.get(i).and_then(|v| v.as_deref()).unwrap_or_default());
    let (executed, purged) = (set(0)?, set(1)?);
    if !executed.contains(ours) {
        return Err(position_lost("the source does not have all transactions that were read").with_detail(format!("Read: {ours}; the source has {executed}.")));
    }
    if !ours.contains(&purged) {
        return Err(position_lost("the source has purged transactions that were not read yet").with_detail(format!("Read: {ours}; purged: {purged}.")));
    }
    Ok(())
}

/// The log has the file, and it is long enough.
async fn reaches(wire: &mut Wire, place: &Place) -> Result<()> {
    let rows = wire.rows("could not list the files of the source's log", "SHOW BINARY LOGS").await?;
    let name = place.file.to_string();
    let size = rows.iter().find(|r| r.first().is_some_and(|n| n.as_deref() == Some(&name))).and_then(|r| r.get(1).cloned().flatten()).and_then(|s| s.parse::<u64>().ok());
    match size {
        None => Err(position_lost(format!("the source has purged file {name} of its log"))),
        Some(size) if size < place.offset => Err(position_lost("the source's log ends before the position of the pipe").with_detail(format!("{name} has {size} bytes; the pipe was at {place}."))),
        Some(_) => Ok(()),
    }
}
