//! The one owner of a run: appends every event to the journal, and only once it is durable does anybody hear of it.
//!
//! It lives on a thread of its own, since every event waits for the disk. Everybody else holds a [`Coordinator`], a
//! handle to it, and waits for its verdict. It keeps the first cause of failure, and publishes the manifest.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prep::Archive;
use tokio::sync::{oneshot, watch};
use upload::{BoxFuture, Refused, Uploaded, Witness};

use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrFail, Problem, Result};
use crate::interrupt::Signal;
use crate::journal::event::{Event, PlannedChunk};
use crate::journal::state::{ChunkState, State, UploadStatus};
use crate::journal::{Journal, JournalError};
use crate::manifest::Manifest;
use crate::progress::{Amount, Progress};
use crate::work::Goal;

#[cfg(test)]
mod tests;

/// How often the manifest is published at most while the run goes on.
const PUBLISH_EVERY: Duration = Duration::from_secs(5);

/// A handle to the owner of the run.
#[derive(Debug, Clone)]
pub(crate) struct Coordinator {
    mailbox: mpsc::Sender<Letter>,
    phase: watch::Receiver<Phase>,
}

/// How the run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// All is well, or some chunks failed.
    Running,
    /// Nothing new is begun; what is on the wire may come to its end.
    Draining,
    /// Nothing can be recorded any more: what is on the wire is best given up.
    Broken,
}

/// What to do after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is durable; go on.
    GoOn,
    /// Begin nothing more.
    Stop,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What is durable; `None` if that cannot be told after a failure to write.
    pub(crate) state: Option<State>,
    /// What the process is to end with.
    pub(crate) exit: ExitCode,
    /// What stopped the run before it had reached its goal, if that was a signal.
    pub(crate) signal: Option<Signal>,
    /// The first thing that ended the run before its end.
    pub(crate) failure: Option<Failure>,
    /// Chunks that got no `file_id` in this process, by name, each with its reason.
    pub(crate) failed: BTreeMap<String, upload::Error>,
}

/// The thread of the owner.
#[derive(Debug)]
pub(crate) struct Owner(JoinHandle<Ended>);

struct Letter {
    message: Message,
    reply: oneshot::Sender<Verdict>,
}

enum Message {
    Cut { chunk: String, parts: Box<[PlannedChunk; 2]> },
    Packed { event: Event, amount: Amount },
    Attempt { chunk: String, attempt: u32 },
    Ambiguous { chunk: String, attempt: u32 },
    Outcome { chunk: String, outcome: std::result::Result<Uploaded, Box<upload::Error>> },
    Fail(Failure),
    Drain,
    Finish { signal: Option<Signal> },
}

