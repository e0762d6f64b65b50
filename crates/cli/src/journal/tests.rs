//! The journal's promises: what is appended is recovered; damage is a prefix of the truth or a refusal, never another
//! truth.

use std::path::Path;

use prep::{ChildKind, Entry, Fingerprint, Limits, PlannedEntry, Role};
use proptest::prelude::*;

use super::event::{Event, FORMAT, Header, Input, Plan, PlannedChunk, Target};
use super::state::{State, UploadStatus};
use super::{FILE_NAME, Journal, JournalError, recover};

fn planned(seq: u32, name: &str) -> PlannedChunk {
    PlannedChunk {
        seq,
        name: name.to_owned(),
        entries: vec![PlannedEntry {
            input: 0,
            module: "M".to_owned(),
            role: Role::Parent,
            kind: None,
            name: "M.csv".to_owned(),
            records: 2,
            columns: 3,
            key_index: Some(0),
            csv_bytes: 99,
            first_record: Some(1),
            last_record: Some(2),
        }],
    }
}

fn header() -> Header {
    Header {
        format: FORMAT,
        tool: "zbulk test".to_owned(),
        name: "job".to_owned(),
        target: Target::Sandbox,
        inputs: vec![Input {
            module: "M".to_owned(),
            role: Role::Child,
            kind: Some(ChildKind::LineItems),
            path: "m.csv".to_owned(),
            fingerprint: Fingerprint { bytes: 1, xxh3_128: "0".repeat(32) },
            records: 3,
            packed: 2,
            rejected: 1,
            blank_lines: 0,
        }],
        settings: serde_json::json!({ "level": 6 }),
        settings_digest: "1".repeat(32),
        plan_digest: "2".repeat(32),
    }
}

fn create(dir: &Path, chunks: u32) -> Journal {
    let chunks = (1..=chunks).map(|seq| planned(seq, &format!("M-{seq:05}.zip"))).collect();
    Journal::create(dir, header(), Plan { chunks, limits: Limits::default() }).unwrap()
}

fn entry() -> Entry {
    Entry {
        module: "M".to_owned(),
        role: Role::Parent,
        kind: None,
        name: "M.csv".to_owned(),
        records: 2,
        columns: 3,
        key_index: Some(0),
        csv_bytes: 99,
        csv_xxh3_128: "3".repeat(32),
        first_record: 1,
        last_record: 2,
        source_lines: [2, 3],
        first_key: Some("ä\n\"".to_owned()),
        last_key: None,
    }
}

/// What may happen to a chunk in one step, in an order that can be true.
fn story(chunk: &str, number: u32, fate: u8) -> Vec<Event> {
    let chunk = chunk.to_owned();
    let packed = Event::Packed {
        chunk: chunk.clone(),
        archive_bytes: 50,
        archive_sha256: "4".repeat(64),
        entries: vec![entry()],
        kept: fate.is_multiple_of(2),
    };
    let attempt = |attempt| Event::Attempt { chunk: chunk.clone(), attempt };
    let uploaded = Event::Uploaded {
        chunk: chunk.clone(),
        file_id: format!("11111100000{number:07}"),
        created_time: Some("2026-01-31T12:00:00+01:00".to_owned()),
        http_status: 200,
        code: "FILE_UPLOAD_SUCCESS".to_owned(),
        attempts: 1,
        elapsed_ms: 12,
    };
    let failed = Event::Failed {
        chunk: chunk.clone(),
        reason: "the server said \"no\"".to_owned(),
        http_status: Some(400),
        code: None,
        attempts: 1,
        elapsed_ms: 3,
    };
    let ambiguous = Event::Ambiguous { chunk: chunk.clone(), attempt: 1 };
    match fate % 6 {
        0 => vec![packed, attempt(1), uploaded],
        1 => vec![packed, attempt(1), failed],
        2 => vec![packed, attempt(1), ambiguous, attempt(2), uploaded],
        3 => vec![packed, attempt(1)],
        4 => vec![packed],
        _ => Vec::new(),
    }
}

/// The states after the header and after every event.
fn write(dir: &Path, fates: &[u8]) -> Vec<State> {
    let mut journal = create(dir, fates.len() as u32);
    let mut states = vec![journal.state().clone()];
    for (i, &fate) in fates.iter().enumerate() {
        let number = i as u32 + 1;
        for event in story(&format!("M-{number:05}.zip"), number, fate) {
            journal.append(event).unwrap();
            states.push(journal.state().clone());
        }
    }
    states
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_appended_is_recovered(fates in prop::collection::vec(0u8..12, 0..8)) {
        let dir = tempfile::tempdir().unwrap();
        let states = write(dir.path(), &fates);
        let read = Journal::read(dir.path()).unwrap().unwrap();
        prop_assert_eq!(Some(&read), states.last());
        let reopened = Journal::open(dir.path()).unwrap().unwrap();
        prop_assert_eq!(Some(reopened.state()), states.last());
    }
}

