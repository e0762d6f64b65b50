//! Inputs that are wrong, each with its reject, fault or error.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use prep::{ErrorKind, FaultCode, Limits, Position, Prepared, RejectCode, RejectPolicy, Settings};

use crate::support::{entries, input, job, pack_all, rows};

fn write(dir: &Path, module: &str, text: impl AsRef<[u8]>) {
    std::fs::write(dir.join(format!("{module}.csv")), text).unwrap();
}

fn prepare(dir: &Path, children: &[&str]) -> Prepared {
    prep::prepare(&job(dir, children, Settings::default()), &()).unwrap()
}

/// The one error of a job on a lone file with this text.
fn error(text: impl AsRef<[u8]>) -> String {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", text);
    let errors = prep::prepare(&job(dir.path(), &[], Settings::default()), &()).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].to_string().replace(&dir.path().display().to_string(), "DIR")
}

/// The one reject of a job on a lone file with this text.
fn reject(text: impl AsRef<[u8]>) -> (Position, RejectCode, String, Option<String>) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", text);
    let prepared = prepare(dir.path(), &[]);
    assert!(prepared.must_stop());
    let counts = prepared.reject_counts();
    assert_eq!(counts.len(), 1, "{counts:?}");
    let reject = prepared.first_rejects(0, counts[0].1, 10).unwrap().remove(0);
    (reject.position, reject.code, reject.message, reject.key)
}

/// The one fault of a job on a lone file with this text.
fn fault(text: impl AsRef<[u8]>) -> (Position, FaultCode, u64) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", text);
    let settings = Settings { rejects: RejectPolicy::SetAside, ..Settings::default() };
    let prepared = prep::prepare(&job(dir.path(), &[], settings), &()).unwrap();
    assert!(prepared.must_stop(), "under either policy");
    assert!(prepared.plan().chunks().is_empty());
    assert_eq!(prepared.faults().len(), 1);
    let fault = &prepared.faults()[0];
    (fault.position, fault.code, fault.noticed_line)
}

#[test]
fn an_empty_file_is_an_error_with_or_without_bom_and_blank_lines() {
    assert_eq!(error(""), "DIR/P.csv: the file is empty: not even a header");
    assert_eq!(error("\u{FEFF}\n\r\n"), "DIR/P.csv: the file is empty: not even a header");
}

#[test]
fn a_header_alone_is_no_record_and_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", "id,name");
    let prepared = prepare(dir.path(), &[]);
    assert!(!prepared.must_stop());
    assert!(prepared.plan().chunks().is_empty());
    assert_eq!(prepared.inputs()[0].records, 0);
    assert_eq!(prepared.warnings()[0].message, "the file holds a header and no record");
}

#[test]
fn header_faults_are_found_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", "\nid,,na:me,id\n");
    let mut job = job(dir.path(), &[], Settings::default());
    job.imports[0].parent.key = Some("Id".to_owned());
    let errors = prep::prepare(&job, &()).unwrap_err();
    let kinds: Vec<String> = errors.iter().map(|error| error.kind().to_string()).collect();
    assert_eq!(
        kinds,
        [
            "column 2 has no name in the header",
            "column 3 is named `na:me`, which holds `:`",
            "columns 1 and 4 of the header are both named `id`",
            "there is no column `Id`",
        ]
    );
    assert!(errors.iter().all(|error| error.position().unwrap().line == 2));
    assert!(matches!(errors[3].kind(), ErrorKind::ColumnMissing { nearest: Some(name), .. } if name == "id"));
}

#[test]
fn a_header_of_more_than_200_columns_is_an_error() {
    let names: Vec<String> = (0..201).map(|i| format!("c{i}")).collect();
    assert_eq!(error(names.join(",")), "DIR/P.csv:1: the header has 201 columns; Zoho takes at most 200");
}

