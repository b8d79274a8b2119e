//! Tables of sources: SYNC, REFRESH, DETACH, SHOW TABLES FROM SOURCE, DESCRIBE.

use super::Cursor;
use super::options::Mode;
use crate::ast::options::Options;
use crate::ast::table::{Describe, DescribeTarget, DetachTable, RefreshTable, ShowTables, SyncTable, Tables};
use crate::ast::{Ident, ObjectName, Statement};
use crate::error::SyntaxError;

type Result<T = Statement> = std::result::Result<T, SyntaxError>;

/// `schema.table`.
const SOURCE_TABLE_PARTS: usize = 2;
/// `source.schema.table`.
const FULL_TABLE_PARTS: usize = 3;

pub(crate) fn sync_table(c: &mut Cursor) -> Result {
    let tables = Tables::Named(table_list(c)?);
    let (source, options) = from_source(c)?;
    Ok(Statement::SyncTable(SyncTable { tables, source, options }))
}

pub(crate) fn sync_tables(c: &mut Cursor) -> Result {
    let tables = if c.eat(&["LIKE"]) { Tables::Like(c.string("a pattern")?) } else { Tables::All };
    let (source, options) = from_source(c)?;
    Ok(Statement::SyncTable(SyncTable { tables, source, options }))
}

pub(crate) fn refresh_table(c: &mut Cursor) -> Result {
    let tables = Tables::Named(table_list(c)?);
    let (source, options) = from_source(c)?;
    Ok(Statement::RefreshTable(RefreshTable { tables, source, options }))
}

pub(crate) fn refresh_tables(c: &mut Cursor) -> Result {
    let (source, options) = from_source(c)?;
    Ok(Statement::RefreshTable(RefreshTable { tables: Tables::All, source, options }))
}

/// `FROM SOURCE s [WITH ( ... )]`.
fn from_source(c: &mut Cursor) -> Result<(Ident, Options)> {
    c.expect(&["FROM", "SOURCE"])?;
    let source = c.name("source name")?;
    let options = if c.eat(&["WITH"]) { c.options(Mode::Strict)? } else { Options::default() };
    Ok((source, options))
}

/// `schema.table, ...`.
pub(super) fn table_list(c: &mut Cursor) -> Result<Vec<ObjectName>> {
    c.list(|c| c.object_name("table name", SOURCE_TABLE_PARTS))
}

pub(crate) fn detach(c: &mut Cursor) -> Result {
    let table = c.object_name("table name", SOURCE_TABLE_PARTS)?;
    c.expect(&["FROM", "SOURCE"])?;
    let source = c.name("source name")?;
    Ok(Statement::DetachTable(DetachTable { table, source }))
}

pub(crate) fn show_tables(c: &mut Cursor) -> Result {
    let source = c.name("source name")?;
    let available = c.eat(&["AVAILABLE"]);
    Ok(Statement::ShowTables(ShowTables { source, available }))
}

pub(crate) fn is_describe_model(c: &Cursor) -> bool {
    c.are_words(0, &["DESCRIBE", "MODEL"]) && c.is_name(2)
}

/// After DESCRIBE: a word that is followed by a name says what kind of thing is named, alone it is a table.
pub(crate) fn describe(c: &mut Cursor) -> Result {
    let target = if c.is_word(0, "PIPE") && c.is_name(1) {
        c.skip(1);
        DescribeTarget::Pipe(c.name("pipe name")?)
    } else if c.is_word(0, "SOURCE") && c.is_name(1) {
        c.skip(1);
        DescribeTarget::Source(c.name("source name")?)
    } else {
        c.note("PIPE");
        c.note("SOURCE");
        DescribeTarget::Table(c.object_name("table name", FULL_TABLE_PARTS)?)
    };
    Ok(Statement::Describe(Describe { target }))
}

pub(crate) fn show_columns(c: &mut Cursor) -> Result {
    let target = DescribeTarget::Table(c.object_name("table name", FULL_TABLE_PARTS)?);
    Ok(Statement::Describe(Describe { target }))
}
