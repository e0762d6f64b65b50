//! The readable result of a run: `manifest.json` and `manifest.csv`, made from the journal's state and nothing else.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use prep::{ChildKind, Limits, Role};
use serde::Serialize;

use crate::journal::event::{Input, Target};
use crate::journal::state::{ChunkState, State, UploadState};
use crate::publish::publish;

/// The JSON Schema of `manifest.json`.
pub(crate) const SCHEMA: &str = include_str!("manifest.schema.json");

/// The manifest's names in DIR.
pub(crate) const JSON_NAME: &str = "manifest.json";
/// See [`JSON_NAME`].
pub(crate) const CSV_NAME: &str = "manifest.csv";

/// The format's version; readers ignore fields that they do not know.
const FORMAT: u32 = 1;

/// `manifest.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Manifest<'a> {
    format: u32,
    tool: &'a str,
    name: &'a str,
    target: &'a Target,
    created: Timestamp,
    updated: Timestamp,
    /// Exit code of the last process, null while one works or where it was killed.
    exit: Option<u8>,
    settings: &'a serde_json::Value,
    limits: Limits,
    inputs: &'a [Input],
    chunks: Vec<Chunk<'a>>,
    totals: Totals,
}

#[derive(Debug, Serialize)]
struct Chunk<'a> {
    seq: u32,
    name: &'a str,
    archive_bytes: Option<u64>,
    archive_sha256: Option<&'a str>,
    entries: Vec<Entry<'a>>,
    upload: UploadState,
}

/// As in the archive once it is built; before, what the plan knows, and null for the rest.
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

/// Sums over all chunks and inputs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    /// Data records in all inputs.
    pub(crate) records: u64,
    /// Those in the plan.
    pub(crate) packed: u64,
    /// Rejects; `records = packed + rejected`.
    pub(crate) rejected: u64,
    /// How many chunks there are.
    pub(crate) chunks: u64,
    /// How many have a `file_id`.
    pub(crate) uploaded: u64,
    /// How many were refused or given up.
    pub(crate) failed: u64,
    /// How many were sent without a recorded outcome.
    pub(crate) unknown: u64,
    /// How many were not sent yet.
    pub(crate) pending: u64,
    /// Bytes of the archives that are built.
    pub(crate) archive_bytes: u64,
    /// Bytes of all entries.
    pub(crate) csv_bytes: u64,
    /// Files that may be at the server without a chunk that knows them.
    pub(crate) possible_orphans: u64,
}

impl<'a> Manifest<'a> {
    /// The manifest of a state.
    pub(crate) fn new(state: &'a State) -> Manifest<'a> {
        Manifest {
            format: FORMAT,
            tool: &state.header.tool,
            name: &state.header.name,
            target: &state.header.target,
            created: state.begun,
            updated: state.updated,
            exit: state.finished,
            settings: &state.header.settings,
            limits: state.limits,
            inputs: &state.header.inputs,
            chunks: state.chunks().map(chunk).collect(),
            totals: Totals::of(state),
        }
    }
}

impl Totals {
    /// The sums of a state.
    pub(crate) fn of(state: &State) -> Totals {
        use crate::journal::state::UploadStatus::{Failed, Pending, Unknown, Uploaded};
        let mut totals = Totals::default();
        for input in &state.header.inputs {
            totals.records += input.records;
            totals.packed += input.packed;
            totals.rejected += input.rejected;
        }
        for chunk in state.chunks() {
            totals.chunks += 1;
            *match chunk.upload.state {
                Uploaded => &mut totals.uploaded,
                Failed => &mut totals.failed,
                Unknown => &mut totals.unknown,
                Pending => &mut totals.pending,
            } += 1;
            totals.archive_bytes += chunk.packed.as_ref().map_or(0, |packed| packed.archive_bytes);
            totals.csv_bytes += chunk.planned.entries.iter().map(|entry| entry.csv_bytes).sum::<u64>();
            totals.possible_orphans += u64::from(chunk.possible_orphans());
        }
        totals
    }
}

fn chunk(chunk: &ChunkState) -> Chunk<'_> {
    let planned = &chunk.planned;
    let entries = match &chunk.packed {
        Some(packed) => packed
            .entries
            .iter()
            .map(|entry| Entry {
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
            })
            .collect(),
        None => planned
            .entries
            .iter()
            .map(|entry| Entry {
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
            })
            .collect(),
    };
    Chunk {
        seq: planned.seq,
        name: &planned.name,
        archive_bytes: chunk.packed.as_ref().map(|packed| packed.archive_bytes),
        archive_sha256: chunk.packed.as_ref().map(|packed| &packed.archive_sha256[..]),
        entries,
        upload: UploadState { possible_orphans: chunk.possible_orphans(), ..chunk.upload.clone() },
    }
}

/// `manifest.csv`: one row an entry.
pub(crate) fn to_csv(state: &State) -> String {
    let mut csv = "chunk,archive,module,role,records,first_record,last_record,csv_bytes,archive_bytes,sha256,file_id,created_time,state\n".to_owned();
    let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    for of in Manifest::new(state).chunks {
        for entry in of.entries {
            let upload = &of.upload;
            let fields = [
                of.seq.to_string(),
                of.name.to_owned(),
                entry.module.to_owned(),
                match entry.role {
                    Role::Parent => "parent".to_owned(),
                    Role::Child => "child".to_owned(),
                },
                entry.records.to_string(),
                number(entry.first_record),
                number(entry.last_record),
                entry.csv_bytes.to_string(),
                number(of.archive_bytes),
                of.archive_sha256.unwrap_or_default().to_owned(),
                upload.file_id.clone().unwrap_or_default(),
                upload.created_time.clone().unwrap_or_default(),
                serde_json::to_value(upload.state)
                    .ok()
                    .and_then(|v| v.as_str().map(str::to_owned))
                    .unwrap_or_default(),
            ];
            let row: Vec<String> = fields.iter().map(|field| csv_field(field)).collect();
            writeln!(csv, "{}", row.join(",")).expect("invariant: a String takes every write");
        }
    }
    csv
}

