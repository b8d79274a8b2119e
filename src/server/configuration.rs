//! Settings at start: the file, then the environment, then the command line; the later one wins.

use crate::config::{Config, Origin, SETTINGS, find, unknown};
use crate::error::{Error, Kind, Result};
use std::path::Path;

/// Environment variables that are no settings.
const OTHER_VARIABLES: &[&str] = &["STANDPIPE_PASSWORD"];
const PREFIX: &str = "STANDPIPE_";

/// What the command line gives.
#[derive(Debug, Default)]
pub struct Given {
    /// Configuration file.
    pub file: Option<std::path::PathBuf>,
    /// `name=value`, in order.
    pub settings: Vec<(String, String)>,
}

/// The settings of a server. Errors: 42704 and 22023 that say where the fault stands, 58030 for a file that can't be read.
pub fn configuration(given: &Given, environment: impl Iterator<Item = (String, String)>) -> Result<Config> {
    let mut config = Config::default();
    if let Some(file) = &given.file {
        read(&mut config, file)?;
    }
    for (variable, value) in environment {
        let Some(name) = variable.strip_prefix(PREFIX).filter(|_| !OTHER_VARIABLES.contains(&variable.as_str())) else { continue };
        match SETTINGS.iter().find(|s| same(s.name, name)) {
            Some(setting) => put(&mut config, setting.name, &value, Origin::Environment, &format!("environment variable {variable}"))?,
            None => tracing::warn!(variable, "an environment variable names no setting"),
        }
    }
    for (name, value) in &given.settings {
        put(&mut config, name, value, Origin::CommandLine, "the command line")?;
    }
    Ok(config)
}

/// `auth.failure-delay` is `AUTH_FAILURE_DELAY` in the environment.
fn same(setting: &str, variable: &str) -> bool {
    let plain = |c: char| if c == '.' || c == '-' { '_' } else { c.to_ascii_uppercase() };
    setting.chars().map(plain).eq(variable.chars())
}

fn put(config: &mut Config, name: &str, value: &str, origin: Origin, place: &str) -> Result<()> {
    let setting = find(name).ok_or_else(|| unknown(name).with_detail(format!("It stands in {place}.")))?;
    if setting.scope == crate::config::Scope::Internal {
        return Err(Error::new(Kind::CantChange, format!("parameter \"{name}\" cannot be changed")).with_detail(format!("It stands in {place}.")));
    }
    config.set(setting.name, value, origin).map_err(|e| e.with_detail(format!("It stands in {place}.")))
}

/// A TOML file: names as they are, or in tables by their first part.
fn read(config: &mut Config, file: &Path) -> Result<()> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|e| Error::new(Kind::Io, format!("could not read \"{shown}\"")).with_detail(e.to_string()).because(e))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| Error::new(Kind::BadOption, format!("\"{shown}\" is no TOML")).with_detail(e.message().to_string()))?;
    values(config, "", &table, &shown)
}

fn values(config: &mut Config, prefix: &str, table: &toml::Table, file: &str) -> Result<()> {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        let text = match value {
            toml::Value::Table(inner) => {
                values(config, &format!("{name}."), inner, file)?;
                continue;
            }
            toml::Value::String(s) => s.clone(),
            toml::Value::Integer(n) => n.to_string(),
            toml::Value::Float(n) => n.to_string(),
            toml::Value::Boolean(b) => b.to_string(),
            other => return Err(Error::new(Kind::BadOption, format!("invalid value for parameter \"{name}\": {other}")).with_detail(format!("It stands in {file}."))),
        };
        put(config, &name, &text, Origin::File, file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_place_wins() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("standpipe.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\nmax_connections = 7\n[auth]\nfailure-delay = \"1s\"\n[lake]\nfile-size = \"1MB\"\n").expect("written");
        let given = Given { file: Some(file.clone()), settings: vec![("listen".into(), "127.0.0.1:3".into())] };
        let environment = [("STANDPIPE_LISTEN", "127.0.0.1:2"), ("STANDPIPE_AUTH_FAILURE_DELAY", "2s"), ("STANDPIPE_PASSWORD", "x"), ("HOME", "/")];
        let config = configuration(&given, environment.iter().map(|(n, v)| (n.to_string(), v.to_string()))).expect("valid");
        assert_eq!(config.get("listen"), ("127.0.0.1:3", Origin::CommandLine));
        assert_eq!(config.get("auth.failure-delay"), ("2s", Origin::Environment));
        assert_eq!((config.count("max_connections"), config.size("lake.file-size")), (7, 1 << 20));
        std::fs::write(&file, "lissen = 1\n").expect("written");
        assert_eq!(configuration(&given, std::iter::empty()).expect_err("a slip").sqlstate(), "42704");
    }
}
