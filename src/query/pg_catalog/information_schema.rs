//! Relations of `information_schema` whose rows describe our databases.

use super::dynamic::Make;
use super::relations;
use super::table::Table;
use crate::error::Result;
use crate::query::context::StatementContext;
use crate::query::function::catalog::sql_name;
use crate::query::function::value::Value;
use crate::query::model::{Attribute, DatabaseModel, Relation};
use crate::system_row;

/// The relations and who makes their rows.
pub const MAKERS: &[(&str, Make)] = &[
    ("schemata", schemata),
    ("tables", tables),
    ("columns", columns),
    ("views", views),
    ("table_constraints", table_constraints),
    ("key_column_usage", key_column_usage),
    ("constraint_column_usage", constraint_column_usage),
    ("information_schema_catalog_name", catalog_name),
    ("enabled_roles", enabled_roles),
    ("applicable_roles", applicable_roles),
];

fn schema<'a>(m: &'a DatabaseModel, r: &Relation) -> &'a str {
    m.schemas.get(&r.schema).map_or("", String::as_str)
}

fn schemata(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for name in m.schemas.values() {
        t.row(system_row! { "catalog_name" => m.name.as_str(), "schema_name" => name.as_str(), "schema_owner" => super::roles::OWNER });
    }
    Ok(())
}

fn kind(kind: char) -> &'static str {
    match kind {
        'v' => "VIEW",
        'f' => "FOREIGN",
        _ => "BASE TABLE",
    }
}

fn tables(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    let system = relations().iter().map(|r| (r.schema, r.name, r.kind));
    for (schema, name, k) in system.chain(m.relations.iter().map(|r| (schema(m, r), r.name.as_str(), r.kind))) {
        t.row(system_row! {
            "table_catalog" => m.name.as_str(), "table_schema" => schema, "table_name" => name, "table_type" => kind(k), "is_insertable_into" => "NO", "is_typed" => "NO",
        });
    }
    Ok(())
}

fn columns(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for r in relations() {
        for (i, (name, pg_type, not_null)) in r.columns.iter().enumerate() {
            let c = Attribute { name: name.to_string(), pg_type: pg_type.to_string(), typmod: -1, not_null: *not_null, default: None, comment: None };
            column(m, r.schema, r.name, i, &c, *not_null, t);
        }
    }
    for r in &m.relations {
        for (i, c) in r.columns.iter().enumerate() {
            column(m, schema(m, r), &r.name, i, c, c.not_null || r.key.contains(&i), t);
        }
    }
    Ok(())
}

fn column(m: &DatabaseModel, schema: &str, table: &str, i: usize, c: &Attribute, not_null: bool, t: &mut Table) {
    let array = c.pg_type.starts_with('_');
    let data_type = if array { "ARRAY".to_string() } else { sql_name(&c.pg_type, -1).trim_matches('"').to_string() };
    let length = match c.pg_type.as_str() {
        "varchar" | "bpchar" if c.typmod >= 4 => Value::from(c.typmod - 4),
        _ => Value::Null,
    };
    // precision and scale in binary or decimal digits (information_schema.sql)
    let (precision, radix, scale) = match c.pg_type.as_str() {
        "int2" => (Value::Int(16), Value::Int(2), Value::Int(0)),
        "int4" => (Value::Int(32), Value::Int(2), Value::Int(0)),
        "int8" => (Value::Int(64), Value::Int(2), Value::Int(0)),
        "float4" => (Value::Int(24), Value::Int(2), Value::Null),
        "float8" => (Value::Int(53), Value::Int(2), Value::Null),
        "numeric" if c.typmod >= 4 => ((((c.typmod - 4) >> 16) & 0xffff).into(), Value::Int(10), ((((c.typmod - 4) & 0x7ff) ^ 1024) - 1024).into()),
        "numeric" => (Value::Null, Value::Int(10), Value::Null),
        _ => (Value::Null, Value::Null, Value::Null),
    };
    let fraction = match c.pg_type.as_str() {
        "time" | "timetz" | "timestamp" | "timestamptz" | "interval" => Value::from(if c.typmod >= 0 { c.typmod } else { 6 }),
        "date" => Value::Int(0),
        _ => Value::Null,
    };
    let octets = match (&length, c.pg_type.as_str()) {
        (Value::Int(n), _) => Value::Int(n * 4),
        (_, "text" | "varchar") => Value::Int(1 << 30),
        _ => Value::Null,
    };
    t.row(system_row! {
        "table_catalog" => m.name.as_str(), "table_schema" => schema, "table_name" => table, "column_name" => c.name.as_str(), "ordinal_position" => i + 1,
        "column_default" => Value::opt(c.default.clone()), "is_nullable" => if not_null { "NO" } else { "YES" }, "data_type" => data_type,
        "character_maximum_length" => length, "character_octet_length" => octets, "numeric_precision" => precision, "numeric_precision_radix" => radix,
        "numeric_scale" => scale, "datetime_precision" => fraction, "udt_catalog" => m.name.as_str(), "udt_schema" => "pg_catalog", "udt_name" => c.pg_type.as_str(),
        "dtd_identifier" => (i + 1).to_string(), "is_self_referencing" => "NO", "is_identity" => "NO", "identity_cycle" => "NO", "is_generated" => "NEVER",
        "is_updatable" => "NO",
    });
}

