//! `zbulk run`: check, plan, pack, upload, manifest. Run again, it goes on where it stopped.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prep::{Chunk, Packed, Prepared};
use tokio::sync::mpsc;
use upload::Client;

use crate::config;
use crate::connect::connect;
use crate::coordinator::{Coordinator, Handle, Refused};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::identity;
use crate::interrupt::Interrupt;
use crate::journal::Journal;
use crate::journal::event::{Event, PlannedChunk, Target};
use crate::journal::state::{State, UploadStatus};
use crate::pipeline::{Outcome, QUEUE, Ready, upload_all};
use crate::progress::{Activity, Amount, Progress};
use crate::publish::{create_dir, publish};
use crate::rejects;
use crate::report::Report;
use crate::runtime;
use crate::session::{Session, io_failure};
use crate::summary;

/// Where kept archives are in DIR.
pub(crate) const ARCHIVES: &str = "archives";

/// Runs the command.
pub(crate) fn execute(config: config::Run, progress: &Arc<Progress>) -> Result<ExitCode> {
    let target = identity::target(&config.destination);
    let mut session = Session::open(&config.dir)?;
    let (journal, prepared) =
        match start(&mut session, &config.name, target, &config.job, config.dry_run, progress) {
            Ok(started) => started,
            Err(failure) => {
                session.abandon();
                return Err(failure);
            }
        };
    let Some(journal) = journal else {
        let result = rehearse(&config, &prepared, progress);
        session.abandon();
        return result;
    };
    let chunks = remaining(&prepared, journal.state(), |status| status != UploadStatus::Uploaded);
    let known = journal.state().file_ids();
    let (coordinator, handle) = Coordinator::start(journal, config.dir.clone(), Arc::clone(progress))?;
    let outcome = if chunks.is_empty() {
        drop(handle);
        Ok((Outcome::default(), None))
    } else {
        begin_progress(progress, Activity::Uploading, &prepared, &chunks);
        let kept = config.keep_archives.then(|| config.dir.join(ARCHIVES));
        let (destination, pace, dir) = (config.destination, config.pace, &config.dir);
        runtime::block_on(async {
            let interrupt = Interrupt::install(Arc::clone(progress))
                .map_err(|error| Failure::new(ExitCode::Unexpected, error))?;
            let concurrency = pace.concurrency;
            let connection = connect(destination, pace, dir).await?;
            let reporter: Arc<dyn upload::Reporter> = Arc::clone(progress) as Arc<dyn upload::Reporter>;
            let client = Arc::new(Client::new(connection.config, reporter).map_err(Failure::from)?);
            client.remember(known);
            let (queue, archives) = mpsc::channel(QUEUE);
            let packing =
                spawn_packing(Arc::clone(&prepared), chunks, handle.clone(), kept, Some(queue), progress)?;
            let outcome = upload_all(archives, client, handle, concurrency, interrupt).await;
            let packed = tokio::task::spawn_blocking(move || packing.join())
                .await
                .map_err(|error| Failure::new(ExitCode::Unexpected, error))?;
            if let Some(sandbox) = connection.sandbox {
                sandbox.stop().await;
            }
            let packed = packed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((outcome, packed.err()))
        })
    };
    finish(coordinator, outcome, &config.dir, &config.output, progress)
}

/// Prepares the inputs and opens the run's journal; no journal for a dry run.
pub(crate) fn start(
    session: &mut Session,
    name: &str,
    target: Target,
    job: &prep::Job,
    dry_run: bool,
    progress: &Arc<Progress>,
) -> Result<(Option<Journal>, Arc<Prepared>)> {
    let prepared = prepare(job, progress)?;
    if dry_run {
        return Ok((None, Arc::new(prepared)));
    }
    let header = identity::header(name, target, job, &prepared);
    let journal = session.begin(header, identity::plan(job, &prepared), progress)?;
    let rejected = rejects::write(&job.settings.spill_dir, &prepared)?;
    if rejected > 0 {
        progress.warn(&format!(
            "{rejected} records are rejects and will not be sent; they are in {}",
            job.settings.spill_dir.join(rejects::DIR_NAME).display()
        ));
    }
    Ok((Some(journal), Arc::new(prepared)))
}

