//! Archives on their way: from whoever makes or reads them, through a bounded queue, to the uploads.
//!
//! A closed queue means stop. The first cause of a stop is kept; what comes after it is its consequence.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio::task::JoinSet;
use upload::{BoxFuture, Client, ErrorKind, Witness};

use crate::coordinator::{Accepted, Handle};
use crate::failure::Failure;
use crate::interrupt::{Interrupt, Signal};
use crate::journal::event::Event;

/// Archives that wait between packing and uploading, at the most: while one is sent the next is ready, and memory
/// stays bounded by this, the uploads and the packing threads, each with one archive.
pub(crate) const QUEUE: usize = 2;

/// An archive that is journaled as packed and waits to be sent.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Its name: the chunk's identity.
    pub(crate) name: String,
    /// The ZIP.
    pub(crate) bytes: Bytes,
}

/// How the uploads ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Why the run as a whole stopped, if it did.
    pub(crate) failure: Option<Failure>,
    /// Chunks that were refused for good.
    pub(crate) failed_chunks: u64,
    /// What asked the run to stop.
    pub(crate) signal: Option<Signal>,
}

#[derive(Debug, Default)]
struct Shared {
    failure: Option<Failure>,
    failed_chunks: u64,
}

/// Sends everything that comes through the queue, `concurrency` archives at a time, until the queue ends, the run is
/// stopped by a failure, or a signal comes. After a signal nothing new is begun, and what is in flight has ten seconds.
pub(crate) async fn upload_all(
    queue: mpsc::Receiver<Ready>,
    client: Arc<Client>,
    handle: Handle,
    concurrency: usize,
    interrupt: Interrupt,
) -> Outcome {
    let queue = Arc::new(AsyncMutex::new(queue));
    let shared = Arc::new(Mutex::new(Shared::default()));
    let (stop, stopping) = watch::channel(false);
    let stop = Arc::new(stop);
    let mut workers = JoinSet::new();
    for _ in 0..concurrency {
        let worker = Worker {
            queue: Arc::clone(&queue),
            client: Arc::clone(&client),
            handle: handle.clone(),
            shared: Arc::clone(&shared),
            stop: Arc::clone(&stop),
            stopping: stopping.clone(),
        };
        workers.spawn(worker.work());
    }
    drop(handle);
    let mut signal = None;
    let all_done = async { while workers.join_next().await.is_some() {} };
    tokio::select! {
        () = all_done => {}
        raised = interrupt.wait() => signal = Some(raised),
    }
    if signal.is_some() {
        stop.send_replace(true);
        let all_done = async { while workers.join_next().await.is_some() {} };
        tokio::select! {
            () = all_done => {}
            () = interrupt.deadline() => workers.shutdown().await,
        }
    }
    // Whoever still wants to put something into the queue hears that nobody takes it.
    queue.lock().await.close();
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    Outcome { failure: shared.failure.take(), failed_chunks: shared.failed_chunks, signal }
}

struct Worker {
    queue: Arc<AsyncMutex<mpsc::Receiver<Ready>>>,
    client: Arc<Client>,
    handle: Handle,
    shared: Arc<Mutex<Shared>>,
    stop: Arc<watch::Sender<bool>>,
    stopping: watch::Receiver<bool>,
}

impl Worker {
    async fn work(mut self) {
        loop {
            if *self.stopping.borrow() {
                return;
            }
            let next = async { self.queue.lock().await.recv().await };
            let ready = tokio::select! {
                ready = next => ready,
                // The sender lives as long as the workers: an error cannot come, and would mean stop as well.
                _ = self.stopping.changed() => None,
            };
            let Some(ready) = ready else { return };
            if !self.send(ready).await {
                self.stop.send_replace(true);
                return;
            }
        }
    }

    /// Sends one archive and has its outcome recorded; `false` if the run must stop.
    async fn send(&self, ready: Ready) -> bool {
        let witness = JournalWitness { handle: self.handle.clone() };
        let chunk = ready.name.clone();
        let uploaded = self.client.upload(&ready.name, ready.bytes, &witness).await;
        let (event, failure) = match uploaded {
            Ok(uploaded) => {
                let event = Event::Uploaded {
                    chunk,
                    file_id: uploaded.file_id.as_str().to_owned(),
                    created_time: uploaded.created_time,
                    http_status: uploaded.http_status,
                    code: uploaded.code,
                    attempts: uploaded.attempts,
                    elapsed_ms: uploaded.elapsed.as_millis() as u64,
                };
                (event, None)
            }
            Err(error) if error.kind == ErrorKind::Witness => return false,
            Err(error) => {
                let event = Event::Failed {
                    chunk,
                    reason: reason(&error),
                    http_status: error.http_status,
                    code: error.code.clone(),
                    attempts: error.attempts,
                    elapsed_ms: error.elapsed.as_millis() as u64,
                };
                (event, Some(error))
            }
        };
        let recorded = self.handle.append(event).await;
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match (recorded, failure) {
            (Err(_), _) => return false,
            (Ok(Accepted::Recorded), None) => return true,
            (Ok(_), Some(error)) if error.kind != ErrorKind::ChunkRefused => {
                shared.failure.get_or_insert_with(|| Failure::from(error));
                return false;
            }
            (Ok(_), _) => shared.failed_chunks += 1,
        }
        true
    }
}

/// An error and its causes in one line.
fn reason(error: &upload::Error) -> String {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason.push_str(": ");
        reason.push_str(&error.to_string());
        cause = error.source();
    }
    reason
}

/// Has every attempt on record before its body's first byte goes out.
struct JournalWitness {
    handle: Handle,
}

impl Witness for JournalWitness {
    fn attempt<'a>(&'a self, archive: &'a str, attempt: u32) -> BoxFuture<'a, Result<(), upload::Refused>> {
        Box::pin(async move {
            let event = Event::Attempt { chunk: archive.to_owned(), attempt };
            self.handle.append(event).await.map(drop).map_err(|_| upload::Refused)
        })
    }

    fn ambiguous<'a>(&'a self, archive: &'a str, attempt: u32) -> BoxFuture<'a, Result<(), upload::Refused>> {
        Box::pin(async move {
            let event = Event::Ambiguous { chunk: archive.to_owned(), attempt };
            self.handle.append(event).await.map(drop).map_err(|_| upload::Refused)
        })
    }
}
