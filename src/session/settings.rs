//! SET, SHOW and RESET of one session: checked values, what a transaction takes back, and what clients are told.

use super::encode::Zone;
use super::reply;
use super::wire::Wire;
use crate::config::{self, Config, Origin, SETTINGS, Scope, Setting};
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// The settings of a session beside those in force (`SessionState::settings`), which SET LOCAL and blocks change for a time.
pub struct Settings {
    /// What RESET goes back to: the server's values and those of the start-up packet.
    defaults: Config,
    /// What stays in force after the current block.
    lasting: Config,
    /// Before the current block.
    before: Config,
    /// At each savepoint: its name, in force, lasting.
    savepoints: Vec<(String, Config, Config)>,
    /// What the client was told last.
    told: BTreeMap<&'static str, String>,
}

impl Settings {
    /// A session begins with these values.
    pub fn new(initial: &Config) -> Settings {
        let copy = || initial.clone();
        Settings { defaults: copy(), lasting: copy(), before: copy(), savepoints: Vec::new(), told: BTreeMap::new() }
    }

    /// SET; `local`: until the block ends. None is the default. Errors: 42704, 22023, 55P02.
    pub fn set(&mut self, current: &mut Config, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        let setting = settable(name)?;
        put(current, &self.defaults, setting, value)?;
        if !local {
            put(&mut self.lasting, &self.defaults, setting, value)?;
        }
        Ok(())
    }

    /// RESET ALL.
    pub fn reset_all(&mut self, current: &mut Config) -> Result<()> {
        SETTINGS.iter().filter(|s| s.scope == Scope::Session).try_for_each(|s| self.set(current, s.name, None, false))
    }

    /// A block begins.
    pub fn begin(&mut self) {
        self.before = self.lasting.clone();
        self.savepoints.clear();
    }
    /// A block ends well: SET LOCAL is over.
    pub fn commit(&mut self, current: &mut Config) {
        *current = self.lasting.clone();
        self.savepoints.clear();
    }
    /// A block leaves nothing.
    pub fn rollback(&mut self, current: &mut Config) {
        self.lasting = self.before.clone();
        self.commit(current);
    }
    /// SAVEPOINT.
    pub fn savepoint(&mut self, current: &Config, name: &str) {
        self.savepoints.push((name.to_string(), current.clone(), self.lasting.clone()));
    }
    /// RELEASE: this savepoint and later ones are forgotten.
    pub fn release(&mut self, name: &str) {
        if let Some(at) = self.savepoints.iter().rposition(|(n, ..)| n == name) {
            self.savepoints.truncate(at);
        }
    }
    /// ROLLBACK TO: the savepoint stays.
    pub fn rollback_to(&mut self, current: &mut Config, name: &str) {
        if let Some(at) = self.savepoints.iter().rposition(|(n, ..)| n == name) {
            self.savepoints.truncate(at + 1);
            let (_, in_force, lasting) = &self.savepoints[at];
            (*current, self.lasting) = (in_force.clone(), lasting.clone());
        }
    }

    /// Tells the client each reported value that it does not know.
    pub fn tell(&mut self, current: &Config, wire: &mut Wire) -> Result<()> {
        for setting in SETTINGS.iter().filter(|s| s.reported) {
            let value = current.text(setting.name);
            if self.told.get(setting.name).map(String::as_str) != Some(value) {
                reply::parameter(wire, setting.name, value)?;
                self.told.insert(setting.name, value.to_string());
            }
        }
        Ok(())
    }
}

/// The setting of a name. Errors: 42704.
pub fn find(name: &str) -> Result<&'static Setting> {
    config::find(name).ok_or_else(|| config::unknown(name))
}

fn settable(name: &str) -> Result<&'static Setting> {
    let setting = find(name)?;
    match setting.scope {
        Scope::Session => Ok(setting),
        Scope::Startup => {
            let e = Error::new(Kind::CantChange, format!("parameter \"{}\" cannot be changed without restarting the server", setting.name));
            Err(e.with_hint("Set it in the configuration file, with --set or in the environment."))
        }
        Scope::Internal => Err(Error::new(Kind::CantChange, format!("parameter \"{}\" cannot be changed", setting.name))),
    }
}

