//! Where a lake that a statement names may lie: below the data directory, or below a directory of `lake.roots`. Whoever may make a source
//! writes there with the server's rights, so the operator says where that is. Object stores have rights of their own.

use crate::error::{Error, Kind, Result};
use std::path::{Component, Path, PathBuf};
use url::Url;

/// Errors: `NoRight` for a local place that is not below one of `roots`, whatever symbolic links lead there.
pub fn check(url: &Url, roots: &[PathBuf]) -> Result<()> {
    if url.scheme() != "file" {
        return Ok(());
    }
    let refused = |why: String| {
        let e = Error::new(Kind::NoRight, "the lake's location is not allowed").with_detail(why);
        e.with_hint("The operator can name a directory above it in the setting lake.roots.")
    };
    let path = url.to_file_path().map_err(|()| refused(format!("{url} is no path.")))?;
    let real = real(&path).ok_or_else(|| refused(format!("{} can't be followed.", path.display())))?;
    if roots.iter().filter_map(|r| self::real(r)).any(|root| real.starts_with(root)) {
        return Ok(());
    }
    Err(refused(format!("{} is neither below the data directory nor below one of lake.roots.", real.display())))
}

/// The path without symbolic links; the end of it need not exist yet. None for one that goes up, or that can't be looked at.
fn real(path: &Path) -> Option<PathBuf> {
    if path.components().any(|c| c == Component::ParentDir) {
        return None;
    }
    // a slash at the end would follow the link that it stands behind
    let path: PathBuf = path.components().collect();
    let mut missing = Vec::new();
    let mut at = path.as_path();
    loop {
        match at.canonicalize() {
            Ok(real) => return Some(missing.iter().rev().fold(real, |p, name| p.join(name))),
            // a link to nowhere is there and leads away
            Err(_) if at.symlink_metadata().is_ok() => return None,
            Err(_) => {
                missing.push(at.file_name()?);
                at = at.parent()?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_steps_up_lead_nowhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("root/in")).expect("directories");
        std::os::unix::fs::symlink("/etc", path("root/out")).expect("a link");
        std::os::unix::fs::symlink("/nowhere/at/all", path("root/dangling")).expect("a link");
        std::os::unix::fs::symlink(path("root/in"), path("root/round")).expect("a link");
        let check = |name: &str| check(&Url::from_directory_path(path(name)).expect("a URL"), &[path("root")]);
        for fine in ["root", "root/in", "root/new/deep", "root/round", "root/in/lake"] {
            assert!(check(fine).is_ok(), "{fine}");
        }
        for bad in ["", "other", "rootless", "root/out", "root/out/x", "root/dangling", "root/dangling/x", "root/../other"] {
            assert_eq!(check(bad).expect_err(bad).kind(), Kind::NoRight, "{bad}");
        }
    }
}