#[test]
fn a_journal_cut_at_any_length_is_a_prefix_of_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    let states = write(dir.path(), &[0, 1, 2, 3, 4, 5]);
    let path = dir.path().join(FILE_NAME);
    let bytes = std::fs::read(&path).unwrap();
    let mut seen = 0;
    for length in 0..=bytes.len() {
        let state = match recover(&path, &bytes[..length]) {
            Ok(recovered) => recovered.state,
            // Header and plan appear together: without them it was cut by something else than a crash.
            Err(JournalError::Damaged { line, .. }) => {
                let whole = bytes[..length].iter().filter(|&&byte| byte == b'\n').count();
                assert!(whole < 2 && line as usize == whole + 1, "{length}");
                continue;
            }
            Err(other) => panic!("{other}"),
        };
        let place = states.iter().position(|known| *known == state).expect("a state that was once true");
        seen = seen.max(place);
        // What is appended after the cut is recovered in its turn. A sync is slow, so not at every length.
        if length % 41 == 0 || length == bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let mut journal = Journal::open(dir.path()).unwrap().unwrap();
            assert_eq!(*journal.state(), state);
            journal.append(Event::Resumed { tool: "again".to_owned() }).unwrap();
            let after = journal.state().clone();
            assert_eq!(Journal::read(dir.path()).unwrap().unwrap(), after);
        }
    }
    assert_eq!(seen, states.len() - 1);
}

#[test]
fn a_flipped_bit_is_a_prefix_of_the_truth_or_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let states = write(dir.path(), &[0, 2, 1]);
    let path = dir.path().join(FILE_NAME);
    let bytes = std::fs::read(&path).unwrap();
    let (mut refused, mut accepted) = (0, 0);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match recover(&path, &damaged) {
            Ok(recovered) => {
                assert!(states.contains(&recovered.state), "bit {bit} gave a state that never was");
                accepted += 1;
            }
            Err(JournalError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
    assert!(refused > accepted, "only the last line may be dropped: {refused} refused, {accepted} accepted");
}

#[test]
fn a_line_that_is_lost_doubled_or_moved_is_damage_with_its_number() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[0, 0]);
    let path = dir.path().join(FILE_NAME);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let damage = |order: &[usize]| {
        let text: String = order.iter().map(|&i| format!("{}\n", lines[i])).collect();
        std::fs::write(&path, text).unwrap();
        match Journal::read(dir.path()) {
            Err(JournalError::Damaged { line, .. }) => line,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(damage(&[0, 1, 3, 4, 5, 6, 7]), 3, "lost");
    assert_eq!(damage(&[0, 1, 2, 2, 3, 4, 5, 6, 7]), 4, "doubled");
    assert_eq!(damage(&[0, 1, 2, 4, 3, 5, 6, 7]), 4, "moved");
    assert_eq!(damage(&[1, 0, 2]), 1, "no header");
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let newer = Header { format: FORMAT + 1, ..header() };
    let plan = Plan { chunks: Vec::new(), limits: Limits::default() };
    assert!(matches!(Journal::create(dir.path(), newer, plan), Err(JournalError::Contradiction(_))));
    drop(create(dir.path(), 1));
    let path = dir.path().join(FILE_NAME);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let body = lines[0].replace("\"format\":1", "\"format\":2");
    let body = &body[..body.len() - 26];
    lines[0] = format!("{body},\"sum\":\"{:016x}\"}}", xxhash_rust::xxh3::xxh3_64(body.as_bytes()));
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    assert!(matches!(Journal::read(dir.path()), Err(JournalError::Newer { .. })));
}

#[test]
fn what_cannot_be_true_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = create(dir.path(), 2);
    for event in story("M-00001.zip", 1, 0) {
        journal.append(event).unwrap();
    }
    let before = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
    let mut same_id = story("M-00002.zip", 1, 0);
    let refused = [
        Event::Attempt { chunk: "M-00001.zip".to_owned(), attempt: 2 },
        Event::Attempt { chunk: "M-00009.zip".to_owned(), attempt: 1 },
        same_id.remove(2),
    ];
    for event in refused {
        assert!(matches!(journal.append(event), Err(JournalError::Contradiction(_))));
    }
    assert_eq!(std::fs::read(dir.path().join(FILE_NAME)).unwrap(), before);
}

#[test]
fn an_attempt_without_an_outcome_is_unknown_and_a_possible_orphan() {
    let dir = tempfile::tempdir().unwrap();
    drop(write(dir.path(), &[3]));
    let mut journal = Journal::open(dir.path()).unwrap().unwrap();
    let chunk = |journal: &Journal| journal.state().chunk("M-00001.zip").unwrap().clone();
    assert_eq!(
        (chunk(&journal).upload.state, chunk(&journal).possible_orphans()),
        (UploadStatus::Unknown, 1)
    );
    journal.append(Event::Resumed { tool: "again".to_owned() }).unwrap();
    for event in &story("M-00001.zip", 1, 0)[1..] {
        journal.append(event.clone()).unwrap();
    }
    assert_eq!(
        (chunk(&journal).upload.state, chunk(&journal).possible_orphans()),
        (UploadStatus::Uploaded, 1)
    );
    assert_eq!(chunk(&journal).upload.attempts, 2);
}

#[test]
fn a_chunk_that_is_cut_is_replaced_by_its_parts_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = create(dir.path(), 2);
    let parts = vec![planned(1, "M-00001a.zip"), planned(1, "M-00001b.zip")];
    journal.append(Event::Cut { chunk: "M-00001.zip".to_owned(), parts }).unwrap();
    let names: Vec<&str> = journal.state().chunks().map(|chunk| &chunk.planned.name[..]).collect();
    assert_eq!(names, ["M-00001a.zip", "M-00001b.zip", "M-00002.zip"]);
    assert_eq!(Journal::read(dir.path()).unwrap().as_ref(), Some(journal.state()));
}

#[test]
fn a_journal_that_is_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    drop(create(elsewhere.path(), 1));
    std::os::unix::fs::symlink(elsewhere.path().join(FILE_NAME), dir.path().join(FILE_NAME)).unwrap();
    assert!(matches!(Journal::open(dir.path()), Err(JournalError::Io { .. })));
}
