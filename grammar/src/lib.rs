//! Text to statements and back: PostgreSQL SQL and the dialect for pipes.
//!
//! One call, [`parse`], turns a string into statements. What the table [`PRODUCTIONS`] names is parsed here; every other
//! statement is handed to sqlparser with PostgreSQL's rules. Pure: no IO, no catalog, no plugin names.
//!
//! Code map: `lex` (tokens with byte positions) -> `parser` (dispatch and one file per family) -> `ast` (one plain struct
//! per statement; `print` writes it as canonical SQL, or redacted). `production` is the one table of statements, `error`
//! what comes back when the text is wrong.

pub mod ast;
mod dialect;
pub mod error;
mod lex;
mod nearest;
mod parser;
pub mod print;
pub mod production;

pub use ast::options::{Key, OptionEntry, OptionValue, Options, normalise_key};
pub use ast::{Ident, ObjectName, Statement};
pub use error::{Notice, SyntaxError};
pub use nearest::nearest;
pub use parser::{Parsed, parse};
pub use print::Print;
pub use production::{PRODUCTIONS, Production, help};

/// Re-exported so that users of a handed-on statement name the same version.
pub use sqlparser;

/// The 1-based index of the character at a byte offset: what PostgreSQL's POSITION field holds.
pub fn char_position(sql: &str, byte: usize) -> usize {
    sql.char_indices().take_while(|(at, _)| *at < byte).count() + 1
}

/// The byte offset of sqlparser's 1-based line and column (columns count characters).
///
/// The spans in a handed-on statement count from the start of the whole string given to [`parse`].
pub fn byte_position(sql: &str, line: u64, column: u64) -> usize {
    lex::locate(sql, line, column)
}
