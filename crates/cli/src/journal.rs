//! The append-only log of a run: the truth. A line is durable when `append` returns, and a line once durable is never
//! changed.
//!
//! # Crash model
//! Header and plan appear together, by a rename, or not at all; the directory is synced after it. Every other line is
//! appended and synced by itself, so that only the last one can be torn. Recovery drops a last line that has no LF or
//! a wrong checksum; any other damage is an error with the line's number (see `recovery`). A whole line whose bytes
//! were damaged later cannot be told from a torn one if it is the last: it is dropped as well, but its text is kept in
//! the `resumed` that takes its place, and told. An outcome that is lost so leaves its attempt without one: the chunk
//! is then unknown, counted as a possible orphan, and sent again.
//!
//! A sync that fails is never tried again: the kernel may have dropped the bytes and report success the next time.
//! After any failure to write the journal takes no more lines. For the same reason a process that goes on with a
//! journal does not append to the file that it found, of which the kernel may hold lines that never reached the disk:
//! with its first line it writes all good lines anew to a file aside, syncs it and renames it into place. Until then
//! the journal is as it was found.
//!
//! What the lines say is described in [`event`], their bytes in `line`.

#[cfg(test)]
mod damage;
pub(crate) mod event;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod format;
mod line;
mod recovery;
pub(crate) mod state;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output_dir::OutputDir;
use crate::publish::{no_follow, publish};
use event::{Event, FORMAT, Header, Line, Plan, TOOL};
use line::{Chain, LineError};
use recovery::{Recovered, recover};
use state::{State, StateError};

/// The journal's name in DIR.
pub(crate) const FILE_NAME: &str = "journal.jsonl";

/// A journal open for appending, and the state that its lines add up to.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    log: Log,
    state: State,
    chain: Chain,
    /// Bytes of the lines that the state is made of, but for one whose append has failed.
    good: usize,
    /// The last line, if it was dropped when the journal was opened.
    dropped: Option<Dropped>,
    /// A write or a sync has failed: what is durable behind `durable` is not known any more.
    broken: bool,
}

/// Where the lines are.
#[derive(Debug)]
enum Log {
    /// In a file that this process has written, synced to its last line.
    Own(File),
    /// In a file that was there. These are its good lines.
    Found(Vec<u8>),
}

