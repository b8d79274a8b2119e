//! People and rights: CREATE, ALTER and DROP of USER and ROLE; GRANT and REVOKE of roles and on sources.

use super::Cursor;
use crate::ast::role::{
    AlterRole, AlterRoleAction, CreateRole, DropRole, GrantRole, RevokeRole, RoleOption, SourcePrivilege,
};
use crate::ast::session::Unsupported;
use crate::ast::{Ident, Statement};
use crate::error::SyntaxError;
use sqlparser::tokenizer::Token;

type Result<T = Statement> = std::result::Result<T, SyntaxError>;

pub(crate) fn create_user(c: &mut Cursor) -> Result {
    create(c, true)
}

pub(crate) fn create_role(c: &mut Cursor) -> Result {
    create(c, false)
}

fn create(c: &mut Cursor, user: bool) -> Result {
    let name = c.name("role name")?;
    let options = options(c)?;
    Ok(Statement::CreateRole(CreateRole { name, user, options }))
}

pub(crate) fn alter_user(c: &mut Cursor) -> Result {
    alter(c, true)
}

pub(crate) fn alter_role(c: &mut Cursor) -> Result {
    alter(c, false)
}

fn alter(c: &mut Cursor, user: bool) -> Result {
    let name = c.name("role name")?;
    let position = c.position();
    if c.eat(&["RENAME"]) {
        c.expect(&["TO"])?;
        let action = AlterRoleAction::Rename(c.name("new name")?);
        return Ok(Statement::AlterRole(AlterRole { name, user, action }));
    }
    if c.eat(&["SET"]) || c.eat(&["RESET"]) || c.eat(&["IN", "DATABASE"]) {
        c.skip_to_end();
        let hint = Some("use SET in the session".to_string());
        return Ok(Statement::Unsupported(Unsupported { head: "ALTER ROLE ... SET".to_string(), position, hint }));
    }
    let options = options(c)?;
    if options.is_empty() {
        return Err(c.error());
    }
    Ok(Statement::AlterRole(AlterRole { name, user, action: AlterRoleAction::Options(options) }))
}

pub(crate) fn drop_user(c: &mut Cursor) -> Result {
    drop(c, true)
}

pub(crate) fn drop_role(c: &mut Cursor) -> Result {
    drop(c, false)
}

fn drop(c: &mut Cursor, user: bool) -> Result {
    let if_exists = c.eat(&["IF", "EXISTS"]);
    Ok(Statement::DropRole(DropRole { names: role_list(c)?, user, if_exists }))
}

fn role_list(c: &mut Cursor) -> Result<Vec<Ident>> {
    c.list(|c| c.name("role name"))
}

/// `[WITH] option ...`.
fn options(c: &mut Cursor) -> Result<Vec<RoleOption>> {
    let with = c.eat(&["WITH"]);
    let mut options = Vec::new();
    // What follows may be a password that was forgotten to be quoted.
    c.discreet = true;
    let outcome = loop {
        match option(c) {
            Ok(Some(option)) => options.push(option),
            Ok(None) if !c.at_end() || (with && options.is_empty()) => break Err(c.error()),
            Ok(None) => break Ok(options),
            Err(error) => break Err(error),
        }
    };
    c.discreet = false;
    outcome
}

/// A word that may have NO before it.
type Flag = fn(bool) -> RoleOption;

const FLAGS: &[(&str, &str, Flag)] = &[
    ("LOGIN", "NOLOGIN", RoleOption::Login),
    ("SUPERUSER", "NOSUPERUSER", RoleOption::Superuser),
    ("CREATEDB", "NOCREATEDB", RoleOption::CreateDb),
    ("CREATEROLE", "NOCREATEROLE", RoleOption::CreateRole),
    ("INHERIT", "NOINHERIT", RoleOption::Inherit),
    ("REPLICATION", "NOREPLICATION", RoleOption::Replication),
    ("BYPASSRLS", "NOBYPASSRLS", RoleOption::BypassRls),
];

