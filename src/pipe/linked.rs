//! A pipe's ends as the catalog describes them: plugins opened from records, with the extractor's `filter` and time bounds as processors in
//! front of the pipe's own, so that snapshot and changes meet the same conditions.

use super::options::RunOptions;
use super::session::{Ends, PipeTable};
use crate::data::{Losses, TableId, TableName};
use crate::error::{Error, Kind, Result};
use crate::link::{self, Linker};
use crate::plugin::option::normalise;
use crate::plugin::{Capabilities, Connector, Extractor, Open, Options, Processor, Role, Source, registry, shared};
use standpipe_catalog::{Pipe, Snapshot, Sources};
use std::sync::Arc;

/// The plugin that filters rows by a condition.
const FILTER: &str = "filter-processor";

/// Opens both ends of one pipe as it was when a session began.
pub struct LinkedEnds {
    linker: Linker,
    pipe: Arc<Pipe>,
    snapshot: Arc<Snapshot>,
    extractor_options: Options,
    source: Capabilities,
    target: Capabilities,
}

impl LinkedEnds {
    /// Reads both clauses. Errors: a source that is gone, a seal that can't be opened, a plugin that is not in this build.
    pub fn new(linker: Linker, pipe: Arc<Pipe>, snapshot: Arc<Snapshot>) -> Result<LinkedEnds> {
        let linker = Linker { losses: Losses::default(), ..linker };
        let (extractor, request) = linker.extractor_request(&pipe, &snapshot)?;
        let (connector, _) = linker.connector_request(&pipe, &snapshot)?;
        let record = snapshot.get::<Sources>(&pipe.source).ok_or_else(|| Error::new(Kind::UndefinedObject, format!("the source of pipe \"{}\" is gone", pipe.name)))?;
        let source = link::plugin(Role::Source, &record.kind)?.capabilities;
        // The anchor and the wire format are the source's; whether changes are exact is said by whichever of the two knows.
        let exact_anchor = source.exact_anchor || extractor.capabilities.exact_anchor;
        let wire_format = source.wire_format.or(extractor.capabilities.wire_format);
        let (source, target) = (Capabilities { exact_anchor, wire_format, ..source }, connector.capabilities);
        Ok(LinkedEnds { extractor_options: request.options, linker, pipe, snapshot, source, target })
    }

    /// The runtime's options.
    pub fn options(&self) -> Result<RunOptions> {
        let connector = self.linker.connector_request(&self.pipe, &self.snapshot)?.1.options;
        let mut runtime = Options::default();
        for (name, value) in &self.pipe.runtime {
            runtime.set(name, value.plain().unwrap_or_default(), false);
        }
        let (e, c) = (self.extractor_options.clone().with_defaults(&[shared::EXTRACTOR]), connector.with_defaults(&[shared::CONNECTOR]));
        RunOptions::read(&e, &c, &runtime.with_defaults(&[shared::RUNTIME]), &self.linker.config, self.target.commit)
    }

    /// The pipe's tables, and those that wait to be added.
    pub fn tables(&self) -> Vec<PipeTable> {
        let table = |(t, wanted): (&standpipe_catalog::PipeTable, bool)| PipeTable {
            id: TableId(t.oid.0),
            name: TableName::new(&t.schema, &t.name),
            target: TableName::new(&t.target_schema, &t.target_name),
            wanted,
        };
        super::catalog_ledger::all_tables(&self.pipe).map(table).collect()
    }

    fn filters(&self, snapshot: bool) -> Vec<(Option<String>, String)> {
        let o = &self.extractor_options;
        let mut out: Vec<(Option<String>, String)> = o.get("filter").map(|f| (None, f.to_string())).into_iter().collect();
        out.extend(o.family("filter").map(|(table, f)| (Some(table.to_string()), f.to_string())));
        if let (true, Some(column)) = (snapshot, o.get("time-column")) {
            let quoted = format!("\"{}\"", column.replace('"', "\"\""));
            let bound = |name: &str, sign: &str| o.get(name).map(|v| (None, format!("{quoted} {sign} '{}'", instant(v).replace('\'', "''"))));
            out.extend(bound("history.start-time", ">="));
            out.extend(bound("history.end-time", "<="));
        }
        out
    }
}

/// A time as users may write it (`2026/01/02`, `2026.01.02 03:04`, milliseconds, `now`) as ISO text.
fn instant(text: &str) -> String {
    let text = text.trim();
    if text.eq_ignore_ascii_case("now") || text.eq_ignore_ascii_case("now()") {
        return chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    }
    if let Some(time) = text.parse::<i64>().ok().and_then(chrono::DateTime::from_timestamp_millis) {
        return time.format("%Y-%m-%dT%H:%M:%S%.3f").to_string();
    }
    let (date, rest) = text.split_at(text.find(['T', ' ']).unwrap_or(text.len()));
    format!("{}{rest}", date.replace(['/', '.'], "-"))
}

impl Ends for LinkedEnds {
    fn source(&self) -> Result<Box<dyn Source>> {
        let record = self.snapshot.get::<Sources>(&self.pipe.source).ok_or_else(|| Error::new(Kind::UndefinedObject, "the source of the pipe is gone"))?;
        self.linker.source(&record, self.snapshot.keyring())
    }
    fn extractor(&self) -> Result<Box<dyn Extractor>> {
        self.linker.extractor(&self.pipe, &self.snapshot)
    }
    fn connector(&self) -> Result<Box<dyn Connector>> {
        self.linker.connector(&self.pipe, &self.snapshot)
    }
    fn processors(&self, snapshot: bool) -> Result<Vec<Box<dyn Processor>>> {
        let mut out = Vec::new();
        let created = chrono::DateTime::from_timestamp_micros(self.pipe.created_at.0).unwrap_or_default();
        let now = created.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string();
        for (table, filter) in self.filters(snapshot) {
            let plugin = registry::find(Role::Processor, &normalise(FILTER)).ok_or_else(|| Error::new(Kind::NotSupported, "the option \"filter\" needs the filter-processor, which is not in this build"))?;
            let Open::Processor(open) = plugin.open else { return Err(Error::internal("the filter-processor is no processor")) };
            let mut options = Options::default();
            options.set("filter", filter, false);
            // one and the same time for every row of the pipe's life
            options.set("now", now.clone(), false);
            if let Some(table) = table {
                options.set("table", table, false);
            }
            out.push(open(&options.with_defaults(plugin.options))?);
        }
        out.extend(self.linker.processors(&self.pipe, self.snapshot.keyring())?);
        Ok(out)
    }
    fn extractor_options(&self) -> Options {
        self.extractor_options.clone()
    }
    fn losses(&self) -> Losses {
        self.linker.losses.clone()
    }
    fn source_can(&self) -> Capabilities {
        self.source
    }
    fn target_can(&self) -> Capabilities {
        self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_users_write_them() {
        assert_eq!(instant("2026/01/02"), "2026-01-02");
        assert_eq!(instant("2026.01.02 03:04:05.678"), "2026-01-02 03:04:05.678");
        assert_eq!(instant("2026-01-02T03:04:05"), "2026-01-02T03:04:05");
        assert_eq!(instant("0"), "1970-01-01T00:00:00.000");
        assert!(instant("now").starts_with("20"));
    }
}
