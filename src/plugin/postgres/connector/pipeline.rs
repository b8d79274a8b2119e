//! Statements sent one behind the other without waiting for answers: a flush of small changes is one round trip.

use super::super::client::{Session, code_of, error_of};
use crate::error::{Error, Kind};
use bytes::{BufMut, BytesMut};
use futures::future::{BoxFuture, join_all};
use std::error::Error as StdError;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Row, Statement};

/// Statements in flight at once. `join_all` polls up to this many in their order.
const IN_FLIGHT: usize = 30;

/// A parameter that is encoded already.
#[derive(Debug)]
pub struct Raw(pub Vec<u8>);

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    to_sql_checked!();
}

/// A parameter.
pub type Param = Box<dyn ToSql + Sync + Send>;

/// What is sent.
pub enum Command {
    /// A prepared statement whose row count matters.
    Execute(Statement, Vec<Param>),
    /// A prepared statement whose first row matters.
    Query(Statement, Vec<Param>),
    /// Plain text, perhaps several statements.
    Batch(String),
}

/// What an answer means to the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Rows that were deleted.
    Deleted,
    /// Rows that were updated.
    Updated,
    /// A row (new ones, all).
    Upserted,
    /// The epoch's check: a division by zero is a fence.
    Fence,
    /// The end of the transaction.
    Commit,
}

/// One statement in the queue.
pub struct Step {
    /// What is sent.
    pub command: Command,
    /// What it counts.
    pub effect: Effect,
    /// Which of the caller's subjects it is for; None: for all.
    pub subject: Option<usize>,
}

/// A failed statement.
pub struct StepError {
    /// SQLSTATE of the server, if it said one.
    pub code: Option<String>,
    /// The subject of the statement; None: it was for all of them.
    pub subject: Option<usize>,
    /// As an error of ours.
    pub error: Error,
}

impl StepError {
    /// Of a statement sent by itself.
    pub fn of(what: &str, e: tokio_postgres::Error) -> Self {
        StepError { code: code_of(&e).map(str::to_string), subject: None, error: error_of(what, e) }
    }
    /// Its rows are at fault, not the way in which they were written.
    pub fn is_data(&self) -> bool {
        // values, constraints, a row too large for an index, what a trigger raises
        const OF_ROWS: [&str; 4] = ["22", "23", "54", "P0"];
        self.code.as_deref().is_some_and(|c| OF_ROWS.iter().any(|class| c.starts_with(class))) && self.error.kind() != Kind::Fenced
    }
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        StepError { code: None, subject: None, error }
    }
}

/// The answer to a step.
pub enum Answer {
    /// Rows affected.
    Affected(u64),
    /// The first row.
    Row(Row),
}

/// Sends all steps in order and collects the answers in order. The first error is the one that counts: the later ones follow from it.
pub async fn run(session: &Session, steps: Vec<Step>) -> Result<Vec<(Effect, Option<usize>, Answer)>, StepError> {
    let mut answers = Vec::with_capacity(steps.len());
    let mut steps = steps.into_iter().peekable();
    while steps.peek().is_some() {
        let some: Vec<Step> = steps.by_ref().take(IN_FLIGHT).collect();
        let about: Vec<(Effect, Option<usize>)> = some.iter().map(|s| (s.effect, s.subject)).collect();
        let futures: Vec<BoxFuture<'_, Result<Answer, tokio_postgres::Error>>> = some.into_iter().map(|s| send(session, s.command)).collect();
        for ((effect, subject), answer) in about.into_iter().zip(join_all(futures).await) {
            answers.push((effect, subject, answer.map_err(|e| step_error(effect, subject, e))?));
        }
    }
    Ok(answers)
}

fn send(session: &Session, command: Command) -> BoxFuture<'_, Result<Answer, tokio_postgres::Error>> {
    fn borrowed(params: &[Param]) -> Vec<&(dyn ToSql + Sync)> {
        params.iter().map(|p| p.as_ref() as &(dyn ToSql + Sync)).collect()
    }
    match command {
        Command::Execute(statement, params) => Box::pin(async move { session.execute(&statement, &borrowed(&params)).await.map(Answer::Affected) }),
        Command::Query(statement, params) => Box::pin(async move { session.query_one(&statement, &borrowed(&params)).await.map(Answer::Row) }),
        Command::Batch(text) => Box::pin(async move { session.batch_execute(&text).await.map(|()| Answer::Affected(0)) }),
    }
}

fn step_error(effect: Effect, subject: Option<usize>, e: tokio_postgres::Error) -> StepError {
    let code = code_of(&e).map(str::to_string);
    if effect == Effect::Fence && code.as_deref() == Some("22012") {
        return StepError { code, subject: None, error: fenced() };
    }
    let what = if effect == Effect::Commit { "could not commit at the target" } else { "could not write to the target" };
    StepError { code, subject, error: error_of(what, e) }
}

/// Another process has taken the pipe over, or one of its tables.
pub fn fenced() -> Error {
    let e = Error::new(Kind::Fenced, "another process has taken over this pipe at the target");
    let detail = "Its row in _standpipe.shard has another epoch or is gone, or a table's row in _standpipe.owner is gone.";
    e.with_detail(detail).with_hint("Make sure that only one server runs this pipe, then START PIPE.")
}
