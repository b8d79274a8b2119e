//! A pipe as its users want it. How far it has come is its checkpoint's business.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Position, check_name, check_oid};
use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::id::{Oid, Timestamp, Uuid, next_generation};
use crate::secret::{OptionValue, Options};

/// The pipes, by UUID.
#[derive(Debug)]
pub enum Pipes {}

impl Collection for Pipes {
    const NAME: &'static str = "pipe";
    type Key = Uuid;
    type Value = Pipe;

    /// A dropped pipe, kept until what it left elsewhere is cleaned, gives its name free.
    fn unique_name(pipe: &Pipe) -> Option<String> {
        (pipe.desired != Desired::Dropped).then(|| pipe.name.clone())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipe {
    /// The pipe for life: slot, publication and marks are named after it.
    pub uuid: Uuid,
    pub oid: Oid,
    pub name: String,
    /// What its users asked for; nobody else changes it.
    pub desired: Desired,
    /// Grows with every START, STOP and RESYNC, so that the supervisor sees a START of a pipe that is already to run
    /// (try again after FAILED).
    #[serde(default)]
    pub desired_version: u64,
    pub extractor: Clause,
    pub processors: Vec<Clause>,
    pub connector: Clause,
    pub runtime: Options,
    pub schedule: Option<Schedule>,
    /// A batch runs and ends (`realtime.enable = false`); otherwise it is a stream.
    pub batch: bool,
    pub source: Uuid,
    pub target: Target,
    /// Resolved at CREATE; later ones come by ADD TABLE.
    pub tables: Vec<PipeTable>,
    /// The last generation that was drawn for a table of this pipe.
    pub generation: i64,
    /// What was asked for and is not done yet, in order.
    pub want: Vec<Want>,
    /// Where the changes begin, if the position was taken at CREATE (`history.enable = false`).
    pub start_position: Option<Position>,
    pub comment: Option<String>,
    /// Who made it.
    pub owner: Option<Oid>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// `state` as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Desired {
    Stopped,
    Running,
    /// Gone for its users; kept until slot, marks and staging are released.
    Dropped,
}

/// One clause: a plugin and its options as given, keys normalised, secrets sealed.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Clause {
    /// The plugin's canonical name.
    pub plugin: String,
    pub options: Options,
}

impl Clause {
    pub fn get(&self, key: &str) -> Option<&OptionValue> {
        self.options.get(key)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub cron: String,
    pub time_zone: Option<String>,
    pub paused: bool,
}

/// Where a pipe writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A source by UUID.
    Source(Uuid),
    /// The server's own lake.
    Lake,
    /// Given in the connector's options (host and port, node urls), or no system at all.
    InPlace,
}

/// A table of a pipe and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeTable {
    /// The synced table's UUID and OID.
    pub table: Uuid,
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub target_schema: String,
    pub target_name: String,
}

/// A request that waits to be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Names the request, so that the one who has done it takes away this one and no later one.
    pub id: Uuid,
    pub at: Timestamp,
    pub request: Request,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// New copies of these tables; none: of all.
    Resync { tables: BTreeSet<Uuid> },
    AddTable { table: PipeTable },
    DropTable { table: Uuid },
    /// Try the failed tables again; none: all of them.
    Retry { tables: BTreeSet<Uuid> },
    /// Go on from a retained checkpoint.
    FromCheckpoint { id: i64 },
}

impl Pipe {
    /// Draws the next generation of a table; store the pipe before the number is used anywhere.
    pub fn draw_generation(&mut self) -> i64 {
        self.generation = next_generation(self.generation);
        self.generation
    }

    pub fn table(&self, table: &Uuid) -> Option<&PipeTable> {
        self.tables.iter().find(|t| t.table == *table)
    }
}

impl Record for Pipe {
    fn check(&self) -> Result<(), Invariant> {
        check_oid(self.oid)?;
        check_name("pipe", &self.name)?;
        let plugins = std::iter::once(&self.extractor).chain(&self.processors).chain([&self.connector]);
        for clause in plugins {
            Invariant::require(!clause.plugin.is_empty(), || "a clause names no plugin".to_string())?;
        }
        let (mut tables, mut targets) = (BTreeSet::new(), BTreeSet::new());
        for table in &self.tables {
            let (schema, name) = (&table.schema, &table.name);
            Invariant::require(tables.insert(table.table), || format!("table {schema}.{name} is there twice"))?;
            let (schema, name) = (&table.target_schema, &table.target_name);
            Invariant::require(targets.insert((schema, name)), || format!("two tables go to {schema}.{name}"))?;
        }
        let mut wants = BTreeSet::new();
        Invariant::require(self.want.iter().all(|want| wants.insert(want.id)), || "a request is there twice".into())?;
        Invariant::require(self.generation >= 0, || "generation is negative".to_string())?;
        let scheduled = self.schedule.is_none() || self.batch;
        Invariant::require(scheduled, || "a stream has no schedule".to_string())
    }
}
