//! Steps 1 to 3 as every command takes them: inputs prepared with progress, warnings told.

use crate::failure::Result;
use crate::identity;
use crate::journal::event::Header;
use crate::progress::Progress;

/// Scans and plans all inputs of a job. Warnings go to standard error.
///
/// # Errors
/// Every problem that keeps an input from being scanned at all; rejects and faults are in the result.
pub(crate) fn prepare(job: &prep::Job, progress: &Progress) -> Result<prep::Prepared> {
    progress.scanning(total_bytes(job));
    let prepared = prep::prepare(job, progress)?;
    for warning in prepared.warnings() {
        let path = prepared.inputs()[warning.input].path.display();
        progress.warn(&format!("{path}: {}", warning.message));
    }
    Ok(prepared)
}

/// Whether the inputs and settings of a job are those of a journal, by fingerprints alone.
///
/// # Errors
/// Every problem that keeps an input from being read at all.
pub(crate) fn are_unchanged(job: &prep::Job, old: &Header, progress: &Progress) -> Result<bool> {
    progress.scanning(total_bytes(job));
    Ok(identity::is_unchanged(old, job, &prep::identify(job, progress)?))
}

/// The inputs' length together, for the bar. A file that cannot be looked at is told of when it is opened.
fn total_bytes(job: &prep::Job) -> u64 {
    let inputs = job.imports.iter().flat_map(|import| {
        std::iter::once(&import.parent).chain(import.children.iter().map(|child| &child.input))
    });
    inputs.map(|input| std::fs::metadata(&input.path).map_or(0, |metadata| metadata.len())).sum()
}
