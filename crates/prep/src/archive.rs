//! One chunk becomes one deterministic ZIP.

use std::io::{Cursor, Write as _};

use serde::{Deserialize, Serialize};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::job::{ChildKind, Role};
use crate::plan::{Chunk, ChunkId};

/// A finished archive.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The chunk it holds.
    pub id: ChunkId,
    /// Its file name.
    pub name: String,
    /// The ZIP.
    pub bytes: Vec<u8>,
    /// SHA-256 of the ZIP, 64 hexadecimal digits.
    pub sha256: String,
    /// Its entries, in order.
    pub entries: Vec<Entry>,
}

/// One CSV inside an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Module API name.
    pub module: String,
    /// Parent or child.
    pub role: Role,
    /// The child's kind; `None` for a parent.
    pub kind: Option<ChildKind>,
    /// Name inside the archive, `<Module>.csv`.
    pub name: String,
    /// Data records.
    pub records: u64,
    /// Columns.
    pub columns: u32,
    /// Zero-based index of the key column (parent) or of the parent-key column (child).
    pub key_index: Option<u32>,
    /// Bytes, uncompressed, header included.
    pub csv_bytes: u64,
    /// XXH3-128 of those bytes, 32 hexadecimal digits.
    pub csv_xxh3_128: String,
    /// Lowest one-based record number in the source.
    pub first_record: u64,
    /// Highest one-based record number in the source.
    pub last_record: u64,
    /// First and last physical line in the source, one-based, inclusive.
    pub source_lines: [u64; 2],
    /// Key of the first record; `None` where the module has no key. Cut at 256 bytes.
    pub first_key: Option<String>,
    /// Key of the last record.
    pub last_key: Option<String>,
}

/// What a worker hands over.
#[derive(Debug)]
pub enum Packed {
    /// A finished archive.
    Archive(Archive),
    /// The chunk's archive was over the limit: it is replaced by its parts. Comes before any archive of a part.
    Cut {
        /// The chunk that is no more.
        chunk: Chunk,
        /// The chunks in its place.
        parts: Box<[Chunk; 2]>,
    },
}

/// Builds the ZIP of some entries, each a name and its bytes: the same ones give the same ZIP on every system.
///
/// The entries stand in the order given, deflated (stored at level 0), dated 1980-01-01 00:00, with neither data
/// descriptors nor extra fields nor zip64.
///
/// # Errors
/// Those of the ZIP writer.
pub(crate) fn build<'a>(
    entries: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
    level: u8,
) -> Result<Vec<u8>, ZipError> {
    let uncompressed: usize = entries.clone().map(|(_, csv)| csv.len()).sum();
    // CSV rarely packs worse than 3:1; the buffer grows where it does.
    let mut zip = ZipWriter::new(Cursor::new(Vec::with_capacity(uncompressed / 3 + 4096)));
    // The zip crate deflates from level 1 on, and takes no level for what it stores. Level 9 of zlib-rs packs CSVs
    // worse than its 8 (3.36:1 instead of 3.46:1, see benches/deflate.rs), so that 8 is the highest.
    let (method, compression_level) = match level {
        0 => (CompressionMethod::Stored, None),
        _ => (CompressionMethod::Deflated, Some(i64::from(level.min(BEST_LEVEL)))),
    };
    let options = SimpleFileOptions::default()
        .compression_method(method)
        .compression_level(compression_level)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644)
        .large_file(false);
    for (name, csv) in entries {
        zip.start_file(name, options)?;
        zip.write_all(csv)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// The level of zlib-rs that packs best.
const BEST_LEVEL: u8 = 8;

/// The most bytes that an entry can take in an archive that holds nothing else.
///
/// Deflate's worst is its level 1, which can grow its input by an eighth; an entry costs 30 + 46 bytes and its name
/// twice, the archive's end 22 (APPNOTE.TXT 4.3.7, 4.3.12, 4.3.16).
pub(crate) fn bound(name_len: usize, csv_bytes: u64) -> u64 {
    csv_bytes + csv_bytes / 8 + 1024 + 2 * name_len as u64
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn every_level_gives_an_archive_within_the_bound_and_level_0_stores() {
        let csv = "Id,Name\n".repeat(1000);
        for level in 0..=9 {
            let bytes = build([("Things.csv", csv.as_bytes())].into_iter(), level).unwrap();
            assert!(bytes.len() as u64 <= bound("Things.csv".len(), csv.len() as u64), "level {level}");
            let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
            let mut entry = zip.by_index(0).unwrap();
            assert_eq!(entry.compressed_size() == entry.size(), level == 0, "level {level}");
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert_eq!(text, csv, "level {level}");
        }
    }

    #[test]
    fn a_higher_level_never_packs_worse() {
        let mut csv = String::from("Id,Name,Note\n");
        let mut noise = 88_172_645_463_325_252_u64;
        for id in 0..20_000 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            let words = ["renewal", "call", "Zürich", "delayed", "contract", "demo", "budget", "owner"];
            let word = |shift: u64| words[(noise >> shift & 7) as usize];
            writeln!(
                csv,
                "zcrm_{id:09},{} {},\"{}, {} {:x}\"",
                word(1),
                word(9),
                word(17),
                word(25),
                noise >> 40
            )
            .unwrap();
        }
        let sizes: Vec<usize> = (0..=9)
            .map(|level| build(std::iter::once(("N.csv", csv.as_bytes())), level).unwrap().len())
            .collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
        assert!(sizes[0] > csv.len() && sizes[1] < csv.len() / 2);
    }
}
