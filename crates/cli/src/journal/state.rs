//! What a journal's lines add up to: every chunk and where it stands. Pure; nothing here reads a file or a clock.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use prep::Entry;
use serde::{Deserialize, Serialize};

use super::event::{Event, FORMAT, Header, Line, Plan, PlannedChunk};

/// A run, as its journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    /// What the run is about.
    pub(crate) header: Header,
    /// When it began.
    pub(crate) begun: Timestamp,
    /// When its journal was last appended to.
    pub(crate) updated: Timestamp,
    /// Whether anything was ever sent.
    pub(crate) attempted: bool,
    /// The exit code of the last process, if it came to its end by itself and nothing was journaled since.
    pub(crate) finished: Option<u8>,
    /// How many lines there are.
    pub(crate) lines: u64,
    /// The chunks by `seq` and name; those that were cut are replaced by their parts.
    chunks: BTreeMap<(u32, String), ChunkState>,
    /// The names of the parts of every chunk that was cut, by its name.
    cuts: BTreeMap<String, [String; 2]>,
    seq_of: HashMap<String, u32>,
    file_ids: HashSet<String>,
}

/// A chunk and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChunkState {
    /// As planned.
    pub(crate) planned: PlannedChunk,
    /// Its archive, once built.
    pub(crate) packed: Option<PackedState>,
    upload: UploadState,
    /// The last attempt is under way, or what came of it was never recorded.
    open_attempt: bool,
}

/// An archive that was built.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PackedState {
    /// Its length.
    pub(crate) archive_bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub(crate) archive_sha256: String,
    /// What is in it.
    pub(crate) entries: Vec<Entry>,
    /// Whether it is under DIR/archives.
    pub(crate) kept: bool,
}

/// Where an upload stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UploadStatus {
    /// Not sent yet.
    #[default]
    Pending,
    /// It has its `file_id`.
    Uploaded,
    /// It was sent and has no `file_id`.
    Failed,
    /// It was sent, and what came of it was never recorded.
    Unknown,
}

impl UploadStatus {
    /// As it stands in the manifest.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            UploadStatus::Pending => "pending",
            UploadStatus::Uploaded => "uploaded",
            UploadStatus::Failed => "failed",
            UploadStatus::Unknown => "unknown",
        }
    }
}

/// An upload, as the manifest shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct UploadState {
    /// Where it stands.
    pub(crate) state: UploadStatus,
    /// The `file_id`.
    pub(crate) file_id: Option<String>,
    /// The server's.
    pub(crate) created_time: Option<String>,
    /// HTTP status of the last answer that is known.
    pub(crate) http_status: Option<u16>,
    /// `code` of its body.
    pub(crate) code: Option<String>,
    /// Why it failed.
    pub(crate) reason: Option<String>,
    /// Of all processes together.
    pub(crate) attempts: u32,
    /// In the process that had the outcome.
    pub(crate) elapsed_ms: Option<u64>,
    /// Attempts that may have left a file at the server which no chunk knows.
    pub(crate) possible_orphans: u32,
}

/// A line that contradicts those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    /// It cannot stand at this place.
    #[error("{0}")]
    Misplaced(&'static str),
    /// It was written by a later version.
    #[error("it has format version {0}; this zbulk reads up to {FORMAT}")]
    Newer(u32),
    /// Its number is not the next one.
    #[error("it says that it is line {0}")]
    Number(u64),
    /// It speaks of a chunk that there is not.
    #[error("there is no chunk `{0}`")]
    NoChunk(String),
    /// Two chunks bear one name.
    #[error("there are two chunks `{0}`")]
    TwoChunks(String),
    /// It says what cannot be after the lines before it.
    #[error("{chunk}: {what}")]
    Order {
        /// Of which chunk.
        chunk: String,
        /// What cannot be.
        what: &'static str,
    },
}

impl State {
    /// The state after a header; the plan must be applied next.
    ///
    /// # Errors
    /// `Misplaced`, `Newer`, `Number`.
    pub(crate) fn begin(header: Line) -> Result<State, StateError> {
        if header.n != 1 {
            return Err(StateError::Number(header.n));
        }
        let (begun, Event::Header(header)) = (header.time, header.event) else {
            return Err(StateError::Misplaced("it is not the header"));
        };
        if header.format > FORMAT {
            return Err(StateError::Newer(header.format));
        }
        Ok(State {
            header: *header,
            begun,
            updated: begun,
            attempted: false,
            finished: None,
            lines: 1,
            chunks: BTreeMap::new(),
            cuts: BTreeMap::new(),
            seq_of: HashMap::new(),
            file_ids: HashSet::new(),
        })
    }

