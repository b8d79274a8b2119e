//! Users, roles and grants. (dialect.md section 9) Passwords become SCRAM verifiers here and are never stored.

use super::rights::Rights;
use super::{Action, After, Context, Notice, Write, object_name, source};
use crate::error::{Error, Kind, Result};
use crate::rights::{Right, level, roles_of};
use crate::scram;
use standpipe_catalog::{Change, Expect, Grant, GrantObject, Grants, Membership, Oid, Role, Roles, Versioned};
use standpipe_grammar::Ident;
use standpipe_grammar::ast::role as ast;
use std::sync::Arc;

fn by_name(name: &Ident, cx: &Context<'_>) -> Result<Arc<Versioned<Role>>> {
    let e = || Error::new(Kind::UndefinedObject, format!("role \"{}\" does not exist", name.value)).at(name.position);
    cx.snapshot.named::<Roles>(&name.value).map(|(_, r)| r).ok_or_else(|| e().with_hint("\\du or SELECT * FROM pg_roles lists the roles."))
}

/// What role options do to a record; memberships of others come as changes.
fn apply(role: &mut Role, options: &[ast::RoleOption], cx: &Context<'_>) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let granted_by = cx.snapshot.named::<Roles>(&cx.session.user).map(|(oid, _)| oid);
    for option in options {
        use ast::RoleOption as O;
        match option {
            O::Login(on) => role.login = *on,
            O::Superuser(on) => role.superuser = *on,
            O::Password(None) => role.password = None,
            O::Password(Some(text)) => {
                let iterations = u32::try_from(cx.session.settings.integer("scram.iterations")).unwrap_or(4096);
                let salt = *(cx.fresh)().as_bytes();
                role.password = Some(scram::from_text(text).unwrap_or_else(|| scram::verifier(text, salt, iterations)));
                role.password_generated = false;
            }
            O::ConnectionLimit(n) => role.connection_limit = u32::try_from(*n).ok(),
            O::InRole(names) => {
                for name in names {
                    let of = by_name(name, cx)?;
                    role.member_of.insert(Membership { role: of.oid, admin: false, granted_by });
                }
            }
            O::Role(names) | O::Admin(names) => {
                for name in names {
                    let member = by_name(name, cx)?;
                    let mut new = member.value.clone();
                    new.member_of.insert(Membership { role: role.oid, admin: matches!(option, O::Admin(_)), granted_by });
                    changes.push(Change::put::<Roles>(&member.oid, &new, Expect::Version(member.version)));
                }
            }
            O::ValidUntil(text) if text == "infinity" => role.valid_until = None,
            O::ValidUntil(_) => return Err(Error::new(Kind::NotSupported, "VALID UNTIL is not supported yet").with_hint("Use 'infinity', or leave it out.")),
            // Rights that have no meaning here: databases are sources, and roles always inherit.
            O::CreateDb(_) | O::CreateRole(_) | O::Inherit(_) | O::Replication(_) | O::BypassRls(_) => {}
        }
    }
    Ok(changes)
}

/// CREATE USER, CREATE ROLE.
pub fn create(s: &ast::CreateRole, cx: &Context<'_>) -> Result<Action> {
    let name = object_name("role", &s.name)?;
    if name.starts_with("pg_") || name.starts_with("standpipe_") || name == "public" {
        return Err(Error::new(Kind::BadOption, format!("role name \"{name}\" is reserved")).at(s.name.position));
    }
    if cx.snapshot.named::<Roles>(&name).is_some() {
        return Err(Error::new(Kind::DuplicateObject, format!("role \"{name}\" already exists")).at(s.name.position));
    }
    let (oid, drawn) = cx.snapshot.draw_oids(1).ok_or_else(|| Error::new(Kind::LimitExceeded, "all object numbers are used up"))?;
    let mut role = Role { login: s.user, ..Role::new(oid, name, cx.now) };
    let mut changes = vec![drawn];
    let members = apply(&mut role, &s.options, cx)?;
    changes.push(Change::put::<Roles>(&oid, &role, Expect::Absent));
    changes.extend(members);
    Ok(Action::Write(Write { changes, after: vec![After::RightsChanged], ..Write::default() }))
}

/// ALTER USER, ALTER ROLE. Anybody may change the password of the role that is logged in.
pub fn alter(s: &ast::AlterRole, cx: &Context<'_>, rights: &Rights) -> Result<Action> {
    let own_password = s.name.value == cx.session.user
        && matches!(&s.action, ast::AlterRoleAction::Options(o) if o.iter().all(|o| matches!(o, ast::RoleOption::Password(_))));
    if !own_password {
        rights.admin()?;
    }
    let old = by_name(&s.name, cx)?;
    predefined(&old, s.name.position)?;
    let mut new = old.value.clone();
    let mut write = Write { after: vec![After::RightsChanged], ..Write::default() };
    match &s.action {
        ast::AlterRoleAction::Rename(to) => {
            new.name = object_name("role", to)?;
            if cx.snapshot.named::<Roles>(&new.name).is_some() {
                return Err(Error::new(Kind::DuplicateObject, format!("role \"{}\" already exists", new.name)).at(to.position));
            }
        }
        ast::AlterRoleAction::Options(options) => write.changes = apply(&mut new, options, cx)?,
    }
    if old.password_generated && !new.password_generated {
        write.after.push(After::ForgetInitialPassword);
    }
    last_admin(&old, Some(&new), cx)?;
    write.changes.push(Change::put::<Roles>(&old.oid, &new, Expect::Version(old.version)));
    Ok(Action::Write(write))
}

