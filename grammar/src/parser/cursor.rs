//! A place in the tokens of one statement, and the small steps every production is made of.
//!
//! The cursor remembers what was tried at the place where it stands, so that an error names everything that could have
//! stood there without any production listing it.

use std::ops::Range;

use sqlparser::tokenizer::{Token, Word};

use crate::ast::{Ident, ObjectName};
use crate::error::{Notice, SyntaxError};
use crate::lex::{Lexed, is_blank};

type Result<T> = std::result::Result<T, SyntaxError>;

/// The longest piece of a statement that a message quotes, in characters.
const LONGEST_QUOTE: usize = 40;

pub(crate) struct Cursor<'a> {
    sql: &'a str,
    lexed: &'a Lexed,
    /// Indexes of the statement's tokens that are not blank.
    places: Vec<usize>,
    /// Where in `places` the next token is.
    at: usize,
    /// One past the statement's last token in `lexed`: the semicolon, if there is one.
    end: usize,
    tried: Vec<String>,
    /// Inside an option list: words and numbers may be secrets and are not quoted in messages.
    pub(crate) discreet: bool,
    notices: Vec<Notice>,
}

impl<'a> Cursor<'a> {
    /// `range` starts and ends with a token that is not blank.
    pub(crate) fn new(sql: &'a str, lexed: &'a Lexed, range: Range<usize>) -> Self {
        let end = range.end;
        let places = range.filter(|index| !is_blank(&lexed.tokens[*index].token)).collect();
        Cursor { sql, lexed, places, at: 0, end, tried: Vec::new(), discreet: false, notices: Vec::new() }
    }

    // Looking.

    pub(crate) fn token(&self, ahead: usize) -> Option<&'a Token> {
        self.places.get(self.at + ahead).map(|index| &self.lexed.tokens[*index].token)
    }

    fn word(&self, ahead: usize) -> Option<&'a Word> {
        match self.token(ahead) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// Whether an unquoted word stands there, in any case. Records nothing.
    pub(crate) fn is_word(&self, ahead: usize, wanted: &str) -> bool {
        self.word(ahead).is_some_and(|word| word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
    }

    /// Whether these words stand there. Records nothing.
    pub(crate) fn are_words(&self, ahead: usize, wanted: &[&str]) -> bool {
        wanted.iter().enumerate().all(|(index, word)| self.is_word(ahead + index, word))
    }

    /// The unquoted word there, in upper case.
    pub(crate) fn upper_word(&self, ahead: usize) -> Option<String> {
        self.word(ahead).filter(|word| word.quote_style.is_none()).map(|word| word.value.to_ascii_uppercase())
    }

    pub(crate) fn is_name(&self, ahead: usize) -> bool {
        self.word(ahead).is_some()
    }

    pub(crate) fn at_end(&self) -> bool {
        self.at >= self.places.len()
    }

    /// Whether the token there follows the one before it without a blank.
    pub(crate) fn is_adjacent(&self, ahead: usize) -> bool {
        let place = self.at + ahead;
        place > 0 && self.places.get(place).is_some_and(|index| self.places[place - 1] + 1 == *index)
    }

    /// Byte offset of the next token; at the end, of the semicolon or the end of the last token.
    pub(crate) fn position(&self) -> usize {
        match self.places.get(self.at) {
            Some(index) => self.lexed.ranges[*index].start,
            None => self.end_position(),
        }
    }

    fn end_position(&self) -> usize {
        match self.lexed.ranges.get(self.end) {
            Some(semicolon) => semicolon.start,
            None => self.places.last().map_or(0, |index| self.lexed.ranges[*index].end),
        }
    }

    // Moving.

    pub(crate) fn skip(&mut self, count: usize) {
        self.at += count;
        self.tried.clear();
    }

    pub(crate) fn skip_to_end(&mut self) {
        self.skip(self.places.len().saturating_sub(self.at));
    }

    /// Notes that this could have stood here.
    pub(crate) fn note(&mut self, wanted: &str) {
        if !self.tried.iter().any(|tried| tried == wanted) {
            self.tried.push(wanted.to_string());
        }
    }

    /// Takes these words if all of them stand here.
    pub(crate) fn eat(&mut self, words: &[&str]) -> bool {
        if self.are_words(0, words) {
            self.skip(words.len());
            return true;
        }
        self.note(&words.join(" "));
        false
    }

    pub(crate) fn expect(&mut self, words: &[&str]) -> Result<()> {
        // Word by word, so that the error stands at the one that is wrong.
        for word in words {
            if !self.eat(&[word]) {
                return Err(self.error());
            }
        }
        Ok(())
    }

    pub(crate) fn eat_token(&mut self, wanted: &Token) -> bool {
        if self.token(0) == Some(wanted) {
            self.skip(1);
            return true;
        }
        self.note(&format!("\"{wanted}\""));
        false
    }

    pub(crate) fn expect_token(&mut self, wanted: &Token) -> Result<()> {
        if self.eat_token(wanted) { Ok(()) } else { Err(self.error()) }
    }

    /// Any word names an object where a name is expected.
    pub(crate) fn name(&mut self, what: &str) -> Result<Ident> {
        let position = self.position();
        let Some(word) = self.word(0) else {
            self.note(what);
            return Err(self.placeholder_error(what).unwrap_or_else(|| self.error()));
        };
        let quoted = word.quote_style.is_some();
        let value = if quoted { word.value.clone() } else { word.value.to_ascii_lowercase() };
        if value.is_empty() {
            return Err(SyntaxError::new("zero-length delimited identifier", position));
        }
        self.skip(1);
        Ok(Ident { value, quoted, position })
    }

    /// `<PipeId>` copied from a manual.
    fn placeholder_error(&self, what: &str) -> Option<SyntaxError> {
        let open = matches!(self.token(0), Some(Token::Lt));
        let close = matches!(self.token(2), Some(Token::Gt));
        let word = self.word(1).filter(|_| open && close)?;
        let hint = format!("<{}> stands for a name: write the {what} without the angle brackets", word.value);
        Some(self.error().with_hint(hint))
    }

    /// Names of at most `parts` parts joined by dots.
    pub(crate) fn object_name(&mut self, what: &str, parts: usize) -> Result<ObjectName> {
        let mut names = vec![self.name(what)?];
        while names.len() < parts && self.token(0) == Some(&Token::Period) {
            self.skip(1);
            names.push(self.name(what)?);
        }
        Ok(ObjectName(names))
    }

    /// One or more, with commas between.
    pub(crate) fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut all = vec![one(self)?];
        while self.eat_token(&Token::Comma) {
            all.push(one(self)?);
        }
        Ok(all)
    }

    /// A string literal in any of its forms, `"..."` excepted.
    pub(crate) fn eat_string(&mut self) -> Option<String> {
        let text = string_text(self.token(0))?;
        self.skip(1);
        Some(text)
    }

    pub(crate) fn string(&mut self, what: &str) -> Result<String> {
        self.eat_string().ok_or_else(|| {
            self.note(what);
            self.error()
        })
    }

    /// A whole number that may have a sign.
    pub(crate) fn integer(&mut self) -> Result<i64> {
        let sign = usize::from(matches!(self.token(0), Some(Token::Minus | Token::Plus)));
        if let Some(Token::Number(digits, false)) = self.token(sign) {
            let minus = if self.token(0) == Some(&Token::Minus) { "-" } else { "" };
            if let Ok(number) = format!("{minus}{digits}").parse() {
                self.skip(sign + 1);
                return Ok(number);
            }
        }
        self.note("a whole number");
        Err(self.error())
    }

    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.at_end() {
            return Ok(());
        }
        self.note("the end of the statement");
        Err(self.error())
    }

    // Saying.

    pub(crate) fn notice(&mut self, message: String, hint: Option<String>, position: usize) {
        self.notices.push(Notice { message, detail: None, hint, position });
    }

    pub(crate) fn into_notices(self) -> Vec<Notice> {
        self.notices
    }

    /// PostgreSQL's sentence about the token that stands here, with everything that was tried instead.
    pub(crate) fn error(&self) -> SyntaxError {
        self.error_at(0).with_expected(self.tried.clone())
    }

    /// The same about a token ahead.
    pub(crate) fn error_at(&self, ahead: usize) -> SyntaxError {
        let place = self.places.get(self.at + ahead);
        let message = match place {
            Some(index) => self.near(*index),
            None if self.lexed.ranges.get(self.end).is_some() => "syntax error at or near \";\"".to_string(),
            None => "syntax error at end of input".to_string(),
        };
        let position = place.map_or_else(|| self.end_position(), |index| self.lexed.ranges[*index].start);
        SyntaxError::new(message, position)
    }

    fn near(&self, index: usize) -> String {
        let text = &self.sql[self.lexed.ranges[index].clone()];
        near(&self.lexed.tokens[index].token, text, self.discreet)
    }
}

