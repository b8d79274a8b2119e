//! Statements in the log. Only as much is understood of them as is needed: where transactions end, which tables were emptied, dropped or renamed,
//! and whether a table is named at all. Structures are never taken from a statement's text.

use crate::data::TableName;

/// What a statement is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    Begin,
    Commit,
    /// A transaction that stands in the log and was undone.
    Rollback,
    /// Savepoints and the parts of an XA transaction.
    Within,
    /// XA COMMIT, XA ROLLBACK: a transaction that was prepared before ends.
    XaEnd,
    Truncate(TableName),
    Drop(Vec<TableName>),
    /// From, to.
    Rename(Vec<(TableName, TableName)>),
    /// All tables of a database are dropped.
    DropDatabase(String),
    /// Rows of these tables come or go with a partition or a tablespace: no row event says which.
    RowsUnlogged(Vec<TableName>),
    /// The table has got a foreign key by which the engine changes its rows: no event has them.
    Cascade(TableName),
    /// Rows are changed by the statement itself: the server, or a session, does not log rows.
    Rows,
    Other,
}

/// A word, a quoted name, or a sign.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Name(String),
    Sign(char),
}

impl Token {
    fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(w) if w.eq_ignore_ascii_case(word))
    }
}

/// Enough of a statement to know it; lists of tables may be longer.
const MOST_TOKENS: usize = 4096;

fn tokens(sql: &str) -> Vec<Token> {
    let (mut out, mut rest) = (Vec::new(), sql);
    while out.len() < MOST_TOKENS {
        rest = rest.trim_start();
        let Some(c) = rest.chars().next() else { break };
        let after = |marker: &str, rest: &str| rest.find(marker).map_or(rest.len(), |i| i + marker.len());
        if rest.starts_with("/*!") || rest.starts_with("/*M!") {
            // what stands in it is meant; a version number may come first
            rest = rest.trim_start_matches(['/', '*', 'M', '!']).trim_start_matches(|c: char| c.is_ascii_digit());
        } else if rest.starts_with("*/") {
            rest = &rest[2..];
        } else if rest.starts_with("/*") {
            rest = &rest[after("*/", rest)..];
        } else if c == '#' || rest.starts_with("-- ") {
            rest = &rest[after("\n", rest)..];
        } else if matches!(c, '`' | '"' | '\'') {
            let (name, more) = quoted(rest, c);
            out.push(Token::Name(name));
            rest = more;
        } else if c.is_alphanumeric() || matches!(c, '_' | '$') {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$'))).unwrap_or(rest.len());
            out.push(Token::Word(rest[..end].to_string()));
            rest = &rest[end..];
        } else {
            out.push(Token::Sign(c));
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// A quoted text, its quotes doubled inside, or, but in a name, behind a backslash.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut out = String::new();
    let mut all = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = all.next() {
        match c {
            '\\' if quote != '`' => out.extend(all.next().map(|(_, c)| c)),
            c if c != quote => out.push(c),
            _ if all.next_if(|(_, next)| *next == quote).is_some() => out.push(quote),
            _ => return (out, &text[at + 1..]),
        }
    }
    (out, "")
}

/// A cursor over tokens.
struct Cursor<'a> {
    tokens: &'a [Token],
    database: &'a str,
}

impl Cursor<'_> {
    fn word(&mut self, word: &str) -> bool {
        let hit = self.tokens.first().is_some_and(|t| t.is(word));
        if hit {
            self.tokens = &self.tokens[1..];
        }
        hit
    }
    fn sign(&mut self, sign: char) -> bool {
        let hit = self.tokens.first() == Some(&Token::Sign(sign));
        if hit {
            self.tokens = &self.tokens[1..];
        }
        hit
    }
    fn if_exists(&mut self) {
        let _ = self.word("if") && self.word("exists");
    }
    /// How long a lock is waited for (MariaDB): `WAIT n`, `NOWAIT`.
    fn wait(&mut self) {
        let _ = self.word("nowait") || self.word("wait") && self.name().is_some();
    }
    fn name(&mut self) -> Option<String> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        match first {
            Token::Word(name) | Token::Name(name) => Some(name.clone()),
            Token::Sign(_) => None,
        }
    }
    fn table(&mut self) -> Option<TableName> {
        let first = self.name()?;
        if self.sign('.') { Some(TableName::new(first, self.name()?)) } else { Some(TableName::new(self.database, first)) }
    }
    fn tables(&mut self) -> Vec<TableName> {
        let mut out = Vec::new();
        while let Some(table) = self.table() {
            out.push(table);
            if !self.sign(',') {
                break;
            }
        }
        out
    }
}

