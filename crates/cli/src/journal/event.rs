//! What a journal's lines say, field by field. Format version 1.
//!
//! Every line is one JSON object: the fields of [`Line`], those of its [`Event`], and last `sum`, the checksum of
//! everything before it (see `line`). A reader refuses a format version above its own; it ignores fields that it
//! does not know, so that a later minor version may add some. A new event is a new format version.

use jiff::Timestamp;
use prep::{ChildKind, Entry, Fingerprint, PlannedEntry, Role};
use serde::{Deserialize, Serialize};

/// The version that this program writes, and the highest it reads.
pub(crate) const FORMAT: u32 = 1;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// One-based number of the line: a line that is lost, doubled or moved is noticed.
    pub(crate) n: u64,
    /// When it was appended, RFC 3339 in UTC.
    pub(crate) time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// What happened. The first line is `header`, the second `plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// What the run is about. Boxed, since it is much larger than the others.
    Header(Box<Header>),
    /// All chunks.
    Plan(Box<Plan>),
    /// A later process goes on with the run. Attempts without an outcome before this line are unknown for good.
    Resumed {
        /// Its version.
        tool: String,
    },
    /// A run that was packed without a target has one now.
    Target {
        /// Where its archives go.
        target: Target,
    },
    /// An archive was over the limit: its chunk is replaced by two.
    Cut {
        /// Name of the chunk that is no more.
        chunk: String,
        /// The chunks in its place.
        parts: Vec<PlannedChunk>,
    },
    /// An archive is built (and, with `kept`, durable under DIR/archives).
    Packed {
        /// Name of the chunk.
        chunk: String,
        /// Bytes of the archive.
        archive_bytes: u64,
        /// SHA-256 of the archive, 64 hexadecimal digits.
        archive_sha256: String,
        /// What is in it.
        entries: Vec<Entry>,
        /// Whether it is kept.
        kept: bool,
    },
    /// An archive is about to be sent; durable before the first byte of its body.
    Attempt {
        /// Name of the chunk.
        chunk: String,
        /// One-based, of this process.
        attempt: u32,
    },
    /// The attempt's body went out and its answer never came.
    Ambiguous {
        /// Name of the chunk.
        chunk: String,
        /// Which attempt.
        attempt: u32,
    },
    /// The chunk has its `file_id`.
    Uploaded {
        /// Name of the chunk.
        chunk: String,
        /// The `file_id`, opaque text.
        file_id: String,
        /// Zoho's `created_time`, as it came.
        created_time: Option<String>,
        /// Of the answer.
        http_status: u16,
        /// Of the answer's body.
        code: String,
        /// How many there were in this process.
        attempts: u32,
        /// From the first attempt to the answer.
        elapsed_ms: u64,
    },
    /// The chunk has no `file_id`; it is sent again in the next run.
    Failed {
        /// Name of the chunk.
        chunk: String,
        /// Why.
        reason: String,
        /// Of the last answer, if there was one.
        http_status: Option<u16>,
        /// Of the last answer's body, if it had one.
        code: Option<String>,
        /// How many there were in this process.
        attempts: u32,
        /// From the first attempt to giving up.
        elapsed_ms: u64,
    },
    /// The process came to its end by itself.
    Finished {
        /// Its exit code.
        exit: u8,
    },
}

/// What a run is about: what must not differ when it goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Format version of the journal.
    pub(crate) format: u32,
    /// `zbulk` and its version.
    pub(crate) tool: String,
    /// The job's name.
    pub(crate) name: String,
    /// Where the archives go.
    pub(crate) target: Target,
    /// Every input, each import's parent first.
    pub(crate) inputs: Vec<Input>,
    /// The settings that decide the plan or its bytes, in full, so that a difference can be named.
    pub(crate) settings: serde_json::Value,
    /// XXH3-128 of `settings` as compact JSON.
    pub(crate) settings_digest: String,
    /// [`prep::ChunkPlan::digest`].
    pub(crate) plan_digest: String,
}

/// Where archives go. The URLs may differ from run to run; this may not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Target {
    /// The built-in stand-in.
    Sandbox,
    /// Zoho, or what stands at its URLs.
    Zoho {
        /// Data centre.
        dc: String,
        /// The org's `zgid`.
        org: String,
    },
    /// `zbulk pack`: not decided yet. The first upload decides it, by a `target` line.
    Undecided,
}

/// An input when it was scanned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    /// Module API name.
    pub(crate) module: String,
    /// Parent or child.
    pub(crate) role: Role,
    /// The child's kind.
    pub(crate) kind: Option<ChildKind>,
    /// The file, as given.
    pub(crate) path: String,
    /// Its length and digest.
    pub(crate) fingerprint: Fingerprint,
    /// Data records in it.
    pub(crate) records: u64,
    /// Those that the plan sends.
    pub(crate) packed: u64,
    /// Those that are rejects.
    pub(crate) rejected: u64,
    /// Blank lines in it.
    pub(crate) blank_lines: u64,
}

/// All chunks of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// In order.
    pub(crate) chunks: Vec<PlannedChunk>,
    /// The limits that they keep.
    pub(crate) limits: prep::Limits,
}

/// A chunk of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlannedChunk {
    /// The plan's number, one-based; the parts of a cut chunk share it.
    pub(crate) seq: u32,
    /// The archive's name: the chunk's identity.
    pub(crate) name: String,
    /// Its entries.
    pub(crate) entries: Vec<PlannedEntry>,
}

impl From<&prep::Chunk> for PlannedChunk {
    fn from(chunk: &prep::Chunk) -> PlannedChunk {
        PlannedChunk { seq: chunk.id.seq, name: chunk.name.clone(), entries: chunk.entries.clone() }
    }
}
