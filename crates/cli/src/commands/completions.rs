//! `zbulk completions SHELL`: a completion script.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit_code::ExitCode;
use crate::failure::{OrFail, Result};
use crate::output;

/// Prints the script.
///
/// # Errors
/// `Unexpected` if it cannot be printed.
pub(super) fn execute(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "zbulk", &mut script);
    let mut out = output::stdout();
    out.bytes(&script)
        .and_then(|()| out.finish())
        .or_fail(ExitCode::Unexpected, || "cannot print the completion script")?;
    Ok(ExitCode::Done)
}
