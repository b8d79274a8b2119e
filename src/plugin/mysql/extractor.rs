//! The change side: asks for the log after a position that is there, verifies that the source is the one remembered, and hands out batches.
//! (architecture.md section 4, Start-up)

mod verify;

use super::binlog::cells::Charsets;
use super::binlog::decoder::{Decoder, Settings, Step, is_kept};
use super::binlog::dump::{Dump, Replica, Start};
use super::charset;
use super::client::{Access, Target};
use super::position::{Gtids, Place, Suspects};
use super::server::{self, variables};
use super::types::{self, Carriage, MyType, Wanted};
use super::wire::Wire;
use crate::config::Config;
use crate::data::{Batch, Position, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::option::{Opt, OptKind};
use crate::plugin::policy::Operations;
use crate::plugin::{Extractor, Identity, Limit, Options, PipeRef, Resume};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

/// Options of mysql-extractor beside those every extractor has.
pub const OPTIONS: &[Opt] = &[Opt {
    name: "server-id",
    kind: OptKind::Integer { min: 1, max: u32::MAX as i64 },
    doc: "number under which the pipe asks for the log, other than the server's and its replicas'; by default made of the pipe's UUID",
    applies: "never",
    ..Opt::TEXT
}];

/// An extractor. Connects with `connect`, or begins at the position of a temporary anchor.
#[derive(Debug)]
pub struct MyExtractor {
    target: Target,
    config: Arc<Config>,
    pipe: PipeRef,
    options: Options,
    carriage: Carriage,
    session: Option<Wire>,
    /// Of a temporary anchor: where it is to begin.
    prepared: Option<Begin>,
    /// It is a side run's: another one of this pipe is connected.
    aside: bool,
    live: Option<Live>,
    followed: Vec<Arc<TableVersion>>,
    /// `followed` is to be taken up.
    refollow: bool,
}

/// Where a temporary anchor's stream begins.
#[derive(Debug, Clone)]
pub(super) struct Begin {
    pub place: Place,
    pub gtids: Gtids,
    pub suspects: Suspects,
    pub identity: Identity,
}

/// A running stream and how far it is decoded.
#[derive(Debug)]
struct Live {
    dump: Dump,
    decoder: Decoder,
    packet: Option<Bytes>,
    restructure: Option<TableName>,
}

/// Why decoding paused.
enum Pause {
    /// The batch is full, or ends here.
    Full,
    /// A table's structure is to be looked up.
    Restructure(TableName),
    /// There is no more input.
    Dry,
}

impl MyExtractor {
    /// Not connected. `target` says the pipe's name as application name.
    pub fn new(target: Target, config: Arc<Config>, pipe: PipeRef, options: Options, carriage: Carriage) -> MyExtractor {
        MyExtractor { target, config, pipe, options, carriage, session: None, prepared: None, aside: false, live: None, followed: Vec::new(), refollow: false }
    }
    /// Goes on from a temporary anchor; its stream starts with the first `next`.
    pub(super) fn begin_at(&mut self, begin: Begin, tables: &[Arc<TableVersion>]) {
        self.prepared = Some(begin);
        self.followed = tables.to_vec();
        self.aside = true;
    }
    /// As whom the log is asked for: the pipe itself has one number for life, what runs beside it another one each time.
    fn replica(&self, aside: bool) -> Replica {
        let uuid = if aside { Uuid::new_v4() } else { self.pipe.uuid };
        let (own, _, _, _) = uuid.as_fields();
        let given = self.options.integer("server-id").ok().filter(|_| !aside).and_then(|n| u32::try_from(n).ok());
        // the upper half: people give small numbers
        Replica { id: given.unwrap_or(own | 0x8000_0000), uuid }
    }
    fn forwarding(&self) -> bool {
        self.options.get("forwarding-pipe-requests").is_none() || self.options.flag("forwarding-pipe-requests")
    }
    /// A session for questions; one that has ended is replaced.
    async fn session(&mut self) -> Result<&mut Wire> {
        let alive = match self.session.take() {
            Some(mut wire) => match wire.run("could not ask the source", "DO 1").await {
                Ok(_) => Some(wire),
                Err(_) => None,
            },
            None => None,
        };
        let wire = match alive {
            Some(wire) => wire,
            None => Wire::connect(&self.target, Access::Read).await?,
        };
        Ok(self.session.insert(wire))
    }
    /// What is lost needs a new copy, and says so.
    fn lost(&self, e: Error) -> Error {
        if e.kind() != Kind::PositionLost || e.hint().is_some_and(|h| h.contains("RESYNC")) {
            return e;
        }
        e.with_hint(format!("Run RESYNC PIPE \"{}\" to take a new copy.", self.pipe.name.replace('"', "\"\"")))
    }
    /// Asks for the log after a place: by its transactions where the server counts them, which also says whether it still has all of the rest.
    async fn start(&mut self, place: &Place, gtids: &Gtids, suspects: &Suspects) -> Result<Live> {
        let set = variables(self.session().await?, &["lower_case_table_names", "innodb_native_foreign_keys"]).await?;
        let exact_names = set.get("lower_case_table_names").is_none_or(|v| v == "0");
        let operations = Operations::new(&self.options);
        // the server itself does what its foreign keys say, and logs it, where that is off (MySQL 9.6)
        let cascades = (operations.update || operations.delete) && set.get("innodb_native_foreign_keys").is_none_or(|v| v.eq_ignore_ascii_case("on"));
        let wire = self.session().await?;
        let mariadb = wire.server().mariadb;
        let counts = mariadb || server::gtid_mode(wire).await?;
        let start = if counts && !gtids.is_empty() && (mariadb || gtids.encode().is_some()) { Start::Gtids(gtids.clone()) } else { Start::Place(place.clone()) };
        let dump = Dump::open(&self.target, &self.config, &start, self.replica(self.aside)).await?;
        let settings = Settings { forwarding: self.forwarding(), exact_names, mariadb, cascades, most: self.target.max_packet };
        let mut decoder = Decoder::new(settings, place.clone(), gtids.clone());
        let followed = self.followed.clone();
        let charsets = charsets_of(self.session().await?, followed.iter().map(Arc::as_ref)).await?;
        decoder.follow(&followed, charsets)?;
        decoder.suspect(suspects);
        self.refollow = false;
        Ok(Live { dump, decoder, packet: None, restructure: None })
    }
    /// The stream of a temporary anchor starts with the first batch.
    async fn begin(&mut self) -> Result<()> {
        if let Some(begin) = self.prepared.clone() {
            let mut live = self.start(&begin.place, &begin.gtids, &begin.suspects).await?;
            live.decoder.begin_anew();
            // only now: the call may be dropped half way and made again
            (self.live, self.prepared) = (Some(live), None);
        }
        Ok(())
    }
    /// Takes up the tables that are to be followed now.
    async fn take_up(&mut self) -> Result<()> {
        if !self.refollow || self.live.is_none() {
            return Ok(());
        }
        let followed = self.followed.clone();
        let charsets = charsets_of(self.session().await?, followed.iter().map(Arc::as_ref)).await?;
        if let Some(live) = &mut self.live {
            live.decoder.follow(&followed, charsets)?;
        }
        self.refollow = false;
        Ok(())
    }
    /// Looks up what became of a table that the log shows otherwise than we know it.
    async fn restructure(&mut self, key: TableName) -> Result<()> {
        let Some(name) = self.live.as_ref().and_then(|l| l.decoder.name_of(&key)) else { return Ok(()) };
        let carriage = self.carriage;
        let wire = self.session().await?;
        let now = types::tables(wire, Wanted::Names(std::slice::from_ref(&name)), carriage).await?.pop();
        let charsets = charsets_of(wire, now.iter()).await?;
        if let Some(live) = &mut self.live {
            live.restructure = None;
            live.decoder.restructure(&key, now, charsets)?;
        }
        Ok(())
    }
    async fn next_batch(&mut self, limit: &Limit) -> Result<Batch> {
        let until = Instant::now() + limit.wait;
        self.begin().await?;
        self.take_up().await?;
        loop {
            if let Some(key) = self.live.as_ref().and_then(|l| l.restructure.clone()) {
                self.restructure(key).await?;
            }
            let live = self.live.as_mut().ok_or_else(|| Error::new(Kind::ConnectionLost, "the change source is not connected"))?;
            match live.decode(limit)? {
                Pause::Full => return live.decoder.take(),
                Pause::Restructure(key) => live.restructure = Some(key),
                Pause::Dry if live.decoder.between() && live.decoder.count() > 0 => return live.decoder.take(),
                Pause::Dry => match timeout_at(until, live.dump.wait()).await {
                    Ok(done) => done?,
                    Err(_) => return live.decoder.take(),
                },
            }
        }
    }
}

impl Live {
    /// Decodes what was received, within the bounds.
    fn decode(&mut self, limit: &Limit) -> Result<Pause> {
        loop {
            if self.decoder.ends() || self.decoder.count() >= limit.rows || self.decoder.bytes() >= limit.bytes {
                return Ok(Pause::Full);
            }
            let step = match self.decoder.pending()? {
                Some(step) => step,
                None => {
                    if self.packet.is_none() {
                        self.packet = self.dump.try_next()?;
                    }
                    let Some(packet) = self.packet.clone() else { return Ok(Pause::Dry) };
                    let step = self.decoder.event(&packet);
                    // one that can't be read at all is left behind
                    if !is_kept(&step) {
                        self.packet = None;
                    }
                    step?
                }
            };
            match step {
                Step::Taken => {}
                Step::Ends => return Ok(Pause::Full),
                Step::Restructure(key) => return Ok(Pause::Restructure(key)),
            }
        }
    }
}

/// How the texts of some tables become UTF-8. Ones that can't are found when they are met.
async fn charsets_of(wire: &mut Wire, tables: impl Iterator<Item = &TableVersion>) -> Result<Charsets> {
    let mut names = std::collections::BTreeSet::from(["utf8mb4".to_string()]);
    for column in tables.flat_map(|t| &t.columns) {
        if let MyType::Text(name) = MyType::parse(&column.native)
            && charset::is_readable(&name)
        {
            names.insert(name);
        }
    }
    charset::learn(wire, names).await
}

#[async_trait]
impl Extractor for MyExtractor {
    async fn connect(&mut self, from: &Resume) -> Result<()> {
        self.live = None;
        self.followed = from.tables.clone();
        let connected = self.verified(from).await.map_err(|e| self.lost(e))?;
        (self.live, self.prepared) = (Some(connected), None);
        Ok(())
    }
    async fn next(&mut self, limit: &Limit) -> Result<Option<Batch>> {
        let batch = self.next_batch(limit).await.map_err(|e| self.lost(e))?;
        Ok(Some(batch))
    }
    async fn confirm(&mut self, _position: &Position) -> Result<()> {
        // the server keeps its log by time or size, whoever has read it
        Ok(())
    }
    fn follow(&mut self, tables: &[Arc<TableVersion>]) -> Result<()> {
        self.followed = tables.to_vec();
        self.refollow = true;
        Ok(())
    }
}
