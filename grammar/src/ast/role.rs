//! People and rights: users, roles, who is in which role, who may read a source.

use super::Ident;
use crate::print::{Print, Printer, printed};

/// CREATE USER and CREATE ROLE; a user is a role that may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct CreateRole {
    pub name: Ident,
    /// CREATE USER: LOGIN unless an option says otherwise.
    pub user: bool,
    pub options: Vec<RoleOption>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct AlterRole {
    pub name: Ident,
    pub user: bool,
    pub action: AlterRoleAction,
}

#[derive(Clone, PartialEq, Eq)]
pub enum AlterRoleAction {
    Options(Vec<RoleOption>),
    Rename(Ident),
}

#[derive(Clone, PartialEq, Eq)]
pub struct DropRole {
    pub names: Vec<Ident>,
    pub user: bool,
    pub if_exists: bool,
}

/// An option of a role, as PostgreSQL has them.
#[derive(Clone, PartialEq, Eq)]
pub enum RoleOption {
    Login(bool),
    Superuser(bool),
    CreateDb(bool),
    CreateRole(bool),
    Inherit(bool),
    Replication(bool),
    BypassRls(bool),
    /// None: PASSWORD NULL. Clear text or a SCRAM verifier.
    Password(Option<String>),
    ValidUntil(String),
    ConnectionLimit(i64),
    /// Roles that the new one becomes a member of.
    InRole(Vec<Ident>),
    /// Roles that become members of the new one.
    Role(Vec<Ident>),
    /// Like `Role`, and they may pass it on.
    Admin(Vec<Ident>),
}

/// `GRANT role TO role`.
#[derive(Clone, PartialEq, Eq)]
pub struct GrantRole {
    pub roles: Vec<Ident>,
    pub to: Vec<Ident>,
    pub admin_option: bool,
}

/// `REVOKE role FROM role`.
#[derive(Clone, PartialEq, Eq)]
pub struct RevokeRole {
    pub roles: Vec<Ident>,
    pub from: Vec<Ident>,
    /// Only the right to pass it on is taken.
    pub admin_option_only: bool,
}

/// `GRANT SELECT ON SOURCE s TO r` and its REVOKE.
#[derive(Clone, PartialEq, Eq)]
pub struct SourcePrivilege {
    pub revoke: bool,
    /// Upper case: `SELECT`, `ALL`.
    pub privileges: Vec<String>,
    pub sources: Vec<Ident>,
    pub roles: Vec<Ident>,
}

fn kind(user: bool) -> &'static str {
    if user { "USER" } else { "ROLE" }
}

impl Print for CreateRole {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("CREATE ").text(kind(self.user)).text(" ").node(&self.name);
        print_options(&self.options, p);
    }
}

impl Print for AlterRole {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("ALTER ").text(kind(self.user)).text(" ").node(&self.name);
        match &self.action {
            AlterRoleAction::Options(options) => print_options(options, p),
            AlterRoleAction::Rename(name) => {
                p.text(" RENAME TO ").node(name);
            }
        }
    }
}

impl Print for DropRole {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("DROP ").text(kind(self.user)).word_if(self.if_exists, "IF EXISTS").text(" ").list(&self.names);
    }
}

fn print_options(options: &[RoleOption], p: &mut Printer<'_>) {
    for option in options {
        p.text(" ").node(option);
    }
}

impl Print for RoleOption {
    fn print(&self, p: &mut Printer<'_>) {
        let flag = |on: bool, name: &str| if on { name.to_string() } else { format!("NO{name}") };
        match self {
            RoleOption::Login(on) => p.text(&flag(*on, "LOGIN")),
            RoleOption::Superuser(on) => p.text(&flag(*on, "SUPERUSER")),
            RoleOption::CreateDb(on) => p.text(&flag(*on, "CREATEDB")),
            RoleOption::CreateRole(on) => p.text(&flag(*on, "CREATEROLE")),
            RoleOption::Inherit(on) => p.text(&flag(*on, "INHERIT")),
            RoleOption::Replication(on) => p.text(&flag(*on, "REPLICATION")),
            RoleOption::BypassRls(on) => p.text(&flag(*on, "BYPASSRLS")),
            RoleOption::Password(None) => p.text("PASSWORD NULL"),
            RoleOption::Password(Some(text)) => p.text("PASSWORD ").secret(text),
            RoleOption::ValidUntil(text) => p.text("VALID UNTIL ").string(text),
            RoleOption::ConnectionLimit(limit) => p.text(&format!("CONNECTION LIMIT {limit}")),
            RoleOption::InRole(names) => p.text("IN ROLE ").list(names),
            RoleOption::Role(names) => p.text("ROLE ").list(names),
            RoleOption::Admin(names) => p.text("ADMIN ").list(names),
        };
    }
}

impl Print for GrantRole {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("GRANT ").list(&self.roles).text(" TO ").list(&self.to);
        p.word_if(self.admin_option, "WITH ADMIN OPTION");
    }
}

impl Print for RevokeRole {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("REVOKE").word_if(self.admin_option_only, "ADMIN OPTION FOR").text(" ");
        p.list(&self.roles).text(" FROM ").list(&self.from);
    }
}

impl Print for SourcePrivilege {
    fn print(&self, p: &mut Printer<'_>) {
        p.text(if self.revoke { "REVOKE " } else { "GRANT " }).text(&self.privileges.join(", "));
        p.text(" ON SOURCE ").list(&self.sources);
        p.text(if self.revoke { " FROM " } else { " TO " }).list(&self.roles);
    }
}

printed!(CreateRole, AlterRole, DropRole, RoleOption, GrantRole, RevokeRole, SourcePrivilege);
