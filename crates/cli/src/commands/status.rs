//! `zbulk status`: where a run stands, from its journal alone. Takes no lock and needs no input.

use std::sync::Arc;

use crate::config;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::journal::Journal;
use crate::progress::Progress;
use crate::session::journal_failure;
use crate::summary;

/// Runs the command.
pub(crate) fn execute(config: &config::Status, _progress: &Arc<Progress>) -> Result<ExitCode> {
    let Some(state) = Journal::read(&config.dir).map_err(journal_failure)? else {
        let message = format!("there is no run in {}: it has no journal", config.dir.display());
        return Err(Failure::message(ExitCode::Usage, message)
            .hint("name the job file of the run, or its directory with `--out`"));
    };
    summary::print(&state, &config.output)?;
    Ok(ExitCode::Done)
}
