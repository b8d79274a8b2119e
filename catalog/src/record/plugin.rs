//! Plugins of one's own, as CREATE PIPEPLUGIN named them.

use serde::{Deserialize, Serialize};

use super::{check_name, check_oid};
use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::id::{Oid, Timestamp};

/// The external plugins, by name.
#[derive(Debug)]
pub enum Plugins {}

impl Collection for Plugins {
    const NAME: &'static str = "plugin";
    type Key = String;
    type Value = Plugin;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    pub oid: Oid,
    pub name: String,
    pub role: PluginRole,
    /// The entry inside the file (`AS 'entry'`).
    pub entry: String,
    pub uri: String,
    pub comment: Option<String>,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginRole {
    Processor,
    Connector,
}

impl Record for Plugin {
    fn check(&self) -> Result<(), Invariant> {
        check_oid(self.oid)?;
        check_name("plugin", &self.name)?;
        Invariant::require(!self.uri.is_empty(), || "plugin has no file".to_string())
    }
}