/// Scans, relates and plans; everything that is wrong is the failure.
pub(crate) fn prepare(job: &prep::Job, progress: &Progress) -> Result<Prepared> {
    let inputs = job.imports.iter().flat_map(|import| {
        std::iter::once(&import.parent).chain(import.children.iter().map(|child| &child.input))
    });
    // Only for the bar: what cannot be asked is told by the scan.
    let bytes = inputs.map(|input| std::fs::metadata(&input.path).map_or(0, |metadata| metadata.len())).sum();
    progress.scanning(bytes);
    let prepared = prep::prepare(job, progress)?;
    for warning in prepared.warnings() {
        let path = prepared.inputs()[warning.input].path.display().to_string();
        progress.warn(&format!("{path}: {}", warning.message));
    }
    if prepared.must_stop() {
        return Err(Report::of(&prepared)?.failure());
    }
    Ok(prepared)
}

/// The chunks whose upload stands so, cuts of the journal applied.
pub(crate) fn remaining(
    prepared: &Prepared,
    state: &State,
    wanted: impl Fn(UploadStatus) -> bool,
) -> Vec<Chunk> {
    let mut stack: Vec<Chunk> = prepared.plan().chunks().iter().rev().cloned().collect();
    let mut remaining = Vec::new();
    while let Some(chunk) = stack.pop() {
        if state.cuts.contains_key(&chunk.name) {
            let [first, second] =
                prepared.cut(&chunk).expect("invariant: what was cut once can be cut again");
            stack.extend([second, first]);
        } else if state.chunk(&chunk.name).is_none_or(|chunk| wanted(chunk.upload.state)) {
            remaining.push(chunk);
        }
    }
    remaining
}

/// Tells the bar what is to be done and what is done already.
pub(crate) fn begin_progress(
    progress: &Progress,
    activity: Activity,
    prepared: &Prepared,
    remaining: &[Chunk],
) {
    let amount = |chunks: &[Chunk]| Amount {
        chunks: chunks.len() as u64,
        records: chunks.iter().flat_map(|chunk| &chunk.entries).map(|entry| entry.records).sum(),
        csv_bytes: chunks.iter().flat_map(|chunk| &chunk.entries).map(|entry| entry.csv_bytes).sum(),
    };
    let (total, left) = (amount(prepared.plan().chunks()), amount(remaining));
    let done = Amount {
        chunks: total.chunks.saturating_sub(left.chunks),
        records: total.records.saturating_sub(left.records),
        csv_bytes: total.csv_bytes.saturating_sub(left.csv_bytes),
    };
    progress.sending(activity, total, done);
}

type Packing = std::thread::JoinHandle<std::result::Result<(), Failure>>;

/// Packs on threads of its own: each archive is journaled, kept if asked, and put into the queue, which may block.
pub(crate) fn spawn_packing(
    prepared: Arc<Prepared>,
    chunks: Vec<Chunk>,
    handle: Handle,
    kept: Option<PathBuf>,
    queue: Option<mpsc::Sender<Ready>>,
    progress: &Arc<Progress>,
) -> Result<Packing> {
    if let Some(dir) = &kept {
        create_dir(dir).map_err(|error| io_failure(error, "create", dir))?;
    }
    let progress = Arc::clone(progress);
    let work = move || {
        let failure = std::sync::Mutex::new(None);
        let sink = |packed| match take(packed, &handle, kept.as_deref(), queue.as_ref()) {
            Ok(flow) => flow,
            Err(error) => {
                failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                ControlFlow::Break(())
            }
        };
        prep::pack(&prepared, &chunks, &sink, &*progress)?;
        match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    };
    std::thread::Builder::new()
        .name("packing".to_owned())
        .spawn(work)
        .map_err(|error| Failure::new(ExitCode::Unexpected, error))
}

