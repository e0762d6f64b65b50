//! Whether an uploaded file is an archive that a bulk write job could use; nothing is kept or changed here.
//!
//! Zoho's upload pages promise one check of the content: that it is a ZIP. The rest is what other pages demand of
//! a job's input (limitations page v8: one CSV per module, 25,000 records and 200 columns per CSV), what they are
//! silent about (folders, encryption, other files) and plain integrity. The sandbox refuses all of it at once, so
//! that a rehearsal finds what a job would find hours later.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Cursor, Read};

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use zip::read::{ZipArchive, ZipFile};
use zip::{CompressionMethod, ZipReadOptions};

use crate::sandbox::answers::{self, Answer};

/// Data records in one CSV, the header not counted: limitations page v8.
const MAX_RECORDS: u64 = 25_000;
/// Columns of one CSV: limitations page v8.
const MAX_COLUMNS: usize = 200;
/// What all entries together may unpack to. No Zoho limit: it ends the reading of a decompression bomb.
const MAX_UNPACKED_BYTES: u64 = 4 << 30;

/// An entry that declares no more is read whole: what Zoho takes is smaller.
const MAX_WHOLE_BYTES: u64 = 32 << 20;

/// One broken rule: `check` is its name in the answer's details, `reason` the sentence with the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    check: &'static str,
    reason: String,
}

impl Flaw {
    fn new(check: &'static str, reason: impl Into<String>) -> Flaw {
        Flaw { check, reason: reason.into() }
    }

    /// `INVALID_FILE_FORMAT` in Zoho's words where the archive is at fault, `INVALID_DATA` where a CSV in it is.
    pub(super) fn answer(&self) -> Answer {
        let (code, message) = if self.check.starts_with("csv_") {
            ("INVALID_DATA", "invalid csv in the zip file")
        } else {
            ("INVALID_FILE_FORMAT", "invalid file format. only zip format is supported")
        };
        answers::stricter(code, message, self.check, &self.reason)
    }
}

/// Checks the archive, entry by entry; with `content`, also unpacks and reads every CSV.
///
/// # Errors
///
/// The first broken rule: of the archive's form, then of its entries in their order.
pub(super) fn check_archive(bytes: &[u8], content: bool) -> Result<(), Flaw> {
    let zip_flaw = |error: zip::result::ZipError| Flaw::new("zip_form", error.to_string());
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(zip_flaw)?;
    if archive.offset() != 0 || !bytes.starts_with(b"PK\x03\x04") {
        return Err(Flaw::new("zip_form", "the first entry is not at the file's beginning"));
    }
    let end_of_directory = bytes.len().checked_sub(22 + archive.comment().len());
    if !end_of_directory.is_some_and(|at| bytes[at..].starts_with(b"PK\x05\x06")) {
        return Err(Flaw::new("zip_form", "there are bytes after the end of the central directory"));
    }
    archive.validate_header_consistency().map_err(zip_flaw)?;

    let mut names = BTreeSet::new();
    let mut unpacked_bytes = 0_u64;
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(zip_flaw)?;
        let name = match std::str::from_utf8(entry.name_raw()) {
            Ok(name) => name.to_owned(),
            Err(_) => return Err(Flaw::new("entry_name", "an entry's name is not UTF-8")),
        };
        if entry.is_dir() || entry.is_symlink() || name.contains(['/', '\\']) {
            return Err(Flaw::new(
                "entry_flat",
                format!("entry `{name}` is not a file at the archive's root"),
            ));
        }
        let module = name
            .len()
            .checked_sub(4)
            .filter(|&at| at > 0 && name.is_char_boundary(at) && name[at..].eq_ignore_ascii_case(".csv"));
        if module.is_none() {
            return Err(Flaw::new("entry_name", format!("entry `{name}` does not end in .csv")));
        }
        if !names.insert(name.to_lowercase()) {
            let reason = format!("two entries are named `{name}` (ignoring case): one csv per module");
            return Err(Flaw::new("entry_unique", reason));
        }
        if entry.encrypted() {
            return Err(Flaw::new("entry_encrypted", format!("entry `{name}` is encrypted")));
        }
        if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            let reason = format!("entry `{name}` is neither stored nor deflated: {}", entry.compression());
            return Err(Flaw::new("entry_method", reason));
        }
        unpacked_bytes = unpacked_bytes.saturating_add(entry.size());
        if unpacked_bytes > MAX_UNPACKED_BYTES {
            let reason = format!("the entries unpack to more than {MAX_UNPACKED_BYTES} bytes");
            return Err(Flaw::new("entry_size", reason));
        }
    }
    if names.is_empty() {
        return Err(Flaw::new("zip_form", "the archive has no entry"));
    }

    if content {
        for index in 0..archive.len() {
            check_entry(bytes, &mut archive, index)?;
        }
    }
    Ok(())
}

