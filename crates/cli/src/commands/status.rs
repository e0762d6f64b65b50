//! `zbulk status`: where a run stands, from its journal alone. Takes no lock and needs no input.

use std::sync::Arc;

use crate::config;
use crate::exit_code::ExitCode;
use crate::failure::Result;
use crate::progress::Progress;
use crate::{session, summary};

/// Prints the state.
///
/// # Errors
/// `Usage` if there is no journal; `Journal` if it is damaged.
pub(crate) fn execute(config: &config::Status, _progress: &Arc<Progress>) -> Result<ExitCode> {
    let state = session::read(&config.dir)?;
    summary::print(&state, config.output.json)?;
    Ok(ExitCode::Done)
}
