//! `zbulk run`: check, plan, pack, upload, manifest. Run again, it goes on where it stopped.

use std::sync::Arc;

use crate::config;
use crate::exit_code::ExitCode;
use crate::failure::Result;
use crate::interrupt::Interrupt;
use crate::link::{Link, OpenLink, target_of};
use crate::output_dir::{OutputDir, Scratch};
use crate::pipeline;
use crate::progress::Progress;
use crate::runtime;
use crate::session::{self, Session, Task};
use crate::work::{Goal, Work, listen};

/// Runs the job.
///
/// # Errors
/// With any exit code but 0.
pub(crate) fn execute(config: config::Run, progress: &Arc<Progress>) -> Result<ExitCode> {
    runtime::block_on(async {
        let interrupt = listen(progress, &config.output)?;
        let dir = OutputDir::enter(&config.dir)?;
        if config.dry_run {
            // The same on a scratch copy, so that nothing is left behind.
            let scratch = if config.restart { Scratch::empty() } else { Scratch::of(&dir) };
            let result = match scratch {
                Ok(scratch) => run(config, scratch.dir(), &interrupt, progress).await,
                Err(error) => Err(error.into()),
            };
            dir.leave_as_found(progress);
            return result;
        }
        let result = run(config, &dir, &interrupt, progress).await;
        // A run that came to nothing has no journal.
        if result.is_err() && !session::is_begun(&dir) {
            dir.leave_as_found(progress);
        }
        result
    })
}

async fn run(
    config: config::Run,
    dir: &OutputDir,
    interrupt: &Interrupt,
    progress: &Arc<Progress>,
) -> Result<ExitCode> {
    let config::Run { name, job, destination, pace, keep_archives, dry_run, restart, output, .. } = config;
    let target = target_of(&destination);
    let link = Link::new(destination, pace, dir.path(), progress).await?;
    let task = Task {
        name: &name,
        job: &job,
        target: Some(target.clone()),
        new_target: target,
        // A dry run sets nothing aside; what it is given is empty.
        restart: restart && !dry_run,
        command_line: &output.command_line,
    };
    let Session { journal, prepared, mut chunks } = Session::begin(dir, task, interrupt, progress).await?;
    chunks.retain(|chunk| journal.state().chunk(&chunk.name).is_none_or(|known| known.file_id().is_none()));
    let link = if chunks.is_empty() {
        progress.note(match prepared {
            Some(_) => "nothing to send: every chunk has its file_id",
            None => "nothing to send: every chunk has its file_id, and the inputs are what they were",
        });
        OpenLink::nowhere()
    } else if dry_run {
        progress.note("a dry run: nothing is sent, and nothing is left behind");
        OpenLink::nowhere()
    } else {
        let room_bytes = pipeline::room_bytes(job.settings.memory_bytes);
        link.open(journal.state(), dir.path(), room_bytes, progress).await?
    };
    let keep = if keep_archives && !dry_run { Some(session::archives(dir.path())?) } else { None };
    let (onward, sandbox) = link.split();
    let goal = if dry_run { Goal::Built } else { Goal::Uploaded };
    let work =
        Work { dir: dir.path(), journal, goal, keep, onward, sandbox, interrupt, progress, output: &output };
    let shown = Arc::clone(progress);
    work.run(move |feed| match prepared {
        Some(prepared) => Ok(prep::pack(&prepared, &chunks, &|packed| feed.take(packed), &*shown)?),
        None => Ok(()),
    })
    .await
}
