//! The laws between the parallel scan and the `csv` crate, for tests and for the fuzzer.

#![allow(clippy::unwrap_used, reason = "only tests and the fuzzer come here")]

use std::io::Write as _;

use proptest::prelude::*;

use super::oracle::{OracleRecord, records as oracle};
use super::{Keyer, RawFault, Record, Summary, scan_blocks};
use crate::job::Input;
use crate::record::{Fields, value, write_normalized};
use crate::reject::{FaultCode, RejectCode};
use crate::source::Source;
use crate::validate::Rules;

/// Opens a text as an input with a header of its own, so that a test's text is all records.
fn source(header: &str, text: &[u8], delimiter: u8) -> (tempfile::TempPath, Source) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.write_all(text).unwrap();
    let path = file.into_temp_path();
    let input = Input {
        module: "M".to_owned(),
        path: path.to_path_buf(),
        key: Some("k".to_owned()),
        delimiter: Some(delimiter),
        encoding: None,
    };
    let source = Source::open(&input, &std::env::temp_dir()).unwrap();
    (path, source)
}

pub(super) type Key = Option<u64>;

/// Reads keys.
struct TestKeyer;

impl Keyer for TestKeyer {
    type Key = Key;

    fn read(&self, field: Option<&[u8]>) -> Key {
        field.map(|field| xxhash_rust::xxh3::xxh3_64(&value(field)))
    }
}

/// Scans a text whose header has the columns `k` and `v`.
pub(super) fn scan_text(text: &[u8], delimiter: u8, block_bytes: usize) -> (Vec<Record<Key>>, Summary) {
    let header = format!("k{}v\n", char::from(delimiter));
    let (_path, source) = source(&header, text, delimiter);
    let rules = Rules { columns: 2, max_record_bytes: 1 << 20 };
    let mut found = Vec::new();
    let mut sink = |record: &Record<Key>| found.push(*record);
    let summary = scan_blocks(&source, block_bytes, rules, &TestKeyer, &mut sink, &()).unwrap();
    (found, summary)
}

/// What the csv crate and the rules together say of a record.
fn expected_reject(raw: &[u8], oracle: &OracleRecord, delimiter: u8) -> Option<RejectCode> {
    let text_after_quote = Fields::new(raw, delimiter).any(|field| has_text_after_quote(&raw[field]));
    if text_after_quote {
        return Some(RejectCode::TextAfterQuote);
    }
    if oracle.fields.len() != 2 {
        return Some(RejectCode::WrongFieldCount);
    }
    if oracle.fields.iter().any(|field| str::from_utf8(field).is_err()) {
        return Some(RejectCode::InvalidUtf8);
    }
    oracle.fields.iter().any(|field| field.contains(&0)).then_some(RejectCode::Nul)
}

/// Walks a field byte by byte; it is quoted if and only if its first byte is a quote.
fn has_text_after_quote(field: &[u8]) -> bool {
    let mut i = if field.first() == Some(&b'"') { 1 } else { return false };
    while i < field.len() {
        match (field[i], field.get(i + 1)) {
            (b'"', Some(b'"')) => i += 2,
            (b'"', None) => return false,
            (b'"', Some(_)) => return true,
            _ => i += 1,
        }
    }
    false
}

/// The laws between the scan and the oracle, for one text and one block size.
pub(super) fn check(text: &[u8], delimiter: u8, block_bytes: usize) -> Result<(), TestCaseError> {
    let expected = oracle(text, delimiter);
    let (found, summary) = scan_text(text, delimiter, block_bytes);
    let complete = summary.fault.is_none();
    if complete {
        prop_assert_eq!(found.len(), expected.len(), "as many records");
    } else {
        prop_assert!(found.len() < expected.len(), "a fault replaces a record");
    }
    let mut begin = 0;
    for (record, oracle) in found.iter().zip(&expected) {
        let end = begin + record.len_raw as usize;
        let raw = &text[begin..end];
        let lead = raw.iter().position(|byte| !matches!(byte, b'\n' | b'\r')).unwrap();
        let raw = crate::reader::content(&raw[lead..]);
        // The csv crate leaves the LF of a CRLF to the next record.
        prop_assert!(
            oracle.end as usize == end || (oracle.end as usize + 1 == end && text[end - 1] == b'\n')
        );
        let fields: Vec<Vec<u8>> =
            Fields::new(raw, delimiter).map(|field| value(&raw[field]).into_owned()).collect();
        prop_assert_eq!(&fields, &oracle.fields, "the same values");
        prop_assert_eq!(record.reject, expected_reject(raw, oracle, delimiter));
        prop_assert_eq!(record.key, oracle.fields.first().map(|field| xxhash_rust::xxh3::xxh3_64(field)));
        let mut written = Vec::new();
        write_normalized(raw, delimiter, &mut written);
        prop_assert_eq!(record.len_out as usize, written.len());
        let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        writer.write_record(&oracle.fields).unwrap();
        prop_assert_eq!(&written, &writer.into_inner().unwrap(), "written as the csv crate writes it");
        if !record.rewritten {
            prop_assert_eq!(
                &written[..written.len() - 1],
                raw,
                "a record that is copied already stands as written"
            );
        }
        begin = end;
    }
    if let Some(RawFault { code, offset, records_before, .. }) = summary.fault {
        let header = 4;
        prop_assert_eq!(offset, begin as u64 + header);
        prop_assert_eq!(records_before as usize, found.len());
        let rest = &text[begin..];
        match code {
            FaultCode::UnclosedQuote => {
                prop_assert_eq!(found.len() + 1, expected.len(), "the record that never ends is the last");
            }
            FaultCode::TextAfterQuote => {
                let end = expected[found.len()].end as usize - begin;
                let record = rest[..end].trim_ascii();
                prop_assert!(record.contains(&b'\n') || record.contains(&b'\r'), "it spans lines");
            }
            FaultCode::RecordTooLarge => prop_assert!(false, "these texts are small"),
        }
    }
    Ok(())
}

/// The same for a fuzzer's bytes: the first chooses the delimiter, the second the size of a block, the rest is text.
#[cfg(fuzzing)]
pub(crate) fn check_fuzzed(data: &[u8]) {
    let [delimiter, block_bytes, text @ ..] = data else { return };
    let delimiter = crate::dialect::CANDIDATES[*delimiter as usize % 5];
    check(text, delimiter, 1 + *block_bytes as usize).expect("the scan agrees with the csv crate");
}
