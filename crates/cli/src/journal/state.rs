//! What a journal's lines add up to: every chunk and where it stands. Pure; nothing here reads a file.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use prep::{Entry, Limits};
use serde::Serialize;

use super::event::{Event, Header, Line, PlannedChunk, Target};

/// A run, as its journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    /// What the run is about.
    pub(crate) header: Header,
    /// When it began.
    pub(crate) begun: Timestamp,
    /// When its journal was last appended to.
    pub(crate) updated: Timestamp,
    /// The limits of its plan.
    pub(crate) limits: Limits,
    /// The chunks by seq and name, those that were cut replaced by their parts.
    chunks: BTreeMap<(u32, String), ChunkState>,
    /// Of chunks that were cut, by name.
    pub(crate) cuts: BTreeMap<String, [String; 2]>,
    seq_of: HashMap<String, u32>,
    file_ids: HashSet<String>,
    /// Whether anything has ever been sent.
    pub(crate) attempted: bool,
    /// The exit code of the last process, if it came to its end by itself and none has begun since.
    pub(crate) finished: Option<u8>,
    /// How many lines there are.
    pub(crate) lines: u64,
}

/// A chunk and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChunkState {
    /// As planned.
    pub(crate) planned: PlannedChunk,
    /// Its archive, once built.
    pub(crate) packed: Option<PackedState>,
    /// Its upload.
    pub(crate) upload: UploadState,
    /// An attempt is under way, or its outcome was never recorded.
    open_attempt: bool,
}

/// An archive that was built.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PackedState {
    /// Its length.
    pub(crate) archive_bytes: u64,
    /// Its SHA-256.
    pub(crate) archive_sha256: String,
    /// What is in it.
    pub(crate) entries: Vec<Entry>,
    /// Whether it is under DIR/archives.
    pub(crate) kept: bool,
}

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UploadStatus {
    /// Not sent yet.
    Pending,
    /// It has its `file_id`.
    Uploaded,
    /// It was refused, or given up.
    Failed,
    /// It was sent, and what came of it was never recorded.
    Unknown,
}

/// An upload, as the manifest shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UploadState {
    /// Where it stands.
    pub(crate) state: UploadStatus,
    /// The `file_id`.
    pub(crate) file_id: Option<String>,
    /// Zoho's.
    pub(crate) created_time: Option<String>,
    /// Of the last answer.
    pub(crate) http_status: Option<u16>,
    /// Of the last answer's body.
    pub(crate) code: Option<String>,
    /// Of all processes together.
    pub(crate) attempts: u32,
    /// Of the process that had the outcome.
    pub(crate) elapsed_ms: Option<u64>,
    /// Attempts that may have left a file at the server which no chunk knows.
    pub(crate) possible_orphans: u32,
}

/// Lines that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    /// The first line is no header, or the second no plan.
    #[error("it does not begin with a header and a plan")]
    NoHeader,
    /// It was written by a later version.
    #[error("it has format version {0}; this zbulk reads up to {format}", format = super::event::FORMAT)]
    Newer(u32),
    /// Its number is not the next one.
    #[error("it says it is line {0}")]
    Number(u64),
    /// It speaks of a chunk that there is not.
    #[error("it speaks of a chunk `{0}` that there is not")]
    NoChunk(String),
    /// It says what cannot follow the lines before it.
    #[error("it cannot follow the lines before it: {0}")]
    Order(&'static str),
}

impl State {
    /// The state after a header and a plan.
    ///
    /// # Errors
    /// `NoHeader`, `Newer`, `Number`.
    pub(crate) fn begin(header: Line, plan: Line) -> Result<State, StateError> {
        for (number, line) in [(1, &header), (2, &plan)] {
            if line.n != number {
                return Err(StateError::Number(line.n));
            }
        }
        let begun = header.time;
        let (Event::Header(header), Event::Plan(planned)) = (header.event, plan.event) else {
            return Err(StateError::NoHeader);
        };
        if header.format > super::event::FORMAT {
            return Err(StateError::Newer(header.format));
        }
        let mut state = State {
            header: *header,
            begun,
            updated: plan.time,
            limits: planned.limits,
            chunks: BTreeMap::new(),
            cuts: BTreeMap::new(),
            seq_of: HashMap::new(),
            file_ids: HashSet::new(),
            attempted: false,
            finished: None,
            lines: 2,
        };
        for chunk in planned.chunks {
            state.insert(chunk);
        }
        Ok(state)
    }

