//! Functions over the system tables: definitions, comments, visibility, privileges, sizes.

use super::text::quote_ident;
use super::value::Value;
use super::{Arg, Scalar};
use crate::error::{Error, Kind, Result};
use crate::query::context::StatementContext;
use crate::query::model::{Attribute, DatabaseModel, Relation};
use crate::query::{pg_catalog, types};
use Arg::{A, B, I, T};
use standpipe_catalog::{Oid, Roles};

const MODEL: Scalar = Scalar { name: "", args: &[&[I]], returns: "text", strict: true, pure: false, model: true, call: |_, _| Ok(Value::Null) };
const ANY_VISIBLE: Scalar = Scalar { returns: "bool", model: false, call: |_, _| Ok(true.into()), ..MODEL };
const PRIVILEGE: Scalar = Scalar { args: &[&[A, T], &[A, A, T]], returns: "bool", model: false, call: |_, a| privilege(a), ..MODEL };

/// The functions.
pub const FUNCTIONS: &[Scalar] = &[
    Scalar { name: "format_type", args: &[&[I, I]], strict: false, call: format_type, ..MODEL },
    Scalar { name: "obj_description", args: &[&[I, T], &[I]], call: obj_description, ..MODEL },
    Scalar { name: "col_description", args: &[&[I, I]], call: |cx, a| Ok(Value::opt(attribute(cx, &a[0], &a[1])?.and_then(|c| c.1))), ..MODEL },
    Scalar { name: "shobj_description", args: &[&[I, T]], call: shobj_description, ..MODEL },
    Scalar { name: "pg_get_expr", args: &[&[T, I], &[T, I, B]], model: false, call: |_, a| Ok(a[0].clone()), ..MODEL },
    Scalar { name: "pg_get_viewdef", args: &[&[A], &[A, B], &[A, I]], call: |cx, a| view_definition(cx, &a[0]), ..MODEL },
    Scalar { name: "pg_get_indexdef", args: &[&[I], &[I, I, B]], call: index_definition, ..MODEL },
    Scalar { name: "pg_get_constraintdef", args: &[&[I], &[I, B]], call: constraint_definition, ..MODEL },
    Scalar { name: "pg_get_userbyid", returns: "name", model: false, call: |cx, a| Ok(role_name(cx, a[0].oid()).unwrap_or_else(|| format!("unknown (OID={})", a[0].int())).into()), ..MODEL },
    Scalar { name: "pg_get_function_arguments", model: false, call: |cx, a| Ok(Value::opt(function_arguments(cx, a[0].oid()))), ..MODEL },
    Scalar { name: "pg_get_function_identity_arguments", model: false, call: |cx, a| Ok(Value::opt(function_arguments(cx, a[0].oid()))), ..MODEL },
    Scalar { name: "pg_get_function_result", model: false, call: |cx, a| Ok(Value::opt(function_result(cx, a[0].oid()))), ..MODEL },
    Scalar { name: "pg_get_functiondef", model: false, ..MODEL },
    Scalar { name: "pg_get_function_sqlbody", model: false, ..MODEL },
    Scalar { name: "pg_get_triggerdef", args: &[&[I], &[I, B]], model: false, ..MODEL },
    Scalar { name: "pg_get_ruledef", args: &[&[I], &[I, B]], model: false, ..MODEL },
    Scalar { name: "pg_get_partkeydef", model: false, ..MODEL },
    Scalar { name: "pg_get_partition_constraintdef", model: false, ..MODEL },
    Scalar { name: "pg_get_statisticsobjdef", model: false, ..MODEL },
    Scalar { name: "pg_get_statisticsobjdef_columns", model: false, ..MODEL },
    Scalar { name: "pg_get_serial_sequence", args: &[&[T, T]], model: false, ..MODEL },
    Scalar { name: "pg_tablespace_location", model: false, call: |_, _| Ok("".into()), ..MODEL },
    Scalar { name: "pg_relation_filenode", args: &[&[A]], returns: "oid", model: false, ..MODEL },
    Scalar { name: "pg_relation_is_publishable", returns: "bool", args: &[&[A]], model: false, call: |_, _| Ok(false.into()), ..MODEL },
    Scalar { name: "pg_relation_is_updatable", args: &[&[A, B]], returns: "int4", model: false, call: |_, _| Ok(Value::Int(0)), ..MODEL },
    Scalar { name: "pg_column_is_updatable", args: &[&[A, I, B]], returns: "bool", model: false, call: |_, _| Ok(false.into()), ..MODEL },
    Scalar { name: "pg_stat_get_numscans", returns: "int8", model: false, call: |_, _| Ok(Value::Int(0)), ..MODEL },
    Scalar { name: "pg_table_is_visible", returns: "bool", call: table_is_visible, ..MODEL },
    Scalar { name: "pg_type_is_visible", ..ANY_VISIBLE },
    Scalar { name: "pg_function_is_visible", ..ANY_VISIBLE },
    Scalar { name: "pg_operator_is_visible", ..ANY_VISIBLE },
    Scalar { name: "pg_opclass_is_visible", ..ANY_VISIBLE },
    Scalar { name: "pg_opfamily_is_visible", ..ANY_VISIBLE },
    Scalar { name: "pg_collation_is_visible", ..ANY_VISIBLE },
    Scalar { name: "pg_conversion_is_visible", ..ANY_VISIBLE },
    Scalar { name: "pg_ts_config_is_visible", ..ANY_VISIBLE },
    Scalar { name: "pg_ts_dict_is_visible", ..ANY_VISIBLE },
    Scalar { name: "pg_ts_parser_is_visible", ..ANY_VISIBLE },
    Scalar { name: "pg_ts_template_is_visible", ..ANY_VISIBLE },
    Scalar { name: "pg_statistics_obj_is_visible", ..ANY_VISIBLE },
    Scalar { name: "has_table_privilege", ..PRIVILEGE },
    Scalar { name: "has_schema_privilege", ..PRIVILEGE },
    Scalar { name: "has_database_privilege", ..PRIVILEGE },
    Scalar { name: "has_any_column_privilege", ..PRIVILEGE },
    Scalar { name: "has_function_privilege", ..PRIVILEGE },
    Scalar { name: "has_type_privilege", ..PRIVILEGE },
    Scalar { name: "has_sequence_privilege", ..PRIVILEGE },
    Scalar { name: "has_language_privilege", ..PRIVILEGE },
    Scalar { name: "has_tablespace_privilege", ..PRIVILEGE },
    Scalar { name: "has_server_privilege", ..PRIVILEGE },
    Scalar { name: "has_foreign_data_wrapper_privilege", ..PRIVILEGE },
    Scalar { name: "has_column_privilege", args: &[&[A, A, T], &[A, A, A, T]], ..PRIVILEGE },
    Scalar { name: "pg_has_role", args: &[&[A, T], &[A, A, T]], returns: "bool", model: false, call: has_role, ..MODEL },
    Scalar { name: "pg_relation_size", args: &[&[A], &[A, T]], returns: "int8", call: relation_size, ..MODEL },
    Scalar { name: "pg_total_relation_size", args: &[&[A]], returns: "int8", call: relation_size, ..MODEL },
    Scalar { name: "pg_table_size", args: &[&[A]], returns: "int8", call: relation_size, ..MODEL },
    Scalar { name: "pg_indexes_size", args: &[&[A]], returns: "int8", model: false, call: |_, _| Ok(Value::Int(0)), ..MODEL },
    Scalar { name: "pg_database_size", args: &[&[A]], returns: "int8", call: database_size, ..MODEL },
    Scalar { name: "pg_tablespace_size", args: &[&[A]], returns: "int8", model: false, call: |_, _| Ok(Value::Int(0)), ..MODEL },
];

