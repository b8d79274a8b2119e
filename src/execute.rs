//! From an action to an output: one match, one line per arm; the work is in the owner's module.
//!
//! A statement is planned on a snapshot, its IO is done, and its changes are applied in one catalog transaction; where a record moved
//! meanwhile it is planned again. Inside a block the changes are laid over the snapshot and applied at COMMIT.

mod pipe;
mod source;
mod statement_columns;

use crate::data::rows;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::plan::{self, Action, After, Block, Context, CopyFormat, Notice, Overlay, SessionCommand, SessionState, Write};
use crate::query::{Planned, QueryEnv};
use crate::rights;
use crate::views::{self, ViewContext};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use standpipe_catalog::{Audit, AuditLog, Change, Snapshot, Timestamp, Uuid};
use standpipe_grammar::sqlparser::ast as sql_ast;
use standpipe_grammar::{Parsed, Statement};
use std::sync::Arc;
use std::time::Instant;

/// How often a statement is planned again when the catalog moved under it.
const PLAN_ATTEMPTS: usize = 8;
/// PostgreSQL's number of the type text.
const TEXT_OID: u32 = 25;

/// A statement that is ready to run, as often as wanted.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The statement.
    pub parsed: Parsed,
    /// PostgreSQL's type numbers of its parameters.
    pub parameters: Vec<u32>,
    /// Their Arrow types.
    pub parameter_types: Vec<DataType>,
    /// Columns of its rows; None: it returns none.
    pub columns: Option<SchemaRef>,
    /// A query, resolved, and the catalog version it was resolved on.
    resolved: Option<(Arc<Planned>, standpipe_catalog::Version)>,
}

/// What a statement gives.
pub struct Output {
    /// Remarks, sent before the rest.
    pub notices: Vec<Notice>,
    /// The rest.
    pub body: Body,
}

/// Rows, a tag, or something that the session does itself.
pub enum Body {
    /// Done; the command tag.
    Done { tag: String },
    /// Rows. Of `SELECT` the count is appended to the tag; other tags stand as they are.
    Rows { schema: SchemaRef, stream: SendableRecordBatchStream, tag: String },
    /// COPY ... TO STDOUT.
    Copy { schema: SchemaRef, stream: SendableRecordBatchStream, format: CopyFormat },
    /// An empty statement.
    Empty,
    /// The session's own business.
    Session(SessionCommand),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Body::Done { tag } => write!(f, "Done({tag})"),
            Body::Rows { tag, .. } => write!(f, "Rows({tag})"),
            Body::Copy { format, .. } => write!(f, "Copy({format:?})"),
            Body::Empty => f.write_str("Empty"),
            Body::Session(command) => write!(f, "Session({command:?})"),
        }
    }
}

impl Output {
    fn done(tag: impl Into<String>, notices: Vec<Notice>) -> Output {
        Output { notices, body: Body::Done { tag: tag.into() } }
    }
    fn rows((columns, rows): source::Rows, tag: &str, notices: Vec<Notice>) -> Result<Output> {
        let batch = rows::batch(&columns, &rows)?;
        Ok(Output { notices, body: Body::Rows { schema: batch.schema(), stream: Box::pin(RecordBatchStreamAdapter::new(batch.schema(), futures::stream::iter([Ok(batch)]))), tag: tag.to_string() } })
    }
}

/// What a statement's queries are run for: the session's facts, the catalog as it sees it, the system views.
fn query_env<'a>(engine: &Arc<Engine>, session: &'a SessionState, snapshot: &Arc<Snapshot>) -> QueryEnv<'a> {
    let views = ViewContext::new(engine.clone(), snapshot.clone(), session.user.clone(), Arc::new(session.settings.clone()));
    QueryEnv {
        database: &session.database,
        user: &session.user,
        admin: session.admin,
        pid: session.pid,
        snapshot: snapshot.clone(),
        settings: &session.settings,
        extra_tables: views::tables(&views),
    }
}

