//! `zbulk pack`: archives and a manifest without `file_id`s. Nothing is sent.

use std::path::Path;
use std::sync::Arc;

use crate::config;
use crate::exit_code::ExitCode;
use crate::failure::Result;
use crate::interrupt::Interrupt;
use crate::journal::event::Target;
use crate::journal::state::State;
use crate::output_dir::OutputDir;
use crate::pipeline::Onward;
use crate::progress::Progress;
use crate::runtime;
use crate::session::{self, Session, Task};
use crate::work::{Goal, Work, listen};

/// Packs the job.
///
/// # Errors
/// Those of the inputs and of the file system; `Journal` where DIR holds another run.
pub(crate) fn execute(config: &config::Pack, progress: &Arc<Progress>) -> Result<ExitCode> {
    runtime::block_on(async {
        let interrupt = listen(progress, &config.output)?;
        let dir = OutputDir::enter(&config.dir)?;
        let result = pack(config, &dir, &interrupt, progress).await;
        // A run that came to nothing has no journal.
        if result.is_err() && !session::is_begun(&dir) {
            dir.leave_as_found(progress);
        }
        result
    })
}

async fn pack(
    config: &config::Pack,
    dir: &OutputDir,
    interrupt: &Interrupt,
    progress: &Arc<Progress>,
) -> Result<ExitCode> {
    let config::Pack { name, job, sandbox, restart, output, .. } = config;
    let new_target = if *sandbox { Target::Sandbox } else { Target::Undecided };
    let command_line = &output.command_line;
    let task = Task { name, job, target: None, new_target, restart: *restart, command_line };
    let Session { journal, prepared, mut chunks } = Session::begin(dir, task, interrupt, progress).await?;
    let archives = session::archives(dir.path())?;
    chunks.retain(|chunk| !is_kept(journal.state(), &archives, &chunk.name));
    if chunks.is_empty() {
        progress.note("nothing to pack: every archive is there");
    }
    let work = Work {
        dir: dir.path(),
        journal,
        goal: Goal::Kept,
        keep: Some(archives),
        onward: Onward::Nowhere,
        sandbox: None,
        interrupt,
        progress,
        output,
    };
    let shown = Arc::clone(progress);
    work.run(move |feed| match prepared {
        Some(prepared) => Ok(prep::pack(&prepared, &chunks, &|packed| feed.take(packed), &*shown)?),
        None => Ok(()),
    })
    .await
}

/// Whether an archive is there, by its length; `zbulk verify` and `zbulk upload` read its bytes.
fn is_kept(state: &State, archives: &Path, name: &str) -> bool {
    let packed = state.chunk(name).and_then(|chunk| chunk.packed.as_ref()).filter(|packed| packed.kept);
    packed.is_some_and(|packed| {
        let found = std::fs::symlink_metadata(archives.join(name));
        found.is_ok_and(|found| found.is_file() && found.len() == packed.archive_bytes)
    })
}
