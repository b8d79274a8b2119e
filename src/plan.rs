//! From a statement to what is to be done: pure and synchronous. (Statement, Snapshot, session) -> [`Action`].
//!
//! Nothing here reaches another system, reads a clock or waits. Catalog changes are said as data, with the versions they expect; execute
//! applies them, and plans again where one moved meanwhile. A query is passed on unresolved.

pub mod like;
pub mod options;
mod pipe;
mod pipe_alter;
mod pipe_tables;
mod rights;
mod role;
mod show;
mod source;
mod sql;
mod table;

pub use pipe::{NewPipe, clause_options};
pub use rights::Rights;
pub use show::quote_literal;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use standpipe_catalog::{Change, Snapshot, Timestamp, Uuid};
use standpipe_grammar::ast::pipe::WaitGoal;
use standpipe_grammar::sqlparser::ast as sql_ast;
use standpipe_grammar::{Ident, Statement};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a plan needs to know of the session; owned by the session, lent to plan and execute.
#[derive(Debug, Clone)]
pub struct SessionState {
    /// The number clients know the session by.
    pub pid: i32,
    /// Role that is logged in.
    pub user: String,
    /// That role is an admin.
    pub admin: bool,
    /// Current database: a source's name, or `standpipe`.
    pub database: String,
    /// The session's values over the server's.
    pub settings: Config,
    /// The transaction block.
    pub block: Block,
    /// `127.0.0.1:50000`, or empty for the Unix socket.
    pub client_addr: String,
    /// Name of the client program.
    pub application_name: String,
    /// Ends the statement under way.
    pub cancel: CancellationToken,
}

/// Where the session stands in transactions.
#[derive(Debug, Clone, Default)]
pub enum Block {
    /// Each statement for itself.
    #[default]
    None,
    /// Inside BEGIN, or inside a string of several statements (`implicit`).
    Open { overlay: Overlay, implicit: bool },
    /// Inside BEGIN, after an error.
    Failed { overlay: Overlay },
}

/// What a block has said so far and not committed.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// Changes of the catalog, in order.
    pub changes: Vec<Change>,
    /// What is done after the commit.
    pub after: Vec<After>,
    /// Where each savepoint stands: name, length of `changes`, length of `after`.
    pub savepoints: Vec<(String, usize, usize)>,
}

impl SessionState {
    /// The catalog as this session sees it: with what its open block has said laid over.
    pub fn view(&self, snapshot: &Arc<Snapshot>) -> Result<Arc<Snapshot>> {
        match &self.block {
            Block::Open { overlay, .. } if !overlay.changes.is_empty() => snapshot.with(&overlay.changes).map_err(Error::from),
            _ => Ok(snapshot.clone()),
        }
    }
    /// Inside a block that the user has opened.
    pub fn in_block(&self) -> bool {
        matches!(self.block, Block::Open { implicit: false, .. } | Block::Failed { .. })
    }
}

/// What is given to the planner.
pub struct Context<'a> {
    /// The catalog as the session sees it.
    pub snapshot: &'a Arc<Snapshot>,
    /// The session.
    pub session: &'a SessionState,
    /// The time of the statement.
    pub now: Timestamp,
    /// Draws a UUID.
    pub fresh: &'a dyn Fn() -> Uuid,
}

/// A remark to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `NOTICE` or `WARNING`.
    pub severity: &'static str,
    /// SQLSTATE.
    pub sqlstate: &'static str,
    /// Message.
    pub message: String,
    /// DETAIL.
    pub detail: Option<String>,
    /// HINT.
    pub hint: Option<String>,
    /// Byte offset into the query string.
    pub position: Option<usize>,
}

