//! SHOW, where it is ours.

use sqlparser::tokenizer::Token;

use super::Cursor;
use super::plugin::plugin_name;
use crate::ast::Statement;
use crate::ast::show::{PipeView, Show};
use crate::error::SyntaxError;

type Result<T = Statement> = std::result::Result<T, SyntaxError>;

pub(crate) fn sources(c: &mut Cursor) -> Result {
    let like = like(c)?;
    let dropped = c.eat(&["DROPPED"]);
    Ok(Statement::Show(Show::Sources { like, dropped }))
}

pub(crate) fn create_source(c: &mut Cursor) -> Result {
    Ok(Statement::Show(Show::CreateSource { name: c.name("source name")? }))
}

pub(crate) fn pipes(c: &mut Cursor) -> Result {
    let like = like(c)?;
    let mut used_by = None;
    if c.eat(&["WHERE"]) {
        if !(c.eat(&["CONNECTOR"]) || c.eat(&["SINK"])) {
            return Err(c.error());
        }
        c.expect(&["USED", "BY"])?;
        used_by = Some(c.name("pipe name")?);
    }
    Ok(Statement::Show(Show::Pipes { like, used_by }))
}

pub(crate) fn pipe(c: &mut Cursor) -> Result {
    Ok(Statement::Show(Show::Pipe { name: c.name("pipe name")? }))
}

pub(crate) fn create_pipe(c: &mut Cursor) -> Result {
    Ok(Statement::Show(Show::CreatePipe { name: c.name("pipe name")? }))
}

pub(crate) fn pipe_plugins(_: &mut Cursor) -> Result {
    Ok(Statement::Show(Show::PipePlugins))
}

pub(crate) fn plugin_options(c: &mut Cursor) -> Result {
    Ok(Statement::Show(Show::PluginOptions { plugin: plugin_name(c)? }))
}

pub(crate) fn stages(_: &mut Cursor) -> Result {
    Ok(Statement::Show(Show::Stages))
}

pub(crate) fn models(_: &mut Cursor) -> Result {
    Ok(Statement::Show(Show::Models))
}

pub(crate) fn grants(_: &mut Cursor) -> Result {
    Ok(Statement::Show(Show::Grants))
}

pub(crate) fn tables_of_pipe(c: &mut Cursor) -> Result {
    of_pipe(c, PipeView::Tables)
}

pub(crate) fn runs_of_pipe(c: &mut Cursor) -> Result {
    of_pipe(c, PipeView::Runs)
}

pub(crate) fn tasks_of_pipe(c: &mut Cursor) -> Result {
    of_pipe(c, PipeView::Tasks)
}

pub(crate) fn checkpoints_of_pipe(c: &mut Cursor) -> Result {
    of_pipe(c, PipeView::Checkpoints)
}

pub(crate) fn exceptions_of_pipe(c: &mut Cursor) -> Result {
    of_pipe(c, PipeView::Exceptions)
}

pub(crate) fn events_of_pipe(c: &mut Cursor) -> Result {
    of_pipe(c, PipeView::Events)
}

pub(crate) fn operators_of_pipe(c: &mut Cursor) -> Result {
    of_pipe(c, PipeView::Operators)
}

pub(crate) fn log_of_pipe(c: &mut Cursor) -> Result {
    of_pipe(c, PipeView::Log)
}

fn of_pipe(c: &mut Cursor, view: PipeView) -> Result {
    let pipe = c.name("pipe name")?;
    let run = if c.eat(&["RUN"]) { Some(run_id(c)?) } else { None };
    Ok(Statement::Show(Show::OfPipe { view, pipe, run }))
}

/// A number or a string.
fn run_id(c: &mut Cursor) -> Result<String> {
    if let Some(Token::Number(digits, false)) = c.token(0) {
        c.skip(1);
        return Ok(digits.clone());
    }
    c.string("a run's id")
}

fn like(c: &mut Cursor) -> Result<Option<String>> {
    if c.eat(&["LIKE"]) { c.string("a pattern").map(Some) } else { Ok(None) }
}
