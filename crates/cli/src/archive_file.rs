//! An archive on disk, read back and held against what was journaled of it: as a whole, then entry by entry, so that
//! damage is located.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Cursor, Read};
use std::path::Path;

use prep::Entry;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128;
use zip::ZipArchive;

use crate::journal::state::PackedState;
use crate::output::count;
use crate::publish::no_follow;

#[cfg(test)]
mod tests;

/// Why a file is not the archive that was packed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// It cannot be read, or is not there; a link is not followed.
    #[error("cannot read it")]
    Io(#[from] io::Error),
    /// It is shorter or longer.
    #[error("it has {found} bytes, {packed} were packed")]
    Length {
        /// Bytes now.
        found: u64,
        /// Bytes then.
        packed: u64,
    },
    /// Its bytes are others.
    #[error("its SHA-256 is {found}, {packed} was packed")]
    Digest {
        /// Now.
        found: String,
        /// Then.
        packed: String,
    },
}

/// Reads an archive and makes sure that it is the one that was packed.
///
/// # Errors
/// Every difference.
pub(crate) fn read(path: &Path, packed: &PackedState) -> Result<Vec<u8>, Unfit> {
    let (found, archive) = read_any(path, packed.archive_bytes)?;
    match unfit(found, &archive, packed) {
        Some(unfit) => Err(unfit),
        None => Ok(archive),
    }
}

/// What is wrong with an archive, as a whole and with which entries; nothing if it is the one that was packed.
///
/// # Errors
/// Those of reading.
pub(crate) fn damage(path: &Path, packed: &PackedState) -> io::Result<Vec<String>> {
    let (found, archive) = read_any(path, packed.archive_bytes)?;
    let mut damage: Vec<String> =
        unfit(found, &archive, packed).into_iter().map(|unfit| unfit.to_string()).collect();
    let of_entries = damaged_entries(&archive, &packed.entries);
    if !damage.is_empty() && of_entries.is_empty() {
        damage.push("all of its entries hold what was packed: the damage is outside their bytes".to_owned());
    }
    damage.extend(of_entries);
    Ok(damage)
}

/// SHA-256 as 64 hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("invariant: a String takes every write");
        hex
    })
}

/// A file's length and its bytes; of one that is much longer than expected only the beginning.
fn read_any(path: &Path, expected_bytes: u64) -> io::Result<(u64, Vec<u8>)> {
    const SLACK_BYTES: u64 = 32 << 20;
    let file = no_follow(OpenOptions::new().read(true)).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(expected_bytes).unwrap_or_default());
    file.take(expected_bytes + SLACK_BYTES).read_to_end(&mut bytes)?;
    // The file may be growing.
    Ok((metadata.len().max(bytes.len() as u64), bytes))
}

fn unfit(found: u64, archive: &[u8], packed: &PackedState) -> Option<Unfit> {
    if found != packed.archive_bytes {
        return Some(Unfit::Length { found, packed: packed.archive_bytes });
    }
    let found = sha256(archive);
    (found != packed.archive_sha256).then(|| Unfit::Digest { found, packed: packed.archive_sha256.clone() })
}

fn damaged_entries(archive: &[u8], entries: &[Entry]) -> Vec<String> {
    let mut zip = match ZipArchive::new(Cursor::new(archive)) {
        Ok(zip) => zip,
        Err(error) => return vec![format!("it cannot be read as a ZIP: {error}")],
    };
    let expected: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let mut damage: Vec<String> = zip
        .file_names()
        .filter_map(|name| match name {
            Ok(name) => (!expected.contains(name.as_ref())).then(|| format!("entry {name} was not packed")),
            Err(error) => Some(format!("the name of an entry cannot be read: {error}")),
        })
        .collect();
    damage.sort();
    damage.extend(entries.iter().filter_map(|entry| {
        let what = damaged_entry(&mut zip, entry)?;
        Some(format!("entry {}: {what}", entry.name))
    }));
    damage
}

fn damaged_entry(zip: &mut ZipArchive<Cursor<&[u8]>>, entry: &Entry) -> Option<String> {
    let mut csv = Vec::new();
    let read = match zip.by_name(&entry.name) {
        // No more than was packed: what is damaged may claim any size.
        Ok(file) => file.take(entry.csv_bytes + 1).read_to_end(&mut csv),
        Err(error) => return Some(error.to_string()),
    };
    if let Err(error) = read {
        return Some(format!("cannot unpack it: {error}"));
    }
    if csv.len() as u64 != entry.csv_bytes {
        return Some(format!("it has not the {} bytes that were packed", count(entry.csv_bytes)));
    }
    if format!("{:032x}", xxh3_128(&csv)) != entry.csv_xxh3_128 {
        return Some("its bytes are not those that were packed".to_owned());
    }
    match records(&csv) {
        Ok(records) if records == entry.records => None,
        Ok(records) => {
            Some(format!("it has {} records, {} were counted", count(records), count(entry.records)))
        }
        Err(error) => Some(format!("it is no CSV: {error}")),
    }
}

/// Data records, counted by the csv crate.
fn records(csv: &[u8]) -> csv::Result<u64> {
    let mut reader = csv::Reader::from_reader(csv);
    let mut record = csv::ByteRecord::new();
    let mut records = 0;
    while reader.read_byte_record(&mut record)? {
        records += 1;
    }
    Ok(records)
}
