//! FETCH, MOVE, RESET, HELP; and where SUBSCRIBE hides in other statements.

use sqlparser::tokenizer::Token;

use super::Cursor;
use crate::ast::session::{Fetch, FetchDirection, Help, Reset};
use crate::ast::{Ident, ObjectName, Statement};
use crate::error::SyntaxError;

type Result<T = Statement> = std::result::Result<T, SyntaxError>;

/// The parts of a setting's name: `my.own`.
const SETTING_PARTS: usize = 2;

pub(crate) fn fetch(c: &mut Cursor) -> Result {
    Ok(Statement::Fetch(cursor_move(c, false)?))
}

pub(crate) fn move_cursor(c: &mut Cursor) -> Result {
    Ok(Statement::Fetch(cursor_move(c, true)?))
}

fn cursor_move(c: &mut Cursor, is_move: bool) -> Result<Fetch> {
    // A last word is the cursor's name, whatever it says.
    let direction = if c.token(1).is_some() { direction(c)? } else { FetchDirection::Forward(1) };
    if c.token(1).is_some() && !c.eat(&["FROM"]) {
        c.eat(&["IN"]);
    }
    Ok(Fetch { cursor: c.name("cursor name")?, direction, is_move })
}

fn direction(c: &mut Cursor) -> Result<FetchDirection> {
    let fixed = [
        ("NEXT", FetchDirection::Forward(1)),
        ("PRIOR", FetchDirection::Backward(1)),
        ("FIRST", FetchDirection::First),
        ("LAST", FetchDirection::Last),
        ("ALL", FetchDirection::ForwardAll),
    ];
    if let Some((_, direction)) = fixed.into_iter().find(|(word, _)| c.eat(&[word])) {
        return Ok(direction);
    }
    if c.eat(&["ABSOLUTE"]) {
        return Ok(FetchDirection::Absolute(c.integer()?));
    }
    if c.eat(&["RELATIVE"]) {
        return Ok(FetchDirection::Relative(c.integer()?));
    }
    if c.eat(&["FORWARD"]) {
        return if c.eat(&["ALL"]) { Ok(FetchDirection::ForwardAll) } else { Ok(FetchDirection::Forward(count(c)?)) };
    }
    if c.eat(&["BACKWARD"]) {
        return if c.eat(&["ALL"]) { Ok(FetchDirection::BackwardAll) } else { Ok(FetchDirection::Backward(count(c)?)) };
    }
    Ok(FetchDirection::Forward(count(c)?))
}

/// A number, 1 if there is none.
fn count(c: &mut Cursor) -> Result<i64> {
    if matches!(c.token(0), Some(Token::Number(..) | Token::Minus | Token::Plus)) {
        return c.integer();
    }
    c.note("a whole number");
    Ok(1)
}

/// RESET, with PostgreSQL's spellings of some settings.
pub(crate) fn reset(c: &mut Cursor) -> Result {
    let position = c.position();
    let named = [
        (&["TIME", "ZONE"][..], "timezone"),
        (&["SESSION", "AUTHORIZATION"], "session_authorization"),
        (&["TRANSACTION", "ISOLATION", "LEVEL"], "transaction_isolation"),
    ];
    let reset = if c.eat(&["ALL"]) {
        Reset::All
    } else if let Some((_, name)) = named.into_iter().find(|(words, _)| c.eat(words)) {
        Reset::Setting(ObjectName(vec![Ident { value: name.to_string(), quoted: false, position }]))
    } else {
        Reset::Setting(c.object_name("setting", SETTING_PARTS)?)
    };
    Ok(Statement::Reset(reset))
}

/// HELP and the first words of a statement.
pub(crate) fn help(c: &mut Cursor) -> Result {
    let mut topic = Vec::new();
    while let Some(word) = c.upper_word(0) {
        topic.push(word);
        c.skip(1);
    }
    c.note("the first words of a statement");
    Ok(Statement::Help(Help { topic }))
}

pub(crate) fn is_copy_subscribe(c: &Cursor) -> bool {
    c.is_word(0, "COPY") && c.token(1) == Some(&Token::LParen) && c.is_word(2, "SUBSCRIBE")
}

/// `DECLARE c ... CURSOR ... FOR SUBSCRIBE`.
pub(crate) fn is_declare_subscribe(c: &Cursor) -> bool {
    if !c.is_word(0, "DECLARE") {
        return false;
    }
    let mut ahead = 2;
    while matches!(c.token(ahead), Some(Token::Word(_))) {
        if c.is_word(ahead, "FOR") {
            return c.is_word(ahead + 1, "SUBSCRIBE");
        }
        ahead += 1;
    }
    false
}
