//! From a job and DIR to an open journal: everything of a run before its first archive. Until the journal is created
//! nothing of the run is left behind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prep::{Chunk, Job, Prepared};

use crate::args::CommandLine;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrFail, Problem, Result};
use crate::identity;
use crate::inputs;
use crate::interrupt::{Interrupt, Signal};
use crate::journal::event::{Event, Target};
use crate::journal::state::State;
use crate::journal::{self, Dropped, Journal};
use crate::output::{count, escape};
use crate::output_dir::OutputDir;
use crate::progress::Progress;
use crate::publish::create_dir;
use crate::rejects;
use crate::report::Report;
use crate::set_aside;

/// The directory of kept archives in DIR.
pub(crate) const ARCHIVES: &str = "archives";

/// What a run is to be.
pub(crate) struct Task<'a> {
    /// The job's name.
    pub(crate) name: &'a str,
    /// Its inputs and settings.
    pub(crate) job: &'a Job,
    /// Where its archives go; `None` if they go nowhere in this process.
    pub(crate) target: Option<Target>,
    /// What to note as the target of a new run.
    pub(crate) new_target: Target,
    /// Whether an older run is set aside.
    pub(crate) restart: bool,
    /// What was typed.
    pub(crate) command_line: &'a CommandLine,
}

/// A run whose plan stands.
pub(crate) struct Session {
    /// Open, with all that is journaled of this run so far.
    pub(crate) journal: Journal,
    /// The inputs; `None` if every chunk has its `file_id`, and the inputs were looked at by their fingerprints alone.
    pub(crate) prepared: Option<Prepared>,
    /// The chunks of the plan with the journaled cuts made again; none without `prepared`.
    pub(crate) chunks: Vec<Chunk>,
}

impl Session {
    /// Checks the inputs, and opens or creates the journal. If that fails nothing in `dir` has changed.
    ///
    /// # Errors
    /// Those of the inputs; `Journal` where the directory holds another run; `Interrupted`, `Terminated`.
    pub(crate) async fn begin(
        dir: &OutputDir,
        task: Task<'_>,
        interrupt: &Interrupt,
        progress: &Arc<Progress>,
    ) -> Result<Session> {
        // Before the long scan: damage, a newer format, or another target.
        // A run that is to be set aside need not be readable.
        let old = if task.restart { None } else { open(dir, progress)? };
        if let Some(old) = &old
            && old.state().attempted
            && let Some(target) = &task.target
            && let Some(difference) = identity::target_difference(&old.state().header.target, target)
        {
            return Err(another_run(dir.path(), vec![difference]));
        }
        let old = match old {
            Some(journal) if is_done(dir.path(), &journal, &task) => {
                let (job, header, shown) =
                    (task.job.clone(), journal.state().header.clone(), Arc::clone(progress));
                let check = move || inputs::are_unchanged(&job, &header, &shown);
                if off_thread(check, interrupt, &task.command_line.typed).await? {
                    return Ok(Session { journal, prepared: None, chunks: Vec::new() });
                }
                Some(journal)
            }
            old => old,
        };
        let (job, shown) = (task.job.clone(), Arc::clone(progress));
        let scan = move || inputs::prepare(&job, &shown);
        let prepared = off_thread(scan, interrupt, &task.command_line.typed).await?;
        if task.restart && !prepared.must_stop() {
            restart(dir.path(), progress)?;
        }
        let journal = begin_or_go_on(dir, old, &task, &prepared, progress)?;
        let chunks = identity::leaves(journal.state(), &prepared)?;
        Ok(Session { journal, prepared: Some(prepared), chunks })
    }
}

/// Decides what an older journal means for this run.
fn begin_or_go_on(
    dir: &OutputDir,
    old: Option<Journal>,
    task: &Task<'_>,
    prepared: &Prepared,
    progress: &Progress,
) -> Result<Journal> {
    let header = identity::header(task.name, task.new_target.clone(), task.job, prepared);
    let differences = old.as_ref().map_or_else(Vec::new, |old| {
        identity::differences(&old.state().header, &header, task.target.as_ref())
    });
    match old {
        Some(old) if !differences.is_empty() && old.state().attempted => {
            return Err(another_run(dir.path(), differences));
        }
        _ if prepared.must_stop() => return Err(Report::of(prepared)?.failure()),
        Some(mut journal) if differences.is_empty() => {
            if !rejects::are_written(dir.path(), &journal.state().header.inputs) {
                rejects::write(dir.path(), prepared)?;
            }
            go_on(&mut journal, task.target.as_ref())?;
            return Ok(journal);
        }
        Some(old) => {
            progress.note(&format!(
                "`{}` holds a run of which nothing was sent; it is replaced, since this one differs: {}",
                dir.path().display(),
                differences.join("; ")
            ));
            remove_leavings(dir.path(), old.state())?;
        }
        None => {}
    }
    rejects::write(dir.path(), prepared)?;
    let rejected: u64 = prepared.inputs().iter().map(|input| input.rejected).sum();
    if rejected > 0 {
        progress.warn(&format!(
            "{} records are rejects and will not be sent; they are in `{}`",
            count(rejected),
            dir.path().join(rejects::DIR_NAME).display()
        ));
    }
    Ok(Journal::create(dir, header, identity::plan(prepared))?)
}

/// Sets an older run aside, and says to where.
fn restart(dir: &Path, progress: &Progress) -> Result<()> {
    let is_needed = set_aside::is_needed(dir)
        .or_fail(ExitCode::Unexpected, || format!("cannot look for a run in `{}`", dir.display()))?;
    if !is_needed {
        progress.note(&format!("--restart: there is no run in `{}` to set aside", dir.display()));
        return Ok(());
    }
    let place = set_aside::set_aside(dir)
        .or_fail(ExitCode::Unexpected, || format!("cannot set the run in `{}` aside", dir.display()))?;
    progress.note(&format!("the older run is set aside: it is in `{}` now", place.display()));
    Ok(())
}

