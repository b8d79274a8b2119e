//! Full disks: of the program's own directory (catalog and lake), and of the target. Each says so, keeps everything, and goes on when there is room.

use super::systems::{Pg, System};
use super::world::{STUCK, World, alone, seed};
use crate::support::postgres::Postgres;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Outcome = Result<(), String>;

/// A small file system in memory. It is unmounted with the value.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, megabytes: u32) -> Small {
        std::fs::create_dir_all(at).expect("a directory");
        let options = format!("size={megabytes}m,mode=0777");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
        assert!(mounted.is_ok_and(|s| s.success()), "mounting a tmpfs needs root: run the tests as root, or with `unshare --user --map-root-user --mount`");
        Small(at.to_path_buf())
    }
    /// Fills it to the last byte.
    fn fill(&self) {
        let _ = Command::new("dd").args(["if=/dev/zero", "bs=64k", "status=none"]).arg(format!("of={}", self.0.join("fill").display())).stderr(std::process::Stdio::null()).status();
    }
    fn free(&self) {
        let _ = std::fs::remove_file(self.0.join("fill"));
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Some pipe says that a disk is full, none has FAILED; the log has a few lines, not a flood.
async fn says(world: &mut World, words: &[&str]) -> Outcome {
    let until = Instant::now() + Duration::from_secs(40);
    loop {
        let phases = world.phases().await;
        if let Some((pipe, (_, e))) = phases.iter().find(|(_, (p, _))| p == "FAILED") {
            return Err(format!("{pipe} has FAILED for a full disk: {e}"));
        }
        if phases.values().any(|(p, e)| p == "RETRYING" && words.iter().any(|w| e.contains(w))) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("nobody says that the disk is full: {phases:?}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn full(world: &mut World, disk: &Small, words: &[&str], what: &'static str) -> Outcome {
    world.create_pipes(", 'snapshot.chunk-rows' = '2000'").await;
    world.start_pipes().await;
    world.until(&["RUNNING"], STUCK).await?;
    world.flows(STUCK).await?;
    world.look(true);
    for _ in 0..3 {
        disk.fill();
        let lines = world.server.log_since_start().lines().count();
        says(world, words).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let lines = world.server.log_since_start().lines().count() - lines;
        if lines > 60 {
            return Err(format!("{lines} lines in the log for one full disk"));
        }
        disk.free();
        world.flows(STUCK).await?;
        world.tallied(what, 1);
    }
    // with a kill while it is full
    disk.fill();
    world.pause(0, 1500).await;
    world.server.kill();
    disk.free();
    world.restart("").await;
    world.flows(STUCK).await?;
    world.equal().await?;
    world.tallied(what, 1);
    Ok(())
}

/// Catalog and lake.
async fn own() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Small::mount(&dir.path().join("small"), 120);
    let (source, target) = tokio::join!(Pg::start(&[]), Pg::start(&[]));
    let mut world = World::at(&disk.0, seed(), 2000, Arc::new(source), Arc::new(target), &[]).await;
    let outcome = full(&mut world, &disk, &["full", "No space", "no space"], "full disk of catalog and lake").await;
    world.check(outcome);
}

/// The target's.
async fn targets() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Small::mount(&dir.path().join("small"), 200);
    let source = Pg::start(&[]).await;
    let target = Pg::of(Postgres::start_in(&disk.0, &[("max_prepared_transactions", "10"), ("wal_keep_size", "0"), ("max_wal_size", "64MB"), ("min_wal_size", "32MB")]).await);
    let target: Arc<dyn System> = Arc::new(target);
    let mut world = World::of(seed(), 2000, Arc::new(source), target, &[]).await;
    let outcome = full(&mut world, &disk, &["full", "No space", "no space", "could not"], "full disk of the target").await;
    world.check(outcome);
}

/// Both.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: tests/faults/run"]
async fn full_disks_lose_and_double_nothing() {
    let _alone = alone().await;
    own().await;
    targets().await;
}
