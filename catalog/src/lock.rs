//! One process per directory.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::error::{CatalogError, ErrorKind};

/// The file that is locked; it holds the process id of its holder and stays when that ends.
pub(crate) const FILE: &str = "lock";

/// Holds the directory until dropped. The operating system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    /// It is ours to write to.
    named: bool,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.named {
            // Only so that no later message names us.
            let _ = self.file.set_len(0);
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
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(|e| CatalogError::io(format!("write {}", path.display()), &e))?;
        Ok(Lock { file, named: true })
    }

    /// Takes a directory that is only to be looked at: makes and changes no file.
    pub(crate) fn look(dir: &Path) -> Result<Option<Lock>, CatalogError> {
        match File::open(dir.join(FILE)) {
            Ok(mut file) => acquire(&mut file, dir).map(|()| Some(Lock { file, named: false })),
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

fn acquire(file: &mut File, dir: &Path) -> Result<(), CatalogError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let holder = match file.read_to_string(&mut text).map(|_| text.trim().parse::<u32>()) {
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
