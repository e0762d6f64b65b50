//! `zbulk verify`: archives and their entries against the journal; with the sandbox's directory the bodies that it
//! kept; with the inputs their fingerprints and the plan that they give.

use std::io::{Cursor, Read as _};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::xxh3_128;

use crate::commands::run::{ARCHIVES, prepare};
use crate::commands::upload::hex;
use crate::config;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrFail as _, Problem, Result};
use crate::identity;
use crate::journal::Journal;
use crate::journal::state::{ChunkState, PackedState};
use crate::output;
use crate::progress::Progress;
use crate::session::journal_failure;

/// What was looked at.
#[derive(Debug, Default, serde::Serialize)]
struct Verified {
    archives: u64,
    bodies: u64,
    entries: u64,
    records: u64,
    inputs: u64,
    damage: Vec<String>,
}

/// Runs the command.
pub(crate) fn execute(config: &config::Verify, progress: &Arc<Progress>) -> Result<ExitCode> {
    let Some(state) = Journal::read(&config.dir).map_err(journal_failure)? else {
        let message = format!("there is no run in {}: it has no journal", config.dir.display());
        return Err(Failure::message(ExitCode::Usage, message)
            .hint("name the job file of the run, or its directory with `--out`"));
    };
    let mut verified = Verified::default();
    for chunk in state.chunks() {
        let Some(packed) = &chunk.packed else { continue };
        let kept = config.dir.join(ARCHIVES).join(&chunk.planned.name);
        if packed.kept {
            verified.archives += 1;
            verify_archive(&kept, chunk, packed, &mut verified);
        }
        if let Some(file_id) = chunk.upload.file_id.as_deref().filter(|file_id| is_plain(file_id)) {
            let body = config.dir.join("sandbox").join(format!("{file_id}.zip"));
            if state.header.target == crate::journal::event::Target::Sandbox {
                verified.bodies += 1;
                verify_archive(&body, chunk, packed, &mut verified);
            }
        }
    }
    if let Some(job) = &config.job {
        let prepared = prepare(job, progress)?;
        let now = identity::header(&state.header.name, state.header.target.clone(), job, &prepared);
        verified.inputs = now.inputs.len() as u64;
        verified.damage.extend(identity::differences(&state.header, &now));
    }
    progress.finish();
    print(&verified, config.output.json)?;
    if verified.damage.is_empty() {
        return Ok(ExitCode::Done);
    }
    let problems = verified.damage.iter().map(Problem::message).collect();
    Err(Failure::many(ExitCode::Journal, problems)
        .hint("a damaged archive can be removed and made again by `zbulk pack`; what has a file_id is uploaded all the same"))
}

/// A name that means a file in a directory and nothing else.
fn is_plain(file_id: &str) -> bool {
    !file_id.is_empty() && file_id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Holds one archive against the journal: as a whole, then entry by entry, so that damage is located.
fn verify_archive(path: &Path, chunk: &ChunkState, packed: &PackedState, verified: &mut Verified) {
    let damage = match std::fs::read(path) {
        Ok(bytes) if hex(&Sha256::digest(&bytes)) == packed.archive_sha256 => {
            entries_damage(&bytes, packed, verified)
        }
        Ok(bytes) => {
            let mut damage = vec!["its SHA-256 is not the journal's".to_owned()];
            damage.extend(entries_damage(&bytes, packed, verified));
            damage
        }
        Err(error) => vec![format!("cannot be read: {error}")],
    };
    verified.damage.extend(
        damage.into_iter().map(|what| format!("chunk {}, {}: {what}", chunk.planned.name, path.display())),
    );
}

fn entries_damage(bytes: &[u8], packed: &PackedState, verified: &mut Verified) -> Vec<String> {
    let mut zip = match zip::ZipArchive::new(Cursor::new(bytes)) {
        Ok(zip) => zip,
        Err(error) => return vec![format!("it is no ZIP: {error}")],
    };
    let mut damage = Vec::new();
    if zip.len() != packed.entries.len() {
        damage.push(format!("it has {} entries, the journal says {}", zip.len(), packed.entries.len()));
    }
    for expected in &packed.entries {
        verified.entries += 1;
        let mut csv = Vec::new();
        let read = match zip.by_name(&expected.name) {
            Ok(mut entry) => entry.read_to_end(&mut csv).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = read {
            damage.push(format!("entry {}: {error}", expected.name));
            continue;
        }
        let records = records(&csv);
        verified.records += records.unwrap_or(0);
        if format!("{:032x}", xxh3_128(&csv)) != expected.csv_xxh3_128 {
            damage.push(format!("entry {}: its digest is not the journal's", expected.name));
        }
        if records != Some(expected.records) {
            damage.push(format!(
                "entry {}: it has not the {} records of the journal",
                expected.name, expected.records
            ));
        }
    }
    damage
}

/// Data records of a CSV, by the csv crate; `None` if it is not one.
fn records(csv: &[u8]) -> Option<u64> {
    let mut records = 0;
    let mut reader = csv::Reader::from_reader(csv);
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).ok()? {
        records += 1;
    }
    Some(records)
}

fn print(verified: &Verified, json: bool) -> Result<()> {
    let mut out = output::stdout();
    let printed = if json {
        out.json(verified)
    } else {
        let Verified { archives, bodies, entries, records, inputs, damage } = verified;
        out.line(&format!(
            "{} archives, {} bodies of the sandbox, {} entries, {} records, {} inputs: {}",
            output::count(*archives),
            output::count(*bodies),
            output::count(*entries),
            output::count(*records),
            output::count(*inputs),
            match damage.len() {
                0 => "all is as the journal says".to_owned(),
                1 => "1 difference".to_owned(),
                more => format!("{more} differences"),
            }
        ))
    };
    printed
        .and_then(|()| out.finish())
        .or_fail(ExitCode::Unexpected, || "cannot write the result to standard output".to_owned())
}