fn option(c: &mut Cursor) -> Result<Option<RoleOption>> {
    if c.is_word(0, "PASSWORD") || c.are_words(0, &["ENCRYPTED", "PASSWORD"]) {
        c.eat(&["ENCRYPTED"]);
        c.expect(&["PASSWORD"])?;
        let password = if c.eat(&["NULL"]) { None } else { Some(c.string("a password in quotes")?) };
        return Ok(Some(RoleOption::Password(password)));
    }
    c.note("PASSWORD");
    for (yes, no, make) in FLAGS {
        if c.eat(&[yes]) {
            return Ok(Some(make(true)));
        }
        if c.eat(&[no]) {
            return Ok(Some(make(false)));
        }
    }
    let option = if c.eat(&["VALID"]) {
        c.expect(&["UNTIL"])?;
        RoleOption::ValidUntil(c.string("a time")?)
    } else if c.eat(&["CONNECTION"]) {
        c.expect(&["LIMIT"])?;
        RoleOption::ConnectionLimit(c.integer()?)
    } else if c.eat(&["IN", "ROLE"]) || c.eat(&["IN", "GROUP"]) {
        RoleOption::InRole(role_list(c)?)
    } else if c.eat(&["ROLE"]) || c.eat(&["USER"]) {
        RoleOption::Role(role_list(c)?)
    } else if c.eat(&["ADMIN"]) {
        RoleOption::Admin(role_list(c)?)
    } else {
        return Ok(None);
    };
    Ok(Some(option))
}

/// Whether ON stands before TO or FROM, and if so whether SOURCE follows it.
fn on(c: &Cursor, verb: &str, end: &str) -> Option<Option<bool>> {
    if !c.is_word(0, verb) {
        return None;
    }
    let mut ahead = 1;
    while let Some(token) = c.token(ahead) {
        if matches!(token, Token::Word(_)) {
            if c.is_word(ahead, "ON") {
                return Some(Some(c.is_word(ahead + 1, "SOURCE")));
            }
            if c.is_word(ahead, end) {
                break;
            }
        }
        ahead += 1;
    }
    Some(None)
}

pub(crate) fn is_grant_role(c: &Cursor) -> bool {
    on(c, "GRANT", "TO") == Some(None)
}

pub(crate) fn is_grant_on_source(c: &Cursor) -> bool {
    on(c, "GRANT", "TO") == Some(Some(true))
}

pub(crate) fn is_revoke_role(c: &Cursor) -> bool {
    on(c, "REVOKE", "FROM") == Some(None)
}

pub(crate) fn is_revoke_on_source(c: &Cursor) -> bool {
    on(c, "REVOKE", "FROM") == Some(Some(true))
}

pub(crate) fn grant_role(c: &mut Cursor) -> Result {
    let roles = role_list(c)?;
    c.expect(&["TO"])?;
    let to = role_list(c)?;
    let admin_option = c.eat(&["WITH", "ADMIN", "OPTION"]);
    Ok(Statement::GrantRole(GrantRole { roles, to, admin_option }))
}

pub(crate) fn revoke_role(c: &mut Cursor) -> Result {
    let admin_option_only = c.eat(&["ADMIN", "OPTION", "FOR"]);
    let roles = role_list(c)?;
    c.expect(&["FROM"])?;
    let from = role_list(c)?;
    Ok(Statement::RevokeRole(RevokeRole { roles, from, admin_option_only }))
}

pub(crate) fn grant_on_source(c: &mut Cursor) -> Result {
    source_privilege(c, false)
}

pub(crate) fn revoke_on_source(c: &mut Cursor) -> Result {
    source_privilege(c, true)
}

fn source_privilege(c: &mut Cursor, revoke: bool) -> Result {
    let privileges = c.list(|c| {
        let name = c.name("privilege")?.value.to_ascii_uppercase();
        if name == "ALL" {
            c.eat(&["PRIVILEGES"]);
        }
        Ok(name)
    })?;
    c.expect(&["ON", "SOURCE"])?;
    let sources = c.list(|c| c.name("source name"))?;
    c.expect(if revoke { &["FROM"] } else { &["TO"] })?;
    let roles = role_list(c)?;
    Ok(Statement::SourcePrivilege(SourcePrivilege { revoke, privileges, sources, roles }))
}