impl Coordinator {
    /// Starts the owner of a run; from now on nobody else touches its journal and its manifest.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(crate) fn start(
        journal: Journal,
        dir: PathBuf,
        progress: Arc<Progress>,
        goal: Goal,
    ) -> Result<(Coordinator, Owner)> {
        let (mailbox, letters) = mpsc::channel();
        let (phase, phases) = watch::channel(Phase::Running);
        let failed = BTreeMap::new();
        let desk = Desk { journal, dir, progress, goal, phase, failure: None, failed, stale: true };
        let thread = std::thread::Builder::new()
            .name("coordinator".to_owned())
            .spawn(move || desk.work(&letters))
            .or_fail(ExitCode::Unexpected, || "cannot start a thread")?;
        Ok((Coordinator { mailbox, phase: phases }, Owner(thread)))
    }

    /// A chunk is replaced by its two parts. Blocks.
    pub(crate) fn cut(&self, chunk: &prep::Chunk, parts: &[prep::Chunk; 2]) -> Verdict {
        let parts = Box::new([PlannedChunk::from(&parts[0]), PlannedChunk::from(&parts[1])]);
        self.ask_blocking(Message::Cut { chunk: chunk.name.clone(), parts })
    }

    /// An archive is built and, if it is kept, durable under its name. Blocks.
    pub(crate) fn packed(&self, archive: &Archive, kept: bool) -> Verdict {
        let amount = Amount {
            chunks: 1,
            records: archive.entries.iter().map(|entry| entry.records).sum(),
            csv_bytes: archive.entries.iter().map(|entry| entry.csv_bytes).sum(),
        };
        let event = Event::Packed {
            chunk: archive.name.clone(),
            archive_bytes: archive.bytes.len() as u64,
            archive_sha256: archive.sha256.clone(),
            entries: archive.entries.clone(),
            kept,
        };
        self.ask_blocking(Message::Packed { event, amount })
    }

    /// What came of a chunk's upload.
    pub(crate) async fn outcome(
        &self,
        chunk: String,
        outcome: std::result::Result<Uploaded, upload::Error>,
    ) -> Verdict {
        self.ask(Message::Outcome { chunk, outcome: outcome.map_err(Box::new) }).await
    }

    /// Something failed elsewhere in the run: the first such thing is kept, and nothing new is begun.
    pub(crate) async fn fail(&self, failure: Failure) {
        self.ask(Message::Fail(failure)).await;
    }

    /// Nothing new is begun from now on.
    pub(crate) async fn drain(&self) {
        self.ask(Message::Drain).await;
    }

    /// How the run goes now.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the run goes on in a worse way than `than`; for ever if it never does.
    pub(crate) async fn worse(&self, than: Phase) -> Phase {
        let mut phase = self.phase.clone();
        match phase.wait_for(|&phase| phase > than).await {
            Ok(phase) => *phase,
            // The owner is gone, and with it the journal.
            Err(_) => Phase::Broken,
        }
    }

    /// Ends the run: its last event and its last manifest are durable on return. A signal that came when the goal was
    /// reached all the same has stopped nothing.
    pub(crate) async fn finish(self, owner: Owner, signal: Option<Signal>) -> Result<Ended> {
        self.ask(Message::Finish { signal }).await;
        // It has answered, or is gone already: this does not wait for long.
        owner.0.join().map_err(|_| Failure::message(ExitCode::Unexpected, "the coordinator panicked"))
    }

    async fn ask(&self, message: Message) -> Verdict {
        match self.post(message) {
            Some(reply) => reply.await.unwrap_or(Verdict::Stop),
            None => Verdict::Stop,
        }
    }

    fn ask_blocking(&self, message: Message) -> Verdict {
        match self.post(message) {
            Some(reply) => reply.blocking_recv().unwrap_or(Verdict::Stop),
            None => Verdict::Stop,
        }
    }

    /// `None` if the owner is gone. Whoever posts waits for the reply, which bounds the mailbox.
    fn post(&self, message: Message) -> Option<oneshot::Receiver<Verdict>> {
        let (reply, verdict) = oneshot::channel();
        self.mailbox.send(Letter { message, reply }).ok()?;
        Some(verdict)
    }
}

impl Witness for Coordinator {
    fn attempt<'a>(
        &'a self,
        archive: &'a str,
        attempt: u32,
    ) -> BoxFuture<'a, std::result::Result<(), Refused>> {
        self.testify(Message::Attempt { chunk: archive.to_owned(), attempt })
    }

    fn ambiguous<'a>(
        &'a self,
        archive: &'a str,
        attempt: u32,
    ) -> BoxFuture<'a, std::result::Result<(), Refused>> {
        self.testify(Message::Ambiguous { chunk: archive.to_owned(), attempt })
    }
}

impl Coordinator {
    fn testify(&self, message: Message) -> BoxFuture<'_, std::result::Result<(), Refused>> {
        Box::pin(async move {
            match self.ask(message).await {
                Verdict::GoOn => Ok(()),
                Verdict::Stop => Err(Refused),
            }
        })
    }
}

/// What the owner has on its desk.
struct Desk {
    journal: Journal,
    dir: PathBuf,
    progress: Arc<Progress>,
    goal: Goal,
    phase: watch::Sender<Phase>,
    failure: Option<Failure>,
    failed: BTreeMap<String, upload::Error>,
    /// Whether anything has happened since the last manifest.
    stale: bool,
}