/// A last line that was not what had been written, and is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// How long it was.
    pub(crate) bytes: usize,
    /// What it said, as far as it can be read, and not more than the beginning.
    pub(crate) text: String,
    /// It does not look like one that a crash has cut short: it may have been damaged long after it was written.
    pub(crate) whole: bool,
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
        Ok(Journal {
            path,
            log: Log::Own(file),
            state,
            chain,
            good: bytes.len(),
            dropped: None,
            broken: false,
        })
    }

    /// Opens the journal of a run that may go on; `None` if there is none. Changes nothing.
    ///
    /// # Errors
    /// `Damaged`, `Newer`, `Io`; a link is not followed.
    pub(crate) fn open(dir: &OutputDir) -> Result<Option<Journal>> {
        let path = dir.path().join(FILE_NAME);
        let Some((_, mut bytes)) = read_file(&path)? else { return Ok(None) };
        let Recovered { state, chain, good } = recover(&path, &bytes)?;
        let dropped = Dropped::of(&bytes[good..]);
        bytes.truncate(good);
        Ok(Some(Journal { path, log: Log::Found(bytes), state, chain, good, dropped, broken: false }))
    }

    /// The state of a run, without a lock; `None` if there is no journal. What it tells is durable: the run may be
    /// just about to sync its last line.
    ///
    /// # Errors
    /// `Damaged`, `Newer`, `Io`; a link is not followed.
    pub(crate) fn read(dir: &Path) -> Result<Option<State>> {
        let path = dir.join(FILE_NAME);
        let Some((file, bytes)) = read_file(&path)? else { return Ok(None) };
        if let Err(source) = synced(file.sync_data()) {
            return Err(JournalError::Io { action: "sync", path, source });
        }
        Ok(Some(recover(&path, &bytes)?.state))
    }

    /// Appends an event; durable on return. One write and one sync.
    ///
    /// A journal that was there is first gone on with, as [`go_on`](Journal::go_on) does.
    ///
    /// # Errors
    /// `Contradiction` for an event that cannot follow: it is not written then. `Io`, and from then on `Broken`.
    pub(crate) fn append(&mut self, event: Event) -> Result<()> {
        self.go_on()?;
        let bytes = self.apply(event)?;
        let written = match &mut self.log {
            Log::Own(file) => write_and_sync(file, &bytes),
            Log::Found(_) => unreachable!("it was taken over above"),
        };
        written.map_err(|(action, source)| self.broken_by(action, source))?;
        self.good += bytes.len();
        Ok(())
    }

    /// Goes on with a journal that was there: all lines are written anew, and a `resumed` after them. Nothing for one
    /// that is this process's own already.
    ///
    /// # Errors
    /// `Io`, and from then on `Broken`; the journal is then as it was found, or the new one.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        let mut lines = match &mut self.log {
            _ if self.broken => return Err(JournalError::Broken { path: self.path.clone() }),
            Log::Own(_) => return Ok(()),
            Log::Found(lines) => std::mem::take(lines),
        };
        let dropped = self.dropped.as_ref().map(|dropped| dropped.text.clone());
        lines.extend(self.apply(Event::Resumed { format: FORMAT, tool: TOOL.to_owned(), dropped })?);
        publish(&self.path, &lines).map_err(|source| self.broken_by("write", source))?;
        let file = open_to_append(&self.path).map_err(|source| self.broken_by("open", source))?;
        self.log = Log::Own(file);
        self.good = lines.len();
        Ok(())
    }

    /// Goes on by an event that is not written yet; the bytes of its line.
    fn apply(&mut self, event: Event) -> Result<Vec<u8>> {
        let line = Line { n: self.state.lines + 1, time: now(), event };
        let (bytes, chain) =
            line::encode(&line, self.chain).map_err(|error| self.broken_by("write", error.into()))?;
        self.state.apply(line).map_err(JournalError::Contradiction)?;
        self.chain = chain;
        Ok(bytes)
    }

    fn broken_by(&mut self, action: &'static str, source: io::Error) -> JournalError {
        self.broken = true;
        JournalError::Io { action, path: self.path.clone(), source }
    }

    /// What the lines add up to. After a failed append it may be one event ahead: see
    /// [`durable_state`](Journal::durable_state).
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The last line, if it was dropped when the journal was opened.
    pub(crate) fn dropped(&self) -> Option<&Dropped> {
        self.dropped.as_ref()
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
        bytes.truncate(self.good);
        Ok(recover(&self.path, &bytes)?.state)
    }
}

impl Dropped {
    /// `None` where nothing is dropped.
    fn of(line: &[u8]) -> Option<Dropped> {
        const MOST_BYTES: usize = 1_000;
        if line.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(&line[..line.len().min(MOST_BYTES)]);
        // What a crash leaves has no end, or blocks of zeros where bytes never came.
        let whole = line.ends_with(b"\n") && !line.contains(&0);
        Some(Dropped { bytes: line.len(), text: text.trim_end_matches('\n').to_owned(), whole })
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

/// A file and its bytes; `None` if there is no file. A link is not followed.
fn read_file(path: &Path) -> Result<Option<(File, Vec<u8>)>> {
    let io = |action, source| JournalError::Io { action, path: path.to_owned(), source };
    let mut file = match no_follow(OpenOptions::new().read(true)).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("open", error)),
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| io("read", error))?;
    Ok(Some((file, bytes)))
}

/// A file system that cannot be written to, of which there are some that cannot sync either, has nothing to sync.
fn synced(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

/// What failed and why, if something did.
fn write_and_sync(file: &mut File, bytes: &[u8]) -> std::result::Result<(), (&'static str, io::Error)> {
    file.write_all(bytes).map_err(|error| ("append to", error))?;
    file.sync_data().map_err(|error| ("sync", error))?;
    match file.metadata() {
        // A file without a name takes every line, and none of them would ever be found again.
        Ok(metadata) if metadata.nlink() == 0 => {
            let removed = io::Error::new(io::ErrorKind::NotFound, "it was removed while the run goes on");
            Err(("append to", removed))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(("look at", error)),
    }
}

fn open_to_append(path: &Path) -> io::Result<File> {
    no_follow(OpenOptions::new().append(true)).open(path)
}
