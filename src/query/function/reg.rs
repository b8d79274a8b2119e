//! The types that are numbers and look like names: `regclass`, `regtype`, `regproc` ...: reading (a name or a number) and writing (the name,
//! with its schema where it is not seen without).

use super::text::{parse_ident, plain, quote_ident};
use super::value::Value;
use super::{Arg, Scalar};
use crate::error::{Error, Kind, Result};
use crate::query::context::StatementContext;
use crate::query::model::{INFORMATION_SCHEMA_OID, PG_CATALOG_OID};
use crate::query::{pg_catalog, types};
use standpipe_catalog::Roles;

const IN: Scalar = Scalar { name: "", args: &[&[Arg::A]], returns: "oid", strict: true, pure: false, model: true, call: |_, _| Ok(Value::Null) };
const OUT: Scalar = Scalar { returns: "text", ..IN };

/// The functions.
pub const FUNCTIONS: &[Scalar] = &[
    Scalar { name: "regclassin", returns: "regclass", call: |cx, a| read(cx, &a[0], class_oid, |n| Error::new(Kind::UndefinedTable, format!("relation \"{n}\" does not exist"))), ..IN },
    Scalar { name: "regtypein", returns: "regtype", call: |cx, a| read(cx, &a[0], type_oid, |n| no("type", n)), ..IN },
    Scalar { name: "regprocin", returns: "regproc", call: |cx, a| read(cx, &a[0], proc_oid, |n| no_function(n)), ..IN },
    Scalar { name: "regprocedurein", returns: "regprocedure", call: |cx, a| read(cx, &a[0], proc_oid, |n| no_function(n)), ..IN },
    Scalar { name: "regnamespacein", returns: "regnamespace", call: |cx, a| read(cx, &a[0], schema_oid, |n| Error::new(Kind::UndefinedSchema, format!("schema \"{n}\" does not exist"))), ..IN },
    Scalar { name: "regrolein", returns: "regrole", call: |cx, a| read(cx, &a[0], role_oid, |n| no("role", n)), ..IN },
    Scalar { name: "regoperin", returns: "regoper", call: |cx, a| read(cx, &a[0], none, |n| no("operator", n)), ..IN },
    Scalar { name: "regoperatorin", returns: "regoperator", call: |cx, a| read(cx, &a[0], none, |n| no("operator", n)), ..IN },
    Scalar { name: "regconfigin", returns: "regconfig", call: |cx, a| read(cx, &a[0], none, |n| no("text search configuration", n)), ..IN },
    Scalar { name: "regdictionaryin", returns: "regdictionary", call: |cx, a| read(cx, &a[0], none, |n| no("text search dictionary", n)), ..IN },
    Scalar { name: "regcollationin", returns: "regcollation", call: |cx, a| read(cx, &a[0], none, |n| no("collation", n)), ..IN },
    Scalar { name: "to_regclass", args: &[&[Arg::T]], returns: "regclass", call: |cx, a| quiet(cx, a[0].text(), class_oid), ..IN },
    Scalar { name: "to_regtype", args: &[&[Arg::T]], returns: "regtype", call: |cx, a| quiet(cx, a[0].text(), type_oid), ..IN },
    Scalar { name: "to_regproc", args: &[&[Arg::T]], returns: "regproc", call: |cx, a| quiet(cx, a[0].text(), proc_oid), ..IN },
    Scalar { name: "to_regprocedure", args: &[&[Arg::T]], returns: "regprocedure", call: |cx, a| quiet(cx, a[0].text(), proc_oid), ..IN },
    Scalar { name: "to_regnamespace", args: &[&[Arg::T]], returns: "regnamespace", call: |cx, a| quiet(cx, a[0].text(), schema_oid), ..IN },
    Scalar { name: "to_regrole", args: &[&[Arg::T]], returns: "regrole", call: |cx, a| quiet(cx, a[0].text(), role_oid), ..IN },
    Scalar { name: "regclassout", call: |cx, a| write(&a[0], |o| class_name(cx, o)), ..OUT },
    Scalar { name: "regtypeout", call: |cx, a| write(&a[0], |o| Ok(super::catalog::type_name(cx, o, -1))), ..OUT },
    Scalar { name: "regprocout", call: |_, a| write(&a[0], |o| Ok(pg_catalog::function_name(o))), ..OUT },
    Scalar { name: "regprocedureout", call: |_, a| write(&a[0], |o| Ok(pg_catalog::function_name(o))), ..OUT },
    Scalar { name: "regnamespaceout", call: |cx, a| write(&a[0], |o| Ok(cx.current()?.schemas.get(&o).map(|n| quote_ident(n)))), ..OUT },
    Scalar { name: "regroleout", call: |cx, a| write(&a[0], |o| Ok(super::catalog::role_name(cx, o).map(|n| quote_ident(&n)))), ..OUT },
    Scalar { name: "regoperout", call: |_, a| write(&a[0], |_| Ok(None)), ..OUT },
    Scalar { name: "regoperatorout", call: |_, a| write(&a[0], |_| Ok(None)), ..OUT },
    Scalar { name: "regconfigout", call: |_, a| write(&a[0], |_| Ok(None)), ..OUT },
    Scalar { name: "regdictionaryout", call: |_, a| write(&a[0], |_| Ok(None)), ..OUT },
    Scalar { name: "regcollationout", call: |_, a| write(&a[0], |_| Ok(None)), ..OUT },
];

