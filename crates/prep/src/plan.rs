//! Where every chunk begins and ends. Pure: the same counts and limits give the same plan.

use std::fmt::{self, Write as _};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::job::{ChildKind, Limits, Role};
use crate::sizes::{Load, Sizes};

#[cfg(test)]
mod tests;

/// The identity of a chunk: its number in the plan, and for the parts of a chunk that was cut, one letter a cut.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// One-based over the whole run.
    pub seq: u32,
    /// Empty for a whole chunk; `a` and `b` for its halves; `aa` and `ab` for those of `a`.
    pub cuts: String,
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}{}", self.seq, self.cuts)
    }
}

/// A run of consecutive parents with all their children: what goes into one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its identity.
    pub id: ChunkId,
    /// The archive's file name, `<Module>-<seq, five digits><cuts>.zip`.
    pub name: String,
    /// Index of its import in the job.
    pub import: usize,
    /// Its parents: zero-based record indexes in the parent's file, rejected ones included but not packed.
    pub parents: Range<u32>,
    /// Its entries in archive order; children without a record in this chunk have none.
    pub entries: Vec<PlannedEntry>,
}

/// What the plan knows of an entry before it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedEntry {
    /// Index of the input in [`Prepared::inputs`](crate::Prepared::inputs).
    pub input: usize,
    /// Module API name.
    pub module: String,
    /// Parent or child.
    pub role: Role,
    /// The child's kind; `None` for a parent.
    pub kind: Option<ChildKind>,
    /// Name inside the archive, `<Module>.csv`.
    pub name: String,
    /// Data records.
    pub records: u64,
    /// Columns.
    pub columns: u32,
    /// Zero-based index of the key column, or of the parent-key column.
    pub key_index: Option<u32>,
    /// Bytes of the entry, uncompressed, header included.
    pub csv_bytes: u64,
    /// One-based record number of the first parent packed; `None` for children, whose places are known later.
    pub first_record: Option<u64>,
    /// One-based record number of the last parent packed.
    pub last_record: Option<u64>,
}

/// All chunks of a run, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkPlan {
    chunks: Vec<Chunk>,
}

impl ChunkPlan {
    /// Plans all imports of a run: chunks are closed before the parent that would pass any limit.
    ///
    /// Every parent's group must fit in a chunk of its own; those that do not are rejects by now.
    ///
    /// # Errors
    /// `Spill` if the sizes cannot be read.
    pub(crate) fn new(imports: &[Sizes<'_>], limits: &Limits) -> Result<ChunkPlan, Error> {
        let mut chunks = Vec::new();
        for (import, sizes) in imports.iter().enumerate() {
            for run in sizes.runs(limits)? {
                let seq = chunks.len() as u32 + 1;
                chunks.push(sizes.chunk(import, ChunkId { seq, cuts: String::new() }, run));
            }
        }
        Ok(ChunkPlan { chunks })
    }

    /// The chunks, by `seq`.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// XXH3-128 of every chunk's name and parents and of its entries' names, records and bytes, as 32 hexadecimal
    /// digits. Equal digests mean the same plan.
    pub fn digest(&self) -> String {
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        for chunk in &self.chunks {
            let mut line = format!("{} {} {:?}", chunk.name, chunk.import, chunk.parents);
            for entry in &chunk.entries {
                write!(line, " {} {} {}", entry.name, entry.records, entry.csv_bytes)
                    .expect("invariant: a String takes every write");
            }
            line.push('\n');
            hasher.update(line.as_bytes());
        }
        format!("{:032x}", hasher.digest128())
    }
}

/// One module of an import, as the plan needs it.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Index of the input.
    pub(crate) input: usize,
    pub(crate) module: String,
    pub(crate) role: Role,
    pub(crate) kind: Option<ChildKind>,
    pub(crate) columns: u32,
    pub(crate) key_index: Option<u32>,
    /// Bytes of the header as written.
    pub(crate) header_bytes: u64,
}

/// Consecutive parents, and what their groups come to.
struct Run {
    parents: Range<u32>,
    /// By member.
    loads: Vec<Load>,
}

impl Run {
    fn add(&mut self, parent: u32, group: &[Load]) {
        self.parents.end = parent + 1;
        for (load, &more) in self.loads.iter_mut().zip(group) {
            *load = *load + more;
        }
    }
}

impl Sizes<'_> {
    fn runs(&self, limits: &Limits) -> Result<Vec<Run>, Error> {
        let mut runs: Vec<Run> = Vec::new();
        let mut groups = self.groups(0..self.parents.records() as u32);
        while let Some((parent, group)) = groups.next()? {
            let fits = |run: &Run| {
                let mut loads = run.loads.iter().zip(group).enumerate();
                loads.all(|(member, (&load, &more))| self.fits(member, load + more, limits))
            };
            match runs.last_mut() {
                Some(run) if fits(run) => run.add(parent, group),
                _ => runs.push(Run { parents: parent..parent + 1, loads: group.to_vec() }),
            }
        }
        Ok(runs)
    }

    /// A run of parents of which the first and the last are packed.
    fn run(&self, parents: Range<u32>) -> Result<Run, Error> {
        let mut run = Run { parents: parents.clone(), loads: vec![Load::default(); self.members.len()] };
        let mut groups = self.groups(parents);
        while let Some((parent, group)) = groups.next()? {
            run.add(parent, group);
        }
        Ok(run)
    }

    /// The chunk of a run.
    fn chunk(&self, import: usize, id: ChunkId, run: Run) -> Chunk {
        let Run { parents, loads } = run;
        let entries = self
            .members
            .iter()
            .zip(loads)
            .filter(|(_, load)| load.records > 0)
            .map(|(member, load)| PlannedEntry {
                input: member.input,
                module: member.module.clone(),
                role: member.role,
                kind: member.kind,
                name: format!("{}.csv", member.module),
                records: load.records,
                columns: member.columns,
                key_index: member.key_index,
                csv_bytes: member.header_bytes + load.bytes,
                first_record: (member.role == Role::Parent).then(|| u64::from(parents.start) + 1),
                last_record: (member.role == Role::Parent).then(|| u64::from(parents.end)),
            })
            .collect();
        Chunk { name: format!("{}-{id}.zip", self.members[0].module), id, import, parents, entries }
    }

    /// The two parts of a chunk; `None` if it has but one parent.
    ///
    /// # Errors
    /// `Spill`.
    pub(crate) fn cut(&self, chunk: &Chunk) -> Result<Option<[Chunk; 2]>, Error> {
        let mut packed: Vec<(u32, u64)> = Vec::new();
        let mut groups = self.groups(chunk.parents.clone());
        while let Some((parent, group)) = groups.next()? {
            packed.push((parent, group.iter().map(|load| load.bytes).sum()));
        }
        if packed.len() < 2 {
            return Ok(None);
        }
        let total: u64 = packed.iter().map(|(_, bytes)| bytes).sum();
        let mut reached = 0;
        let half = packed
            .iter()
            .position(|(_, bytes)| {
                reached += bytes;
                2 * reached >= total
            })
            .expect("invariant: all of the bytes are at least half of them");
        let first_of_b = (half + 1).min(packed.len() - 1);
        let part = |letter: char, parents| {
            let cuts = format!("{}{letter}", chunk.id.cuts);
            Ok(self.chunk(chunk.import, ChunkId { seq: chunk.id.seq, cuts }, self.run(parents)?))
        };
        Ok(Some([
            part('a', chunk.parents.start..packed[first_of_b - 1].0 + 1)?,
            part('b', packed[first_of_b].0..chunk.parents.end)?,
        ]))
    }
}