    /// Goes on by a line.
    ///
    /// # Errors
    /// Whatever shows that the line is not what came next; the state is then unchanged.
    pub(crate) fn apply(&mut self, line: Line) -> Result<(), StateError> {
        if line.n != self.lines + 1 {
            return Err(StateError::Number(line.n));
        }
        let finished = if let Event::Finished { exit } = &line.event { Some(*exit) } else { None };
        if self.finished.is_some() && !matches!(line.event, Event::Resumed { .. }) {
            return Err(StateError::Misplaced("the process that it is of has come to its end before"));
        }
        self.event(line.event)?;
        self.finished = finished;
        self.lines = line.n;
        self.updated = line.time;
        Ok(())
    }

    /// The chunks in order, those that were cut replaced by their parts.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &ChunkState> {
        self.chunks.values()
    }

    /// A chunk by its name; `None` also for one that was cut.
    pub(crate) fn chunk(&self, name: &str) -> Option<&ChunkState> {
        let seq = *self.seq_of.get(name)?;
        self.chunks.get(&(seq, name.to_owned()))
    }

    /// The names of the parts of a chunk that was cut.
    pub(crate) fn parts(&self, name: &str) -> Option<&[String; 2]> {
        self.cuts.get(name)
    }

    /// Whether some chunk bears this `file_id`.
    pub(crate) fn has_file_id(&self, file_id: &str) -> bool {
        self.file_ids.contains(file_id)
    }

    /// The `file_id`s of all chunks, in no order.
    pub(crate) fn file_ids(&self) -> impl Iterator<Item = &str> {
        self.file_ids.iter().map(String::as_str)
    }

    /// Whether every chunk has its `file_id`.
    pub(crate) fn is_complete(&self) -> bool {
        self.chunks().all(|chunk| chunk.status() == UploadStatus::Uploaded)
    }

    fn event(&mut self, event: Event) -> Result<(), StateError> {
        match event {
            Event::Header(_) => return Err(StateError::Misplaced("it is a second header")),
            Event::Plan(Plan { chunks }) if self.lines == 1 => {
                for chunk in chunks {
                    self.insert(chunk, 0)?;
                }
            }
            Event::Plan(_) => return Err(StateError::Misplaced("it is a second plan")),
            _ if self.lines == 1 => return Err(StateError::Misplaced("it is not the plan")),
            Event::Resumed { format, .. } => {
                if format > FORMAT {
                    return Err(StateError::Newer(format));
                }
                for chunk in self.chunks.values_mut() {
                    chunk.close_unknown();
                }
            }
            Event::Target { target } => {
                if self.attempted {
                    return Err(StateError::Misplaced("it is another target, after archives were sent"));
                }
                self.header.target = target;
            }
            Event::Cut { chunk, parts } => self.cut(chunk, parts)?,
            Event::Packed { chunk, archive_bytes, archive_sha256, entries, kept } => {
                let chunk = self.chunk_mut(&chunk)?;
                let changed = |packed: &PackedState| packed.archive_sha256 != archive_sha256;
                if chunk.is_uploaded() && chunk.packed.as_ref().is_none_or(changed) {
                    return Err(chunk.order("it was uploaded with other bytes"));
                }
                chunk.packed = Some(PackedState { archive_bytes, archive_sha256, entries, kept });
            }
            Event::Attempt { chunk, .. } => {
                let chunk = self.chunk_mut(&chunk)?;
                if chunk.is_uploaded() {
                    return Err(chunk.order("it has its file_id and is not sent again"));
                }
                if chunk.packed.is_none() {
                    return Err(chunk.order("it is not packed"));
                }
                // An attempt before this one in the same process had an answer, or was told as ambiguous.
                chunk.open_attempt = true;
                chunk.upload.attempts += 1;
                chunk.upload.state = UploadStatus::Unknown;
                self.attempted = true;
            }
            Event::Ambiguous { chunk, .. } => {
                let chunk = self.chunk_mut(&chunk)?;
                if !chunk.open_attempt {
                    return Err(chunk.order("no attempt is under way"));
                }
                chunk.close_unknown();
            }
            Event::Uploaded { chunk, file_id, created_time, http_status, code, elapsed_ms, .. } => {
                let duplicate = self.file_ids.contains(&file_id);
                let chunk = self.chunk_mut(&chunk)?;
                if chunk.is_uploaded() {
                    return Err(chunk.order("it has a file_id already"));
                }
                if duplicate {
                    return Err(chunk.order("another chunk has this file_id"));
                }
                if !chunk.open_attempt {
                    return Err(chunk.order("no attempt is under way"));
                }
                chunk.open_attempt = false;
                chunk.upload = UploadState {
                    state: UploadStatus::Uploaded,
                    file_id: Some(file_id.clone()),
                    created_time,
                    http_status: Some(http_status),
                    code: Some(code),
                    reason: None,
                    attempts: chunk.upload.attempts,
                    elapsed_ms: Some(elapsed_ms),
                    possible_orphans: chunk.upload.possible_orphans,
                };
                self.file_ids.insert(file_id);
            }
            Event::Failed { chunk, reason, http_status, code, elapsed_ms, .. } => {
                let chunk = self.chunk_mut(&chunk)?;
                if chunk.upload.state != UploadStatus::Unknown {
                    return Err(chunk.order("no attempt is without an outcome"));
                }
                chunk.open_attempt = false;
                chunk.upload.state = UploadStatus::Failed;
                chunk.upload.http_status = http_status;
                chunk.upload.code = code;
                chunk.upload.reason = Some(reason);
                chunk.upload.elapsed_ms = Some(elapsed_ms);
            }
            Event::Finished { .. } => {}
        }
        Ok(())
    }

    fn cut(&mut self, name: String, parts: [PlannedChunk; 2]) -> Result<(), StateError> {
        let cut = self.chunk_mut(&name)?;
        if cut.is_uploaded() {
            return Err(cut.order("it has its file_id and is not cut"));
        }
        let (seq, possible_orphans) = (cut.planned.seq, cut.possible_orphans());
        if parts.iter().any(|part| part.seq != seq) || parts[0].name == parts[1].name {
            return Err(cut.order("its parts do not bear its number, or bear one name"));
        }
        if let Some(part) = parts.iter().find(|part| self.seq_of.contains_key(&part.name)) {
            return Err(StateError::TwoChunks(part.name.clone()));
        }
        self.seq_of.remove(&name);
        self.chunks.remove(&(seq, name.clone()));
        self.cuts.insert(name, [parts[0].name.clone(), parts[1].name.clone()]);
        let [first, second] = parts;
        // What the whole may have left at the server is still to be told of.
        self.insert(first, possible_orphans)?;
        self.insert(second, 0)
    }

    fn insert(&mut self, planned: PlannedChunk, possible_orphans: u32) -> Result<(), StateError> {
        if self.seq_of.contains_key(&planned.name) {
            return Err(StateError::TwoChunks(planned.name));
        }
        self.seq_of.insert(planned.name.clone(), planned.seq);
        let key = (planned.seq, planned.name.clone());
        let upload = UploadState { possible_orphans, ..UploadState::default() };
        self.chunks.insert(key, ChunkState { planned, packed: None, upload, open_attempt: false });
        Ok(())
    }

    fn chunk_mut(&mut self, name: &str) -> Result<&mut ChunkState, StateError> {
        let missing = || StateError::NoChunk(name.to_owned());
        let seq = *self.seq_of.get(name).ok_or_else(missing)?;
        self.chunks.get_mut(&(seq, name.to_owned())).ok_or_else(missing)
    }
}

