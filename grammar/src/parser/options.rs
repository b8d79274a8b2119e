//! Option lists, with what is forgiven in those of a pipe.

use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, string_text};
use crate::ast::options::{Key, OptionEntry, OptionValue, Options};
use crate::error::SyntaxError;

type Result<T> = std::result::Result<T, SyntaxError>;

/// Whether published examples are forgiven their slips, each with a NOTICE.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Strict,
    /// A pipe's plugin clauses: a missing `)` before the next clause, a boolean without a value.
    Lenient,
}

impl Cursor<'_> {
    /// `( key [= value], ... )`.
    pub(super) fn options(&mut self, mode: Mode) -> Result<Options> {
        self.expect_token(&Token::LParen)?;
        self.discreet = true;
        let entries = self.entries(mode);
        self.discreet = false;
        Ok(Options(entries?))
    }

    fn entries(&mut self, mode: Mode) -> Result<Vec<OptionEntry>> {
        let mut entries = Vec::new();
        loop {
            if self.close(mode) {
                return Ok(entries);
            }
            entries.push(self.entry(mode)?);
            if !self.eat_token(&Token::Comma) {
                if self.close(mode) {
                    return Ok(entries);
                }
                return Err(self.error());
            }
        }
    }

    /// The closing parenthesis, or in its place the next clause.
    fn close(&mut self, mode: Mode) -> bool {
        if self.eat_token(&Token::RParen) {
            return true;
        }
        let next = ["PROCESSOR", "CONNECTOR", "SINK", "RUNTIME"];
        let clause = next.into_iter().find(|word| self.are_words(0, &["WITH", word]));
        match clause {
            Some(word) if mode == Mode::Lenient && self.token(2) == Some(&Token::LParen) => {
                let message = format!("a \")\" is missing before WITH {word} and was assumed");
                self.notice(message, None, self.position());
                true
            }
            _ => false,
        }
    }

    fn entry(&mut self, mode: Mode) -> Result<OptionEntry> {
        let Key { text: key, position: key_position } = self.key()?;
        if self.eat_token(&Token::Eq) {
            let (value, value_position) = self.value()?;
            return Ok(OptionEntry { key, key_position, value, value_position });
        }
        let ends = matches!(self.token(0), None | Some(Token::Comma | Token::RParen)) || self.is_word(0, "WITH");
        if !ends {
            return Err(self.error());
        }
        if mode == Mode::Lenient {
            let message = format!("option \"{key}\" has no value, so its default is used");
            self.notice(message, Some(format!("write '{key}' = '...'")), key_position);
        }
        Ok(OptionEntry { key, key_position, value: OptionValue::Default, value_position: key_position })
    }

    /// `( key, ... )` after RESET.
    pub(super) fn keys(&mut self) -> Result<Vec<Key>> {
        self.expect_token(&Token::LParen)?;
        let keys = self.list(Self::key)?;
        self.expect_token(&Token::RParen)?;
        Ok(keys)
    }

    /// A quoted string, or a word with adjacent dots and hyphens.
    fn key(&mut self) -> Result<Key> {
        let position = self.position();
        let text = match self.token(0) {
            Some(Token::Word(word)) if word.quote_style.is_some() => {
                self.skip(1);
                word.value.clone()
            }
            Some(Token::Word(_)) => self.hyphenated(),
            token => match string_text(token) {
                Some(text) => {
                    self.skip(1);
                    text
                }
                None => {
                    self.note("an option");
                    return Err(self.error());
                }
            },
        };
        if text.is_empty() {
            return Err(SyntaxError::new("an option has no name", position));
        }
        Ok(Key { text, position })
    }

    /// An unquoted word and what follows it without a blank: `history.start-time`, `postgres-connector`.
    pub(super) fn hyphenated(&mut self) -> String {
        let mut text = String::new();
        while let Some(Token::Word(word)) = self.token(0) {
            text.push_str(&word.value);
            let joint = match self.token(1) {
                Some(Token::Period) => '.',
                Some(Token::Minus) => '-',
                _ => ' ',
            };
            let joined = matches!(self.token(2), Some(Token::Word(next)) if next.quote_style.is_none());
            if joint == ' ' || !joined || !self.is_adjacent(1) || !self.is_adjacent(2) {
                self.skip(1);
                break;
            }
            text.push(joint);
            self.skip(2);
        }
        text
    }

    /// A value and where it stands.
    pub(super) fn value(&mut self) -> Result<(OptionValue, usize)> {
        let follows = |token: Option<&Token>| match token {
            Some(Token::Placeholder(_)) => true,
            Some(Token::Word(word)) => word.quote_style.is_some(),
            token => string_text(token).is_some(),
        };
        let secret = self.is_word(0, "SECRET") && follows(self.token(1));
        if secret {
            self.skip(1);
        }
        let position = self.position();
        if let Some(text) = self.eat_string() {
            return Ok((OptionValue::String { text, secret }, position));
        }
        let value = match self.token(0) {
            Some(Token::Word(word)) if word.quote_style.is_some() => {
                self.skip(1);
                OptionValue::String { text: word.value.clone(), secret }
            }
            Some(Token::Word(_)) if self.is_word(0, "INTERVAL") && string_text(self.token(1)).is_some() => {
                self.interval()
            }
            Some(Token::Word(_)) => OptionValue::Word(self.hyphenated()),
            Some(Token::Placeholder(name)) => self.parameter(name, secret)?,
            _ => self.number()?,
        };
        Ok((value, position))
    }

    /// `INTERVAL '1 hour'`, also `INTERVAL '1' HOUR`.
    fn interval(&mut self) -> OptionValue {
        self.skip(1);
        let mut text = self.eat_string().unwrap_or_default();
        if let Some(unit) = self.upper_word(0).filter(|unit| unit != "WITH") {
            self.skip(1);
            text = format!("{text} {}", unit.to_ascii_lowercase());
        }
        OptionValue::Interval(text)
    }

    fn parameter(&mut self, name: &str, secret: bool) -> Result<OptionValue> {
        match name.strip_prefix('$').and_then(|digits| digits.parse().ok()) {
            Some(index) if index > 0 => {
                self.skip(1);
                Ok(OptionValue::Parameter { index, secret })
            }
            _ => {
                self.note("a parameter like $1");
                Err(self.error())
            }
        }
    }

    /// A number with its sign and unit.
    fn number(&mut self) -> Result<OptionValue> {
        let sign = usize::from(matches!(self.token(0), Some(Token::Minus | Token::Plus)));
        let Some(Token::Number(digits, long)) = self.token(sign) else {
            self.note("a value");
            return Err(self.error());
        };
        let minus = if self.token(0) == Some(&Token::Minus) { "-" } else { "" };
        let text = format!("{minus}{}", digits.replace('_', ""));
        self.skip(sign + 1);
        let unit = match self.token(0) {
            _ if *long => Some("L".to_string()),
            Some(Token::Word(word)) if word.quote_style.is_none() && !self.is_word(0, "WITH") => {
                self.skip(1);
                Some(word.value.clone())
            }
            _ => None,
        };
        Ok(OptionValue::Number { text, unit })
    }
}
