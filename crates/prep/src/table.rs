//! What the scan keeps of an input's records: eight bytes each, and where each one lies can be told from them.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Position};
use crate::reject::RejectCode;
use crate::scan::{BLOCK_BYTES, Record, Summary, line_ends};
use crate::source::Source;

/// The records of one input, by zero-based index.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Bytes in the file; the highest bit says that the record is rewritten.
    len_raw: Vec<u32>,
    /// Bytes as written; 0 for a reject.
    len_out: Vec<u32>,
    /// Offset of every `CHECKPOINT`th record.
    checkpoints: Vec<u64>,
    /// Offset of the first byte after the last record.
    end: u64,
    /// Rejects, in no order until [`Table::sort_rejects`].
    rejects: Vec<(u32, RejectCode)>,
    /// Bytes of the longest record as written, rejects included.
    pub(crate) widest: u32,
}

const REWRITTEN: u32 = 1 << 31;
const CHECKPOINT: usize = 1024;

/// Record indexes stay below this, so that the values above can mean something else.
pub(crate) const MAX_RECORDS: usize = u32::MAX as usize - 16;

impl Table {
    pub(crate) fn new(source: &Source) -> Table {
        Table { end: source.header.end, ..Table::default() }
    }

    /// Adds the next record; one with `reject` is kept, but not written.
    #[inline]
    pub(crate) fn push<K>(&mut self, record: &Record<K>, reject: Option<RejectCode>) {
        let index = self.len_raw.len();
        if index.is_multiple_of(CHECKPOINT) {
            self.checkpoints.push(self.end);
        }
        self.end += u64::from(record.len_raw);
        self.widest = self.widest.max(record.len_out);
        self.len_raw.push(record.len_raw | if record.rewritten { REWRITTEN } else { 0 });
        self.len_out.push(if reject.is_some() { 0 } else { record.len_out });
        if let Some(code) = reject {
            self.rejects.push((index as u32, code));
        }
    }

    /// How many records there are, rejects included.
    pub(crate) fn records(&self) -> usize {
        self.len_raw.len()
    }

    /// Bytes of a record as written; 0 for a reject.
    #[inline]
    pub(crate) fn len_out(&self, index: usize) -> u32 {
        self.len_out[index]
    }

    /// Bytes of a record in the file, blank lines before it included, and whether it is rewritten.
    #[inline]
    pub(crate) fn len_raw(&self, index: usize) -> (usize, bool) {
        let len_raw = self.len_raw[index];
        ((len_raw & !REWRITTEN) as usize, len_raw & REWRITTEN != 0)
    }

    /// Makes a record a reject, if it is none yet.
    pub(crate) fn reject(&mut self, index: usize, code: RejectCode) {
        if self.len_out[index] != 0 {
            self.len_out[index] = 0;
            self.rejects.push((index as u32, code));
        }
    }

    /// Puts the rejects in file order.
    pub(crate) fn sort_rejects(&mut self) {
        self.rejects.sort_unstable();
    }

    /// The rejects, in file order.
    pub(crate) fn rejects(&self) -> &[(u32, RejectCode)] {
        &self.rejects
    }

    /// Offset of a record's first byte, blank lines before it included; that of the end for one past the last.
    pub(crate) fn offset(&self, index: usize) -> u64 {
        if index == self.records() {
            return self.end;
        }
        let checkpoint = index / CHECKPOINT;
        let from = checkpoint * CHECKPOINT;
        let after: u64 = self.len_raw[from..index].iter().map(|len| u64::from(len & !REWRITTEN)).sum();
        self.checkpoints[checkpoint] + after
    }

    /// Where the bytes of some records lie in the file.
    pub(crate) fn byte_range(&self, indexes: Range<usize>) -> Range<u64> {
        self.offset(indexes.start)..self.offset(indexes.end)
    }

    /// The original bytes of a record, without the blank lines before it, and its place.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn read(
        &self,
        source: &Source,
        summary: &Summary,
        index: usize,
    ) -> Result<(Position, Vec<u8>), Error> {
        let begin = self.offset(index);
        let (len, _) = self.len_raw(index);
        let mut raw = vec![0; len];
        source.read_exact_at(&mut raw, begin)?;
        let blank = raw.iter().position(|byte| !matches!(byte, b'\n' | b'\r')).unwrap_or(0);
        raw.drain(..blank);
        let byte = begin + blank as u64;
        let line = line_at(source, summary, byte)?;
        Ok((Position { byte, line, record: index as u64 + 1 }, raw))
    }
}

/// The one-based line of an offset at which a record begins.
///
/// # Errors
/// Those of reading: up to one block is read again.
pub(crate) fn line_at(source: &Source, summary: &Summary, offset: u64) -> Result<u64, Error> {
    let block = (offset / BLOCK_BYTES as u64) as usize;
    let before = summary.lines_before.get(block).copied();
    let before = before.ok_or_else(|| Error::new(ErrorKind::Changed, source.path()))?;
    let begin = block as u64 * BLOCK_BYTES as u64;
    let mut head = vec![0; (offset - begin) as usize];
    source.read_exact_at(&mut head, begin)?;
    Ok(1 + before + line_ends(&head))
}
