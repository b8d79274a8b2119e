//! Strings that list tables: `tables`, `exclude`, `tables = 'from=to'` of a connector, `table` of a processor. (dialect.md section 1)
//!
//! A comma list of `schema.table`; each part may be quoted like an identifier, `*` outside quotes is a wildcard, the first dot divides.
//! Unquoted parts match exactly, else in any case.

use super::table::TableName;
use crate::error::{Error, Kind, Result};

/// One part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// Pieces between wildcards; a single piece has none.
    pieces: Vec<String>,
    quoted: bool,
}

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    schema: Option<Part>,
    table: Part,
    /// As written, for messages.
    pub text: String,
}

impl Part {
    fn matches(&self, name: &str, fold: bool) -> bool {
        let same = |piece: &str| if fold && !self.quoted { piece.to_lowercase() } else { piece.to_string() };
        let name = if fold && !self.quoted { name.to_lowercase() } else { name.to_string() };
        let pieces: Vec<String> = self.pieces.iter().map(|p| same(p)).collect();
        let [first, middle @ .., last] = pieces.as_slice() else {
            return pieces.first().is_some_and(|p| *p == name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            match rest.find(piece.as_str()) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        rest.len() >= last.len() && rest.ends_with(last.as_str())
    }
    fn is_wildcard(&self) -> bool {
        self.pieces.len() > 1
    }
    fn plain(&self) -> String {
        self.pieces.join("*")
    }
}

impl Pattern {
    /// It has a wildcard: no match is then the only error, several matches are fine.
    pub fn is_wildcard(&self) -> bool {
        self.table.is_wildcard() || self.schema.as_ref().is_some_and(Part::is_wildcard)
    }
    /// Exact, or in any case with `fold`.
    fn matches(&self, name: &TableName, fold: bool) -> bool {
        self.schema.as_ref().is_none_or(|s| s.matches(&name.schema, fold)) && self.table.matches(&name.name, fold)
    }
    /// The names that match: exactly, else in any case.
    pub fn select<'a>(&self, names: impl Iterator<Item = &'a TableName> + Clone) -> Vec<&'a TableName> {
        let exact: Vec<_> = names.clone().filter(|n| self.matches(n, false)).collect();
        if exact.is_empty() { names.filter(|n| self.matches(n, true)).collect() } else { exact }
    }
    /// The table is one of those that are meant, whatever others there are: unquoted parts match in any case.
    pub fn takes(&self, name: &TableName) -> bool {
        self.matches(name, true)
    }
    /// The one name, as written, for a pattern that names a target: `(schema, table)`.
    pub fn as_name(&self) -> (Option<String>, String) {
        (self.schema.as_ref().map(Part::plain), self.table.plain())
    }
}

/// Parses a list. Errors: 22023 with what is wrong.
pub fn parse(text: &str) -> Result<Vec<Pattern>> {
    split(text, ',')?.iter().map(|t| t.trim()).filter(|t| !t.is_empty()).map(pattern).collect()
}

/// Parses `from=to` pairs.
pub fn parse_pairs(text: &str) -> Result<Vec<(Pattern, Pattern)>> {
    let entry = |t: &str| match split(t, '=')?.as_slice() {
        [from, to] => Ok((pattern(from.trim())?, pattern(to.trim())?)),
        _ => Err(Error::new(Kind::BadOption, format!("\"{}\" is not of the form from=to", t.trim()))),
    };
    split(text, ',')?.iter().filter(|t| !t.trim().is_empty()).map(|t| entry(t)).collect()
}

/// Cuts at a separator outside double quotes.
fn split(text: &str, separator: char) -> Result<Vec<String>> {
    let (mut out, mut quoted) = (vec![String::new()], false);
    for ch in text.chars() {
        quoted ^= ch == '"';
        if ch == separator && !quoted {
            out.push(String::new());
        } else if let Some(last) = out.last_mut() {
            last.push(ch);
        }
    }
    if quoted { Err(Error::new(Kind::BadOption, format!("unterminated quoted name in \"{text}\""))) } else { Ok(out) }
}

fn pattern(text: &str) -> Result<Pattern> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), Part { pieces: vec![String::new()], quoted: false }, false);
    let mut chars = text.chars().peekable();
    while let Some(ch) = chars.next() {
        let push = |part: &mut Part, ch: char| {
            if let Some(piece) = part.pieces.last_mut() {
                piece.push(ch);
            }
        };
        match ch {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                push(&mut part, '"');
            }
            '"' => {
                quoted = !quoted;
                part.quoted = true;
            }
            '*' if !quoted => part.pieces.push(String::new()),
            '.' if !quoted && parts.is_empty() => parts.push(std::mem::replace(&mut part, Part { pieces: vec![String::new()], quoted: false })),
            ch => push(&mut part, ch),
        }
    }
    let empty = |p: &Part| p.pieces.len() == 1 && p.pieces[0].is_empty();
    if empty(&part) || parts.iter().any(empty) {
        return Err(Error::new(Kind::BadOption, format!("\"{text}\" is not a table name")).with_hint("Write schema.table, parts quoted where needed."));
    }
    Ok(Pattern { schema: parts.pop(), table: part, text: text.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(list: &str) -> Vec<String> {
        let names: Vec<_> = [("public", "orders"), ("public", "Orders"), ("Public", "x,y"), ("sales", "o_1"), ("a.b", "c")]
            .iter()
            .map(|(s, n)| TableName::new(*s, *n))
            .collect();
        parse(list).expect("a list").iter().flat_map(|p| p.select(names.iter())).map(|n| format!("{}|{}", n.schema, n.name)).collect()
    }

    #[test]
    fn lists_choose_tables() {
        assert_eq!(chosen("public.orders"), ["public|orders"]);
        assert_eq!(chosen("PUBLIC.ORDERS"), ["public|orders", "public|Orders"]);
        assert_eq!(chosen("public.\"Orders\", *.\"x,y\""), ["public|Orders", "Public|x,y"]);
        assert_eq!(chosen("sales.o*"), ["sales|o_1"]);
        assert_eq!(chosen("\"a.b\".c,o_1"), ["a.b|c", "sales|o_1"]);
        assert!(parse("a..").is_err() || chosen("a..").is_empty());
        assert!(parse("\"a").is_err());
        assert!(parse("public.").is_err());
    }

    #[test]
    fn one_table_at_a_time() {
        let takes = |list: &str, schema: &str, table: &str| parse(list).expect("a list").iter().any(|p| p.takes(&TableName::new(schema, table)));
        assert!(takes("*", "s", "t") && takes("t", "s", "t") && takes("s.*", "s", "t") && takes("a.b, S.T", "s", "t"));
        assert!(takes("s.a*b*c", "s", "axxbyyc") && takes("\"a.b\".\"c,\"\"d\"", "a.b", "c,\"d"));
        assert!(!takes("s.t", "s", "u") && !takes("x.*", "s", "t") && !takes("s.\"T\"", "s", "t") && !takes("s.a*b", "s", "a"));
        for bad in ["s.", ".t", "\"a"] {
            assert_eq!(parse(bad).expect_err("refused").sqlstate(), "22023", "{bad}");
        }
    }
}
