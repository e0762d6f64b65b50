//! A directory in which a run works: locked, private, and with the journal of the run that goes on, if there is one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::exit_code::ExitCode;
use crate::failure::{Failure, Problem, Result};
use crate::identity::{TOOL, differences};
use crate::journal::event::{Event, Header, Plan, Target};
use crate::journal::{Journal, JournalError};
use crate::lock::{Lock, LockError};
use crate::progress::Progress;
use crate::publish::create_dir;

/// DIR, locked.
#[derive(Debug)]
pub(crate) struct Session {
    dir: PathBuf,
    lock: Lock,
    created: bool,
    journal: Option<Journal>,
}

impl Session {
    /// Creates DIR if need be, takes its lock, and reads its journal.
    ///
    /// # Errors
    /// 8 where another process works in it; 7 where the journal is damaged; 1 where the file system fails.
    pub(crate) fn open(dir: &Path) -> Result<Session> {
        let created = create_dir(dir).map_err(|error| io_failure(error, "create", dir))?;
        let lock = Lock::take(dir).map_err(|error| match error {
            LockError::Held { .. } => Failure::new(
                ExitCode::Locked,
                anyhow::Error::new(error).context(format!("{} is locked", dir.display())),
            )
            .hint("wait until it has ended, or stop it; `zbulk status` shows where it stands"),
            LockError::Io(error) => io_failure(error, "lock", dir),
        })?;
        let journal = Journal::open(dir).map_err(journal_failure)?;
        Ok(Session { dir: dir.to_owned(), lock, created, journal })
    }

    /// Takes the journal that was found, to go on with it.
    pub(crate) fn take_journal(&mut self) -> Option<Journal> {
        self.journal.take()
    }

    /// The journal to write: the one found if it is of the same run, else a new one.
    ///
    /// # Errors
    /// 7, naming all that differs, where the journal found is of another run that has sent something.
    pub(crate) fn begin(&mut self, header: Header, plan: Plan, progress: &Progress) -> Result<Journal> {
        let Some(mut found) = self.journal.take() else {
            return Journal::create(&self.dir, header, plan).map_err(journal_failure);
        };
        let different = differences(&found.state().header, &header);
        if different.is_empty() {
            found.append(Event::Resumed { tool: TOOL.to_owned() }).map_err(journal_failure)?;
            if found.state().header.target == Target::Undecided && header.target != Target::Undecided {
                found.append(Event::Target { target: header.target }).map_err(journal_failure)?;
            }
            return Ok(found);
        }
        if found.state().attempted {
            return Err(self.other_run(different));
        }
        progress.note(&format!(
            "the journal in {} was of other inputs or settings and had sent nothing: it is replaced ({})",
            self.dir.display(),
            different.join("; ")
        ));
        drop(found);
        self.remove("archives")?;
        Journal::create(&self.dir, header, plan).map_err(journal_failure)
    }

    fn other_run(&self, different: Vec<String>) -> Failure {
        let what = format!("the journal in {} is of another run", self.dir.display());
        let error = different.into_iter().rev().fold(None, |error: Option<anyhow::Error>, line| {
            Some(match error {
                None => anyhow::Error::msg(line),
                Some(error) => error.context(line),
            })
        });
        let error = match error {
            Some(error) => error.context(what),
            None => anyhow::Error::msg(what),
        };
        let problem = Problem::new(error).hint(
            "to go on with that run, put back what differs; to begin a new one beside it, name another directory with `--out`",
        );
        Failure::many(ExitCode::Journal, vec![problem])
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.dir.join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_failure(error, "remove", &path)),
            _ => Ok(()),
        }
    }

    /// Leaves without a trace where DIR was not there before and nothing was begun in it.
    pub(crate) fn abandon(self) {
        if self.created {
            // Only tidiness is at stake: what cannot be removed does no harm.
            drop(self.lock.remove());
            drop(fs::remove_dir(&self.dir));
        }
    }
}

/// A journal's failure with its exit code: 7 for what is wrong in it, 1 for what the file system does.
pub(crate) fn journal_failure(error: JournalError) -> Failure {
    match &error {
        JournalError::Damaged { .. } => Failure::new(ExitCode::Journal, error).hint(
            "something other than zbulk has changed the file; put back a copy of it, or name another directory with `--out` to begin anew: \
             whatever manifest.csv lists with a file_id is uploaded",
        ),
        JournalError::Newer { .. } => {
            Failure::new(ExitCode::Journal, error).hint("go on with the zbulk that wrote it, or a newer one")
        }
        JournalError::Io { .. } | JournalError::Broken { .. } | JournalError::Contradiction(_) => {
            Failure::new(ExitCode::Unexpected, error)
        }
    }
}

/// A failure of the file system, with what was tried on which path.
pub(crate) fn io_failure(error: io::Error, action: &str, path: &Path) -> Failure {
    let error = anyhow::Error::new(error).context(format!("cannot {action} {}", path.display()));
    Failure::new(ExitCode::Unexpected, error).hint(
        "see that the disk has room and that you may write there, or name another directory with `--out`",
    )
}
