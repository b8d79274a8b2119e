//! What Standpipe keeps in a target: database `_standpipe` with the marks, the finished chunks, the owners of collections and a swap under way, and the
//! one way in which an epoch is taken and checked. (architecture.md section 4)

use super::super::client::{Target, code, failed, run, server_code, within};
use super::super::types::OWN;
use crate::data::{TableId, TableName};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Begin, Committed, Leftover, Shard};
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Client, ClientSession, Database};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Collections of the database.
pub const SHARD: &str = "shard";
pub const CHUNK: &str = "chunk";
pub const OWNER: &str = "owner";
pub const SWAP: &str = "swap";
pub const SESSION: &str = "session";

/// What `begin` found and took.
pub struct Began {
    /// For the caller.
    pub committed: Committed,
    /// The epoch of each shard.
    pub epochs: BTreeMap<u32, i64>,
}

/// Our own database.
pub fn own(client: &Client) -> Database {
    client.database(OWN)
}

/// The key of a shard's mark.
pub fn shard_id(pipe: Uuid, shard: u32) -> Document {
    doc! { "pipe": pipe.to_string(), "shard": i64::from(shard) }
}

/// The key of a chunk's mark.
pub fn chunk_id(pipe: Uuid, (table, generation): (TableId, i64), chunk: &str) -> Document {
    doc! { "pipe": pipe.to_string(), "table": i64::from(table.0), "generation": generation, "chunk": chunk }
}

/// Pieces of a chunk are durable, and the chunk is not.
pub async fn is_begun(target: &Target, client: &Client, id: &Document) -> Result<bool> {
    Ok(!find(target, client, CHUNK, doc! { "_id": id.clone(), "begun": true }).await?.is_empty())
}

/// The key of an owner's mark.
pub fn owner_id(target: &TableName, pipe: Uuid) -> Document {
    doc! { "target": format!("{}.{}", target.schema, target.name), "pipe": pipe.to_string() }
}

/// Collections can't be made inside of every transaction: they are made before.
async fn ensure(target: &Target, client: &Client) -> Result<()> {
    for name in [SHARD, CHUNK, OWNER, SWAP, SESSION] {
        match run(target, &own(client), "could not create the database _standpipe at the target", doc! { "create": name }).await {
            Ok(_) => {}
            Err(e) if server_code(&e) == Some(code::NAMESPACE_EXISTS) => {}
            Err(e) => return Err(e.with_hint("Grant the target's user the role readWrite on the database _standpipe.")),
        }
    }
    Ok(())
}

fn long(d: &Document, name: &str) -> i64 {
    match d.get(name) {
        Some(Bson::Int64(n)) => *n,
        Some(Bson::Int32(n)) => i64::from(*n),
        _ => 0,
    }
}

const WHAT: &str = "could not take the epoch at the target";

/// Documents of a collection of ours.
async fn find(target: &Target, client: &Client, collection: &str, filter: Document) -> Result<Vec<Document>> {
    let reading = async {
        let cursor = own(client).collection::<Document>(collection).find(filter).await.map_err(failed(WHAT))?;
        cursor.try_collect().await.map_err(failed(WHAT))
    };
    within(target.timeout, WHAT, reading).await
}

/// Notes a writer's session, so that whoever takes the epoch can end it: the transaction of a process that died stays open for as long as the server lets
/// transactions live, and what it has written can't be written by others meanwhile.
pub async fn note_session(target: &Target, client: &Client, pipe: Uuid, session: &ClientSession) -> Result<()> {
    let note = doc! { "insert": SESSION, "documents": [{ "_id": session.id().clone(), "pipe": pipe.to_string() }] };
    run(target, &own(client), "could not note a session at the target", note).await.map(drop)
}

/// Ends the sessions of earlier writers.
async fn end_sessions(target: &Target, client: &Client, pipe: Uuid) -> Result<()> {
    let noted = find(target, client, SESSION, doc! { "pipe": pipe.to_string() }).await?;
    if noted.is_empty() {
        return Ok(());
    }
    let sessions: Vec<Document> = noted.iter().filter_map(|d| d.get_document("_id").ok().cloned()).collect();
    // not every login may; then the server does it after a while (transactionLifetimeLimitSeconds)
    if let Err(e) = run(target, &client.database("admin"), "could not end earlier sessions at the target", doc! { "killSessions": sessions }).await {
        tracing::debug!(error = %e, "sessions of earlier writers stay at the target");
    }
    run(target, &own(client), WHAT, doc! { "delete": SESSION, "deletes": [{ "q": { "pipe": pipe.to_string() }, "limit": 0 }] }).await.map(drop)
}

