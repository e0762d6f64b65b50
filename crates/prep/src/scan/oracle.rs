//! The slow, obvious version: the `csv` crate says what a record is.
//!
//! It stays in the tree to be run beside the parallel scan; see the tests of `scan`.

/// One record as the `csv` crate reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OracleRecord {
    /// Its fields' values.
    pub(super) fields: Vec<Vec<u8>>,
    /// Offset of the first byte after it.
    pub(super) end: u64,
}

/// All records of a text that begins at a record's start, whatever their number of fields.
pub(super) fn records(text: &[u8], delimiter: u8) -> Vec<OracleRecord> {
    // The text follows a header; at a file's very beginning the crate would take off a byte order mark.
    let text = [b"\n", text].concat();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text.as_slice());
    let mut records = Vec::new();
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).expect("invariant: a slice can be read and lengths may differ")
    {
        let fields = record.iter().map(<[u8]>::to_vec).collect();
        records.push(OracleRecord { fields, end: reader.position().byte() - 1 });
    }
    records
}
