//! The one enum of everything that can be said.

use sqlparser::ast as sql;

use super::options::Options;
use super::pipe::{AlterPipe, CreatePipe, DropPipe, ExplainPipe, ResyncPipe, StartPipe, StopPipe, WaitForPipe};
use super::plugin::{CreatePipePlugin, DropPipePlugin};
use super::role::{AlterRole, CreateRole, DropRole, GrantRole, RevokeRole, SourcePrivilege};
use super::session::{Fetch, Help, Reset, Unsupported};
use super::show::Show;
use super::source::{AlterSource, Comment, CreateSource, DropSource, TestSource, UndropSource};
use super::table::{Describe, DetachTable, RefreshTable, ShowTables, SyncTable};
use crate::ast::pipe::{AlterPipeAction, ExplainTarget};
use crate::ast::source::AlterSourceAction;
use crate::print::{Print, Printer, printed};

#[derive(Clone, PartialEq)]
pub enum Statement {
    /// PostgreSQL's SQL as sqlparser yields it, untouched.
    Sql(Box<sql::Statement>),
    /// White space, comments or semicolons alone.
    Empty,
    CreateSource(CreateSource),
    AlterSource(AlterSource),
    DropSource(DropSource),
    UndropSource(UndropSource),
    TestSource(TestSource),
    SyncTable(SyncTable),
    RefreshTable(RefreshTable),
    DetachTable(DetachTable),
    ShowTables(ShowTables),
    Describe(Describe),
    CreatePipe(CreatePipe),
    AlterPipe(AlterPipe),
    StartPipe(StartPipe),
    StopPipe(StopPipe),
    DropPipe(DropPipe),
    ResyncPipe(ResyncPipe),
    WaitForPipe(WaitForPipe),
    ExplainPipe(ExplainPipe),
    CreatePipePlugin(CreatePipePlugin),
    DropPipePlugin(DropPipePlugin),
    Show(Show),
    Comment(Comment),
    CreateRole(CreateRole),
    AlterRole(AlterRole),
    DropRole(DropRole),
    GrantRole(GrantRole),
    RevokeRole(RevokeRole),
    SourcePrivilege(SourcePrivilege),
    Fetch(Fetch),
    Reset(Reset),
    Help(Help),
    Unsupported(Unsupported),
}

impl Statement {
    /// The command tag, without a row count: `CREATE PIPE`, `SHOW`, `SELECT`. Of what PostgreSQL does not have: the empty string.
    pub fn tag(&self) -> &str {
        match self {
            Statement::Sql(statement) => sql_tag(statement),
            Statement::Empty => "",
            Statement::CreateSource(_) => "CREATE SOURCE",
            Statement::AlterSource(_) => "ALTER SOURCE",
            Statement::DropSource(_) => "DROP SOURCE",
            Statement::UndropSource(_) => "UNDROP SOURCE",
            Statement::TestSource(_) => "TEST SOURCE",
            Statement::SyncTable(_) => "SYNC TABLE",
            Statement::RefreshTable(_) => "REFRESH TABLE",
            Statement::DetachTable(_) => "DETACH TABLE",
            Statement::ShowTables(_) | Statement::Show(_) => "SHOW",
            Statement::Describe(_) => "DESCRIBE",
            Statement::CreatePipe(_) => "CREATE PIPE",
            Statement::AlterPipe(_) => "ALTER PIPE",
            Statement::StartPipe(_) => "START PIPE",
            Statement::StopPipe(_) => "STOP PIPE",
            Statement::DropPipe(_) => "DROP PIPE",
            Statement::ResyncPipe(_) => "RESYNC PIPE",
            Statement::WaitForPipe(_) => "WAIT",
            Statement::ExplainPipe(_) => "EXPLAIN",
            Statement::CreatePipePlugin(_) => "CREATE PIPEPLUGIN",
            Statement::DropPipePlugin(_) => "DROP PIPEPLUGIN",
            Statement::Comment(_) => "COMMENT",
            Statement::CreateRole(_) => "CREATE ROLE",
            Statement::AlterRole(_) => "ALTER ROLE",
            Statement::DropRole(_) => "DROP ROLE",
            Statement::GrantRole(_) => "GRANT ROLE",
            Statement::RevokeRole(_) => "REVOKE ROLE",
            Statement::SourcePrivilege(privilege) if privilege.revoke => "REVOKE",
            Statement::SourcePrivilege(_) => "GRANT",
            Statement::Fetch(fetch) if fetch.is_move => "MOVE",
            Statement::Fetch(_) => "FETCH",
            Statement::Reset(_) => "RESET",
            Statement::Help(_) => "HELP",
            Statement::Unsupported(unsupported) => &unsupported.head,
        }
    }

