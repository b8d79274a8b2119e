//! Sources: CREATE, ALTER, DROP, UNDROP, TEST; COMMENT ON.

use sqlparser::tokenizer::Token;

use super::Cursor;
use super::options::Mode;
use crate::ast::Statement;
use crate::ast::source::{
    AlterSource, AlterSourceAction, Comment, CommentKind, CreateSource, DropSource, TestSource, UndropSource,
};
use crate::error::SyntaxError;

type Result = std::result::Result<Statement, SyntaxError>;

pub(crate) fn create(c: &mut Cursor) -> Result {
    let if_not_exists = c.eat(&["IF", "NOT", "EXISTS"]);
    let name = c.name("source name")?;
    c.expect(&["WITH"])?;
    let options = c.options(Mode::Strict)?;
    Ok(Statement::CreateSource(CreateSource { name, if_not_exists, options }))
}

pub(crate) fn alter(c: &mut Cursor) -> Result {
    let name = c.name("source name")?;
    let action = if c.eat(&["SET"]) {
        AlterSourceAction::Set(c.options(Mode::Strict)?)
    } else if c.eat(&["RESET"]) {
        AlterSourceAction::Reset(c.keys()?)
    } else if c.eat(&["RENAME"]) {
        c.expect(&["TO"])?;
        AlterSourceAction::Rename(c.name("new name")?)
    } else {
        return Err(c.error());
    };
    Ok(Statement::AlterSource(AlterSource { name, action }))
}

pub(crate) fn drop(c: &mut Cursor) -> Result {
    let if_exists = c.eat(&["IF", "EXISTS"]);
    let name = c.name("source name")?;
    let cascade = c.eat(&["CASCADE"]);
    let purge = c.eat(&["PURGE"]);
    Ok(Statement::DropSource(DropSource { name, if_exists, cascade, purge }))
}

pub(crate) fn undrop(c: &mut Cursor) -> Result {
    Ok(Statement::UndropSource(UndropSource { name: c.name("source name")? }))
}

pub(crate) fn test(c: &mut Cursor) -> Result {
    Ok(Statement::TestSource(TestSource { name: c.name("source name")? }))
}

pub(crate) fn comment_on_source(c: &mut Cursor) -> Result {
    comment(c, CommentKind::Source, 1)
}

pub(crate) fn comment_on_pipe(c: &mut Cursor) -> Result {
    comment(c, CommentKind::Pipe, 1)
}

pub(crate) fn comment_on_stage(c: &mut Cursor) -> Result {
    comment(c, CommentKind::Stage, 1)
}

pub(crate) fn comment_on_model(c: &mut Cursor) -> Result {
    comment(c, CommentKind::Model, 2)
}

fn comment(c: &mut Cursor, kind: CommentKind, parts: usize) -> Result {
    let name = c.object_name("name", parts)?;
    if parts > 1 && name.0.len() < parts {
        c.note(&format!("\"{}\"", Token::Period));
    }
    c.expect(&["IS"])?;
    let text = if c.eat(&["NULL"]) { None } else { Some(c.string("a string")?) };
    Ok(Statement::Comment(Comment { kind, name, text }))
}