/// A type's name as SQL writes it, with its modifier: `numeric(10,2)`, `character varying(20)`, `integer[]`.
pub fn sql_name(name: &str, typmod: i32) -> String {
    if let Some(element) = name.strip_prefix('_') {
        return format!("{}[]", sql_name(element, typmod));
    }
    let length = |n: i32| if typmod >= 4 { format!("({})", n - 4) } else { String::new() };
    let precision = || if typmod >= 0 { format!("({typmod})") } else { String::new() };
    match name {
        "bool" => "boolean".into(),
        "int2" => "smallint".into(),
        "int4" => "integer".into(),
        "int8" => "bigint".into(),
        "float4" => "real".into(),
        "float8" => "double precision".into(),
        "varchar" => format!("character varying{}", length(typmod)),
        // a bpchar without length is not the same as character(1)
        "bpchar" if typmod < 4 => "character".into(),
        "bpchar" => format!("character{}", length(typmod)),
        "char" => "\"char\"".into(),
        "numeric" if typmod >= 4 => {
            let packed = typmod - 4;
            // precision in the upper half, scale as eleven signed bits (numeric.c of PostgreSQL 15)
            let scale = ((packed & 0x7ff) ^ 1024) - 1024;
            format!("numeric({},{scale})", (packed >> 16) & 0xffff)
        }
        "time" => format!("time{} without time zone", precision()),
        "timetz" => format!("time{} with time zone", precision()),
        "timestamp" => format!("timestamp{} without time zone", precision()),
        "timestamptz" => format!("timestamp{} with time zone", precision()),
        "varbit" => format!("bit varying{}", precision()),
        "bit" => format!("bit{}", precision()),
        "interval" if (0..=6).contains(&(typmod & 0xffff)) && typmod >= 0 => format!("interval({})", typmod & 0xffff),
        other => other.into(),
    }
}

