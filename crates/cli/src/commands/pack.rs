//! `zbulk pack`: archives and a manifest without `file_id`s.

use std::sync::Arc;

use crate::commands::run::{ARCHIVES, begin_progress, finish, remaining, spawn_packing, start};
use crate::config;
use crate::coordinator::Coordinator;
use crate::exit_code::ExitCode;
use crate::failure::Result;
use crate::journal::event::Target;
use crate::journal::state::State;
use crate::pipeline::Outcome;
use crate::progress::{Activity, Progress};
use crate::session::Session;

/// Runs the command.
pub(crate) fn execute(config: &config::Pack, progress: &Arc<Progress>) -> Result<ExitCode> {
    let target = if config.sandbox { Target::Sandbox } else { Target::Undecided };
    let mut session = Session::open(&config.dir)?;
    let started = start(&mut session, &config.name, target, &config.job, false, progress);
    let (journal, prepared) = match started {
        Ok((Some(journal), prepared)) => (journal, prepared),
        Ok((None, _)) => unreachable!("only a dry run has no journal"),
        Err(failure) => {
            session.abandon();
            return Err(failure);
        }
    };
    let archives = config.dir.join(ARCHIVES);
    let state = journal.state();
    let chunks: Vec<_> = remaining(&prepared, state, |_| true)
        .into_iter()
        .filter(|chunk| !is_kept(state, &chunk.name, &archives))
        .collect();
    let (coordinator, handle) = Coordinator::start(journal, config.dir.clone(), Arc::clone(progress))?;
    begin_progress(progress, Activity::Packing, &prepared, &chunks);
    let packing = spawn_packing(prepared, chunks, handle, Some(archives), None, progress)?;
    let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    finish(coordinator, Ok((Outcome::default(), packed.err())), &config.dir, &config.output, progress)
}

/// Whether a chunk's archive is there from an earlier run. Its bytes are compared when it is sent or verified.
fn is_kept(state: &State, name: &str, archives: &std::path::Path) -> bool {
    let packed = state.chunk(name).and_then(|chunk| chunk.packed.as_ref());
    packed.is_some_and(|packed| {
        packed.kept
            && std::fs::metadata(archives.join(name))
                .is_ok_and(|metadata| metadata.len() == packed.archive_bytes)
    })
}
