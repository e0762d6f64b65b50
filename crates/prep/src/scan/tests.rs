//! The parallel scan against the `csv` crate, with block boundaries at every possible byte.

use proptest::prelude::*;

use super::laws::{check, scan_text};
use crate::reject::{FaultCode, RejectCode};

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
fn a_byte_order_mark_is_taken_off_the_header_alone() {
    // Found by the fuzzer: before a record it is text, and a quote after it opens nothing.
    check(b"\xEF\xBB\xBF\"*2\n\0\n,x\n", b',', 13).unwrap();
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