fn put(config: &mut Config, defaults: &Config, setting: &'static Setting, value: Option<&str>) -> Result<()> {
    match value {
        Some(value) => config.set(setting.name, &canonical(setting.name, value)?, Origin::Session),
        None => match defaults.get(setting.name) {
            (_, Origin::Default) => {
                config.reset(setting.name);
                Ok(())
            }
            (value, origin) => config.set(setting.name, value, origin),
        },
    }
}

/// A start-up value of the client: set, and the default of RESET.
pub fn start_up(config: &mut Config, name: &str, value: &str) -> Result<()> {
    let setting = settable(name)?;
    config.set(setting.name, &canonical(setting.name, value)?, Origin::Client)
}

/// Values that only the session can judge, in the form SHOW gives them. Errors: 22023.
fn canonical(name: &str, value: &str) -> Result<String> {
    let invalid = || Error::new(Kind::BadOption, format!("invalid value for parameter \"{name}\": \"{value}\""));
    match name {
        "TimeZone" => match Zone::parse(value) {
            Some(zone) => Ok(zone.shown(value)),
            None => Err(invalid().with_hint("Use a name such as Europe/Berlin, or hours east of Greenwich.")),
        },
        "client_encoding" => {
            let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
            match plain.as_str() {
                "utf8" | "unicode" | "sqlascii" => Ok("UTF8".into()),
                _ => Err(invalid().with_hint("Use UTF8.")),
            }
        }
        "DateStyle" => {
            let mut order = "MDY";
            for word in value.split(',').map(|w| w.trim().to_ascii_lowercase()) {
                match word.as_str() {
                    "iso" | "default" => {}
                    "mdy" | "us" | "noneuro" | "noneuropean" => order = "MDY",
                    "dmy" | "euro" | "european" => order = "DMY",
                    "ymd" => order = "YMD",
                    _ => return Err(invalid().with_hint("Use ISO; dates are always shown so.")),
                }
            }
            Ok(format!("ISO, {order}"))
        }
        _ => Ok(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> (Settings, Config) {
        let config = Config::default();
        (Settings::new(&config), config)
    }

    #[test]
    fn a_block_takes_back_what_it_set() {
        let (mut s, mut c) = session();
        s.set(&mut c, "timezone", Some("asia/kolkata"), false).expect("valid");
        s.begin();
        s.set(&mut c, "TimeZone", Some("Europe/Berlin"), false).expect("valid");
        s.savepoint(&c, "a");
        s.set(&mut c, "statement_timeout", Some("5s"), true).expect("valid");
        assert_eq!(c.text("statement_timeout"), "5s");
        s.rollback_to(&mut c, "a");
        assert_eq!((c.text("statement_timeout"), c.text("TimeZone")), ("0", "Europe/Berlin"));
        s.rollback(&mut c);
        assert_eq!(c.text("TimeZone"), "Asia/Kolkata");
    }

    #[test]
    fn local_values_end_with_the_block_and_reset_goes_to_the_start() {
        let mut c = Config::default();
        start_up(&mut c, "application_name", "psql").expect("valid");
        let mut s = Settings::new(&c);
        s.begin();
        s.set(&mut c, "application_name", Some("x"), true).expect("valid");
        s.set(&mut c, "bytea_output", Some("escape"), false).expect("valid");
        s.commit(&mut c);
        assert_eq!((c.text("application_name"), c.text("bytea_output")), ("psql", "escape"));
        s.set(&mut c, "application_name", Some("y"), false).expect("valid");
        s.reset_all(&mut c).expect("valid");
        assert_eq!((c.text("application_name"), c.text("bytea_output")), ("psql", "hex"));
    }

    #[test]
    fn odd_values_and_fixed_settings_are_refused() {
        let (mut s, mut c) = session();
        for (name, value, state) in [
            ("timezone", "Mars/Olympus", "22023"),
            ("client_encoding", "LATIN1", "22023"),
            ("datestyle", "German", "22023"),
            ("listen", "x", "55P02"),
            ("server_version", "17", "55P02"),
            ("nothing", "1", "42704"),
        ] {
            assert_eq!(s.set(&mut c, name, Some(value), false).expect_err(name).sqlstate(), state, "{name}");
        }
        s.set(&mut c, "datestyle", Some("iso, dmy"), false).expect("valid");
        assert_eq!(c.text("DateStyle"), "ISO, DMY");
    }
}
