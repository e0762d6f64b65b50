//! Archives flow from whoever builds them through a bounded queue to as many uploads at once as are allowed. A closed
//! queue means "stop"; the coordinator keeps the first cause.
//!
//! Packing and uploading overlap: the first archive is on the wire while the second is being built. What is under way
//! is bounded twice, by number and by bytes, so that memory does not depend on how slow the network is.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use prep::{Archive, Packed};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use upload::Client;

use crate::coordinator::{Coordinator, Phase, Verdict};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::identity::{Fit, fit};
use crate::interrupt::Interrupt;
use crate::journal::state::{PackedState, State, UploadStatus};
use crate::progress::{Amount, Progress};
use crate::publish::publish;

/// Archives that wait for an upload. Two let an upload begin at once after another while the next archive is built;
/// more would cost 25 MB each and win nothing.
const QUEUED_ARCHIVES: usize = 2;

/// The unit in which room for archives is counted: a semaphore's permits are 32 bits wide.
const ROOM_UNIT_BYTES: u64 = 1 << 10;

/// The room for archives within a budget of memory: a third, since the indexes take another and those who build
/// archives the rest.
pub(crate) fn room_bytes(memory_bytes: u64) -> u64 {
    memory_bytes / 3
}

/// Where archives go, besides under DIR/archives.
pub(crate) enum Onward {
    /// Nowhere.
    Nowhere,
    /// To a server.
    Upload {
        /// Sends them.
        client: Arc<Client>,
        /// Uploads at the same time.
        concurrency: usize,
        /// Bytes of archives that may be waiting or on their way; one archive always may.
        room_bytes: u64,
    },
}

/// What a pipeline needs.
pub(crate) struct Pipeline {
    /// Hears of everything.
    pub(crate) coordinator: Coordinator,
    /// Shows it.
    pub(crate) progress: Arc<Progress>,
    /// Where archives are kept, if they are.
    pub(crate) keep: Option<PathBuf>,
    /// What the journal knew of archives when this process began.
    pub(crate) known: Known,
    /// Where archives go.
    pub(crate) onward: Onward,
    /// May stop it.
    pub(crate) interrupt: Interrupt,
}

/// How the flow came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Everything has passed, or the coordinator knows why not.
    Ended,
    /// What was still on the wire was given up.
    GivenUp,
}

impl Pipeline {
    /// Lets `produce` build archives on a thread of its own and brings them on; returns when nothing is under way any
    /// more, or, 10 seconds after a signal, with what is.
    pub(crate) async fn run(self, produce: impl FnOnce(&Feed) -> Result<()> + Send + 'static) -> Flow {
        let Pipeline { coordinator, progress, keep, known, onward, interrupt } = self;
        let (sender, mut queue) = mpsc::channel::<Parcel>(QUEUED_ARCHIVES);
        let (room_bytes, concurrency, client) = match onward {
            Onward::Nowhere => (0, 0, None),
            Onward::Upload { client, concurrency, room_bytes } => (room_bytes, concurrency, Some(client)),
        };
        let room = Room::new(room_bytes);
        let feed = Feed {
            coordinator: coordinator.clone(),
            progress,
            keep,
            known,
            queue: client.is_some().then_some(sender),
            room: room.clone(),
        };
        let mut producer = tokio::task::spawn_blocking(move || produce(&feed));
        let mut all_built = false;
        let mut open = client.is_some();
        let mut phase = Phase::Running;
        let mut uploads = JoinSet::new();
        let mut signalled = false;
        loop {
            let done = all_built && !open && uploads.is_empty();
            tokio::select! {
                biased;
                worse = coordinator.worse(phase), if phase < Phase::Broken && !done => {
                    phase = worse;
                    room.close();
                    queue.close();
                    if let Some(client) = &client {
                        client.stop();
                    }
                    if phase == Phase::Broken {
                        return Flow::GivenUp;
                    }
                }
                _ = interrupt.wait(), if !signalled && !done => {
                    signalled = true;
                    coordinator.drain().await;
                }
                () = interrupt.deadline(), if !done => return Flow::GivenUp,
                Some(ended) = uploads.join_next(), if !uploads.is_empty() => {
                    if let Err(error) = ended {
                        coordinator.fail(Failure::new(ExitCode::Unexpected, error)).await;
                    }
                }
                parcel = queue.recv(), if open && uploads.len() < concurrency => match (parcel, &client) {
                    (Some(parcel), Some(client)) if phase == Phase::Running => {
                        uploads.spawn(parcel.upload(Arc::clone(client), coordinator.clone()));
                    }
                    // What was waiting when the run was stopped is not begun.
                    (Some(_), _) => {}
                    (None, _) => open = false,
                },
                ended = &mut producer, if !all_built => {
                    all_built = true;
                    match ended {
                        Ok(Ok(())) => {}
                        Ok(Err(failure)) => coordinator.fail(failure).await,
                        Err(error) => coordinator.fail(Failure::new(ExitCode::Unexpected, error)).await,
                    }
                }
                else => return Flow::Ended,
            }
        }
    }
}

/// An archive on its way.
struct Parcel {
    name: String,
    bytes: Bytes,
    /// Given back when the archive is no longer in memory.
    room: OwnedSemaphorePermit,
}

impl Parcel {
    async fn upload(self, client: Arc<Client>, coordinator: Coordinator) {
        let Parcel { name, bytes, room } = self;
        let outcome = client.upload(&name, bytes, &coordinator).await;
        drop(room);
        // The coordinator tells everybody whether to go on.
        coordinator.outcome(name, outcome).await;
    }
}