/// Takes the epoch on all shards in one transaction, and reads everything that is durable: no writer of an older epoch can commit any more.
pub async fn begin(target: &Target, client: &Client, pipe: Uuid, begin: &Begin) -> Result<Began> {
    ensure(target, client).await?;
    end_sessions(target, client, pipe).await?;
    let known = find(target, client, SHARD, doc! { "_id.pipe": pipe.to_string() }).await?;
    let most = known.iter().filter_map(|d| d.get_document("_id").ok().map(|id| long(id, "shard"))).max().unwrap_or(0);
    let most = u32::try_from(most).unwrap_or(0).max(begin.snapshot_writers);
    let mut session = within(target.timeout, WHAT, async { client.start_session().await.map_err(failed(WHAT)) }).await?;
    let taking = take(client, &mut session, pipe, begin.epoch.max(1), most);
    let epochs = within(target.timeout, WHAT, taking).await?;
    finish_swap(target, client, pipe, epochs.get(&0).copied().unwrap_or(0)).await?;
    let mut began = Began { committed: Committed::default(), epochs };
    for d in find(target, client, SHARD, doc! { "_id.pipe": pipe.to_string() }).await? {
        let shard = d.get_document("_id").map(|id| u32::try_from(long(id, "shard")).unwrap_or(0)).unwrap_or(0);
        if long(&d, "seq") != 0 {
            began.committed.shards.insert(Shard(shard), long(&d, "seq"));
        }
        if shard == 0 {
            began.committed.epoch = began.epochs.get(&0).copied().unwrap_or(0);
            began.committed.checkpoint = d.get_str("checkpoint").ok().map(str::to_string);
        }
    }
    for d in find(target, client, CHUNK, doc! { "_id.pipe": pipe.to_string(), "begun": { "$ne": true } }).await? {
        let Ok(id) = d.get_document("_id") else { continue };
        began.committed.chunks.entry(table_key(id)).or_default().insert(id.get_str("chunk").unwrap_or_default().to_string());
    }
    for d in find(target, client, OWNER, doc! { "_id.pipe": pipe.to_string() }).await? {
        began.committed.set_up.insert(table_key(&d));
    }
    Ok(began)
}

fn table_key(d: &Document) -> (TableId, i64) {
    (TableId(u32::try_from(long(d, "table")).unwrap_or(0)), long(d, "generation"))
}

async fn take(client: &Client, session: &mut ClientSession, pipe: Uuid, least: i64, most: u32) -> Result<BTreeMap<u32, i64>> {
    session.start_transaction().await.map_err(failed(WHAT))?;
    let mut epochs = BTreeMap::new();
    for shard in 0..=most {
        let next = doc! { "$max": [{ "$add": [{ "$ifNull": ["$epoch", 0i64] }, 1i64] }, least] };
        let set = doc! { "$set": { "epoch": next, "seq": { "$ifNull": ["$seq", 0i64] } } };
        let command = doc! { "findAndModify": SHARD, "query": { "_id": shard_id(pipe, shard) }, "update": [set], "upsert": true, "new": true };
        let answer = own(client).run_command(command).session(&mut *session).await;
        match answer {
            Ok(answer) => drop(epochs.insert(shard, answer.get_document("value").map(|d| long(d, "epoch")).unwrap_or(0))),
            Err(e) => {
                // the first error is the one to tell
                let _ = session.abort_transaction().await;
                return Err(failed(WHAT)(e));
            }
        }
    }
    session.commit_transaction().await.map_err(failed(WHAT))?;
    Ok(epochs)
}

/// A swap that broke off. Where the copy has its new name, the mark that belongs to it is stored now; where it has not, it gets the name back that it had
/// before, after which a rename that another process still has under way finds nothing, and the swap is forgotten.
async fn finish_swap(target: &Target, client: &Client, pipe: Uuid, epoch: i64) -> Result<()> {
    for journal in find(target, client, SWAP, doc! { "_id": pipe.to_string() }).await? {
        let marked = find(target, client, SHARD, doc! { "_id": shard_id(pipe, 0) }).await?.first().map_or(0, |d| long(d, "seq"));
        let text = |name: &str| journal.get_str(name).unwrap_or_default();
        let live = TableName::new(text("database"), text("live"));
        let copy = journal.get("copy").and_then(uuid_in);
        // what was marked after it is not to be taken back by it
        let mut done = false;
        if marked < long(&journal, "seq") && copy.is_some() {
            done = collection_uuid(target, client, &live).await? == copy;
            let (aside, stage) = (TableName::new(text("database"), text("aside")), TableName::new(text("database"), text("stage")));
            if !done && collection_uuid(target, client, &stage).await? != copy {
                put_back(target, client, &aside, &stage).await?;
                done = collection_uuid(target, client, &live).await? == copy;
            }
        }
        let mut session = within(target.timeout, WHAT, async { client.start_session().await.map_err(failed(WHAT)) }).await?;
        let finishing = async {
            session.start_transaction().await.map_err(failed(WHAT))?;
            let ended = match done {
                true => swapped(client, &mut session, pipe, epoch, &live, &journal).await,
                false => forgotten(client, &mut session, pipe, epoch, long(&journal, "seq")).await,
            };
            if ended.is_err() {
                // the first error is the one to tell
                let _ = session.abort_transaction().await;
            }
            ended?;
            session.commit_transaction().await.map_err(failed(WHAT))
        };
        within(target.timeout, WHAT, finishing).await?;
    }
    Ok(())
}

