//! Chunks become archives, one worker a chunk, on an own thread pool.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::archive::{self, Archive, Entry, Packed};
use crate::cut::{Drafts, divide};
use crate::entry::Draft;
use crate::error::{Error, ErrorKind};
use crate::import::ImportState;
use crate::job::Role;
use crate::plan::Chunk;
use crate::prepare::Prepared;
use crate::reporter::Reporter;
use crate::room::Room;
use crate::route::{Holding, Routed, route};

/// Archives the chunks in parallel on an own thread pool and hands each result to `sink`, which may block (that
/// is the backpressure) and may stop the work with `Break`.
///
/// Work begins in the order given; results come in no fixed order, save that a cut comes before the archives of its
/// parts. All children are brought to their chunks before the first archive: one sequential pass over each child.
///
/// # Errors
/// The first failure; `Changed` if an input is no longer what was scanned. A chunk read from such a block is
/// never handed over.
pub fn pack(
    prepared: &Prepared,
    chunks: &[Chunk],
    sink: &(dyn Fn(Packed) -> ControlFlow<()> + Sync),
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    if chunks.is_empty() {
        return Ok(());
    }
    let routes = Routes::new(prepared, chunks, reporter)?;
    let room = Room::new(prepared.settings.memory_bytes / 6);
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failure = Mutex::new(None);
    prepared.pool.broadcast(|_| {
        let mut buffers = Buffers::default();
        while !stop.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = chunks.get(place) else { return };
            let _place = room.take(building_bytes(chunk));
            match pack_chunk(prepared, &routes, chunk, place, &mut buffers, sink) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => stop.store(true, Ordering::Relaxed),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                }
            }
        }
    });
    match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The children of all chunks to be packed.
struct Routes {
    /// By import and place of the child in it.
    routed: BTreeMap<(usize, usize), Routed>,
    /// For every chunk its place among those of its import.
    places: Vec<usize>,
}

impl Routes {
    fn new(prepared: &Prepared, chunks: &[Chunk], reporter: &dyn Reporter) -> Result<Routes, Error> {
        let mut by_import: BTreeMap<usize, Vec<(usize, &Chunk)>> = BTreeMap::new();
        for (place, chunk) in chunks.iter().enumerate() {
            by_import.entry(chunk.import).or_default().push((place, chunk));
        }
        let mut places = vec![0; chunks.len()];
        let mut jobs = Vec::new();
        for (&import, chunks) in &mut by_import {
            chunks.sort_by_key(|(_, chunk)| chunk.parents.start);
            for (place, (outer, _)) in chunks.iter().enumerate() {
                places[*outer] = place;
            }
            let chunks: Vec<&Chunk> = chunks.iter().map(|&(_, chunk)| chunk).collect();
            for child in 0..prepared.imports[import].children.len() {
                jobs.push(((import, child), chunks.clone()));
            }
        }
        let entries = chunks.iter().flat_map(|chunk| &chunk.entries);
        let bytes: u64 = entries.filter(|entry| entry.role == Role::Child).map(|entry| entry.csv_bytes).sum();
        // A third of the budget: the indexes take another, and the archives under way the rest.
        let budget = prepared.settings.memory_bytes / 3;
        let holding = if bytes <= budget {
            Holding::Memory
        } else {
            Holding::Spill(&prepared.settings.spill_dir, budget / (jobs.len() as u64).max(1))
        };
        let routed = prepared.pool.install(|| {
            jobs.par_iter()
                .map(|((import, child), chunks)| {
                    let state = &prepared.imports[*import];
                    let input = state.members[child + 1].input;
                    Ok(((*import, *child), route(&state.children[*child], input, chunks, holding, reporter)?))
                })
                .collect::<Result<BTreeMap<_, _>, Error>>()
        })?;
        Ok(Routes { routed, places })
    }
}

type Sink<'a> = &'a (dyn Fn(Packed) -> ControlFlow<()> + Sync);

/// Memory that it takes to build a chunk's archive: its entries, and the archive, a third of them or so.
fn building_bytes(chunk: &Chunk) -> u64 {
    chunk.entries.iter().map(|entry| entry.csv_bytes + entry.csv_bytes / 3).sum()
}

/// What a worker uses again for its next chunk: fresh memory costs a page fault every 4 KiB.
#[derive(Default)]
struct Buffers {
    block: Vec<u8>,
    parents: Vec<u8>,
}

fn pack_chunk(
    prepared: &Prepared,
    routes: &Routes,
    chunk: &Chunk,
    place: usize,
    buffers: &mut Buffers,
    sink: Sink<'_>,
) -> Result<ControlFlow<()>, Error> {
    let import = &prepared.imports[chunk.import];
    let header = &import.parent.source.header.normalized;
    let buffer = std::mem::take(&mut buffers.parents);
    let mut parents = Draft::reusing(buffer, header, chunk.entries[0].csv_bytes as usize);
    let records = chunk.parents.start as usize..chunk.parents.end as usize;
    import.parent.reread(records, &mut buffers.block, &mut |record| {
        parents.push(&record);
        Ok(())
    })?;
    let mut drafts = vec![(0, parents)];
    for child in 0..import.children.len() {
        let records = &routes.routed[&(chunk.import, child)];
        drafts.extend(records.take(routes.places[place])?.map(|draft| (child + 1, draft)));
    }
    let flow = archive_drafts(prepared, import, chunk, &mut drafts, sink)?;
    if let Some((_, parents)) = drafts.into_iter().next() {
        buffers.parents = parents.csv;
    }
    Ok(flow)
}

/// Hands over the archive of some drafts, or of their parts; those that are cut are taken.
fn archive_drafts(
    prepared: &Prepared,
    import: &ImportState,
    chunk: &Chunk,
    drafts: &mut Drafts,
    sink: Sink<'_>,
) -> Result<ControlFlow<()>, Error> {
    let settings = &prepared.settings;
    let named =
        drafts.iter().zip(&chunk.entries).map(|((_, draft), entry)| (entry.name.as_str(), &draft.csv[..]));
    let bytes = archive::build(named, settings.level)
        .map_err(|error| Error::new(ErrorKind::Archive(error), import.parent.source.path()))?;
    if bytes.len() as u64 > settings.limits.max_archive_bytes
        && let Some(parts) = import.sizes().cut(chunk)?
    {
        let divided = divide(import, drafts, &parts)?;
        drafts.clear();
        drop(bytes);
        let cut = Packed::Cut { chunk: chunk.clone(), parts: Box::new(parts.clone()) };
        if sink(cut).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        for (part, mut drafts) in parts.iter().zip(divided) {
            if archive_drafts(prepared, import, part, &mut drafts, sink)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        return Ok(ControlFlow::Continue(()));
    }
    let entries: Vec<Entry> = drafts
        .iter()
        .zip(&chunk.entries)
        .map(|((member, draft), planned)| draft.entry(&import.members[*member], planned))
        .collect();
    let sha256 = Sha256::digest(&bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("invariant: a String takes every write");
        hex
    });
    let archive = Archive { id: chunk.id.clone(), name: chunk.name.clone(), bytes, sha256, entries };
    Ok(sink(Packed::Archive(archive)))
}
