//! First start: the catalog's directory, the predefined roles, the first admin and its password.

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::rights::PredefinedRole;
use crate::scram;
use rand::Rng;
use standpipe_catalog::{Catalog, Change, Expect, KeySource, Oid, OpenOptions, Retention, Role, Roles, Secret, Timestamp};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where a generated password stands until it is changed.
pub const PASSWORD_FILE: &str = "initial-password";
/// The first user and admin.
pub const FIRST_USER: &str = "standpipe";
/// Environment variable with the first admin's password.
const PASSWORD_VARIABLE: &str = "STANDPIPE_PASSWORD";
/// The first user's OID, PostgreSQL's number for its bootstrap superuser.
const FIRST_USER_OID: u32 = 10;
/// Characters of a generated password: no two that look alike.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Length of a generated password: 24 of 56 characters are 139 bits.
const GENERATED_LENGTH: usize = 24;

/// Opens the catalog with what the settings say.
pub fn open_catalog(config: &Config, dir: &Path) -> Result<Catalog> {
    let key = match config.text("secret.key-file") {
        "" => KeySource::File,
        path => {
            let text = std::fs::read_to_string(path).map_err(|e| Error::new(Kind::Io, format!("the key file \"{path}\" cannot be read")).because(e))?;
            let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty()).map(Secret::new);
            let current = lines.next().ok_or_else(|| Error::new(Kind::BadOption, format!("the key file \"{path}\" is empty")))?;
            KeySource::Given { current, previous: lines.collect() }
        }
    };
    let keep = u32::try_from(config.integer("history.retention")).unwrap_or(u32::MAX);
    let retention = Retention { exceptions: keep, events: keep, log_lines: keep, audit: keep, cleanups: keep, ..Retention::default() };
    Catalog::open(dir, OpenOptions { key, fsync: config.flag("catalog.fsync"), retention, before_commit: || crate::failpoint::hit_blocking("in-catalog"), ..OpenOptions::default() }).map_err(Error::from)
}

/// Makes the roles at the first start. The password is `STANDPIPE_PASSWORD`, or a random one that is printed once and kept in a file.
pub async fn first_start(catalog: &Catalog, config: &Config, dir: &Path) -> Result<()> {
    let snapshot = catalog.snapshot();
    if snapshot.named::<Roles>(FIRST_USER).is_some() {
        return Ok(());
    }
    let now = Timestamp::now();
    let given = std::env::var(PASSWORD_VARIABLE).ok().filter(|p| !p.is_empty());
    let password = Secret::new(given.clone().unwrap_or_else(random_password));
    let iterations = u32::try_from(config.integer("scram.iterations")).unwrap_or(4096);
    let mut changes: Vec<Change> = PredefinedRole::ALL.iter().map(|r| Change::put::<Roles>(&r.oid(), &Role::new(r.oid(), r.name(), now), Expect::Absent)).collect();
    let first = Role { login: true, superuser: true, password: Some(scram::verifier(password.expose(), rand::rng().random(), iterations)), password_generated: given.is_none(), ..Role::new(Oid(FIRST_USER_OID), FIRST_USER, now) };
    if given.is_none() {
        let path = dir.join(PASSWORD_FILE);
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        writeln!(file, "{}", password.expose())?;
        file.sync_all()?;
    }
    changes.push(Change::put::<Roles>(&Oid(FIRST_USER_OID), &first, Expect::Absent));
    catalog.write(changes).await.map_err(Error::from)?;
    Ok(())
}

fn random_password() -> String {
    let mut rng = rand::rng();
    (0..GENERATED_LENGTH).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}
