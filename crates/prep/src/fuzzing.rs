//! What the fuzzer calls; see `fuzz/`. Every function panics where a law does not hold.

use std::io::Write as _;

use crate::job::Input;
use crate::source::Source;

/// The scan finds what the `csv` crate finds.
pub fn scan(data: &[u8]) {
    crate::scan::laws::check_fuzzed(data);
}

/// A file is refused with an error, or its header is what the `csv` crate reads with the delimiter that was found.
pub fn dialect(data: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(data).expect("room for it");
    let input = Input {
        module: "M".to_owned(),
        path: file.path().to_owned(),
        key: None,
        delimiter: None,
        encoding: None,
    };
    let Ok(source) = Source::open(&input, &std::env::temp_dir()) else { return };
    // What is compressed or transcoded is another text.
    if data.starts_with(&[0x1F, 0x8B]) {
        return;
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(source.shape.delimiter)
        .from_reader(data);
    let mut header = csv::ByteRecord::new();
    assert!(reader.read_byte_record(&mut header).expect("a slice can be read"), "there is a header");
    let names: Vec<&[u8]> = source.header.names.iter().map(String::as_bytes).collect();
    assert_eq!(names, header.iter().collect::<Vec<_>>());
}
