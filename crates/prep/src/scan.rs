//! Record boundaries, found in parallel: every record of an input comes out once, in order, measured and validated.
//!
//! # Advice for maintainers
//! Every worker takes one block and must guess where the first record of it begins: after the first line end. The
//! guess is wrong where that line end stands inside quotes. So nothing a worker found counts until the one
//! sequential stitcher, which knows the true state at the end of the block before, has parsed on from there and
//! reached a record's end that the worker found too. From a common record's end both automata go on alike, since
//! the kernel has no state between records; up to there the stitcher's own records count. In a file that is quoted
//! so that the two never meet, the stitcher parses all of it: slower, never different.
//!
//! A worker never decides at the block's end: what does not end there is carried over.

pub(crate) mod kernel;
#[cfg(any(test, fuzzing))]
pub(crate) mod laws;
#[cfg(any(test, fuzzing))]
mod oracle;
mod structurals;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use crate::error::Error;
use crate::record::write_normalized;
use crate::reject::{FaultCode, RejectCode};
use crate::reporter::Reporter;
use crate::source::Source;
use crate::validate::Rules;
use kernel::{Kernel, Parsed, Shape, Step};

/// Bytes that one worker scans at a time, and that one digest of a fingerprint is taken over.
pub(crate) const BLOCK_BYTES: usize = 4 << 20;

/// A record that has not ended after this many bytes is taken for the work of a quote too many. Above every limit
/// that can be set (26,214,400 bytes an archive), and what the carry may grow to.
const MAX_CARRY_BYTES: usize = 64 << 20;

/// One record, measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<K> {
    /// Bytes from the end of the record before to the end of this one: blank lines before it and its line end included.
    pub(crate) len_raw: u32,
    /// Bytes of it as written, LF included.
    pub(crate) len_out: u32,
    /// Blank lines before it.
    pub(crate) blank_lines: u32,
    /// Its content is not what is written; see [`write_normalized`].
    pub(crate) rewritten: bool,
    /// What is wrong with it.
    pub(crate) reject: Option<RejectCode>,
    /// A line end stands inside its quotes.
    pub(crate) spans_lines: bool,
    /// What the caller made of its key.
    pub(crate) key: K,
}

/// What a scan leaves besides the records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// XXH3-128 of every block of the file.
    pub(crate) block_digests: Vec<u128>,
    /// Line ends before each block; one more than there are blocks, the last being their sum.
    pub(crate) lines_before: Vec<u64>,
    /// Blank lines between and after records.
    pub(crate) blank_lines: u64,
    /// Why the scan ended early.
    pub(crate) fault: Option<RawFault>,
}

/// A fault, by offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawFault {
    pub(crate) code: FaultCode,
    /// Where the record begins (or the blank lines before it).
    pub(crate) offset: u64,
    /// How many records come before it.
    pub(crate) records_before: u64,
    /// Where it was noticed.
    pub(crate) noticed: u64,
}

/// Makes something of the records' keys, on the workers.
pub(crate) trait Keyer: Sync {
    /// What it makes.
    type Key: Copy + Send;

    /// Reads a key field as it stands in the file; `None` where the record has no such field.
    fn read(&self, field: Option<&[u8]>) -> Self::Key;
}

/// Scans an input from its first record to its end or to the first fault, on the current rayon pool.
///
/// `sink` gets every record once, in file order, from the calling thread.
///
/// # Errors
/// Those of reading; `Changed` if the file has another length than when it was opened.
pub(crate) fn scan<F: Keyer>(
    source: &Source,
    rules: Rules,
    keyer: &F,
    sink: &mut dyn FnMut(&Record<F::Key>),
    reporter: &dyn Reporter,
) -> Result<Summary, Error> {
    scan_blocks(source, BLOCK_BYTES, rules, keyer, sink, reporter)
}