impl ChunkState {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.planned.name
    }

    /// Where its upload stands.
    pub(crate) fn status(&self) -> UploadStatus {
        self.upload.state
    }

    /// Its upload, as the manifest shows it.
    pub(crate) fn upload(&self) -> UploadState {
        UploadState { possible_orphans: self.possible_orphans(), ..self.upload.clone() }
    }

    /// Its `file_id`.
    pub(crate) fn file_id(&self) -> Option<&str> {
        self.upload.file_id.as_deref()
    }

    /// Attempts that may have left a file at the server: those told as ambiguous, and one whose outcome is not
    /// recorded.
    pub(crate) fn possible_orphans(&self) -> u32 {
        self.upload.possible_orphans + u32::from(self.open_attempt)
    }

    /// Data records in it, all entries together.
    pub(crate) fn records(&self) -> u64 {
        self.planned.entries.iter().map(|entry| entry.records).sum()
    }

    /// Bytes of its entries.
    pub(crate) fn csv_bytes(&self) -> u64 {
        self.planned.entries.iter().map(|entry| entry.csv_bytes).sum()
    }

    fn is_uploaded(&self) -> bool {
        self.upload.state == UploadStatus::Uploaded
    }

    /// The attempt under way, if there is one, will never be known to have come to anything.
    fn close_unknown(&mut self) {
        self.upload.possible_orphans += u32::from(std::mem::take(&mut self.open_attempt));
    }

    fn order(&self, what: &'static str) -> StateError {
        StateError::Order { chunk: self.planned.name.clone(), what }
    }
}
