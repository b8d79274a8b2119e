//! Where a lake lies: its URL, the object store behind it, and the directory of each table.

use super::fault;
use super::store::DurableLocal;
use super::sum::Checked;
use crate::error::{Error, Kind, Result};
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use url::Url;

const LOG: &str = "_delta_log";
/// Bytes of a directory's name that file systems take.
const LONGEST: usize = 255;

/// The root of a lake. Tables are in `<root>/<schema>/<table>`.
#[derive(Debug, Clone)]
pub struct Location {
    url: Url,
    prefix: Path,
    store: Arc<dyn ObjectStore>,
}

impl Location {
    /// A lake at a URL (`file:///...`, `s3://bucket/prefix`, ...) or an absolute path. `options` are the object store's own
    /// (`access_key_id`, `region`, `endpoint`, ...). No IO but the making of a client.
    pub fn open(at: &str, options: &BTreeMap<String, String>, fsync: bool) -> Result<Location> {
        let bad = |why: String| Error::new(Kind::BadOption, "the lake's location is not valid").with_detail(format!("{at}: {why}"));
        let mut url = if at.starts_with('/') {
            Url::from_directory_path(at).map_err(|()| bad("not an absolute path".into()))?
        } else {
            Url::parse(at).map_err(|e| bad(e.to_string()))?
        };
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| bad("not a local path".into()))?;
            let prefix = Path::from_url_path(url.path()).map_err(|e| bad(e.to_string()))?;
            if prefix.as_ref().contains('%') {
                return Err(bad(format!("readers of Delta tables can't open a directory whose name has a percent sign: {}", path.display())));
            }
            return Ok(Location { url, prefix, store: Arc::new(Checked(Arc::new(DurableLocal::new(fsync)))) });
        }
        let options = options.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let (store, prefix) = object_store::parse_url_opts(&url, options).map_err(|e| bad(e.to_string()))?;
        Ok(Location { url, prefix, store: Arc::new(Checked(Arc::from(store))) })
    }

    /// The lake's URL, with a slash at its end.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The place of one table.
    pub fn table(&self, schema: &str, table: &str) -> Result<TableLocation> {
        for (what, name) in [("schema", schema), ("table", table)] {
            if name.is_empty() || name.contains('\n') {
                return Err(Error::new(Kind::NotSupported, format!("a lake {what}'s name can't be empty or hold a line break")));
            }
        }
        let (schema_dir, table_dir) = (encode(schema), encode(table));
        for (what, dir) in [("schema", &schema_dir), ("table", &table_dir)] {
            if dir.len() > LONGEST {
                let e = Error::new(Kind::NotSupported, format!("a lake {what}'s name is too long"));
                return Err(e.with_detail(format!("Its directory's name would have {} bytes, and may have {LONGEST}.", dir.len())));
            }
        }
        let url = self.url.join(&format!("./{schema_dir}/{table_dir}/"));
        let url = url.map_err(|e| Error::internal("a table's URL can't be made").because(e))?;
        let prefix = Path::from_url_path(url.path()).map_err(|e| Error::internal("a table's path can't be made").because(e))?;
        Ok(TableLocation { name: format!("{schema}.{table}"), url, store: Arc::new(PrefixStore::new(self.store.clone(), prefix)), root: self.store.clone() })
    }

    /// The schemas that have a directory, sorted.
    pub async fn schemas(&self) -> Result<Vec<String>> {
        let mut names = self.children(&self.prefix).await?;
        names.sort();
        Ok(names)
    }

    /// The tables (directories with a log) of a schema, sorted.
    pub async fn tables(&self, schema: &str) -> Result<Vec<String>> {
        let dir = self.prefix.clone().join(encode(schema).as_str());
        let mut tables = vec![];
        for name in self.children(&dir).await? {
            if self.table(schema, &name)?.exists().await? {
                tables.push(name);
            }
        }
        tables.sort();
        Ok(tables)
    }

    async fn children(&self, dir: &Path) -> Result<Vec<String>> {
        let listed = match self.store.list_with_delimiter(Some(dir)).await {
            Ok(listed) => listed,
            Err(object_store::Error::NotFound { .. }) => return Ok(vec![]),
            Err(e) => return Err(fault::store(e)),
        };
        Ok(listed.common_prefixes.iter().filter_map(|p| p.filename()).filter_map(decode).collect())
    }
}

/// The place of one table: its URL for the Delta library, and a store whose root is its directory.
#[derive(Debug, Clone)]
pub struct TableLocation {
    /// `schema.table`, for messages.
    pub name: String,
    /// The directory, with a slash at its end.
    pub url: Url,
    /// Paths are relative to the directory.
    pub store: Arc<dyn ObjectStore>,
    root: Arc<dyn ObjectStore>,
}

impl TableLocation {
    /// The Delta library's view of this place.
    pub fn log_store(&self) -> LogStoreRef {
        default_logstore(self.store.clone(), self.root.clone(), &self.url, &StorageConfig::default())
    }

    /// The path of a version's log entry.
    pub fn entry(version: u64) -> Path {
        Path::from(format!("{LOG}/{version:020}.json"))
    }

    /// There is a log.
    pub async fn exists(&self) -> Result<bool> {
        match self.store.head(&Self::entry(0)).await {
            Ok(_) => return Ok(true),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(fault::store(e)),
        }
        match self.store.list(Some(&Path::from(LOG))).try_next().await {
            Ok(first) => Ok(first.is_some()),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(fault::store(e)),
        }
    }
}

/// A directory name: bytes outside `A-Za-z0-9_.-` as `!` and two hexadecimal digits, and the names that mean another directory or a table's log too. Not
/// with a percent sign: the Delta kernel, and so most readers, decodes the paths that a listing gives it once too often.
pub fn encode(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || (b == b'_' && name != "_delta_log") || (b == b'.' && !name.bytes().all(|b| b == b'.'));
    let mut out = String::with_capacity(name.len());
    for b in name.bytes() {
        if plain(b) { out.push(char::from(b)) } else { out.push_str(&format!("!{b:02X}")) }
    }
    out
}

/// The name that [`encode`] made this directory name of; `None` for one it never makes.
pub fn decode(dir: &str) -> Option<String> {
    let mut bytes = vec![];
    let mut rest = dir.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        if b == b'!' {
            let pair = tail.get(..2).and_then(|p| std::str::from_utf8(p).ok())?;
            bytes.push(u8::from_str_radix(pair, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(b);
            rest = tail;
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (encode(&name) == dir).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_names_go_both_ways() {
        for name in ["orders", "my table", "a/b", "..", ".", "日本", "100%", "A-b_c.d", "a..b", "_delta_log", "_x"] {
            let dir = encode(name);
            assert!(dir.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-!".contains(&b)), "{dir}");
            assert_eq!(decode(&dir).as_deref(), Some(name));
        }
        assert_eq!((encode(".."), encode("_delta_log")), ("!2E!2E".into(), "!5Fdelta!5Flog".into()));
        assert_eq!(decode("!zz"), None);
        assert_eq!(decode("!41"), None, "never made by encode");
    }
}