/// The same with another block size, for the tests.
fn scan_blocks<F: Keyer>(
    source: &Source,
    block_bytes: usize,
    rules: Rules,
    keyer: &F,
    sink: &mut dyn FnMut(&Record<F::Key>),
    reporter: &dyn Reporter,
) -> Result<Summary, Error> {
    let blocks = source.len().div_ceil(block_bytes as u64);
    let first_block = source.header.end / block_bytes as u64;
    let measurer = Measurer { shape: source.shape, rules, keyer };
    let mut stitcher = Stitcher::new(&measurer, source.header.end, sink);
    let mut summary = Summary { lines_before: vec![0], ..Summary::default() };
    // Two blocks a thread keep every core busy while one of them waits for its file.
    let in_flight = (2 * rayon::current_num_threads()).clamp(2, 32);
    let mut slots: Vec<Slot<F::Key>> = (0..in_flight.min(blocks as usize)).map(|_| Slot::default()).collect();
    let mut ends_in_cr = false;
    let mut next = 0_u64;
    while next < blocks && stitcher.fault.is_none() {
        let batch = (blocks - next).min(slots.len() as u64) as usize;
        slots[..batch].par_iter_mut().enumerate().try_for_each(|(i, slot)| {
            let block = next + i as u64;
            let offset = block * block_bytes as u64;
            let len = (source.len() - offset).min(block_bytes as u64) as usize;
            slot.block.resize(len, 0);
            source.read_exact_at(&mut slot.block, offset)?;
            slot.digest = xxh3_128(&slot.block);
            slot.line_ends = line_ends(&slot.block);
            let start = match block.cmp(&first_block) {
                std::cmp::Ordering::Less => Start::Nowhere,
                std::cmp::Ordering::Equal => Start::Known((source.header.end - offset) as usize),
                std::cmp::Ordering::Greater => Start::Guessed,
            };
            slot.guess = measurer.block(&slot.block, start, std::mem::take(&mut slot.guess.records));
            Ok(())
        })?;
        for slot in &slots[..batch] {
            // A CRLF that two blocks share is one line end, counted where its LF stands.
            if ends_in_cr && slot.block.first() == Some(&b'\n') {
                *summary.lines_before.last_mut().expect("invariant: it begins with one element") -= 1;
            }
            ends_in_cr = slot.block.last() == Some(&b'\r');
            let lines_before = summary.lines_before[summary.lines_before.len() - 1];
            summary.lines_before.push(lines_before + slot.line_ends);
            summary.block_digests.push(slot.digest);
            if next < first_block {
                next += 1;
                continue;
            }
            let before = stitcher.records;
            let from =
                if next == first_block { (source.header.end % block_bytes as u64) as usize } else { 0 };
            stitcher.block(&slot.block, from, &slot.guess);
            reporter.scanned(slot.block.len() as u64, stitcher.records - before);
            next += 1;
            if stitcher.fault.is_some() {
                break;
            }
        }
    }
    stitcher.finish();
    source.check_len()?;
    summary.blank_lines = stitcher.blank_lines;
    summary.fault = stitcher.fault;
    Ok(summary)
}

/// Line ends in a block: LF, CRLF and CR are one each. A CR as the last byte counts.
pub(crate) fn line_ends(block: &[u8]) -> u64 {
    let lf = memchr::memchr_iter(b'\n', block).count();
    let lone_cr = memchr::memchr_iter(b'\r', block).filter(|&cr| block.get(cr + 1) != Some(&b'\n')).count();
    (lf + lone_cr) as u64
}

/// A block and what its worker makes of it; buffers are used again and again.
struct Slot<K> {
    block: Vec<u8>,
    digest: u128,
    line_ends: u64,
    guess: Guess<K>,
}

impl<K> Default for Slot<K> {
    fn default() -> Slot<K> {
        Slot {
            block: Vec::new(),
            digest: 0,
            line_ends: 0,
            guess: Guess { start: 0, records: Vec::new(), end: 0 },
        }
    }
}

/// Where a worker begins.
#[derive(Clone, Copy)]
enum Start {
    /// The header's block: its end is known.
    Known(usize),
    /// Any later block.
    Guessed,
    /// A block inside the header.
    Nowhere,
}

/// The records of a block, if one of them begins at `start`.
struct Guess<K> {
    start: usize,
    records: Vec<Record<K>>,
    /// End of the last one.
    end: usize,
}

struct Measurer<'a, F> {
    shape: Shape,
    rules: Rules,
    keyer: &'a F,
}

