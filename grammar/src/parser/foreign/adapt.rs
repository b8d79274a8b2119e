//! Spellings of PostgreSQL that sqlparser does not know, put into those it knows.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lex;

/// Settings that SHOW has words for.
const SPELLED_SETTINGS: &[(&[&str], &str)] = &[
    (&["TIME", "ZONE"], "timezone"),
    (&["SESSION", "AUTHORIZATION"], "session_authorization"),
    (&["TRANSACTION", "ISOLATION", "LEVEL"], "transaction_isolation"),
];

/// The tokens, with the few spellings of PostgreSQL that sqlparser does not know put into those it knows.
pub(super) fn adapted(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let places: Vec<usize> = (0..tokens.len()).filter(|index| !lex::is_blank(&tokens[*index].token)).collect();
    let is = |place: usize, word: &str| {
        let token = places.get(place).map(|index| &tokens[*index].token);
        matches!(token, Some(Token::Word(found)) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
    };
    let replaced = |count: usize, words: &[Token]| -> Vec<TokenWithSpan> {
        let span = tokens[places[count - 1]].span;
        let new = words.iter().map(|word| TokenWithSpan::new(word.clone(), span));
        new.chain(tokens[places[count - 1] + 1..].iter().cloned()).collect()
    };
    let word = Token::make_keyword;
    if is(0, "ABORT") {
        return replaced(1, &[word("ROLLBACK")]);
    }
    if is(0, "TABLE") {
        return replaced(1, &[word("SELECT"), Token::Mul, word("FROM")]);
    }
    if is(0, "SHOW") {
        for (words, name) in SPELLED_SETTINGS {
            if places.len() == words.len() + 1 && words.iter().enumerate().all(|(index, word)| is(index + 1, word)) {
                return replaced(places.len(), &[word("SHOW"), word(name)]);
            }
        }
        // `my.own` is one setting; sqlparser would make two words of it.
        if places.len() == 4 && tokens[places[2]].token == Token::Period {
            let part = |place: usize| match &tokens[places[place]].token {
                Token::Word(part) if part.quote_style.is_none() => part.value.to_ascii_lowercase(),
                Token::Word(part) => part.value.clone(),
                _ => String::new(),
            };
            return replaced(4, &[word("SHOW"), Token::make_word(&format!("{}.{}", part(1), part(3)), None)]);
        }
    }
    let sets_modes = is(0, "BEGIN") || is(0, "START") || (is(0, "SET") && (is(1, "TRANSACTION") || is(1, "SESSION")));
    if sets_modes {
        // Matters to serializable snapshots alone, of which there are none here.
        let mut left_out: Vec<usize> = Vec::new();
        for place in (1..places.len()).filter(|place| is(*place, "DEFERRABLE")) {
            let first = if is(place - 1, "NOT") { place - 1 } else { place };
            let comma = tokens[places[first - 1]].token == Token::Comma;
            left_out.extend(&places[first - usize::from(comma)..=place]);
        }
        let kept = tokens.iter().enumerate().filter(|(index, _)| !left_out.contains(index));
        return kept.map(|(_, token)| token.clone()).collect();
    }
    tokens.to_vec()
}
