//! `zbulk upload`: sends what `pack` made. The inputs need not be there; every archive is held against the journal
//! before it is sent.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use upload::Client;

use crate::commands::run::{ARCHIVES, finish};
use crate::config;
use crate::connect::connect;
use crate::coordinator::Coordinator;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::identity;
use crate::interrupt::Interrupt;
use crate::journal::event::{Event, Target};
use crate::journal::state::{ChunkState, State, UploadStatus};
use crate::pipeline::{Outcome, QUEUE, Ready, upload_all};
use crate::progress::{Activity, Amount, Progress};
use crate::runtime;
use crate::session::{Session, io_failure, journal_failure};

/// An archive that is to be sent.
struct Kept {
    name: String,
    archive_sha256: String,
}

/// Runs the command.
pub(crate) fn execute(config: config::Upload, progress: &Arc<Progress>) -> Result<ExitCode> {
    let mut session = Session::open(&config.dir)?;
    let Some(mut journal) = session.take_journal() else {
        session.abandon();
        let message = format!("there is nothing to upload in {}: it has no journal", config.dir.display());
        return Err(Failure::message(ExitCode::Usage, message).hint("make the archives first: zbulk pack"));
    };
    let target = identity::target(&config.destination);
    if let Some(difference) = identity::target_difference(&journal.state().header.target, &target) {
        let error = anyhow::Error::msg(difference)
            .context(format!("the journal in {} is of another run", config.dir.display()));
        return Err(Failure::new(ExitCode::Journal, error)
            .hint("to begin a new run beside it, pack into another directory with `--out`"));
    }
    let kept = to_send(journal.state(), &config.dir)?;
    journal.append(Event::Resumed { tool: identity::TOOL.to_owned() }).map_err(journal_failure)?;
    if journal.state().header.target == Target::Undecided {
        journal.append(Event::Target { target }).map_err(journal_failure)?;
    }
    let (total, left) = (amount(journal.state(), |_| true), amount(journal.state(), unsent));
    let known = journal.state().file_ids();
    let (coordinator, handle) = Coordinator::start(journal, config.dir.clone(), Arc::clone(progress))?;
    let outcome = if kept.is_empty() {
        drop(handle);
        Ok((Outcome::default(), None))
    } else {
        let done = Amount {
            chunks: total.chunks - left.chunks,
            records: total.records - left.records,
            csv_bytes: total.csv_bytes - left.csv_bytes,
        };
        progress.sending(Activity::Uploading, total, done);
        let archives = config.dir.join(ARCHIVES);
        let (destination, pace, dir) = (config.destination, config.pace, &config.dir);
        runtime::block_on(async move {
            let interrupt = Interrupt::install(Arc::clone(progress))
                .map_err(|error| Failure::new(ExitCode::Unexpected, error))?;
            let concurrency = pace.concurrency;
            let connection = connect(destination, pace, dir).await?;
            let reporter: Arc<dyn upload::Reporter> = Arc::clone(progress) as Arc<dyn upload::Reporter>;
            let client = Arc::new(Client::new(connection.config, reporter).map_err(Failure::from)?);
            client.remember(known);
            let (queue, ready) = mpsc::channel(QUEUE);
            let reading = tokio::task::spawn_blocking(move || read_all(&archives, kept, &queue));
            let outcome = upload_all(ready, client, handle, concurrency, interrupt).await;
            let read = reading.await.map_err(|error| Failure::new(ExitCode::Unexpected, error))?;
            if let Some(sandbox) = connection.sandbox {
                sandbox.stop().await;
            }
            Ok((outcome, read.err()))
        })
    };
    finish(coordinator, outcome, &config.dir, &config.output, progress)
}

fn unsent(chunk: &ChunkState) -> bool {
    chunk.upload.state != UploadStatus::Uploaded
}

/// What is still to be sent; everything must be packed and there.
fn to_send(state: &State, dir: &Path) -> Result<Vec<Kept>> {
    let mut kept = Vec::new();
    let mut missing = Vec::new();
    for chunk in state.chunks().filter(|chunk| unsent(chunk)) {
        let name = &chunk.planned.name;
        match &chunk.packed {
            Some(packed) if packed.kept && dir.join(ARCHIVES).join(name).is_file() => {
                kept.push(Kept { name: name.clone(), archive_sha256: packed.archive_sha256.clone() });
            }
            _ => missing.push(name.as_str()),
        }
    }
    if missing.is_empty() {
        return Ok(kept);
    }
    let message = format!(
        "{} archives are not in {}, the first is {}",
        missing.len(),
        dir.join(ARCHIVES).display(),
        missing[0]
    );
    Err(Failure::message(ExitCode::Usage, message).hint("make them first: zbulk pack"))
}

fn amount(state: &State, wanted: impl Fn(&ChunkState) -> bool) -> Amount {
    let mut amount = Amount { chunks: 0, records: 0, csv_bytes: 0 };
    for chunk in state.chunks().filter(|chunk| wanted(chunk)) {
        amount.chunks += 1;
        amount.records += chunk.planned.entries.iter().map(|entry| entry.records).sum::<u64>();
        amount.csv_bytes += chunk.planned.entries.iter().map(|entry| entry.csv_bytes).sum::<u64>();
    }
    amount
}

fn read_all(archives: &Path, kept: Vec<Kept>, queue: &mpsc::Sender<Ready>) -> Result<()> {
    for Kept { name, archive_sha256 } in kept {
        let path = archives.join(&name);
        let bytes = std::fs::read(&path).map_err(|error| io_failure(error, "read", &path))?;
        let sha256 = Sha256::digest(&bytes);
        if hex(&sha256) != archive_sha256 {
            let message =
                format!("{} is not the archive that was packed: its SHA-256 differs", path.display());
            return Err(Failure::message(ExitCode::Journal, message)
                .hint("remove the file and make it again: zbulk pack"));
        }
        // A closed queue means stop.
        if queue.blocking_send(Ready { name, bytes: Bytes::from(bytes) }).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("invariant: a String takes every write");
        hex
    })
}