impl<F: Keyer> Measurer<'_, F> {
    /// Every record that begins and ends in the block, from the known or guessed start on.
    fn block(&self, block: &[u8], start: Start, mut records: Vec<Record<F::Key>>) -> Guess<F::Key> {
        records.clear();
        let start = match start {
            Start::Known(start) => start,
            Start::Guessed => first_line_end(block).unwrap_or(block.len()),
            Start::Nowhere => block.len(),
        };
        // One pass over the whole block is much faster than one over each record; where it fails, each is checked.
        let rest = &block[start..];
        let text_checked = match str::from_utf8(rest) {
            // The last character may go on in the next block.
            Err(error) if error.error_len().is_none() => memchr::memchr(0, rest).is_none(),
            Err(_) => false,
            Ok(_) => memchr::memchr(0, rest).is_none(),
        };
        let mut kernel = Kernel::new(block, start, self.shape, false);
        let mut end = start;
        let mut scratch = Vec::new();
        while let Step::Record(parsed) = kernel.next() {
            records.push(self.record(block, end, &parsed, text_checked, &mut scratch));
            end = parsed.end;
        }
        Guess { start, records, end }
    }

    /// A record that is measured on its own.
    fn settled(&self, buf: &[u8], begin: usize, parsed: &Parsed, scratch: &mut Vec<u8>) -> Record<F::Key> {
        self.record(buf, begin, parsed, false, scratch)
    }

    #[inline]
    fn record(
        &self,
        buf: &[u8],
        begin: usize,
        parsed: &Parsed,
        text_checked: bool,
        scratch: &mut Vec<u8>,
    ) -> Record<F::Key> {
        let content = &buf[parsed.content.clone()];
        let rewritten = !parsed.canonical || self.shape.delimiter != b',';
        let len_out = if rewritten {
            scratch.clear();
            write_normalized(content, self.shape.delimiter, scratch);
            scratch.len()
        } else {
            content.len() + 1
        };
        Record {
            len_raw: (parsed.end - begin) as u32,
            len_out: len_out as u32,
            blank_lines: parsed.blank_lines as u32,
            rewritten: rewritten || parsed.content.start != begin,
            reject: self.rules.check(parsed, content, len_out as u64, text_checked),
            spans_lines: parsed.spans_lines,
            key: self.keyer.read(parsed.key.as_ref().map(|key| &buf[key.clone()])),
        }
    }
}

/// The byte after the first line end, if it is certain that the line end is over there.
fn first_line_end(block: &[u8]) -> Option<usize> {
    let end = memchr::memchr2(b'\n', b'\r', block)?;
    match (block[end], block.get(end + 1)) {
        (b'\n', _) => Some(end + 1),
        (_, Some(b'\n')) => Some(end + 2),
        (_, Some(_)) => Some(end + 1),
        (_, None) => None,
    }
}

/// Knows what is true: takes over what the workers found from where it has proved right.
struct Stitcher<'a, F: Keyer> {
    measurer: &'a Measurer<'a, F>,
    sink: &'a mut dyn FnMut(&Record<F::Key>),
    /// The bytes from the last record's end on.
    carry: Vec<u8>,
    /// Where the carry begins in the file.
    offset: u64,
    /// Blank lines already taken off the carry: their bytes and their number. They belong to the next record.
    blank: (u64, u64),
    records: u64,
    blank_lines: u64,
    fault: Option<RawFault>,
    scratch: Vec<u8>,
}

impl<'a, F: Keyer> Stitcher<'a, F> {
    fn new(measurer: &'a Measurer<'a, F>, offset: u64, sink: &'a mut dyn FnMut(&Record<F::Key>)) -> Self {
        Stitcher {
            measurer,
            sink,
            carry: Vec::new(),
            offset,
            blank: (0, 0),
            records: 0,
            blank_lines: 0,
            fault: None,
            scratch: Vec::new(),
        }
    }

    /// Goes through `block[from..]`, which follows the carry in the file.
    fn block(&mut self, block: &[u8], from: usize, guess: &Guess<F::Key>) {
        let mut boundary = Boundary { records: &guess.records, next: 0, end: guess.start };
        let mut taken = from;
        // Usually the carried record ends where the guess begins.
        let mut target = guess.start;
        // Where the guess begins right here and nothing is carried, it needs no proof.
        let mut synced = self.carry.is_empty() && boundary.reach(from);
        while !synced {
            if taken == block.len() {
                return self.check_carry();
            }
            let target_now = target.max(taken + 1).min(block.len());
            self.carry.extend_from_slice(&block[taken..target_now]);
            taken = target_now;
            target = taken + self.carry.len().max(64);
            let carry = std::mem::take(&mut self.carry);
            let mut kernel = Kernel::new(&carry, 0, self.measurer.shape, false);
            let mut done = 0;
            while let Step::Record(parsed) = kernel.next() {
                let record = self.measurer.settled(&carry, done, &parsed, &mut self.scratch);
                done = parsed.end;
                if !self.emit(&record) {
                    return;
                }
                // The end's place in the block, if it lies there.
                if let Some(end) = (done + taken).checked_sub(carry.len())
                    && boundary.reach(end)
                {
                    synced = true;
                    break;
                }
            }
            self.carry = carry;
            self.carry.drain(..done);
        }
        self.carry.clear();
        for record in &guess.records[boundary.next..] {
            if !self.emit(record) {
                return;
            }
        }
        self.carry.extend_from_slice(&block[guess.end..]);
        self.check_carry();
    }

