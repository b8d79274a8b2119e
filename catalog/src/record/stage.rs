//! A stage: where batch copies put their files.

use serde::{Deserialize, Serialize};

use super::{check_name, check_oid};
use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::id::{Oid, Timestamp, Uuid};
use crate::secret::Options;

/// A stage by UUID.
#[derive(Debug)]
pub enum Stages {}

impl Collection for Stages {
    const NAME: &'static str = "stage";
    type Key = Uuid;
    type Value = Stage;

    fn unique_name(stage: &Stage) -> Option<String> {
        Some(stage.name.clone())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub uuid: Uuid,
    pub oid: Oid,
    pub name: String,
    pub url: String,
    pub options: Options,
    pub is_default: bool,
    pub comment: Option<String>,
    pub created_at: Timestamp,
}

impl Record for Stage {
    fn check(&self) -> Result<(), Invariant> {
        check_oid(self.oid)?;
        check_name("stage", &self.name)?;
        Invariant::require(!self.url.is_empty(), || "stage has no url".to_string())
    }
}
