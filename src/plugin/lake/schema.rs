//! A lake table's metadata as its log has it: columns with their physical names, the protocol's features, and the changes of structure.
//!
//! A column has the name that users see and a physical one in the data files. They differ only under `delta.columnMapping.mode = name`,
//! which a name that Delta can't hold, or the first rename or drop of a column, turns on for that table.

use super::types::LakeType;
use crate::data::column::PG_TYPE_KEY;
use crate::error::{Error, Kind, Result};
use arrow::datatypes::{Field, Schema, SchemaRef};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use uuid::Uuid;

const MAPPING_MODE: &str = "delta.columnMapping.mode";
const MAPPING_MAX: &str = "delta.columnMapping.maxColumnId";
const MAPPING_ID: &str = "delta.columnMapping.id";
const MAPPING_NAME: &str = "delta.columnMapping.physicalName";
const PARQUET_ID: &str = "PARQUET:field_id";
/// Table property: the UUID of the pipe that owns the table.
pub const OWNER: &str = "standpipe.owner";
/// Table property: which copy of the source table this is.
pub const GENERATION: &str = "standpipe.generation";
/// Table property: the number of the table in the owner's catalog.
pub const TABLE_ID: &str = "standpipe.table";
/// Table property: the key's columns by physical name, as a JSON list.
const KEY: &str = "standpipe.key";
/// Characters that Parquet and Delta refuse in an unmapped column name.
const ODD: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\t', '='];

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub struct LakeColumn {
    /// The name users see.
    pub name: String,
    /// The name in the data files.
    pub physical: String,
    /// Number under column mapping.
    pub id: Option<i64>,
    /// Type.
    pub ty: LakeType,
    /// PostgreSQL type shown to clients.
    pub pg_type: String,
}

/// The `metaData` and `protocol` actions of a table version.
#[derive(Debug, Clone, PartialEq)]
pub struct TableMeta {
    /// Identity of the Delta table.
    pub id: String,
    /// Milliseconds since 1970-01-01.
    pub created: i64,
    /// In order.
    pub columns: Vec<LakeColumn>,
    /// Table properties.
    pub properties: BTreeMap<String, String>,
    /// Reader features, as the log names them.
    pub reader_features: BTreeSet<String>,
    /// Writer features.
    pub writer_features: BTreeSet<String>,
}

fn odd(name: &str) -> bool {
    name.contains(ODD)
}

impl TableMeta {
    /// The metadata of a new table: `columns` are (name, type, PostgreSQL type).
    pub fn create(columns: &[(String, LakeType, String)], properties: BTreeMap<String, String>, now: i64) -> Result<TableMeta> {
        let mut meta = TableMeta {
            id: Uuid::new_v4().to_string(),
            created: now,
            columns: vec![],
            properties,
            reader_features: BTreeSet::new(),
            writer_features: BTreeSet::new(),
        };
        meta.properties.insert("delta.enableDeletionVectors".into(), "true".into());
        meta.feature("deletionVectors");
        if columns.iter().any(|c| odd(&c.0)) {
            meta.turn_on_mapping();
        }
        for (name, ty, pg_type) in columns {
            meta.add_column(name, *ty, pg_type)?;
        }
        Ok(meta)
    }

    fn feature(&mut self, name: &str) {
        self.reader_features.insert(name.into());
        self.writer_features.insert(name.into());
    }

    /// Columns have physical names of their own.
    pub fn mapped(&self) -> bool {
        self.properties.get(MAPPING_MODE).is_some_and(|m| m != "none")
    }

    fn turn_on_mapping(&mut self) {
        if self.mapped() {
            return;
        }
        self.feature("columnMapping");
        self.properties.insert(MAPPING_MODE.into(), "name".into());
        for (i, column) in self.columns.iter_mut().enumerate() {
            column.id = Some(i as i64 + 1);
        }
        self.properties.insert(MAPPING_MAX.into(), self.columns.len().to_string());
    }

    fn position(&self, name: &str) -> Result<usize> {
        let found = self.columns.iter().position(|c| c.name == name);
        found.ok_or_else(|| Error::new(Kind::UndefinedColumn, format!("the lake table has no column \"{name}\"")))
    }