fn views(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for r in m.relations.iter().filter(|r| r.kind == 'v') {
        t.row(system_row! {
            "table_catalog" => m.name.as_str(), "table_schema" => schema(m, r), "table_name" => r.name.as_str(), "check_option" => "NONE", "is_updatable" => "NO",
            "is_insertable_into" => "NO", "is_trigger_updatable" => "NO", "is_trigger_deletable" => "NO", "is_trigger_insertable_into" => "NO",
        });
    }
    Ok(())
}

fn table_constraints(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for r in m.relations.iter().filter(|r| !r.key.is_empty()) {
        let s = schema(m, r);
        t.row(system_row! {
            "constraint_catalog" => m.name.as_str(), "constraint_schema" => s, "constraint_name" => r.key_name(), "table_catalog" => m.name.as_str(), "table_schema" => s,
            "table_name" => r.name.as_str(), "constraint_type" => "PRIMARY KEY", "is_deferrable" => "NO", "initially_deferred" => "NO", "enforced" => "YES",
        });
    }
    Ok(())
}

fn key_column_usage(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for r in &m.relations {
        let s = schema(m, r);
        for (i, &k) in r.key.iter().enumerate() {
            t.row(system_row! {
                "constraint_catalog" => m.name.as_str(), "constraint_schema" => s, "constraint_name" => r.key_name(), "table_catalog" => m.name.as_str(),
                "table_schema" => s, "table_name" => r.name.as_str(), "column_name" => r.columns[k].name.as_str(), "ordinal_position" => i + 1,
            });
        }
    }
    Ok(())
}

fn constraint_column_usage(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    for r in &m.relations {
        let s = schema(m, r);
        for &k in &r.key {
            t.row(system_row! {
                "table_catalog" => m.name.as_str(), "table_schema" => s, "table_name" => r.name.as_str(), "column_name" => r.columns[k].name.as_str(),
                "constraint_catalog" => m.name.as_str(), "constraint_schema" => s, "constraint_name" => r.key_name(),
            });
        }
    }
    Ok(())
}

fn catalog_name(_: &StatementContext, m: &DatabaseModel, t: &mut Table) -> Result<()> {
    t.row(system_row! { "catalog_name" => m.name.as_str() });
    Ok(())
}

fn enabled_roles(cx: &StatementContext, _: &DatabaseModel, t: &mut Table) -> Result<()> {
    t.row(system_row! { "role_name" => cx.user.as_str() });
    Ok(())
}

fn applicable_roles(cx: &StatementContext, _: &DatabaseModel, t: &mut Table) -> Result<()> {
    use standpipe_catalog::Roles;
    if let Some((_, role)) = cx.snapshot.named::<Roles>(&cx.user) {
        for m in &role.member_of {
            let name = cx.snapshot.get::<Roles>(&m.role).map(|r| r.name.clone());
            t.row(system_row! { "grantee" => cx.user.as_str(), "role_name" => Value::opt(name), "is_grantable" => if m.admin { "YES" } else { "NO" } });
        }
    }
    Ok(())
}