#[test]
fn files_that_are_no_utf8_text_are_named_as_what_they_look_like() {
    assert_eq!(error(b"\xFF\xFEi\0d\0\n\0"), "DIR/P.csv: the file is not UTF-8; it looks like UTF-16LE");
    assert_eq!(error(b"i\0d\0\n\0"), "DIR/P.csv: the file is not UTF-8; it looks like UTF-16LE");
    assert_eq!(
        error(b"PK\x03\x04"),
        "DIR/P.csv: the file is not UTF-8; it looks like a ZIP file, such as an Excel workbook"
    );
    assert_eq!(error(b"\x1F\x8B\x08\0"), "DIR/P.csv: cannot decompress the gzip file");
    assert_eq!(error(b"n\xE9e\n"), "DIR/P.csv:1: the header is not valid UTF-8");
    assert_eq!(error("\"id\nx"), "DIR/P.csv: the header opens a quote that never closes");
    assert_eq!(error("\"id\"x\n1"), "DIR/P.csv:1: the header has text after a closing quote");
}

#[test]
fn a_path_that_cannot_be_read_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let kind = |module: &str| {
        let mut job = job(dir.path(), &[], Settings::default());
        job.imports[0].parent = input(dir.path(), module, None);
        prep::prepare(&job, &()).unwrap_err().remove(0).kind().to_string()
    };
    std::fs::create_dir(dir.path().join("Dir.csv")).unwrap();
    assert_eq!(kind("None"), "no such file");
    assert_eq!(kind("Dir"), "not a regular file");
    write(dir.path(), "Secret", "id\n1\n");
    let secret = dir.path().join("Secret.csv");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read everything.
    if std::fs::File::open(&secret).is_err() {
        assert_eq!(kind("Secret"), "permission denied");
    }
}

#[test]
fn a_record_with_another_number_of_fields_is_a_reject() {
    let (position, code, message, _) = reject("id,name\n1,a\n\n2,b,c\n3,d\n");
    assert_eq!(position, Position { byte: 13, line: 4, record: 2 });
    assert_eq!((code, &message[..]), (RejectCode::WrongFieldCount, "3 fields, the header has 2"));
}

#[test]
fn bytes_that_are_no_text_are_rejects() {
    let (position, code, message, _) = reject(b"id,name\r\n1,a\r\n2,\xFF\r\n");
    assert_eq!((position.line, position.record, code), (3, 2, RejectCode::InvalidUtf8));
    assert_eq!(message, "byte 0xFF at offset 2 of the record is not valid UTF-8");
    let (position, code, message, _) = reject(b"id,name\n1,a\0\n");
    assert_eq!((position.line, code), (2, RejectCode::Nul));
    assert_eq!(message, "a NUL byte at offset 3 of the record");
}

#[test]
fn text_after_a_quote_is_a_reject_in_one_line_and_a_fault_across_lines() {
    assert_eq!(reject("id,name\n1,\"a\"b\n").1, RejectCode::TextAfterQuote);
    let (position, code, noticed) = fault("id,name\n0,z\n1,\"a\nc\"b\n2,d\n");
    assert_eq!((position.line, position.record), (3, 2));
    assert_eq!((code, noticed), (FaultCode::TextAfterQuote, 5));
}

#[test]
fn a_quote_that_swallows_the_rest_is_a_fault_where_it_opens() {
    let (position, code, noticed) = fault("id,name\n1,a\n2,\"b\n3,c\n4,d\n");
    assert_eq!(position, Position { byte: 12, line: 3, record: 2 });
    assert_eq!((code, noticed), (FaultCode::UnclosedQuote, 6));
}

