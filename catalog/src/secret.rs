//! Secrets at rest: sealed with XChaCha20-Poly1305 under a key that is not in the catalog.
//!
//! A sealed value names its key, so that keys can be changed: new values take the current key, old ones are opened with
//! theirs until [`crate::Catalog::reseal`] has rewritten them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::error::{CatalogError, ErrorKind};
use crate::options::KeySource;

/// The key file's name in the catalog's directory.
pub(crate) const KEY_FILE: &str = "secret.key";
/// What stands for a secret wherever one would be shown.
pub const MASK: &str = "******";
/// The name that a sealed value has in JSON.
pub(crate) const SEALED_TAG: &str = "sealed";

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const PURPOSE: &[u8] = b"standpipe sealed value 1";
const NAME_PURPOSE: &[u8] = b"standpipe key name 1";
const DERIVED_PURPOSE: &[u8] = b"standpipe derived bytes 1";
const KEY_HINT: &str = "restore secret.key from the backup that belongs to catalog.db, or give the key it was made with";

/// A text in the clear, wiped when dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself. Keep it short-lived and out of every message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut std::mem::take(&mut self.0).into_bytes());
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Overwrites a buffer that held a secret; `black_box` keeps the compiler from leaving it out.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
}

/// A secret as it is stored: key name, nonce and ciphertext. Shown as `******`; two seals of one text differ.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// `key.nonce.ciphertext`, the last two hexadecimal.
    #[serde(rename = "sealed")]
    text: String,
}

impl Sealed {
    /// The names of the keys that the sealed values in a record's JSON need. Inside a JSON string the marker would
    /// stand with escaped quotes, so that what users wrote is never taken for one.
    pub(crate) fn keys_in(json: &str) -> impl Iterator<Item = &str> {
        json.split("{\"sealed\":\"").skip(1).filter_map(|rest| rest.split_once('.').map(|(name, _)| name))
    }

    /// The name of the key it was sealed with.
    pub fn key(&self) -> &str {
        self.text.split('.').next().unwrap_or_default()
    }

    pub(crate) fn from_text(text: &str) -> Sealed {
        Sealed { text: text.to_string() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// The value of an option: in the clear or sealed. Shown with [`MASK`] for what is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OptionValue {
    Plain(String),
    Secret(Sealed),
}

impl OptionValue {
    /// The text, unless it is sealed.
    pub fn plain(&self) -> Option<&str> {
        match self {
            OptionValue::Plain(text) => Some(text),
            OptionValue::Secret(_) => None,
        }
    }
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plain().unwrap_or(MASK))
    }
}

impl From<&str> for OptionValue {
    fn from(text: &str) -> Self {
        OptionValue::Plain(text.to_string())
    }
}

impl From<Sealed> for OptionValue {
    fn from(sealed: Sealed) -> Self {
        OptionValue::Secret(sealed)
    }
}

/// Options by their normalised key.
pub type Options = BTreeMap<String, OptionValue>;

/// The keys a catalog knows; shared by the catalog and its snapshots.
pub struct Keyring {
    ring: RwLock<Ring>,
    /// The key file, if the keys come from there.
    path: Option<PathBuf>,
}

struct Ring {
    /// The current key first.
    keys: Vec<NamedKey>,
}

#[derive(Clone)]
struct NamedKey {
    name: String,
    key: [u8; KEY_BYTES],
}

impl Drop for NamedKey {
    fn drop(&mut self) {
        wipe(&mut self.key);
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("current", &self.current()).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Takes the keys from where the settings say. Makes the key file if there is none, unless values are sealed under
    /// the `needed` key: then it was lost, and a new one beside the catalog would only hide that.
    pub(crate) fn open(dir: &Path, source: &KeySource, needed: Option<&str>) -> Result<Keyring, CatalogError> {
        match source {
            KeySource::File => {
                let path = dir.join(KEY_FILE);
                let keys = match read_file(&path)? {
                    Some(keys) => keys,
                    None => {
                        needed.map_or(Ok(()), |name| Err(missing(name)))?;
                        let keys = vec![NamedKey::draw()];
                        write_file(&path, &keys)?;
                        keys
                    }
                };
                Ok(Keyring { ring: RwLock::new(Ring { keys }), path: Some(path) })
            }
            KeySource::Given { current, previous } => {
                let keys: Option<Vec<_>> =
                    std::iter::once(current).chain(previous).map(|key| NamedKey::parse(key.expose())).collect();
                let keys = keys.ok_or_else(|| {
                    CatalogError::new(ErrorKind::Key, "secret key is not valid")
                        .detail("a key is 64 hexadecimal digits")
                        .hint("make one with \"openssl rand -hex 32\"")
                })?;
                Ok(Keyring { ring: RwLock::new(Ring { keys }), path: None })
            }
        }
    }

    /// The name of the key that new values are sealed with.
    pub fn current(&self) -> String {
        self.ring.read().keys[0].name.clone()
    }

    /// Whether values sealed under that key can be opened.
    pub fn has(&self, name: &str) -> bool {
        self.ring.read().keys.iter().any(|key| key.name == name)
    }

    /// Seals a text under the current key.
    pub fn seal(&self, text: &str) -> Sealed {
        let ring = self.ring.read();
        let key = &ring.keys[0];
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: text.as_bytes(), aad: PURPOSE };
        let bytes = key.cipher().encrypt(&XNonce::from(nonce), payload);
        let bytes = bytes.expect("a text in memory is shorter than the cipher's limit of 256 GiB");
        Sealed { text: format!("{}.{}.{}", key.name, hex(&nonce), hex(&bytes)) }
    }