/// A field as RFC 4180 has it. What the server sends may hold anything.
pub(crate) fn csv_field(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Publishes both manifests.
///
/// # Errors
/// Those of the file system; each file is then the old one or the new one.
pub(crate) fn write(dir: &Path, state: &State) -> io::Result<()> {
    let mut json = serde_json::to_vec_pretty(&Manifest::new(state))?;
    json.push(b'\n');
    publish(&dir.join(JSON_NAME), &json)?;
    publish(&dir.join(CSV_NAME), to_csv(state).as_bytes())
}

#[cfg(test)]
mod tests {
    use prep::Fingerprint;

    use super::*;
    use crate::journal::event::{Event, FORMAT, Header, Line, Plan, PlannedChunk};

    fn state() -> State {
        let planned = |seq: u32, module: &str| PlannedChunk {
            seq,
            name: format!("{module}-{seq:05}.zip"),
            entries: vec![prep::PlannedEntry {
                input: 0,
                module: module.to_owned(),
                role: Role::Parent,
                kind: None,
                name: format!("{module}.csv"),
                records: 2,
                columns: 3,
                key_index: Some(1),
                csv_bytes: 60,
                first_record: Some(1),
                last_record: Some(3),
            }],
        };
        let header = Header {
            format: FORMAT,
            tool: "zbulk 0".to_owned(),
            name: "job".to_owned(),
            target: Target::Zoho { dc: "eu".to_owned(), org: "42".to_owned() },
            inputs: vec![Input {
                module: "A".to_owned(),
                role: Role::Parent,
                kind: None,
                path: "a.csv".to_owned(),
                fingerprint: Fingerprint { bytes: 70, xxh3_128: "0".repeat(32) },
                records: 5,
                packed: 4,
                rejected: 1,
                blank_lines: 0,
            }],
            settings: serde_json::json!({}),
            settings_digest: String::new(),
            plan_digest: String::new(),
        };
        let plan = Plan { chunks: vec![planned(1, "A"), planned(2, "A")], limits: Limits::default() };
        let line = |n, event| Line { n, time: Timestamp::UNIX_EPOCH, event };
        let mut state =
            State::begin(line(1, Event::Header(Box::new(header))), line(2, Event::Plan(Box::new(plan))))
                .unwrap();
        let chunk = || "A-00001.zip".to_owned();
        let entry = prep::Entry {
            module: "A".to_owned(),
            role: Role::Parent,
            kind: None,
            name: "A.csv".to_owned(),
            records: 2,
            columns: 3,
            key_index: Some(1),
            csv_bytes: 60,
            csv_xxh3_128: "a".repeat(32),
            first_record: 1,
            last_record: 3,
            source_lines: [2, 4],
            first_key: Some("k1".to_owned()),
            last_key: Some("k3".to_owned()),
        };
        let events = [
            Event::Packed {
                chunk: chunk(),
                archive_bytes: 44,
                archive_sha256: "b".repeat(64),
                entries: vec![entry],
                kept: false,
            },
            Event::Attempt { chunk: chunk(), attempt: 1 },
            Event::Uploaded {
                chunk: chunk(),
                file_id: "99999999999999999999".to_owned(),
                created_time: Some("2018-12-31T12:00:00-12:00, \"odd\"".to_owned()),
                http_status: 200,
                code: "FILE_UPLOAD_SUCCESS".to_owned(),
                attempts: 1,
                elapsed_ms: 7,
            },
        ];
        for event in events {
            state.apply(line(state.lines + 1, event)).unwrap();
        }
        state
    }

    #[test]
    fn a_manifest_is_valid_by_its_schema() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let state = state();
        let manifest = serde_json::to_value(Manifest::new(&state)).unwrap();
        let errors: Vec<String> = validator.iter_errors(&manifest).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0]);
        let mut broken = manifest;
        broken["chunks"][0]["upload"]["file_id"] = serde_json::json!(99);
        assert!(!validator.is_valid(&broken), "a file_id is text");
    }

    #[test]
    fn the_csv_has_a_row_an_entry_and_survives_what_a_server_sends() {
        assert_eq!(
            to_csv(&state()),
            format!(
                "chunk,archive,module,role,records,first_record,last_record,csv_bytes,archive_bytes,sha256,file_id,created_time,state\n\
                 1,A-00001.zip,A,parent,2,1,3,60,44,{},99999999999999999999,\"2018-12-31T12:00:00-12:00, \"\"odd\"\"\",uploaded\n\
                 2,A-00002.zip,A,parent,2,1,3,60,,,,,pending\n",
                "b".repeat(64)
            )
        );
    }

    #[test]
    fn totals_reconcile() {
        let totals = Totals::of(&state());
        assert_eq!(totals.records, totals.packed + totals.rejected);
        assert_eq!(totals.chunks, totals.uploaded + totals.failed + totals.unknown + totals.pending);
        assert_eq!((totals.chunks, totals.uploaded, totals.pending), (2, 1, 1));
    }
}
