//! Is the history the one that was read, and does it still have everything after our position? The last event before a position is looked for: a
//! deployment that was restored from a backup, or another one, does not show it there.

use super::super::deployment::{Topology, identity, now, nudge, oplog_window};
use super::super::position::{collection_of, is_event, time_of, time_text, token_in};
use super::super::stream::{Scope, Start};
use super::super::types::fact;
use super::*;
use crate::data::Witness;
use crate::plugin::identity::same_as_far_as_seen;

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
        same_as_far_as_seen(&from.identity, &identity(&self.target, &client, &deployment).await?)?;
        let start = self.prepared.take().map_or_else(|| from.position.clone(), |(position, _)| position);
        if start != from.position {
            return Err(position_lost("a side run can't go on from another position than its own"));
        }
        let end = now(&self.target, &client).await?;
        let far = from.witnesses.iter().map(|(p, _)| time_of(p)).chain([time_of(&start)]).max().unwrap_or(0);
        if far > end.saturating_add(1) {
            return Err(position_lost("the source's history ends before the position of the pipe").with_detail(format!("It ends at {}; the pipe was at {}.", time_text(end), time_text(far))));
        }
        // the oplog that a mongos shows is not the shards'
        let oldest = match deployment.topology {
            Topology::Sharded => None,
            _ => oplog_window(&self.target, &client).await?.map(|(oldest, _)| oldest),
        };
        if let Some(oldest) = oldest.filter(|oldest| *oldest > time_of(&start).saturating_add(1)) {
            return Err(position_lost("the source's oplog no longer has what follows the position of the pipe").with_detail(format!("It begins at {}; the pipe is at {}.", time_text(oldest), time_text(time_of(&start)))));
        }
        for witness in from.witnesses.iter().filter_map(|(_, w)| w.as_ref()) {
            self.verify(&client, witness, oldest).await?;
        }
        let spec = Spec::new(&self.followed, &self.options, deployment.release)?;
        let mut live = self.live(spec, start)?;
        live.open(&self.target, &client, self.wait).await?;
        Ok(live)
    }

    async fn verify(&mut self, client: &Client, witness: &Witness, oldest: Option<u64>) -> Result<()> {
        if !is_event(&witness.position) || oldest.is_some_and(|oldest| time_of(&witness.position) < oldest) {
            return Ok(());
        }
        for scope in self.scopes(&witness.position) {
            match self.look(client, scope, &witness.position).await? {
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

    /// Where an event must be shown, the widest first: the login may not be allowed that. A narrower one only where the event's collection is in it.
    fn scopes(&self, position: &Position) -> Vec<Scope> {
        let mut scopes = vec![Scope::Deployment];
        let collection = collection_of(position);
        if let Some(table) = self.followed.iter().find(|t| collection.is_some() && t.facts.get(fact::UUID) == collection.as_ref()) {
            scopes.push(Scope::Database(table.name.schema.clone()));
            scopes.push(Scope::Collection(table.name.schema.clone(), table.name.name.clone()));
        }
        scopes
    }

    /// Looks for an event: a stream without any filter that begins at its time shows it, or passes its place.
    async fn look(&mut self, client: &Client, scope: Scope, position: &Position) -> Result<Found> {
        let spec = Spec::bare(scope);
        let until = Instant::now() + PASSING;
        let mut events = match spec.open(&self.target, client, Start::Time(time_of(position)), self.wait, None).await {
            Ok(events) => events,
            Err(e) => return cannot_tell(e),
        };
        let mut nudged = false;
        while Instant::now() < until {
            let answer = match events.next().await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Ok(Found::CannotTell),
                Err(e) => return cannot_tell(e),
            };
            for element in raw::elements(answer.events()?)? {
                let token = element?.value.as_document().map(|event| raw::get(event, "_id")).transpose()?.flatten().and_then(|id| id.as_document());
                let Some(token) = token.map(token_in).transpose()?.flatten() else { continue };
                let seen = Place::Token(token).position()?;
                if is_event(&seen) && seen.key.get(8..10) != position.key.get(8..10) {
                    // another version of the server writes the same place otherwise
                    return self.look_by_token(client, &spec, position).await;
                }
                if same_event(&seen, position) {
                    return Ok(Found::There);
                }
                if seen.reached(position) {
                    return Ok(Found::Gone);
                }
            }
            let stands = answer.token()?.map(|t| Place::Token(t).position()).transpose()?;
            if stands.is_some_and(|stands| time_of(&stands) > time_of(position)) {
                return Ok(Found::Gone);
            }
            if !std::mem::replace(&mut nudged, true) {
                nudge(&self.target, client).await;
            }
        }
        Ok(Found::CannotTell)
    }

    /// The same by the server's own comparison, which is made when a later event is there.
    async fn look_by_token(&mut self, client: &Client, spec: &Spec, position: &Position) -> Result<Found> {
        let Place::Token(token) = Place::of(position)? else { return Ok(Found::CannotTell) };
        match spec.open(&self.target, client, Start::Token(&token), self.wait, Some(1)).await {
            Ok(_) => Ok(Found::There),
            Err(e) if server_code(&e) == Some(code::CHANGE_STREAM_FATAL) => Ok(Found::Gone),
            Err(e) => cannot_tell(e),
        }
    }
}

/// How long an event is looked for; a server that has nothing to do moves its clock on every ten seconds.
const PASSING: Duration = Duration::from_secs(30);

/// What keeps one from looking is no error.
fn cannot_tell(e: Error) -> Result<Found> {
    match server_code(&e) {
        Some(code::UNAUTHORIZED | code::CHANGE_STREAM_FATAL | code::CHANGE_STREAM_HISTORY_LOST | code::MAX_TIME_EXPIRED | code::DOCUMENT_TOO_LARGE) => Ok(Found::CannotTell),
        _ => Err(e),
    }
}

/// The same event; one that was split has its fragment's number before the token's end.
fn same_event(seen: &Position, position: &Position) -> bool {
    match seen.key.split_last() {
        Some((_, place)) => is_event(seen) && position.key.starts_with(place),
        None => false,
    }
}

fn position_lost(message: impl Into<String>) -> Error {
    Error::new(Kind::PositionLost, message)
}
