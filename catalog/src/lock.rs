//! One process per directory, and whether the one before left a log behind.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::error::{CatalogError, ErrorKind};

/// The file that is locked; it holds the process id of its holder and stays when that ends.
pub(crate) const FILE: &str = "lock";
/// Its second line while the catalog's log holds what the main file does not.
const LOG: &str = "log";

/// Holds the directory until dropped. The operating system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    /// It is ours to write to.
    named: bool,
    /// The file says that a log is in use: of a process that was killed, until [`Lock::note_log`] says otherwise.
    log: bool,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.named {
            // Only so that no later message names us.
            let _ = self.write(None);
        }
        // Closing alone would leave it to a child process that is just being started and still has our files.
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Takes the directory, or says who has it.
    pub(crate) fn take(dir: &Path) -> Result<Lock, CatalogError> {
        let path = dir.join(FILE);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(|e| CatalogError::io(format!("open {}", path.display()), &e))?;
        acquire(&mut file, dir)?;
        let log = read_log(&mut file);
        let mut lock = Lock { file, named: true, log };
        lock.write(Some(std::process::id())).map_err(|e| CatalogError::io(format!("write {}", path.display()), &e))?;
        Ok(lock)
    }

    /// A process that had the directory was killed with a log in use, or this one has it so.
    pub(crate) fn has_log(&self) -> bool {
        self.log
    }

    /// Says that a log is in use, when its name in the directory is durable; or that it will not be needed, before it goes. A safeguard only:
    /// where it can't be written, nothing is claimed.
    pub(crate) fn note_log(&mut self, used: bool) {
        self.log = used;
        let _ = self.write(Some(std::process::id())).and_then(|()| self.file.sync_all());
    }

    fn write(&mut self, pid: Option<u32>) -> std::io::Result<()> {
        let pid = pid.map(|pid| pid.to_string()).unwrap_or_default();
        let text = if self.log { format!("{pid}\n{LOG}\n") } else if pid.is_empty() { pid } else { format!("{pid}\n") };
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }

    /// Takes a directory that is only to be looked at: makes and changes no file.
    pub(crate) fn look(dir: &Path) -> Result<Option<Lock>, CatalogError> {
        match File::open(dir.join(FILE)) {
            Ok(mut file) => acquire(&mut file, dir).map(|()| {
                let log = read_log(&mut file);
                Some(Lock { file, named: false, log })
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(CatalogError::io("open the lock file", &e)),
        }
    }
}

/// False only when there is certainly no such process: the file keeps the number of one that was killed.
fn may_live(pid: u32) -> bool {
    let processes = Path::new("/proc");
    !processes.join("self").exists() || processes.join(pid.to_string()).exists()
}

fn read_log(file: &mut File) -> bool {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    read.is_ok() && text.lines().nth(1) == Some(LOG)
}

fn acquire(file: &mut File, dir: &Path) -> Result<(), CatalogError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let holder = match file.read_to_string(&mut text).map(|_| text.lines().next().unwrap_or_default().parse::<u32>()) {
                Ok(Ok(pid)) if may_live(pid) => format!("process {pid}"),
                _ => "another process".to_string(),
            };
            Err(CatalogError::new(ErrorKind::Locked, "data directory is in use")
                .detail(format!("{holder} has {} open", dir.display()))
                .hint("stop that process, or give another directory with --data"))
        }
        Err(TryLockError::Error(e)) => Err(CatalogError::io("lock the data directory", &e)),
    }
}
