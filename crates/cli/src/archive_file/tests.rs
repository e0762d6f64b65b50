use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use prep::Role;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use super::*;

const PARENT: &[u8] = b"Id,Name\n1,a\n2,\"b\nc\"\n";
const CHILD: &[u8] = b"Parent\n1\n";

fn entry(name: &str, csv: &[u8], records: u64) -> Entry {
    Entry {
        module: name.trim_end_matches(".csv").to_owned(),
        role: Role::Parent,
        kind: None,
        name: name.to_owned(),
        records,
        columns: 2,
        key_index: None,
        csv_bytes: csv.len() as u64,
        csv_xxh3_128: format!("{:032x}", xxh3_128(csv)),
        first_record: 1,
        last_record: records,
        source_lines: [2, 3],
        first_key: None,
        last_key: None,
    }
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, csv) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(csv).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An archive of two entries in a file, and what is journaled of it.
fn archive() -> (TempDir, PathBuf, Vec<u8>, PackedState) {
    let bytes = zip(&[("A.csv", PARENT), ("B.csv", CHILD)]);
    let packed = PackedState {
        archive_bytes: bytes.len() as u64,
        archive_sha256: sha256(&bytes),
        entries: vec![entry("A.csv", PARENT, 2), entry("B.csv", CHILD, 1)],
        kept: true,
    };
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("A-00001.zip");
    fs::write(&path, &bytes).unwrap();
    (temp, path, bytes, packed)
}

#[test]
fn the_archive_that_was_packed_is_read_and_has_no_damage() {
    let (_temp, path, bytes, packed) = archive();
    assert_eq!(read(&path, &packed).unwrap(), bytes);
    assert_eq!(damage(&path, &packed).unwrap(), Vec::<String>::new());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (_temp, path, bytes, packed) = archive();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        assert!(matches!(read(&path, &packed), Err(Unfit::Digest { .. })), "byte {at}");
        assert!(damage(&path, &packed).unwrap().len() >= 2, "byte {at}: the damage is located");
    }
}

#[test]
fn damage_is_told_by_entry() {
    let (_temp, path, _, packed) = archive();
    let mut told = String::new();
    for (what, bytes) in [
        ("another child", zip(&[("A.csv", PARENT), ("B.csv", b"Parent\n2\n")])),
        ("a record more", zip(&[("A.csv", b"Id,Name\n1,a\n2,\"b\nc\"\n3,d\n"), ("B.csv", CHILD)])),
        ("no child", zip(&[("A.csv", PARENT)])),
        ("a stranger", zip(&[("A.csv", PARENT), ("B.csv", CHILD), ("C.csv", b"x\n")])),
        ("the order", zip(&[("B.csv", CHILD), ("A.csv", PARENT)])),
        ("no zip", vec![b'x'; packed.archive_bytes as usize]),
        ("nothing", Vec::new()),
    ] {
        fs::write(&path, &bytes).unwrap();
        for line in damage(&path, &packed).unwrap() {
            let line = line.replace(&sha256(&bytes), "OTHER").replace(&packed.archive_sha256, "PACKED");
            writeln!(told, "{what}: {line}").unwrap();
        }
    }
    insta::assert_snapshot!(told, @r"
    another child: its SHA-256 is OTHER, PACKED was packed
    another child: entry B.csv: its bytes are not those that were packed
    a record more: it has 231 bytes, 227 were packed
    a record more: entry A.csv: it has not the 20 bytes that were packed
    no child: it has 130 bytes, 227 were packed
    no child: entry B.csv: specified file not found in archive
    a stranger: it has 317 bytes, 227 were packed
    a stranger: entry C.csv was not packed
    the order: its SHA-256 is OTHER, PACKED was packed
    the order: all of its entries hold what was packed: the damage is outside their bytes
    no zip: its SHA-256 is OTHER, PACKED was packed
    no zip: it cannot be read as a ZIP: invalid Zip archive: Could not find EOCD
    nothing: it has 0 bytes, 227 were packed
    nothing: it cannot be read as a ZIP: invalid Zip archive: Could not find EOCD
    ");
}

#[test]
fn a_link_in_its_place_is_not_read() {
    let (temp, path, _, packed) = archive();
    let elsewhere = temp.path().join("elsewhere.zip");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(matches!(read(&path, &packed), Err(Unfit::Io(_))));
}
