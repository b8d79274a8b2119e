//! The rights of a login, as SHOW GRANTS lists them: a statement per object, its rights parted by commas.
//! (MySQL manual, SHOW GRANTS Statement; Specifying Account Names and Database Privileges)

use super::wire::Wire;
use crate::data::TableName;
use crate::error::Result;

/// All rights of a login.
#[derive(Debug, Default)]
pub struct Grants {
    list: Vec<Grant>,
    by_role: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Grant {
    /// In upper case; ALL PRIVILEGES is one of them.
    rights: Vec<String>,
    on: Object,
}

#[derive(Debug, PartialEq, Eq)]
enum Object {
    Everything,
    /// A pattern: `%` and `_` stand for any characters, a backslash takes that from them.
    Database(String),
    Table(String, String),
}

impl Grants {
    /// Asks the server.
    pub async fn of(wire: &mut Wire) -> Result<Grants> {
        let rows = wire.rows("could not read the login's rights", "SHOW GRANTS").await?;
        let mut out = Grants::default();
        rows.into_iter().filter_map(|r| r.into_iter().next().flatten()).for_each(|line| out.read(&line));
        Ok(out)
    }
    /// May do everything.
    pub fn everything() -> Grants {
        Grants { list: vec![Grant { rights: vec!["ALL PRIVILEGES".into()], on: Object::Everything }], by_role: false }
    }
    fn read(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("GRANT ") else { return };
        match outside(rest, " ON ") {
            Some((rights, on)) => {
                if let Some(on) = object(on) {
                    self.list.push(Grant { rights: rights_in(rights), on });
                }
            }
            None => self.by_role = true,
        }
    }
    /// It has roles too, whose rights are not listed with its own.
    pub fn by_role(&self) -> bool {
        self.by_role
    }
    /// Has it on everything.
    pub fn everywhere(&self, right: &str) -> bool {
        self.any(right, |on| *on == Object::Everything)
    }
    /// Has it on everything of a database.
    pub fn on_database(&self, right: &str, database: &str) -> bool {
        self.any(right, |on| on.holds(database))
    }
    /// Has it on a table, or on columns of it.
    pub fn on_table(&self, right: &str, table: &TableName) -> bool {
        let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
        self.any(right, |on| on.holds(&table.schema) || matches!(on, Object::Table(d, t) if same(d, &table.schema) && same(t, &table.name)))
    }
    fn any(&self, right: &str, on: impl Fn(&Object) -> bool) -> bool {
        self.list.iter().any(|g| on(&g.on) && g.rights.iter().any(|r| r == right || r == "ALL PRIVILEGES" || r == "ALL"))
    }
}

impl Object {
    fn holds(&self, database: &str) -> bool {
        match self {
            Object::Everything => true,
            // on some servers names that differ in case are one database's: a right too much seen is told by the server itself later
            Object::Database(pattern) => like(&pattern.to_lowercase().chars().collect::<Vec<_>>(), &database.to_lowercase().chars().collect::<Vec<_>>()),
            Object::Table(..) => false,
        }
    }
}

fn like(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|n| like(rest, &text[n..])),
        ['_', rest @ ..] => !text.is_empty() && like(rest, &text[1..]),
        ['\\', c, rest @ ..] | [c, rest @ ..] => text.first() == Some(c) && like(rest, &text[1..]),
    }
}

/// Parts a text at what stands outside of quotes.
fn outside<'a>(text: &'a str, what: &str) -> Option<(&'a str, &'a str)> {
    let mut quoted = false;
    for (i, c) in text.char_indices() {
        quoted ^= c == '`';
        if !quoted && text[i..].starts_with(what) {
            return Some((&text[..i], &text[i + what.len()..]));
        }
    }
    None
}

/// `SELECT (a, b), INSERT`: the rights' names.
fn rights_in(text: &str) -> Vec<String> {
    let (mut out, mut name, mut depth, mut quoted) = (Vec::new(), String::new(), 0, false);
    for c in text.chars() {
        quoted ^= c == '`';
        match c {
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => out.push(std::mem::take(&mut name)),
            _ if depth == 0 => name.push(c),
            _ => {}
        }
    }
    out.push(name);
    out.into_iter().map(|n| n.trim().to_ascii_uppercase()).collect()
}

/// `*.*`, a database or a table; None: a procedure, a proxy.
fn object(text: &str) -> Option<Object> {
    let (object, _) = outside(text, " TO ")?;
    if object == "*.*" {
        return Some(Object::Everything);
    }
    let (database, table) = outside(object, ".")?;
    let name = |quoted: &str| Some(quoted.strip_prefix('`')?.strip_suffix('`')?.replace("``", "`"));
    let database = name(database)?;
    Some(if table == "*" { Object::Database(database) } else { Object::Table(database, name(table)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(lines: &[&str]) -> Grants {
        let mut out = Grants::default();
        lines.iter().for_each(|line| out.read(line));
        out
    }

    #[test]
    fn rights_hold_where_they_were_given() {
        let g = grants(&[
            "GRANT USAGE ON *.* TO 'bob'@'127.0.0.1' IDENTIFIED BY PASSWORD '*6B'",
            "GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION",
            "GRANT EXECUTE ON PROCEDURE `d`.`p` TO 'bob'@'127.0.0.1'",
            "GRANT SELECT (`a, ON `, b), INSERT ON `shop`.`or``ders` TO `bob`@`127.0.0.1`",
            "GRANT SELECT, CREATE TEMPORARY TABLES ON `my\\_%`.* TO `bob`@`127.0.0.1`",
            "GRANT ALL PRIVILEGES ON `_standpipe`.* TO `bob`@`127.0.0.1`",
        ]);
        let orders = TableName::new("shop", "or`ders");
        assert!(g.on_table("SELECT", &orders) && g.on_table("INSERT", &orders) && !g.on_table("DELETE", &orders));
        assert!(!g.on_table("SELECT", &TableName::new("shop", "other")) && !g.on_database("SELECT", "shop"));
        assert!(g.on_database("SELECT", "my_shop") && !g.on_database("SELECT", "myXshop") && !g.on_database("CREATE", "my_shop"));
        assert!(g.on_database("DROP", "_standpipe") && g.on_database("DROP", "XSTANDPIPE"));
        assert!(!g.everywhere("SELECT") && !g.by_role());
    }

    #[test]
    fn roles_are_seen_and_everything_is_everything() {
        let g = grants(&["GRANT `reader`@`%` TO `bob`@`%`", "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `bob`@`%`"]);
        assert!(g.by_role() && g.everywhere("BINLOG MONITOR") && g.on_database("REPLICATION SLAVE", "d") && !g.everywhere("MONITOR"));
    }
}
