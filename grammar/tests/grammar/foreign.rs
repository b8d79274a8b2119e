//! PostgreSQL's SQL is handed on untouched: what comes back is what sqlparser's own dialect for it yields.

use standpipe_grammar::sqlparser::dialect::PostgreSqlDialect;
use standpipe_grammar::sqlparser::parser::Parser;
use standpipe_grammar::{Statement, parse};

#[test]
fn handed_on_statements_are_those_of_the_postgres_dialect() {
    for sql in include_str!("foreign.sql").lines() {
        let theirs = Parser::parse_sql(&PostgreSqlDialect {}, sql);
        let ours = parse(sql);
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => {
                assert_eq!(theirs.len(), ours.len(), "{sql}");
                for (theirs, ours) in theirs.iter().zip(ours) {
                    let Statement::Sql(ours) = ours.statement else { panic!("ours: {sql}") };
                    assert_eq!(*theirs, *ours, "{sql}");
                }
            }
            (Err(_), Err(_)) => {}
            (theirs, ours) => panic!("{sql}\n{theirs:?}\n{ours:?}"),
        }
    }
}

/// What clients send and sqlparser cannot parse.
#[test]
fn postgres_spellings_are_put_into_known_ones() {
    let same = [
        ("ABORT WORK", "ROLLBACK"),
        ("TABLE t ORDER BY 1", "SELECT * FROM t ORDER BY 1"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE", "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY"),
        ("SET TRANSACTION READ ONLY NOT DEFERRABLE", "SET TRANSACTION READ ONLY"),
        ("SHOW TIME ZONE", "SHOW timezone"),
        ("SHOW SESSION AUTHORIZATION", "SHOW session_authorization"),
        ("SHOW TRANSACTION ISOLATION LEVEL", "SHOW transaction_isolation"),
        ("SELECT 'a'\n 'c'", "SELECT 'ac'"),
        ("SELECT 'a' -- b\n 'c'", "SELECT 'ac'"),
        ("SELECT `a b`", "SELECT \"a b\""),
    ];
    for (sql, wanted) in same {
        let parsed = parse(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(parsed[0].statement.to_string(), wanted);
        assert_eq!(parsed[0].text, sql);
    }
    let Statement::Sql(show) = &parse("SHOW My.Own").expect("well-formed")[0].statement else { panic!("not handed on") };
    let standpipe_grammar::sqlparser::ast::Statement::ShowVariable { variable } = show.as_ref() else { panic!("{show}") };
    assert_eq!(variable.iter().map(|part| part.value.as_str()).collect::<Vec<_>>(), ["my.own"]);
}

#[test]
fn statements_of_other_systems_are_syntax_errors() {
    for sql in ["USE x", "KILL 5", "PRAGMA x", "IF true THEN SELECT 1; END IF", "DESC t", "EXPLAIN EXPLAIN SELECT 1"] {
        assert!(parse(sql).is_err(), "{sql}");
    }
}