/// The name of a type by OID.
pub fn type_name(_: &StatementContext, oid: u32, typmod: i32) -> Option<String> {
    let name = types::name_of(oid).or_else(|| pg_catalog::type_name(oid))?;
    Some(sql_name(&name, typmod))
}

fn format_type(cx: &StatementContext, a: &[Value]) -> Result<Value> {
    let Value::Int(oid) = a[0] else { return Ok(Value::Null) };
    if oid == 0 {
        return Ok("-".into());
    }
    let typmod = if let Value::Int(m) = a[1] { i32::try_from(m).unwrap_or(-1) } else { -1 };
    Ok(type_name(cx, a[0].oid(), typmod).unwrap_or_else(|| "???".to_string()).into())
}

/// A role's name by OID.
pub fn role_name(cx: &StatementContext, oid: u32) -> Option<String> {
    let stored = cx.snapshot.get::<Roles>(&Oid(oid)).map(|r| r.name.clone());
    stored.or_else(|| (oid == crate::query::model::OWNER_OID).then(|| pg_catalog::roles::OWNER.to_string()))
}

fn obj_description(cx: &StatementContext, a: &[Value]) -> Result<Value> {
    let model = cx.current()?;
    let class = a.get(1).map_or("pg_class", Value::text);
    if class == "pg_class"
        && let Some(r) = model.relation(a[0].oid())
    {
        return Ok(Value::opt(r.comment.clone()));
    }
    Ok(Value::opt(pg_catalog::system_comment(class, a[0].oid())))
}

fn shobj_description(cx: &StatementContext, a: &[Value]) -> Result<Value> {
    let oid = a[0].oid();
    match a[1].text() {
        "pg_database" => {
            cx.current()?;
            let all = cx.models.get().into_iter().flat_map(|m| m.values());
            Ok(Value::opt(all.filter(|m| m.oid == oid).find_map(|m| m.comment.clone())))
        }
        "pg_authid" => Ok(Value::opt(cx.snapshot.get::<Roles>(&Oid(oid)).and_then(|r| r.comment.clone()))),
        _ => Ok(Value::Null),
    }
}