#[test]
fn a_record_larger_than_an_entry_is_a_reject_or_across_lines_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_csv_bytes: Some(100), ..Limits::default() };
    let settings = Settings { limits, ..Settings::default() };
    // The header's 8 bytes and 92 more just fit.
    write(dir.path(), "P", format!("id,name\n1,{}\n2,{}\n", "x".repeat(89), "x".repeat(90)));
    let prepared = prep::prepare(&job(dir.path(), &[], settings.clone()), &()).unwrap();
    assert_eq!(prepared.reject_counts(), [(0, RejectCode::RecordTooLarge, 1)]);
    assert_eq!(prepared.first_rejects(0, RejectCode::RecordTooLarge, 1).unwrap()[0].position.record, 2);
    write(dir.path(), "P", format!("id,name\n1,\"{}\n\"\n", "x".repeat(90)));
    let prepared = prep::prepare(&job(dir.path(), &[], settings), &()).unwrap();
    assert_eq!(prepared.faults()[0].code, FaultCode::RecordTooLarge);
}

#[test]
fn children_without_a_parent_are_rejects_with_their_key() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", "id,name\n1,a\n,nokey\n1 ,c\n");
    write(dir.path(), "C", "of,v\n1,x\n7,y\n,z\n");
    let prepared = prepare(dir.path(), &["C"]);
    assert_eq!(prepared.reject_counts(), [(1, RejectCode::Orphan, 1), (1, RejectCode::BlankParentKey, 1)]);
    let orphan = prepared.first_rejects(1, RejectCode::Orphan, 5).unwrap().remove(0);
    assert_eq!((orphan.position.line, orphan.key.as_deref(), orphan.len_bytes), (3, Some("7"), 4));
    assert_eq!(
        prepared.warnings()[0].message,
        "1 key equals another but for case or spaces around them, such as \"1\" in line 2 and \"1 \" in line 4; Zoho may join their children"
    );
}

#[test]
fn columns_never_filled_and_the_keys_of_most_orphans_are_found() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", "id,fax,name,\"\"\"x\"\"\"\n1,\"\",,\n2,,b,\n3,f\n");
    let mut children = "of,v\n1,x\n".to_owned();
    for orphan in 10..30 {
        children.push_str(&format!("o{orphan},y\n").repeat(1 + orphan % 7));
    }
    write(dir.path(), "C", children);
    let prepared = prepare(dir.path(), &["C"]);
    let parents = prepared.profile(0).unwrap();
    assert_eq!(
        parents.columns_never_filled,
        [1, 3],
        "an empty string in quotes fills nothing, nor does a reject"
    );
    assert!(parents.orphan_keys.is_empty());
    let children = prepared.profile(1).unwrap();
    assert!(children.columns_never_filled.is_empty());
    assert_eq!(children.orphan_keys.len(), 10);
    let first = &children.orphan_keys[0];
    assert_eq!((first.key.as_str(), first.records, first.first_line), ("o13", 7, 18));
    assert!(children.orphan_keys.is_sorted_by_key(|orphan| std::cmp::Reverse(orphan.records)));
    assert_eq!(prepared.inputs()[0].duplicate_keys, Some(0));
    assert_eq!(prepared.inputs()[1].duplicate_keys, None);
}

#[test]
fn a_key_of_several_parents_rejects_them_and_their_children_only_where_children_refer_to_it() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", "id,name\n1,a\n2,b\n1,c\n3,d\n3,e\n");
    write(dir.path(), "C", "of,v\n1,x\n2,y\n1,z\n");
    let prepared = prepare(dir.path(), &["C"]);
    assert_eq!(
        prepared.reject_counts(),
        [(0, RejectCode::DuplicateKey, 2), (1, RejectCode::AmbiguousParent, 2)]
    );
    assert_eq!(prepared.inputs()[0].duplicate_keys, Some(2));
    assert_eq!(
        prepared.warnings()[0].message,
        "1 key is borne by several records, such as \"3\" in line 5; no child refers to it"
    );
}

