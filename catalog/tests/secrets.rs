//! Secrets never reach the disk in the clear, and outlive a change of keys.

use std::fs;
use std::path::Path;

use standpipe_catalog::*;

use crate::support::*;

const WORD: &str = "tops3cret-pa55word";

fn with_secret(catalog: &Catalog) -> Source {
    let mut shop = source("shop", 16384);
    shop.options.insert("password".to_string(), catalog.keyring().seal(WORD).into());
    shop
}

/// All bytes of all files, the key's too.
fn raw(dir: &Path) -> Vec<u8> {
    fs::read_dir(dir).expect("dir").flat_map(|e| fs::read(e.expect("entry").path()).expect("file")).collect()
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

fn reveal(catalog: &Catalog) -> Result<Secret, CatalogError> {
    let (_, shop) = catalog.snapshot().named::<Sources>("shop").expect("is there");
    catalog.keyring().reveal(&shop.options["password"])
}

#[test]
fn no_secret_is_in_any_file_or_text() {
    let dir = tempfile::tempdir().expect("dir");
    let catalog = open(dir.path());
    let shop = with_secret(&catalog);
    let change = put(&shop, Expect::Absent);
    let shown = format!("{shop:?} {change:?}");
    commit(&catalog, vec![change]);
    assert!(holds(&raw(dir.path()), "\"password\""), "the log is looked at");
    assert!(!holds(&raw(dir.path()), WORD) && !shown.contains(WORD));
    let texts = format!("{:?} {:?}", catalog.snapshot(), catalog.snapshot().get::<Sources>(&shop.uuid));
    assert!(!texts.contains(WORD));
    assert_eq!(reveal(&catalog).expect("opens").expose(), WORD);
    drop(catalog);
    assert!(holds(&raw(dir.path()), "\"password\"") && !holds(&raw(dir.path()), WORD));
    assert_eq!(reveal(&open(dir.path())).expect("opens").expose(), WORD);
}

#[test]
fn a_lost_key_is_an_error_and_no_new_one_hides_it() {
    let dir = tempfile::tempdir().expect("dir");
    let catalog = open(dir.path());
    commit(&catalog, vec![put(&with_secret(&catalog), Expect::Absent)]);
    drop(catalog);
    let key = dir.path().join("secret.key");
    let kept = fs::read(&key).expect("key");
    fs::remove_file(&key).expect("removed");
    let error = Catalog::open(dir.path(), OpenOptions::default()).expect_err("lost");
    assert!(error.kind == ErrorKind::Key && error.hint.is_some() && !key.exists(), "{error}");
    assert!(Catalog::check(dir.path()).iter().any(|f| f.subject == "secrets"));
    let catalog = Catalog::open(dir.path(), OpenOptions { accept_new_key: true, ..OpenOptions::default() });
    let catalog = catalog.expect("opens with a new key");
    assert_eq!(reveal(&catalog).expect_err("sealed under the old one").kind, ErrorKind::Key);
    drop(catalog);
    fs::write(&key, kept).expect("restored");
    assert_eq!(reveal(&open(dir.path())).expect("opens").expose(), WORD);
}

#[test]
fn keys_can_be_changed() {
    let dir = tempfile::tempdir().expect("dir");
    let catalog = open(dir.path());
    commit(&catalog, vec![put(&with_secret(&catalog), Expect::Absent)]);
    let (old, before) = (catalog.keyring().current(), catalog.snapshot());
    catalog.rotate_key().expect("rotates");
    assert_ne!(catalog.keyring().current(), old);
    let sealed_under = |snapshot: &Snapshot| match &snapshot.named::<Sources>("shop").expect("shop").1.options["password"] {
        OptionValue::Secret(sealed) => sealed.key().to_string(),
        OptionValue::Plain(_) => panic!("is sealed"),
    };
    assert_eq!((sealed_under(&before), sealed_under(&catalog.snapshot())), (old, catalog.keyring().current()));
    assert_eq!(reveal(&catalog).expect("opens").expose(), WORD);
    drop(catalog);
    assert_eq!(reveal(&open(dir.path())).expect("opens").expose(), WORD);
}

#[test]
fn a_key_from_outside_leaves_no_file() {
    let dir = tempfile::tempdir().expect("dir");
    let given = |digit: &str, previous: &[&str]| OpenOptions {
        key: KeySource::Given {
            current: Secret::new(digit.repeat(64)),
            previous: previous.iter().map(|d| Secret::new(d.repeat(64))).collect(),
        },
        ..OpenOptions::default()
    };
    let catalog = Catalog::open(dir.path(), given("a", &[])).expect("opens");
    commit(&catalog, vec![put(&with_secret(&catalog), Expect::Absent)]);
    assert_eq!(catalog.rotate_key().expect_err("not ours").kind, ErrorKind::Key);
    drop(catalog);
    assert!(!dir.path().join("secret.key").exists());
    assert_eq!(Catalog::open(dir.path(), given("b", &[])).expect_err("another").kind, ErrorKind::Key);
    let catalog = Catalog::open(dir.path(), given("b", &["a"])).expect("opens");
    catalog.reseal().expect("seals");
    drop(catalog);
    assert_eq!(reveal(&Catalog::open(dir.path(), given("b", &[])).expect("opens")).expect("opens").expose(), WORD);
}