/// Whether DIR holds the journal of a run.
pub(crate) fn is_begun(dir: &OutputDir) -> bool {
    fs::symlink_metadata(dir.path().join(journal::FILE_NAME)).is_ok()
}

/// Opens the journal, and says if its last line was lost.
///
/// # Errors
/// Those of [`Journal::open`].
pub(crate) fn open(dir: &OutputDir, progress: &Progress) -> Result<Option<Journal>> {
    let journal = Journal::open(dir)?;
    match journal.as_ref().and_then(Journal::dropped) {
        None => {}
        Some(Dropped { bytes, whole: false, .. }) => progress.note(&format!(
            "the journal's last line was cut short by a crash and is dropped: {} bytes",
            count(*bytes as u64)
        )),
        Some(Dropped { text, .. }) => progress.warn(&format!(
            "the journal's last line is damaged and is dropped: what it told did not happen as far as this run knows, \
             and a chunk that it spoke of may be sent again. It said: {}",
            escape(text)
        )),
    }
    Ok(journal)
}

/// What is journaled in a directory, without its lock.
///
/// # Errors
/// `Usage` if there is no journal; `Journal` if it is damaged.
pub(crate) fn read(dir: &Path) -> Result<State> {
    Journal::read(dir)?.ok_or_else(|| {
        Failure::message(
            ExitCode::Usage,
            format!("there is no run in `{}`: it has no journal", dir.display()),
        )
        .hint("name the job file of the run, or its directory with --out")
    })
}

/// Journals that this process goes on with the run; nothing if there is nothing left to do.
///
/// # Errors
/// Those of the journal.
pub(crate) fn go_on(journal: &mut Journal, target: Option<&Target>) -> Result<()> {
    let state = journal.state();
    if state.is_complete() && state.finished == Some(ExitCode::Done.number()) {
        return Ok(());
    }
    journal.go_on()?;
    if let Some(target) = target
        && journal.state().header.target != *target
    {
        journal.append(Event::Target { target: target.clone() })?;
    }
    Ok(())
}

/// DIR/archives, created where it is missing.
///
/// # Errors
/// `Unexpected`.
pub(crate) fn archives(dir: &Path) -> Result<PathBuf> {
    let path = dir.join(ARCHIVES);
    create_dir(&path).or_fail(ExitCode::Unexpected, || format!("cannot create `{}`", path.display()))?;
    Ok(path)
}

/// DIR holds a run that this one cannot go on with.
pub(crate) fn another_run(dir: &Path, differences: Vec<String>) -> Failure {
    let problem =
        Problem::message(format!("`{}` holds another run, of which something was sent", dir.display()))
            .details(differences)
            .hint(
                "undo the difference to go on with that run, or name another directory with --out\n\
                 `zbulk run --restart` sets that run aside, and sends everything anew",
            );
    Failure::many(ExitCode::Journal, vec![problem])
}

/// A run that was stopped by a signal.
pub(crate) fn interrupted(signal: Signal, so_far: &str, command_line: &str) -> Failure {
    let by = match signal {
        Signal::Interrupt => "Ctrl-C",
        Signal::Terminate => "SIGTERM",
    };
    Failure::message(signal.exit_code(), format!("interrupted by {by}; {so_far}"))
        .hint(run_again(command_line))
}

/// The last line of every failure after which the same command goes on.
pub(crate) fn run_again(command_line: &str) -> String {
    format!("run the same command again to go on: {command_line}")
}

/// Whether a run has ended well and has left all that it leaves, so that only its inputs are to be looked at. Standard
/// input can be read but once: it is left to the scan.
fn is_done(dir: &Path, journal: &Journal, task: &Task<'_>) -> bool {
    let state = journal.state();
    let inputs = task.job.imports.iter().flat_map(|import| {
        std::iter::once(&import.parent).chain(import.children.iter().map(|child| &child.input))
    });
    task.target.as_ref() == Some(&state.header.target)
        && state.is_complete()
        && state.finished == Some(ExitCode::Done.number())
        && rejects::are_written(dir, &state.header.inputs)
        && inputs.into_iter().all(|input| input.path != Path::new("-"))
}

/// Reads inputs on a thread of its own.
async fn off_thread<T: Send + 'static>(
    read: impl FnOnce() -> Result<T> + Send + 'static,
    interrupt: &Interrupt,
    command_line: &str,
) -> Result<T> {
    let scanned = tokio::task::spawn_blocking(read);
    tokio::select! {
        biased;
        // The scan is left to itself: it writes nothing that has a name, and the process is about to end.
        signal = interrupt.wait() => Err(interrupted(signal, "nothing was sent", command_line)),
        scanned = scanned => scanned.or_fail(ExitCode::Unexpected, || "the scan did not come to its end")?,
    }
}

/// Removes what a run that is replaced has left, by the names in its journal.
fn remove_leavings(dir: &Path, state: &State) -> Result<()> {
    let kept = state.chunks().filter(|chunk| chunk.packed.as_ref().is_some_and(|packed| packed.kept));
    for chunk in kept {
        let path = dir.join(ARCHIVES).join(chunk.name());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error)
                    .or_fail(ExitCode::Unexpected, || format!("cannot remove `{}`", path.display()));
            }
            _ => {}
        }
    }
    rejects::remove(dir, &state.header.inputs)
        .or_fail(ExitCode::Unexpected, || format!("cannot remove rejects in `{}`", dir.display()))
}
