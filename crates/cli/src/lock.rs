//! One process a directory: the kernel's lock on `DIR/lock`, which ends with the process however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// The lock's file in DIR. It stays there: a lock on a file that is removed would lock nothing.
pub(crate) const FILE_NAME: &str = "lock";

/// A held lock; dropped, it is free.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    path: PathBuf,
}

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another process holds it, and this is what it wrote about itself.
    #[error("another zbulk works in this directory: {holder}")]
    Held {
        /// Such as `process 4711, since 2026-01-31T12:00:00Z`.
        holder: String,
    },
    /// The file cannot be opened or locked.
    #[error("cannot lock")]
    Io(#[source] io::Error),
}

impl Lock {
    /// Takes the lock of a directory, or says who holds it.
    ///
    /// # Errors
    /// `Held`; `Io`, also where `DIR/lock` is a link.
    pub(crate) fn take(dir: &Path) -> Result<Lock, LockError> {
        let path = dir.join(FILE_NAME);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        // A link could make this process write into another file.
        if std::fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(LockError::Io(io::Error::other(format!("{} is no regular file", path.display()))));
        }
        let mut file = options.open(&path).map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.take(512).read_to_string(&mut holder).map_err(LockError::Io)?;
                let holder = if holder.trim().is_empty() { "it has just started" } else { holder.trim() };
                return Err(LockError::Held { holder: holder.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        file.set_len(0).map_err(LockError::Io)?;
        file.rewind().map_err(LockError::Io)?;
        let holder = format!("process {}, since {:.0}\n", std::process::id(), Timestamp::now());
        file.write_all(holder.as_bytes()).map_err(LockError::Io)?;
        Ok(Lock { _file: file, path })
    }

    /// Removes the lock's file and frees the lock: for a directory that is to be removed.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_with_the_holder_and_a_freed_one_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        let error = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}, since 2", std::process::id())), "{error}");
        drop(lock);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_file_left_by_a_killed_process_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), "process 1, since ever\n").unwrap();
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, dir.path().join(FILE_NAME)).unwrap();
        assert!(matches!(Lock::take(dir.path()), Err(LockError::Io(_))));
        assert_eq!(std::fs::read(precious).unwrap(), b"precious");
    }
}
