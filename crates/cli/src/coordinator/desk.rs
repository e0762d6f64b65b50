//! The owner's desk: what it does with each message, and how it ends a run.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use upload::Uploaded;

use super::{Ended, Letter, Message, Phase, Verdict, amount};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::interrupt::Signal;
use crate::journal::event::Event;
use crate::journal::state::UploadStatus;
use crate::journal::{Journal, JournalError};
use crate::manifest::Manifest;
use crate::progress::Progress;
use crate::work::Goal;

/// How often the manifest is published at most while the run goes on.
const PUBLISH_EVERY: Duration = Duration::from_secs(5);

/// What the owner has on its desk.
pub(super) struct Desk {
    pub(super) journal: Journal,
    pub(super) dir: PathBuf,
    pub(super) progress: Arc<Progress>,
    pub(super) goal: Goal,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) failure: Option<Failure>,
    pub(super) failed: BTreeMap<String, upload::Error>,
    /// Whether anything has happened since the last manifest.
    pub(super) stale: bool,
}

impl Desk {
    pub(super) fn work(mut self, letters: &mpsc::Receiver<Letter>) -> Ended {
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
    pub(super) fn append(&mut self, event: Event) -> bool {
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

    pub(super) fn publish(&mut self) {
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
    pub(super) fn end(mut self, signal: Option<Signal>) -> Ended {
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
