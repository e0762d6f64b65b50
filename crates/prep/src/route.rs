//! Brings every child record to the chunk of its parent, in one sequential pass over each child's file.
//!
//! The plan says how many bytes each entry will have, so every entry gets its place before the first record comes:
//! a buffer of just that size, or, where all of them together would pass the memory budget, a region of one unlinked
//! temporary file, written through small buffers. Either way a child costs one copy, and the entries come out the same.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::entry::Draft;
use crate::error::{Error, ErrorKind};
use crate::import::ChildState;
use crate::plan::Chunk;
use crate::reporter::Reporter;

/// How a child's records are held.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Holding<'a> {
    Memory,
    /// In a file in this directory, with so many bytes of buffers in all.
    Spill(&'a Path, u64),
}

/// Bytes of a spilled entry's buffer: no smaller, since each one is a write; no larger, since that gains nothing.
const SPILL_BUFFER_BYTES: (u64, u64) = (8 << 10, 1 << 20);

/// How often progress is told.
const REPORT_BYTES: u64 = 4 << 20;

/// The records of one child, by chunk.
#[derive(Debug)]
pub(crate) struct Routed {
    /// By place in the list of chunks; `None` where a chunk has no such entry or it has been taken.
    slots: Vec<Mutex<Option<Slot>>>,
    header: Vec<u8>,
    spill: Option<Spill>,
}

#[derive(Debug)]
struct Slot {
    /// Begins with the header, or, where there is a spill, holds what is not yet written to it.
    draft: Draft,
    /// Where its region begins in the spill file, and how much of it is written.
    region: u64,
    written: u64,
}

#[derive(Debug)]
struct Spill {
    file: File,
    dir: PathBuf,
    buffer_bytes: u64,
}

impl Spill {
    fn create(dir: &Path, buffers: u64, entries: usize) -> Result<Spill, Error> {
        let file = tempfile::tempfile_in(dir).map_err(|error| Error::new(ErrorKind::Spill(error), dir))?;
        let buffer_bytes =
            (buffers / entries.max(1) as u64).clamp(SPILL_BUFFER_BYTES.0, SPILL_BUFFER_BYTES.1);
        Ok(Spill { file, dir: dir.to_owned(), buffer_bytes })
    }

    fn write(&self, slot: &mut Slot) -> Result<(), Error> {
        self.file
            .write_all_at(&slot.draft.csv, slot.region + slot.written)
            .map_err(|error| Error::new(ErrorKind::Spill(error), &self.dir))?;
        slot.written += slot.draft.csv.len() as u64;
        slot.draft.csv.clear();
        Ok(())
    }

    fn read(&self, slot: &Slot, out: &mut Vec<u8>) -> Result<(), Error> {
        let begin = out.len();
        out.resize(begin + slot.written as usize, 0);
        self.file
            .read_exact_at(&mut out[begin..], slot.region)
            .map_err(|error| Error::new(ErrorKind::Spill(error), &self.dir))
    }
}

/// Routes one child of an import to these chunks of it, which must be in the order of their parents.
///
/// # Errors
/// `Changed` if the child's file is not what was scanned; `Spill`; those of reading.
pub(crate) fn route(
    child: &ChildState,
    input: usize,
    chunks: &[&Chunk],
    holding: Holding<'_>,
    reporter: &dyn Reporter,
) -> Result<Routed, Error> {
    let header = &child.scanned.source.header.normalized;
    let spill = match holding {
        Holding::Memory => None,
        Holding::Spill(dir, buffers) => Some(Spill::create(dir, buffers, chunks.len())?),
    };
    let mut region = 0;
    let mut slots: Vec<Option<Slot>> = chunks
        .iter()
        .map(|chunk| {
            let entry = chunk.entries.iter().find(|entry| entry.input == input)?;
            let draft = match &spill {
                None => Draft::new(header, entry.csv_bytes as usize),
                Some(spill) => Draft::new(&[], spill.buffer_bytes as usize),
            };
            let slot = Slot { draft, region, written: 0 };
            region += entry.csv_bytes;
            Some(slot)
        })
        .collect();
    let mut routed_bytes = 0;
    let mut owners = child.owners.reader();
    child.scanned.reread(0..child.scanned.table.records(), &mut Vec::new(), &mut |record| {
        let owner = owners.get(record.index)?;
        let place = chunks.partition_point(|chunk| chunk.parents.end <= owner);
        if chunks.get(place).is_none_or(|chunk| owner < chunk.parents.start) {
            return Ok(());
        }
        let slot = slots[place].as_mut().expect("invariant: a chunk with a child's record has its entry");
        routed_bytes += slot.draft.push(&record) as u64;
        if routed_bytes > REPORT_BYTES {
            reporter.routed(std::mem::take(&mut routed_bytes));
        }
        match &spill {
            Some(spill) if slot.draft.csv.len() as u64 >= spill.buffer_bytes => spill.write(slot),
            _ => Ok(()),
        }
    })?;
    reporter.routed(routed_bytes);
    if let Some(spill) = &spill {
        for slot in slots.iter_mut().flatten() {
            spill.write(slot)?;
            slot.draft.csv = Vec::new();
        }
    }
    child.scanned.source.check_len()?;
    Ok(Routed { slots: slots.into_iter().map(Mutex::new).collect(), header: header.clone(), spill })
}

impl Routed {
    /// The records of the chunk at a place in the list, header first; `None` if it has none.
    ///
    /// # Errors
    /// `Spill` if they cannot be read back.
    pub(crate) fn take(&self, place: usize) -> Result<Option<Draft>, Error> {
        let slot = self.slots[place].lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut slot) = slot else { return Ok(None) };
        if let Some(spill) = &self.spill {
            let mut csv = Vec::with_capacity(self.header.len() + slot.written as usize);
            csv.extend_from_slice(&self.header);
            spill.read(&slot, &mut csv)?;
            slot.draft.csv = csv;
        }
        Ok(Some(slot.draft))
    }
}
