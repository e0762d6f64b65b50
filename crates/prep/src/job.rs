//! What to prepare: the imports of a job and the settings that decide its chunks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Several imports prepared in one run, in the order in which their chunks are numbered.
#[derive(Debug, Clone)]
pub struct Job {
    /// At least one.
    pub imports: Vec<Import>,
    /// What decides the chunks and their bytes.
    pub settings: Settings,
}

/// One parent module with its child modules; a plain module has no children.
#[derive(Debug, Clone)]
pub struct Import {
    /// The parent (or plain) module. `key` must be set where there are children.
    pub parent: Input,
    /// The children, in the order of their entries in every archive.
    pub children: Vec<Child>,
}

/// A child module of an import.
#[derive(Debug, Clone)]
pub struct Child {
    /// What the child is to its parent.
    pub kind: ChildKind,
    /// Its file; `key` names the column that holds the parent's key, and must be set.
    pub input: Input,
}

/// One CSV file of one module.
#[derive(Debug, Clone)]
pub struct Input {
    /// The module's API name; also names the entry, `<module>.csv`.
    pub module: String,
    /// The file; gzip is told by its first bytes, and `-` is standard input.
    pub path: PathBuf,
    /// Header name of the key column (parent) or of the parent-key column (child).
    pub key: Option<String>,
    /// The delimiter, where it is not to be found from the header.
    pub delimiter: Option<u8>,
    /// The encoding's WHATWG label, where it is not UTF-8.
    pub encoding: Option<String>,
}

/// The four kinds of child that Zoho's bulk write knows (V7-create, "Request JSON for parent-child modules").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChildKind {
    /// A subform of the parent.
    Subform,
    /// Line items of an inventory module.
    LineItems,
    /// The linking module of a multi-select lookup.
    Linking,
    /// The linking module of a multi-user lookup.
    MultiUser,
}

/// Whether an entry holds the parent's records or a child's. A plain module is a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The first entry of an archive.
    Parent,
    /// Any further entry.
    Child,
}

/// What happens to a record that cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectPolicy {
    /// Any reject stops the run before anything is sent.
    Stop,
    /// Rejects are written aside and the run goes on without them.
    SetAside,
}

/// The limits of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Records per entry, parent and child; 1 to 25,000. Default 25,000.
    pub chunk_records: u32,
    /// Bytes per archive; up to 26,214,400. Default 25,000,000.
    pub max_archive_bytes: u64,
    /// Bytes per entry, uncompressed, header included; `None` is no limit. Default 25,000,000.
    pub max_csv_bytes: Option<u64>,
    /// Children of one parent per child module before the parent is a reject; `None` (the default) only
    /// warns above 200.
    pub max_children_per_parent: Option<u32>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            chunk_records: 25_000,
            max_archive_bytes: 25_000_000,
            max_csv_bytes: Some(25_000_000),
            max_children_per_parent: None,
        }
    }
}

/// What decides the chunks and their bytes, and how much of the machine may be used for it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The limits of a chunk.
    pub limits: Limits,
    /// Deflate level, 0 to 9. Default 6.
    pub level: u8,
    /// What happens to rejects. Default `Stop`.
    pub rejects: RejectPolicy,
    /// Threads for scanning and archiving; 0 (the default) is one per core.
    pub threads: usize,
    /// Memory, in bytes, for what is kept of every record, for the index of keys, for routed children and for archives
    /// being built: two thirds of it; the last is left for the caller's archives that wait to be sent. What does not
    /// fit is in temporary files, or waits; the blocks being scanned come on top. Default 512 MiB.
    pub memory_bytes: u64,
    /// Directory for temporary files; they are unlinked at creation.
    pub spill_dir: PathBuf,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            limits: Limits::default(),
            level: 6,
            rejects: RejectPolicy::Stop,
            threads: 0,
            memory_bytes: 512 << 20,
            spill_dir: std::env::temp_dir(),
        }
    }
}
