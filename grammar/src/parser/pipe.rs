//! Pipes: CREATE, ALTER, START, STOP, DROP, RESYNC, WAIT FOR, EXPLAIN.

use sqlparser::tokenizer::Token;

use super::Cursor;
use super::options::Mode;
use super::table::table_list;
use crate::ast::options::OptionValue;
use crate::ast::pipe::{
    AlterPipe, AlterPipeAction, Clause, ClauseWord, CreatePipe, DropPipe, ExplainPipe, ExplainTarget, PipePart, ResyncPipe,
    Schedule, StartPipe, StopPipe, WaitForPipe, WaitGoal,
};
use crate::ast::session::Unsupported;
use crate::ast::{Ident, Statement};
use crate::error::SyntaxError;

type Result<T = Statement> = std::result::Result<T, SyntaxError>;

const EXTRACTOR: &[(&str, ClauseWord)] = &[("EXTRACTOR", ClauseWord::Extractor), ("SOURCE", ClauseWord::Source)];
const PROCESSOR: &[(&str, ClauseWord)] = &[("PROCESSOR", ClauseWord::Processor)];
const CONNECTOR: &[(&str, ClauseWord)] = &[("CONNECTOR", ClauseWord::Connector), ("SINK", ClauseWord::Sink)];
const RUNTIME: &[(&str, ClauseWord)] = &[("RUNTIME", ClauseWord::Runtime)];

pub(crate) fn create(c: &mut Cursor) -> Result {
    Ok(Statement::CreatePipe(create_pipe(c)?))
}

/// After CREATE PIPE. The order of the clauses is fixed.
fn create_pipe(c: &mut Cursor) -> Result<CreatePipe> {
    let if_not_exists = c.eat(&["IF", "NOT", "EXISTS"]);
    let name = c.name("pipe name")?;
    let mut pipe = CreatePipe {
        name,
        if_not_exists,
        extractor: None,
        processors: Vec::new(),
        connector: None,
        runtime: None,
        schedule: None,
    };
    if c.token(0) == Some(&Token::LParen) {
        let position = c.position();
        pipe.connector = Some(Clause { word: ClauseWord::Short, position, options: c.options(Mode::Lenient)? });
    } else {
        c.note("\"(\"");
        pipe.extractor = clause(c, EXTRACTOR, Mode::Lenient)?;
        while let Some(processor) = clause(c, PROCESSOR, Mode::Lenient)? {
            pipe.processors.push(processor);
        }
        pipe.connector = clause(c, CONNECTOR, Mode::Lenient)?;
        if pipe.connector.is_none() {
            return Err(wrong_clause(c));
        }
    }
    pipe.runtime = clause(c, RUNTIME, Mode::Strict)?;
    if c.eat(&["SCHEDULE"]) {
        pipe.schedule = Some(schedule(c)?);
    }
    if c.is_word(0, "WITH") {
        return Err(wrong_clause(c));
    }
    Ok(pipe)
}

/// `WITH word ( ... )`, if one of these words follows.
fn clause(c: &mut Cursor, words: &[(&str, ClauseWord)], mode: Mode) -> Result<Option<Clause>> {
    for (text, word) in words {
        if c.are_words(0, &["WITH", text]) {
            c.skip(1);
            let position = c.position();
            c.skip(1);
            return Ok(Some(Clause { word: *word, position, options: c.options(mode)? }));
        }
        c.note(&format!("WITH {text}"));
    }
    Ok(None)
}

/// WITH and a word that is no clause, or a clause in the wrong place.
fn wrong_clause(c: &mut Cursor) -> SyntaxError {
    let all = [EXTRACTOR, PROCESSOR, CONNECTOR, RUNTIME];
    let known = c.upper_word(1).filter(|word| all.iter().any(|words| words.iter().any(|(text, _)| text == word)));
    let mut error = c.error();
    if !c.is_word(0, "WITH") {
        return error;
    }
    if known.is_some() {
        return error.with_hint("the clauses come in the order EXTRACTOR, PROCESSOR, CONNECTOR, RUNTIME, SCHEDULE");
    }
    let words: Vec<String> = error.expected.iter().filter_map(|one| one.strip_prefix("WITH ")).map(str::to_string).collect();
    let wrong = c.upper_word(1);
    c.skip(1);
    error = c.error().with_expected(words.clone());
    match wrong.as_deref().and_then(|word| crate::nearest(word, words.iter().map(String::as_str))) {
        Some(word) => error.with_hint(format!("did you mean WITH {word}?")),
        None => error,
    }
}