fn plan_action(session: &SessionState, snapshot: &Arc<Snapshot>, statement: &Statement) -> Result<Action> {
    let fresh = Uuid::new_v4;
    plan::plan(statement, &Context { snapshot, session, now: Timestamp::now(), fresh: &fresh })
}

/// The catalog as a statement sees it. What ends a block must run whatever became of the changes in it meanwhile.
fn seen(engine: &Engine, session: &SessionState, statement: &Statement) -> Result<Arc<Snapshot>> {
    let now = engine.catalog.snapshot();
    match statement {
        Statement::Sql(s) if matches!(**s, sql_ast::Statement::Commit { .. } | sql_ast::Statement::Rollback { .. }) => Ok(now),
        _ => session.view(&now),
    }
}

/// Resolves a statement for Describe and Execute. A statement of the dialect is checked when it runs; its columns are known by its kind.
pub async fn prepare(engine: &Arc<Engine>, session: &SessionState, parsed: &Parsed, declared: &[Option<u32>]) -> Result<Prepared> {
    let snapshot = seen(engine, session, &parsed.statement)?;
    let mut prepared = Prepared { parsed: parsed.clone(), parameters: vec![], parameter_types: vec![], columns: None, resolved: None };
    let own_parameters = parsed.statement.parameters();
    if own_parameters > 0 {
        prepared.parameters = vec![TEXT_OID; own_parameters];
        prepared.parameter_types = vec![DataType::Utf8; own_parameters];
        prepared.columns = statement_columns::of(&parsed.statement);
        return Ok(prepared);
    }
    if !matches!(parsed.statement, Statement::Sql(_) | Statement::Show(_)) {
        prepared.columns = statement_columns::of(&parsed.statement);
        return Ok(prepared);
    }
    match plan_action(session, &snapshot, &parsed.statement)? {
        Action::Query { statement, .. } => {
            let planned = engine.query.plan(&query_env(engine, session, &snapshot), &statement, declared).await?;
            (prepared.parameters, prepared.parameter_types) = planned.parameters.iter().cloned().unzip();
            prepared.columns = Some(planned.schema.clone());
            prepared.resolved = Some(planned).map(|p| (Arc::new(p), engine.catalog.snapshot().version()));
        }
        Action::Rows { columns, .. } => prepared.columns = Some(rows::schema(&columns)),
        Action::Session(command) => prepared.columns = statement_columns::of_command(&command),
        _ => {}
    }
    Ok(prepared)
}

/// Runs a statement. `params` are of the prepared parameter types.
pub async fn run(engine: &Arc<Engine>, session: &mut SessionState, prepared: &Prepared, params: Vec<ScalarValue>) -> Result<Output> {
    let began = Instant::now();
    let outcome = attempt(engine, session, prepared, params).await;
    if changes_something(&prepared.parsed.statement) {
        audit(engine, session, prepared, outcome.as_ref().err(), began);
    }
    let mut output = outcome?;
    let remarks = prepared.parsed.notices.iter().map(|n| Notice { detail: n.detail.clone(), hint: n.hint.clone(), position: Some(n.position), ..Notice::new(&n.message) });
    output.notices.splice(0..0, remarks);
    Ok(output)
}

async fn attempt(engine: &Arc<Engine>, session: &mut SessionState, prepared: &Prepared, params: Vec<ScalarValue>) -> Result<Output> {
    let bound = bind(&prepared.parsed.statement, &params)?;
    let statement = bound.as_ref().unwrap_or(&prepared.parsed.statement);
    for left in (0..PLAN_ATTEMPTS).rev() {
        let snapshot = seen(engine, session, statement)?;
        let action = plan_action(session, &snapshot, statement)?;
        match carry_out(engine, session, &snapshot, action, prepared, &params).await {
            Err(e) if e.kind() == Kind::Conflict && left > 0 && !session.in_block() => {}
            outcome => return outcome,
        }
    }
    Err(Error::new(Kind::Conflict, "the catalog was changed again and again meanwhile").with_hint("Run the statement again."))
}

