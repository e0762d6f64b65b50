//! Reads an input's records a second time: every block is held against the scan's digest before a byte of it is used.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_128;

use crate::error::{Error, ErrorKind};
use crate::record::write_normalized;
use crate::reject::RejectCode;
use crate::scan::{BLOCK_BYTES, Summary, line_ends};
use crate::source::Source;
use crate::table::Table;

/// One scanned input.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) source: Source,
    pub(crate) table: Table,
    pub(crate) summary: Summary,
}

/// A record read again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reread<'a> {
    /// Zero-based.
    pub(crate) index: usize,
    /// Zero-based offset of its first byte in the file.
    pub(crate) byte: u64,
    /// Without the blank lines before it.
    pub(crate) raw: &'a [u8],
    /// One-based line of its first byte.
    pub(crate) first_line: u64,
    /// One-based line of its last byte.
    pub(crate) last_line: u64,
    rewritten: bool,
    /// Bytes as written; its code if it is a reject.
    pub(crate) len_out: Result<u32, RejectCode>,
    delimiter: u8,
}

impl Reread<'_> {
    /// Appends the record as it is written.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if self.rewritten {
            write_normalized(content(self.raw), self.delimiter, out);
        } else {
            // Content that already stands as it is written; its line end may be another.
            out.extend_from_slice(content(self.raw));
            out.push(b'\n');
        }
    }
}

/// A record without its line end.
pub(crate) fn content(raw: &[u8]) -> &[u8] {
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    raw.strip_suffix(b"\r").unwrap_or(raw)
}

impl Scanned {
    /// Calls `sink` with every record of a range that is no reject, in order. `buf` is for the blocks; it may be used
    /// again and again.
    ///
    /// # Errors
    /// `Changed` if a block is not what was scanned; those of reading; the sink's.
    pub(crate) fn reread(
        &self,
        indexes: Range<usize>,
        buf: &mut Vec<u8>,
        sink: &mut dyn FnMut(Reread<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.walk(indexes, |reject| reject.is_none(), buf, sink)
    }

    /// The same for the records that are `wanted`, who are told by their code if they are rejects.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn walk(
        &self,
        indexes: Range<usize>,
        wanted: impl Fn(Option<RejectCode>) -> bool,
        buf: &mut Vec<u8>,
        sink: &mut dyn FnMut(Reread<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let bytes = self.table.byte_range(indexes.clone())?;
        let mut rows = self.table.rows();
        // Bytes of `buf` that a record goes on from the block before. What lies beyond is never read before it is
        // written, so that `buf` need not be cleared.
        let mut carried = 0;
        let mut index = indexes.start;
        let mut line = 0;
        for block in bytes.start / BLOCK_BYTES as u64..bytes.end.div_ceil(BLOCK_BYTES as u64) {
            let offset = block * BLOCK_BYTES as u64;
            let len = self.source.len().saturating_sub(offset).min(BLOCK_BYTES as u64) as usize;
            let begin = offset - carried as u64;
            let filled = carried + len;
            if buf.len() < filled {
                buf.resize(filled, 0);
            }
            self.source.read_exact_at(&mut buf[carried..filled], offset)?;
            if self.summary.block_digests.get(block as usize) != Some(&xxh3_128(&buf[carried..filled])) {
                return Err(Error::new(ErrorKind::Changed, self.source.path()));
            }
            let mut position = 0;
            if index == indexes.start && carried == 0 {
                position = bytes.start.saturating_sub(offset) as usize;
                line = 1 + self.summary.lines_before[block as usize] + line_ends(&buf[..position]);
            }
            while index < indexes.end {
                let row = rows.get(index)?;
                let Some(raw) = buf[..filled].get(position..position + row.len_raw) else { break };
                let ended = u64::from(matches!(raw.last(), Some(b'\n' | b'\r')));
                // Nearly all records are one line and need no look.
                let line_after = line + if row.one_line { ended } else { line_ends(raw) };
                if wanted(row.len_out.err()) {
                    let blank = if row.rewritten { blank_prefix(raw) } else { 0 };
                    sink(Reread {
                        index,
                        byte: begin + (position + blank) as u64,
                        raw: &raw[blank..],
                        first_line: line + line_ends(&raw[..blank]),
                        last_line: line_after - ended,
                        rewritten: row.rewritten,
                        len_out: row.len_out,
                        delimiter: self.source.shape.delimiter,
                    })?;
                }
                position += row.len_raw;
                line = line_after;
                index += 1;
            }
            buf.copy_within(position..filled, 0);
            carried = filled - position;
        }
        Ok(())
    }
}

/// Bytes of the blank lines before a record.
fn blank_prefix(raw: &[u8]) -> usize {
    raw.iter().position(|byte| !matches!(byte, b'\n' | b'\r')).unwrap_or(raw.len())
}
