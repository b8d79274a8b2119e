//! How far the generator is: a rate and the time it was first used, which is kept in a file, so that it never goes back.

use crate::error::{Error, Result};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Rate and end.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Transactions a second.
    pub rate: f64,
    /// The last transaction; 0: none is.
    pub transactions: u64,
}

/// Pace and birth.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pace: Pace,
    /// Microseconds since 1970-01-01 UTC.
    pub birth: i64,
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}

impl Clock {
    /// Reads when the generator was first used; this is the first use if there is nothing to read.
    pub async fn open(pace: Pace, file: &Path) -> Result<Self> {
        let about = |e: std::io::Error| Error::from(e).with_detail(format!("file {}", file.display()));
        if let Ok(text) = tokio::fs::read_to_string(file).await
            && let Ok(birth) = text.trim().parse()
        {
            return Ok(Clock { pace, birth });
        }
        if let Some(parent) = file.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(about)?;
        }
        let fresh = file.with_extension(uuid::Uuid::new_v4().simple().to_string());
        tokio::fs::write(&fresh, now().to_string()).await.map_err(about)?;
        // a link is made by one of several; all read what it made
        let made = tokio::fs::hard_link(&fresh, file).await;
        tokio::fs::remove_file(&fresh).await.map_err(about)?;
        if let Err(e) = made
            && e.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(about(e));
        }
        let text = tokio::fs::read_to_string(file).await.map_err(about)?;
        let birth = text.trim().parse().map_err(|_| Error::new(crate::error::Kind::Corrupt, "a generator's file is damaged").with_detail(format!("file {}", file.display())))?;
        Ok(Clock { pace, birth })
    }
    /// The last transaction there is now.
    pub fn last(&self) -> u64 {
        let n = ((now() - self.birth).max(0) as f64 * self.pace.rate / 1e6) as u64;
        if self.pace.transactions == 0 { n } else { n.min(self.pace.transactions) }
    }
    /// When transaction `n` was committed.
    pub fn time_of(&self, n: u64) -> i64 {
        self.birth + if self.pace.rate > 0.0 { (n as f64 * 1e6 / self.pace.rate) as i64 } else { 0 }
    }
    /// How long until transaction `n`; None: it never comes.
    pub fn until(&self, n: u64) -> Option<Duration> {
        let never = self.pace.rate <= 0.0 || (self.pace.transactions > 0 && n > self.pace.transactions);
        (!never).then(|| Duration::from_micros((self.time_of(n) - now()).max(0) as u64))
    }
}
