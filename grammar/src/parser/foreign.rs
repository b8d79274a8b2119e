//! Everything that is not ours, handed to sqlparser; its errors made into ours.

mod adapt;
mod guard;

use std::ops::Range;

use sqlparser::ast::Statement;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::cursor::near;
use crate::ast::Statement as Ours;
use crate::ast::session::Unsupported;
use crate::dialect::Postgres;
use crate::error::SyntaxError;
use crate::lex::{self, Lexed};
use crate::production;

/// How deep expressions and queries may be nested. sqlparser counts calls, a few for each parenthesis.
const NESTING_LIMIT: usize = 50;

/// Statements of PostgreSQL that sqlparser cannot parse: not supported, instead of wrong.
const POSTGRES_ONLY: &[&[&str]] = &[
    &["ALTER", "DATABASE"],
    &["ALTER", "DEFAULT", "PRIVILEGES"],
    &["ALTER", "SYSTEM"],
    &["CHECKPOINT"],
    &["CLUSTER"],
    &["COMMIT", "PREPARED"],
    &["CREATE", "RULE"],
    &["DO"],
    &["DROP", "OWNED"],
    &["IMPORT", "FOREIGN", "SCHEMA"],
    &["PREPARE", "TRANSACTION"],
    &["REASSIGN", "OWNED"],
    &["REFRESH", "MATERIALIZED", "VIEW"],
    &["REINDEX"],
    &["ROLLBACK", "PREPARED"],
    &["SECURITY", "LABEL"],
    &["SET", "CONSTRAINTS"],
    &["SET", "TRANSACTION", "SNAPSHOT"],
    &["VACUUM"],
];

/// What a statement handed on turns into.
pub(super) fn parse(sql: &str, lexed: &Lexed, range: Range<usize>) -> Result<Ours, SyntaxError> {
    let error = match parse_sql(sql, lexed, range.clone()) {
        Ok(statement) => return Ok(Ours::Sql(Box::new(statement))),
        Err(error) => error,
    };
    let words = first_words(lexed, range.clone());
    let begins = |head: &&&[&str]| head.len() <= words.len() && head.iter().zip(&words).all(|(a, b)| a == b);
    if let Some(head) = POSTGRES_ONLY.iter().find(begins) {
        let position = lexed.ranges[range.start].start;
        return Ok(Ours::Unsupported(Unsupported { head: head.join(" "), position, hint: None }));
    }
    Err(match production::similar_head(&words) {
        Some(head) => error.with_hint(format!("did you mean {head}?")),
        None => error,
    })
}

/// Parses the tokens of one statement with PostgreSQL's rules.
fn parse_sql(sql: &str, lexed: &Lexed, range: Range<usize>) -> Result<Statement, SyntaxError> {
    guard::check(sql, lexed, range.clone())?;
    let tokens = adapt::adapted(&lexed.tokens[range.clone()]);
    let dialect = Postgres::for_tokens(tokens.len());
    let mut parser = Parser::new(&dialect).with_recursion_limit(NESTING_LIMIT).with_tokens_with_locations(tokens);
    match parser.parse_statement() {
        Ok(statement) if parser.peek_token_ref().token == Token::EOF => Ok(statement),
        Ok(_) => {
            // The first token that is left over.
            let index = (parser.index()..range.len())
                .find(|index| !lex::is_blank(&lexed.tokens[range.start + index].token))
                .unwrap_or(range.len());
            Err(at(sql, lexed, range, index).with_expected(vec!["the end of the statement".to_string()]))
        }
        Err(error) => Err(translate(error, sql, lexed, range, parser.index())),
    }
}

fn translate(error: ParserError, sql: &str, lexed: &Lexed, range: Range<usize>, index: usize) -> SyntaxError {
    let message = match error {
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
        ParserError::RecursionLimitExceeded => {
            let position = at(sql, lexed, range, index.saturating_sub(1)).position;
            let mut error = SyntaxError::new("statement is nested too deeply", position);
            error.detail = Some(format!("the limit is {NESTING_LIMIT} levels, and less of forms that are costly to parse"));
            return error;
        }
    };
    let (message, location) = split_location(&message);
    let position = location.map(|(line, column)| lex::locate(sql, line, column));
    let index = match position {
        Some(byte) => lexed.ranges[range.clone()].iter().position(|token| token.end > byte).unwrap_or(range.len()),
        None if message.ends_with("found: EOF") => range.len(),
        None => index.saturating_sub(1),
    };
    let error = at(sql, lexed, range, index);
    match message.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: ")) {
        Some((expected, _)) => error.with_expected(vec![expected.to_string()]),
        None => error,
    }
}

/// The error about the token at this index of the statement; past the last one, about its end.
fn at(sql: &str, lexed: &Lexed, range: Range<usize>, index: usize) -> SyntaxError {
    if index < range.len() {
        let place = range.start + index;
        let bytes = lexed.ranges[place].clone();
        return SyntaxError::new(near(&lexed.tokens[place].token, &sql[bytes.clone()], false), bytes.start);
    }
    match lexed.ranges[range.end..].iter().zip(&lexed.tokens[range.end..]).find(|(_, t)| t.token == Token::SemiColon) {
        Some((semicolon, _)) => SyntaxError::new("syntax error at or near \";\"", semicolon.start),
        None => SyntaxError::new("syntax error at end of input", lexed.ranges[range.end - 1].end),
    }
}

/// Takes " at Line: 1, Column: 2" off the end of a message.
fn split_location(message: &str) -> (&str, Option<(u64, u64)>) {
    let location = message.rsplit_once(" at Line: ").and_then(|(text, numbers)| {
        let (line, column) = numbers.split_once(", Column: ")?;
        Some((text, (line.trim().parse().ok()?, column.trim().parse().ok()?)))
    });
    match location {
        Some((text, place)) => (text, Some(place)),
        None => (message, None),
    }
}

/// The words a statement begins with, as far as they may be a head.
fn first_words(lexed: &Lexed, range: Range<usize>) -> Vec<String> {
    lexed.tokens[range]
        .iter()
        .filter(|token| !lex::is_blank(&token.token))
        .map_while(|token| match &token.token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
            _ => None,
        })
        .take(production::LONGEST_HEAD)
        .collect()
}