fn uuid_in(value: &Bson) -> Option<Vec<u8>> {
    match value {
        Bson::Binary(binary) => Some(binary.bytes.clone()),
        _ => None,
    }
}

/// The UUID of a collection, which it keeps when it is renamed within its database; None: it is not there.
pub async fn collection_uuid(target: &Target, client: &Client, name: &TableName) -> Result<Option<Vec<u8>>> {
    const WHAT: &str = "could not look at a collection of the target";
    let listing = async {
        let command = doc! { "listCollections": 1, "filter": { "name": &name.name }, "cursor": {} };
        let cursor = client.database(&name.schema).run_cursor_command(command).await.map_err(failed(WHAT))?;
        cursor.try_collect::<Vec<_>>().await.map_err(failed(WHAT))
    };
    let listed = within(target.timeout, WHAT, listing).await?;
    Ok(listed.first().and_then(|d| d.get_document("info").ok()?.get("uuid")).and_then(uuid_in))
}

/// Renames a collection within its database.
pub async fn rename(target: &Target, client: &Client, from: &TableName, to: &TableName, over: bool) -> Result<()> {
    let full = |n: &TableName| format!("{}.{}", n.schema, n.name);
    let command = doc! { "renameCollection": full(from), "to": full(to), "dropTarget": over, "writeConcern": { "w": "majority" } };
    run(target, &client.database("admin"), "could not swap a collection at the target", command).await.map(drop)
}

/// The copy of a swap that was not done has the name again under which it was made.
pub async fn put_back(target: &Target, client: &Client, aside: &TableName, stage: &TableName) -> Result<()> {
    match rename(target, client, aside, stage, false).await {
        Err(e) if !matches!(server_code(&e), Some(code::NAMESPACE_NOT_FOUND | code::NAMESPACE_EXISTS)) => Err(e),
        _ => Ok(()),
    }
}

/// What a swap leaves: the mark, the owner, no journal. In the session's transaction. Errors: `Fenced` where the epoch is another one, or another process
/// has ended the swap.
pub async fn swapped(client: &Client, session: &mut ClientSession, pipe: Uuid, epoch: i64, live: &TableName, journal: &Document) -> Result<()> {
    let seq = long(journal, "seq");
    let mut mark = doc! { "seq": seq };
    if let Ok(checkpoint) = journal.get_str("checkpoint") {
        mark.insert("checkpoint", checkpoint);
    }
    let commands = [
        (doc! { "update": SHARD, "updates": [{ "q": { "_id": shard_id(pipe, 0), "epoch": epoch }, "u": { "$set": mark, "$inc": { "writes": 1i64 } } }] }, true),
        (take_over(live, pipe, long(journal, "table"), long(journal, "generation")), false),
        (doc! { "delete": CHUNK, "deletes": [{ "q": { "_id.pipe": pipe.to_string(), "_id.table": long(journal, "table") }, "limit": 0 }] }, false),
        (forget(pipe, seq), true),
    ];
    in_session(client, session, commands).await
}

/// A swap that has not happened leaves nothing. In the session's transaction. Errors: as of [`swapped`].
pub async fn forgotten(client: &Client, session: &mut ClientSession, pipe: Uuid, epoch: i64, seq: i64) -> Result<()> {
    let fence = doc! { "update": SHARD, "updates": [{ "q": { "_id": shard_id(pipe, 0), "epoch": epoch }, "u": { "$inc": { "writes": 1i64 } } }] };
    in_session(client, session, [(fence, true), (forget(pipe, seq), true)]).await
}

fn forget(pipe: Uuid, seq: i64) -> Document {
    doc! { "delete": SWAP, "deletes": [{ "q": { "_id": pipe.to_string(), "seq": seq }, "limit": 1 }] }
}

/// Runs commands on marks, of which some must find theirs.
async fn in_session(client: &Client, session: &mut ClientSession, commands: impl IntoIterator<Item = (Document, bool)>) -> Result<()> {
    for (command, must) in commands {
        let answer = own(client).run_command(command).session(&mut *session).await.map_err(failed("could not swap a collection at the target"))?;
        if must && long(&answer, "n") == 0 {
            return Err(fenced());
        }
    }
    Ok(())
}

/// The epoch is another one.
pub fn fenced() -> Error {
    Error::new(Kind::Fenced, "another process has taken over this pipe at the target").with_hint("Stop the other server, or drop the pipe there; START PIPE then goes on here.")
}

