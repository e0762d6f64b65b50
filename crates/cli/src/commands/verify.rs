//! `zbulk verify`: archives against the journal, with the sandbox's directory its bodies too, and with a job the
//! journal against the inputs. Takes no lock and changes nothing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use prep::{Job, Packed};
use serde::Serialize;

use crate::archive_file;
use crate::config;
use crate::connect::SANDBOX;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrFail, Problem, Result};
use crate::identity::{self, Fit, differences, fit};
use crate::inputs;
use crate::journal::event::Target;
use crate::journal::state::{PackedState, State};
use crate::output::{self, count};
use crate::progress::{Activity, Amount, Progress};
use crate::session::{self, ARCHIVES};

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Findings {
    /// Archives under DIR/archives.
    archives: u64,
    /// Bodies that the sandbox has kept.
    bodies: u64,
    /// Entries of these.
    entries: u64,
    /// Records of these.
    records: u64,
    /// Inputs that were read again.
    inputs: u64,
    /// Chunks that were built again from the inputs.
    rebuilt: u64,
    /// Chunks that come out with the same records, but packed to other bytes.
    repacked: u64,
    /// What is wrong, each with its place.
    damage: Vec<String>,
}

/// Verifies DIR.
///
/// # Errors
/// `Usage` if there is no journal; `Journal` if anything is not as it is journaled; those of the inputs.
pub(crate) fn execute(config: &config::Verify, progress: &Arc<Progress>) -> Result<ExitCode> {
    let state = session::read(&config.dir)?;
    let mut findings = Findings::default();
    verify_archives(&config.dir, &state, &mut findings);
    if let Some(job) = &config.job {
        verify_inputs(job, &state, progress, &mut findings)?;
    }
    progress.finish();
    print(&findings, config.output.json).or_fail(ExitCode::Unexpected, || "cannot print the result")?;
    if findings.damage.is_empty() {
        return Ok(ExitCode::Done);
    }
    let problems = findings.damage.iter().map(Problem::message).collect();
    Err(Failure::many(ExitCode::Journal, problems).hint(
        "remove a damaged archive and run `zbulk pack` again to have it back; what has a file_id is at the server all \
         the same",
    ))
}

/// Every archive that is kept, and every body that the run's own sandbox has.
fn verify_archives(dir: &Path, state: &State, findings: &mut Findings) {
    for chunk in state.chunks() {
        let Some(packed) = &chunk.packed else { continue };
        if packed.kept {
            findings.archives += 1;
            verify_archive(&dir.join(ARCHIVES).join(chunk.name()), chunk.name(), packed, findings);
        }
        let of_sandbox = state.header.target == Target::Sandbox;
        if let Some(file_id) = chunk.file_id().filter(|file_id| of_sandbox && is_plain(file_id)) {
            findings.bodies += 1;
            verify_archive(&dir.join(SANDBOX).join(format!("{file_id}.zip")), chunk.name(), packed, findings);
        }
    }
}

fn verify_archive(path: &Path, chunk: &str, packed: &PackedState, findings: &mut Findings) {
    findings.entries += packed.entries.len() as u64;
    findings.records += packed.entries.iter().map(|entry| entry.records).sum::<u64>();
    let damage = match archive_file::damage(path, packed) {
        Ok(damage) => damage,
        Err(error) => vec![format!("cannot read it: {error}")],
    };
    findings
        .damage
        .extend(damage.into_iter().map(|what| format!("chunk {chunk}, `{}`: {what}", path.display())));
}

/// The inputs give the same plan, and every chunk that was packed comes out with the same records.
fn verify_inputs(job: &Job, state: &State, progress: &Arc<Progress>, findings: &mut Findings) -> Result<()> {
    let prepared = inputs::prepare(job, progress)?;
    findings.inputs = prepared.inputs().len() as u64;
    let header = identity::header(&state.header.name, state.header.target.clone(), job, &prepared);
    let differences = differences(&state.header, &header, None);
    if !differences.is_empty() {
        findings.damage.extend(differences);
        return Ok(());
    }
    let known: BTreeMap<&str, &PackedState> =
        state.chunks().filter_map(|chunk| Some((chunk.name(), chunk.packed.as_ref()?))).collect();
    let mut chunks = identity::leaves(state, &prepared)?;
    chunks.retain(|chunk| known.contains_key(chunk.name.as_str()));
    let total = Amount {
        chunks: chunks.len() as u64,
        records: chunks.iter().flat_map(|chunk| &chunk.entries).map(|entry| entry.records).sum(),
        csv_bytes: chunks.iter().flat_map(|chunk| &chunk.entries).map(|entry| entry.csv_bytes).sum(),
    };
    progress.sending(Activity::Packing, total, Amount::default());
    let missing = Mutex::new(known.clone());
    let found = Mutex::new((Vec::new(), 0));
    prep::pack(
        &prepared,
        &chunks,
        &|packed| {
            // A chunk that is cut now and was not then stays among the missing.
            let Packed::Archive(archive) = packed else { return ControlFlow::Continue(()) };
            let Some(known) =
                missing.lock().unwrap_or_else(PoisonError::into_inner).remove(archive.name.as_str())
            else {
                return ControlFlow::Continue(());
            };
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            match fit(Some(known), &archive) {
                Fit::New | Fit::Same => {}
                Fit::OtherArchive => found.1 += 1,
                Fit::OtherRecords(entry) => found.0.push(format!(
                    "chunk {}: entry {entry} does not come out of the inputs as it was packed",
                    archive.name
                )),
            }
            progress.finished(Amount { chunks: 1, ..Amount::default() });
            ControlFlow::Continue(())
        },
        &**progress,
    )?;
    let (mut damage, repacked) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let missing = missing.into_inner().unwrap_or_else(PoisonError::into_inner);
    damage.extend(
        missing.keys().map(|chunk| format!("chunk {chunk} does not come out of the inputs any more")),
    );
    damage.sort();
    findings.rebuilt = (known.len() - missing.len()) as u64;
    findings.repacked = repacked;
    findings.damage.extend(damage);
    Ok(())
}

/// A name that means a file in a directory and nothing else.
fn is_plain(file_id: &str) -> bool {
    !file_id.is_empty() && file_id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn print(findings: &Findings, json: bool) -> std::io::Result<()> {
    let mut out = output::stdout();
    if json {
        out.json(findings)?;
        return out.finish();
    }
    let Findings { archives, bodies, entries, records, inputs, rebuilt, repacked, damage } = findings;
    out.line(&format!(
        "{} archives and {} bodies of the sandbox read: {} entries, {} records",
        count(*archives),
        count(*bodies),
        count(*entries),
        count(*records)
    ))?;
    if *inputs > 0 {
        let other = match repacked {
            0 => String::new(),
            number => format!(", {} of them packed to other bytes by this version", count(*number)),
        };
        out.line(&format!("{} inputs read: {} chunks built again{other}", count(*inputs), count(*rebuilt)))?;
    }
    out.line(&match damage.len() {
        0 => "all is as it is journaled".to_owned(),
        1 => "1 thing is not as it is journaled".to_owned(),
        more => format!("{} things are not as they are journaled", count(more as u64)),
    })?;
    out.finish()
}