/// Name and comment of a column.
fn attribute(cx: &StatementContext, relation: &Value, number: &Value) -> Result<Option<(String, Option<String>)>> {
    let model = cx.current()?;
    let at = usize::try_from(number.int() - 1).ok();
    let found = model.relation(relation.oid()).zip(at).and_then(|(r, i)| r.columns.get(i));
    Ok(found.map(|c: &Attribute| (c.name.clone(), c.comment.clone())))
}

fn view_definition(cx: &StatementContext, v: &Value) -> Result<Value> {
    let oid = if let Value::Text(name) = v { super::reg::class_oid(cx, name)?.unwrap_or(0) } else { v.oid() };
    let model = cx.current()?;
    let definition = |r: &Relation| {
        let columns: Vec<_> = r.columns.iter().map(|c| quote_ident(&c.name)).collect();
        let schema = model.schemas.get(&r.schema).map(|s| quote_ident(s)).unwrap_or_default();
        format!(" SELECT {}\n   FROM {schema}.{};", columns.join(",\n    "), quote_ident(&r.name))
    };
    Ok(Value::opt(model.relation(oid).filter(|r| r.kind == 'v').map(definition)))
}

fn keyed(model: &DatabaseModel, oid: u32, of: fn(&Relation) -> u32) -> Option<&Relation> {
    model.relations.iter().find(|r| !r.key.is_empty() && of(r) == oid)
}

fn key_columns(r: &Relation) -> String {
    r.key.iter().map(|&i| quote_ident(&r.columns[i].name)).collect::<Vec<_>>().join(", ")
}

fn index_definition(cx: &StatementContext, a: &[Value]) -> Result<Value> {
    let model = cx.current()?;
    let Some(r) = keyed(&model, a[0].oid(), Relation::key_oid) else { return Ok(Value::Null) };
    if let Some(column) = a.get(1).filter(|c| c.int() > 0) {
        let at = usize::try_from(column.int() - 1).unwrap_or(usize::MAX);
        return Ok(Value::opt(r.key.get(at).map(|&i| quote_ident(&r.columns[i].name))).or_empty());
    }
    // written for people, a schema that the search path leads to is left out
    let pretty = a.get(2).is_some_and(Value::bool);
    let table = match super::reg::class_name(cx, r.oid)? {
        Some(name) if pretty => name,
        _ => format!("{}.{}", model.schemas.get(&r.schema).map(|s| quote_ident(s)).unwrap_or_default(), quote_ident(&r.name)),
    };
    Ok(format!("CREATE UNIQUE INDEX {} ON {table} USING btree ({})", quote_ident(&r.key_name()), key_columns(r)).into())
}

impl Value {
    fn or_empty(self) -> Value {
        if self == Value::Null { "".into() } else { self }
    }
}

fn constraint_definition(cx: &StatementContext, a: &[Value]) -> Result<Value> {
    let model = cx.current()?;
    let found = keyed(&model, a[0].oid(), Relation::constraint_oid);
    Ok(Value::opt(found.map(|r| format!("PRIMARY KEY ({})", key_columns(r)))))
}

fn function_arguments(cx: &StatementContext, oid: u32) -> Option<String> {
    let types = pg_catalog::function_types(oid)?.0;
    Some(types.into_iter().map(|t| type_name(cx, t, -1).unwrap_or_else(|| "???".into())).collect::<Vec<_>>().join(", "))
}

fn function_result(cx: &StatementContext, oid: u32) -> Option<String> {
    let (_, result, set) = pg_catalog::function_types(oid)?;
    let name = type_name(cx, result, -1)?;
    Some(if set { format!("SETOF {name}") } else { name })
}

