//! The machine under the program, which can fail: `machine.c` between the program and its C library. Clocks jump, fsync fails, and the power is cut:
//! the program's directory becomes what was synced, and nothing else.

use rand::Rng;
use rand::rngs::StdRng;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the fields of `machine.c`'s control are, and how long it is.
const CLOCK: u64 = 0;
const FAIL: u64 = 8;
const FAILED: u64 = 16;
const SYNCED: u64 = 24;
const PART: u64 = 32;
const PART_LENGTH: usize = 96;
const CONTROL: u64 = PART + PART_LENGTH as u64;
/// What it keeps, a directory each.
const KINDS: &[&str] = &["ino", "dir", "keep", "bad"];

/// See the file's head.
pub struct Shim {
    /// What it keeps, on the file system of `root`.
    place: PathBuf,
    /// The program's directory.
    root: PathBuf,
    control: File,
}

impl Shim {
    /// Beside the program's directory, which does not have to be there yet. The program gets it by [`Shim::environment`].
    pub fn new(root: &Path) -> Shim {
        let place = root.with_extension("machine");
        fs::create_dir_all(&place).expect("a directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/machine.c");
        let compiled = Command::new("cc").args(["-O1", "-Wall", "-shared", "-fPIC", "-o"]).arg(place.join("machine.so")).arg(source).args(["-ldl", "-lpthread"]).status();
        assert!(compiled.is_ok_and(|s| s.success()), "cc is missing: apt-get install build-essential");
        let control = File::options().create(true).truncate(true).read(true).write(true).open(place.join("control")).expect("a file");
        control.set_len(CONTROL).expect("its length");
        let shim = Shim { place, root: root.to_path_buf(), control };
        shim.baseline();
        shim
    }
    /// What the program's environment gets.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |p: &Path| p.display().to_string();
        vec![("LD_PRELOAD".into(), text(&self.place.join("machine.so"))), ("MACHINE".into(), text(&self.place)), ("MACHINE_ROOT".into(), text(&self.root))]
    }
    fn set(&self, at: u64, value: i64) {
        self.control.write_all_at(&value.to_ne_bytes(), at).expect("control");
    }
    fn get(&self, at: u64) -> i64 {
        let mut value = [0; 8];
        self.control.read_exact_at(&mut value, at).expect("control");
        i64::from_ne_bytes(value)
    }
    /// The program's clock is so many seconds off from now on.
    pub fn clock(&self, seconds: i64) {
        self.set(CLOCK, seconds * 1_000_000_000);
    }
    /// So many of the next fsyncs of paths with this in them fail (with a `$` behind it: that end so); -1: all, 0: none any more.
    pub fn fail(&self, calls: i64, part: &str) {
        let mut bytes = [0; PART_LENGTH];
        bytes[..part.len()].copy_from_slice(part.as_bytes());
        self.set(FAIL, 0);
        self.control.write_all_at(&bytes, PART).expect("control");
        self.set(FAIL, calls);
    }
    /// How many have failed so far.
    pub fn failed(&self) -> i64 {
        self.get(FAILED)
    }
    /// How many were carried out.
    pub fn synced(&self) -> i64 {
        self.get(SYNCED)
    }

    /// Everything that is there now is durable.
    pub fn baseline(&self) {
        for kind in KINDS {
            let _ = fs::remove_dir_all(self.place.join(kind));
            fs::create_dir_all(self.place.join(kind)).expect("a directory");
        }
        fs::create_dir_all(&self.root).expect("a directory");
        self.remember(&self.root);
    }

    fn kept(&self, kind: &str, ino: u64) -> PathBuf {
        self.place.join(kind).join(ino.to_string())
    }

    fn remember(&self, dir: &Path) {
        let mut names = String::new();
        for entry in fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry")) {
            let (meta, path) = (entry.metadata().expect("its data"), entry.path());
            let kind = if meta.is_dir() { 'd' } else if meta.is_file() { 'f' } else { 'o' };
            names += &format!("{} {kind} {}\n", meta.ino(), entry.file_name().to_string_lossy());
            if meta.is_dir() {
                self.remember(&path);
            } else if meta.is_file() {
                // it may have two names
                let _ = fs::hard_link(&path, self.kept("keep", meta.ino()));
                fs::copy(&path, self.kept("ino", meta.ino())).expect("a copy");
            }
        }
        fs::write(self.kept("dir", fs::metadata(dir).expect("its data").ino()), names).expect("written");
    }

    /// The power was cut, after the program's end: its directory becomes what was synced; with `chance`, now and then also what was not yet.
    pub fn cut(&self, mut chance: Option<&mut StdRng>) {
        let after = self.root.with_extension("after");
        let _ = fs::remove_dir_all(&after);
        self.build(fs::metadata(&self.root).expect("the directory").ino(), &self.root, &after, &mut chance);
        fs::remove_dir_all(&self.root).expect("removed");
        fs::rename(&after, &self.root).expect("renamed");
        self.baseline();
    }

    /// A directory's durable names; those it has now where a chance is given and has it so.
    fn build(&self, ino: u64, now: &Path, to: &Path, chance: &mut Option<&mut StdRng>) {
        fs::create_dir_all(to).expect("a directory");
        let mut maybe = || chance.as_mut().is_some_and(|rng| rng.random_bool(0.5));
        let text = fs::read_to_string(self.kept("dir", ino)).unwrap_or_default();
        let mut names: Vec<(String, u64, char)> = text.lines().filter_map(line).collect();
        // a name is gone or another file's: durable or not, both may be found
        names.retain(|(name, _, kind)| now.join(name).exists() || *kind == 'd' || !maybe());
        for entry in fs::read_dir(now).into_iter().flatten().flatten() {
            let (name, meta) = (entry.file_name().to_string_lossy().into_owned(), entry.metadata().expect("its data"));
            if (meta.is_file() || meta.is_dir()) && names.iter().all(|(n, i, _)| *n != name || *i != meta.ino()) && maybe() {
                names.retain(|(n, ..)| *n != name);
                names.push((name, meta.ino(), if meta.is_dir() { 'd' } else { 'f' }));
            }
        }
        for (name, ino, kind) in names {
            let to = to.join(&name);
            let unsynced = chance.as_mut().is_some_and(|rng| rng.random_bool(0.5));
            match kind {
                'd' => self.build(ino, &now.join(&name), &to, chance),
                'f' => {
                    let current = Some(now.join(&name)).filter(|p| unsynced && fs::metadata(p).is_ok_and(|m| m.ino() == ino));
                    let from = current.unwrap_or_else(|| self.kept("ino", ino));
                    if fs::copy(&from, &to).is_err() {
                        fs::write(&to, "").expect("a file without what was never synced");
                    }
                }
                _ => {}
            }
        }
    }
}