    /// Opens a sealed value.
    pub fn open_sealed(&self, sealed: &Sealed) -> Result<Secret, CatalogError> {
        let damaged = || {
            CatalogError::new(ErrorKind::Key, "sealed value cannot be opened")
                .detail("the value or the key was changed")
                .hint(KEY_HINT)
        };
        let mut parts = sealed.text.split('.');
        let (Some(name), Some(nonce), Some(bytes), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(damaged());
        };
        let ring = self.ring.read();
        let key = ring.keys.iter().find(|key| key.name == name).ok_or_else(|| missing(name))?;
        let nonce: [u8; NONCE_BYTES] = unhex(nonce).and_then(|n| n.try_into().ok()).ok_or_else(damaged)?;
        let bytes = unhex(bytes).ok_or_else(damaged)?;
        let payload = Payload { msg: &bytes, aad: PURPOSE };
        let text = key.cipher().decrypt(&XNonce::from(nonce), payload).map_err(|_| damaged())?;
        String::from_utf8(text).map(Secret).map_err(|e| {
            wipe(&mut e.into_bytes());
            damaged()
        })
    }

    /// The text of an option, opened if it is sealed.
    pub fn reveal(&self, value: &OptionValue) -> Result<Secret, CatalogError> {
        match value {
            OptionValue::Plain(text) => Ok(Secret::new(text.clone())),
            OptionValue::Secret(sealed) => self.open_sealed(sealed),
        }
    }

    /// Bytes that only who holds the oldest key can compute, for whoever needs a secret that a restart and a new key leave as it is.
    pub fn derived(&self) -> [u8; KEY_BYTES] {
        let ring = self.ring.read();
        let oldest = ring.keys.last().expect("a ring is never empty");
        // the cipher's first bytes under a fixed nonce that nothing else uses: sealing draws its own, names have another
        let stream = oldest.cipher().encrypt(&XNonce::from([0xfe; NONCE_BYTES]), Payload { msg: &[0; KEY_BYTES], aad: DERIVED_PURPOSE });
        let mut out = [0; KEY_BYTES];
        out.copy_from_slice(&stream.expect("a few bytes are less than the cipher's limit")[..KEY_BYTES]);
        out
    }

    /// Draws a new current key and keeps the old ones: backups still need them.
    pub(crate) fn rotate(&self) -> Result<(), CatalogError> {
        let path = self.path.as_ref().ok_or_else(|| {
            CatalogError::new(ErrorKind::Key, "secret key was given from outside")
                .hint("start with the new key as current and the old one as previous")
        })?;
        let mut ring = self.ring.write();
        let mut keys = vec![NamedKey::draw()];
        keys.extend(ring.keys.iter().cloned());
        write_file(path, &keys)?;
        ring.keys = keys;
        Ok(())
    }
}

pub(crate) fn missing(name: &str) -> CatalogError {
    CatalogError::new(ErrorKind::Key, "secret key is missing")
        .detail(format!("values are sealed under key {name}"))
        .hint(KEY_HINT)
}

impl NamedKey {
    fn draw() -> NamedKey {
        NamedKey::from_bytes(rand::random())
    }

    fn parse(text: &str) -> Option<NamedKey> {
        Some(NamedKey::from_bytes(unhex(text.trim())?.try_into().ok()?))
    }

    /// Named by a value that only the key's holder can compute: the tag of the empty message under a fixed nonce that
    /// no sealing ever uses (they are random).
    fn from_bytes(key: [u8; KEY_BYTES]) -> NamedKey {
        let mut made = NamedKey { name: String::new(), key };
        let payload = Payload { msg: b"", aad: NAME_PURPOSE };
        let tag = made.cipher().encrypt(&XNonce::from([0xff; NONCE_BYTES]), payload);
        made.name = hex(&tag.expect("the empty message is short")[..8]);
        made
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.key.into())
    }
}

