//! What a role may do. (dialect.md section 9) Rights are looked up at each statement, so that a REVOKE holds at once.

use super::Context;
use super::role::PredefinedRole;
use crate::error::{Error, Kind, Result};
use standpipe_catalog::{GrantObject, Grants, Oid, Roles, Snapshot, Uuid};
use std::collections::BTreeSet;

/// Levels of rights; each holds those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// None of them.
    None,
    /// Every SHOW, system view, TEST, EXPLAIN.
    Read,
    /// Also sources, tables and pipes.
    Manage,
    /// Also users, settings, plugins.
    Admin,
}

/// The rights of a session's role.
#[derive(Debug, Clone)]
pub struct Rights {
    level: Right,
    user: String,
}

impl Rights {
    /// Looks them up.
    pub fn of(cx: &Context<'_>) -> Rights {
        Rights { level: level(cx.snapshot, &cx.session.user), user: cx.session.user.clone() }
    }
    /// The level.
    pub fn level(&self) -> Right {
        self.level
    }
    /// Needs `standpipe_read`.
    pub fn read(&self) -> Result<()> {
        self.at_least(Right::Read, PredefinedRole::Read)
    }
    /// Needs `standpipe_manage`.
    pub fn manage(&self) -> Result<()> {
        self.at_least(Right::Manage, PredefinedRole::Manage)
    }
    /// Needs `standpipe_admin`.
    pub fn admin(&self) -> Result<()> {
        self.at_least(Right::Admin, PredefinedRole::Admin)
    }
    fn at_least(&self, right: Right, role: PredefinedRole) -> Result<()> {
        if self.level >= right {
            return Ok(());
        }
        let name = role.name();
        let e = Error::new(Kind::NoRight, format!("permission denied: role \"{}\" is not a member of {name}", self.user));
        Err(e.with_hint(format!("An admin can run: GRANT {name} TO \"{}\".", self.user)))
    }
}

/// A role and all it is a member of, directly or through others.
pub fn roles_of(snapshot: &Snapshot, user: &str) -> BTreeSet<Oid> {
    let mut all = BTreeSet::new();
    let mut next: Vec<Oid> = snapshot.named::<Roles>(user).map(|(oid, _)| oid).into_iter().collect();
    while let Some(oid) = next.pop() {
        if all.insert(oid) {
            next.extend(snapshot.get::<Roles>(&oid).into_iter().flat_map(|r| r.member_of.iter().map(|m| m.role).collect::<Vec<_>>()));
        }
    }
    all
}

/// The level of a role.
pub fn level(snapshot: &Snapshot, user: &str) -> Right {
    let all = roles_of(snapshot, user);
    let superuser = all.iter().any(|oid| snapshot.get::<Roles>(oid).is_some_and(|r| r.superuser));
    let has = |role: PredefinedRole| all.contains(&role.oid());
    if superuser || has(PredefinedRole::Admin) {
        Right::Admin
    } else if has(PredefinedRole::Manage) {
        Right::Manage
    } else if has(PredefinedRole::Read) {
        Right::Read
    } else {
        Right::None
    }
}

/// Whether a role may read rows of a source.
pub fn may_select(snapshot: &Snapshot, user: &str, source: Uuid) -> bool {
    if level(snapshot, user) >= Right::Manage {
        return true;
    }
    let all = roles_of(snapshot, user);
    snapshot.scan::<Grants>().any(|((grantee, _), g)| all.contains(&grantee) && g.privilege == "select" && g.object == GrantObject::Source(source))
}