fn check_entry(bytes: &[u8], archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize) -> Result<(), Flaw> {
    let unreadable = |error: zip::result::ZipError| Flaw::new("entry_data", error.to_string());
    let entry = archive.by_index_with_options(index, ZipReadOptions::new()).map_err(unreadable)?;
    // Most entries are so plain that a quick look says all is well; what is wrong with another, the slow one tells.
    let plain = inflated(bytes, &entry).and_then(|csv| plain_shape(&csv, delimiter(&csv)));
    if plain.is_some_and(|(columns, records)| columns <= MAX_COLUMNS && records <= MAX_RECORDS) {
        return Ok(());
    }
    let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
    let declared = entry.size();
    // One byte more than declared, so that a longer entry is seen and an endless one is not read.
    let mut counted = Counted { inner: entry.take(declared.saturating_add(1)), bytes: 0, quotes: 0 };
    check_csv(&name, BufReader::with_capacity(64 << 10, &mut counted))?;
    if counted.bytes != declared {
        let reason = format!("entry `{name}` has {} bytes where {declared} are declared", counted.bytes);
        return Err(Flaw::new("entry_data", reason));
    }
    if counted.quotes % 2 != 0 {
        // RFC 4180 section 2: quotes come in pairs, around a field or doubled in it. The csv crate lets a field
        // that never closes run to the end of the file, which would hide a text cut short.
        let reason = format!("entry `{name}` has an odd number of quotes");
        return Err(Flaw::new("csv_quotes", reason));
    }
    Ok(())
}

/// The content of a deflated entry of common size, if its length and checksum are as declared. libdeflate, as it takes
/// half of what the reader of `zip` takes, and the sandbox shares its cores with the run that it serves.
fn inflated(bytes: &[u8], entry: &ZipFile<'_, Cursor<&[u8]>>) -> Option<Vec<u8>> {
    if entry.compression() != CompressionMethod::Deflated || entry.size() > MAX_WHOLE_BYTES {
        return None;
    }
    let start = usize::try_from(entry.data_start()?).ok()?;
    let end = start.checked_add(usize::try_from(entry.compressed_size()).ok()?)?;
    let mut content = vec![0; usize::try_from(entry.size()).ok()?];
    let length =
        libdeflater::Decompressor::new().deflate_decompress(bytes.get(start..end)?, &mut content).ok()?;
    (length == content.len() && libdeflater::crc32(&content) == entry.crc32()).then_some(content)
}

/// Columns and data records of a CSV in which nothing is unusual: UTF-8, LF, no blank line, records of one width, quotes
/// around whole fields and doubled inside. `None` says nothing against a CSV; the `csv` crate then decides.
fn plain_shape(csv: &[u8], delimiter: u8) -> Option<(usize, u64)> {
    if memchr::memchr(b'\r', csv).is_some() || std::str::from_utf8(csv).is_err() {
        return None;
    }
    let mut columns = None;
    let (mut records, mut fields, mut quoted) = (0, 1, false);
    // Where the record and the field begin, and where the last quote stood.
    let (mut record, mut field, mut last_quote) = (0, 0, None);
    for at in memchr::memchr3_iter(delimiter, b'"', b'\n', csv) {
        let closed_before = last_quote == at.checked_sub(1);
        if csv[at] == b'"' {
            // One opens where a field begins, or doubles the one before it, which seemed to close.
            if !quoted && at != field && !(closed_before && at - 1 > field) {
                return None;
            }
            quoted = !quoted;
            last_quote = Some(at);
        } else if !quoted {
            // Nothing may stand between a closing quote and the field's end.
            if csv[field] == b'"' && !closed_before {
                return None;
            }
            field = at + 1;
            if csv[at] == delimiter {
                fields += 1;
                continue;
            }
            if at == record || *columns.get_or_insert(fields) != fields {
                return None;
            }
            record = at + 1;
            records += 1;
            fields = 1;
        }
    }
    // The last record ends with an LF too.
    (!quoted && record == csv.len()).then_some((columns?, records - 1))
}

