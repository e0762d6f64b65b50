//! What the scan keeps of an input's records: eight bytes each, and where each one lies can be told from them.
//!
//! Codes of rejects stand where a length would; that they are told apart rests on the highest bit of either.

use std::ops::Range;
use std::sync::Arc;

use crate::column::{Budget, Column, Reader};
use crate::error::{Error, ErrorKind, Position};
use crate::reject::RejectCode;
use crate::scan::{BLOCK_BYTES, Record, Summary, line_ends};
use crate::source::Source;

/// The records of one input, by zero-based index.
#[derive(Debug)]
pub(crate) struct Table {
    /// Bytes in the file, and [`REWRITTEN`] and [`ONE_LINE`].
    len_raw: Column<u32>,
    /// Bytes as written; for a reject the place of its code among all codes, above [`REJECT`].
    len_out: Column<u32>,
    /// Offset of every `CHECKPOINT`th record.
    checkpoints: Vec<u64>,
    /// Offset of the first byte after the last record.
    end: u64,
    /// How many rejects there are of each code.
    rejects: [u64; RejectCode::ALL.len()],
    /// Bytes of the longest record as written, rejects included.
    pub(crate) widest: u32,
}

/// What the table knows of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Bytes in the file, blank lines before it included.
    pub(crate) len_raw: usize,
    /// Whether it is written otherwise than it stands there.
    pub(crate) rewritten: bool,
    /// Whether no line end stands in it or before it.
    pub(crate) one_line: bool,
    /// Bytes as written, or why it is not.
    pub(crate) len_out: Result<u32, RejectCode>,
}

impl Row {
    /// Bytes as written; 0 for a reject.
    pub(crate) fn bytes(&self) -> u32 {
        self.len_out.unwrap_or(0)
    }
}

/// No record is as long as these bits say: see the scan's longest carry.
const REWRITTEN: u32 = 1 << 31;
const ONE_LINE: u32 = 1 << 30;
const REJECT: u32 = 1 << 31;
const CHECKPOINT: usize = 1024;

/// Record indexes stay below this, so that the values above can mean something else.
pub(crate) const MAX_RECORDS: usize = u32::MAX as usize - 16;

impl Table {
    /// An empty table of the records that begin at this offset.
    pub(crate) fn new(offset: u64, budget: &Arc<Budget>) -> Table {
        Table {
            len_raw: Column::new(budget),
            len_out: Column::new(budget),
            checkpoints: Vec::new(),
            end: offset,
            rejects: [0; RejectCode::ALL.len()],
            widest: 0,
        }
    }

    /// Adds the next record; one with a reject code is kept, but not written.
    #[inline]
    pub(crate) fn push<K>(&mut self, record: &Record<K>) {
        if self.len_raw.len().is_multiple_of(CHECKPOINT) {
            self.checkpoints.push(self.end);
        }
        self.end += u64::from(record.len_raw);
        self.widest = self.widest.max(record.len_out);
        let rewritten = if record.rewritten { REWRITTEN } else { 0 };
        let one_line = if record.spans_lines || record.blank_lines > 0 { 0 } else { ONE_LINE };
        self.len_raw.push(record.len_raw | rewritten | one_line);
        self.len_out.push(match record.reject {
            None => record.len_out,
            Some(code) => {
                self.rejects[code as usize] += 1;
                REJECT | code as u32
            }
        });
    }

    /// To be called after the last record.
    ///
    /// # Errors
    /// `Spill`; `TooManyRecords`.
    pub(crate) fn finish(&mut self, source: &Source) -> Result<(), Error> {
        self.len_raw.finish()?;
        self.len_out.finish()?;
        if self.records() <= MAX_RECORDS {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TooManyRecords { max: MAX_RECORDS as u64 }, source.path()))
    }

    /// How many records there are, rejects included.
    pub(crate) fn records(&self) -> usize {
        self.len_raw.len()
    }

    /// How many rejects there are.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejects.iter().sum()
    }

    /// How many rejects there are of each code, only those that are.
    pub(crate) fn reject_counts(&self) -> impl Iterator<Item = (RejectCode, u64)> {
        RejectCode::ALL.into_iter().zip(self.rejects).filter(|&(_, count)| count > 0)
    }

    /// Makes records rejects, unless they are rejects already. Their indexes must ascend; the list is emptied.
    ///
    /// # Errors
    /// `Spill`.
    pub(crate) fn reject_all(&mut self, rejects: &mut Vec<(usize, RejectCode)>) -> Result<(), Error> {
        let Table { len_out, rejects: counts, .. } = self;
        let mut scratch = Vec::new();
        let mut lens: Vec<u32> = Vec::new();
        let mut rest = &rejects[..];
        while let Some(&(first, _)) = rest.first() {
            let page = len_out.page_of(first);
            let start = len_out.page_start(page);
            lens.clear();
            lens.extend_from_slice(len_out.page(page, &mut scratch)?);
            let of_page = rest.partition_point(|&(index, _)| index < start + lens.len());
            for &(index, code) in &rest[..of_page] {
                let len_out = &mut lens[index - start];
                if *len_out & REJECT == 0 {
                    *len_out = REJECT | code as u32;
                    counts[code as usize] += 1;
                }
            }
            len_out.set_page(page, &lens)?;
            rest = &rest[of_page..];
        }
        rejects.clear();
        Ok(())
    }

    /// Reads the rows, best in order.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows { len_raw: self.len_raw.reader(), len_out: self.len_out.reader() }
    }

    /// Offset of a record's first byte, blank lines before it included; that of the end for one past the last.
    ///
    /// # Errors
    /// `Spill`.
    pub(crate) fn offset(&self, index: usize) -> Result<u64, Error> {
        if index == self.records() {
            return Ok(self.end);
        }
        let checkpoint = index / CHECKPOINT;
        let mut offset = self.checkpoints[checkpoint];
        let mut rows = self.rows();
        for before in checkpoint * CHECKPOINT..index {
            offset += rows.get(before)?.len_raw as u64;
        }
        Ok(offset)
    }

    /// Where the bytes of some records lie in the file.
    ///
    /// # Errors
    /// `Spill`.
    pub(crate) fn byte_range(&self, indexes: Range<usize>) -> Result<Range<u64>, Error> {
        Ok(self.offset(indexes.start)?..self.offset(indexes.end)?)
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
        let begin = self.offset(index)?;
        let mut raw = vec![0; self.rows().get(index)?.len_raw];
        source.read_exact_at(&mut raw, begin)?;
        let blank = raw.iter().position(|byte| !matches!(byte, b'\n' | b'\r')).unwrap_or(0);
        raw.drain(..blank);
        let byte = begin + blank as u64;
        let line = line_at(source, summary, byte)?;
        Ok((Position { byte, line, record: index as u64 + 1 }, raw))
    }
}

/// Reads what a table knows of records one by one.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    len_raw: Reader<'a, u32>,
    len_out: Reader<'a, u32>,
}

impl Rows<'_> {
    /// The row at an index.
    ///
    /// # Errors
    /// `Spill`.
    #[inline]
    pub(crate) fn get(&mut self, index: usize) -> Result<Row, Error> {
        let len_raw = self.len_raw.get(index)?;
        let len_out = self.len_out.get(index)?;
        Ok(Row {
            len_raw: (len_raw & !(REWRITTEN | ONE_LINE)) as usize,
            rewritten: len_raw & REWRITTEN != 0,
            one_line: len_raw & ONE_LINE != 0,
            len_out: if len_out & REJECT == 0 {
                Ok(len_out)
            } else {
                Err(RejectCode::ALL[(len_out & !REJECT) as usize])
            },
        })
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