    /// Goes on by a line.
    ///
    /// # Errors
    /// Whatever shows that the line is not what came next; the state is then unchanged.
    pub(crate) fn apply(&mut self, line: Line) -> Result<(), StateError> {
        if line.n != self.lines + 1 {
            return Err(StateError::Number(line.n));
        }
        self.event(line.event)?;
        self.lines = line.n;
        self.updated = line.time;
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), StateError> {
        match event {
            Event::Header(_) | Event::Plan(_) => return Err(StateError::Order("a second header or plan")),
            Event::Resumed { .. } => {
                for chunk in self.chunks.values_mut().filter(|chunk| chunk.open_attempt) {
                    chunk.open_attempt = false;
                    chunk.upload.possible_orphans += 1;
                }
                self.finished = None;
            }
            Event::Target { target } => {
                if self.header.target != Target::Undecided {
                    return Err(StateError::Order("the target is decided already"));
                }
                self.header.target = target;
            }
            Event::Cut { chunk, parts } => {
                let [first, second] = <[PlannedChunk; 2]>::try_from(parts)
                    .map_err(|_| StateError::Order("a cut gives two parts"))?;
                let cut = self.chunk_mut(&chunk)?;
                if cut.upload.attempts > 0 {
                    return Err(StateError::Order("a chunk that was sent is not cut"));
                }
                let seq = cut.planned.seq;
                if first.seq != seq || second.seq != seq {
                    return Err(StateError::Order("the parts of a cut share its number"));
                }
                self.seq_of.remove(&chunk);
                self.chunks.remove(&(seq, chunk.clone()));
                self.cuts.insert(chunk, [first.name.clone(), second.name.clone()]);
                self.insert(first);
                self.insert(second);
            }
            Event::Packed { chunk, archive_bytes, archive_sha256, entries, kept } => {
                self.chunk_mut(&chunk)?.packed =
                    Some(PackedState { archive_bytes, archive_sha256, entries, kept });
            }
            Event::Attempt { chunk, .. } => {
                let chunk = self.chunk_mut(&chunk)?;
                if chunk.upload.state == UploadStatus::Uploaded {
                    return Err(StateError::Order("a chunk that has its file_id is not sent again"));
                }
                chunk.upload.attempts += 1;
                chunk.upload.state = UploadStatus::Unknown;
                chunk.open_attempt = true;
                self.attempted = true;
            }
            Event::Ambiguous { chunk, .. } => {
                let chunk = self.chunk_mut(&chunk)?;
                if !chunk.open_attempt {
                    return Err(StateError::Order("no attempt is under way"));
                }
                chunk.open_attempt = false;
                chunk.upload.possible_orphans += 1;
            }
            Event::Uploaded { chunk, file_id, created_time, http_status, code, elapsed_ms, .. } => {
                if self.file_ids.contains(&file_id) {
                    return Err(StateError::Order("another chunk has this file_id"));
                }
                let chunk = self.chunk_mut(&chunk)?;
                if chunk.upload.state == UploadStatus::Uploaded {
                    return Err(StateError::Order("the chunk has a file_id already"));
                }
                chunk.open_attempt = false;
                chunk.upload = UploadState {
                    state: UploadStatus::Uploaded,
                    file_id: Some(file_id.clone()),
                    created_time,
                    http_status: Some(http_status),
                    code: Some(code),
                    elapsed_ms: Some(elapsed_ms),
                    ..chunk.upload.clone()
                };
                self.file_ids.insert(file_id);
            }
            Event::Failed { chunk, http_status, code, elapsed_ms, .. } => {
                let chunk = self.chunk_mut(&chunk)?;
                if chunk.upload.state == UploadStatus::Uploaded {
                    return Err(StateError::Order("the chunk has a file_id already"));
                }
                chunk.open_attempt = false;
                chunk.upload.state = UploadStatus::Failed;
                chunk.upload.http_status = http_status;
                chunk.upload.code = code;
                chunk.upload.elapsed_ms = Some(elapsed_ms);
            }
            Event::Finished { exit } => self.finished = Some(exit),
        }
        Ok(())
    }

    /// The chunks, in order.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &ChunkState> {
        self.chunks.values()
    }

    /// A chunk by its name; `None` also for one that was cut.
    pub(crate) fn chunk(&self, name: &str) -> Option<&ChunkState> {
        let seq = *self.seq_of.get(name)?;
        self.chunks.get(&(seq, name.to_owned()))
    }

    /// Whether some chunk bears this `file_id`.
    pub(crate) fn has_file_id(&self, file_id: &str) -> bool {
        self.file_ids.contains(file_id)
    }

    /// All `file_id`s of the run.
    pub(crate) fn file_ids(&self) -> Vec<upload::FileId> {
        self.file_ids.iter().filter_map(|file_id| upload::FileId::new(file_id)).collect()
    }

    fn insert(&mut self, planned: PlannedChunk) {
        let upload = UploadState {
            state: UploadStatus::Pending,
            file_id: None,
            created_time: None,
            http_status: None,
            code: None,
            attempts: 0,
            elapsed_ms: None,
            possible_orphans: 0,
        };
        self.seq_of.insert(planned.name.clone(), planned.seq);
        self.chunks.insert(
            (planned.seq, planned.name.clone()),
            ChunkState { planned, packed: None, upload, open_attempt: false },
        );
    }

    fn chunk_mut(&mut self, name: &str) -> Result<&mut ChunkState, StateError> {
        let missing = || StateError::NoChunk(name.to_owned());
        let seq = *self.seq_of.get(name).ok_or_else(missing)?;
        self.chunks.get_mut(&(seq, name.to_owned())).ok_or_else(missing)
    }
}

impl ChunkState {
    /// Attempts that may have left a file at the server: those counted, and one whose outcome is not recorded.
    pub(crate) fn possible_orphans(&self) -> u32 {
        self.upload.possible_orphans + u32::from(self.open_attempt)
    }
}
