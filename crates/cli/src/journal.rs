//! The append-only log of a run: the truth. A line is durable when `append` returns, and a line once durable is never
//! rewritten.
//!
//! # Crash model
//! Lines are appended and synced one at a time, so that only the last one can be torn. [`Journal::open`] drops a last
//! line that has no LF or a wrong checksum, truncates the file there and syncs it before it goes on; any other damage
//! is an error with the line's number. The directory is synced when the file is created. A sync that fails is never
//! tried again: the kernel may have dropped the bytes and report success the next time. After any error the journal
//! takes no more lines.

pub(crate) mod event;
mod line;
pub(crate) mod state;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::OFlags;

use event::{Event, Header, Line, Plan};
use line::LineError;
use state::{State, StateError};

/// The journal's name in DIR.
pub(crate) const FILE_NAME: &str = "journal.jsonl";

/// A journal open for appending, and the state that its lines add up to.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    state: State,
    /// An append or a sync has failed: what is durable is not known any more.
    broken: bool,
}

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The operating system failed.
    #[error("cannot {action} the journal {}", path.display())]
    Io {
        /// Such as `append to`.
        action: &'static str,
        /// The journal.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A line other than the last is not what was written.
    #[error("{}:{line}: the journal is damaged", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// One-based.
        line: u64,
        /// In which way.
        source: anyhow::Error,
    },
    /// It was written by a later version.
    #[error("{}: the journal was written by a newer zbulk", path.display())]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Which versions.
        source: StateError,
    },
    /// An earlier append has failed.
    #[error("the journal {} takes no more lines after a failed write", path.display())]
    Broken {
        /// The journal.
        path: PathBuf,
    },
    /// An event that cannot follow: a bug, caught before it is written.
    #[error("refusing to journal what cannot be true")]
    Contradiction(#[source] StateError),
}

type Result<T> = std::result::Result<T, JournalError>;

impl Journal {
    /// Creates the journal of a new run, with its header and plan; durable on return.
    ///
    /// # Errors
    /// `Io`, also if there is one already.
    pub(crate) fn create(dir: &Path, header: Header, plan: Plan) -> Result<Journal> {
        let path = dir.join(FILE_NAME);
        let io = |action, source| JournalError::Io { action, path: path.clone(), source };
        let time = Timestamp::now();
        let header = Line { n: 1, time, event: Event::Header(Box::new(header)) };
        let plan = Line { n: 2, time, event: Event::Plan(Box::new(plan)) };
        let mut bytes = Vec::new();
        for line in [&header, &plan] {
            bytes.extend(line::encode(line).map_err(|error| io("write", error.into()))?);
        }
        let state = State::begin(header, plan).map_err(JournalError::Contradiction)?;
        // Header and plan appear together or not at all.
        crate::publish::publish(&path, &bytes).map_err(|error| io("create", error))?;
        let file = open_to_append(&path).map_err(|error| io("open", error))?;
        Ok(Journal { file, path, state, broken: false })
    }

    /// Opens the journal of a run that goes on; `None` if there is none.
    ///
    /// # Errors
    /// `Damaged`, `Newer`, `Io`.
    pub(crate) fn open(dir: &Path) -> Result<Option<Journal>> {
        let path = dir.join(FILE_NAME);
        let io = |action, source| JournalError::Io { action, path: path.clone(), source };
        let mut file = match open_to_append(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("open", error)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| io("read", error))?;
        let Recovered { state, durable } = recover(&path, &bytes)?;
        if durable < bytes.len() {
            file.set_len(durable as u64).map_err(|error| io("truncate", error))?;
            file.sync_all().map_err(|error| io("sync", error))?;
        }
        Ok(Some(Journal { file, path, state, broken: false }))
    }

    /// The state of a run, without a lock and without touching the file; `None` if there is no journal.
    ///
    /// # Errors
    /// `Damaged`, `Newer`, `Io`.
    pub(crate) fn read(dir: &Path) -> Result<Option<State>> {
        let path = dir.join(FILE_NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(JournalError::Io { action: "read", path, source }),
        };
        Ok(Some(recover(&path, &bytes)?.state))
    }

    /// Appends an event; durable on return.
    ///
    /// # Errors
    /// `Io` and from then on `Broken`; `Contradiction` for an event that cannot follow.
    pub(crate) fn append(&mut self, event: Event) -> Result<()> {
        if self.broken {
            return Err(JournalError::Broken { path: self.path.clone() });
        }
        let line = Line { n: self.state.lines + 1, time: Timestamp::now(), event };
        let io = |action, source| JournalError::Io { action, path: self.path.clone(), source };
        let bytes = line::encode(&line).map_err(|error| io("write", error.into()))?;
        self.state.apply(line).map_err(JournalError::Contradiction)?;
        let written = self.file.write_all(&bytes).map_err(|error| io("append to", error));
        let synced = written.and_then(|()| self.file.sync_data().map_err(|error| io("sync", error)));
        self.broken = synced.is_err();
        synced
    }

    /// Whether an append has failed: the state may then be one event ahead of what is durable, and must not be
    /// published.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// What the lines add up to.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }
}

/// Opens a journal; one that is a link is not followed, since what zbulk writes must not be somewhere else.
fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)
}

/// What is durable of a journal.
struct Recovered {
    state: State,
    /// Bytes up to the end of the last good line.
    durable: usize,
}

/// Reads a journal's bytes. Header and plan were published together, so that a journal without them is damaged.
fn recover(path: &Path, bytes: &[u8]) -> Result<Recovered> {
    let damaged = |line: usize, source: anyhow::Error| JournalError::Damaged {
        path: path.to_owned(),
        line: line as u64 + 1,
        source,
    };
    let mut lines: Vec<(Line, usize)> = Vec::new();
    let mut end = 0;
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = rest.iter().position(|&byte| byte == b'\n');
        let is_last = length.is_none_or(|length| length + 1 == rest.len());
        let length = length.unwrap_or(rest.len());
        let whole = length < rest.len();
        match line::decode(&rest[..length]) {
            Ok(line) if whole => {
                end += length + 1;
                lines.push((line, end));
            }
            // Only the last line can be torn.
            Ok(_) | Err(LineError::Checksum) if is_last => break,
            Ok(_) => break,
            Err(error) => return Err(damaged(lines.len(), error.into())),
        }
        rest = &rest[length + 1..];
    }
    let whole_lines = lines.len();
    let mut lines = lines.into_iter();
    let (Some((header, _)), Some((plan, mut durable))) = (lines.next(), lines.next()) else {
        return Err(damaged(whole_lines.min(1), StateError::NoHeader.into()));
    };
    let mut state = State::begin(header, plan).map_err(|error| match error {
        newer @ StateError::Newer(_) => JournalError::Newer { path: path.to_owned(), source: newer },
        other => damaged(0, other.into()),
    })?;
    for (line, end) in lines {
        let number = state.lines as usize;
        state.apply(line).map_err(|error| damaged(number, error.into()))?;
        durable = end;
    }
    Ok(Recovered { state, durable })
}
