//! The user file: the settings of one user on one machine, also those that a job file may not give.

use std::path::Path;

use super::credentials::is_writable_by_others;
use super::job_file::read_text;
use super::setting::{Files, Layer};
use super::toml_file::TomlFile;
use crate::failure::Problem;

/// The largest user file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Reads and checks the file. It may name a command to run, so nobody else may be able to write it.
///
/// # Errors
/// All problems in it.
pub(crate) fn read(path: &Path) -> Result<Layer, Vec<Problem>> {
    let text = read_text(path, MAX_BYTES).map_err(|problem| vec![problem])?;
    let metadata = std::fs::metadata(path).map_err(|error| {
        vec![Problem::new(anyhow::Error::new(error).context(format!("cannot read {}", path.display())))]
    })?;
    if let Some(what) = is_writable_by_others(&metadata) {
        let hint = format!("chmod go-w {0}; chown \"$USER\" {0}", path.display());
        return Err(vec![Problem::message(format!("{}: {what}", path.display())).hint(hint)]);
    }
    parse(path, &text)
}

/// Checks the text of a file.
///
/// # Errors
/// All problems in it.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Layer, Vec<Problem>> {
    let (mut file, mut top) = TomlFile::parse(path, text, false)?;
    let layer = file.settings(&mut top, Files::User);
    top.finish(&mut file);
    let problems = file.finish();
    if problems.is_empty() { Ok(layer) } else { Err(problems) }
}