/// What a statement is. `database` is the one its bare names are of.
pub fn parse(sql: &str, database: &str) -> Statement {
    // the commonest ones, without a look at the rest
    match sql {
        "BEGIN" => return Statement::Begin,
        "COMMIT" => return Statement::Commit,
        _ => {}
    }
    let all = tokens(sql);
    let mut c = Cursor { tokens: &all, database };
    let verb = c.name().unwrap_or_default().to_ascii_lowercase();
    match verb.as_str() {
        "begin" | "start" => Statement::Begin,
        "commit" => Statement::Commit,
        "rollback" => if c.word("to") || c.word("work") && c.word("to") { Statement::Within } else { Statement::Rollback },
        "savepoint" | "release" => Statement::Within,
        "xa" => if c.word("commit") || c.word("rollback") { Statement::XaEnd } else { Statement::Within },
        "truncate" => {
            c.word("table");
            c.table().map_or(Statement::Other, Statement::Truncate)
        }
        "drop" if c.word("database") || c.word("schema") => {
            c.if_exists();
            c.name().map_or(Statement::Other, Statement::DropDatabase)
        }
        "drop" if c.word("table") || c.word("tables") => {
            c.if_exists();
            Statement::Drop(c.tables())
        }
        "create" if c.word("or") && c.word("replace") && c.word("table") => c.table().map_or(Statement::Other, |t| Statement::Drop(vec![t])),
        "rename" if c.word("table") || c.word("tables") => renamed(&mut c),
        "alter" => altered(&mut c),
        "insert" | "update" | "delete" | "replace" | "load" | "with" => Statement::Rows,
        _ => Statement::Other,
    }
}

/// RENAME TABLE [IF EXISTS] a [WAIT n] TO b, ...
fn renamed(c: &mut Cursor<'_>) -> Statement {
    let mut pairs = Vec::new();
    c.if_exists();
    while let Some(from) = c.table() {
        c.wait();
        let to = if c.word("to") { c.table() } else { None };
        let Some(to) = to else { break };
        pairs.push((from, to));
        if !c.sign(',') {
            break;
        }
    }
    Statement::Rename(pairs)
}

/// ALTER TABLE t RENAME [TO|AS] u, or what it does to partitions, tablespaces and foreign keys, among whatever else.
fn altered(c: &mut Cursor<'_>) -> Statement {
    while c.word("online") || c.word("offline") || c.word("ignore") {}
    if !c.word("table") {
        return Statement::Other;
    }
    c.if_exists();
    let Some(from) = c.table() else { return Statement::Other };
    let mut depth = 0;
    while let Some((token, rest)) = c.tokens.split_first() {
        c.tokens = rest;
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth -= 1,
            // a list of definitions may have keys, too
            token if token.is("on") && cascades(c) => return Statement::Cascade(from),
            _ if depth > 0 => {}
            token if token.is("rename") => {
                if c.word("column") || c.word("index") || c.word("key") {
                    continue;
                }
                let _ = c.word("to") || c.word("as") || c.sign('=');
                return c.table().map_or(Statement::Other, |to| Statement::Rename(vec![(from, to)]));
            }
            token => {
                if let Some(other) = unlogged(token, c) {
                    return Statement::RowsUnlogged([from].into_iter().chain(other).collect());
                }
            }
        }
    }
    Statement::Other
}

/// What follows the ON of a foreign key lets the engine change rows.
fn cascades(c: &mut Cursor<'_>) -> bool {
    (c.word("delete") || c.word("update")) && (c.word("cascade") || c.word("set") && (c.word("null") || c.word("default")))
}

/// A clause by which rows come or go that no event has, with the other table it names.
fn unlogged(token: &Token, c: &mut Cursor<'_>) -> Option<Option<TableName>> {
    let next = |c: &Cursor<'_>, word: &str| c.tokens.first().is_some_and(|t| t.is(word));
    if token.is("drop") || token.is("truncate") {
        return next(c, "partition").then_some(None);
    }
    if token.is("discard") || token.is("import") {
        return (next(c, "tablespace") || next(c, "partition")).then_some(None);
    }
    // EXCHANGE PARTITION p WITH TABLE u, CONVERT PARTITION p TO TABLE u, CONVERT TABLE u TO PARTITION p
    let moves = token.is("exchange") && next(c, "partition") || token.is("convert") && (next(c, "partition") || next(c, "table"));
    if !moves {
        return None;
    }
    while !c.tokens.is_empty() && !c.word("table") {
        c.tokens = &c.tokens[1..];
    }
    Some(c.table())
}

/// A table in the making under such a name takes the other one's place with all of its rows (gh-ost, pt-online-schema-change and what works as
/// they do): its rows are the same, which no other rename says.
pub fn is_copy_of(copy: &TableName, table: &TableName) -> bool {
    let plain = copy.name.trim_start_matches('_');
    let of = plain.strip_suffix("_gho").or_else(|| plain.strip_suffix("_new"));
    let same = |name: &str| name.eq_ignore_ascii_case(table.name.trim_start_matches('_'));
    copy.name.starts_with('_') && copy.schema.eq_ignore_ascii_case(&table.schema) && of.is_some_and(same)
}

