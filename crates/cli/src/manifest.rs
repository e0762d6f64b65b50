//! The readable result of a run: `manifest.json` and `manifest.csv`, made from the journal's state and nothing else.
//!
//! Format version 1, described field by field in `manifest.schema.json`. A field may be added without a new version:
//! readers ignore what they do not know. What is not known yet is null.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use jiff::Timestamp;
use prep::{ChildKind, Entry as PackedEntry, Limits, PlannedEntry, Role};
use serde::Serialize;

use crate::journal::event::{Input, Target};
use crate::journal::state::{ChunkState, State, UploadState, UploadStatus};
use crate::publish::publish_with;

#[cfg(test)]
mod tests;

/// The JSON Schema of `manifest.json`.
pub(crate) const SCHEMA: &str = include_str!("manifest.schema.json");

/// The manifest's name in DIR.
pub(crate) const JSON_NAME: &str = "manifest.json";
/// The table's name in DIR.
pub(crate) const CSV_NAME: &str = "manifest.csv";

const FORMAT: u32 = 1;

/// `manifest.json`: a view of a run's state.
#[derive(Debug, Serialize)]
pub(crate) struct Manifest<'a> {
    format: u32,
    run: Run<'a>,
    target: &'a Target,
    inputs: &'a [Input],
    limits: &'a Limits,
    settings: &'a serde_json::Value,
    chunks: Vec<Chunk<'a>>,
    totals: Totals,
}

/// The run as a whole.
#[derive(Debug, Serialize)]
struct Run<'a> {
    name: &'a str,
    tool: &'a str,
    begun: Timestamp,
    updated: Timestamp,
    exit: Option<u8>,
}

/// A chunk of the plan; one that was cut is replaced by its parts.
#[derive(Debug, Serialize)]
struct Chunk<'a> {
    seq: u32,
    name: &'a str,
    archive_bytes: Option<u64>,
    archive_sha256: Option<&'a str>,
    entries: Vec<Entry<'a>>,
    upload: UploadState,
}

/// As in the archive once it is built; before, what the plan knows.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    module: &'a str,
    role: Role,
    kind: Option<ChildKind>,
    name: &'a str,
    records: u64,
    columns: u32,
    key_index: Option<u32>,
    csv_bytes: u64,
    csv_xxh3_128: Option<&'a str>,
    first_record: Option<u64>,
    last_record: Option<u64>,
    source_lines: Option<[u64; 2]>,
    first_key: Option<&'a str>,
    last_key: Option<&'a str>,
}

/// Sums over all inputs and chunks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    /// Data records in all inputs; `records = packed + rejected`.
    pub(crate) records: u64,
    /// Those that the plan sends.
    pub(crate) packed: u64,
    /// Those that are rejects.
    pub(crate) rejected: u64,
    /// Blank lines in all inputs, which are not records.
    pub(crate) blank_lines: u64,
    /// How many chunks there are.
    pub(crate) chunks: u64,
    /// How many have a `file_id`.
    pub(crate) uploaded: u64,
    /// How many were sent and have none.
    pub(crate) failed: u64,
    /// How many were sent without a recorded outcome.
    pub(crate) unknown: u64,
    /// How many were not sent yet.
    pub(crate) pending: u64,
    /// Records of the chunks that have a `file_id`.
    pub(crate) uploaded_records: u64,
    /// Bytes of the archives that were built.
    pub(crate) archive_bytes: u64,
    /// Bytes of all entries.
    pub(crate) csv_bytes: u64,
    /// Attempts that may have left a file at the server which no chunk knows.
    pub(crate) possible_orphans: u64,
}

