//! One process a directory: the kernel's lock on `DIR/lock`, which ends with the process however it ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::publish::no_follow;

/// The lock's file in DIR. It stays there, and means nothing by itself: only the kernel's lock on it does.
pub(crate) const FILE_NAME: &str = "lock";

/// A held lock; dropped, it is free.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
    fresh: bool,
}

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another process holds it.
    #[error("another zbulk works in `{}`: {holder}", dir.display())]
    Held {
        /// The directory.
        dir: PathBuf,
        /// What the holder wrote about itself, such as `process 4711 on host1, since 2026-01-31T12:00:00Z`.
        holder: String,
    },
    /// The file cannot be opened, locked or written. A link is not followed.
    #[error("cannot lock `{}`", path.display())]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock of a directory, or says who holds it; never waits.
    ///
    /// # Errors
    /// `Held`; `Io`, with `NotFound` where the directory is gone.
    pub(crate) fn take(dir: &Path) -> Result<Lock, LockError> {
        let path = dir.join(FILE_NAME);
        let io = |source| LockError::Io { path: path.clone(), source };
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let mut file = no_follow(&mut options).open(&path).map_err(io)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder = holder(&file).map_err(io)?;
                    return Err(LockError::Held { dir: dir.to_owned(), holder });
                }
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
            // Between open and lock its last holder may have removed the file: a lock on that would lock nothing.
            if !is_at(&file, &path).map_err(io)? {
                continue;
            }
            let fresh = file.metadata().map_err(io)?.len() == 0;
            file.set_len(0).map_err(io)?;
            file.rewind().map_err(io)?;
            file.write_all(this_process().as_bytes()).map_err(io)?;
            return Ok(Lock { file, path, fresh });
        }
    }

    /// Whether nobody has ever held it before.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Removes the lock's file and frees the lock: for a directory in which nothing shall be left.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn remove(self) -> io::Result<()> {
        // First the name, then the lock: whoever opened the file meanwhile finds out that it is no longer there.
        fs::remove_file(&self.path)?;
        self.file.unlock()
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn this_process() -> String {
    let host = rustix::system::uname();
    let since = Timestamp::now();
    format!("process {} on {}, since {since:.0}\n", std::process::id(), host.nodename().to_string_lossy())
}

/// What the holder wrote about itself; it may be just about to.
fn holder(file: &File) -> io::Result<String> {
    const LONGEST: u64 = 512;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    let holder = String::from_utf8_lossy(&bytes);
    let holder = holder.trim();
    Ok(if holder.is_empty() { "it has just started".to_owned() } else { holder.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_second_lock_is_refused_with_the_holder_and_a_freed_one_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        let error = Lock::take(dir.path()).unwrap_err().to_string();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let expected = format!(
            "another zbulk works in `{}`: process {} on {host}, since 2",
            dir.path().display(),
            std::process::id()
        );
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.ends_with('Z'), "{error}");
        drop(lock);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_file_left_by_a_killed_process_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join(FILE_NAME),
            "process 1 on elsewhere, since ever and a day and longer still\n",
        )
        .unwrap();
        let _lock = Lock::take(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        assert!(text.starts_with(&format!("process {} on ", std::process::id())), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn a_lock_is_on_the_file_that_bears_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("f"), dir.path().join("g"));
        let file = File::create(&path).unwrap();
        fs::write(&other, "").unwrap();
        assert!(is_at(&file, &path).unwrap());
        assert!(!is_at(&file, &other).unwrap());
        assert!(!is_at(&file, &dir.path().join("nowhere")).unwrap());
        assert!(is_at(&file, &path.join("inside")).is_err(), "what cannot be told is not told");
        fs::rename(&path, &other).unwrap();
        assert!(is_at(&file, &other).unwrap() && !is_at(&file, &path).unwrap());
    }

    #[test]
    fn the_file_is_private_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let lock = Lock::take(dir.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        lock.remove().unwrap();
        assert!(!path.exists());

        let precious = dir.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        assert!(matches!(Lock::take(dir.path()), Err(LockError::Io { .. })));
        assert_eq!(fs::read(precious).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &path).unwrap();
        assert!(matches!(Lock::take(dir.path()), Err(LockError::Io { .. })));
        assert!(!dir.path().join("nowhere").exists());
    }

    #[test]
    fn of_many_who_start_at_once_and_tidy_up_behind_them_one_at_a_time_holds_it() {
        const THREADS: usize = 16;
        let dir = tempfile::tempdir().unwrap();
        let (start, inside) = (Barrier::new(THREADS), std::sync::atomic::AtomicUsize::new(0));
        let held: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let mut held = 0;
                        for _ in 0..200 {
                            match Lock::take(dir.path()) {
                                Ok(lock) => {
                                    use std::sync::atomic::Ordering::SeqCst;
                                    assert_eq!(inside.fetch_add(1, SeqCst), 0, "two hold the lock");
                                    std::thread::yield_now();
                                    inside.fetch_sub(1, SeqCst);
                                    held += 1;
                                    lock.remove().unwrap();
                                }
                                Err(LockError::Held { .. }) => {}
                                Err(error) => panic!("{error:?}"),
                            }
                        }
                        held
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(held >= THREADS, "{held}");
    }
}
