//! Server settings that were changed at run time and outlive a restart.

use serde::{Deserialize, Serialize};

use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::id::{Oid, Timestamp};

/// The settings, by name.
#[derive(Debug)]
pub enum Settings {}

impl Collection for Settings {
    const NAME: &'static str = "setting";
    type Key = String;
    type Value = Setting;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    pub value: String,
    pub set_by: Option<Oid>,
    pub at: Timestamp,
}

impl Record for Setting {
    fn check(&self) -> Result<(), Invariant> {
        Ok(())
    }
}
