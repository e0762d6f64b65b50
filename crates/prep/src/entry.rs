//! One CSV inside an archive while it is being put together, and what the manifest says of it.

use xxhash_rust::xxh3::xxh3_128;

use crate::archive::Entry;
use crate::plan::{Member, PlannedEntry};
use crate::reader::{Reread, content};
use crate::record::{Fields, value};

/// Bytes of a key that reports and manifests show.
const MAX_KEY_BYTES: usize = 256;

/// The records of an entry, as far as they have come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    /// The header and the records as written.
    pub(crate) csv: Vec<u8>,
    pub(crate) span: Span,
}

/// Where an entry's records are from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    pub(crate) records: u64,
    /// Lowest and highest one-based record number.
    pub(crate) record_numbers: Option<(u64, u64)>,
    pub(crate) first_line: u64,
    pub(crate) last_line: u64,
    /// Bytes of the first and of the last record as written.
    pub(crate) first_len: usize,
    pub(crate) last_len: usize,
}

impl Span {
    /// Adds the next record, in file order.
    #[inline]
    pub(crate) fn add(&mut self, index: usize, lines: (u64, u64), len_out: usize) {
        let number = index as u64 + 1;
        let (lowest, _) = *self.record_numbers.get_or_insert((number, number));
        self.record_numbers = Some((lowest, number));
        if self.records == 0 {
            self.first_line = lines.0;
            self.first_len = len_out;
        }
        self.records += 1;
        self.last_line = lines.1;
        self.last_len = len_out;
    }
}

impl Draft {
    /// A draft that begins with a header and will hold `bytes` with it.
    pub(crate) fn new(header: &[u8], bytes: usize) -> Draft {
        Draft::reusing(Vec::new(), header, bytes)
    }

    /// The same in a buffer that held another.
    pub(crate) fn reusing(mut csv: Vec<u8>, header: &[u8], bytes: usize) -> Draft {
        csv.clear();
        csv.reserve(bytes.max(header.len()));
        csv.extend_from_slice(header);
        Draft { csv, span: Span::default() }
    }

    /// Appends the next record; its bytes as written.
    #[inline]
    pub(crate) fn push(&mut self, record: &Reread<'_>) -> usize {
        let before = self.csv.len();
        record.write(&mut self.csv);
        let len_out = self.csv.len() - before;
        self.span.add(record.index, (record.first_line, record.last_line), len_out);
        len_out
    }

    /// What the manifest says of the finished entry.
    ///
    /// # Panics
    /// If the records are not those that were planned: the scan and the second reading would contradict each other,
    /// and nothing must be sent then.
    pub(crate) fn entry(&self, member: &Member, planned: &PlannedEntry) -> Entry {
        let Draft { csv, span } = self;
        assert_eq!(
            (span.records, csv.len() as u64),
            (planned.records, planned.csv_bytes),
            "invariant: an entry holds what was planned"
        );
        let (first_record, last_record) = span.record_numbers.expect("invariant: an entry has a record");
        let header = member.header_bytes as usize;
        let key = |record: &[u8]| member.key_index.and_then(|column| key_of(content(record), b',', column));
        Entry {
            module: member.module.clone(),
            role: member.role,
            kind: member.kind,
            name: planned.name.clone(),
            records: span.records,
            columns: member.columns,
            key_index: member.key_index,
            csv_bytes: csv.len() as u64,
            csv_xxh3_128: format!("{:032x}", xxh3_128(csv)),
            first_record,
            last_record,
            source_lines: [span.first_line, span.last_line],
            first_key: key(&csv[header..header + span.first_len]),
            last_key: key(&csv[csv.len() - span.last_len..]),
        }
    }
}

/// The key of a record, for people to read: lossy, and cut at 256 bytes.
pub(crate) fn key_of(content: &[u8], delimiter: u8, column: u32) -> Option<String> {
    let field = Fields::new(content, delimiter).nth(column as usize)?;
    Some(shown(&value(&content[field])))
}

/// A key for people to read: lossy, and cut at 256 bytes.
pub(crate) fn shown(key: &[u8]) -> String {
    let mut key = String::from_utf8_lossy(key).into_owned();
    if key.len() > MAX_KEY_BYTES {
        let end = (0..=MAX_KEY_BYTES).rev().find(|&end| key.is_char_boundary(end)).unwrap_or(0);
        key.truncate(end);
        key.push('…');
    }
    key
}
