//! A source: another system by name, with what is needed to reach it.

use serde::{Deserialize, Serialize};

use super::{check_name, check_oid};
use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::id::{Oid, Timestamp, Uuid};
use crate::secret::Options;

/// A source by UUID.
#[derive(Debug)]
pub enum Sources {}

impl Collection for Sources {
    const NAME: &'static str = "source";
    type Key = Uuid;
    type Value = Source;

    /// A dropped source gives its name free.
    fn unique_name(source: &Source) -> Option<String> {
        (source.state == SourceState::Normal).then(|| source.name.clone())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub uuid: Uuid,
    pub oid: Oid,
    pub name: String,
    /// The type as shown: `postgres`, `pieclouddb`, `mysql` ...
    pub kind: String,
    /// As given, keys normalised, secrets sealed.
    pub options: Options,
    pub comment: Option<String>,
    pub state: SourceState,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    Normal,
    /// In the recycle bin.
    Dropped,
}

impl Record for Source {
    fn check(&self) -> Result<(), Invariant> {
        check_oid(self.oid)?;
        check_name("source", &self.name)?;
        Invariant::require(!self.kind.is_empty(), || "source has no type".to_string())
    }
}
