//! `standpipe check`: a sound lake is sound, each damage is one line, and nothing is changed.

use super::super::table::LakeTable;
use super::super::verify::{Verified, verify_at};
use super::kit::*;
use crate::data::Op;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path()) {
        if entry.is_dir() {
            out.extend(files(&entry));
        } else {
            let bytes = std::fs::read(&entry).expect("a file");
            out.insert(entry, bytes);
        }
    }
    out
}

/// What is done to the bytes of a file.
type Damage = fn(&mut Vec<u8>);

fn shorten(bytes: &mut Vec<u8>) {
    bytes.pop();
}

fn without_footer(bytes: &mut Vec<u8>) {
    let end = bytes.len();
    bytes[end - 8..].fill(0);
}

fn flip_last(bytes: &mut Vec<u8>) {
    let end = bytes.len();
    bytes[end - 1] ^= 1;
}

fn flip_inside(bytes: &mut Vec<u8>) {
    bytes[6] ^= 1;
}

fn no_json(bytes: &mut Vec<u8>) {
    bytes[0] = b'#';
}

fn put(files: &BTreeMap<PathBuf, Vec<u8>>) {
    files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).expect("put back"));
}

async fn look(lake: &Lake) -> Verified {
    let before = files(lake.dir.path());
    let found = verify_at(&lake.location(), 4).await.expect("a lake");
    assert_eq!(files(lake.dir.path()), before, "nothing is changed");
    found
}

async fn filled(lake: &Lake) -> LakeTable {
    let t = lake.fresh("public", "my table").await;
    t.flush(2, 1, &[rows(&[(1, "a", 1), (2, "b", 2), (3, "c", 3)], Op::Insert)]).await.expect("rows");
    t.flush(3, 2, &[changes().upsert(2, "B", 20).delete(3).work()]).await.expect("changes");
    t.flush(4, 3, &[changes().upsert(4, "d", 4).work()]).await.expect("more");
    t
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_lake_is_sound_and_what_nobody_needs_is_counted() {
    let lake = Lake::new();
    assert_eq!(look(&lake).await, Verified::default(), "an empty one");
    let t = filled(&lake).await;
    let whole = look(&lake).await;
    assert_eq!(whole, Verified { tables: 1, files: 3, rows: 3, unreferenced: 0, faults: vec![] });
    while t.compact().await.expect("compacts").is_some() {}
    let compacted = look(&lake).await;
    assert_eq!((compacted.files, compacted.rows, compacted.faults.len()), (1, 3, 0));
    assert!(compacted.unreferenced > 3, "three files and a vector are of earlier versions: {compacted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damage_is_one_line() {
    let lake = Lake::new();
    drop(filled(&lake).await);
    let sound = files(lake.dir.path());
    let of = |end: &str| sound.keys().filter(|p| p.to_string_lossy().ends_with(end)).cloned().collect::<Vec<_>>();
    let (data, vectors, log) = (of(".parquet"), of(".bin"), of(".json"));
    assert_eq!((data.len(), vectors.len()), (3, 1));
    assert!(log.len() > 3, "{log:?}");
    let cases: [(&str, &PathBuf, Option<Damage>); 9] = [
        ("is missing", &data[0], None),
        ("bytes, its log says", &data[1], Some(shorten as Damage)),
        ("its checksum is", &data[2], Some(without_footer as Damage)),
        ("its checksum is", &data[0], Some(flip_inside as Damage)),
        ("a deletion vector can't be read", &vectors[0], Some(flip_last as Damage)),
        ("file", &vectors[0], None),
        ("table public.my table: ", &log[2], None),
        ("table public.my table: ", &log[1], Some(no_json as Damage)),
        ("table public.my table: ", &log[1], Some(flip_last as Damage)),
    ];
    for (words, path, damage) in cases {
        match damage {
            None => std::fs::remove_file(path).expect("removed"),
            Some(damage) => {
                let mut bytes = sound[path].clone();
                damage(&mut bytes);
                std::fs::write(path, bytes).expect("damaged");
            }
        }
        let found = look(&lake).await;
        assert_eq!(found.faults.len(), 1, "{}: {found:?}", path.display());
        assert!(found.faults[0].contains(words) && !found.faults[0].contains('\n'), "{found:?}");
        put(&sound);
    }
    assert_eq!(look(&lake).await.faults, Vec::<String>::new());
}