/// Reads a key file: a key per line, the current one first; `None` when there is no file.
fn read_file(path: &Path) -> Result<Option<Vec<NamedKey>>, CatalogError> {
    let io = |e: &std::io::Error| CatalogError::io(format!("read {}", path.display()), e);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(&e)),
    };
    let mode = file.metadata().map_err(|e| io(&e))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(CatalogError::new(ErrorKind::Key, "secret key can be read by others")
            .detail(format!("{} has mode {mode:04o}", path.display()))
            .hint(format!("chmod 600 {}", path.display())));
    }
    let mut text = Secret::default();
    file.read_to_string(&mut text.0).map_err(|e| io(&e))?;
    let keys: Option<Vec<_>> = text.0.lines().filter(|line| !line.trim().is_empty()).map(NamedKey::parse).collect();
    match keys {
        Some(keys) if !keys.is_empty() => Ok(Some(keys)),
        _ => Err(CatalogError::new(ErrorKind::Key, "secret key is not valid")
            .detail(format!("{} does not hold a key of 64 hexadecimal digits per line", path.display()))
            .hint(KEY_HINT)),
    }
}

/// Writes a key file whole or not at all, and to the disk before anything is sealed with it.
fn write_file(path: &Path, keys: &[NamedKey]) -> Result<(), CatalogError> {
    let mut text = Secret::default();
    for key in keys {
        let line = Secret::new(hex(&key.key));
        text.0.reserve(line.0.len() + 1);
        text.0.push_str(&line.0);
        text.0.push('\n');
    }
    let new = path.with_extension("key.new");
    let write = || {
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(text.0.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|e| CatalogError::io(format!("write {}", path.display()), &e))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n & 15)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(*b)]).collect()
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(current: &str, previous: &[&str]) -> Keyring {
        let previous = previous.iter().map(|key| Secret::new(*key)).collect();
        let source = KeySource::Given { current: Secret::new(current), previous };
        Keyring::open(Path::new("."), &source, None).expect("keys")
    }

    #[test]
    fn a_sealed_value_opens_only_with_its_key() {
        let (one, two) = ("11".repeat(32), "22".repeat(32));
        let old = ring(&one, &[]);
        let sealed = old.seal("tops3cret");
        assert_ne!(sealed, old.seal("tops3cret"));
        assert_eq!(old.open_sealed(&sealed).expect("opens").expose(), "tops3cret");
        assert_eq!(ring(&two, &[&one]).open_sealed(&sealed).expect("opens").expose(), "tops3cret");
        assert_eq!(ring(&two, &[]).open_sealed(&sealed).expect_err("no key").kind, ErrorKind::Key);
        let mut text = sealed.text().to_string();
        let last = text.pop().expect("not empty");
        text.push(if last == '0' { '1' } else { '0' });
        assert_eq!(old.open_sealed(&Sealed::from_text(&text)).expect_err("changed").kind, ErrorKind::Key);
    }

    #[test]
    fn derived_bytes_stay_when_a_key_is_added() {
        let (one, two) = ("11".repeat(32), "22".repeat(32));
        assert_eq!(ring(&one, &[]).derived(), ring(&two, &[&one]).derived());
        assert_ne!(ring(&one, &[]).derived(), ring(&two, &[]).derived());
    }

    #[test]
    fn nothing_shows_a_secret() {
        let keys = ring(&"ab".repeat(32), &[]);
        let value = OptionValue::from(keys.seal("tops3cret"));
        let options = Options::from([("password".to_string(), value.clone()), ("host".to_string(), "h".into())]);
        let shown = format!("{options:?} {value} {keys:?} {:?}", Secret::new("tops3cret"));
        assert!(!shown.contains("tops3cret") && !shown.contains("abab") && shown.contains(MASK), "{shown}");
        let json = serde_json::to_string(&options).expect("json");
        assert!(!json.contains("tops3cret"));
        assert_eq!(serde_json::from_str::<Options>(&json).expect("json"), options);
    }

    #[test]
    fn a_key_is_64_digits_and_its_file_is_private() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join(KEY_FILE);
        let first = Keyring::open(dir.path(), &KeySource::File, None).expect("made").current();
        assert_eq!(std::fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
        assert_eq!(Keyring::open(dir.path(), &KeySource::File, None).expect("read").current(), first);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        let error = Keyring::open(dir.path(), &KeySource::File, None).expect_err("readable by others");
        assert!(error.kind == ErrorKind::Key && error.hint.is_some_and(|h| h.starts_with("chmod 600")));
        let short = KeySource::Given { current: Secret::new("abc"), previous: vec![] };
        assert_eq!(Keyring::open(dir.path(), &short, None).expect_err("short").kind, ErrorKind::Key);
    }
}
