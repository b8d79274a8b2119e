//! PostgreSQL's own rows: types, functions, operators and what belongs to them. They come from the tables that datafusion-pg-catalog carries and
//! are put into PostgreSQL 15's columns once, when first asked for.

use super::{SystemRelation, relation};
use crate::error::{Error, Result};
use crate::query::function::value::{Value, of_array, to_array};
use arrow::array::RecordBatch;
use datafusion_pg_catalog::pg_catalog::{ArrowTable, PgCatalogStaticTables};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

static TABLES: LazyLock<std::result::Result<PgCatalogStaticTables, String>> = LazyLock::new(|| PgCatalogStaticTables::try_new().map_err(|e| e.to_string()));
static CONVERTED: LazyLock<Mutex<HashMap<&'static str, RecordBatch>>> = LazyLock::new(Default::default);

fn source(name: &str) -> Result<Option<Arc<ArrowTable>>> {
    let t = TABLES.as_ref().map_err(|e| Error::internal("the built-in system tables can't be read").with_detail(e.clone()))?;
    Ok(Some(match name {
        "pg_aggregate" => t.pg_aggregate.clone(),
        "pg_am" => t.pg_am.clone(),
        "pg_amop" => t.pg_amop.clone(),
        "pg_amproc" => t.pg_amproc.clone(),
        "pg_cast" => t.pg_cast.clone(),
        "pg_collation" => t.pg_collation.clone(),
        "pg_conversion" => t.pg_conversion.clone(),
        "pg_language" => t.pg_language.clone(),
        "pg_opclass" => t.pg_opclass.clone(),
        "pg_operator" => t.pg_operator.clone(),
        "pg_opfamily" => t.pg_opfamily.clone(),
        "pg_proc" => t.pg_proc.clone(),
        "pg_range" => t.pg_range.clone(),
        "pg_ts_config" => t.pg_ts_config.clone(),
        "pg_ts_dict" => t.pg_ts_dict.clone(),
        "pg_ts_parser" => t.pg_ts_parser.clone(),
        "pg_ts_template" => t.pg_ts_template.clone(),
        "pg_type" => t.pg_type.clone(),
        "pg_tablespace" => t.pg_tablespace.clone(),
        "pg_description" => t.pg_description.clone(),
        _ => return Ok(None),
    }))
}

/// System functions for FROM whose rows never change.
pub fn table_functions() -> Vec<(&'static str, Arc<ArrowTable>)> {
    TABLES.as_ref().map(|t| vec![("pg_get_keywords", t.pg_get_keywords.clone())]).unwrap_or_default()
}

/// The rows of a relation, if PostgreSQL has rows of its own in it.
pub fn rows(relation: &'static SystemRelation) -> Result<Option<RecordBatch>> {
    if let Some(done) = CONVERTED.lock().get(relation.name) {
        return Ok(Some(done.clone()));
    }
    let Some(table) = source(relation.name)? else { return Ok(None) };
    let batch = convert(relation, &table)?;
    CONVERTED.lock().insert(relation.name, batch.clone());
    Ok(Some(batch))
}

/// The columns that PostgreSQL 15 has, by name and in its types.
fn convert(relation: &SystemRelation, table: &ArrowTable) -> Result<RecordBatch> {
    let whole = arrow::compute::concat_batches(&table.schema(), table.data())?;
    let rows = whole.num_rows();
    let mut columns = Vec::with_capacity(relation.columns.len());
    for (field, (name, pg_type, _)) in relation.fields.fields().iter().zip(&relation.columns) {
        columns.push(match whole.column_by_name(name) {
            None => arrow::array::new_null_array(field.data_type(), rows),
            Some(c) if c.data_type() == field.data_type() => c.clone(),
            Some(c) => {
                let values: Vec<Value> = of_array(c)?.into_iter().map(|v| convert_value(v, pg_type, relation.name)).collect();
                to_array(field.data_type(), &values)?
            }
        });
    }
    Ok(RecordBatch::try_new(relation.fields.clone(), columns)?)
}

/// A value in the column's type: numbers may come as text, functions by their names.
fn convert_value(v: Value, pg_type: &str, of: &str) -> Value {
    match (pg_type, v) {
        ("regproc", Value::Text(name)) => match name.parse::<i64>() {
            Ok(n) => Value::Int(n),
            Err(_) if name == "-" || name.is_empty() => Value::Int(0),
            // pg_proc itself is what names are looked up in
            Err(_) if of == "pg_proc" => Value::Int(0),
            Err(_) => function_oid(&name).map_or(Value::Int(0), Value::from),
        },
        ("oid" | "int4" | "int2" | "int8" | "xid" | "regtype" | "regclass", Value::Text(t)) => t.parse::<i64>().map_or(Value::Null, Value::Int),
        ("bool", Value::Text(t)) => Value::Bool(t == "t" || t == "true"),
        ("float4" | "float8", Value::Text(t)) => t.parse::<f64>().map_or(Value::Null, Value::Float),
        ("oidvector" | "int2vector", Value::Text(t)) => Value::List(t.split_whitespace().filter_map(|n| n.parse().ok()).map(Value::Int).collect()),
        (array, Value::Text(t)) if array.starts_with('_') => match crate::query::rewrite::cast::array_literal(&t) {
            Some(items) => Value::List(items.into_iter().map(|i| i.map_or(Value::Null, |i| convert_value(Value::Text(i), &array[1..], of))).collect()),
            None => Value::Null,
        },
        ("text" | "name" | "char" | "pg_node_tree" | "varchar", other @ (Value::Int(_) | Value::List(_))) => Value::Text(crate::query::function::text::plain(&other)),
        (_, v) => v,
    }
}