    /// Every option list of the statement, to look for parameters.
    pub fn option_lists(&self) -> Vec<&Options> {
        match self {
            Statement::CreateSource(create) => vec![&create.options],
            Statement::AlterSource(AlterSource { action: AlterSourceAction::Set(options), .. }) => vec![options],
            Statement::SyncTable(sync) => vec![&sync.options],
            Statement::RefreshTable(refresh) => vec![&refresh.options],
            Statement::CreatePipe(create) => clauses(create),
            Statement::ExplainPipe(ExplainPipe { target: ExplainTarget::Create(create), .. }) => clauses(create),
            Statement::AlterPipe(alter) => alter
                .actions
                .iter()
                .filter_map(|action| match action {
                    AlterPipeAction::Modify(_, options) | AlterPipeAction::Replace(_, options) => Some(options),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The highest `$n` in an option list; of a handed-on statement: 0, ask sqlparser's tree.
    pub fn parameters(&self) -> usize {
        self.option_lists().iter().map(|options| options.parameters()).max().unwrap_or(0)
    }

    /// Puts the parameters' texts in place of `$1`, `$2`, ... in option lists.
    pub fn bind(&mut self, values: &[Option<String>]) {
        match self {
            Statement::CreateSource(create) => create.options.bind(values),
            Statement::AlterSource(AlterSource { action: AlterSourceAction::Set(options), .. }) => options.bind(values),
            Statement::SyncTable(sync) => sync.options.bind(values),
            Statement::RefreshTable(refresh) => refresh.options.bind(values),
            Statement::CreatePipe(create) => bind_clauses(create, values),
            Statement::ExplainPipe(ExplainPipe { target: ExplainTarget::Create(create), .. }) => {
                bind_clauses(create, values);
            }
            Statement::AlterPipe(alter) => {
                for action in &mut alter.actions {
                    if let AlterPipeAction::Modify(_, options) | AlterPipeAction::Replace(_, options) = action {
                        options.bind(values);
                    }
                }
            }
            _ => {}
        }
    }
}

fn clauses(create: &CreatePipe) -> Vec<&Options> {
    let clauses = create.extractor.iter().chain(&create.processors).chain(&create.connector).chain(&create.runtime);
    clauses.map(|clause| &clause.options).collect()
}

fn bind_clauses(create: &mut CreatePipe, values: &[Option<String>]) {
    let clauses = (create.extractor.iter_mut())
        .chain(&mut create.processors)
        .chain(&mut create.connector)
        .chain(&mut create.runtime);
    for clause in clauses {
        clause.options.bind(values);
    }
}

/// PostgreSQL's tags of its own statements.
fn sql_tag(statement: &sql::Statement) -> &'static str {
    use sql::Statement as S;
    match statement {
        S::Query(_) => "SELECT",
        S::Insert(_) => "INSERT",
        S::Update(_) => "UPDATE",
        S::Delete(_) => "DELETE",
        S::Merge(_) => "MERGE",
        S::Copy { .. } => "COPY",
        S::Set(_) => "SET",
        S::ShowVariable { .. } => "SHOW",
        S::StartTransaction { begin: false, .. } => "START TRANSACTION",
        S::StartTransaction { .. } => "BEGIN",
        S::Commit { .. } => "COMMIT",
        S::Rollback { .. } => "ROLLBACK",
        S::Savepoint { .. } => "SAVEPOINT",
        S::ReleaseSavepoint { .. } => "RELEASE",
        S::Declare { .. } => "DECLARE CURSOR",
        S::Close { .. } => "CLOSE CURSOR",
        S::Discard { object_type: sql::DiscardObject::ALL } => "DISCARD ALL",
        S::Discard { object_type: sql::DiscardObject::PLANS } => "DISCARD PLANS",
        S::Discard { object_type: sql::DiscardObject::SEQUENCES } => "DISCARD SEQUENCES",
        S::Discard { .. } => "DISCARD TEMP",
        S::Prepare { .. } => "PREPARE",
        S::Deallocate { .. } => "DEALLOCATE",
        S::LISTEN { .. } => "LISTEN",
        S::UNLISTEN { .. } => "UNLISTEN",
        S::NOTIFY { .. } => "NOTIFY",
        S::Explain { .. } => "EXPLAIN",
        S::Comment { .. } => "COMMENT",
        S::Grant(_) => "GRANT",
        S::Revoke(_) => "REVOKE",
        S::CreateTable(_) => "CREATE TABLE",
        S::CreateView(_) => "CREATE VIEW",
        S::CreateSchema { .. } => "CREATE SCHEMA",
        S::AlterTable(_) => "ALTER TABLE",
        S::Truncate(_) => "TRUNCATE TABLE",
        S::Analyze(_) => "ANALYZE",
        S::Vacuum(_) => "VACUUM",
        S::Lock(_) => "LOCK TABLE",
        _ => "",
    }
}

impl Print for Statement {
    fn print(&self, p: &mut Printer<'_>) {
        match self {
            Statement::Sql(statement) => p.text(&statement.to_string()),
            Statement::Empty => p.text(""),
            Statement::CreateSource(node) => p.node(node),
            Statement::AlterSource(node) => p.node(node),
            Statement::DropSource(node) => p.node(node),
            Statement::UndropSource(node) => p.node(node),
            Statement::TestSource(node) => p.node(node),
            Statement::SyncTable(node) => p.node(node),
            Statement::RefreshTable(node) => p.node(node),
            Statement::DetachTable(node) => p.node(node),
            Statement::ShowTables(node) => p.node(node),
            Statement::Describe(node) => p.node(node),
            Statement::CreatePipe(node) => p.node(node),
            Statement::AlterPipe(node) => p.node(node),
            Statement::StartPipe(node) => p.node(node),
            Statement::StopPipe(node) => p.node(node),
            Statement::DropPipe(node) => p.node(node),
            Statement::ResyncPipe(node) => p.node(node),
            Statement::WaitForPipe(node) => p.node(node),
            Statement::ExplainPipe(node) => p.node(node),
            Statement::CreatePipePlugin(node) => p.node(node),
            Statement::DropPipePlugin(node) => p.node(node),
            Statement::Show(node) => p.node(node),
            Statement::Comment(node) => p.node(node),
            Statement::CreateRole(node) => p.node(node),
            Statement::AlterRole(node) => p.node(node),
            Statement::DropRole(node) => p.node(node),
            Statement::GrantRole(node) => p.node(node),
            Statement::RevokeRole(node) => p.node(node),
            Statement::SourcePrivilege(node) => p.node(node),
            Statement::Fetch(node) => p.node(node),
            Statement::Reset(node) => p.node(node),
            Statement::Help(node) => p.node(node),
            Statement::Unsupported(node) => p.node(node),
        };
    }
}

printed!(Statement);