/// Takes archives from their builders. Called from many threads, none of them the runtime's; blocks while there is no
/// room.
pub(crate) struct Feed {
    coordinator: Coordinator,
    progress: Arc<Progress>,
    keep: Option<PathBuf>,
    known: Known,
    /// `None` if archives go nowhere.
    queue: Option<mpsc::Sender<Parcel>>,
    room: Room,
}

impl Feed {
    /// Takes what a worker hands over. `Break`: build no more.
    pub(crate) fn take(&self, packed: Packed) -> ControlFlow<()> {
        if self.coordinator.phase() != Phase::Running {
            return ControlFlow::Break(());
        }
        match packed {
            Packed::Cut { chunk, parts } => go_on(self.coordinator.cut(&chunk, &parts)),
            Packed::Archive(archive) => self.archive(archive),
        }
    }

    fn archive(&self, archive: Archive) -> ControlFlow<()> {
        let known = self.known.0.get(&archive.name);
        let fit = fit(known.map(|known| &known.packed), &archive);
        match &fit {
            Fit::New | Fit::Same => {}
            Fit::OtherArchive if known.is_some_and(|known| known.uploaded) => {
                let name = &archive.name;
                self.progress.warn(&format!(
                    "{name} is not kept: this version of zbulk packs the same records to other bytes than those uploaded"
                ));
                return ControlFlow::Continue(());
            }
            Fit::OtherArchive => {
                let name = &archive.name;
                self.progress.note(&format!(
                    "{name}: the same records as before, packed to other bytes; these are sent from now on"
                ));
            }
            Fit::OtherRecords(entry) => return self.fail(other_records(&archive.name, entry)),
        }
        if let Some(dir) = &self.keep {
            let path = dir.join(&archive.name);
            if let Err(error) = publish(&path, &archive.bytes) {
                let error = anyhow::Error::new(error).context(format!("cannot write `{}`", path.display()));
                return self.fail(Failure::new(ExitCode::Unexpected, error));
            }
        }
        let kept = self.keep.is_some() || known.is_some_and(|known| known.packed.kept && fit == Fit::Same);
        let nothing_new = fit == Fit::Same && known.is_some_and(|known| known.packed.kept == kept);
        if !nothing_new {
            go_on(self.coordinator.packed(&archive, kept))?;
        }
        if self.queue.is_none() {
            self.progress.finished(amount(&archive));
            return ControlFlow::Continue(());
        }
        self.send(archive.name, archive.bytes.into())
    }

    /// Queues an archive that the journal knows already.
    pub(crate) fn send(&self, name: String, bytes: Bytes) -> ControlFlow<()> {
        let Some(queue) = &self.queue else { return ControlFlow::Continue(()) };
        let room = self.room.take(bytes.len() as u64)?;
        // A closed queue means that nobody takes any more; why is known to the coordinator.
        match queue.blocking_send(Parcel { name, bytes, room }) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn fail(&self, failure: Failure) -> ControlFlow<()> {
        self.room.runtime.block_on(self.coordinator.fail(failure));
        ControlFlow::Break(())
    }
}

/// Room for archives in memory.
#[derive(Debug, Clone)]
struct Room {
    units: Arc<Semaphore>,
    all: u32,
    runtime: Handle,
}

impl Room {
    fn new(bytes: u64) -> Room {
        let all = u32::try_from(bytes / ROOM_UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Room { units: Arc::new(Semaphore::new(all as usize)), all, runtime: Handle::current() }
    }

    /// Waits for room for an archive; one that is larger than all room takes all of it. `Break` once it is closed.
    fn take(&self, bytes: u64) -> ControlFlow<(), OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.all);
        match self.runtime.block_on(Arc::clone(&self.units).acquire_many_owned(units)) {
            Ok(permit) => ControlFlow::Continue(permit),
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn close(&self) {
        self.units.close();
    }
}

/// What the journal knew of the archives when this process began, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Arc<HashMap<String, KnownArchive>>);

#[derive(Debug)]
struct KnownArchive {
    packed: PackedState,
    uploaded: bool,
}

impl Known {
    /// From a journal's state.
    pub(crate) fn of(state: &State) -> Known {
        let known = state.chunks().filter_map(|chunk| {
            let packed = chunk.packed.clone()?;
            let uploaded = chunk.status() == UploadStatus::Uploaded;
            Some((chunk.name().to_owned(), KnownArchive { packed, uploaded }))
        });
        Known(Arc::new(known.collect()))
    }
}

fn go_on(verdict: Verdict) -> ControlFlow<()> {
    match verdict {
        Verdict::GoOn => ControlFlow::Continue(()),
        Verdict::Stop => ControlFlow::Break(()),
    }
}

fn amount(archive: &Archive) -> Amount {
    let sum = |of: fn(&prep::Entry) -> u64| archive.entries.iter().map(of).sum();
    Amount { chunks: 1, records: sum(|entry| entry.records), csv_bytes: sum(|entry| entry.csv_bytes) }
}

fn other_records(archive: &str, entry: &str) -> Failure {
    let message = format!("{archive} does not come out as it was journaled: {entry} holds other records");
    Failure::message(ExitCode::Journal, message).hint(
        "put the inputs back as they were when the run began, or name another directory with --out\n\
             `zbulk run --restart` sets this run aside, and sends everything anew",
    )
}