/// The statement has the table's name somewhere in it.
pub fn mentions(sql: &[u8], table: &TableName) -> bool {
    let name = table.name.as_bytes();
    sql.windows(name.len().max(1)).any(|w| w.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(schema: &str, name: &str) -> TableName {
        TableName::new(schema, name)
    }

    #[test]
    fn statements_are_known() {
        assert_eq!(parse("/* x */ TRUNCATE TABLE `a``b`", "d"), Statement::Truncate(t("d", "a`b")));
        assert_eq!(parse("truncate s.t", "d"), Statement::Truncate(t("s", "t")));
        assert_eq!(parse("DROP TABLE IF EXISTS `t`,`s`.`u` /* generated by server */", "d"), Statement::Drop(vec![t("d", "t"), t("s", "u")]));
        assert_eq!(parse("DROP TEMPORARY TABLE t", "d"), Statement::Other);
        assert_eq!(parse("RENAME TABLE t TO _t_del, `_t_gho` TO t", "d"), Statement::Rename(vec![(t("d", "t"), t("d", "_t_del")), (t("d", "_t_gho"), t("d", "t"))]));
        assert_eq!(parse("ALTER TABLE t ADD c int DEFAULT (rename), RENAME COLUMN a TO b, RENAME TO u", "d"), Statement::Rename(vec![(t("d", "t"), t("d", "u"))]));
        assert_eq!(parse("ALTER TABLE t RENAME COLUMN a TO b", "d"), Statement::Other);
        assert_eq!(parse("CREATE OR REPLACE TABLE t (a int)", "d"), Statement::Drop(vec![t("d", "t")]));
        let one = |sql: &str| parse(sql, "d");
        assert_eq!(one("RENAME TABLE IF EXISTS t WAIT 5 TO u, v NOWAIT TO w"), Statement::Rename(vec![(t("d", "t"), t("d", "u")), (t("d", "v"), t("d", "w"))]));
        assert_eq!((one("DROP DATABASE IF EXISTS `shop`"), one("drop schema x")), (Statement::DropDatabase("shop".into()), Statement::DropDatabase("x".into())));
        assert_eq!((one("DROP TABLES a, b WAIT 3"), one("DROP VIEW v")), (Statement::Drop(vec![t("d", "a"), t("d", "b")]), Statement::Other));
        let unlogged = |names: &[&str]| Statement::RowsUnlogged(names.iter().map(|n| t("d", n)).collect());
        for sql in ["DROP PARTITION p", "TRUNCATE PARTITION ALL", "DISCARD TABLESPACE", "IMPORT PARTITION p TABLESPACE"] {
            assert_eq!(one(&format!("ALTER TABLE t {sql}")), unlogged(&["t"]), "{sql}");
        }
        for sql in ["EXCHANGE PARTITION p WITH TABLE u WITHOUT VALIDATION", "CONVERT PARTITION p TO TABLE u", "CONVERT TABLE u TO PARTITION p VALUES LESS THAN (9)"] {
            assert_eq!(one(&format!("ALTER TABLE IF EXISTS t NOWAIT {sql}")), unlogged(&["t", "u"]), "{sql}");
        }
        for sql in ["ADD (CONSTRAINT k FOREIGN KEY (p) REFERENCES u (id) ON UPDATE CASCADE)", "COMMENT 'it\\'s', ADD FOREIGN KEY (p) REFERENCES u (id) ON DELETE CASCADE", "ADD c int, ADD CONSTRAINT k FOREIGN KEY (p) REFERENCES d.u (id) ON DELETE RESTRICT ON UPDATE SET NULL"] {
            assert_eq!(one(&format!("ALTER TABLE t {sql}")), Statement::Cascade(t("d", "t")), "{sql}");
        }
        for sql in ["ADD FOREIGN KEY (p) REFERENCES u (id) ON DELETE NO ACTION", "ADD s timestamp DEFAULT now() ON UPDATE now()", "COMMENT 'don\\'t rename x'", "CONVERT TO CHARACTER SET utf8mb4", "DROP COLUMN `partition`", "ADD PARTITION (PARTITION p VALUES LESS THAN (5))", "REORGANIZE PARTITION p INTO (PARTITION q VALUES IN (1))"] {
            assert_eq!(one(&format!("ALTER TABLE t {sql}")), Statement::Other, "{sql}");
        }
        let copies = |name: &str| is_copy_of(&t("d", name), &t("d", "Orders"));
        assert!(copies("_orders_gho") && copies("__orders_new") && !copies("orders_new") && !copies("_orders_old") && !copies("_other_gho"));
        assert_eq!((parse("XA COMMIT X'61'", ""), parse("XA START 'a'", "")), (Statement::XaEnd, Statement::Within));
        assert_eq!((parse("ROLLBACK TO `s`", ""), parse("ROLLBACK", ""), parse("/*!40000 INSERT */ INTO t", "")), (Statement::Within, Statement::Rollback, Statement::Rows));
        assert_eq!((parse("", ""), parse("'", ""), parse("-- nothing", "")), (Statement::Other, Statement::Other, Statement::Other));
        assert!(mentions(b"ALTER TABLE `Orders` ADD x int", &t("d", "orders")) && !mentions(b"x", &t("d", "orders")));
    }
}