/// Puts parameters into option lists; None where the statement has none there.
fn bind(statement: &Statement, params: &[ScalarValue]) -> Result<Option<Statement>> {
    if statement.parameters() == 0 {
        return Ok(None);
    }
    let text = |v: &ScalarValue| match v {
        ScalarValue::Utf8(t) | ScalarValue::LargeUtf8(t) | ScalarValue::Utf8View(t) => Ok(t.clone()),
        v if v.is_null() => Ok(None),
        v => Ok(Some(v.to_string())),
    };
    let mut bound = statement.clone();
    bound.bind(&params.iter().map(text).collect::<Result<Vec<_>>>()?);
    Ok(Some(bound))
}

async fn carry_out(engine: &Arc<Engine>, session: &mut SessionState, snapshot: &Arc<Snapshot>, action: Action, prepared: &Prepared, params: &[ScalarValue]) -> Result<Output> {
    let tag = prepared.parsed.statement.tag().to_string();
    match action {
        Action::Empty => Ok(Output { notices: vec![], body: Body::Empty }),
        Action::Session(command) => Ok(Output { notices: vec![], body: Body::Session(command) }),
        Action::Query { statement, tag } => query(engine, session, snapshot, &statement, tag, prepared, params).await,
        Action::CopyOut { query, format } => copy_out(engine, session, snapshot, &query, format).await,
        Action::Rows { columns, rows, tag } => Output::rows((columns, rows), tag, vec![]),
        Action::Write(write) => {
            let notices = apply(engine, session, &tag, write).await?;
            Ok(Output::done(tag, notices))
        }
        Action::TestSource { source } => Output::rows(source::test(engine, snapshot, source).await?, &tag, vec![]),
        Action::ShowTables { source, available } => Output::rows(source::show_tables(engine, snapshot, source, available).await?, &tag, vec![]),
        Action::Sync(request) => {
            let (rows, write) = source::sync(engine, snapshot, &request, Timestamp::now()).await?;
            let notices = if request.dry_run { write.notices } else { apply(engine, session, &tag, write).await? };
            Output::rows(rows, &tag, notices)
        }
        Action::CreatePipe(new) => Ok(Output::done(tag, create_pipe(engine, session, snapshot, *new).await?)),
        Action::AddTables(mut write, added) => {
            if added.validate {
                write.notices.extend(pipe::reach(engine, snapshot, &added).await?.notices);
            }
            let notices = apply(engine, session, &tag, write).await?;
            Ok(Output::done(tag, notices))
        }
        Action::ExplainPipe(new) => Output::rows(pipe::explain(engine, snapshot, &new).await?, &tag, new.notices.clone()),
        Action::Wait { pipe, goal, timeout } => Output::rows(wait(engine, session, pipe, goal, timeout).await?, &tag, vec![]),
    }
}

async fn query(engine: &Arc<Engine>, session: &SessionState, snapshot: &Arc<Snapshot>, statement: &sql_ast::Statement, tag: &str, prepared: &Prepared, params: &[ScalarValue]) -> Result<Output> {
    let cx = query_env(engine, session, snapshot);
    let planned = match &prepared.resolved {
        Some((planned, version)) if *version == engine.catalog.snapshot().version() && !session.in_block() => planned.clone(),
        _ => {
            let declared: Vec<_> = prepared.parameters.iter().copied().map(Some).collect();
            Arc::new(engine.query.plan(&cx, statement, &declared).await?)
        }
    };
    if let Some(described) = &prepared.columns
        && described.fields().len() != planned.schema.fields().len()
    {
        return Err(Error::new(Kind::NotSupported, "cached plan must not change result type").with_hint("Prepare the statement again."));
    }
    may_read(snapshot, session, &planned)?;
    let stream = engine.query.execute(&cx, &planned, params.to_vec()).await?;
    Ok(Output { notices: vec![], body: Body::Rows { schema: planned.schema.clone(), stream, tag: tag.to_string() } })
}

