//! People and what they may do.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{check_name, check_oid};
use crate::collection::{Collection, Record};
use crate::error::Invariant;
use crate::id::{Oid, Timestamp, Uuid};
use crate::secret::{MASK, hex, unhex};

/// The roles, by OID.
#[derive(Debug)]
pub enum Roles {}

impl Collection for Roles {
    const NAME: &'static str = "role";
    type Key = Oid;
    type Value = Role;

    fn unique_name(role: &Role) -> Option<String> {
        Some(role.name.clone())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub oid: Oid,
    pub name: String,
    pub login: bool,
    /// May do everything.
    pub superuser: bool,
    /// None: no login by password.
    pub password: Option<ScramVerifier>,
    /// The password came from the program, not from a person.
    #[serde(default)]
    pub password_generated: bool,
    pub valid_until: Option<Timestamp>,
    pub connection_limit: Option<u32>,
    pub member_of: BTreeSet<Membership>,
    pub comment: Option<String>,
    pub created_at: Timestamp,
}

impl Role {
    /// A role as CREATE ROLE without options makes it: no login, no rights.
    pub fn new(oid: Oid, name: impl Into<String>, now: Timestamp) -> Role {
        Role {
            oid,
            name: name.into(),
            login: false,
            superuser: false,
            password: None,
            password_generated: false,
            valid_until: None,
            connection_limit: None,
            member_of: BTreeSet::new(),
            comment: None,
            created_at: now,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Membership {
    pub role: Oid,
    /// May give the membership to others.
    pub admin: bool,
    pub granted_by: Option<Oid>,
}

/// What RFC 5802 lets a server keep instead of a password (SCRAM-SHA-256). Never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramVerifier {
    pub iterations: u32,
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub salt: Vec<u8>,
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub stored_key: Vec<u8>,
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub server_key: Vec<u8>,
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

fn to_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    unhex(&text).ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
}

/// Bytes of a SHA-256 value.
const SHA256_BYTES: usize = 32;

impl Record for Role {
    fn check(&self) -> Result<(), Invariant> {
        // Predefined roles have OIDs of the system; people's begin at 16384.
        Invariant::require(self.oid.0 > 0, || "a role without an OID".to_string())?;
        check_name("role", &self.name)?;
        let itself = self.member_of.iter().any(|of| of.role == self.oid);
        Invariant::require(!itself, || "a role is not a member of itself".to_string())?;
        let Some(password) = &self.password else { return Ok(()) };
        let whole = password.iterations > 0
            && !password.salt.is_empty()
            && password.stored_key.len() == SHA256_BYTES
            && password.server_key.len() == SHA256_BYTES;
        Invariant::require(whole, || "the password's verifier is not whole".to_string())
    }
}

/// The grants, by (grantee, object and privilege): see [`Grant::key`].
#[derive(Debug)]
pub enum Grants {}

impl Collection for Grants {
    const NAME: &'static str = "grant";
    type Key = (Oid, String);
    type Value = Grant;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub grantee: Oid,
    pub object: GrantObject,
    /// `select`, ...
    pub privilege: String,
    pub grant_option: bool,
    pub granted_by: Option<Oid>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantObject {
    Source(Uuid),
    /// A table of the lake.
    LakeTable { schema: String, name: String },
}

impl Grant {
    /// The key it stands under: one record per grantee, object and privilege.
    pub fn key(&self) -> (Oid, String) {
        let object = match &self.object {
            GrantObject::Source(uuid) => format!("source/{uuid}"),
            GrantObject::LakeTable { schema, name } => format!("lake/{}:{schema}.{name}", schema.len()),
        };
        (self.grantee, format!("{}/{object}", self.privilege))
    }
}

impl Record for Grant {
    fn check(&self) -> Result<(), Invariant> {
        if let Some(by) = self.granted_by.filter(|by| *by < Oid::FIRST) {
            Invariant::require(by.0 > 0, || "a grant by nobody".to_string())?;
        } else if let Some(by) = self.granted_by {
            check_oid(by)?;
        }
        Invariant::require(!self.privilege.is_empty(), || "a grant of nothing".to_string())
    }
}