    /// Adds a column at the end. `DuplicateObject` where the name is there in any case (Delta's names are case-insensitive).
    pub fn add_column(&mut self, name: &str, ty: LakeType, pg_type: &str) -> Result<()> {
        if name.contains('\n') || name.is_empty() {
            return Err(Error::new(Kind::NotSupported, "a column name with a line break can't be kept in the lake")
                .with_detail(format!("column {name:?}"))
                .with_hint("Give it another name with a project-processor."));
        }
        if let Some(c) = self.columns.iter().find(|c| c.name.to_lowercase() == name.to_lowercase()) {
            return Err(Error::new(Kind::NotSupported, format!("column \"{name}\" can't be told from column \"{}\" in the lake", c.name))
                .with_detail("names of columns in a Delta table differ in more than case")
                .with_hint("Give one of them another name with a project-processor."));
        }
        if odd(name) {
            self.turn_on_mapping();
        }
        if ty == LakeType::TimestampNtz {
            self.feature("timestampNtz");
        }
        let (physical, id) = if self.mapped() {
            let next = self.properties.get(MAPPING_MAX).and_then(|m| m.parse::<i64>().ok()).unwrap_or(0) + 1;
            self.properties.insert(MAPPING_MAX.into(), next.to_string());
            (format!("col-{}", Uuid::new_v4()), Some(next))
        } else {
            (name.to_string(), None)
        };
        self.columns.push(LakeColumn { name: name.into(), physical, id, ty, pg_type: pg_type.into() });
        Ok(())
    }

    /// An emptied table takes new columns. Under column mapping their physical names and numbers are new ones too.
    pub fn replace_columns(&mut self, columns: &[(String, LakeType, String)]) -> Result<()> {
        self.columns.clear();
        for (name, ty, pg_type) in columns {
            self.add_column(name, *ty, pg_type)?;
        }
        Ok(())
    }

    /// This structure in the place of a live one: the table's identity, properties and features stay, and so does column mapping.
    pub fn replacing(&self, live: &TableMeta) -> TableMeta {
        let max = |m: &TableMeta| m.properties.get(MAPPING_MAX).and_then(|v| v.parse::<i64>().ok()).unwrap_or(0);
        let mut meta = self.clone();
        if live.mapped() && !meta.mapped() {
            meta.turn_on_mapping();
            for column in &mut meta.columns {
                column.id = column.id.map(|id| id + max(live));
            }
            let last = meta.columns.len() as i64 + max(live);
            meta.properties.insert(MAPPING_MAX.into(), last.to_string());
        }
        let last = max(&meta).max(max(live));
        let mapped = meta.mapped();
        meta.properties.extend(live.properties.iter().filter(|(k, _)| ![MAPPING_MODE, MAPPING_MAX, KEY].contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())));
        if mapped {
            meta.properties.insert(MAPPING_MAX.into(), last.to_string());
        }
        meta.id.clone_from(&live.id);
        meta.created = live.created;
        meta.reader_features.extend(live.reader_features.iter().cloned());
        meta.writer_features.extend(live.writer_features.iter().cloned());
        meta
    }

    /// Renames a column; its data files stay as they are.
    pub fn rename_column(&mut self, from: &str, to: &str) -> Result<()> {
        let at = self.position(from)?;
        if self.columns.iter().enumerate().any(|(i, c)| i != at && c.name.to_lowercase() == to.to_lowercase()) || to.contains('\n') {
            return Err(Error::new(Kind::NotSupported, format!("column \"{from}\" can't be renamed to \"{to}\" in the lake"))
                .with_hint("Give it another name with a project-processor, then RESYNC the table."));
        }
        self.turn_on_mapping();
        self.columns[at].name = to.into();
        Ok(())
    }

    /// Drops a column; its data files stay as they are.
    pub fn drop_column(&mut self, name: &str) -> Result<()> {
        let at = self.position(name)?;
        self.turn_on_mapping();
        self.columns.remove(at);
        Ok(())
    }

    /// Notes which columns are the key.
    pub fn set_key(&mut self, names: &[String]) -> Result<()> {
        let physical = names.iter().map(|n| Ok(self.columns[self.position(n)?].physical.clone())).collect::<Result<Vec<_>>>()?;
        self.properties.insert(KEY.into(), json!(physical).to_string());
        Ok(())
    }

    /// The key's columns; empty: no key is known.
    pub fn key(&self) -> Vec<usize> {
        let names: Vec<String> = self.properties.get(KEY).and_then(|k| serde_json::from_str(k).ok()).unwrap_or_default();
        let found: Option<Vec<usize>> = names.iter().map(|n| self.columns.iter().position(|c| c.physical == *n)).collect();
        found.unwrap_or_default()
    }

    /// The columns as users see them.
    pub fn schema(&self) -> SchemaRef {
        let field = |c: &LakeColumn| Field::new(&c.name, c.ty.arrow(), true).with_metadata(HashMap::from([(PG_TYPE_KEY.to_string(), c.pg_type.clone())]));
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    /// The columns as data files have them.
    pub fn physical_schema(&self) -> SchemaRef {
        let field = |c: &LakeColumn| {
            let ids = c.id.map(|id| (PARQUET_ID.to_string(), id.to_string()));
            Field::new(&c.physical, c.ty.arrow(), true).with_metadata(ids.into_iter().collect())
        };
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    /// The schema as Delta's JSON.
    fn schema_json(&self) -> Value {
        let fields = self.columns.iter().map(|c| {
            let mut metadata = Map::from_iter([(PG_TYPE_KEY.to_string(), json!(c.pg_type))]);
            if let Some(id) = c.id {
                metadata.insert(MAPPING_ID.into(), json!(id));
                metadata.insert(MAPPING_NAME.into(), json!(c.physical));
            }
            json!({"name": c.name, "type": c.ty.to_string(), "nullable": true, "metadata": metadata})
        });
        json!({"type": "struct", "fields": fields.collect::<Vec<_>>()})
    }

    /// The `metaData` action.
    pub fn action(&self) -> Value {
        json!({"metaData": {
            "id": self.id, "format": {"provider": "parquet", "options": {}}, "schemaString": self.schema_json().to_string(),
            "partitionColumns": [], "configuration": self.properties, "createdTime": self.created,
        }})
    }

    /// The `protocol` action.
    pub fn protocol_action(&self) -> Value {
        json!({"protocol": {
            "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": self.reader_features, "writerFeatures": self.writer_features,
        }})
    }

    /// Reads the two actions' contents. `NotSupported` for a table that somebody else made in a way this writer does not know.
    pub fn parse(metadata: &Value, protocol: &Value) -> Result<TableMeta> {
        let foreign = |what: &str| Error::new(Kind::NotSupported, "the lake table was not made by a pipe").with_detail(what.to_string());
        let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).map(str::to_string);
        let schema = text(metadata, "schemaString").ok_or_else(|| foreign("its metadata has no schema"))?;
        let schema: Value = serde_json::from_str(&schema).map_err(|e| foreign("its schema can't be read").because(e))?;
        let properties: BTreeMap<String, String> = metadata
            .get("configuration")
            .and_then(Value::as_object)
            .map(|m| m.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_string()))).collect())
            .unwrap_or_default();
        if metadata.get("partitionColumns").and_then(Value::as_array).is_some_and(|p| !p.is_empty()) {
            return Err(foreign("it is partitioned"));
        }
        let features = |key: &str| protocol.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(|v| Some(v.as_str()?.to_string())).collect();
        let columns = schema.get("fields").and_then(Value::as_array).ok_or_else(|| foreign("its schema has no columns"))?.iter();
        let columns = columns.map(|f| parse_column(f).ok_or_else(|| foreign(&format!("a column can't be written: {f}"))));
        Ok(TableMeta {
            id: text(metadata, "id").unwrap_or_default(),
            created: metadata.get("createdTime").and_then(Value::as_i64).unwrap_or_default(),
            columns: columns.collect::<Result<_>>()?,
            properties,
            reader_features: features("readerFeatures"),
            writer_features: features("writerFeatures"),
        })
    }
}

