//! What a journal's lines say, field by field. Format version 1.
//!
//! Every line is one JSON object and one LF: the fields of [`Line`], those of its [`Event`], and last `sum`, the
//! checksum of everything before it, chained to the line before (see `line`). The first line is the header, the second
//! the plan; both appear together. Numbers are integers; times are RFC 3339 in UTC; a digest is lower-case hexadecimal.
//! The types from `prep` stand with the fields that they have there.
//!
//! # Versions
//! `format` stands in the header, and in every `resumed`: the lines after a `resumed` are of its version, those before
//! it of that which stood before. So a journal that was begun by an old program and gone on with by a new one is
//! refused by the old one.
//!
//! - A newer format than the reader's own is refused, whatever else stands in the line. For that, the header and
//!   `resumed` keep this form of a line in all versions: an object with `format` at its top, and `sum` as it is now.
//! - A field that the reader does not know is ignored; a missing field that may be null is null. So a field may be
//!   added without a new version if a reader that does not know it still comes to the right state, and if null is
//!   right for the lines of writers that did not know it.
//! - An event that the reader does not know is refused, as is a value that it does not know, such as another role. A
//!   new event, a new value, a field that changes what others mean and another checksum are a new version.
//! - A program reads all versions up to its own, and writes its own.

use jiff::Timestamp;
use prep::{ChildKind, Entry, Fingerprint, Limits, PlannedEntry, Role};
use serde::{Deserialize, Serialize};

/// The version that this program writes, and the highest it reads.
pub(crate) const FORMAT: u32 = 1;

/// This program and its version.
pub(crate) const TOOL: &str = concat!("zbulk ", env!("CARGO_PKG_VERSION"));

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// One-based number of the line.
    pub(crate) n: u64,
    /// When it was appended, RFC 3339 in UTC, to the millisecond.
    pub(crate) time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// What the run is about. The first line. Boxed, since it is much larger than the others.
    Header(Box<Header>),
    /// All chunks. The second line.
    Plan(Plan),
    /// A later process goes on with the run. What earlier ones left under way is unknown for good.
    Resumed {
        /// Format version of the lines from here on.
        format: u32,
        /// Its name and version, as in the header.
        tool: String,
        /// The last line as it was found, if it was torn or damaged and is replaced by this one: the first 1,000
        /// bytes, what is not UTF-8 replaced. Null if nothing was dropped.
        dropped: Option<String>,
    },
    /// A run whose archives went nowhere yet has a target from now on.
    Target {
        /// Where its archives go.
        target: Target,
    },
    /// An archive was over the limit: its chunk is replaced by two. Durable before any part is sent.
    Cut {
        /// Name of the chunk that is no more.
        chunk: String,
        /// The two chunks in its place.
        parts: [PlannedChunk; 2],
    },
    /// An archive is built, and if it is kept, durable under DIR/archives.
    Packed {
        /// Name of the chunk.
        chunk: String,
        /// Bytes of the archive.
        archive_bytes: u64,
        /// SHA-256 of the archive, 64 hexadecimal digits.
        archive_sha256: String,
        /// What is in it.
        entries: Vec<Entry>,
        /// Whether it is kept under DIR/archives.
        kept: bool,
    },
    /// An archive is about to be sent. Durable before the first byte of its body.
    Attempt {
        /// Name of the chunk.
        chunk: String,
        /// One-based, within its process.
        attempt: u32,
    },
    /// The attempt's body went out, whole or in part, and no answer told what came of it.
    Ambiguous {
        /// Name of the chunk.
        chunk: String,
        /// Which attempt.
        attempt: u32,
    },
    /// The chunk has its `file_id`. Durable before anybody hears of it.
    Uploaded {
        /// Name of the chunk.
        chunk: String,
        /// The `file_id`, opaque text.
        file_id: String,
        /// `details.created_time`, as it came.
        created_time: Option<String>,
        /// HTTP status of the answer.
        http_status: u16,
        /// `code` of the answer's body.
        code: String,
        /// Attempts in this process.
        attempts: u32,
        /// From the first of these to the answer.
        elapsed_ms: u64,
    },
    /// The chunk was sent and has no `file_id`. The next run sends it again.
    Failed {
        /// Name of the chunk.
        chunk: String,
        /// Why, for people.
        reason: String,
        /// HTTP status of the last answer, if there was one.
        http_status: Option<u16>,
        /// `code` of the last answer's body, if it had one.
        code: Option<String>,
        /// Attempts in this process.
        attempts: u32,
        /// From the first of these to giving up.
        elapsed_ms: u64,
    },
    /// The process came to its end by itself. Only a `resumed` may follow.
    Finished {
        /// Its exit code.
        exit: u8,
    },
}

/// What a run is about: what must be the same when it goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Format version of the journal.
    pub(crate) format: u32,
    /// The program that began the run, such as `zbulk 0.1.0`.
    pub(crate) tool: String,
    /// The job's name.
    pub(crate) name: String,
    /// Where the archives go.
    pub(crate) target: Target,
    /// Every input, each import's parent first, then its children.
    pub(crate) inputs: Vec<Input>,
    /// The limits of a chunk.
    pub(crate) limits: Limits,
    /// The other settings that decide the plan or its bytes, in full, so that a difference can be named: `level` (0 to
    /// 9), `rejects` (`stop` or `set-aside`), and `imports`, each with `parent` and `children`, which have `module`,
    /// `kind`, `key` (the header name, or null), `delimiter` and `encoding` as they were used.
    pub(crate) settings: serde_json::Value,
    /// XXH3-128 of the JSON array of `limits` and `settings`, keys sorted, without spaces.
    pub(crate) settings_digest: String,
    /// That of [`prep::ChunkPlan::digest`].
    pub(crate) plan_digest: String,
}

/// Where archives go. URLs, credentials and API version may differ from run to run; this may not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Target {
    /// The built-in stand-in, started by the run itself.
    Sandbox,
    /// Zoho, or what stands at its URLs.
    Zoho {
        /// Data centre.
        dc: String,
        /// The organisation's `zgid`.
        org: String,
    },
    /// Not decided yet: `zbulk pack`. The first upload decides it.
    Undecided,
}

/// An input as it was when it was scanned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    /// Module API name.
    pub(crate) module: String,
    /// Parent or child.
    pub(crate) role: Role,
    /// The child's kind; null for a parent.
    pub(crate) kind: Option<ChildKind>,
    /// The file as given; bytes that are not UTF-8 are replaced.
    pub(crate) path: String,
    /// Its length and digest.
    pub(crate) fingerprint: Fingerprint,
    /// Data records in it: `records = packed + rejected`.
    pub(crate) records: u64,
    /// Those that the plan sends.
    pub(crate) packed: u64,
    /// Those that are rejects.
    pub(crate) rejected: u64,
    /// Blank lines, which are not records.
    pub(crate) blank_lines: u64,
}

/// All chunks of a run, before any was cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// In order of `seq`.
    pub(crate) chunks: Vec<PlannedChunk>,
}

/// A chunk of the plan, or a part of one that was cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlannedChunk {
    /// The plan's number, one-based over the whole run; the parts of a cut chunk share it.
    pub(crate) seq: u32,
    /// The archive's file name: the chunk's identity.
    pub(crate) name: String,
    /// Its entries in archive order.
    pub(crate) entries: Vec<PlannedEntry>,
}

impl From<&prep::Chunk> for PlannedChunk {
    fn from(chunk: &prep::Chunk) -> PlannedChunk {
        PlannedChunk { seq: chunk.id.seq, name: chunk.name.clone(), entries: chunk.entries.clone() }
    }
}
