//! PostgreSQL's rules of sqlparser, with four differences.
//!
//! Names in backquotes are names, so that statements written for IoTDB can be pasted. A backquote is no part of an operator.
//! And a function's argument is not tried as `expression : value` first: sqlparser parses each argument twice for that, so
//! that n nested calls cost 2^n, and `f(f(f(...)))` of thirty levels is an attack. (Only `json_object('a': 1)` is lost.)
//! Other forms are tried twice as well (POSITION, OVERLAY, ...), so the number of expressions tried is bounded, in
//! proportion to the length of the statement.
//!
//! sqlparser has no way to change one rule of a dialect but to pass on all the others: a test compares the outcome with
//! PostgreSQL's own dialect, statement by statement.

use std::cell::Cell;

use sqlparser::ast::Expr;
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};

const POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

/// Expressions that may be tried for each token, and for each statement besides. Without retries it is less than one.
const TRIES_PER_TOKEN: usize = 50;
const TRIES_PER_STATEMENT: usize = 5_000;

/// The dialect of everything that is cut into tokens or handed on: one value for each statement.
#[derive(Debug)]
pub(crate) struct Postgres {
    tries_left: Cell<usize>,
}

impl Postgres {
    pub(crate) fn for_tokens(count: usize) -> Self {
        let tries = count.saturating_mul(TRIES_PER_TOKEN).saturating_add(TRIES_PER_STATEMENT);
        Postgres { tries_left: Cell::new(tries) }
    }
}

/// Passes a question on to sqlparser's PostgreSQL dialect.
macro_rules! as_postgres {
    ($($method:ident ( $($argument:ident : $type:ty),* ) -> $answer:ty;)+) => {$(
        fn $method(&self $(, $argument: $type)*) -> $answer {
            POSTGRES.$method($($argument),*)
        }
    )+};
}

impl Dialect for Postgres {
    /// For the places where sqlparser asks for the dialect itself.
    fn dialect(&self) -> std::any::TypeId {
        POSTGRES.dialect()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`' || POSTGRES.is_delimited_identifier_start(ch)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        ch != '`' && POSTGRES.is_custom_operator_part(ch)
    }

    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    /// Called before each expression: here it only counts. This error is the one that sqlparser never tries again after.
    fn parse_prefix(&self, _: &mut Parser) -> Option<Result<Expr, ParserError>> {
        match self.tries_left.get().checked_sub(1) {
            Some(left) => {
                self.tries_left.set(left);
                None
            }
            None => Some(Err(ParserError::RecursionLimitExceeded)),
        }
    }

    as_postgres! {
        identifier_quote_style(identifier: &str) -> Option<char>;
        is_identifier_start(ch: char) -> bool;
        is_identifier_part(ch: char) -> bool;
        supports_unicode_string_literal() -> bool;
        is_reserved_for_identifier(kw: Keyword) -> bool;
        get_next_precedence(parser: &Parser) -> Option<Result<u8, ParserError>>;
        supports_filter_during_aggregation() -> bool;
        supports_group_by_expr() -> bool;
        prec_value(prec: Precedence) -> u8;
        allow_extract_custom() -> bool;
        allow_extract_single_quotes() -> bool;
        supports_create_index_with_clause() -> bool;
        supports_explain_with_utility_options() -> bool;
        supports_listen_notify() -> bool;
        supports_factorial_operator() -> bool;
        supports_bitwise_shift_operators() -> bool;
        supports_comment_on() -> bool;
        supports_load_extension() -> bool;
        supports_named_fn_args_with_colon_operator() -> bool;
        supports_empty_projections() -> bool;
        supports_nested_comments() -> bool;
        supports_string_escape_constant() -> bool;
        supports_numeric_literal_underscores() -> bool;
        supports_array_typedef_with_brackets() -> bool;
        supports_geometric_types() -> bool;
        supports_set_names() -> bool;
        supports_alter_column_type_using() -> bool;
        supports_notnull_operator() -> bool;
        supports_interval_options() -> bool;
        supports_insert_table_alias() -> bool;
        supports_create_table_like_parenthesized() -> bool;
        supports_select_wildcard_with_alias() -> bool;
        supports_comma_separated_trim() -> bool;
        supports_xml_expressions() -> bool;
        supports_comment_optimizer_hint() -> bool;
    }
}