fn predefined(role: &Role, position: usize) -> Result<()> {
    if role.oid < Oid::FIRST && role.name.starts_with("standpipe_") {
        return Err(Error::new(Kind::NotSupported, format!("role \"{}\" is predefined and cannot be changed", role.name)).at(position));
    }
    Ok(())
}

/// Some role that can log in stays an admin.
fn last_admin(old: &Role, new: Option<&Role>, cx: &Context<'_>) -> Result<()> {
    let admin = |r: &Role| r.login && (r.superuser || level(cx.snapshot, &r.name) == Right::Admin);
    let others = cx.snapshot.scan::<Roles>().any(|(oid, r)| oid != old.oid && admin(&r));
    let stays = new.is_some_and(|n| n.login && (n.superuser || (!old.superuser && admin(old))));
    if admin(old) && !stays && !others {
        return Err(Error::new(Kind::Dependents, format!("role \"{}\" is the last admin that can log in", old.name)));
    }
    Ok(())
}

/// DROP USER, DROP ROLE.
pub fn drop(s: &ast::DropRole, cx: &Context<'_>) -> Result<Action> {
    let mut write = Write { after: vec![After::RightsChanged], ..Write::default() };
    for name in &s.names {
        if s.if_exists && cx.snapshot.named::<Roles>(&name.value).is_none() {
            write.notices.push(Notice::new(format!("role \"{}\" does not exist, skipping", name.value)));
            continue;
        }
        let old = by_name(name, cx)?;
        predefined(&old, name.position)?;
        if old.name == cx.session.user {
            return Err(Error::new(Kind::InUse, "current user cannot be dropped").at(name.position));
        }
        last_admin(&old, None, cx)?;
        write.changes.push(Change::delete::<Roles>(&old.oid, Expect::Version(old.version)));
        write.changes.push(Change::delete_under::<Grants>(&old.oid));
        for (oid, member) in cx.snapshot.scan::<Roles>().filter(|(_, r)| r.member_of.iter().any(|m| m.role == old.oid)) {
            let mut new = member.value.clone();
            new.member_of.retain(|m| m.role != old.oid);
            write.changes.push(Change::put::<Roles>(&oid, &new, Expect::Version(member.version)));
        }
    }
    Ok(Action::Write(write))
}

/// GRANT role TO role.
pub fn grant(s: &ast::GrantRole, cx: &Context<'_>) -> Result<Action> {
    let mut write = Write { after: vec![After::RightsChanged], ..Write::default() };
    for to in &s.to {
        let member = by_name(to, cx)?;
        let mut new = member.value.clone();
        for name in &s.roles {
            let role = by_name(name, cx)?;
            if roles_of(cx.snapshot, &role.name).contains(&member.oid) {
                return Err(Error::new(Kind::BadOption, format!("role \"{}\" is a member of role \"{}\"", role.name, member.name)).at(name.position));
            }
            let granted_by = cx.snapshot.named::<Roles>(&cx.session.user).map(|(oid, _)| oid);
            new.member_of.retain(|m| m.role != role.oid);
            new.member_of.insert(Membership { role: role.oid, admin: s.admin_option, granted_by });
        }
        write.changes.push(Change::put::<Roles>(&member.oid, &new, Expect::Version(member.version)));
    }
    Ok(Action::Write(write))
}

/// REVOKE role FROM role.
pub fn revoke(s: &ast::RevokeRole, cx: &Context<'_>) -> Result<Action> {
    let mut write = Write { after: vec![After::RightsChanged], ..Write::default() };
    for from in &s.from {
        let member = by_name(from, cx)?;
        let mut new = member.value.clone();
        for name in &s.roles {
            let role = by_name(name, cx)?;
            let had = new.member_of.iter().find(|m| m.role == role.oid).copied();
            new.member_of.retain(|m| m.role != role.oid);
            if let (Some(m), true) = (had, s.admin_option_only) {
                new.member_of.insert(Membership { admin: false, ..m });
            }
        }
        last_admin(&member, Some(&new), cx)?;
        write.changes.push(Change::put::<Roles>(&member.oid, &new, Expect::Version(member.version)));
    }
    Ok(Action::Write(write))
}

/// GRANT and REVOKE SELECT ON SOURCE.
pub fn source_privilege(s: &ast::SourcePrivilege, cx: &Context<'_>) -> Result<Action> {
    if let Some(other) = s.privileges.iter().find(|p| !matches!(p.as_str(), "SELECT" | "ALL" | "ALL PRIVILEGES")) {
        let e = Error::new(Kind::NotSupported, format!("privilege {other} on a source does not exist"));
        return Err(e.with_hint("SELECT is the one privilege of sources.").at(s.sources.first().map_or(0, |i| i.position)));
    }
    let mut write = Write { after: vec![After::RightsChanged], ..Write::default() };
    for source_name in &s.sources {
        let source = source::by_name(source_name, cx)?;
        for role in &s.roles {
            let role = by_name(role, cx)?;
            let granted_by = cx.snapshot.named::<Roles>(&cx.session.user).map(|(oid, _)| oid);
            let grant = Grant { grantee: role.oid, object: GrantObject::Source(source.uuid), privilege: "select".into(), grant_option: false, granted_by, at: cx.now };
            let key = grant.key();
            write.changes.push(if s.revoke { Change::delete::<Grants>(&key, Expect::Any) } else { Change::put::<Grants>(&key, &grant, Expect::Any) });
        }
    }
    Ok(Action::Write(write))
}