impl Notice {
    /// A plain NOTICE.
    pub fn new(message: impl Into<String>) -> Self {
        Notice { severity: "NOTICE", sqlstate: "00000", message: message.into(), detail: None, hint: None, position: None }
    }
    /// A WARNING.
    pub fn warning(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Notice { severity: "WARNING", sqlstate, ..Notice::new(message) }
    }
    /// With HINT.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Changes of the catalog, ready to be applied.
#[derive(Debug, Clone, Default)]
pub struct Write {
    /// Applied whole or not at all.
    pub changes: Vec<Change>,
    /// Remarks.
    pub notices: Vec<Notice>,
    /// What is done once they are durable.
    pub after: Vec<After>,
}

/// Work that follows a durable change.
#[derive(Debug, Clone)]
pub enum After {
    /// What a dropped pipe holds elsewhere is released; what can't be is named in a NOTICE.
    Release(Uuid),
    /// What a source that was removed for good holds in this process goes.
    Forget(Box<standpipe_catalog::Source>),
    /// `DIR/initial-password` is removed: the password was changed.
    ForgetInitialPassword,
    /// Sessions' rights are looked up again.
    RightsChanged,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Action {
    /// An empty statement.
    Empty,
    /// Something of the session itself.
    Session(SessionCommand),
    /// A query on DataFusion, resolved later. `tag` is `SELECT` or, of a SHOW, `SHOW`.
    Query { statement: Box<sql_ast::Statement>, tag: &'static str },
    /// `COPY (query) TO STDOUT`.
    CopyOut { query: Box<sql_ast::Statement>, format: CopyFormat },
    /// Rows that are known already: column names with PostgreSQL types, and values as text.
    Rows { columns: Vec<(String, &'static str)>, rows: Vec<Vec<Option<String>>>, tag: &'static str },
    /// A change of the catalog.
    Write(Write),
    /// TEST SOURCE.
    TestSource { source: Uuid },
    /// SYNC TABLE, REFRESH TABLE.
    Sync(SyncRequest),
    /// SHOW TABLES FROM SOURCE.
    ShowTables { source: Uuid, available: bool },
    /// CREATE PIPE.
    CreatePipe(Box<NewPipe>),
    /// ALTER PIPE that adds tables: the change, and the pipe as if it had no others.
    AddTables(Write, Box<NewPipe>),
    /// EXPLAIN CREATE PIPE, EXPLAIN PIPE.
    ExplainPipe(Box<NewPipe>),
    /// WAIT FOR PIPE.
    Wait { pipe: Uuid, goal: Option<WaitGoal>, timeout: Option<Duration> },
}

/// SYNC TABLE and REFRESH TABLE: the source is asked.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// Which source.
    pub source: Uuid,
    /// Which tables.
    pub tables: SyncTables,
    /// Take over changed structures, not only add.
    pub refresh: bool,
    /// Show what would be done.
    pub dry_run: bool,
    /// Byte offset of the table list, for errors.
    pub position: usize,
}

/// Which tables are to be synced.
#[derive(Debug, Clone)]
pub enum SyncTables {
    /// By name; the schema may be left out. `quoted` says that the table's name is exact.
    Named(Vec<SyncName>),
    /// By LIKE on `schema.table` or the table's name alone.
    Like(String),
    /// All (REFRESH: all synced ones).
    All,
}

/// One name of SYNC TABLE.
#[derive(Debug, Clone)]
pub struct SyncName {
    /// Schema and whether it was quoted.
    pub schema: Option<(String, bool)>,
    /// Table and whether it was quoted.
    pub name: (String, bool),
}

/// The format of COPY TO STDOUT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyFormat {
    /// PostgreSQL's text format.
    Text { delimiter: char, null: String, header: bool },
    /// CSV.
    Csv { delimiter: char, null: String, header: bool, quote: char, escape: char, force_quote: Vec<String>, force_quote_all: bool },
    /// PostgreSQL's binary format.
    Binary,
}

/// What the session does itself.
#[derive(Debug, Clone)]
pub enum SessionCommand {
    /// BEGIN, START TRANSACTION.
    Begin { read_only: Option<bool>, isolation: Option<String> },
    /// COMMIT; `chain` opens the next block.
    Commit { chain: bool },
    /// ROLLBACK.
    Rollback { chain: bool },
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE SAVEPOINT.
    Release(String),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(String),
    /// SET; None: to the default.
    Set { name: String, value: Option<String>, local: bool },
    /// SET TRANSACTION, SET SESSION CHARACTERISTICS.
    SetTransaction { session: bool, read_only: Option<bool>, isolation: Option<String> },
    /// SHOW name.
    Show(String),
    /// SHOW ALL.
    ShowAll,
    /// RESET; None: all.
    Reset(Option<String>),
    /// DISCARD ALL, PLANS, TEMP, SEQUENCES.
    Discard(String),
    /// DECLARE name CURSOR FOR query.
    Declare { name: String, query: Box<sql_ast::Statement>, hold: bool, scroll: bool, binary: bool },
    /// FETCH and MOVE.
    Fetch(standpipe_grammar::ast::session::Fetch),
    /// CLOSE; None: all.
    Close(Option<String>),
    /// DEALLOCATE; None: all.
    Deallocate(Option<String>),
    /// PREPARE name AS statement.
    Prepare { name: String, statement: Box<sql_ast::Statement>, types: Vec<String> },
    /// EXECUTE name (values).
    Execute { name: String, values: Vec<sql_ast::Expr> },
    /// LISTEN, UNLISTEN, and others that succeed and do nothing here; the tag.
    Accept(&'static str),
}

/// Plans one statement.
pub fn plan(statement: &Statement, cx: &Context<'_>) -> Result<Action> {
    use Statement as S;
    let rights = Rights::of(cx);
    match statement {
        S::Empty => Ok(Action::Empty),
        S::Sql(statement) => sql::plan(statement, cx),
        S::CreateSource(s) => rights.manage().and_then(|()| source::create(s, cx)),
        S::AlterSource(s) => rights.manage().and_then(|()| source::alter(s, cx)),
        S::DropSource(s) => rights.manage().and_then(|()| source::drop(s, cx)),
        S::UndropSource(s) => rights.manage().and_then(|()| source::undrop(s, cx)),
        S::TestSource(s) => rights.read().and_then(|()| acts_at_once("TEST SOURCE", cx)).and_then(|()| source::test(s, cx)),
        S::Comment(s) => rights.manage().and_then(|()| source::comment(s, cx)),
        S::SyncTable(s) => rights.manage().and_then(|()| table::sync(s, cx)),
        S::RefreshTable(s) => rights.manage().and_then(|()| table::refresh(s, cx)),
        S::DetachTable(s) => rights.manage().and_then(|()| table::detach(s, cx)),
        S::ShowTables(s) => rights.read().and_then(|()| table::show(s, cx)),
        S::Describe(s) => rights.read().and_then(|()| table::describe(s, cx)),
        S::CreatePipe(s) => rights.manage().and_then(|()| pipe::create(s, cx)),
        S::ExplainPipe(s) => rights.read().and_then(|()| pipe::explain(s, cx)),
        S::AlterPipe(s) => rights.manage().and_then(|()| pipe_alter::alter(s, cx)),
        S::StartPipe(s) => rights.manage().and_then(|()| pipe_alter::start(s, cx)),
        S::StopPipe(s) => rights.manage().and_then(|()| pipe_alter::stop(s, cx)),
        S::DropPipe(s) => rights.manage().and_then(|()| pipe_alter::drop(s, cx)),
        S::ResyncPipe(s) => rights.manage().and_then(|()| pipe_alter::resync(s, cx)),
        S::WaitForPipe(s) => rights.read().and_then(|()| acts_at_once("WAIT FOR PIPE", cx)).and_then(|()| pipe_alter::wait(s, cx)),
        S::Show(s) => rights.read().and_then(|()| show::plan(s, cx)),
        S::Help(s) => Ok(show::help(s)),
        S::CreateRole(s) => rights.admin().and_then(|()| role::create(s, cx)),
        S::AlterRole(s) => role::alter(s, cx, &rights),
        S::DropRole(s) => rights.admin().and_then(|()| role::drop(s, cx)),
        S::GrantRole(s) => rights.admin().and_then(|()| role::grant(s, cx)),
        S::RevokeRole(s) => rights.admin().and_then(|()| role::revoke(s, cx)),
        S::SourcePrivilege(s) => rights.admin().and_then(|()| role::source_privilege(s, cx)),
        S::Fetch(s) => Ok(Action::Session(SessionCommand::Fetch(s.clone()))),
        S::Reset(s) => Ok(Action::Session(sql::reset(s))),
        S::CreatePipePlugin(s) => Err(unsupported("CREATE PIPEPLUGIN", s.name.position, None)),
        S::DropPipePlugin(s) => Err(unsupported("DROP PIPEPLUGIN", s.name.position, None)),
        S::Unsupported(s) => Err(unsupported(&s.head, s.position, s.hint.as_deref())),
    }
}

/// The error of what this version names and does not do.
pub fn unsupported(what: &str, position: usize, hint: Option<&str>) -> Error {
    Error::new(Kind::NotSupported, format!("{what} is not supported yet")).at(position).with_hint(hint.unwrap_or("HELP lists the statements that are."))
}

/// Statements that act at once are refused inside a block.
fn acts_at_once(what: &str, cx: &Context<'_>) -> Result<()> {
    if cx.session.in_block() {
        return Err(Error::new(Kind::ActiveTransaction, format!("{what} cannot run inside a transaction block")));
    }
    Ok(())
}

/// A name of ours: 1 to 63 bytes, no control characters. Names fold as the grammar has folded them.
fn object_name(kind: &str, name: &Ident) -> Result<String> {
    let text = &name.value;
    if text.is_empty() || text.len() > 63 || text.chars().any(char::is_control) {
        let e = Error::new(Kind::BadOption, format!("\"{text}\" cannot name a {kind}"));
        return Err(e.with_detail("A name has 1 to 63 bytes and no control characters.").at(name.position));
    }
    Ok(text.clone())
}