/// The command that makes a collection ours, for a generation.
pub fn take_over(target: &TableName, pipe: Uuid, table: i64, generation: i64) -> Document {
    doc! { "update": OWNER, "updates": [{ "q": { "_id": owner_id(target, pipe) }, "u": { "$set": { "pipe": pipe.to_string(), "table": table, "generation": generation } }, "upsert": true }] }
}

/// Who owns collections: by name, the pipes.
pub async fn owners(target: &Target, client: &Client, names: &[TableName]) -> Result<BTreeMap<String, Vec<(Uuid, i64, i64)>>> {
    let names: Vec<String> = names.iter().map(|n| format!("{}.{}", n.schema, n.name)).collect();
    let mut out: BTreeMap<String, Vec<(Uuid, i64, i64)>> = BTreeMap::new();
    for d in find(target, client, OWNER, doc! { "_id.target": { "$in": names } }).await? {
        let Ok(id) = d.get_document("_id") else { continue };
        if let (Ok(name), Some(pipe)) = (id.get_str("target"), id.get_str("pipe").ok().and_then(|p| p.parse().ok())) {
            out.entry(name.to_string()).or_default().push((pipe, long(&d, "table"), long(&d, "generation")));
        }
    }
    Ok(out)
}

/// Removes the marks of a pipe and its copies in the making.
pub async fn release(target: &Target, client: &Client, pipe: Uuid) -> Vec<Leftover> {
    match release_all(target, client, pipe).await {
        Ok(()) => Vec::new(),
        Err(e) => vec![leftover(pipe, &e)],
    }
}

async fn release_all(target: &Target, client: &Client, pipe: Uuid) -> Result<()> {
    let owned = find(target, client, OWNER, doc! { "_id.pipe": pipe.to_string() }).await?;
    end_sessions(target, client, pipe).await?;
    for (collection, field) in [(SHARD, "_id.pipe"), (CHUNK, "_id.pipe"), (OWNER, "_id.pipe"), (SWAP, "_id"), (SESSION, "pipe")] {
        let command = doc! { "delete": collection, "deletes": [{ "q": { field: pipe.to_string() }, "limit": 0 }], "writeConcern": { "w": "majority" } };
        match run(target, &own(client), "could not remove the pipe's marks", command).await {
            Ok(_) => {}
            Err(e) if e.kind() == Kind::UndefinedTable => {}
            Err(e) => return Err(e),
        }
    }
    let databases = owned.iter().filter_map(|d| d.get_document("_id").ok()?.get_str("target").ok()?.split_once('.').map(|(d, _)| d.to_string()));
    for database in databases.collect::<std::collections::BTreeSet<_>>() {
        drop_stages(target, client, &database, &stage_prefix(pipe)).await?;
    }
    Ok(())
}

/// Drops copies in the making whose names begin so.
pub async fn drop_stages(target: &Target, client: &Client, database: &str, prefix: &str) -> Result<()> {
    const WHAT: &str = "could not remove a copy in the making at the target";
    let filter = doc! { "name": { "$regex": format!("^{prefix}") } };
    let names = within(target.timeout, WHAT, async { client.database(database).list_collection_names().filter(filter).await.map_err(failed(WHAT)) }).await?;
    for name in names {
        within(target.timeout, WHAT, async { client.database(database).collection::<Document>(&name).drop().await.map_err(failed(WHAT)) }).await?;
    }
    Ok(())
}

/// What stays behind, and how it is removed.
pub fn leftover(pipe: Uuid, why: &Error) -> Leftover {
    let statement = [(SHARD, "_id.pipe"), (CHUNK, "_id.pipe"), (OWNER, "_id.pipe"), (SWAP, "_id"), (SESSION, "pipe")].iter().map(|(c, f)| format!("db.getSiblingDB('{OWN}').{c}.deleteMany({{ '{f}': '{pipe}' }});")).collect::<Vec<_>>().join(" ");
    Leftover { what: format!("marks of the pipe in database {OWN}"), why: why.to_string(), statement }
}

fn stage_prefix(pipe: Uuid) -> String {
    format!("_standpipe_{}_", &pipe.simple().to_string()[..16])
}

/// How the names of a table's copies in the making begin.
pub fn stages_of(pipe: Uuid, table: TableId) -> String {
    format!("{}{:x}_", stage_prefix(pipe), table.0)
}

/// Name of a finished copy between its own and the collection's: only the process of this epoch knows it.
pub fn aside_name(stage: &str, epoch: i64) -> String {
    format!("{stage}_e{epoch:x}")
}

/// Name of a copy in the making: it belongs to (pipe, table, generation).
pub fn stage_name(pipe: Uuid, table: TableId, generation: i64) -> String {
    format!("{}{generation:x}", stages_of(pipe, table))
}
