//! What roles may do, by membership. (dialect.md section 9) Looked up at each statement, so that a REVOKE holds at once.

use standpipe_catalog::{GrantObject, Grants, Oid, Roles, Snapshot, Uuid};
use std::collections::BTreeSet;

/// Roles that are always there. Their OIDs are of the system's range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredefinedRole {
    /// Every SHOW, system view, TEST, EXPLAIN.
    Read,
    /// Also sources, tables, pipes.
    Manage,
    /// Also users, settings, plugins.
    Admin,
}

impl PredefinedRole {
    /// All of them, the least first.
    pub const ALL: [PredefinedRole; 3] = [PredefinedRole::Read, PredefinedRole::Manage, PredefinedRole::Admin];
    /// Name.
    pub fn name(self) -> &'static str {
        match self {
            PredefinedRole::Read => "standpipe_read",
            PredefinedRole::Manage => "standpipe_manage",
            PredefinedRole::Admin => "standpipe_admin",
        }
    }
    /// Number.
    pub fn oid(self) -> Oid {
        Oid(match self {
            PredefinedRole::Read => 9001,
            PredefinedRole::Manage => 9002,
            PredefinedRole::Admin => 9003,
        })
    }
}

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