fn parse_column(field: &Value) -> Option<LakeColumn> {
    let name = field.get("name")?.as_str()?.to_string();
    let metadata = field.get("metadata");
    let of = |key: &str| metadata.and_then(|m| m.get(key));
    Some(LakeColumn {
        physical: of(MAPPING_NAME).and_then(Value::as_str).unwrap_or(&name).to_string(),
        id: of(MAPPING_ID).and_then(Value::as_i64),
        ty: LakeType::parse(field.get("type")?.as_str()?)?,
        pg_type: of(PG_TYPE_KEY).and_then(Value::as_str).unwrap_or("text").to_string(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(names: &[&str]) -> TableMeta {
        let columns: Vec<_> = names.iter().map(|n| (n.to_string(), LakeType::Long, "int8".to_string())).collect();
        TableMeta::create(&columns, BTreeMap::new(), 0).expect("metadata")
    }

    fn reread(meta: &TableMeta) -> TableMeta {
        TableMeta::parse(&meta.action()["metaData"], &meta.protocol_action()["protocol"]).expect("its own form")
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut m = meta(&["id", "Größe"]);
        m.add_column("at", LakeType::TimestampNtz, "timestamp").expect("column");
        assert!(!m.mapped());
        assert!(m.writer_features.contains("timestampNtz"));
        assert_eq!(reread(&m), m);
        m.rename_column("at", "at time").expect("rename");
        assert!(m.mapped());
        assert_eq!(m.columns[2].physical, "at", "the files keep their name");
        m.drop_column("id").expect("drop");
        m.add_column("id", LakeType::String, "text").expect("a new column of the same name");
        assert_ne!(m.columns[2].physical, "id", "never the dropped column's data");
        assert_eq!(m.columns[2].id, Some(4));
        assert_eq!(reread(&m), m);
    }

    #[test]
    fn odd_names_turn_mapping_on_and_impossible_ones_are_refused() {
        assert!(meta(&["a b"]).mapped());
        let mut m = meta(&["a"]);
        assert_eq!(m.add_column("A", LakeType::Long, "int8").expect_err("case").kind(), Kind::NotSupported);
        assert_eq!(m.add_column("x\ny", LakeType::Long, "int8").expect_err("line break").kind(), Kind::NotSupported);
        assert_eq!(m.drop_column("z").expect_err("missing").kind(), Kind::UndefinedColumn);
    }
}