type Find = fn(&StatementContext, &str) -> Result<Option<u32>>;

/// A number stays itself, whether there is such an object or not, as in PostgreSQL; a name is looked up.
fn read(cx: &StatementContext, v: &Value, find: Find, missing: fn(&str) -> Error) -> Result<Value> {
    let Value::Text(text) = v else { return Ok(v.clone()) };
    if text == "-" {
        return Ok(Value::Int(0));
    }
    if let Ok(n) = text.trim().parse::<u32>() {
        return Ok(n.into());
    }
    find(cx, text)?.map(Value::from).ok_or_else(|| missing(text))
}

fn quiet(cx: &StatementContext, text: &str, find: Find) -> Result<Value> {
    Ok(find(cx, text)?.map_or(Value::Null, Value::from))
}

fn write(v: &Value, name: impl FnOnce(u32) -> Result<Option<String>>) -> Result<Value> {
    let Value::Int(_) = v else { return Ok(Value::Text(plain(v))) };
    if v.int() == 0 {
        return Ok("-".into());
    }
    Ok(name(v.oid())?.unwrap_or_else(|| v.int().to_string()).into())
}

fn no(what: &str, name: &str) -> Error {
    Error::new(Kind::UndefinedObject, format!("{what} \"{name}\" does not exist"))
}

fn no_function(name: &str) -> Error {
    Error::new(Kind::UndefinedFunction, format!("function \"{name}\" does not exist"))
}

fn none(_: &StatementContext, _: &str) -> Result<Option<u32>> {
    Ok(None)
}

/// A relation's OID by its name, along the search path where it has no schema.
pub fn class_oid(cx: &StatementContext, text: &str) -> Result<Option<u32>> {
    let parts = parse_ident(text)?;
    let model = cx.current()?;
    let in_schema = |schema: &str, name: &str| match model.schema(schema)? {
        oid @ (PG_CATALOG_OID | INFORMATION_SCHEMA_OID) => {
            let own = model.relations.iter().find(|r| r.schema == oid && r.name == name).map(|r| r.oid);
            own.or_else(|| pg_catalog::relation(schema, name).map(|r| r.oid))
        }
        oid => model.relations.iter().find_map(|r| if r.schema == oid && r.name == name { Some(r.oid) } else { (r.schema == oid && r.key_name() == name && !r.key.is_empty()).then(|| r.key_oid()) }),
    };
    Ok(match parts.as_slice() {
        [name] => std::iter::once("pg_catalog").chain(cx.search_path.iter().map(String::as_str)).find_map(|s| in_schema(s, name)),
        [schema, name] => in_schema(schema, name),
        [database, schema, name] if *database == cx.database => in_schema(schema, name),
        _ => None,
    })
}

/// A relation's name, with its schema where the search path does not lead to it.
pub fn class_name(cx: &StatementContext, oid: u32) -> Result<Option<String>> {
    let model = cx.current()?;
    if let Some(r) = pg_catalog::relation_by_oid(oid) {
        let name = quote_ident(&r.name);
        return Ok(Some(if r.schema == "pg_catalog" { name } else { format!("{}.{name}", r.schema) }));
    }
    let found = model.relation(oid).map(|r| (r.schema, r.name.clone()));
    let found = found.or_else(|| model.relations.iter().find(|r| !r.key.is_empty() && r.key_oid() == oid).map(|r| (r.schema, r.key_name())));
    let Some((schema, name)) = found else { return Ok(None) };
    let seen = class_oid(cx, &quote_ident(&name))? == Some(oid);
    let schema = model.schemas.get(&schema).map(|s| quote_ident(s)).unwrap_or_default();
    Ok(Some(if seen { quote_ident(&name) } else { format!("{schema}.{}", quote_ident(&name)) }))
}

fn type_oid(_: &StatementContext, text: &str) -> Result<Option<u32>> {
    use datafusion::sql::sqlparser::{dialect::PostgreSqlDialect, parser::Parser};
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut p| p.parse_data_type());
    let name = parsed.ok().and_then(|t| types::written_name(&t));
    Ok(name.and_then(|n| types::oid_of(&n)).or_else(|| pg_catalog::type_oid(text)))
}

fn proc_oid(_: &StatementContext, text: &str) -> Result<Option<u32>> {
    let name = text.split('(').next().unwrap_or(text).trim();
    let parts = parse_ident(name)?;
    Ok(parts.last().and_then(|n| pg_catalog::function_oid(n)))
}

fn schema_oid(cx: &StatementContext, text: &str) -> Result<Option<u32>> {
    let parts = parse_ident(text)?;
    Ok(cx.current()?.schema(&parts.join(".")))
}

fn role_oid(cx: &StatementContext, text: &str) -> Result<Option<u32>> {
    let parts = parse_ident(text)?;
    Ok(cx.snapshot.named::<Roles>(&parts.join(".")).map(|(oid, _)| oid.0))
}