async fn copy_out(engine: &Arc<Engine>, session: &SessionState, snapshot: &Arc<Snapshot>, query: &sql_ast::Statement, format: CopyFormat) -> Result<Output> {
    let cx = query_env(engine, session, snapshot);
    let planned = engine.query.plan(&cx, query, &[]).await?;
    may_read(snapshot, session, &planned)?;
    let stream = engine.query.execute(&cx, &planned, vec![]).await?;
    Ok(Output { notices: vec![], body: Body::Copy { schema: planned.schema.clone(), stream, format } })
}

/// The right to read rows of sources, at execution; system views check for themselves.
fn may_read(snapshot: &Snapshot, session: &SessionState, planned: &Planned) -> Result<()> {
    for name in &planned.reads.sources {
        let Some((uuid, _)) = snapshot.named::<standpipe_catalog::Sources>(name) else { continue };
        if !rights::may_select(snapshot, &session.user, uuid) {
            let e = Error::new(Kind::NoRight, format!("permission denied for source {name}"));
            return Err(e.with_hint(format!("An admin can run: GRANT SELECT ON SOURCE {name} TO \"{}\".", session.user)));
        }
    }
    if !planned.reads.lake.is_empty() && rights::level(snapshot, &session.user) < rights::Right::Read {
        let e = Error::new(Kind::NoRight, "permission denied for the lake");
        return Err(e.with_hint(format!("An admin can run: GRANT standpipe_read TO \"{}\".", session.user)));
    }
    Ok(())
}

/// Applies the changes of a statement: over the open block, or at once. Gives the remarks.
async fn apply(engine: &Arc<Engine>, session: &mut SessionState, statement: &str, write: Write) -> Result<Vec<Notice>> {
    let Write { changes, mut notices, after } = write;
    let read_only = session.settings.flag(if session.in_block() { "transaction_read_only" } else { "default_transaction_read_only" });
    if read_only && changes.iter().any(|c| !matches!(c, Change::Require { .. })) {
        return Err(Error::new(Kind::ReadOnly, format!("cannot execute {statement} in a read-only transaction")));
    }
    if let Block::Open { overlay, .. } = &mut session.block {
        overlay.changes.extend(changes);
        overlay.after.extend(after);
        return Ok(notices);
    }
    if !changes.is_empty() {
        engine.catalog.write(changes).await?;
    }
    notices.extend(follow_up(engine, after).await);
    Ok(notices)
}

/// What is done once changes are durable. What can't be done is a remark, never an error: the change stands.
async fn follow_up(engine: &Arc<Engine>, after: Vec<After>) -> Vec<Notice> {
    let mut notices = Vec::new();
    for what in after {
        match what {
            After::Release(pipe) => {
                for left in engine.pipes.release(pipe).await {
                    let remark = Notice::warning("01000", format!("{} was not removed", left.what));
                    notices.push(Notice { detail: Some(left.why), ..remark }.with_hint(left.statement));
                }
            }
            After::Forget(source) => match engine.linker.source_request(&source, engine.catalog.snapshot().keyring()) {
                Ok((plugin, request)) => drop((plugin.release)(request, source.uuid).await),
                Err(e) => notices.push(Notice::warning("01000", format!("source \"{}\" could not be released", source.name)).with_hint(e.to_string())),
            },
            After::ForgetInitialPassword => {
                if let Err(e) = std::fs::remove_file(engine.initial_password_file())
                    && e.kind() != std::io::ErrorKind::NotFound
                {
                    notices.push(Notice::warning("01000", "the file with the initial password was not removed").with_hint(e.to_string()));
                }
            }
            After::RightsChanged => {}
        }
    }
    notices
}

