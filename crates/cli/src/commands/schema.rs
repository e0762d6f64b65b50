//! `zbulk schema manifest`: the JSON Schema of manifest.json.

use crate::exit_code::ExitCode;
use crate::failure::{OrFail, Result};
use crate::manifest::SCHEMA;
use crate::output;

/// Prints the schema.
///
/// # Errors
/// `Unexpected` if it cannot be printed.
pub(super) fn execute() -> Result<ExitCode> {
    let mut out = output::stdout();
    out.line(SCHEMA.trim_end())
        .and_then(|()| out.finish())
        .or_fail(ExitCode::Unexpected, || "cannot print the schema")?;
    Ok(ExitCode::Done)
}
