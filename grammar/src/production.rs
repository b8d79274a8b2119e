//! The one table of statements of the dialect.
//!
//! It feeds the dispatch, what an error says was expected, HELP, the reference page and the sentence generator of the tests.
//! Notation of `ebnf`: words in capitals as they are; small words stand for names, lists and values; `[ ]` optional, `{ | }`
//! alternatives, `...` repetition of what is before it, `[, ...]` more of the same with commas; all other signs as they are.

mod table;

use crate::ast::Statement;
use crate::error::SyntaxError;
use crate::parser::Cursor;

pub use table::PRODUCTIONS;

type Result<T> = std::result::Result<T, SyntaxError>;

/// The most words a head has.
pub(crate) const LONGEST_HEAD: usize = 4;

/// One form of a statement.
pub struct Production {
    /// The words it begins with.
    pub head: &'static [&'static str],
    /// The command tag, as [`Statement::tag`] gives it.
    pub tag: &'static str,
    pub(crate) parse: Parse,
    /// When the head alone does not decide; the parse function then starts after the first word.
    pub(crate) look: Option<fn(&Cursor) -> bool>,
    /// The whole form, see the head of this file.
    pub ebnf: &'static str,
    /// A statement that parses.
    pub example: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
}

/// What is done after the head.
pub(crate) enum Parse {
    By(fn(&mut Cursor) -> Result<Statement>),
    /// Named, but not carried out by this version; the hint says what to do instead.
    Later(Option<&'static str>),
}

impl Production {
    /// Whether this version carries the statement out.
    pub fn is_supported(&self) -> bool {
        matches!(self.parse, Parse::By(_))
    }

    /// The head as text: `CREATE PIPE`.
    pub fn name(&self) -> String {
        self.head.join(" ")
    }

    /// Parses what follows the head; the cursor stands at the statement's first word.
    pub(crate) fn run(&self, cursor: &mut Cursor) -> Result<Statement> {
        let position = cursor.position();
        cursor.skip(if self.look.is_some() { 1 } else { self.head.len() });
        match self.parse {
            Parse::By(parse) => {
                let statement = parse(cursor)?;
                cursor.finish()?;
                Ok(statement)
            }
            Parse::Later(hint) => {
                cursor.skip_to_end();
                let hint = hint.map(str::to_string);
                Ok(Statement::Unsupported(crate::ast::session::Unsupported { head: self.tag.to_string(), position, hint }))
            }
        }
    }
}

/// First words that PostgreSQL's SQL as handed on does not have: another second word is an error here already.
const OUR_VERBS: &[&str] = &[
    "START", "STOP", "RESUME", "PAUSE", "RESYNC", "WAIT", "RUN", "RETRY", "CLEAN", "SYNC", "REFRESH", "UNDROP", "TEST",
    "DETACH", "ATTACH", "IMPORT", "COMPARE",
];

/// Where PostgreSQL has the verb too.
const POSTGRES_TOO: &[&[&str]] =
    &[&["START", "TRANSACTION"], &["REFRESH", "MATERIALIZED", "VIEW"], &["IMPORT", "FOREIGN", "SCHEMA"]];

/// The production that a statement's head names; none means that the statement is handed on.
pub(crate) fn choose(cursor: &Cursor) -> Result<Option<&'static Production>> {
    let looked = PRODUCTIONS.iter().find(|production| production.look.is_some_and(|look| look(cursor)));
    let headed = || {
        PRODUCTIONS
            .iter()
            .filter(|production| production.look.is_none() && cursor.are_words(0, production.head))
            .max_by_key(|production| production.head.len())
    };
    if let Some(production) = looked.or_else(headed) {
        return Ok(Some(production));
    }
    if POSTGRES_TOO.iter().any(|head| cursor.are_words(0, head)) {
        return Ok(None);
    }
    if OUR_VERBS.iter().any(|verb| cursor.is_word(0, verb)) {
        return Err(wrong_word(cursor));
    }
    if cursor.is_word(0, "SHOW") {
        show_of_a_setting(cursor)?;
    }
    Ok(None)
}

/// A verb of ours with another word after it than any of its heads has.
fn wrong_word(cursor: &Cursor) -> SyntaxError {
    let matched = |head: &[&str]| head.iter().enumerate().take_while(|(index, word)| cursor.is_word(*index, word)).count();
    let longest = PRODUCTIONS.iter().map(|production| matched(production.head)).max().unwrap_or(0);
    let mut expected: Vec<String> = Vec::new();
    let heads = PRODUCTIONS.iter().filter(|production| matched(production.head) == longest);
    for word in heads.filter_map(|production| production.head.get(longest)) {
        if !expected.iter().any(|known| known == word) {
            expected.push((*word).to_string());
        }
    }
    if cursor.is_word(0, "START") {
        expected.push("TRANSACTION".to_string());
    }
    let found = cursor.upper_word(longest);
    let near = found.as_deref().and_then(|found| crate::nearest(found, expected.iter().map(String::as_str)));
    let hint = near.map(|near| format!("did you mean {near}?"));
    let error = cursor.error_at(longest).with_expected(expected);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// A SHOW that is handed on holds words and dots only.
fn show_of_a_setting(cursor: &Cursor) -> Result<()> {
    let mut ahead = 1;
    while let Some(token) = cursor.token(ahead) {
        if !cursor.is_name(ahead) && *token != sqlparser::tokenizer::Token::Period {
            return Err(cursor.error_at(ahead).with_expected(vec!["the end of the statement".to_string()]));
        }
        ahead += 1;
    }
    Ok(())
}

/// A head that reads almost like these first words, for a hint.
pub(crate) fn similar_head(words: &[String]) -> Option<String> {
    let close = |word: &str, wanted: &str| word == wanted || (word.len() > 2 && near(word, wanted));
    PRODUCTIONS
        .iter()
        .filter(|production| production.head.len() > 1 && production.head.len() <= words.len())
        .find(|production| {
            let pairs = || production.head.iter().zip(words);
            pairs().all(|(wanted, word)| close(word, wanted)) && pairs().any(|(wanted, word)| word != wanted)
        })
        .map(Production::name)
}

/// One slip in a short word, two in a long one.
fn near(word: &str, wanted: &str) -> bool {
    crate::nearest::distance(word, wanted) <= if wanted.len() <= 4 { 1 } else { 2 }
}

/// The productions whose head begins with these words (in any case), or has them all somewhere; all for no words.
pub fn help(topic: &[String]) -> Vec<&'static Production> {
    let same = |a: &str, b: &String| a.eq_ignore_ascii_case(b);
    let begins = |production: &&Production| {
        topic.len() <= production.head.len() && production.head.iter().zip(topic).all(|(word, wanted)| same(word, wanted))
    };
    let holds = |production: &&Production| topic.iter().all(|wanted| production.head.iter().any(|word| same(word, wanted)));
    let found: Vec<_> = PRODUCTIONS.iter().filter(begins).collect();
    if found.is_empty() { PRODUCTIONS.iter().filter(holds).collect() } else { found }
}
