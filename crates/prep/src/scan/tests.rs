//! The parallel scan against the `csv` crate, with block boundaries at every possible byte.

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

type Key = Option<u64>;

/// Reads keys.
struct TestKeyer;

impl Keyer for TestKeyer {
    type Key = Key;

    fn read(&self, field: Option<&[u8]>) -> Key {
        field.map(|field| xxhash_rust::xxh3::xxh3_64(&value(field)))
    }
}

/// Scans a text whose header has the columns `k` and `v`.
fn scan_text(text: &[u8], delimiter: u8, block_bytes: usize) -> (Vec<Record<Key>>, Summary) {
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
fn check(text: &[u8], delimiter: u8, block_bytes: usize) -> Result<(), TestCaseError> {
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

/// Bytes that mean something, in the mix that makes trouble.
fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => Just(b"a".to_vec()),
        4 => Just(b",".to_vec()),
        4 => Just(b"\"".to_vec()),
        2 => Just(b"\"\"".to_vec()),
        3 => Just(b"\n".to_vec()),
        2 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just("é".as_bytes().to_vec()),
        1 => Just(b"\xC3".to_vec()),
        1 => Just(b"\0".to_vec()),
        1 => Just(b" ".to_vec()),
        1 => Just(b";".to_vec()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Well-formed records with all kinds of values, so that long texts stay meaningful.
fn orderly() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        3 => "[a-z0-9]{0,8}".prop_map(String::into_bytes),
        1 => "\"([a-z,;\n]|\r\n|\"\"){0,12}\"".prop_map(String::into_bytes),
        1 => "[a-z]\"[a-z]".prop_map(String::into_bytes),
    ];
    let end = prop_oneof![3 => Just(&b"\n"[..]), 1 => Just(&b"\r\n"[..]), 1 => Just(&b"\n\n"[..])];
    prop::collection::vec((field.clone(), field, end), 0..60).prop_map(|records| {
        records.into_iter().flat_map(|(key, value, end)| [&key[..], b",", &value[..], end].concat()).collect()
    })
}

/// Cases of each law in a run of all tests; the full count is named in CONTRIBUTING.md.
fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("PREP_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(default);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn the_scan_agrees_with_the_csv_crate_on_nasty_bytes(
        text in nasty(),
        delimiter in prop::sample::select(&b",;"[..]),
        block_bytes in 1usize..48,
    ) {
        check(&text, delimiter, block_bytes)?;
    }

    #[test]
    fn the_scan_agrees_with_the_csv_crate_on_orderly_files(
        text in orderly(),
        block_bytes in 5usize..400,
    ) {
        check(&text, b',', block_bytes)?;
    }
}

#[test]
fn no_block_boundary_changes_the_outcome() {
    let text = b"1,\"a\n\"\"b\"\",\r\nc\"\r\n\n2,\"\"\r3,5\" pipe\n\r\n4,\"x\"\n5\n6,\"\xC3\xA9,\n\"\n7,z";
    let whole = scan_text(text, b',', 1 << 20);
    assert_eq!(whole.0.len(), 7);
    for block_bytes in 1..text.len() + 8 {
        let (records, summary) = scan_text(text, b',', block_bytes);
        assert_eq!(
            (&records, summary.blank_lines, summary.fault),
            (&whole.0, whole.1.blank_lines, whole.1.fault)
        );
        check(text, b',', block_bytes).unwrap();
    }
}

#[test]
fn lines_are_counted_alike_whatever_the_blocks() {
    let text = b"1,a\r\n2,b\r3,c\n\r\n4,\"d\r\ne\rf\"\r\n";
    for block_bytes in 1..40 {
        let (_, summary) = scan_text(text, b',', block_bytes);
        assert_eq!(summary.lines_before.last(), Some(&8), "blocks of {block_bytes}");
    }
}

#[test]
fn a_quote_that_never_closes_is_a_fault_at_its_record() {
    let text = b"1,a\n\n2,\"b\n3,c\n";
    for block_bytes in 1..32 {
        let (records, summary) = scan_text(text, b',', block_bytes);
        let fault = summary.fault.unwrap();
        assert_eq!((records.len(), fault.code), (1, FaultCode::UnclosedQuote));
        assert_eq!((fault.records_before, fault.noticed), (1, 18));
        assert!(matches!(fault.offset, 8 | 9), "at the record or at the blank line before it");
    }
}

#[test]
fn text_after_a_quote_is_a_reject_in_one_line_and_a_fault_across_lines() {
    let (records, summary) = scan_text(b"1,\"a\"b\n2,c\n", b',', 64);
    assert_eq!(
        records.iter().map(|record| record.reject).collect::<Vec<_>>(),
        [Some(RejectCode::TextAfterQuote), None]
    );
    assert_eq!(summary.fault, None);
    let (records, summary) = scan_text(b"1,\"a\nx\"b\n2,c\n", b',', 64);
    assert!(records.is_empty());
    assert_eq!(summary.fault.unwrap().code, FaultCode::TextAfterQuote);
}

#[test]
fn many_blank_lines_are_neither_records_nor_a_fault() {
    let mut text = b"1,a\n".to_vec();
    text.extend(std::iter::repeat_n(b"\r\n", 5_000_000).flatten());
    text.extend_from_slice(b"2,b\n");
    let (records, summary) = scan_text(&text, b',', 4 << 20);
    assert_eq!((records.len(), summary.blank_lines, summary.fault), (2, 5_000_000, None));
}

#[test]
fn a_quote_that_swallows_more_than_an_entry_may_hold_is_a_fault() {
    let mut text = b"1,\"a\n".to_vec();
    text.extend(std::iter::repeat_n(&b"2,b\n"[..], 2_000_000).flatten());
    let (records, summary) = scan_text(&text, b',', 64 << 10);
    assert!(records.is_empty());
    let fault = summary.fault.unwrap();
    assert_eq!((fault.code, fault.offset), (FaultCode::RecordTooLarge, 4));
    assert!(fault.noticed < text.len() as u64, "noticed before the end");
}
