//! The one owner of a run: it alone appends to the journal, and what it has appended is durable before anybody hears
//! of it.
//!
//! It works on a thread of its own, since a sync blocks. Workers send it events and wait for its word. After the
//! first failure it refuses everything: the run then ends, and the first cause is what is reported.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::journal::Journal;
use crate::journal::event::Event;
use crate::manifest;
use crate::progress::{Amount, Progress};

/// Events that may wait for the journal. Each sender waits for its answer, so there are never more than workers.
const QUEUE: usize = 64;

/// How often the manifest is published while the run goes on.
const PUBLISH_EVERY: Duration = Duration::from_secs(5);

/// The owner says no: the journal cannot be written, or the run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// What became of a chunk that the server gave a `file_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It is durable.
    Recorded,
    /// Another chunk has this `file_id`: the chunk is recorded as failed.
    Duplicate,
}

struct Request {
    event: Event,
    answer: oneshot::Sender<Result<Accepted, Refused>>,
}

/// Sends events to the owner. Clones talk to the same one.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    requests: mpsc::Sender<Request>,
}

/// The owner's thread.
#[derive(Debug)]
pub(crate) struct Coordinator {
    thread: JoinHandle<Owner>,
}

#[derive(Debug)]
struct Owner {
    journal: Journal,
    dir: PathBuf,
    progress: Arc<Progress>,
    published: Instant,
    failure: Option<Failure>,
}

impl Coordinator {
    /// Starts the owner of a journal in DIR, and publishes the first manifest.
    ///
    /// # Errors
    /// Where the manifest cannot be written or the thread not be started.
    pub(crate) fn start(
        journal: Journal,
        dir: PathBuf,
        progress: Arc<Progress>,
    ) -> Result<(Coordinator, Handle), Failure> {
        let mut owner = Owner { journal, dir, progress, published: Instant::now(), failure: None };
        owner.publish().map_err(|error| owner.publish_failure(error))?;
        let (requests, inbox) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("coordinator".to_owned())
            .spawn(move || owner.work(inbox))
            .map_err(|error| Failure::new(ExitCode::Unexpected, error))?;
        Ok((Coordinator { thread }, Handle { requests }))
    }

    /// Waits until every handle is gone; then gives the journal, and the first failure if there was one.
    ///
    /// # Panics
    /// If the owner has.
    pub(crate) fn join(self) -> (Journal, Option<Failure>) {
        let owner = self.thread.join().expect("invariant: the coordinator does not panic");
        (owner.journal, owner.failure)
    }
}

impl Handle {
    /// Appends an event; durable on return.
    ///
    /// # Errors
    /// `Refused` after the first failure.
    pub(crate) async fn append(&self, event: Event) -> Result<Accepted, Refused> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { event, answer }).await.map_err(|_| Refused)?;
        answered.await.map_err(|_| Refused)?
    }

    /// The same from a thread that may block.
    ///
    /// # Errors
    /// `Refused` after the first failure.
    pub(crate) fn append_blocking(&self, event: Event) -> Result<Accepted, Refused> {
        let (answer, answered) = oneshot::channel();
        self.requests.blocking_send(Request { event, answer }).map_err(|_| Refused)?;
        answered.blocking_recv().map_err(|_| Refused)?
    }
}

impl Owner {
    fn work(mut self, mut inbox: mpsc::Receiver<Request>) -> Owner {
        while let Some(Request { event, answer }) = inbox.blocking_recv() {
            let answered = self.take(event);
            if answer.send(answered).is_err() {
                tracing::debug!("who asked the journal was stopped meanwhile; what is durable is durable");
            }
        }
        self
    }

    fn take(&mut self, event: Event) -> Result<Accepted, Refused> {
        if self.failure.is_some() {
            return Err(Refused);
        }
        let (event, accepted) = self.checked(event);
        if let Err(failure) = self.check_rebuilt(&event) {
            self.failure = Some(failure);
            return Err(Refused);
        }
        let told = event.clone();
        if let Err(error) = self.journal.append(event) {
            self.failure = Some(
                Failure::new(ExitCode::Unexpected, error)
                    .hint("nothing that was reported is lost; free the disk or mend its fault, then run the same command again"),
            );
            return Err(Refused);
        }
        self.tell(&told);
        if self.published.elapsed() >= PUBLISH_EVERY
            && let Err(error) = self.publish()
        {
            self.failure = Some(self.publish_failure(error));
        }
        Ok(accepted)
    }

    /// A `file_id` that another chunk has is never recorded a second time.
    fn checked(&self, event: Event) -> (Event, Accepted) {
        match event {
            Event::Uploaded { chunk, file_id, http_status, code, attempts, elapsed_ms, .. }
                if self.journal.state().has_file_id(&file_id) =>
            {
                let reason = format!("the server gave it the file_id `{file_id}`, which another chunk has");
                let (http_status, code) = (Some(http_status), Some(code));
                let failed = Event::Failed { chunk, reason, http_status, code, attempts, elapsed_ms };
                (failed, Accepted::Duplicate)
            }
            event => (event, Accepted::Recorded),
        }
    }

    /// An archive that is built again must hold what it held before, whatever else an upgrade may have changed.
    fn check_rebuilt(&self, event: &Event) -> Result<(), Failure> {
        let Event::Packed { chunk, entries, .. } = event else { return Ok(()) };
        let before = self.journal.state().chunk(chunk).and_then(|chunk| chunk.packed.as_ref());
        let Some(before) = before else { return Ok(()) };
        let contents = |entries: &[prep::Entry]| -> Vec<(String, String)> {
            entries.iter().map(|entry| (entry.name.clone(), entry.csv_xxh3_128.clone())).collect()
        };
        if contents(&before.entries) == contents(entries) {
            return Ok(());
        }
        let message =
            format!("{chunk} is not what it was when it was first packed: its entries' digests differ");
        Err(Failure::message(ExitCode::Journal, message)
            .hint("nothing of it was sent; please report this, with both journal lines of the chunk"))
    }

    fn tell(&self, event: &Event) {
        match event {
            Event::Cut { .. } => self.progress.recut(1),
            Event::Packed { chunk, .. } => self.progress.packed(self.amount(chunk)),
            Event::Uploaded { chunk, .. } => self.progress.finished(self.amount(chunk)),
            Event::Failed { chunk, reason, .. } => {
                self.progress.failed_chunk();
                self.progress.warn(&format!("{chunk}: {reason}"));
            }
            _ => {}
        }
    }

    fn amount(&self, chunk: &str) -> Amount {
        let entries = self.journal.state().chunk(chunk).map_or(&[][..], |chunk| &chunk.planned.entries);
        Amount {
            chunks: 1,
            records: entries.iter().map(|entry| entry.records).sum(),
            csv_bytes: entries.iter().map(|entry| entry.csv_bytes).sum(),
        }
    }

    fn publish(&mut self) -> io::Result<()> {
        manifest::write(&self.dir, self.journal.state())?;
        self.published = Instant::now();
        Ok(())
    }

    fn publish_failure(&self, error: io::Error) -> Failure {
        let error =
            anyhow::Error::new(error).context(format!("cannot write the manifest in {}", self.dir.display()));
        Failure::new(ExitCode::Unexpected, error)
            .hint("free the disk or mend its fault, then run the same command again")
    }
}