fn check_csv(name: &str, mut input: impl BufRead) -> Result<(), Flaw> {
    let data_flaw = |reason: String| Flaw::new("entry_data", format!("entry `{name}`: {reason}"));
    let beginning = input.fill_buf().map_err(|error| data_flaw(error.to_string()))?;
    let delimiter = delimiter(beginning);
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(input);
    let csv_flaw = |error: &csv::Error| match error.kind() {
        ErrorKind::Io(error) => data_flaw(error.to_string()),
        ErrorKind::Utf8 { .. } => Flaw::new("csv_utf8", format!("entry `{name}`: {error}")),
        _ => Flaw::new("csv_width", format!("entry `{name}`: {error}")),
    };

    let columns = reader.headers().map_err(|error| csv_flaw(&error))?.len();
    if columns == 0 {
        return Err(Flaw::new("csv_header", format!("entry `{name}` has no header")));
    }
    if columns > MAX_COLUMNS {
        let reason = format!("entry `{name}` has {columns} columns, at most {MAX_COLUMNS} are allowed");
        return Err(Flaw::new("csv_columns", reason));
    }
    let mut record = StringRecord::new();
    let mut records = 0_u64;
    while reader.read_record(&mut record).map_err(|error| csv_flaw(&error))? {
        records += 1;
        if records > MAX_RECORDS {
            let reason = format!("entry `{name}` has more than {MAX_RECORDS} records");
            return Err(Flaw::new("csv_records", reason));
        }
    }
    Ok(())
}

/// The delimiter that stands most often in the header line, outside quotes, of those that Zoho accepts
/// ("detected from the header row": limitations page v8); a comma when none does.
fn delimiter(beginning: &[u8]) -> u8 {
    let mut counts = [(b',', 0_usize), (b';', 0), (b':', 0), (b'|', 0)];
    let mut quoted = false;
    for &byte in beginning {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            _ if quoted => {}
            _ => {
                if let Some((_, count)) = counts.iter_mut().find(|(delimiter, _)| *delimiter == byte) {
                    *count += 1;
                }
            }
        }
    }
    let mut best = counts[0];
    for candidate in counts {
        if candidate.1 > best.1 {
            best = candidate;
        }
    }
    best.0
}

