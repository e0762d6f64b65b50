//! The one owner of a run: appends every event to the journal, and only once it is durable does anybody hear of it.
//!
//! It lives on a thread of its own, since every event waits for the disk. Everybody else holds a [`Coordinator`], a
//! handle to it, and waits for its verdict. It keeps the first cause of failure, and publishes the manifest.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use desk::Desk;
use prep::Archive;
use tokio::sync::{oneshot, watch};
use upload::{BoxFuture, Refused, Uploaded, Witness};

use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrFail, Problem, Result};
use crate::interrupt::Signal;
use crate::journal::Journal;
use crate::journal::event::{Event, PlannedChunk};
use crate::journal::state::{ChunkState, State};
use crate::progress::{Amount, Progress};
use crate::work::Goal;

mod desk;
#[cfg(test)]
mod tests;

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
