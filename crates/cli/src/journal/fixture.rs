//! A small run for tests: three chunks of two records each, and a story in which everything happens.

use prep::{Entry, Fingerprint, Limits, PlannedEntry, Role};

use super::event::{Event, FORMAT, Header, Input, Line, Plan, PlannedChunk, Target};
use super::state::State;

pub(crate) fn header() -> Header {
    Header {
        format: FORMAT,
        tool: "zbulk 0.1.0".to_owned(),
        name: "crm".to_owned(),
        target: Target::Zoho { dc: "eu".to_owned(), org: "808232144".to_owned() },
        inputs: vec![Input {
            module: "Contacts".to_owned(),
            role: Role::Parent,
            kind: None,
            path: "contacts.csv".to_owned(),
            fingerprint: Fingerprint { bytes: 70, xxh3_128: "0".repeat(32) },
            records: 6,
            packed: 6,
            rejected: 0,
            blank_lines: 0,
        }],
        limits: Limits::default(),
        settings: serde_json::json!({ "level": 6 }),
        settings_digest: "1".repeat(32),
        plan_digest: "2".repeat(32),
    }
}

pub(crate) fn planned(name: &str, first: u64, last: u64) -> PlannedChunk {
    let seq = name.split_once('-').unwrap().1[..5].parse().unwrap();
    let entry = PlannedEntry {
        input: 0,
        module: "Contacts".to_owned(),
        role: Role::Parent,
        kind: None,
        name: "Contacts.csv".to_owned(),
        records: last - first + 1,
        columns: 2,
        key_index: None,
        csv_bytes: 10 * (last - first + 2),
        first_record: Some(first),
        last_record: Some(last),
    };
    PlannedChunk { seq, name: name.to_owned(), entries: vec![entry] }
}

pub(crate) fn plan() -> Plan {
    plan_of(3)
}

pub(crate) fn plan_of(chunks: u64) -> Plan {
    let chunks =
        (1..=chunks).map(|seq| planned(&format!("Contacts-{seq:05}.zip"), 2 * seq - 1, 2 * seq)).collect();
    Plan { chunks }
}

pub(crate) fn name(seq: u32) -> String {
    format!("Contacts-{seq:05}.zip")
}

pub(crate) fn packed(chunk: &str, sha: char) -> Event {
    let entry = Entry {
        module: "Contacts".to_owned(),
        role: Role::Parent,
        kind: None,
        name: "Contacts.csv".to_owned(),
        records: 2,
        columns: 2,
        key_index: None,
        csv_bytes: 30,
        csv_xxh3_128: "3".repeat(32),
        first_record: 1,
        last_record: 2,
        source_lines: [2, 3],
        first_key: Some("a\n\"b\u{2028}".to_owned()),
        last_key: None,
    };
    Event::Packed {
        chunk: chunk.to_owned(),
        archive_bytes: 150,
        archive_sha256: sha.to_string().repeat(64),
        entries: vec![entry],
        kept: false,
    }
}

pub(crate) fn attempt(chunk: &str, attempt: u32) -> Event {
    Event::Attempt { chunk: chunk.to_owned(), attempt }
}

pub(crate) fn uploaded(chunk: &str, file_id: &str) -> Event {
    Event::Uploaded {
        chunk: chunk.to_owned(),
        file_id: file_id.to_owned(),
        created_time: Some("2026-01-31T12:00:00+01:00".to_owned()),
        http_status: 200,
        code: "FILE_UPLOAD_SUCCESS".to_owned(),
        attempts: 1,
        elapsed_ms: 1_234,
    }
}

pub(crate) fn failed(chunk: &str) -> Event {
    Event::Failed {
        chunk: chunk.to_owned(),
        reason: "the archive was refused".to_owned(),
        http_status: Some(413),
        code: Some("FILE_TOO_LARGE".to_owned()),
        attempts: 1,
        elapsed_ms: 99,
    }
}