#[test]
fn a_parent_with_more_children_than_a_chunk_holds_is_rejected_with_them() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", "id,name\n1,a\n2,b\n");
    write(dir.path(), "C", "of,v\n1,x\n1,y\n1,z\n2,w\n");
    let limits = Limits { chunk_records: 2, ..Limits::default() };
    let settings = Settings { limits, rejects: RejectPolicy::SetAside, ..Settings::default() };
    let prepared = prep::prepare(&job(dir.path(), &["C"], settings), &()).unwrap();
    assert_eq!(
        prepared.reject_counts(),
        [(0, RejectCode::TooManyChildren, 1), (1, RejectCode::ParentRejected, 3)]
    );
    assert!(!prepared.must_stop());
    let output = pack_all(&prepared);
    let entries = entries(&output.archives["P-00001.zip"].bytes);
    assert_eq!(rows(&entries[0].1)[1..], [["2", "b"]]);
    assert_eq!(rows(&entries[1].1)[1..], [["2", "w"]]);
    let mut raw = Vec::new();
    let mut sink = |_: &prep::Reject, bytes: &[u8]| {
        raw.extend_from_slice(bytes);
        Ok(())
    };
    prepared.for_each_reject(1, &mut sink).unwrap().unwrap();
    assert_eq!(raw, b"1,x\n1,y\n1,z\n", "the original bytes");
    assert_eq!(prepared.header_bytes(1), b"of,v\n");
}

#[test]
fn a_group_whose_archive_is_too_large_alone_is_known_in_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    // Hexadecimal digits of a xorshift: deflate cannot halve them twice.
    let mut state = 88_172_645_463_325_252_u64;
    let mut noise = String::new();
    for _ in 0..500 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        write!(noise, "{state:016x}").unwrap();
    }
    write(dir.path(), "P", "id,name\n1,a\n2,b\n");
    write(dir.path(), "C", format!("of,v\n1,{noise}\n2,x\n"));
    let limits = Limits { max_archive_bytes: 3_000, ..Limits::default() };
    let prepared =
        prep::prepare(&job(dir.path(), &["C"], Settings { limits, ..Settings::default() }), &()).unwrap();
    assert_eq!(
        prepared.reject_counts(),
        [(0, RejectCode::ArchiveTooLarge, 1), (1, RejectCode::ParentRejected, 1)]
    );
}

#[test]
fn all_problems_of_all_inputs_are_found_in_one_go() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", "id,name\n1,a,x\n2,b\n");
    write(dir.path(), "C", "of,v\n1,x\n");
    let mut bad = b"of,v\n9,x\n2,".to_vec();
    bad.push(0xFF);
    write(dir.path(), "D", bad);
    let prepared = prepare(dir.path(), &["C", "D"]);
    assert_eq!(
        prepared.reject_counts(),
        [
            (0, RejectCode::WrongFieldCount, 1),
            (1, RejectCode::ParentRejected, 1),
            (2, RejectCode::InvalidUtf8, 1),
            (2, RejectCode::Orphan, 1),
        ]
    );
}

#[test]
fn a_file_that_changes_after_the_scan_is_not_packed() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", "id,name\n1,a\n2,b\n");
    write(dir.path(), "C", "of,v\n1,x\n");
    for changed in ["P", "C"] {
        let prepared = prepare(dir.path(), &["C"]);
        let path = dir.path().join(format!("{changed}.csv"));
        let before = std::fs::read(&path).unwrap();
        // The same length.
        let mut after = before.clone();
        *after.iter_mut().nth_back(1).unwrap() = b'!';
        std::fs::write(&path, after).unwrap();
        let error =
            prep::pack(&prepared, prepared.plan().chunks(), &|_| panic!("nothing is handed over"), &());
        assert!(matches!(error.unwrap_err().kind(), ErrorKind::Changed));
        std::fs::write(&path, before).unwrap();
    }
}

