//! Where accepted archives are kept: `<dir>/<file_id>.zip`, each complete and synced before its id is known to anybody.
//!
//! The directory is the only memory: ids go on after the highest that is there, so none is given twice, also by a
//! sandbox started later or beside this one on the same directory.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The id before the first one: 18 digits, as in the examples of Zoho's pages.
const BEFORE_FIRST_ID: u64 = 111_111_000_001_000_000;

/// The directory of accepted archives.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    /// The highest number taken, which may not be published yet.
    last_id: AtomicU64,
    /// The highest number under which an archive stands.
    last_kept: AtomicU64,
}

impl Store {
    /// Opens the directory, creating it (mode 0700) where it is missing, and finds the highest id in it.
    ///
    /// # Errors
    ///
    /// The directory cannot be created or read.
    pub(super) fn open(dir: &Path) -> io::Result<Store> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // Its own name shall be as durable as what is kept under it.
        match File::open(dir.join("..")).and_then(|parent| parent.sync_all()) {
            // A parent that we may not even read is none that we have created anything in.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
        let mut last_id = BEFORE_FIRST_ID;
        for entry in dir.read_dir()? {
            if let Some(id) = id_of(&entry?.path()) {
                last_id = last_id.max(id);
            }
        }
        Ok(Store {
            dir: dir.to_owned(),
            last_id: AtomicU64::new(last_id),
            last_kept: AtomicU64::new(last_id),
        })
    }

    /// Keeps those bytes under a new id and returns the id. On return they are synced, as is the directory.
    ///
    /// # Errors
    ///
    /// Writing, syncing or publishing failed; nothing has the id's name then.
    pub(super) fn keep(&self, archive: &[u8]) -> io::Result<String> {
        let mut file = tempfile::Builder::new().prefix(".accepting-").tempfile_in(&self.dir)?;
        file.write_all(archive)?;
        file.as_file().sync_all()?;
        loop {
            let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
            match file.persist_noclobber(self.path_of(id)) {
                Ok(_) => {
                    File::open(&self.dir)?.sync_all()?;
                    self.last_kept.fetch_max(id, Ordering::Relaxed);
                    return Ok(id.to_string());
                }
                // Another sandbox on this directory took the number: the next one is tried.
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => file = error.file,
                Err(error) => return Err(error.error),
            }
        }
    }

    /// The id that was given last, now or by an earlier sandbox on this directory.
    pub(super) fn latest(&self) -> Option<String> {
        let last_kept = self.last_kept.load(Ordering::Relaxed);
        (last_kept > BEFORE_FIRST_ID).then(|| last_kept.to_string())
    }

    fn path_of(&self, id: u64) -> PathBuf {
        self.dir.join(format!("{id}.zip"))
    }
}

fn id_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".zip")?;
    let id = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?;
    // Ids have 18 or 19 digits: a file like `1.zip` is somebody else's and must not stop the count.
    id.filter(|&id| id > BEFORE_FIRST_ID && id < u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn ids_go_on_after_the_highest_and_none_is_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("kept");
        let store = Store::open(&dir).unwrap();
        assert_eq!(store.latest(), None);
        let first = store.keep(b"one").unwrap();
        assert_eq!(first, "111111000001000001");
        std::fs::write(dir.join("111111000001000007.zip"), b"").unwrap();
        for other in ["5.zip", "99999999999999999999999.zip", "a.zip", "111111000001000099.txt"] {
            std::fs::write(dir.join(other), b"").unwrap();
        }
        let store = Store::open(&dir).unwrap();
        let beside = Store::open(&dir).unwrap();
        assert_eq!(store.keep(b"two").unwrap(), "111111000001000008");
        assert_eq!(beside.keep(b"three").unwrap(), "111111000001000009");
        assert_eq!(store.latest().unwrap(), "111111000001000008");
        assert_eq!(std::fs::read(dir.join("111111000001000009.zip")).unwrap(), b"three");
    }

    #[test]
    fn what_is_kept_is_private_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a/b");
        let id = Store::open(&dir).unwrap().keep(b"x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join(format!("{id}.zip"))), 0o600);
        assert_eq!(dir.read_dir().unwrap().count(), 1);
    }

    #[test]
    fn threads_share_one_count() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let ids: BTreeSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..10).map(|_| store.keep(b"").unwrap()).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(ids.len(), 80);
    }
}
