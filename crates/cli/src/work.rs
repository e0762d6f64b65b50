//! The second half of a run: from an open journal to the exit code. The same for `run`, `pack` and `upload`, which
//! differ in who builds the archives and where they go.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use upload::sandbox::Sandbox;

use crate::config::Output;
use crate::coordinator::{Coordinator, Ended, amount, problems};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrFail, Result};
use crate::interrupt::Interrupt;
use crate::journal::Journal;
use crate::journal::state::{ChunkState, State};
use crate::output::{Paint, count};
use crate::pipeline::{Feed, Known, Onward, Pipeline};
use crate::progress::{Activity, Amount, Progress};
use crate::session::{interrupted, run_again};
use crate::summary;

/// What shall have become of every chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// It has its `file_id`.
    Uploaded,
    /// Its archive is kept.
    Kept,
    /// Its archive was built.
    Built,
}

/// What is to be done with an open journal.
pub(crate) struct Work<'a> {
    /// DIR.
    pub(crate) dir: &'a Path,
    /// That of the run.
    pub(crate) journal: Journal,
    /// What shall be reached.
    pub(crate) goal: Goal,
    /// Where archives are kept, if they are.
    pub(crate) keep: Option<PathBuf>,
    /// Where archives go.
    pub(crate) onward: Onward,
    /// To be stopped in the end.
    pub(crate) sandbox: Option<Sandbox>,
    /// May end it before its end.
    pub(crate) interrupt: &'a Interrupt,
    /// Shows it.
    pub(crate) progress: &'a Arc<Progress>,
    /// How the result is shown.
    pub(crate) output: &'a Output,
}

/// Hears the first signals.
///
/// # Errors
/// `Unexpected`.
pub(crate) fn listen(progress: &Arc<Progress>, output: &Output) -> Result<Interrupt> {
    let (shown, paint) = (Arc::clone(progress), Paint(output.color_stderr));
    let command_line = output.command_line.onward.clone();
    let last_words = move |signal| {
        shown.finish();
        interrupted(signal, "left at once, with what was in flight", &command_line).report(paint);
    };
    Interrupt::install(Arc::clone(progress), last_words)
        .or_fail(ExitCode::Unexpected, || "cannot listen for signals")
}

impl Goal {
    /// Whether a chunk is where it shall be.
    pub(crate) fn is_reached(self, chunk: &ChunkState) -> bool {
        match self {
            Goal::Uploaded => chunk.file_id().is_some(),
            Goal::Kept => chunk.packed.as_ref().is_some_and(|packed| packed.kept),
            Goal::Built => chunk.packed.is_some(),
        }
    }

    fn activity(self) -> Activity {
        match self {
            Goal::Uploaded => Activity::Uploading,
            Goal::Kept | Goal::Built => Activity::Packing,
        }
    }

    /// How far a run came, for people.
    fn progress(self, state: &State) -> String {
        let (done, all) = (self.sum(state).1.chunks, self.sum(state).0.chunks);
        let what = match self {
            Goal::Uploaded => "have their file_id",
            Goal::Kept => "are packed",
            Goal::Built => "were built",
        };
        format!("{} of {} chunks {what}", count(done), count(all))
    }

    /// All chunks, and those that are where they shall be.
    fn sum(self, state: &State) -> (Amount, Amount) {
        let (mut all, mut done) = (Amount::default(), Amount::default());
        for chunk in state.chunks() {
            all.add(amount(chunk));
            if self.is_reached(chunk) {
                done.add(amount(chunk));
            }
        }
        (all, done)
    }
}

impl Work<'_> {
    /// Does it, publishes and prints the result, and says how it ended.
    ///
    /// # Errors
    /// The first thing that ended the run before its end, else what is wrong with chunks.
    pub(crate) async fn run(
        self,
        produce: impl FnOnce(&Feed) -> Result<()> + Send + 'static,
    ) -> Result<ExitCode> {
        let Work { dir, journal, goal, keep, onward, sandbox, interrupt, progress, output } = self;
        let known = Known::of(journal.state());
        let (total, done) = goal.sum(journal.state());
        let (coordinator, owner) = Coordinator::start(journal, dir.to_owned(), Arc::clone(progress), goal)?;
        progress.sending(goal.activity(), total, done);
        let pipeline = Pipeline {
            coordinator: coordinator.clone(),
            progress: Arc::clone(progress),
            keep,
            known,
            onward,
            interrupt: interrupt.clone(),
        };
        pipeline.run(produce).await;
        let ended = coordinator.finish(owner, interrupt.raised()).await?;
        if let Some(sandbox) = sandbox {
            sandbox.stop().await;
        }
        progress.finish();
        report(ended, goal, output)
    }
}

/// Prints the result of a run and says how it ended.
///
/// # Errors
/// As [`Work::run`].
pub(crate) fn report(ended: Ended, goal: Goal, output: &Output) -> Result<ExitCode> {
    let Ended { state, exit, signal, failure, failed } = ended;
    let so_far = state.as_ref().map(|state| goal.progress(state)).unwrap_or_default();
    let printed = state.map_or(Ok(()), |state| summary::print(&state, output.json));
    let command_line = &output.command_line.onward;
    match (failure, signal) {
        (Some(failure), _) => Err(failure.hint_more(&run_again(command_line))),
        (None, Some(signal)) => Err(interrupted(signal, &so_far, command_line)),
        (None, None) if !failed.is_empty() => {
            Err(Failure::many(exit, problems(failed)).hint_more(&run_again(command_line)))
        }
        (None, None) => printed.map(|()| exit),
    }
}
