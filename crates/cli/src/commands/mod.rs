//! One file a command. Each takes its resolved configuration, and returns its exit code or its failure.

use std::sync::Arc;

use crate::config::{Config, Output};
use crate::exit_code::ExitCode;
use crate::failure::Result;
use crate::log;
use crate::progress::Progress;

mod auth;
mod check;
mod completions;
mod man;
mod pack;
mod plan;
mod run;
mod sandbox;
mod schema;
mod status;
mod upload;
mod verify;

/// Does what was asked.
///
/// # Errors
/// Those of the command.
pub(crate) fn execute(config: Config) -> Result<ExitCode> {
    match config {
        Config::Run(config) => {
            with_progress(&config.output.clone(), |progress| run::execute(config, progress))
        }
        Config::Check(config) => {
            with_progress(&config.output.clone(), |progress| check::execute(&config, progress))
        }
        Config::Plan(config) => {
            with_progress(&config.output.clone(), |progress| plan::execute(&config, progress))
        }
        Config::Pack(config) => {
            with_progress(&config.output.clone(), |progress| pack::execute(&config, progress))
        }
        Config::Upload(config) => {
            with_progress(&config.output.clone(), |progress| upload::execute(config, progress))
        }
        Config::Status(config) => {
            with_progress(&config.output.clone(), |progress| status::execute(&config, progress))
        }
        Config::Verify(config) => {
            with_progress(&config.output.clone(), |progress| verify::execute(&config, progress))
        }
        Config::AuthCheck(config) => {
            with_progress(&config.output.clone(), |progress| auth::execute(config, progress))
        }
        Config::Sandbox(config) => {
            with_progress(&config.output.clone(), |progress| sandbox::execute(config, progress))
        }
        Config::ManifestSchema => schema::execute(),
        Config::Completions(shell) => completions::execute(shell),
        Config::Man => man::execute(),
    }
}

/// Runs a command with progress, logging, and the notes on its configuration.
fn with_progress(
    output: &Output,
    command: impl FnOnce(&Arc<Progress>) -> Result<ExitCode>,
) -> Result<ExitCode> {
    let progress = Progress::new(output);
    log::start(output, &progress);
    output.notes.iter().for_each(|note| progress.warn(note));
    let result = command(&progress);
    progress.finish();
    result
}

/// What a child is called in tables.
pub(crate) fn kind_name(kind: prep::ChildKind) -> &'static str {
    match kind {
        prep::ChildKind::Subform => "subform",
        prep::ChildKind::LineItems => "line-items",
        prep::ChildKind::Linking => "linking",
        prep::ChildKind::MultiUser => "multi-user",
    }
}