/// "syntax error at or near" without what may be secret: no string, and in an option list no word and number either.
pub(super) fn near(token: &Token, text: &str, discreet: bool) -> String {
    let kind = match token {
        Token::Word(word) if word.quote_style.is_some() && discreet => "a quoted word",
        Token::Word(word) if discreet && !word.value.eq_ignore_ascii_case("with") => "a word",
        Token::Number(..) | Token::Placeholder(_) | Token::HexStringLiteral(_) if discreet => "a number",
        token if is_string(token) => "a string",
        _ => {
            let mut quote: String = text.chars().take(LONGEST_QUOTE).collect();
            if quote.len() < text.len() {
                quote.push_str("...");
            }
            return format!("syntax error at or near \"{quote}\"");
        }
    };
    format!("syntax error at or near {kind}")
}

fn is_string(token: &Token) -> bool {
    string_text(Some(token)).is_some()
        || matches!(
            token,
            Token::DoubleQuotedString(_)
                | Token::SingleQuotedByteStringLiteral(_)
                | Token::DoubleQuotedByteStringLiteral(_)
                | Token::SingleQuotedRawStringLiteral(_)
                | Token::DoubleQuotedRawStringLiteral(_)
        )
}

/// The text of a string literal.
pub(super) fn string_text(token: Option<&Token>) -> Option<String> {
    match token? {
        Token::SingleQuotedString(text)
        | Token::EscapedStringLiteral(text)
        | Token::UnicodeStringLiteral(text)
        | Token::NationalStringLiteral(text) => Some(text.clone()),
        Token::DollarQuotedString(quoted) => Some(quoted.value.clone()),
        _ => None,
    }
}