/// `number kind name`.
fn line(text: &str) -> Option<(String, u64, char)> {
    let mut parts = text.splitn(3, ' ');
    let (ino, kind) = (parts.next()?.parse().ok()?, parts.next()?.chars().next()?);
    Some((parts.next()?.to_string(), ino, kind))
}

/// The shim itself: what a program syncs is there after a cut, and what it does not is gone.
#[test]
fn a_power_cut_leaves_what_was_synced() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("data");
    let shim = Shim::new(&root);
    let run = |script: &str| {
        let status = Command::new("python3").args(["-c", script]).current_dir(&root).envs(shim.environment()).status();
        assert!(status.is_ok_and(|s| s.success()), "{script}");
    };
    run("import os
def sync(p):
    fd = os.open(p, os.O_RDONLY); os.fsync(fd); os.close(fd)
open('a', 'w').write('synced'); sync('a'); sync('.')
open('b', 'w').write('content without a name'); sync('b')
open('a', 'a').write(' and more'); os.mkdir('d'); sync('.'); open('d/c', 'w').write('x'); sync('d')");
    shim.cut(None);
    let mut names: Vec<_> = fs::read_dir(&root).expect("there").map(|e| e.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    // the second sync of the directory took b's name along
    assert_eq!(names, ["a", "b", "d"]);
    assert_eq!(fs::read_to_string(root.join("a")).expect("a"), "synced");
    assert_eq!(fs::read_to_string(root.join("b")).expect("b"), "content without a name");
    assert_eq!(fs::read_to_string(root.join("d/c")).expect("c"), "", "a name whose content was never synced");
    shim.fail(1, "a$");
    run("import os, time
fd = os.open('a', os.O_RDWR); os.write(fd, b'lost??')
try: os.fsync(fd); raise SystemExit('it did not fail')
except OSError: pass
os.fsync(fd)");
    assert_eq!(shim.failed(), 1);
    shim.cut(None);
    assert_eq!(fs::read_to_string(root.join("a")).expect("a"), "synced", "after a failed fsync the next one writes nothing");
    shim.clock(-86_400);
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    run(&format!("import time; assert {before} - time.time() > 80000, time.time()"));
    assert!(shim.synced() > 0);
}
