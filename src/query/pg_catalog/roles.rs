//! Roles as PostgreSQL shows them.

use super::table::Table;
use crate::error::Result;
use crate::query::context::StatementContext;
use crate::query::function::value::Value;
use crate::query::model::{DatabaseModel, OWNER_OID};
use crate::system_row;
use standpipe_catalog::{Role, Roles};

/// The name of the role that owns everything, where the catalog has none of OID 10.
pub const OWNER: &str = "standpipe";

/// All roles; the owner of everything is among them.
fn roles(cx: &StatementContext) -> Vec<(u32, String, Option<Role>)> {
    let mut out: Vec<_> = cx.snapshot.scan::<Roles>().map(|(oid, r)| (oid.0, r.name.clone(), Some(r.value.clone()))).collect();
    if !out.iter().any(|(oid, name, _)| *oid == OWNER_OID || name == OWNER) {
        out.push((OWNER_OID, OWNER.to_string(), None));
    }
    out
}

/// The OID that owns schemas and tables.
pub fn owner(cx: &StatementContext) -> u32 {
    cx.snapshot.named::<Roles>(OWNER).map_or(OWNER_OID, |(oid, _)| oid.0)
}

/// `pg_authid`, `pg_roles`. Verifiers are never shown.
pub fn pg_roles(cx: &StatementContext, _: &DatabaseModel, t: &mut Table) -> Result<()> {
    for (oid, name, role) in roles(cx) {
        let admin = role.as_ref().is_none_or(|r| r.superuser);
        let login = role.as_ref().is_none_or(|r| r.login);
        t.row(system_row! {
            "oid" => oid, "rolname" => name, "rolsuper" => admin, "rolinherit" => true, "rolcreaterole" => admin, "rolcreatedb" => admin,
            "rolcanlogin" => login, "rolreplication" => false, "rolbypassrls" => admin,
            "rolconnlimit" => role.as_ref().and_then(|r| r.connection_limit).map_or(-1, i64::from),
            "rolvaliduntil" => role.as_ref().and_then(|r| r.valid_until).map_or(Value::Null, |v| Value::Int(v.0)),
            "rolpassword" => "********",
        });
    }
    Ok(())
}

/// `pg_user`, `pg_shadow`.
pub fn pg_user(cx: &StatementContext, _: &DatabaseModel, t: &mut Table) -> Result<()> {
    for (oid, name, role) in roles(cx).into_iter().filter(|(_, _, r)| r.as_ref().is_none_or(|r| r.login)) {
        let admin = role.as_ref().is_none_or(|r| r.superuser);
        t.row(system_row! { "usename" => name, "usesysid" => oid, "usecreatedb" => admin, "usesuper" => admin, "userepl" => false, "usebypassrls" => admin, "passwd" => "********" });
    }
    Ok(())
}

/// `pg_group`.
pub fn pg_group(cx: &StatementContext, _: &DatabaseModel, t: &mut Table) -> Result<()> {
    let all = roles(cx);
    for (oid, name, _) in all.iter().filter(|(_, _, r)| r.as_ref().is_some_and(|r| !r.login)) {
        let members = all.iter().filter(|(_, _, r)| r.as_ref().is_some_and(|r| r.member_of.iter().any(|m| m.role.0 == *oid))).map(|(o, _, _)| Value::from(*o));
        t.row(system_row! { "groname" => name.as_str(), "grosysid" => *oid, "grolist" => Value::List(members.collect()) });
    }
    Ok(())
}

/// `pg_auth_members`.
pub fn pg_auth_members(cx: &StatementContext, _: &DatabaseModel, t: &mut Table) -> Result<()> {
    for (oid, role) in cx.snapshot.scan::<Roles>() {
        for m in &role.member_of {
            t.row(system_row! { "roleid" => m.role.0, "member" => oid.0, "grantor" => m.granted_by.map_or(OWNER_OID, |g| g.0), "admin_option" => m.admin });
        }
    }
    Ok(())
}