fn take(
    packed: Packed,
    handle: &Handle,
    kept: Option<&Path>,
    queue: Option<&mpsc::Sender<Ready>>,
) -> Result<ControlFlow<()>> {
    let archive = match packed {
        Packed::Archive(archive) => archive,
        Packed::Cut { chunk, parts } => {
            let parts = parts.iter().map(PlannedChunk::from).collect();
            return Ok(flow(&handle.append_blocking(Event::Cut { chunk: chunk.name, parts })));
        }
    };
    if let Some(dir) = kept {
        let path = dir.join(&archive.name);
        publish(&path, &archive.bytes).map_err(|error| io_failure(error, "write", &path))?;
    }
    let event = Event::Packed {
        chunk: archive.name.clone(),
        archive_bytes: archive.bytes.len() as u64,
        archive_sha256: archive.sha256,
        entries: archive.entries,
        kept: kept.is_some(),
    };
    if handle.append_blocking(event).is_err() {
        return Ok(ControlFlow::Break(()));
    }
    let ready = Ready { name: archive.name, bytes: Bytes::from(archive.bytes) };
    // A closed queue means stop.
    Ok(match queue {
        Some(queue) if queue.blocking_send(ready).is_err() => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
}

fn flow<T>(answer: &std::result::Result<T, Refused>) -> ControlFlow<()> {
    if answer.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Everything up to the network call: all archives are built, and none is sent or kept.
fn rehearse(config: &config::Run, prepared: &Arc<Prepared>, progress: &Arc<Progress>) -> Result<ExitCode> {
    let header = identity::header(&config.name, identity::target(&config.destination), &config.job, prepared);
    let dir = tempfile::tempdir().map_err(|error| Failure::new(ExitCode::Unexpected, error))?;
    let journal = Journal::create(dir.path(), header, identity::plan(&config.job, prepared))
        .map_err(crate::session::journal_failure)?;
    let chunks = prepared.plan().chunks().to_vec();
    begin_progress(progress, Activity::Packing, prepared, &chunks);
    let (coordinator, handle) = Coordinator::start(journal, dir.path().to_owned(), Arc::clone(progress))?;
    let packing = spawn_packing(Arc::clone(prepared), chunks, handle, None, None, progress)?;
    let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let (journal, failure) = coordinator.join();
    if let Some(failure) = failure.or(packed.err()) {
        return Err(failure);
    }
    progress.finish();
    progress.note("a dry run: nothing was sent, nothing is left behind");
    summary::print(journal.state(), &config.output)?;
    Ok(ExitCode::Done)
}

/// Ends a run: the exit code is journaled, the manifest published, the result printed, and the failure returned.
///
/// `outcome` is what the uploads came to, and what packing failed with.
pub(crate) fn finish(
    coordinator: Coordinator,
    outcome: Result<(Outcome, Option<Failure>)>,
    dir: &Path,
    output: &config::Output,
    progress: &Progress,
) -> Result<ExitCode> {
    let (mut journal, journal_failure) = coordinator.join();
    let (outcome, failure) = match outcome {
        Ok((outcome, packing_failure)) => (outcome, packing_failure),
        Err(failure) => (Outcome::default(), Some(failure)),
    };
    let Outcome { failure: upload_failure, failed_chunks, signal } = outcome;
    let failure = journal_failure.or(failure).or(upload_failure);
    let exit = match (&failure, signal) {
        (Some(failure), _) => failure.exit(),
        (None, Some(signal)) => signal.exit_code(),
        (None, None) if failed_chunks > 0 => ExitCode::Refused,
        (None, None) => ExitCode::Done,
    };
    progress.finish();
    if !journal.is_broken() {
        // Where this fails the run's own failure is the one to tell, if there is one.
        let closed =
            journal.append(Event::Finished { exit: exit.number() }).map_err(crate::session::journal_failure);
        let closed = closed.and_then(|()| {
            crate::manifest::write(dir, journal.state())
                .map_err(|error| io_failure(error, "write the manifest in", dir))
        });
        if failure.is_none() {
            closed?;
        }
    }
    summary::print(journal.state(), output)?;
    let go_on = format!("run the same command again to go on: {}", output.command_line);
    if let Some(failure) = failure {
        return Err(failure.hint_more(&go_on));
    }
    if signal.is_some() {
        progress.warn("interrupted; what was reported is safe");
    } else if exit == ExitCode::Refused {
        progress.warn(&format!(
            "{failed_chunks} chunks were refused; the reasons are above and in {}",
            dir.join(crate::journal::FILE_NAME).display()
        ));
    }
    if exit != ExitCode::Done {
        progress.warn(&go_on);
    }
    Ok(exit)
}