#[test]
fn a_manifest_entry_says_where_its_records_are_from() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", "id,name\r\n\r\n1,\"a\r\nb\"\r\n2,b\r\n3,c\r\n");
    write(dir.path(), "C", "of,v\n3,x\n1,y\n3,z\n2,\"q\n\"");
    let limits = Limits { chunk_records: 2, ..Limits::default() };
    let prepared =
        prep::prepare(&job(dir.path(), &["C"], Settings { limits, ..Settings::default() }), &()).unwrap();
    let output = pack_all(&prepared);
    let first = &output.archives["P-00001.zip"].entries;
    assert_eq!((first[0].first_record, first[0].last_record, first[0].source_lines), (1, 2, [3, 5]));
    assert_eq!((first[0].first_key.as_deref(), first[0].last_key.as_deref()), (Some("1"), Some("2")));
    assert_eq!((first[1].first_record, first[1].last_record, first[1].source_lines), (2, 4, [3, 6]));
    assert_eq!((first[1].first_key.as_deref(), first[1].last_key.as_deref()), (Some("1"), Some("2")));
    let second = &output.archives["P-00002.zip"].entries;
    assert_eq!((second[1].first_record, second[1].last_record, second[1].source_lines), (1, 3, [2, 4]));
}

#[test]
fn an_archive_has_nothing_that_varies() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", "id,name\n1,a\n");
    let archive = &pack_all(&prepare(dir.path(), &[])).archives["P-00001.zip"].bytes;
    // APPNOTE.TXT 4.3.7: version, flags, method, time, date at offset 4; extra field's length at 28.
    assert_eq!(archive[4..14], [20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0], "deflate, no flags, 1980-01-01 00:00");
    assert_eq!(archive[28..30], [0, 0], "no extra field");
    let again = &pack_all(&prepare(dir.path(), &[])).archives["P-00001.zip"].bytes;
    assert_eq!(again, archive);
}

/// The parent's CSV in the only archive of a job on this file.
fn packed_with(text: &[u8], encoding: Option<&str>) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", text);
    let mut job = job(dir.path(), &[], Settings::default());
    job.imports[0].parent.encoding = encoding.map(str::to_owned);
    let prepared = prep::prepare(&job, &()).unwrap();
    assert!(!prepared.must_stop(), "{:?}", prepared.reject_counts());
    entries(&pack_all(&prepared).archives["P-00001.zip"].bytes).remove(0).1
}

#[test]
fn a_gzip_file_of_several_members_is_read_as_its_text() {
    let mut gzip = Vec::new();
    for part in ["id,name\n1,", "é\n2,b\n"] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part.as_bytes()).unwrap();
        gzip.extend(encoder.finish().unwrap());
    }
    assert_eq!(packed_with(&gzip, None), "id,name\n1,é\n2,b\n".as_bytes());
    let mut cut = gzip.clone();
    cut.truncate(gzip.len() - 3);
    assert_eq!(error(cut), "DIR/P.csv: cannot decompress the gzip file");
}

#[test]
fn a_named_encoding_is_transcoded_and_what_it_does_not_have_is_an_error_with_its_place() {
    let text = "id,name\n1,Zoë “quoted”\n2,Łukasz €\n";
    for (encoding, label) in [
        (encoding_rs::WINDOWS_1252, "windows-1252"),
        (encoding_rs::WINDOWS_1250, "cp1250"),
        (encoding_rs::GB18030, "gb18030"),
    ] {
        let text =
            if encoding == encoding_rs::GB18030 { text.to_owned() } else { text.replace(['ë', 'Ł'], "x") };
        let (bytes, _, unmappable) = encoding.encode(&text);
        assert!(!unmappable);
        assert_eq!(packed_with(&bytes, Some(label)), text.as_bytes(), "{label}");
    }
    let utf16: Vec<u8> = format!("\u{FEFF}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(packed_with(&utf16, Some("utf-16le")), text.as_bytes());

    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "P", b"id,name\n1,a\n2,\x81\x30\n");
    let mut job = job(dir.path(), &[], Settings::default());
    job.imports[0].parent.encoding = Some("shift_jis".to_owned());
    let error = prep::prepare(&job, &()).unwrap_err().remove(0);
    assert_eq!(error.kind().to_string(), "byte 14 begins what is not Shift_JIS");
    job.imports[0].parent.encoding = Some("klingon".to_owned());
    let error = prep::prepare(&job, &()).unwrap_err().remove(0);
    assert_eq!(error.kind().to_string(), "the encoding `klingon` is not known");
}
