//! Tokens with byte positions.
//!
//! sqlparser's tokenizer counts lines and columns; psql, logs and slices want bytes.

use std::ops::Range;

use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::dialect::Postgres;
use crate::error::SyntaxError;

/// Digits of PostgreSQL's longest numeric, before and after the point.
const MAX_DIGITS: usize = 131_072 + 16_383;

/// The tokens of one string, white space and comments included, and where each stands.
pub(crate) struct Lexed {
    /// As sqlparser wants them: its spans count lines and columns of the whole string.
    pub tokens: Vec<TokenWithSpan>,
    /// Byte range of the token at the same index.
    pub ranges: Vec<Range<usize>>,
}

/// Cuts a string into tokens. An unfinished quote or comment is an error at its start.
pub(crate) fn lex(sql: &str) -> Result<Lexed, SyntaxError> {
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    let outcome = Tokenizer::new(&Postgres::for_tokens(0), sql).tokenize_with_location_into_buf(&mut tokens);
    let mut ranges = byte_ranges(sql, &tokens);
    if let Err(error) = outcome {
        let position = ranges.last().map_or(0, |range| range.end);
        return Err(SyntaxError::new(lexical_message(&error.message), position));
    }
    // Whoever reads a number takes time by the square of its digits.
    let long = |t: &TokenWithSpan| matches!(&t.token, Token::Number(digits, _) if digits.len() > MAX_DIGITS);
    if let Some(at) = tokens.iter().position(long) {
        return Err(SyntaxError::new(format!("number has more than {MAX_DIGITS} digits"), ranges[at].start));
    }
    for token in &mut tokens {
        // From here on a backquoted name is a quoted name, also in what is handed on and printed again.
        if let Token::Word(word) = &mut token.token
            && word.quote_style == Some('`')
        {
            word.quote_style = Some('"');
        }
    }
    join_strings(&mut tokens, &mut ranges);
    Ok(Lexed { tokens, ranges })
}

/// String literals with a line break between them are one, as the SQL standard has it.
fn join_strings(tokens: &mut [TokenWithSpan], ranges: &mut [Range<usize>]) {
    let mut first: Option<usize> = None;
    let mut line_break = false;
    for index in 0..tokens.len() {
        match &tokens[index].token {
            Token::Whitespace(Whitespace::Newline | Whitespace::SingleLineComment { .. }) => line_break = true,
            Token::Whitespace(Whitespace::MultiLineComment(_)) => first = None,
            Token::Whitespace(_) => {}
            Token::SingleQuotedString(more) => {
                let more = more.clone();
                match first.map(|first| &mut tokens[first].token) {
                    Some(Token::SingleQuotedString(text)) if line_break => {
                        text.push_str(&more);
                        tokens[index].token = Token::Whitespace(Whitespace::Space);
                        // The first literal now reaches to the end of the last, in the statement's text too.
                        if let Some(first) = first {
                            ranges[first].end = ranges[index].end;
                        }
                    }
                    _ => first = Some(index),
                }
                line_break = false;
            }
            _ => first = None,
        }
    }
}

/// PostgreSQL's words for what the tokenizer found. None of them quotes the text: it may hold a secret.
fn lexical_message(message: &str) -> String {
    let known = [
        ("Unterminated string literal", "unterminated quoted string"),
        ("Unterminated encoded string literal", "unterminated or ill-formed escape string"),
        ("Unterminated dollar-quoted", "unterminated dollar-quoted string"),
        ("Expected close delimiter", "unterminated quoted identifier"),
        ("Unexpected EOF while in a multi-line comment", "unterminated /* comment"),
    ];
    match known.iter().find(|(theirs, _)| message.starts_with(theirs)) {
        Some((_, ours)) => (*ours).to_string(),
        None => "text that is no token of SQL".to_string(),
    }
}

/// Tokens follow each other without gaps, so one walk over the string finds the end of each.
fn byte_ranges(sql: &str, tokens: &[TokenWithSpan]) -> Vec<Range<usize>> {
    let mut walk = Walk::new(sql);
    let mut ranges = Vec::with_capacity(tokens.len());
    for token in tokens {
        let start = walk.byte;
        walk.to(token.span.end.line, token.span.end.column);
        ranges.push(start..walk.byte);
    }
    ranges
}

/// The byte offset of a 1-based line and column of characters; past the end: the string's length.
pub(crate) fn locate(sql: &str, line: u64, column: u64) -> usize {
    let mut walk = Walk::new(sql);
    walk.to(line, column);
    walk.byte
}

struct Walk<'a> {
    rest: std::str::Chars<'a>,
    byte: usize,
    line: u64,
    column: u64,
}

impl<'a> Walk<'a> {
    fn new(sql: &'a str) -> Self {
        Walk { rest: sql.chars(), byte: 0, line: 1, column: 1 }
    }

    fn to(&mut self, line: u64, column: u64) {
        while (self.line, self.column) < (line, column) {
            let Some(ch) = self.rest.next() else { return };
            self.byte += ch.len_utf8();
            if ch == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
    }
}

/// Whether a token is white space or a comment.
pub(crate) fn is_blank(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cut_the_text_at_its_tokens() {
        let sql = "SELECT 'ä\r\n' , `b c` -- 实\n , 实时 /* x */ $$q\n$$ 1.5e3;";
        let lexed = lex(sql).expect("well-formed");
        let pieces: Vec<&str> = lexed.ranges.iter().map(|range| &sql[range.clone()]).collect();
        assert_eq!(pieces.concat(), sql);
        for wanted in ["SELECT", "'ä\r\n'", "`b c`", "实时", "$$q\n$$", "1.5e3", ";"] {
            assert!(pieces.contains(&wanted), "{wanted} in {pieces:?}");
        }
    }

    #[test]
    fn an_open_quote_is_reported_at_its_start() {
        let error = lex("SELECT 1, 'abc").err().expect("unterminated");
        assert_eq!((error.message.as_str(), error.position), ("unterminated quoted string", 10));
        let error = lex("SELECT /* abc").err().expect("unterminated");
        assert_eq!((error.message.as_str(), error.position), ("unterminated /* comment", 7));
    }
}
