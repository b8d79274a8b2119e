//! PROVISIONING: both ends are checked and the anchor is taken, once in a pipe's life and again for RESYNC PIPE of a pipe that does not run.

use super::checkpoint::{Book, Checkpoint, Done, Provisioned, Stage, TableMark};
use crate::failpoint::hit;
use super::ledger::{Entry, Note, Structure, Wanted, Wish};
use super::session::{Context, PipeTable};
use super::state::TableState;
use crate::data::{Position, TableId, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::policy::Operations;
use crate::plugin::{Anchor, AnchorKind, AnchorRequest, Connector, FindingStatus, Needs, Place, Source, TargetTable, failed_findings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Takes the position of a pipe that copies no history, at CREATE. Nothing at the target is touched but looked at.
pub async fn provision(cx: &Context) -> Result<Position> {
    let mut book = cx.ledger.book().await?;
    if book.stage == Stage::New {
        let (mut source, mut connector) = (cx.ends.source()?, cx.ends.connector()?);
        provision_book(cx, &mut book, &mut source, &mut connector, Vec::new()).await?;
    }
    Ok(book.now.position)
}

/// Tables that a pipe which only copies lets go of: they are not copied once more.
pub(super) fn leaving(cx: &Context) -> BTreeSet<TableId> {
    let leave = |w: Wanted| if let Wish::Leave(table) = w.what { Some(table) } else { None };
    if cx.options.follows() { BTreeSet::new() } else { cx.ledger.wanted().into_iter().filter_map(leave).collect() }
}

/// What the source must have is there: for the whole pipe, or for tables that are to join it.
pub(super) async fn prerequisites(cx: &Context, source: &mut Box<dyn Source>, tables: &[Arc<TableVersion>], joining: bool) -> Result<()> {
    let options = cx.ends.extractor_options();
    let inserts_only = Operations::new(&options).inserts_only();
    let needs = Needs { changes: cx.options.follows(), tables: tables.to_vec(), inserts_only, write: false, options: Some(options), fresh: false, joining };
    let findings = source.check(&needs).await?;
    let Some(error) = failed_findings(&findings) else { return Ok(()) };
    // A source that does not answer now may answer later: it is for the restart strategy, as with every other connection.
    let is_away = findings.iter().filter(|f| f.status == FindingStatus::Failed).all(|f| f.check_name == "reachability");
    Err(if is_away { error.as_kind(Kind::Unreachable) } else { error })
}

/// PROVISIONING: checks both ends, takes the anchor, and stores it with the tables.
pub(super) async fn provision_book(cx: &Context, book: &mut Book, source: &mut Box<dyn Source>, connector: &mut Box<dyn Connector>, done: Vec<Done>) -> Result<(Anchor, BTreeSet<TableName>)> {
    let leaving = leaving(cx);
    let is_member = |t: &&PipeTable| (!t.wanted || done.iter().any(|d| d.table == Some(t.id))) && !leaving.contains(&t.id);
    let members: Vec<&PipeTable> = cx.tables.iter().filter(is_member).collect();
    let generation = cx.ledger.draw_generation(book.now.generation);
    let versions = fetch(source, &members, generation).await?;
    let (o, options) = (&cx.options, cx.ends.extractor_options());
    prerequisites(cx, source, &versions, false).await?;
    let mut shape = cx.shape(true)?;
    let targets = versions.iter().map(|t| Ok(TargetTable::clone(&*shape.target(t, generation, Place::Live)?))).collect::<Result<Vec<_>>>()?;
    let mut wire = BTreeSet::new();
    for prepared in connector.prepare(&targets).await? {
        wire.extend(prepared.wire.map(|_| prepared.target));
        prepared.notices.into_iter().for_each(|detail| cx.ledger.note(Note::Event { event: "notice", detail }));
    }
    let history = o.history && o.inclusion.insert;
    let readers = if history { o.parallelism } else { 0 };
    let kind = if o.follows() { AnchorKind::Durable } else { AnchorKind::Instant };
    let request = AnchorRequest { kind, pipe: Some(cx.pipe.clone()), tables: versions.clone(), readers, options: Some(options) };
    let anchor = source.anchor(request).await?;
    hit("after-anchor").await?;
    let state = if history || o.inclusion.structures_only() { TableState::Snapshot } else { TableState::Joined };
    let mark = |t: &Arc<TableVersion>| (t.id, TableMark { state, generation, from: Some(anchor.position.clone()), error: None });
    book.stage = Stage::Setup;
    book.provisioned = Some(Provisioned { identity: anchor.identity.clone(), anchor: anchor.position.clone() });
    book.now = Checkpoint { seq: 0, position: anchor.position.clone(), witness: None, generation, tables: versions.iter().map(mark).collect() };
    (book.shards, book.intent) = (BTreeMap::new(), None);
    let structures: Vec<_> = versions.iter().map(|t| (t.id, Structure::of(t))).collect();
    cx.ledger.write(Entry { book: Some(book), done: &done, structures: &structures, ..Entry::default() }).await?;
    cx.ledger.note(Note::Event { event: "anchored", detail: anchor.position.to_string() });
    hit("after-provision").await?;
    Ok((anchor, wire))
}

/// The present structure of tables, in their order, with number and generation.
pub(super) async fn fetch(source: &mut Box<dyn Source>, tables: &[&PipeTable], generation: i64) -> Result<Vec<Arc<TableVersion>>> {
    let names: Vec<TableName> = tables.iter().map(|t| t.name.clone()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let found = source.tables(Some(&names)).await?;
    if found.len() != tables.len() {
        return Err(Error::internal("a source answered for other tables than it was asked for"));
    }
    Ok(found.into_iter().zip(tables).map(|(v, t)| Arc::new(TableVersion { id: t.id, generation, ..v })).collect())
}

/// RESYNC PIPE of a pipe that is not running, and a snapshot-only run that was cut off: from the beginning, under a new anchor. Gives the requests that this
/// answers: those for all tables, and where nothing but copies is made, those for some, of which there may be new ones.
pub(super) fn begin_anew_if_asked(cx: &Context, book: &mut Book) -> Vec<Done> {
    let mut done = Vec::new();
    for Wanted { id: want, what } in cx.ledger.wanted() {
        match what {
            Wish::CopyAll => done.push(Done { want, table: None }),
            Wish::Copy(tables) if !cx.options.follows() && tables.is_empty() => done.push(Done { want, table: None }),
            // one that came just now is of the next run
            Wish::Copy(tables) if !cx.options.follows() => done.extend(tables.into_iter().filter(|t| cx.table(*t).is_some()).map(|t| Done { want, table: Some(t) })),
            Wish::Copy(_) | Wish::Leave(_) => {}
        }
    }
    // A run that ends with its snapshot is not resumed: two instants would not make one.
    if book.stage != Stage::New && (!done.is_empty() || !cx.options.follows()) {
        book.begin_anew();
    }
    done
}