/// In the search path, and not hidden by a relation of the same name before it.
fn table_is_visible(cx: &StatementContext, a: &[Value]) -> Result<Value> {
    let oid = a[0].oid();
    if let Some(r) = pg_catalog::relation_by_oid(oid) {
        return Ok((r.schema == "pg_catalog").into());
    }
    let model = cx.current()?;
    let found = model.relation(oid).map(|r| r.name.clone()).or_else(|| keyed(&model, oid, Relation::key_oid).map(Relation::key_name));
    let Some(name) = found else { return Ok(Value::Null) };
    Ok((super::reg::class_oid(cx, &quote_ident(&name))? == Some(oid)).into())
}

/// Queries read and nothing else: whoever may connect sees the system tables, rows are checked when they are read.
fn privilege(a: &[Value]) -> Result<Value> {
    let wanted = a.last().map(|v| v.text().to_lowercase()).unwrap_or_default();
    let mut any = false;
    for word in wanted.split(',') {
        let word = word.trim().trim_end_matches(" with grant option");
        any |= match word {
            "select" | "usage" | "connect" | "execute" => true,
            "insert" | "update" | "delete" | "truncate" | "references" | "trigger" | "create" | "temporary" | "temp" | "set" | "alter system" | "maintain" => false,
            other => return Err(Error::new(Kind::BadOption, format!("unrecognized privilege type: \"{other}\""))),
        };
    }
    Ok(any.into())
}

fn has_role(cx: &StatementContext, a: &[Value]) -> Result<Value> {
    let (user, role) = match a {
        [role, _] => (Value::Text(cx.user.clone()), role),
        [user, role, ..] => (user.clone(), role),
        _ => return Ok(Value::Null),
    };
    let find = |v: &Value| match v {
        Value::Text(name) => cx.snapshot.named::<Roles>(name).map(|(o, _)| o),
        other => Some(Oid(other.oid())),
    };
    let (Some(user), Some(role)) = (find(&user), find(role)) else { return Ok(false.into()) };
    let (mut seen, mut next) = (std::collections::BTreeSet::new(), vec![user]);
    while let Some(oid) = next.pop() {
        if oid == role {
            return Ok(true.into());
        }
        if seen.insert(oid)
            && let Some(r) = cx.snapshot.get::<Roles>(&oid)
        {
            if r.superuser {
                return Ok(true.into());
            }
            next.extend(r.member_of.iter().map(|m| m.role));
        }
    }
    Ok(false.into())
}

fn relation_size(cx: &StatementContext, a: &[Value]) -> Result<Value> {
    let oid = if let Value::Text(name) = &a[0] { super::reg::class_oid(cx, name)?.unwrap_or(0) } else { a[0].oid() };
    let model = cx.current()?;
    // what a source holds is not known here: no bytes of ours
    Ok(Value::Int(model.relation(oid).and_then(|r| r.bytes).and_then(|b| i64::try_from(b).ok()).unwrap_or(0)))
}

fn database_size(cx: &StatementContext, a: &[Value]) -> Result<Value> {
    cx.current()?;
    let wanted = |m: &DatabaseModel| if let Value::Text(name) = &a[0] { m.name == *name } else { m.oid == a[0].oid() };
    let all = cx.models.get().into_iter().flat_map(|m| m.values());
    let bytes: u64 = all.filter(|m| wanted(m)).flat_map(|m| m.relations.iter().filter_map(|r| r.bytes)).sum();
    Ok(Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_as_postgresql_writes_them() {
        // read off format_type() of a PostgreSQL 15
        let cases = [
            ("numeric", 983046, "numeric(15,2)"),
            ("numeric", -1, "numeric"),
            ("varchar", 14, "character varying(10)"),
            ("bpchar", 5, "character(1)"),
            ("_int4", -1, "integer[]"),
            ("timestamptz", 3, "timestamp(3) with time zone"),
            ("char", -1, "\"char\""),
        ];
        for (name, typmod, text) in cases {
            assert_eq!(sql_name(name, typmod), text);
        }
    }
}
