//! DIR/rejects: for each input with rejects the records as they stood, loadable again once they are mended, and beside
//! them the reasons. Published before the journal is created, so that a run that has begun has its rejects written.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prep::Prepared;

use crate::exit_code::ExitCode;
use crate::failure::{OrFail, Result};
use crate::journal::event::Input;
use crate::publish::{create_dir, publish_with};

/// The directory's name in DIR.
pub(crate) const DIR_NAME: &str = "rejects";

/// Writing fails outside, reading inside.
type Written = io::Result<std::result::Result<(), prep::Error>>;

const COLUMNS: [&str; 7] = ["file", "line", "byte", "record", "key", "code", "message"];

/// Writes the rejects of all inputs, each file at once. Older files of the same inputs are replaced.
///
/// # Errors
/// `Journal` if an input has changed since it was scanned; `Unexpected` if writing fails.
pub(crate) fn write(dir: &Path, prepared: &Prepared) -> Result<()> {
    let inputs = prepared.inputs();
    if inputs.iter().all(|input| input.rejected == 0) {
        return Ok(());
    }
    let dir = dir.join(DIR_NAME);
    create_dir(&dir).or_fail(ExitCode::Unexpected, || format!("cannot create `{}`", dir.display()))?;
    let stems = stems(inputs.iter().map(|input| input.module.as_str()));
    for (index, stem) in stems.iter().enumerate().filter(|&(index, _)| inputs[index].rejected > 0) {
        let [records, reasons] = paths(&dir, stem);
        publish_rejects(&records, prepared, index, write_records)?;
        publish_rejects(&reasons, prepared, index, write_reasons)?;
    }
    Ok(())
}

/// Whether the rejects of these inputs are all there.
pub(crate) fn are_written(dir: &Path, inputs: &[Input]) -> bool {
    files(dir, inputs).iter().all(|path| path.exists())
}

/// Removes the rejects of the inputs of a run that is replaced.
///
/// # Errors
/// Those of the file system, save for files that are not there.
pub(crate) fn remove(dir: &Path, inputs: &[Input]) -> io::Result<()> {
    for path in files(dir, inputs) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn files(dir: &Path, inputs: &[Input]) -> Vec<PathBuf> {
    let dir = dir.join(DIR_NAME);
    let stems = stems(inputs.iter().map(|input| input.module.as_str()));
    let rejected = inputs.iter().zip(stems).filter(|(input, _)| input.rejected > 0);
    rejected.flat_map(|(_, stem)| paths(&dir, &stem)).collect()
}

/// The files' names without their ends, by input: the module, which may stand in several imports and then has the
/// input's one-based number added from the second time on.
fn stems<'a>(modules: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut stem = |(index, module): (usize, &'a str)| {
        if seen.insert(module) { module.to_owned() } else { format!("{module}-{}", index + 1) }
    };
    modules.enumerate().map(&mut stem).collect()
}

/// `Vehicles.csv` and `Vehicles.reasons.csv`.
fn paths(dir: &Path, stem: &str) -> [PathBuf; 2] {
    [dir.join(format!("{stem}.csv")), dir.join(format!("{stem}.reasons.csv"))]
}

fn publish_rejects(
    path: &Path,
    prepared: &Prepared,
    index: usize,
    write: fn(&mut dyn Write, &Prepared, usize) -> Written,
) -> Result<()> {
    let mut read = Ok(());
    let written = publish_with(path, |out| {
        read = write(out, prepared, index)?;
        // Half the rejects get no name.
        if read.is_err() { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    });
    read?;
    written.or_fail(ExitCode::Unexpected, || format!("cannot write `{}`", path.display()))
}

/// The header and the records as they stood in the file.
fn write_records(out: &mut dyn Write, prepared: &Prepared, index: usize) -> Written {
    write_line(out, prepared.header_bytes(index))?;
    flatten(prepared.for_each_reject(index, &mut |_, raw| write_line(out, raw)))
}

/// One row a reject; lines and records are one-based, bytes zero-based.
fn write_reasons(out: &mut dyn Write, prepared: &Prepared, index: usize) -> Written {
    let path = prepared.inputs()[index].path.to_string_lossy().into_owned();
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(COLUMNS)?;
    let read = flatten(prepared.for_each_reject(index, &mut |reject, _| {
        let position = reject.position;
        csv.write_record([
            path.as_str(),
            &position.line.to_string(),
            &position.byte.to_string(),
            &position.record.to_string(),
            reject.key.as_deref().unwrap_or_default(),
            reject.code.as_str(),
            &reject.message,
        ])?;
        Ok(())
    }))?;
    csv.flush()?;
    Ok(read)
}

/// A record with its line end; the last one of a file may have none, and another may follow it here.
fn write_line(out: &mut dyn Write, raw: &[u8]) -> io::Result<()> {
    out.write_all(raw)?;
    if raw.ends_with(b"\n") || raw.ends_with(b"\r") { Ok(()) } else { out.write_all(b"\n") }
}

/// Turns inside out: writing outside, reading inside.
fn flatten(result: std::result::Result<io::Result<()>, prep::Error>) -> Written {
    match result {
        Ok(written) => written.map(Ok),
        Err(error) => Ok(Err(error)),
    }
}