impl Desk {
    fn work(mut self, letters: &mpsc::Receiver<Letter>) -> Ended {
        self.publish();
        let mut published = Instant::now();
        loop {
            let letter = if self.stale {
                letters.recv_timeout(PUBLISH_EVERY.saturating_sub(published.elapsed()))
            } else {
                letters.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match letter {
                Ok(Letter { message: Message::Finish { signal }, reply }) => {
                    return self.finish(signal, reply);
                }
                Ok(Letter { message, reply }) => {
                    let verdict = self.handle(message);
                    answer(reply, verdict);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(None),
            }
            if self.stale && published.elapsed() >= PUBLISH_EVERY {
                self.publish();
                published = Instant::now();
            }
        }
    }

    fn handle(&mut self, message: Message) -> Verdict {
        let draining = *self.phase.borrow() != Phase::Running;
        match message {
            Message::Cut { chunk, parts } => {
                if !self.append(Event::Cut { chunk, parts: *parts }) {
                    return Verdict::Stop;
                }
                self.progress.recut(1);
            }
            Message::Packed { event, amount } => {
                if !self.append(event) {
                    return Verdict::Stop;
                }
                self.progress.packed(amount);
            }
            Message::Attempt { .. } if draining => return Verdict::Stop,
            Message::Attempt { chunk, attempt } => {
                if !self.append(Event::Attempt { chunk, attempt }) {
                    return Verdict::Stop;
                }
            }
            Message::Ambiguous { chunk, attempt } => {
                // Recorded also while draining; the next attempt is what is refused then.
                if !self.append(Event::Ambiguous { chunk, attempt }) {
                    return Verdict::Stop;
                }
            }
            Message::Outcome { chunk, outcome: Ok(uploaded) } => self.uploaded(chunk, uploaded),
            Message::Outcome { chunk, outcome: Err(error) } => self.not_uploaded(chunk, *error),
            Message::Fail(failure) => self.fail(failure),
            Message::Drain | Message::Finish { .. } => self.enter(Phase::Draining),
        }
        if *self.phase.borrow() == Phase::Running { Verdict::GoOn } else { Verdict::Stop }
    }

    fn uploaded(&mut self, chunk: String, uploaded: Uploaded) {
        let file_id = uploaded.file_id.as_str().to_owned();
        let elapsed_ms = millis(uploaded.elapsed);
        if self.journal.state().has_file_id(&file_id) {
            // The archive is at the server, but under a name that is another's: nobody may refer to it.
            let reason = format!("the server gave it the file_id `{file_id}`, which another chunk has");
            let recorded = self.append(Event::Ambiguous { chunk: chunk.clone(), attempt: uploaded.attempts })
                && self.append(Event::Failed {
                    chunk: chunk.clone(),
                    reason: reason.clone(),
                    http_status: Some(uploaded.http_status),
                    code: Some(uploaded.code),
                    attempts: uploaded.attempts,
                    elapsed_ms,
                });
            if recorded {
                self.failed_chunk(chunk, duplicate(reason));
            }
            return;
        }
        let event = Event::Uploaded {
            chunk: chunk.clone(),
            file_id,
            created_time: uploaded.created_time,
            http_status: uploaded.http_status,
            code: uploaded.code,
            attempts: uploaded.attempts,
            elapsed_ms,
        };
        if self.append(event)
            && let Some(chunk) = self.journal.state().chunk(&chunk)
        {
            self.progress.finished(amount(chunk));
        }
    }

    fn not_uploaded(&mut self, chunk: String, error: upload::Error) {
        use upload::ErrorKind as Kind;
        let unresolved =
            self.journal.state().chunk(&chunk).is_some_and(|chunk| chunk.status() == UploadStatus::Unknown);
        if unresolved {
            let event = Event::Failed {
                chunk: chunk.clone(),
                reason: reason(&error),
                http_status: error.http_status,
                code: error.code.clone(),
                attempts: error.attempts,
                elapsed_ms: millis(error.elapsed),
            };
            if !self.append(event) {
                return;
            }
        }
        match error.kind {
            Kind::ChunkRefused => self.failed_chunk(chunk, error),
            // After attempts of its own: the others may fare better. If they do not, they are refused without any.
            Kind::Stopped { .. } if error.attempts > 0 => self.failed_chunk(chunk, error),
            Kind::Witness => self.enter(Phase::Draining),
            Kind::Stopped { .. } | Kind::RunRefused | Kind::Auth | Kind::Config | Kind::Io => {
                self.fail(error.into());
            }
        }
    }

    fn failed_chunk(&mut self, chunk: String, error: upload::Error) {
        self.progress.failed_chunk();
        self.failed.insert(chunk, error);
    }

    /// Appends an event; `false` if that failed, and then the run is broken.
    fn append(&mut self, event: Event) -> bool {
        match self.journal.append(event) {
            Ok(()) => {
                self.stale = true;
                true
            }
            Err(error) => {
                // After the first failure each further append only says that there was one.
                if !matches!(error, JournalError::Broken { .. }) || self.failure.is_none() {
                    self.fail(error.into());
                }
                self.enter(Phase::Broken);
                false
            }
        }
    }

    /// Keeps the first failure.
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
        self.enter(Phase::Draining);
    }

    /// Phases only get worse.
    fn enter(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let worse = next > *phase;
            *phase = next.max(*phase);
            worse
        });
    }

    fn publish(&mut self) {
        self.stale = false;
        if *self.phase.borrow() == Phase::Broken {
            // The state may hold what is not durable; the last manifest is made of what is.
            return;
        }
        if let Err(error) = Manifest::new(self.journal.state()).publish(&self.dir) {
            self.fail(cannot_publish(&self.dir, error));
        }
    }

    fn finish(mut self, signal: Option<Signal>, reply: oneshot::Sender<Verdict>) -> Ended {
        let signal =
            signal.filter(|_| !self.journal.state().chunks().all(|chunk| self.goal.is_reached(chunk)));
        if *self.phase.borrow() != Phase::Broken {
            let exit = self.exit_code(signal).number();
            // Where nothing happened since the process before ended alike, there is nothing to record.
            if self.journal.state().finished != Some(exit) {
                self.append(Event::Finished { exit });
            }
        }
        let ended = self.end(signal);
        answer(reply, Verdict::Stop);
        ended
    }

    /// The last manifest, of what is durable.
    fn end(mut self, signal: Option<Signal>) -> Ended {
        let exit = self.exit_code(signal);
        let Desk { journal, dir, failed, .. } = self;
        let state = match journal.durable_state() {
            Ok(state) => {
                if let Err(error) = Manifest::new(&state).publish(&dir) {
                    self.failure.get_or_insert(cannot_publish(&dir, error));
                }
                Some(state)
            }
            Err(error) => {
                self.failure.get_or_insert(error.into());
                None
            }
        };
        let exit = self.failure.as_ref().map_or(exit, Failure::exit);
        Ended { state, exit, signal, failure: self.failure, failed }
    }

    /// What ended the run before its end, else the worst that became of a chunk.
    fn exit_code(&self, signal: Option<Signal>) -> ExitCode {
        let refused = |error: &upload::Error| error.kind == upload::ErrorKind::ChunkRefused;
        match (&self.failure, signal) {
            (Some(failure), _) => failure.exit(),
            (None, Some(signal)) => signal.exit_code(),
            (None, None) if self.failed.values().any(refused) => ExitCode::Refused,
            (None, None) if !self.failed.is_empty() => ExitCode::Stopped,
            (None, None) => ExitCode::Done,
        }
    }
}

