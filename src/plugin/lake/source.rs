//! `type = 'lake'`: the tables of a lake as a source. They can be read, not followed.

use super::options::Lake;
use super::query::{self, At};
use super::scanner::LakeScanner;
use super::schema::LakeColumn;
use super::table::LakeTable;
use super::types::LakeType;
use crate::data::{Column, LogicalType, Position, TableName, TableVersion};
use crate::error::{Error, Kind, Result};
use crate::plugin::{Anchor, AnchorKind, AnchorRequest, Finding, FindingStatus, Needs, OpenRequest, Scanner, Source};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

const SYSTEM: &str = "lake";

/// See the file's head.
pub struct LakeSource {
    lake: Lake,
}

impl LakeSource {
    /// No IO.
    pub fn new(request: &OpenRequest) -> Result<LakeSource> {
        Ok(LakeSource { lake: Lake::open(request)? })
    }

    async fn names(&self) -> Result<Vec<TableName>> {
        let mut names = vec![];
        for schema in self.lake.location.schemas().await? {
            names.extend(self.lake.location.tables(&schema).await?.into_iter().map(|t| TableName::new(schema.clone(), t)));
        }
        Ok(names)
    }

    async fn version(&self, name: &TableName) -> Result<Option<TableVersion>> {
        let location = self.lake.location.table(&name.schema, &name.name)?;
        if !location.exists().await? {
            return Ok(None);
        }
        let table = LakeTable::new(location, self.lake.settings.clone(), self.lake.cache.clone());
        let state = table.lock().await?;
        let columns = state.meta.columns.iter().enumerate().map(|(i, c)| column(c, i)).collect();
        let mut version = TableVersion::new(name.clone(), columns, state.meta.key());
        version.estimated_rows = Some(state.files.values().map(|f| f.alive()).sum());
        Ok(Some(version))
    }
}

/// How a lake column's values travel.
fn column(c: &LakeColumn, at: usize) -> Column {
    let logical = match c.ty {
        LakeType::Boolean => LogicalType::Bool,
        LakeType::Short => LogicalType::Int16,
        LakeType::Integer => LogicalType::Int32,
        LakeType::Long => LogicalType::Int64,
        LakeType::Float => LogicalType::Float32,
        LakeType::Double => LogicalType::Float64,
        LakeType::Decimal(precision, scale) => LogicalType::Decimal { precision, scale: scale as i8 },
        LakeType::Binary => LogicalType::Bytes,
        LakeType::Date => LogicalType::Date,
        LakeType::Timestamp => LogicalType::TimestampTz,
        LakeType::TimestampNtz => LogicalType::Timestamp,
        LakeType::String => match c.pg_type.as_str() {
            "numeric" => LogicalType::DecimalText,
            "json" | "jsonb" => LogicalType::Json,
            "text" | "varchar" | "bpchar" | "name" | "uuid" => LogicalType::Text,
            _ => LogicalType::Opaque,
        },
    };
    Column { ordinal: at as i32 + 1, ..Column::new(&c.name, logical, c.ty.to_string(), &c.pg_type) }
}

#[async_trait]
impl Source for LakeSource {
    async fn tables(&mut self, wanted: Option<&[TableName]>) -> Result<Vec<TableVersion>> {
        let names = match wanted {
            Some(names) => names.to_vec(),
            None => self.names().await?,
        };
        let (mut found, mut missing) = (vec![], vec![]);
        for name in names {
            match self.version(&name).await {
                Ok(Some(version)) => found.push(version),
                Ok(None) => missing.push(name.to_string()),
                // A table that no pipe made does not hide the others.
                Err(e) if wanted.is_none() && e.kind() == Kind::NotSupported => tracing::warn!(table = %name, error = %e, "left out"),
                Err(e) => return Err(e),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        Err(Error::new(Kind::UndefinedTable, format!("{} of the tables are not in the lake", missing.len())).with_detail(missing.join("\n")))
    }

    async fn check(&mut self, needs: &Needs) -> Result<Vec<Finding>> {
        let at = self.lake.location.url().to_string();
        let finding = |check_name: &str, status, found: String, needed: &str, hint: String| Finding {
            check_name: check_name.into(),
            status,
            found,
            needed: needed.into(),
            hint,
        };
        let mut findings = vec![match self.lake.location.schemas().await {
            Ok(schemas) => finding("reachable", FindingStatus::Ok, format!("{} schemas at {at}", schemas.len()), "a directory that can be listed", String::new()),
            Err(e) => finding("reachable", FindingStatus::Failed, e.to_string(), "a directory that can be listed", format!("Check the path {at}.")),
        }];
        if needs.changes {
            findings.push(finding(
                "changes",
                FindingStatus::Failed,
                "a lake has no change log to follow".into(),
                "a source of changes",
                "Use realtime.enable = false.".into(),
            ));
        }
        Ok(findings)
    }

    async fn anchor(&mut self, request: AnchorRequest) -> Result<Anchor> {
        if request.kind != AnchorKind::Instant {
            return Err(Error::new(Kind::NotSupported, "changes of a lake can't be followed").with_hint("Use realtime.enable = false."));
        }
        let mut versions = BTreeMap::new();
        for table in &request.tables {
            let opened = query::open(&self.lake.location, &table.name.schema, &table.name.name, At::Now).await?;
            versions.insert(table.name.clone(), opened.version);
        }
        let versions = Arc::new(versions);
        let reader = || Box::new(LakeScanner::new(self.lake.clone(), versions.clone())) as Box<dyn Scanner>;
        let at = chrono::Utc::now();
        Ok(Anchor {
            position: Position::new(SYSTEM, at.timestamp_micros().to_be_bytes().to_vec(), at.to_rfc3339()),
            moving: false,
            identity: BTreeMap::from([("lake".to_string(), self.lake.location.url().to_string())]),
            readers: (0..request.readers.max(1)).map(|_| reader()).collect(),
            extractor: None,
            hold: Box::new(()),
        })
    }
}
