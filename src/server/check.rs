//! `standpipe check`: the catalog and the server's lake, while no server runs; nothing is changed.

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use standpipe_catalog::{Catalog, Severity};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the catalog's findings say about a directory that a server has: its lake moves, so it can't be looked at.
const LOCK: &str = "lock";

/// Looks at a data directory. Errors: XX001 with one line of DETAIL per fault; 55006 while a server has it.
pub async fn check(config: Config) -> Result<()> {
    let directory = PathBuf::from(config.text("data"));
    let findings = Catalog::check(&directory);
    let mut faults = Vec::new();
    for f in &findings {
        let hint = f.hint.as_deref().unwrap_or_default();
        match f.severity {
            Severity::Ok => tracing::info!(data = %directory.display(), "the {} is sound: {}", f.subject, f.message),
            Severity::Warning => tracing::warn!(hint, "{}: {}", f.subject, f.message),
            Severity::Error => faults.push(format!("{}: {}", f.subject, f.message)),
        }
    }
    if let Some(held) = findings.iter().find(|f| f.subject == LOCK && f.severity == Severity::Error) {
        let e = Error::new(Kind::InUse, format!("the data directory \"{}\" can't be checked: its lock is held", directory.display()));
        return Err(e.with_detail(held.message.clone()).with_hint("Stop that server, then run standpipe check again."));
    }
    if faults.is_empty() || directory.is_dir() {
        faults.extend(lake(config, &directory).await?);
    }
    if faults.is_empty() {
        return Ok(());
    }
    let count = if faults.len() == 1 { "a fault".to_string() } else { format!("{} faults", faults.len()) };
    let e = Error::new(Kind::Corrupt, format!("the data directory \"{}\" has {count}", directory.display()));
    let e = faults.iter().fold(e, |e, f| e.with_detail(f.replace('\n', " ")));
    Err(match findings.iter().filter(|f| f.severity == Severity::Error).find_map(|f| f.hint.clone()) {
        Some(hint) => e.with_hint(hint),
        None => e,
    })
}

#[cfg(feature = "lake")]
async fn lake(config: Config, directory: &Path) -> Result<Vec<String>> {
    let found = match crate::engine::lake::verify(Arc::new(config), &std::path::absolute(directory)?).await {
        Ok(found) => found,
        Err(e) => return Ok(vec![format!("lake: {e}")]),
    };
    if found.faults.is_empty() {
        tracing::info!(tables = found.tables, files = found.files, rows = found.rows, unreferenced = found.unreferenced, "the lake is sound");
    }
    Ok(found.faults.iter().map(|f| format!("lake: {f}")).collect())
}

#[cfg(not(feature = "lake"))]
async fn lake(_: Config, _: &Path) -> Result<Vec<String>> {
    Ok(Vec::new())
}