async fn create_pipe(engine: &Arc<Engine>, session: &mut SessionState, snapshot: &Arc<Snapshot>, new: plan::NewPipe) -> Result<Vec<Notice>> {
    let mut notices = new.notices.clone();
    if new.validate {
        notices.extend(pipe::reach(engine, snapshot, &new).await?.notices);
    }
    let no_history = new.record.extractor.get("history.enable").and_then(|v| v.plain()) == Some("false");
    if no_history && matches!(session.block, Block::Open { implicit: false, .. }) {
        let e = Error::new(Kind::ActiveTransaction, "CREATE PIPE with history.enable = false cannot run inside a transaction block");
        return Err(e.with_detail("It takes its position at the source at once.").at(new.position));
    }
    let uuid = new.record.uuid;
    notices.extend(apply(engine, session, "CREATE PIPE", Write { changes: new.changes, notices: vec![], after: vec![] }).await?);
    if no_history {
        if let Block::Open { .. } = session.block {
            notices.extend(commit(engine, session).await?);
        }
        engine.pipes.provision_now(uuid).await?;
    }
    Ok(notices)
}

async fn wait(engine: &Arc<Engine>, session: &SessionState, pipe: Uuid, goal: Option<standpipe_grammar::ast::pipe::WaitGoal>, timeout: Option<std::time::Duration>) -> Result<source::Rows> {
    use crate::pipe::Goal;
    use standpipe_grammar::ast::pipe::WaitGoal;
    let goal = match goal {
        None => Goal::RunningOrCompleted,
        Some(WaitGoal::Running) => Goal::Running,
        Some(WaitGoal::CaughtUp) => Goal::CaughtUp,
        Some(WaitGoal::Paused) => Goal::Paused,
        Some(WaitGoal::Completed) => Goal::Completed,
    };
    let began = Instant::now();
    let phase = tokio::select! {
        outcome = engine.pipes.wait(pipe, goal, timeout) => outcome?,
        () = session.cancel.cancelled() => return Err(Error::new(Kind::Cancelled, "canceling statement due to user request")),
    };
    let row = vec![Some(phase.to_string()), Some(began.elapsed().as_millis().to_string())];
    Ok((statement_columns::wait(), vec![row]))
}

/// COMMIT of what a block has said. A conflict is 40001: the statements are to be run again.
pub async fn commit(engine: &Arc<Engine>, session: &mut SessionState) -> Result<Vec<Notice>> {
    let block = std::mem::take(&mut session.block);
    let Block::Open { overlay: Overlay { changes, after, .. }, .. } = block else { return Ok(vec![]) };
    if !changes.is_empty() {
        engine.catalog.write(changes).await?;
    }
    Ok(follow_up(engine, after).await)
}

/// ROLLBACK: leaves nothing.
pub fn rollback(session: &mut SessionState) {
    session.block = Block::None;
}

/// Statements that the audit log holds: those of the dialect that change something.
fn changes_something(statement: &Statement) -> bool {
    let verbs = ["CREATE", "ALTER", "DROP", "UNDROP", "COMMENT", "SYNC", "REFRESH", "DETACH", "START", "STOP", "RESYNC", "GRANT", "REVOKE"];
    !matches!(statement, Statement::Sql(_)) && statement.tag().split(' ').next().is_some_and(|verb| verbs.contains(&verb))
}

/// Notes a statement that changed something, redacted, in the audit log. Not waited for.
fn audit(engine: &Arc<Engine>, session: &SessionState, prepared: &Prepared, error: Option<&Error>, began: Instant) {
    let entry = Audit {
        user_name: session.user.clone(),
        client_addr: Some(session.client_addr.clone()).filter(|a| !a.is_empty()),
        application_name: Some(session.application_name.clone()).filter(|a| !a.is_empty()),
        statement: prepared.parsed.redacted(&plan::options::is_secret),
        sqlstate: error.map_or("00000", Error::sqlstate).to_string(),
        message: error.map(|e| e.message().to_string()),
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    engine.catalog.write_then(vec![Change::append::<AuditLog>(&String::new(), &entry)], |outcome| {
        if let Err(e) = outcome {
            tracing::warn!(error = %e.message, "the audit log could not be written");
        }
    });
}