struct Counted<R> {
    inner: R,
    bytes: u64,
    quotes: usize,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        self.quotes += memchr::memchr_iter(b'"', &buffer[..read]).count();
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in entries {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    proptest::proptest! {
        #[test]
        fn a_plain_csv_is_what_the_csv_crate_says(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec!["a", ",", ",", "\"", "\"", "\n", "\n", "\"\"", "é", ";", "\"a\"", "b,\"c,\n\"\n", "\r"]),
                0..24,
            ),
        ) {
            let text = pieces.concat();
            if let Some((columns, records)) = plain_shape(text.as_bytes(), b',') {
                let mut reader = ReaderBuilder::new().from_reader(text.as_bytes());
                proptest::prop_assert_eq!(reader.headers().unwrap().len(), columns);
                let read = reader.records().collect::<Result<Vec<_>, _>>();
                proptest::prop_assert_eq!(read.unwrap().len() as u64, records);
                proptest::prop_assert_eq!(text.matches('"').count() % 2, 0);
            }
        }
    }

    #[test]
    fn what_zbulk_writes_is_plain() {
        let csv = b"Id,Name,Note\n1,\"a, b\",\"\"\"x\"\"\n\"\n2,,\n\"\",\"\"\"\",z\n";
        assert_eq!(plain_shape(csv, b','), Some((3, 3)));
        assert_eq!(plain_shape(b"Id\n", b','), Some((1, 0)));
        for strange in
            ["", "a", "a\nb", "a\n\n", "a,b\n1\n", "a\n\"b\n", "a\nb\"c\"\n", "a\n\"b\"c\n", "a\r\n"]
        {
            assert_eq!(plain_shape(strange.as_bytes(), b','), None, "{strange:?}");
        }
    }

    fn check_of(bytes: &[u8]) -> &'static str {
        check_archive(bytes, true).unwrap_err().check
    }

    fn csv(columns: usize, records: usize) -> String {
        let row = vec!["x"; columns].join(",") + "\n";
        row.repeat(records + 1)
    }

    #[test]
    fn parents_and_children_in_one_flat_archive_pass() {
        let bytes = archive(&[("Leads.csv", "a,b\n1,\"x\ny\"\n"), ("Site_Visits.CSV", "c\n")]);
        assert_eq!(check_archive(&bytes, true), Ok(()));
    }

    #[test]
    fn a_stored_entry_passes_and_so_does_every_delimiter_of_zoho() {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for (name, content) in
            [("A.csv", "a;b;\"c,,,,,\"\n1;2;3"), ("B.csv", "a|b\n1|2,3,4"), ("C.csv", "a:b\n1:2\n")]
        {
            writer.start_file(name, stored).unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
        assert_eq!(check_archive(&writer.finish().unwrap().into_inner(), true), Ok(()));
    }

    #[test]
    fn the_limits_are_inclusive() {
        assert_eq!(check_archive(&archive(&[("A.csv", &csv(2, 25_000))]), true), Ok(()));
        assert_eq!(check_of(&archive(&[("A.csv", &csv(2, 25_001))])), "csv_records");
        assert_eq!(check_archive(&archive(&[("A.csv", &csv(200, 3))]), true), Ok(()));
        assert_eq!(check_of(&archive(&[("A.csv", &csv(201, 3))])), "csv_columns");
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let good = archive(&[("A.csv", "a\n1\n")]);
        assert_eq!(check_of(b"a,b\n1,2\n"), "zip_form");
        assert_eq!(check_of(b""), "zip_form");
        assert_eq!(check_of(&good[..good.len() - 1]), "zip_form");
        assert_eq!(check_of(&[b"junk", good.as_slice()].concat()), "zip_form");
        assert_eq!(check_of(&[good.as_slice(), b"junk"].concat()), "zip_form");
        assert_eq!(check_of(&archive(&[])), "zip_form");
    }

    #[test]
    fn entries_are_flat_csvs_one_per_module() {
        assert_eq!(check_of(&archive(&[("dir/A.csv", "a\n")])), "entry_flat");
        assert_eq!(check_of(&archive(&[("dir\\A.csv", "a\n")])), "entry_flat");
        assert_eq!(check_of(&archive(&[("A.txt", "a\n")])), "entry_name");
        assert_eq!(check_of(&archive(&[(".csv", "a\n")])), "entry_name");
        assert_eq!(check_of(&archive(&[("A.csv", "a\n"), ("a.CSV", "a\n")])), "entry_unique");
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.add_directory("dir", SimpleFileOptions::default()).unwrap();
        assert_eq!(check_of(&writer.finish().unwrap().into_inner()), "entry_flat");
        // Two names that are equal byte for byte: the writer will not make them, so they are patched in.
        let mut twins = archive(&[("A.csv", "a\n"), ("B.csv", "a\n")]);
        while let Some(at) = twins.windows(5).position(|window| window == b"B.csv") {
            twins[at] = b'A';
        }
        assert_eq!(check_of(&twins), "zip_form");
    }

    #[test]
    fn a_flag_of_encryption_or_another_method_is_refused() {
        let good = archive(&[("A.csv", "a\n1\n")]);
        let directory = good.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        let mut encrypted = good.clone();
        encrypted[6] |= 1;
        encrypted[directory + 8] |= 1;
        assert_eq!(check_of(&encrypted), "entry_encrypted");
        let mut bzip2 = good;
        bzip2[8] = 12;
        bzip2[directory + 10] = 12;
        assert_eq!(check_of(&bzip2), "entry_method");
    }

    #[test]
    fn damaged_data_is_seen_only_when_the_content_is_read() {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        writer.start_file("A.csv", stored).unwrap();
        writer.write_all(b"name\nSmith\n").unwrap();
        let mut bytes = writer.finish().unwrap().into_inner();
        let at = bytes.windows(5).position(|window| window == b"Smith").unwrap();
        bytes[at] = b'T';
        assert_eq!(check_of(&bytes), "entry_data");
        assert_eq!(check_archive(&bytes, false), Ok(()));
    }

    #[test]
    fn csv_faults_name_their_check() {
        assert_eq!(check_of(&archive(&[("A.csv", "")])), "csv_header");
        assert_eq!(check_of(&archive(&[("A.csv", "a,b\n1\n")])), "csv_width");
        assert_eq!(check_of(&archive(&[("A.csv", "a,b\n1,2,3\n")])), "csv_width");
        assert_eq!(check_of(&archive(&[("A.csv", "a,b\n1,\"2\n3,4\n")])), "csv_quotes");
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file("A.csv", SimpleFileOptions::default()).unwrap();
        // Each half of `é` alone is no UTF-8, though the two fields side by side would be.
        writer.write_all(b"a,b\n\xc3,\xa9\n").unwrap();
        assert_eq!(check_of(&writer.finish().unwrap().into_inner()), "csv_utf8");
    }
}
