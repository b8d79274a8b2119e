//! Text into statements: cut at semicolons, choose a production by its head, else hand on to sqlparser.

mod cursor;
mod foreign;
mod options;
pub(crate) mod pipe;
pub(crate) mod plugin;
pub(crate) mod role;
pub(crate) mod session;
pub(crate) mod show;
pub(crate) mod source;
pub(crate) mod table;

use std::fmt;
use std::ops::Range;

use sqlparser::tokenizer::Token;

pub(crate) use self::cursor::Cursor;
use crate::ast::Statement;
use crate::error::{Notice, SyntaxError};
use crate::lex::{self, Lexed};
use crate::print::Print;
use crate::production;

/// One statement of a string.
#[derive(Clone, PartialEq)]
pub struct Parsed {
    pub statement: Statement,
    /// Byte range in the whole string, without the semicolon and what surrounds the statement.
    pub span: Range<usize>,
    /// The text of that range. May hold secrets: show [`Parsed::redacted`] instead.
    pub text: String,
    pub notices: Vec<Notice>,
}

impl Parsed {
    /// What logs and other users may see: a statement handed on as it was written, ours canonical and without secrets.
    ///
    /// `is_secret` as in [`Print::redacted`].
    pub fn redacted(&self, is_secret: &dyn Fn(&str) -> bool) -> String {
        match &self.statement {
            Statement::Sql(_) => self.text.clone(),
            statement => statement.redacted(is_secret),
        }
    }
}

impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parsed")
            .field("statement", &self.statement)
            .field("span", &self.span)
            .field("notices", &self.notices)
            .finish_non_exhaustive()
    }
}

/// Parses every statement of a string. An error anywhere means that nothing of it is to be run, as in PostgreSQL.
///
/// Empty statements are left out; a string of nothing else yields one [`Statement::Empty`]. Positions count from the
/// start of the whole string.
pub fn parse(sql: &str) -> Result<Vec<Parsed>, SyntaxError> {
    let lexed = lex::lex(sql)?;
    let mut statements = Vec::new();
    let mut start = 0;
    while start < lexed.tokens.len() {
        let end = (start..lexed.tokens.len())
            .find(|index| lexed.tokens[*index].token == Token::SemiColon)
            .unwrap_or(lexed.tokens.len());
        if let Some(range) = trimmed(&lexed, start..end) {
            statements.push(parse_one(sql, &lexed, range)?);
        }
        start = end + 1;
    }
    if statements.is_empty() {
        let end = sql.len();
        statements.push(Parsed { statement: Statement::Empty, span: end..end, text: String::new(), notices: Vec::new() });
    }
    Ok(statements)
}

/// A range of tokens without the blanks at its ends; none if it is all blank.
fn trimmed(lexed: &Lexed, range: Range<usize>) -> Option<Range<usize>> {
    let full = |index: &usize| !lex::is_blank(&lexed.tokens[*index].token);
    let first = range.clone().find(full)?;
    let last = range.rev().find(full)?;
    Some(first..last + 1)
}

fn parse_one(sql: &str, lexed: &Lexed, range: Range<usize>) -> Result<Parsed, SyntaxError> {
    let span = lexed.ranges[range.start].start..lexed.ranges[range.end - 1].end;
    let mut cursor = Cursor::new(sql, lexed, range.clone());
    let statement = match production::choose(&cursor)? {
        Some(production) => production.run(&mut cursor)?,
        None => foreign::parse(sql, lexed, range)?,
    };
    let text = sql[span.clone()].to_string();
    Ok(Parsed { statement: pending(statement), span, text, notices: cursor.into_notices() })
}

/// Parts of statements that are parsed already and carried out later: taken away here, arm by arm.
fn pending(statement: Statement) -> Statement {
    use crate::ast::pipe::{AlterPipeAction as Action, ExplainTarget};
    use crate::ast::session::Unsupported;
    let missing = match &statement {
        Statement::CreatePipe(create) => create.schedule.as_ref().map(|s| ("CREATE PIPE ... SCHEDULE", s.cron_position)),
        Statement::ExplainPipe(explain) => match &explain.target {
            ExplainTarget::Create(create) => {
                create.schedule.as_ref().map(|s| ("EXPLAIN CREATE PIPE ... SCHEDULE", s.cron_position))
            }
            ExplainTarget::Named(_) => None,
        },
        Statement::AlterPipe(alter) => alter.actions.iter().find_map(|action| match action {
            Action::SetSchedule(schedule) => Some(("ALTER PIPE ... SET SCHEDULE", schedule.cron_position)),
            Action::DropSchedule => Some(("ALTER PIPE ... DROP SCHEDULE", alter.name.position)),
            Action::PauseSchedule => Some(("ALTER PIPE ... PAUSE SCHEDULE", alter.name.position)),
            Action::ResumeSchedule => Some(("ALTER PIPE ... RESUME SCHEDULE", alter.name.position)),
            _ => None,
        }),
        _ => None,
    };
    match missing {
        Some((head, position)) => Statement::Unsupported(Unsupported { head: head.to_string(), position, hint: None }),
        None => statement,
    }
}