fn answer(reply: oneshot::Sender<Verdict>, verdict: Verdict) {
    if reply.send(verdict).is_err() {
        tracing::debug!("who asked was given up meanwhile; what it said counts all the same");
    }
}

/// One problem for each of the first chunks that failed.
pub(crate) fn problems(failed: BTreeMap<String, upload::Error>) -> Vec<Problem> {
    const MOST: usize = 10;
    let more = failed.len().saturating_sub(MOST);
    let mut problems: Vec<Problem> = failed
        .into_iter()
        .take(MOST)
        .map(|(chunk, mut error)| {
            let hint = error.hint.take();
            let problem =
                Problem::new(anyhow::Error::new(error).context(format!("`{chunk}` has no file_id")));
            match hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            }
        })
        .collect();
    if more > 0 {
        problems.push(Problem::message(format!(
            "{more} chunks more have no file_id; the manifest has their reasons"
        )));
    }
    problems
}

/// What is in a chunk.
pub(crate) fn amount(chunk: &ChunkState) -> Amount {
    Amount { chunks: 1, records: chunk.records(), csv_bytes: chunk.csv_bytes() }
}

fn cannot_publish(dir: &Path, error: io::Error) -> Failure {
    let context = format!("cannot publish the manifest in `{}`", dir.display());
    Failure::new(ExitCode::Unexpected, anyhow::Error::new(error).context(context))
        .hint("what is uploaded stands in the journal, and the next run publishes it")
}

/// All layers of an error in one line.
fn reason(error: &upload::Error) -> String {
    let layers = std::iter::successors(Some(error as &dyn std::error::Error), |layer| layer.source());
    layers.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn duplicate(message: String) -> upload::Error {
    upload::Error {
        kind: upload::ErrorKind::ChunkRefused,
        message,
        hint: Some("run it again: the archive is then sent anew".to_owned()),
        http_status: None,
        code: None,
        attempts: 0,
        elapsed: Duration::ZERO,
        possible_orphans: 0,
        source: None,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
