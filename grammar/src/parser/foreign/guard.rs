//! What is turned away before sqlparser sees it: statements of other systems, and shapes that exhaust the stack.
//!
//! sqlparser bounds how deep it calls itself, but not how long a chain of operators grows, and the tree of `1+1+1+...` is as
//! deep as the chain is long: copying, comparing and planning it recurse. It also nests statements in EXPLAIN and PREPARE
//! with frames of many kilobytes. With these bounds 8 MiB of stack are enough for what is done with a tree, even in
//! unoptimised builds (measured: 4.7 kB a level for operators, 19 kB for set operations).

use std::ops::Range;

use sqlparser::tokenizer::Token;

use super::at;
use crate::error::SyntaxError;
use crate::lex::{self, Lexed};

/// Parentheses and brackets that are open at once.
const OPEN_LIMIT: usize = 64;
/// Operators in one expression, without a comma or clause between.
const OPERATOR_LIMIT: usize = 1000;
/// UNION, EXCEPT and INTERSECT in one query.
const SET_OPERATION_LIMIT: usize = 200;

/// First words that sqlparser takes from other systems and PostgreSQL does not have.
const FOREIGN_HEADS: &[&str] = &[
    "ASSERT", "CACHE", "CASE", "DENY", "DESC", "EXEC", "EXPORT", "FLUSH", "FROM", "IF", "INSTALL", "KILL", "MSCK", "OPEN",
    "OPTIMIZE", "PRAGMA", "PRINT", "RAISE", "RAISERROR", "RENAME", "REPLACE", "RETURN", "THROW", "UNCACHE", "UNLOAD", "USE",
    "WAITFOR", "WHILE",
];

/// What may stand inside EXPLAIN and PREPARE.
const INNER_HEADS: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "WITH", "TABLE", "CREATE", "DECLARE", "EXECUTE"];

pub(super) fn check(sql: &str, lexed: &Lexed, range: Range<usize>) -> Result<(), SyntaxError> {
    let places: Vec<usize> = range.clone().filter(|index| !lex::is_blank(&lexed.tokens[*index].token)).collect();
    let word = |place: usize| places.get(place).and_then(|index| upper(&lexed.tokens[*index].token));
    let error = |place: usize| at(sql, lexed, range.clone(), places.get(place).map_or(range.len(), |index| index - range.start));
    if word(0).is_some_and(|head| FOREIGN_HEADS.contains(&head.as_str())) {
        return Err(error(0).with_expected(vec!["an SQL statement".to_string()]));
    }
    if let Some(place) = inner(&places, lexed)
        && places.get(place).is_some_and(|index| lexed.tokens[*index].token != Token::LParen)
        && !word(place).is_some_and(|head| INNER_HEADS.contains(&head.as_str()))
    {
        return Err(error(place).with_expected(INNER_HEADS.iter().map(|head| (*head).to_string()).collect()));
    }
    // Chains of these are taken from other systems, and without a bound: `array<array<...` and `interval interval ...`.
    let follows = |place: usize, wanted: &Token| places.get(place).is_some_and(|index| lexed.tokens[*index].token == *wanted);
    for place in 0..places.len().saturating_sub(1) {
        let repeated = word(place).as_deref() == Some("INTERVAL") && word(place + 1).as_deref() == Some("INTERVAL");
        if repeated || (word(place).as_deref() == Some("ARRAY") && follows(place + 1, &Token::Lt)) {
            return Err(error(place + 1));
        }
    }
    match too_long(&places, lexed) {
        Some((place, limit)) => {
            let mut error = SyntaxError::new("statement is nested too deeply", error(place).position);
            error.detail = Some(format!("the limit is {limit}"));
            Err(error)
        }
        None => Ok(()),
    }
}

fn upper(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    }
}

/// Where the statement inside EXPLAIN or PREPARE begins.
fn inner(places: &[usize], lexed: &Lexed) -> Option<usize> {
    let token = |place: usize| places.get(place).map(|index| &lexed.tokens[*index].token);
    let word = |place: usize| token(place).and_then(upper);
    match word(0)?.as_str() {
        "EXPLAIN" => {
            let mut place = 1;
            if token(place) == Some(&Token::LParen) {
                // A parenthesis of options, not of a query.
                if matches!(word(2).as_deref(), Some("SELECT" | "WITH" | "VALUES" | "TABLE")) || word(2).is_none() {
                    return None;
                }
                while token(place).is_some_and(|token| *token != Token::RParen) {
                    place += 1;
                }
                place += 1;
            }
            while matches!(word(place).as_deref(), Some("ANALYZE" | "ANALYSE" | "VERBOSE")) {
                place += 1;
            }
            Some(place)
        }
        "PREPARE" => (0..places.len()).find(|place| word(*place).as_deref() == Some("AS")).map(|place| place + 1),
        _ => None,
    }
}

/// Words that end an expression: what follows does not make it deeper.
const CLAUSES: &[&str] = &[
    "SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "WINDOW", "ON", "JOIN", "WHEN", "THEN", "ELSE",
    "VALUES", "SET", "RETURNING", "USING",
];

#[derive(Clone, Copy, Default)]
struct Level {
    operators: usize,
    set_operations: usize,
}

/// The token at which an expression or query gets longer than its bound, and the bound in words.
fn too_long(places: &[usize], lexed: &Lexed) -> Option<(usize, String)> {
    let mut levels = vec![Level::default()];
    for (place, index) in places.iter().enumerate() {
        let token = &lexed.tokens[*index].token;
        match token {
            Token::LParen | Token::LBracket => levels.push(Level::default()),
            Token::RParen | Token::RBracket if levels.len() > 1 => drop(levels.pop()),
            _ => {}
        }
        let level = levels.last_mut()?;
        match token {
            Token::LParen | Token::LBracket | Token::RParen => {}
            Token::Comma => level.operators = 0,
            Token::Word(_) => {
                let word = upper(token).unwrap_or_default();
                match word.as_str() {
                    "UNION" | "EXCEPT" | "INTERSECT" => level.set_operations += 1,
                    "AND" | "OR" | "NOT" | "IS" | "ISNULL" | "NOTNULL" | "LIKE" | "ILIKE" | "SIMILAR" | "BETWEEN" | "IN"
                    | "AT" | "COLLATE" | "OPERATOR" | "XOR" | "DIV" | "OVERLAPS" => level.operators += 1,
                    word if CLAUSES.contains(&word) => level.operators = 0,
                    _ => {}
                }
            }
            Token::Period | Token::Number(..) | Token::Placeholder(_) => {}
            token if super::super::cursor::string_text(Some(token)).is_some() => {}
            // A closed bracket, and every sign that is left: operators, or no SQL at all.
            _ => level.operators += 1,
        }
        if levels.len() > OPEN_LIMIT + 1 {
            return Some((place, format!("{OPEN_LIMIT} open parentheses")));
        }
        let level = levels.last()?;
        if level.operators > OPERATOR_LIMIT {
            return Some((place, format!("{OPERATOR_LIMIT} operators in one expression")));
        }
        if level.set_operations > SET_OPERATION_LIMIT {
            return Some((place, format!("{SET_OPERATION_LIMIT} set operations in one query")));
        }
    }
    None
}
