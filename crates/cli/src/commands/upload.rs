//! `zbulk upload`: sends what `zbulk pack` made. The inputs are not needed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive_file::{self, Unfit};
use crate::config;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::identity::target_difference;
use crate::journal::state::{PackedState, State};
use crate::link::{Link, OpenLink, target_of};
use crate::lock::LockError;
use crate::output_dir::{EnterError, OutputDir};
use crate::pipeline::{self, Feed};
use crate::progress::Progress;
use crate::runtime;
use crate::session::{self, ARCHIVES};
use crate::work::{Goal, Work, listen};

/// Bytes of archives under way: there are no inputs to hold, and no `--memory` to ask.
const MEMORY_BYTES: u64 = 512 << 20;

/// Sends the archives.
///
/// # Errors
/// `Usage` if nothing was packed in DIR, `Journal` if an archive is not what was packed, and those of a run.
pub(crate) fn execute(config: config::Upload, progress: &Arc<Progress>) -> Result<ExitCode> {
    runtime::block_on(upload(config, progress))
}

async fn upload(config: config::Upload, progress: &Arc<Progress>) -> Result<ExitCode> {
    let config::Upload { dir, destination, pace, output } = config;
    let interrupt = listen(progress, &output)?;
    let dir = OutputDir::enter_existing(&dir).map_err(|error| missing(error, &dir))?;
    let Some(mut journal) = session::open(&dir, progress)? else {
        return Err(nothing_packed(dir.path()));
    };
    let target = target_of(&destination);
    if journal.state().attempted
        && let Some(difference) = target_difference(&journal.state().header.target, &target)
    {
        return Err(session::another_run(dir.path(), vec![difference]));
    }
    let archives = archives_to_send(journal.state(), dir.path())?;
    let link = Link::new(destination, pace, dir.path(), progress).await?;
    session::go_on(&mut journal, Some(&target))?;
    let link = if archives.is_empty() {
        progress.note("nothing to do: every chunk has its file_id");
        OpenLink::nowhere()
    } else {
        link.open(journal.state(), dir.path(), pipeline::room_bytes(MEMORY_BYTES), progress).await?
    };
    let (onward, sandbox) = link.split();
    let work = Work {
        dir: dir.path(),
        journal,
        goal: Goal::Uploaded,
        keep: None,
        onward,
        sandbox,
        interrupt: &interrupt,
        progress,
        output: &output,
    };
    work.run(move |feed| send(&archives, feed)).await
}

/// An archive as it was packed.
struct Kept {
    name: String,
    path: PathBuf,
    packed: PackedState,
}

/// The archives without a `file_id`, in order.
fn archives_to_send(state: &State, dir: &Path) -> Result<Vec<Kept>> {
    let mut missing = 0;
    let mut kept = Vec::new();
    for chunk in state.chunks().filter(|chunk| chunk.file_id().is_none()) {
        match chunk.packed.as_ref().filter(|packed| packed.kept) {
            Some(packed) => kept.push(Kept {
                name: chunk.name().to_owned(),
                path: dir.join(ARCHIVES).join(chunk.name()),
                packed: packed.clone(),
            }),
            None => missing += 1,
        }
    }
    if missing > 0 {
        let message = format!("{missing} of the chunks in `{}` are not packed", dir.display());
        return Err(Failure::message(ExitCode::Usage, message)
            .hint("run `zbulk pack` to its end first, or `zbulk run`, which does both at once"));
    }
    Ok(kept)
}

/// Reads every archive back, and sends it only if it is what was packed.
fn send(archives: &[Kept], feed: &Feed) -> Result<()> {
    for Kept { name, path, packed } in archives {
        let archive = archive_file::read(path, packed).map_err(|unfit| not_as_packed(unfit, path))?;
        if feed.send(name.clone(), archive.into()).is_break() {
            break;
        }
    }
    Ok(())
}

fn not_as_packed(unfit: Unfit, path: &Path) -> Failure {
    let exit = match &unfit {
        Unfit::Io(error) if error.kind() != io::ErrorKind::NotFound => ExitCode::Unexpected,
        _ => ExitCode::Journal,
    };
    let context = format!("`{}` is not the archive that was packed", path.display());
    Failure::new(exit, anyhow::Error::new(unfit).context(context))
        .hint("run `zbulk pack` again: it packs anew what is missing; `zbulk verify` says what is damaged")
}

fn missing(error: EnterError, dir: &Path) -> Failure {
    match &error {
        EnterError::Lock(LockError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            nothing_packed(dir)
        }
        _ => error.into(),
    }
}

fn nothing_packed(dir: &Path) -> Failure {
    Failure::message(ExitCode::Usage, format!("nothing is packed in `{}`", dir.display()))
        .hint("run `zbulk pack` first, or name the directory with --out")
}