    /// Hands a record on; `false` if it is a fault.
    #[inline]
    fn emit(&mut self, record: &Record<F::Key>) -> bool {
        let mut record = *record;
        if self.blank.0 > 0 {
            record.len_raw += self.blank.0 as u32;
            record.blank_lines += self.blank.1 as u32;
            record.rewritten = true;
            self.blank = (0, 0);
        }
        let end = self.offset + u64::from(record.len_raw);
        if record.spans_lines {
            let code = match record.reject {
                Some(RejectCode::TextAfterQuote) => Some(FaultCode::TextAfterQuote),
                Some(RejectCode::RecordTooLarge) => Some(FaultCode::RecordTooLarge),
                _ => None,
            };
            if let Some(code) = code {
                self.set_fault(code, end);
                return false;
            }
        }
        self.offset = end;
        self.records += 1;
        self.blank_lines += u64::from(record.blank_lines);
        (self.sink)(&record);
        true
    }

    fn set_fault(&mut self, code: FaultCode, noticed: u64) {
        self.fault = Some(RawFault { code, offset: self.offset, records_before: self.records, noticed });
    }

    /// Neither a record that does not end nor a run of blank lines must fill the memory.
    fn check_carry(&mut self) {
        let blank_bytes = self.carry.iter().position(|byte| !matches!(byte, b'\n' | b'\r'));
        // A CR at the end may be half of a CRLF.
        let blank_bytes = blank_bytes.unwrap_or(self.carry.len().saturating_sub(1));
        if blank_bytes > 0 {
            let blank = &self.carry[..blank_bytes];
            let half =
                usize::from(blank.last() == Some(&b'\r') && self.carry.get(blank_bytes) == Some(&b'\n'));
            let blank = &self.carry[..blank_bytes - half];
            self.blank.0 += blank.len() as u64;
            self.blank.1 += line_ends(blank);
            let blank_bytes = blank.len();
            self.carry.drain(..blank_bytes);
        }
        let carry_limit = self.measurer.rules.max_record_bytes.saturating_mul(2).min(MAX_CARRY_BYTES as u64);
        // A record's length with the blank lines before it stays below the table's bits.
        let blank_limit = 1 << 29;
        if self.carry.len() as u64 > carry_limit.max(BLOCK_BYTES as u64) || self.blank.0 > blank_limit {
            let end = self.offset + self.blank.0 + self.carry.len() as u64;
            self.set_fault(FaultCode::RecordTooLarge, end);
        }
    }

    /// The input's end: what is carried is its last record, or blank.
    fn finish(&mut self) {
        if self.fault.is_some() {
            return;
        }
        let carry = std::mem::take(&mut self.carry);
        let mut kernel = Kernel::new(&carry, 0, self.measurer.shape, true);
        let mut done = 0;
        loop {
            match kernel.next() {
                Step::Record(parsed) => {
                    let record = self.measurer.settled(&carry, done, &parsed, &mut self.scratch);
                    done = parsed.end;
                    if !self.emit(&record) {
                        return;
                    }
                }
                Step::End { blank_lines } => {
                    self.blank_lines += blank_lines + self.blank.1;
                    return;
                }
                Step::UnclosedQuote { .. } => {
                    let end = self.offset + self.blank.0 + (carry.len() - done) as u64;
                    return self.set_fault(FaultCode::UnclosedQuote, end);
                }
                Step::Incomplete { .. } => unreachable!("at the input's end nothing is incomplete"),
            }
        }
    }
}

/// Walks over the record ends of a guess.
struct Boundary<'a, K> {
    records: &'a [Record<K>],
    /// The record that begins at `end`.
    next: usize,
    end: usize,
}

impl<K> Boundary<'_, K> {
    /// Whether `position` is where one of the guess's records begins or its last one ends. Positions must not decrease.
    fn reach(&mut self, position: usize) -> bool {
        while self.end < position && self.next < self.records.len() {
            self.end += self.records[self.next].len_raw as usize;
            self.next += 1;
        }
        self.end == position
    }
}

#[cfg(test)]
mod tests;