/// After SCHEDULE: `'cron' [TIME ZONE 'zone']`.
fn schedule(c: &mut Cursor) -> Result<Schedule> {
    let cron_position = c.position();
    let cron = c.string("a cron expression")?;
    let mut schedule = Schedule { cron, cron_position, time_zone: None, time_zone_position: cron_position };
    if c.eat(&["TIME", "ZONE"]) {
        schedule.time_zone_position = c.position();
        schedule.time_zone = Some(c.string("a time zone")?);
    }
    Ok(schedule)
}

pub(crate) fn alter(c: &mut Cursor) -> Result {
    let if_exists = c.eat(&["IF", "EXISTS"]);
    let name = c.name("pipe name")?;
    let mut actions = Vec::new();
    while !c.at_end() || actions.is_empty() {
        match (option_action(c)?, actions.is_empty()) {
            (Some(action), _) => actions.push(action),
            (None, true) => {
                actions.push(single_action(c)?);
                break;
            }
            (None, false) => break,
        }
    }
    Ok(Statement::AlterPipe(AlterPipe { name, if_exists, actions }))
}

/// The actions on options: several may follow each other.
fn option_action(c: &mut Cursor) -> Result<Option<AlterPipeAction>> {
    let action = if c.eat(&["MODIFY"]) {
        AlterPipeAction::Modify(part(c)?, c.options(Mode::Lenient)?)
    } else if c.eat(&["REPLACE"]) {
        AlterPipeAction::Replace(part(c)?, c.options(Mode::Lenient)?)
    } else if c.eat(&["RESET"]) {
        AlterPipeAction::Reset(c.keys()?)
    } else {
        return Ok(None);
    };
    Ok(Some(action))
}

/// The actions that stand alone.
fn single_action(c: &mut Cursor) -> Result<AlterPipeAction> {
    if c.eat(&["ADD", "TABLE"]) {
        return Ok(AlterPipeAction::AddTables(table_list(c)?));
    }
    if c.eat(&["DROP", "TABLE"]) {
        return Ok(AlterPipeAction::DropTables(table_list(c)?));
    }
    if c.eat(&["SET", "SCHEDULE"]) {
        return Ok(AlterPipeAction::SetSchedule(schedule(c)?));
    }
    if c.eat(&["DROP", "SCHEDULE"]) {
        return Ok(AlterPipeAction::DropSchedule);
    }
    if c.eat(&["PAUSE", "SCHEDULE"]) {
        return Ok(AlterPipeAction::PauseSchedule);
    }
    if c.eat(&["RESUME", "SCHEDULE"]) {
        return Ok(AlterPipeAction::ResumeSchedule);
    }
    if c.eat(&["RENAME", "TO"]) {
        return Ok(AlterPipeAction::Rename(c.name("new name")?));
    }
    Err(c.error())
}

/// `CONNECTOR`, `PROCESSOR 2`.
fn part(c: &mut Cursor) -> Result<PipePart> {
    let position = c.position();
    for (text, word) in [EXTRACTOR, PROCESSOR, CONNECTOR, RUNTIME].concat() {
        if !c.eat(&[text]) {
            continue;
        }
        let mut number = None;
        if word == ClauseWord::Processor && c.token(0) != Some(&Token::LParen) {
            let at = c.position();
            number = match usize::try_from(c.integer()?) {
                Ok(one_based) if one_based > 0 => Some(one_based),
                _ => return Err(SyntaxError::new("processors are counted from 1", at)),
            };
        }
        return Ok(PipePart { word, number, position });
    }
    Err(c.error())
}

pub(crate) fn start(c: &mut Cursor) -> Result {
    let name = c.name("pipe name")?;
    let position = c.position();
    if c.eat(&["FROM"]) {
        c.expect(&["CHECKPOINT"])?;
        checkpoint_id(c)?;
        let hint = Some(format!("START PIPE {name} goes on from its last position"));
        return Ok(Statement::Unsupported(Unsupported {
            head: "START PIPE ... FROM CHECKPOINT".to_string(),
            position,
            hint,
        }));
    }
    Ok(Statement::StartPipe(StartPipe { name }))
}

fn checkpoint_id(c: &mut Cursor) -> Result<()> {
    if c.eat_string().is_none() {
        c.note("a checkpoint's id");
        c.integer()?;
    }
    Ok(())
}

pub(crate) fn stop(c: &mut Cursor) -> Result {
    Ok(Statement::StopPipe(StopPipe { name: c.name("pipe name")? }))
}

pub(crate) fn drop(c: &mut Cursor) -> Result {
    let if_exists = c.eat(&["IF", "EXISTS"]);
    Ok(Statement::DropPipe(DropPipe { name: c.name("pipe name")?, if_exists }))
}

pub(crate) fn resync(c: &mut Cursor) -> Result {
    let name = c.name("pipe name")?;
    let tables = if c.eat(&["TABLE"]) { table_list(c)? } else { Vec::new() };
    Ok(Statement::ResyncPipe(ResyncPipe { name, tables }))
}

