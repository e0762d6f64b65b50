//! The append-only log of a run: the truth. A line is durable when `append` returns, and a line once durable is never
//! changed.
//!
//! # Crash model
//! Header and plan appear together, by a rename, or not at all; the directory is synced after it. Every other line is
//! appended and synced by itself, so that only the last one can be torn. [`Journal::open`] drops a last line that has
//! no LF or a wrong checksum, truncates the file there and syncs it before it goes on; any other damage is an error
//! with the line's number. A sync that fails is never tried again: the kernel may have dropped the bytes and report
//! success the next time. After any failure to write the journal takes no more lines.

pub(crate) mod event;
#[cfg(test)]
pub(crate) mod fixture;
mod line;
pub(crate) mod state;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output_dir::OutputDir;
use crate::publish::{no_follow, publish};
use event::{Event, FORMAT, Header, Line, Plan};
use line::{Chain, LineError};
use state::{State, StateError};

/// The journal's name in DIR.
pub(crate) const FILE_NAME: &str = "journal.jsonl";

/// A journal open for appending, and the state that its lines add up to.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    state: State,
    chain: Chain,
    /// Bytes that are known to be durable.
    durable: usize,
    /// Bytes of a torn last line that were dropped when it was opened.
    dropped: usize,
    /// A write or a sync has failed: what is durable behind `durable` is not known any more.
    broken: bool,
}

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The operating system failed.
    #[error("cannot {action} the journal `{}`", path.display())]
    Io {
        /// Such as `append to`.
        action: &'static str,
        /// The journal.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A line is not what was written, and it is not the last one, which a crash may tear.
    #[error("{}:{line}: the journal is damaged", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// One-based.
        line: u64,
        /// In which way.
        source: Damage,
    },
    /// It was written by a later version.
    #[error("the journal `{}` was written by a newer zbulk: its format is {format}, the highest known is {FORMAT}", path.display())]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its format version.
        format: u32,
    },
    /// An earlier append has failed.
    #[error("the journal `{}` takes no more lines after a failed write", path.display())]
    Broken {
        /// The journal.
        path: PathBuf,
    },
    /// An event that cannot follow: a bug, noticed before it is written.
    #[error("refusing to journal what cannot be")]
    Contradiction(#[source] StateError),
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    /// It is missing, whole or in part.
    #[error("it is cut short")]
    Short,
    /// Its bytes are not what was written.
    #[error(transparent)]
    Line(#[from] LineError),
    /// It contradicts the lines before it.
    #[error(transparent)]
    State(#[from] StateError),
}

type Result<T> = std::result::Result<T, JournalError>;

impl Journal {
    /// Creates the journal of a new run, with its header and plan; durable on return. An older journal is replaced.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn create(dir: &OutputDir, header: Header, plan: Plan) -> Result<Journal> {
        let path = dir.path().join(FILE_NAME);
        let io = |action, source| JournalError::Io { action, path: path.clone(), source };
        let time = now();
        let header = Line { n: 1, time, event: Event::Header(Box::new(header)) };
        let plan = Line { n: 2, time, event: Event::Plan(plan) };
        let (mut bytes, mut chain) = (Vec::new(), Chain::default());
        for line in [&header, &plan] {
            let (encoded, next) = line::encode(line, chain).map_err(|error| io("write", error.into()))?;
            bytes.extend(encoded);
            chain = next;
        }
        let mut state = State::begin(header).map_err(JournalError::Contradiction)?;
        state.apply(plan).map_err(JournalError::Contradiction)?;
        publish(&path, &bytes).map_err(|error| io("create", error))?;
        let file = open_to_append(&path).map_err(|error| io("open", error))?;
        Ok(Journal { file, path, state, chain, durable: bytes.len(), dropped: 0, broken: false })
    }

    /// Opens the journal of a run that may go on; `None` if there is none. A torn last line is gone for good on return.
    ///
    /// # Errors
    /// `Damaged`, `Newer`, `Io`; a link is not followed.
    pub(crate) fn open(dir: &OutputDir) -> Result<Option<Journal>> {
        let path = dir.path().join(FILE_NAME);
        let io = |action, source| JournalError::Io { action, path: path.clone(), source };
        let mut file = match open_to_append(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("open", error)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| io("read", error))?;
        let Recovered { state, chain, durable } = recover(&path, &bytes)?;
        if durable < bytes.len() {
            file.set_len(durable as u64).map_err(|error| io("truncate", error))?;
            file.sync_all().map_err(|error| io("sync", error))?;
        }
        let dropped = bytes.len() - durable;
        Ok(Some(Journal { file, path, state, chain, durable, dropped, broken: false }))
    }

    /// The state of a run, without a lock and without touching the file; `None` if there is no journal.
    ///
    /// # Errors
    /// `Damaged`, `Newer`, `Io`.
    pub(crate) fn read(dir: &Path) -> Result<Option<State>> {
        let path = dir.join(FILE_NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(JournalError::Io { action: "read", path, source }),
        };
        Ok(Some(recover(&path, &bytes)?.state))
    }

    /// Appends an event; durable on return. One write and one sync.
    ///
    /// # Errors
    /// `Contradiction` for an event that cannot follow: nothing is written then. `Io`, and from then on `Broken`.
    pub(crate) fn append(&mut self, event: Event) -> Result<()> {
        if self.broken {
            return Err(JournalError::Broken { path: self.path.clone() });
        }
        let line = Line { n: self.state.lines + 1, time: now(), event };
        let io = |action, source| JournalError::Io { action, path: self.path.clone(), source };
        let (bytes, chain) = line::encode(&line, self.chain).map_err(|error| io("write", error.into()))?;
        self.state.apply(line).map_err(JournalError::Contradiction)?;
        let written = self.file.write_all(&bytes).map_err(|error| io("append to", error));
        if let Err(error) = written.and_then(|()| self.file.sync_data().map_err(|error| io("sync", error))) {
            self.broken = true;
            return Err(error);
        }
        self.chain = chain;
        self.durable += bytes.len();
        Ok(())
    }

    /// What the lines add up to. After a failed append it may be one event ahead: see
    /// [`durable_state`](Journal::durable_state).
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Bytes of a torn last line that were dropped when the journal was opened.
    pub(crate) fn dropped_bytes(&self) -> usize {
        self.dropped
    }

    /// What the durable lines add up to, also after a failed append.
    ///
    /// # Errors
    /// `Io`, `Damaged`: after a failed append the lines are read again.
    pub(crate) fn durable_state(self) -> Result<State> {
        if !self.broken {
            return Ok(self.state);
        }
        let mut bytes = fs::read(&self.path).map_err(|source| JournalError::Io {
            action: "read",
            path: self.path.clone(),
            source,
        })?;
        bytes.truncate(self.durable);
        Ok(recover(&self.path, &bytes)?.state)
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Failure {
        match &error {
            JournalError::Damaged { .. } => Failure::new(ExitCode::Journal, error).hint(
                "put back a copy of the journal if there is one; otherwise `zbulk run --restart` sets the run aside \
                 and sends everything anew",
            ),
            JournalError::Newer { .. } => {
                Failure::new(ExitCode::Journal, error).hint("go on with the version that wrote it, or a later one")
            }
            JournalError::Io { .. } | JournalError::Broken { .. } | JournalError::Contradiction(_) => {
                Failure::new(ExitCode::Unexpected, error)
            }
        }
    }
}

/// Milliseconds are enough for a log of uploads, and read better.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

fn open_to_append(path: &Path) -> io::Result<File> {
    no_follow(OpenOptions::new().read(true).append(true)).open(path)
}

/// What is durable of a journal.
struct Recovered {
    state: State,
    chain: Chain,
    /// Bytes up to the end of the last good line.
    durable: usize,
}

/// Reads a journal's bytes.
fn recover(path: &Path, bytes: &[u8]) -> Result<Recovered> {
    let mut lines = Lines { path, bytes, at: 0, number: 0, chain: Chain::default() };
    let Some(header) = lines.next()? else {
        return Err(lines.damaged(1, Damage::Short));
    };
    let mut state = State::begin(header).map_err(|error| match error {
        StateError::Newer(format) => JournalError::Newer { path: path.to_owned(), format },
        error => lines.damaged(1, error.into()),
    })?;
    while let Some(line) = lines.next()? {
        state.apply(line).map_err(|error| lines.damaged(lines.number, error.into()))?;
    }
    if lines.number < 2 {
        return Err(lines.damaged(2, Damage::Short));
    }
    Ok(Recovered { state, chain: lines.chain, durable: lines.at })
}

/// Goes through a journal's lines.
struct Lines<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    /// End of the last good line.
    at: usize,
    /// Of the last good line.
    number: u64,
    chain: Chain,
}

impl Lines<'_> {
    /// The next line; `None` at the end, and at a last line that was torn.
    fn next(&mut self) -> Result<Option<Line>> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let length = rest.iter().position(|&byte| byte == b'\n');
        let is_last = length.is_none_or(|length| length + 1 == rest.len());
        let found = match length {
            Some(length) => line::decode(&rest[..length], self.chain).map_err(Damage::Line),
            None => Err(Damage::Short),
        };
        match found {
            Ok((line, chain)) => {
                self.at += length.map_or(0, |length| length + 1);
                self.number += 1;
                self.chain = chain;
                Ok(Some(line))
            }
            Err(Damage::Line(LineError::Format(_))) if let Some(format) = self.newer_format(rest) => {
                Err(JournalError::Newer { path: self.path.to_owned(), format })
            }
            Err(Damage::Short | Damage::Line(LineError::Checksum))
                // Header and plan appeared by a rename of synced bytes: no crash can have torn them.
                if is_last && self.number >= 2 && !line::swallows_a_line(rest, self.chain) =>
            {
                Ok(None)
            }
            Err(damage) => Err(self.damaged(self.number + 1, damage)),
        }
    }

    /// The format version of a header that is not of this version's format.
    fn newer_format(&self, rest: &[u8]) -> Option<u32> {
        #[derive(serde::Deserialize)]
        struct Version {
            format: u32,
        }
        let header = rest.split(|&byte| byte == b'\n').next().filter(|_| self.number == 0)?;
        // Whatever else is wrong with it is told as damage.
        let Version { format } = serde_json::from_slice(header).ok()?;
        (format > FORMAT).then_some(format)
    }

    fn damaged(&self, line: u64, source: Damage) -> JournalError {
        JournalError::Damaged { path: self.path.to_owned(), line, source }
    }
}
