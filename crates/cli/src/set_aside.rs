//! `--restart`: an old run is moved into a directory of its own inside DIR, and nothing of it is ever deleted.
//!
//! The journal goes last. Until it has gone DIR still holds the old run, so that a process that is killed in between
//! has lost nothing: the next restart finds a directory without a journal and fills it up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::connect::SANDBOX;
use crate::journal;
use crate::manifest;
use crate::publish::{create_dir, sync_dir};
use crate::rejects;
use crate::session::ARCHIVES;

/// What the directories in DIR are called: this and a one-based number.
const STEM: &str = "set-aside-";

/// Everything that a run leaves in DIR, in the order in which it is moved. Not the lock, which this process holds, and
/// not the times of token refreshes, which Zoho counts whatever the run.
const OF_A_RUN: [&str; 6] =
    [ARCHIVES, rejects::DIR_NAME, SANDBOX, manifest::CSV_NAME, manifest::JSON_NAME, journal::FILE_NAME];

/// Why a run could not be set aside.
#[derive(Debug, thiserror::Error)]
#[error("cannot move `{}` to `{}`", from.display(), to.display())]
pub(crate) struct SetAsideError {
    from: PathBuf,
    to: PathBuf,
    source: io::Error,
}

/// Whether DIR holds a run, be it a damaged one or one of another version.
///
/// # Errors
/// Those of the file system.
pub(crate) fn is_needed(dir: &Path) -> io::Result<bool> {
    is_there(&dir.join(journal::FILE_NAME))
}

/// Moves the run in DIR aside; durable on return. Says where it is now: `zbulk status --out` works there.
///
/// # Errors
/// Those of the file system, with what was being moved. The run is then still in DIR, and can be set aside again.
pub(crate) fn set_aside(dir: &Path) -> Result<PathBuf, SetAsideError> {
    let failed =
        |from: &Path, to: &Path, source| SetAsideError { from: from.to_owned(), to: to.to_owned(), source };
    let mut place = PathBuf::new();
    for number in 1_u32.. {
        place = dir.join(format!("{STEM}{number}"));
        if is_free(&place, dir).map_err(|source| failed(dir, &place, source))? {
            break;
        }
    }
    create_dir(&place).map_err(|source| failed(dir, &place, source))?;
    for name in OF_A_RUN {
        let (from, to) = (dir.join(name), place.join(name));
        if name == journal::FILE_NAME {
            // First all else is durable in its new place, so that no power loss can tear the journal from it.
            sync_dir(&place).and_then(|()| sync_dir(dir)).map_err(|source| failed(&from, &to, source))?;
        }
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved.map_err(|source| failed(&from, &to, source))?,
        }
    }
    sync_dir(&place).and_then(|()| sync_dir(dir)).map_err(|source| failed(dir, &place, source))?;
    Ok(place)
}

/// Whether a run may be moved to `place`: it is not there yet, or it was being filled when a process was killed, and
/// nothing would be replaced.
fn is_free(place: &Path, dir: &Path) -> io::Result<bool> {
    if !is_there(place)? {
        return Ok(true);
    }
    if !fs::symlink_metadata(place)?.is_dir() || is_there(&place.join(journal::FILE_NAME))? {
        return Ok(false);
    }
    for name in OF_A_RUN {
        if is_there(&place.join(name))? && is_there(&dir.join(name))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Every file under a directory, by its path in it, with its content.
    fn files(dir: &Path) -> BTreeMap<PathBuf, String> {
        fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    found.insert(
                        path.strip_prefix(root).unwrap().to_owned(),
                        fs::read_to_string(&path).unwrap(),
                    );
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(dir, dir, &mut found);
        found
    }

    fn a_run(dir: &Path, text: &str) {
        for name in [
            "archives/a.zip",
            "rejects/A.csv",
            "sandbox/1.zip",
            "manifest.csv",
            "manifest.json",
            "journal.jsonl",
        ] {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), format!("{name} {text}")).unwrap();
        }
    }

    #[test]
    fn all_of_a_run_is_moved_and_what_is_not_the_runs_stays() {
        let dir = tempfile::tempdir().unwrap();
        a_run(dir.path(), "one");
        let run = files(dir.path());
        for name in ["lock", "token-refreshes.json", "input.csv"] {
            fs::write(dir.path().join(name), "stays").unwrap();
        }
        assert!(is_needed(dir.path()).unwrap());
        let first = set_aside(dir.path()).unwrap();
        assert!(!is_needed(dir.path()).unwrap());
        assert_eq!((first.clone(), files(&first)), (dir.path().join("set-aside-1"), run.clone()));
        let left: Vec<_> =
            files(dir.path()).into_keys().filter(|name| !name.starts_with("set-aside-1")).collect();
        assert_eq!(left, ["input.csv", "lock", "token-refreshes.json"].map(PathBuf::from));
        a_run(dir.path(), "two");
        assert_eq!(set_aside(dir.path()).unwrap(), dir.path().join("set-aside-2"));
        assert_eq!(files(&first), run, "the first is as it was");
    }

    #[test]
    fn stopped_after_any_rename_the_next_one_brings_the_whole_run_to_one_place() {
        for moved in 0..OF_A_RUN.len() {
            let dir = tempfile::tempdir().unwrap();
            a_run(dir.path(), "one");
            let run = files(dir.path());
            let place = dir.path().join("set-aside-1");
            fs::create_dir(&place).unwrap();
            for name in &OF_A_RUN[..moved] {
                fs::rename(dir.path().join(name), place.join(name)).unwrap();
            }
            assert!(is_needed(dir.path()).unwrap(), "the journal is the last to go");
            assert_eq!(set_aside(dir.path()).unwrap(), place);
            assert_eq!(files(&place), run, "{moved} were moved before");
        }
    }

    #[test]
    fn nothing_that_is_there_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        // Between a killed restart and this one the old run has gone on, and has published its manifest again.
        fs::create_dir(dir.path().join("set-aside-1")).unwrap();
        fs::write(dir.path().join("set-aside-1/manifest.json"), "older").unwrap();
        fs::write(dir.path().join("set-aside-2"), "somebody's file").unwrap();
        a_run(dir.path(), "one");
        assert_eq!(set_aside(dir.path()).unwrap(), dir.path().join("set-aside-3"));
        assert_eq!(fs::read_to_string(dir.path().join("set-aside-1/manifest.json")).unwrap(), "older");
        assert_eq!(fs::read_to_string(dir.path().join("set-aside-2")).unwrap(), "somebody's file");
    }
}