pub(crate) fn cut(seq: u32) -> Event {
    let part = |letter| planned(&format!("Contacts-{seq:05}{letter}.zip"), 1, 1);
    Event::Cut { chunk: name(seq), parts: [part('a'), part('b')] }
}

pub(crate) fn resumed() -> Event {
    Event::Resumed { format: FORMAT, tool: "zbulk 0.1.1".to_owned(), dropped: None }
}

/// A small run in which everything happens, the uploads last.
pub(crate) fn story() -> Vec<Event> {
    vec![
        packed(&name(1), '4'),
        attempt(&name(1), 1),
        Event::Ambiguous { chunk: name(1), attempt: 1 },
        attempt(&name(1), 2),
        uploaded(&name(1), "111111000001000001"),
        cut(2),
        packed("Contacts-00002a.zip", '5'),
        attempt("Contacts-00002a.zip", 1),
        failed("Contacts-00002a.zip"),
        packed(&name(3), '6'),
        attempt(&name(3), 1),
        resumed(),
        packed("Contacts-00002b.zip", '7'),
        attempt("Contacts-00002b.zip", 1),
        uploaded("Contacts-00002b.zip", "111111000001000002"),
        Event::Finished { exit: 6 },
    ]
}

/// A run of so many chunks by three processes: most are sent at once, some are cut, refused or left without an outcome
/// at first, and in the end each has its `file_id`.
pub(crate) fn long_story(chunks: u32) -> Vec<Event> {
    let mut events = Vec::new();
    let mut ids = 111_111_000_001_000_000_u64;
    let mut upload = |events: &mut Vec<Event>, chunk: &str, attempts: u32| {
        ids += 1;
        for number in 1..attempts {
            events.extend([
                attempt(chunk, number),
                Event::Ambiguous { chunk: chunk.to_owned(), attempt: number },
            ]);
        }
        events.extend([attempt(chunk, attempts), uploaded(chunk, &ids.to_string())]);
    };
    let mut later = Vec::new();
    for seq in 1..=chunks {
        match seq % 10 {
            3 => {
                events.push(cut(seq));
                for letter in ['a', 'b'] {
                    let part = format!("Contacts-{seq:05}{letter}.zip");
                    events.push(packed(&part, '5'));
                    upload(&mut events, &part, 1);
                }
            }
            5 => {
                events.extend([packed(&name(seq), '6'), attempt(&name(seq), 1), failed(&name(seq))]);
                later.push(seq);
            }
            7 => {
                events.extend([packed(&name(seq), '7'), attempt(&name(seq), 1)]);
                later.push(seq);
            }
            other => {
                events.push(packed(&name(seq), '4'));
                upload(&mut events, &name(seq), 1 + u32::from(other == 9));
            }
        }
        if seq == chunks / 2 {
            events.push(resumed());
        }
    }
    events.extend([Event::Finished { exit: 6 }, resumed()]);
    for seq in later {
        upload(&mut events, &name(seq), 1);
    }
    events.push(Event::Finished { exit: 0 });
    events
}

/// The states after each line of a journal, from the plan on.
pub(crate) fn states(events: Vec<Event>) -> Vec<State> {
    let time = "2026-01-31T12:00:00.123Z".parse().unwrap();
    let mut state = State::begin(Line { n: 1, time, event: Event::Header(Box::new(header())) }).unwrap();
    state.apply(Line { n: 2, time, event: Event::Plan(plan()) }).unwrap();
    let mut states = vec![state];
    for event in events {
        let mut state = states.last().unwrap().clone();
        state.apply(Line { n: state.lines + 1, time, event }).unwrap();
        states.push(state);
    }
    states
}

/// Makes every further append fail, as a full disk would.
pub(crate) fn cut_off(journal: &mut super::Journal) {
    journal.log = super::Log::Own(std::fs::File::open(&journal.path).unwrap());
}