impl<'a> Manifest<'a> {
    /// The manifest of a run.
    pub(crate) fn new(state: &'a State) -> Manifest<'a> {
        let State { header, .. } = state;
        Manifest {
            format: FORMAT,
            run: Run {
                name: &header.name,
                tool: &header.tool,
                begun: state.begun,
                updated: state.updated,
                exit: state.finished,
            },
            target: &header.target,
            inputs: &header.inputs,
            limits: &header.limits,
            settings: &header.settings,
            chunks: state.chunks().map(Chunk::new).collect(),
            totals: Totals::of(state),
        }
    }

    /// Publishes `manifest.json` and `manifest.csv`, one after the other; each is whole at any time.
    ///
    /// # Errors
    /// Those of the file system. Each file is then the old one or the new one.
    pub(crate) fn publish(&self, dir: &Path) -> io::Result<()> {
        publish_with(&dir.join(JSON_NAME), |out| {
            serde_json::to_writer_pretty(&mut *out, self)?;
            out.write_all(b"\n")
        })?;
        publish_with(&dir.join(CSV_NAME), |out| self.write_csv(out))
    }

    /// Writes `manifest.csv`: one row an entry, as RFC 4180 has it, with LF.
    fn write_csv(&self, out: &mut BufWriter<impl Write>) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(COLUMNS)?;
        let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
        for chunk in &self.chunks {
            let Chunk { upload, .. } = chunk;
            for entry in &chunk.entries {
                csv.write_record([
                    chunk.seq.to_string().as_str(),
                    chunk.name,
                    entry.module,
                    role_name(entry.role),
                    &entry.records.to_string(),
                    &number(entry.first_record),
                    &number(entry.last_record),
                    &entry.csv_bytes.to_string(),
                    &number(chunk.archive_bytes),
                    chunk.archive_sha256.unwrap_or_default(),
                    upload.file_id.as_deref().unwrap_or_default(),
                    upload.created_time.as_deref().unwrap_or_default(),
                    upload.state.as_str(),
                ])?;
            }
        }
        csv.flush()
    }
}

impl<'a> Chunk<'a> {
    fn new(chunk: &'a ChunkState) -> Chunk<'a> {
        let packed = chunk.packed.as_ref();
        let entries = match packed {
            Some(packed) => packed.entries.iter().map(Entry::packed).collect(),
            None => chunk.planned.entries.iter().map(Entry::planned).collect(),
        };
        Chunk {
            seq: chunk.planned.seq,
            name: chunk.name(),
            archive_bytes: packed.map(|packed| packed.archive_bytes),
            archive_sha256: packed.map(|packed| packed.archive_sha256.as_str()),
            entries,
            upload: chunk.upload(),
        }
    }
}

impl<'a> Entry<'a> {
    fn planned(entry: &'a PlannedEntry) -> Entry<'a> {
        Entry {
            module: &entry.module,
            role: entry.role,
            kind: entry.kind,
            name: &entry.name,
            records: entry.records,
            columns: entry.columns,
            key_index: entry.key_index,
            csv_bytes: entry.csv_bytes,
            csv_xxh3_128: None,
            first_record: entry.first_record,
            last_record: entry.last_record,
            source_lines: None,
            first_key: None,
            last_key: None,
        }
    }

    fn packed(entry: &'a PackedEntry) -> Entry<'a> {
        Entry {
            module: &entry.module,
            role: entry.role,
            kind: entry.kind,
            name: &entry.name,
            records: entry.records,
            columns: entry.columns,
            key_index: entry.key_index,
            csv_bytes: entry.csv_bytes,
            csv_xxh3_128: Some(&entry.csv_xxh3_128),
            first_record: Some(entry.first_record),
            last_record: Some(entry.last_record),
            source_lines: Some(entry.source_lines),
            first_key: entry.first_key.as_deref(),
            last_key: entry.last_key.as_deref(),
        }
    }
}

impl Totals {
    /// The sums of a run.
    pub(crate) fn of(state: &State) -> Totals {
        let mut totals = Totals::default();
        for input in &state.header.inputs {
            totals.records += input.records;
            totals.packed += input.packed;
            totals.rejected += input.rejected;
            totals.blank_lines += input.blank_lines;
        }
        for chunk in state.chunks() {
            totals.chunks += 1;
            *match chunk.status() {
                UploadStatus::Uploaded => &mut totals.uploaded,
                UploadStatus::Failed => &mut totals.failed,
                UploadStatus::Unknown => &mut totals.unknown,
                UploadStatus::Pending => &mut totals.pending,
            } += 1;
            if chunk.file_id().is_some() {
                totals.uploaded_records += chunk.records();
            }
            totals.archive_bytes += chunk.packed.as_ref().map_or(0, |packed| packed.archive_bytes);
            totals.csv_bytes += chunk.csv_bytes();
            totals.possible_orphans += u64::from(chunk.possible_orphans());
        }
        totals
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Parent => "parent",
        Role::Child => "child",
    }
}

const COLUMNS: [&str; 13] = [
    "chunk",
    "archive",
    "module",
    "role",
    "records",
    "first_record",
    "last_record",
    "csv_bytes",
    "archive_bytes",
    "sha256",
    "file_id",
    "created_time",
    "state",
];
