//! DIR: created private, locked for as long as this process works in it, and gone again if nothing came of the run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::journal;
use crate::lock::{Lock, LockError};
use crate::progress::Progress;
use crate::publish::{create_dir, sync_dir};

/// An output directory that this process alone works in.
#[derive(Debug)]
pub(crate) struct OutputDir {
    path: PathBuf,
    lock: Lock,
    created: bool,
}

/// Why DIR cannot be worked in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnterError {
    /// It cannot be created.
    #[error("cannot create the output directory `{}`", path.display())]
    Create {
        /// DIR.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// It cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl OutputDir {
    /// Creates the directory where it is missing, and locks it.
    ///
    /// # Errors
    /// `Create`, also where the name means a link; `Lock`, with `Held` where another process works in it.
    pub(crate) fn enter(path: &Path) -> Result<OutputDir, EnterError> {
        loop {
            let created =
                create_dir(path).map_err(|source| EnterError::Create { path: path.to_owned(), source })?;
            match Lock::take(path) {
                Ok(lock) => return Ok(OutputDir { path: path.to_owned(), lock, created }),
                // Another process left nothing in it, not even the directory.
                Err(LockError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && !path.exists() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Locks a directory that must be there.
    ///
    /// # Errors
    /// `Lock`.
    pub(crate) fn enter_existing(path: &Path) -> Result<OutputDir, EnterError> {
        Ok(OutputDir { path: path.to_owned(), lock: Lock::take(path)?, created: false })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory as it was found: what this process created is gone, if it is empty.
    pub(crate) fn leave_as_found(self, progress: &Progress) {
        let path = self.path.clone();
        if let Err(error) = self.try_leave() {
            // Something else is being told, and an empty directory that stays does no harm.
            progress.warn(&format!("cannot remove `{}`: {error}", path.display()));
        }
    }

    fn try_leave(self) -> io::Result<()> {
        if !self.lock.is_fresh() {
            return Ok(());
        }
        self.lock.remove()?;
        if !self.created {
            return Ok(());
        }
        match fs::remove_dir(&self.path) {
            Ok(()) => {
                sync_dir(self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
            }
            // Another process has entered meanwhile, or it holds what somebody else has put there.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A directory that is gone when it is dropped, with the journal of another one: for what shall leave no trace.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: OutputDir,
    // After `dir`: fields are dropped in this order.
    _temp: TempDir,
}

impl Scratch {
    /// A scratch copy of what is journaled in a directory.
    ///
    /// # Errors
    /// Those of the file system, and of [`OutputDir::enter`].
    pub(crate) fn of(dir: &OutputDir) -> Result<Scratch, EnterError> {
        let scratch = Scratch::empty()?;
        match fs::copy(dir.path().join(journal::FILE_NAME), scratch.dir.path().join(journal::FILE_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot_create(error)),
            _ => Ok(scratch),
        }
    }

    /// One without a journal.
    ///
    /// # Errors
    /// As for [`Scratch::of`].
    pub(crate) fn empty() -> Result<Scratch, EnterError> {
        let temp = tempfile::tempdir().map_err(cannot_create)?;
        Ok(Scratch { dir: OutputDir::enter(temp.path())?, _temp: temp })
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &OutputDir {
        &self.dir
    }
}

fn cannot_create(source: io::Error) -> EnterError {
    EnterError::Create { path: std::env::temp_dir(), source }
}

impl From<EnterError> for Failure {
    fn from(error: EnterError) -> Failure {
        match &error {
            EnterError::Lock(LockError::Held { .. }) => Failure::new(ExitCode::Locked, error)
                .hint("wait until it has ended; `zbulk status` shows how far it is"),
            EnterError::Create { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
                Failure::new(ExitCode::Usage, error).hint("name another directory with --out")
            }
            EnterError::Create { .. } => {
                Failure::new(ExitCode::Unexpected, error).hint("name another directory with --out")
            }
            EnterError::Lock(LockError::Io { .. }) => Failure::new(ExitCode::Unexpected, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_which_nothing_came_about_is_gone_again() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("out");
        OutputDir::enter(&path).unwrap().try_leave().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_that_was_there_stays_with_all_that_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("theirs"), "x").unwrap();
        OutputDir::enter(dir.path()).unwrap().try_leave().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(OutputDir::enter(dir.path()).unwrap());
        OutputDir::enter(dir.path()).unwrap().try_leave().unwrap();
        assert!(dir.path().join("lock").exists(), "an earlier run's");
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("out");
        let dir = OutputDir::enter(&path).unwrap();
        fs::write(path.join("result"), "x").unwrap();
        dir.try_leave().unwrap();
        assert!(path.join("result").exists());
    }

    #[test]
    fn a_second_process_is_told_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let _first = OutputDir::enter(dir.path()).unwrap();
        let failure = Failure::from(OutputDir::enter(dir.path()).unwrap_err());
        assert_eq!(failure.exit(), ExitCode::Locked);
    }
}
