//! Plugins of one's own: CREATE and DROP PIPEPLUGIN.

use sqlparser::tokenizer::Token;

use super::Cursor;
use crate::ast::plugin::{CreatePipePlugin, DropPipePlugin};
use crate::ast::{Ident, Statement};
use crate::error::SyntaxError;

type Result<T = Statement> = std::result::Result<T, SyntaxError>;

pub(crate) fn create(c: &mut Cursor) -> Result {
    let if_not_exists = c.eat(&["IF", "NOT", "EXISTS"]);
    let name = plugin_name(c)?;
    c.expect(&["AS"])?;
    let entry = c.string("a string")?;
    c.expect(&["USING", "URI"])?;
    let uri = c.string("a URI")?;
    Ok(Statement::CreatePipePlugin(CreatePipePlugin { name, if_not_exists, entry, uri }))
}

pub(crate) fn drop(c: &mut Cursor) -> Result {
    let if_exists = c.eat(&["IF", "EXISTS"]);
    Ok(Statement::DropPipePlugin(DropPipePlugin { name: plugin_name(c)?, if_exists }))
}

/// A name, a string, or words with hyphens as the names of plugins have them: `do-nothing-processor`.
pub(super) fn plugin_name(c: &mut Cursor) -> Result<Ident> {
    let position = c.position();
    if let Some(text) = c.eat_string() {
        return Ok(Ident { value: text, quoted: true, position });
    }
    let bare = c.upper_word(0).is_some();
    if bare && c.token(1) == Some(&Token::Minus) {
        let value = c.hyphenated().to_ascii_lowercase();
        return Ok(Ident { quoted: value.contains(['-', '.']), value, position });
    }
    c.name("plugin name")
}
