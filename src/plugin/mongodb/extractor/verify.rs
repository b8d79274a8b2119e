//! Is the history the one that was read, and does it still have everything after our position? The last event before a position is looked for: a
//! deployment that was restored from a backup, or another one, does not show it there.

use super::super::deployment::{identity, now, oplog_window};
use super::super::position::{is_event, time_of, time_text};
use super::super::stream::{Scope, Start};
use super::*;
use crate::data::Witness;

/// What became of an event that is looked for.
enum Found {
    There,
    Gone,
    /// The oplog no longer reaches back to it, or the login may not look.
    CannotTell,
}

impl MongoExtractor {
    /// Verifies the source and opens the stream. Errors: `PositionLost`.
    pub(super) async fn verified(&mut self, from: &Resume) -> Result<Live> {
        self.deployment = None;
        let (client, deployment) = self.deployment().await?;
        same(&from.identity, &identity(&self.target, &client, &deployment).await?)?;
        let start = self.prepared.take().map_or_else(|| from.position.clone(), |(position, _)| position);
        if start != from.position {
            return Err(position_lost("a side run can't go on from another position than its own"));
        }
        let end = now(&self.target, &client).await?;
        let far = from.witnesses.iter().map(|(p, _)| time_of(p)).chain([time_of(&start)]).max().unwrap_or(0);
        if far > end.saturating_add(1) {
            return Err(position_lost("the source's history ends before the position of the pipe").with_detail(format!("It ends at {}; the pipe was at {}.", time_text(end), time_text(far))));
        }
        let oldest = oplog_window(&self.target, &client).await?.map(|(oldest, _)| oldest);
        if let Some(oldest) = oldest.filter(|oldest| *oldest > time_of(&start).saturating_add(1)) {
            return Err(position_lost("the source's oplog no longer has what follows the position of the pipe").with_detail(format!("It begins at {}; the pipe is at {}.", time_text(oldest), time_text(time_of(&start)))));
        }
        for witness in from.witnesses.iter().filter_map(|(_, w)| w.as_ref()) {
            self.verify(&client, witness, oldest).await?;
        }
        let spec = Spec::new(&self.followed, &self.options, deployment.release)?;
        let mut decoder = self.decoder(start.clone());
        decoder.leave_out();
        let events = spec.open_at(&self.target, &client, &Place::of(&start)?, self.wait).await?;
        Ok(Live { spec, events: Some(events), answer: None, decoder, stale: false, closed: 0 })
    }

    async fn verify(&mut self, client: &Client, witness: &Witness, oldest: Option<u64>) -> Result<()> {
        if !is_event(&witness.position) || oldest.is_some_and(|oldest| time_of(&witness.position) < oldest) {
            return Ok(());
        }
        let Place::Token(token) = Place::of(&witness.position)? else { return Ok(()) };
        let narrow = Scope::of(&self.followed);
        let mut scopes = vec![Scope::Deployment];
        if let Scope::Collection(database, _) | Scope::Database(database) = &narrow {
            scopes.push(Scope::Database(database.clone()));
        }
        scopes.push(narrow);
        scopes.dedup();
        for scope in scopes {
            match self.look(client, scope, &token).await? {
                Found::There => return Ok(()),
                Found::Gone => {
                    let e = position_lost("the source's history is not the one that was read: the last event of the pipe is not in it");
                    return Err(e.with_detail(format!("The event was at {} ({}).", time_text(time_of(&witness.position)), witness.xid)));
                }
                Found::CannotTell => {}
            }
        }
        tracing::debug!(pipe = %self.pipe.name, "the last event before the position can't be looked for");
        Ok(())
    }

    /// Looks for the event of a token: a stream without any filter begins after it, or the server says that it is not there.
    async fn look(&mut self, client: &Client, scope: Scope, token: &str) -> Result<Found> {
        let narrow = matches!(scope, Scope::Collection(..));
        match Spec::bare(scope).open(&self.target, client, Start::Token(token), self.wait, Some(1)).await {
            Ok(_) => Ok(Found::There),
            Err(e) => match server_code(&e) {
                // a narrow stream does not show the events of other collections
                Some(code::CHANGE_STREAM_FATAL) if !narrow => Ok(Found::Gone),
                Some(code::UNAUTHORIZED | code::CHANGE_STREAM_FATAL | code::CHANGE_STREAM_HISTORY_LOST | code::MAX_TIME_EXPIRED | code::DOCUMENT_TOO_LARGE) => Ok(Found::CannotTell),
                _ => Err(e),
            },
        }
    }
}

fn position_lost(message: impl Into<String>) -> Error {
    Error::new(Kind::PositionLost, message)
}

/// Every fact remembered must be the same now, as far as it can be seen now.
fn same(known: &Identity, now: &Identity) -> Result<()> {
    let differ: Vec<_> = known.iter().filter_map(|(key, value)| now.get(key).filter(|n| *n != value).map(|n| format!("{key} was {value} and is {n}."))).collect();
    if differ.is_empty() { Ok(()) } else { Err(position_lost("the source is not the one that was read").with_detail(differ.join(" "))) }
}