/// A function of PostgreSQL.
struct Function {
    name: String,
    arguments: Vec<u32>,
    result: u32,
    set: bool,
}

static FUNCTIONS: LazyLock<(HashMap<u32, Function>, HashMap<String, u32>)> = LazyLock::new(|| {
    let mut by_oid = HashMap::new();
    let mut by_name = HashMap::new();
    for row in columns("pg_proc", &["oid", "proname", "proargtypes", "prorettype", "proretset"]) {
        let (oid, name) = (row[0].oid(), row[1].text().to_string());
        let arguments = match &row[2] {
            Value::List(items) => items.iter().map(Value::oid).collect(),
            Value::Text(t) => t.split_whitespace().filter_map(|n| n.parse().ok()).collect(),
            _ => vec![],
        };
        by_name.entry(name.clone()).or_insert(oid);
        by_oid.insert(oid, Function { name, arguments, result: row[3].oid(), set: row[4].bool() || row[4].text() == "t" });
    }
    (by_oid, by_name)
});

static TYPE_NAMES: LazyLock<HashMap<u32, String>> = LazyLock::new(|| columns("pg_type", &["oid", "typname"]).into_iter().map(|r| (r[0].oid(), r[1].text().to_string())).collect());

static COMMENTS: LazyLock<HashMap<(u32, u32), String>> = LazyLock::new(|| {
    columns("pg_description", &["objoid", "classoid", "objsubid", "description"])
        .into_iter()
        .filter(|r| r[2].int() == 0)
        .map(|r| ((r[1].oid(), r[0].oid()), r[3].text().to_string()))
        .collect()
});

/// Some columns of a table as it comes.
fn columns(name: &str, wanted: &[&str]) -> Vec<Vec<Value>> {
    let Ok(Some(table)) = source(name) else { return vec![] };
    let mut out = Vec::new();
    for batch in table.data() {
        let all: Vec<Vec<Value>> = wanted
            .iter()
            .map(|w| batch.column_by_name(w).and_then(|c| of_array(c).ok()).unwrap_or_else(|| vec![Value::Null; batch.num_rows()]))
            .map(|c| c.into_iter().map(|v| if let Value::Text(t) = &v { t.parse().map_or(v, Value::Int) } else { v }).collect())
            .collect();
        out.extend((0..batch.num_rows()).map(|i| all.iter().map(|c| c[i].clone()).collect::<Vec<_>>()));
    }
    out
}

/// A function's name by OID.
pub fn function_name(oid: u32) -> Option<String> {
    FUNCTIONS.0.get(&oid).map(|f| f.name.clone())
}

/// A function's OID by name, the first where there are several.
pub fn function_oid(name: &str) -> Option<u32> {
    FUNCTIONS.1.get(name).copied()
}

/// A function's argument types, result type, and whether it gives a set.
pub fn function_types(oid: u32) -> Option<(Vec<u32>, u32, bool)> {
    FUNCTIONS.0.get(&oid).map(|f| (f.arguments.clone(), f.result, f.set))
}

/// A type's name by OID.
pub fn type_name(oid: u32) -> Option<String> {
    TYPE_NAMES.get(&oid).cloned()
}

/// A type's OID by its name in `pg_type`.
pub fn type_oid(name: &str) -> Option<u32> {
    let name = name.trim().trim_start_matches("pg_catalog.").trim_matches('"');
    TYPE_NAMES.iter().find(|(_, n)| *n == name).map(|(o, _)| *o)
}

/// PostgreSQL's own comment on an object of a system table.
pub fn system_comment(class: &str, oid: u32) -> Option<String> {
    COMMENTS.get(&(relation("pg_catalog", class)?.oid, oid)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_functions_are_found_both_ways() {
        assert_eq!(type_name(25).as_deref(), Some("text"));
        assert_eq!(type_oid("int4"), Some(23));
        let oid = function_oid("array_recv").expect("array_recv");
        assert_eq!((function_name(oid).as_deref(), oid), (Some("array_recv"), 2400));
        assert_eq!(function_types(oid).map(|t| t.1), Some(2277));
    }

    #[test]
    fn pg_type_has_postgresqls_columns_and_numbers() {
        let batch = rows(relation("pg_catalog", "pg_type").expect("pg_type")).expect("rows").expect("some");
        let oids = of_array(batch.column_by_name("oid").expect("oid")).expect("values");
        let at = oids.iter().position(|v| *v == Value::Int(1007)).expect("_int4");
        let receive = of_array(batch.column_by_name("typreceive").expect("typreceive")).expect("values");
        assert_eq!(receive[at], Value::Int(2400));
        assert_eq!(batch.num_columns(), 32);
    }
}