pub(crate) fn wait_for(c: &mut Cursor) -> Result {
    let name = c.name("pipe name")?;
    let until = if c.eat(&["UNTIL"]) { Some(goal(c)?) } else { None };
    let mut timeout = None;
    let mut timeout_position = name.position;
    if c.eat(&["TIMEOUT"]) {
        let position = c.position();
        match c.value()? {
            (OptionValue::Word(_), _) => {
                return Err(SyntaxError::new("a timeout is a string, an interval or a number with its unit", position)
                    .with_expected(vec!["a timeout like '30s'".to_string()]));
            }
            (value, at) => (timeout, timeout_position) = (Some(value), at),
        }
    }
    Ok(Statement::WaitForPipe(WaitForPipe { name, until, timeout, timeout_position }))
}

fn goal(c: &mut Cursor) -> Result<WaitGoal> {
    let goals = [
        (&["RUNNING"][..], WaitGoal::Running),
        (&["CAUGHT", "UP"], WaitGoal::CaughtUp),
        (&["PAUSED"], WaitGoal::Paused),
        (&["COMPLETED"], WaitGoal::Completed),
    ];
    match goals.into_iter().find(|(words, _)| c.eat(words)) {
        Some((_, goal)) => Ok(goal),
        None => Err(c.error()),
    }
}

/// Whether EXPLAIN is about a pipe, after its options: how many tokens come before CREATE PIPE or PIPE.
fn explained(c: &Cursor) -> Option<usize> {
    if !c.is_word(0, "EXPLAIN") {
        return None;
    }
    let mut ahead = 1;
    if c.token(1) == Some(&Token::LParen) {
        while c.token(ahead)? != &Token::RParen {
            ahead += 1;
        }
        ahead += 1;
    }
    while c.is_word(ahead, "VERBOSE") || c.is_word(ahead, "ANALYZE") || c.is_word(ahead, "ANALYSE") {
        ahead += 1;
    }
    (c.are_words(ahead, &["CREATE", "PIPE"]) || c.is_word(ahead, "PIPE")).then_some(ahead)
}

pub(crate) fn is_explain_create(c: &Cursor) -> bool {
    explained(c).is_some_and(|ahead| c.is_word(ahead, "CREATE"))
}

pub(crate) fn is_explain(c: &Cursor) -> bool {
    explained(c).is_some()
}

/// After EXPLAIN.
pub(crate) fn explain(c: &mut Cursor) -> Result {
    let start = c.position();
    let mut wants = Explain::default();
    if c.eat_token(&Token::LParen) {
        c.list(|c| explain_option(c, &mut wants))?;
        c.expect_token(&Token::RParen)?;
    }
    loop {
        if c.eat(&["VERBOSE"]) {
            wants.verbose = true;
        } else if c.eat(&["ANALYZE"]) || c.eat(&["ANALYSE"]) {
            wants.analyze = true;
        } else {
            break;
        }
    }
    let target = if c.eat(&["CREATE", "PIPE"]) {
        ExplainTarget::Create(create_pipe(c)?)
    } else {
        c.expect(&["PIPE"])?;
        ExplainTarget::Named(c.name("pipe name")?)
    };
    if wants.analyze {
        let hint = Some(format!("SHOW TABLES OF PIPE {} has what it counted", target_name(&target)));
        let head = "EXPLAIN ANALYZE of a pipe".to_string();
        return Ok(Statement::Unsupported(Unsupported { head, position: start, hint }));
    }
    Ok(Statement::ExplainPipe(ExplainPipe { target, verbose: wants.verbose }))
}

fn target_name(target: &ExplainTarget) -> &Ident {
    match target {
        ExplainTarget::Create(create) => &create.name,
        ExplainTarget::Named(name) => name,
    }
}

#[derive(Default)]
struct Explain {
    verbose: bool,
    analyze: bool,
}

/// `VERBOSE [true]`, `ANALYZE [true]`, `FORMAT TEXT`.
fn explain_option(c: &mut Cursor, wants: &mut Explain) -> Result<()> {
    if c.eat(&["VERBOSE"]) {
        wants.verbose = boolean(c);
    } else if c.eat(&["ANALYZE"]) || c.eat(&["ANALYSE"]) {
        wants.analyze = boolean(c);
    } else {
        c.expect(&["FORMAT"])?;
        c.expect(&["TEXT"])?;
    }
    Ok(())
}

fn boolean(c: &mut Cursor) -> bool {
    let off = c.eat(&["FALSE"]) || c.eat(&["OFF"]);
    !off && {
        let _said = c.eat(&["TRUE"]) || c.eat(&["ON"]);
        true
    }
}
