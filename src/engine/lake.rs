//! The server's own lake, as queries see it.

use crate::config::Config;
use crate::data::{Losses, TableName};
use crate::error::Result;
use crate::plugin::lake::location::Location;
use crate::plugin::lake::options::Lake;
use crate::plugin::lake::query::{self, At};
use crate::plugin::lake::verify;
use crate::plugin::{Open, OpenRequest, Options, lake};
use crate::query::{LakeAccess, LakeOpened, LakeTable, LakeTime};
use async_trait::async_trait;
use chrono::DateTime;
use std::path::Path;
use std::sync::Arc;

/// `standpipe check`: what is wrong with the server's lake, without changing it.
pub async fn verify(config: Arc<Config>, data_dir: &Path) -> Result<verify::Verified> {
    let request = OpenRequest { source: None, connection: Options::default(), options: Options::default(), config, data_dir: data_dir.to_path_buf(), losses: Losses::default() };
    verify::verify(&request).await
}

/// Reads the server's lake.
#[derive(Debug)]
pub struct OwnLake {
    request: OpenRequest,
    location: Location,
}

impl OwnLake {
    /// The lake where the settings say.
    pub fn open(config: Arc<Config>, data_dir: &Path) -> Result<OwnLake> {
        let request = OpenRequest { source: None, connection: Options::default(), options: Options::default(), config, data_dir: data_dir.to_path_buf(), losses: Losses::default() };
        let location = Lake::open(&request)?.location;
        Ok(OwnLake { request, location })
    }
}

#[async_trait]
impl LakeAccess for OwnLake {
    async fn tables(&self) -> Result<Vec<LakeTable>> {
        let Open::Source(open) = lake::SOURCE.open else { return Ok(Vec::new()) };
        let listed = open(self.request.clone())?.tables(None).await?;
        let table = |t: crate::data::TableVersion| LakeTable {
            schema: t.name.schema,
            name: t.name.name,
            columns: t.columns,
            key: t.key,
            comment: None,
            rows: t.estimated_rows,
            bytes: None,
        };
        Ok(listed.into_iter().map(table).collect())
    }
    async fn table(&self, schema: &str, name: &str, at: Option<LakeTime>) -> Result<Option<LakeOpened>> {
        // a name that no table can have is no table's
        let Ok(place) = self.location.table(schema, name) else { return Ok(None) };
        if !place.exists().await? {
            return Ok(None);
        }
        let at = match at {
            None => At::Now,
            Some(LakeTime::Version(v)) => At::Version(u64::try_from(v).unwrap_or(u64::MAX)),
            Some(LakeTime::Timestamp(t)) => At::Time(DateTime::from_timestamp_micros(t).unwrap_or_default()),
        };
        let provider = query::open(&self.location, schema, name, at).await?.provider;
        let Open::Source(open) = lake::SOURCE.open else { return Ok(None) };
        // Delta has fewer types than PostgreSQL: what a column was is kept beside it
        let described = open(self.request.clone())?.tables(Some(&[TableName::new(schema, name)])).await?;
        let types = described.into_iter().flat_map(|t| t.columns).map(|c| (c.name, c.pg_type)).collect();
        Ok(Some(LakeOpened { provider, types }))
    }
}
