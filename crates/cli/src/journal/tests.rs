//! The laws of the journal: what is appended is recovered; a crash leaves a prefix; any other damage is refused.

use proptest::prelude::*;
use tempfile::TempDir;

use super::event::Target;
use super::fixture::*;
use super::state::UploadStatus;
use super::*;

fn dir() -> (TempDir, OutputDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = OutputDir::enter(temp.path()).unwrap();
    (temp, dir)
}

/// The bytes of a journal, and the state and the length after each of its lines (from the second on).
fn written(events: Vec<Event>) -> (Vec<u8>, Vec<(usize, State)>) {
    let (temp, dir) = dir();
    let mut journal = Journal::create(&dir, header(), plan()).unwrap();
    let mut states = vec![(journal.durable, journal.state().clone())];
    for event in events {
        journal.append(event).unwrap();
        states.push((journal.durable, journal.state().clone()));
    }
    (fs::read(temp.path().join(FILE_NAME)).unwrap(), states)
}

fn recovered(bytes: &[u8]) -> Result<State> {
    recover(Path::new("journal.jsonl"), bytes).map(|recovered| recovered.state)
}

fn damaged_line(result: Result<State>) -> u64 {
    match result {
        Err(JournalError::Damaged { line, .. }) => line,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_journal_cut_at_any_length_is_a_prefix() {
    let (bytes, states) = written(story());
    for length in 0..=bytes.len() {
        match states.iter().rev().find(|(end, _)| *end <= length) {
            Some((_, state)) => assert_eq!(&recovered(&bytes[..length]).unwrap(), state, "{length}"),
            // Header and plan come about together: a journal without both is none that a crash has left.
            None => assert!(damaged_line(recovered(&bytes[..length])) <= 2, "{length}"),
        }
    }
}

#[test]
fn a_cut_journal_is_truncated_to_whole_lines_and_goes_on_from_there() {
    let (bytes, states) = written(story());
    let (temp, dir) = dir();
    let path = temp.path().join(FILE_NAME);
    let length_of = |path: &Path| fs::metadata(path).unwrap().len() as usize;
    for (end, state) in &states {
        for length in [*end, end + 1, end + 40] {
            let Some(cut) = bytes.get(..length) else { continue };
            fs::write(&path, cut).unwrap();
            assert_eq!(&Journal::read(temp.path()).unwrap().unwrap(), state, "{length}");
            assert_eq!(length_of(&path), length, "reading changes nothing");
            let mut journal = Journal::open(&dir).unwrap().unwrap();
            assert_eq!((journal.state(), length_of(&path)), (state, *end), "{length}");
            journal.append(Event::Resumed { tool: "zbulk".to_owned() }).unwrap();
            assert_eq!(&Journal::read(temp.path()).unwrap().unwrap(), journal.state());
        }
    }
}

#[test]
fn any_bit_flipped_is_refused_with_its_line_or_drops_the_last_line_only() {
    let (bytes, states) = written(story());
    let line_of = |at: usize| bytes[..at].iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
    let without_last = &states[states.len() - 2].1;
    let last = line_of(bytes.len() - 1);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            match recovered(&flipped) {
                Ok(state) => {
                    assert_eq!(&state, without_last, "byte {at} bit {bit}");
                    assert_eq!(line_of(at), last, "byte {at} bit {bit}");
                }
                Err(JournalError::Damaged { line, .. }) => {
                    assert_eq!(line, line_of(at), "byte {at} bit {bit}");
                }
                Err(error) => panic!("byte {at} bit {bit}: {error:?}"),
            }
        }
    }
}

#[test]
fn lines_lost_doubled_swapped_or_of_another_journal_are_refused() {
    let (bytes, _) = written(story());
    let lines: Vec<Vec<u8>> = bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        damaged_line(recovered(&lines.concat()))
    };
    assert_eq!(with(&|lines| drop(lines.remove(4))), 5);
    assert_eq!(with(&|lines| lines.insert(4, lines[4].clone())), 6);
    assert_eq!(with(&|lines| lines.swap(4, 5)), 5);
    assert_eq!(with(&|lines| drop(lines.remove(1))), 2);
    assert_eq!(with(&|lines| drop(lines.remove(0))), 1);

    // Of another journal: the same event in the same place, but other lines before it.
    let mut other = story();
    other[0] = packed(&name(1), '8');
    let (other, _) = written(other);
    let other: Vec<&[u8]> = other.split_inclusive(|&byte| byte == b'\n').collect();
    assert_eq!(with(&|lines| lines[4] = other[4].to_vec()), 5);
}

#[test]
fn what_a_power_loss_may_leave_behind_the_last_line_is_dropped() {
    let (bytes, states) = written(story());
    for tail in [&b"\0\0\0\0"[..], b"{\"n\":", b"garbage\n", b"\n", b"{}\n", &[0xff; 600]] {
        let torn = [&bytes[..], tail].concat();
        assert_eq!(&recovered(&torn).unwrap(), &states.last().unwrap().1, "{tail:?}");
    }
    let torn = [&bytes[..], b"garbage\ngarbage\n"].concat();
    assert_eq!(damaged_line(recovered(&torn)), story().len() as u64 + 3);
}

#[test]
fn a_damaged_line_end_does_not_take_the_next_line_with_it() {
    let (mut bytes, states) = written(story());
    let before_last = states[states.len() - 2].0;
    bytes[before_last - 1] = b' ';
    assert_eq!(damaged_line(recovered(&bytes)), story().len() as u64 + 1);
}

#[test]
fn an_event_that_cannot_follow_is_refused_and_nothing_is_written() {
    let (temp, dir) = dir();
    let mut journal = Journal::create(&dir, header(), plan()).unwrap();
    for event in [packed(&name(1), '4'), attempt(&name(1), 1), uploaded(&name(1), "1"), packed(&name(2), '5')]
    {
        journal.append(event).unwrap();
    }
    let before = (fs::read(temp.path().join(FILE_NAME)).unwrap(), journal.state().clone());
    for event in [
        Event::Header(Box::new(header())),
        Event::Plan(plan()),
        Event::Target { target: Target::Sandbox },
        attempt(&name(1), 2),
        attempt(&name(3), 1),
        attempt("Contacts-00009.zip", 1),
        uploaded(&name(1), "2"),
        uploaded(&name(2), "1"),
        uploaded(&name(2), "3"),
        failed(&name(1)),
        failed(&name(2)),
        cut(1),
        packed(&name(1), '9'),
        Event::Ambiguous { chunk: name(2), attempt: 1 },
        Event::Cut { chunk: name(3), parts: [planned(&name(1), 1, 1), planned(&name(2), 1, 1)] },
        Event::Cut {
            chunk: name(3),
            parts: [planned("Contacts-00003a.zip", 1, 1), planned("Contacts-00003a.zip", 1, 1)],
        },
    ] {
        let refused = journal.append(event.clone());
        assert!(matches!(refused, Err(JournalError::Contradiction(_))), "{event:?}: {refused:?}");
    }
    assert_eq!((fs::read(temp.path().join(FILE_NAME)).unwrap(), journal.state().clone()), before);
    journal.append(attempt(&name(2), 1)).unwrap();
    journal.append(uploaded(&name(2), "3")).unwrap();
    let refused = journal.append(uploaded(&name(3), "3"));
    assert!(matches!(refused, Err(JournalError::Contradiction(_))), "{refused:?}");
}

#[test]
fn after_a_failed_write_nothing_is_written_any_more_and_the_durable_state_is_known() {
    let (temp, dir) = dir();
    let mut journal = Journal::create(&dir, header(), plan()).unwrap();
    journal.append(packed(&name(1), '4')).unwrap();
    let durable = journal.state().clone();
    journal.file = File::open(temp.path().join(FILE_NAME)).unwrap();
    assert!(matches!(
        journal.append(attempt(&name(1), 1)),
        Err(JournalError::Io { action: "append to", .. })
    ));
    journal.file = open_to_append(&temp.path().join(FILE_NAME)).unwrap();
    assert!(matches!(journal.append(attempt(&name(1), 1)), Err(JournalError::Broken { .. })));
    // What the failed write may have left on disk does not count either.
    journal.file.write_all(b"{\"n\":4,\"time\":").unwrap();
    assert_eq!(journal.durable_state().unwrap(), durable);
}

#[test]
fn the_states_of_a_story_are_what_happened() {
    let (_, states) = written(story());
    let state = &states.last().unwrap().1;
    let of = |name: &str| state.chunk(name).unwrap().upload();
    assert_eq!(of(&name(1)).file_id.as_deref(), Some("111111000001000001"));
    assert_eq!((of(&name(1)).attempts, of(&name(1)).possible_orphans), (2, 1));
    assert!(state.chunk(&name(2)).is_none());
    assert_eq!(state.parts(&name(2)).unwrap(), &["Contacts-00002a.zip", "Contacts-00002b.zip"]);
    assert_eq!(of("Contacts-00002a.zip").state, UploadStatus::Failed);
    assert_eq!(of("Contacts-00002a.zip").reason.as_deref(), Some("the archive was refused"));
    assert_eq!((of(&name(3)).state, of(&name(3)).possible_orphans), (UploadStatus::Unknown, 1));
    let names: Vec<&str> = state.chunks().map(state::ChunkState::name).collect();
    assert_eq!(
        names,
        ["Contacts-00001.zip", "Contacts-00002a.zip", "Contacts-00002b.zip", "Contacts-00003.zip"]
    );
    assert_eq!((state.finished, state.attempted, state.is_complete()), (Some(6), true, false));
}

#[test]
fn an_attempt_under_way_is_a_possible_orphan_until_its_outcome_and_for_good_if_there_is_none() {
    let (_, states) = written(vec![
        packed(&name(1), '4'),
        attempt(&name(1), 1),
        // The first attempt had an answer: the client would have told of none.
        attempt(&name(1), 2),
        Event::Resumed { tool: "zbulk".to_owned() },
        attempt(&name(1), 1),
        uploaded(&name(1), "7"),
    ]);
    let orphans: Vec<u32> =
        states.iter().map(|(_, state)| state.chunk(&name(1)).unwrap().possible_orphans()).collect();
    assert_eq!(orphans, [0, 0, 1, 1, 1, 2, 1]);
}

#[test]
fn the_parts_of_a_cut_chunk_still_tell_of_what_it_may_have_left_at_the_server() {
    let (_, states) = written(vec![packed(&name(1), '4'), attempt(&name(1), 1), failed(&name(1)), cut(1)]);
    assert_eq!(states.last().unwrap().1.chunks().map(state::ChunkState::possible_orphans).sum::<u32>(), 0);
    let resumed = Event::Resumed { tool: "zbulk".to_owned() };
    let (_, states) = written(vec![packed(&name(1), '4'), attempt(&name(1), 1), resumed, cut(1)]);
    assert_eq!(states.last().unwrap().1.chunks().map(state::ChunkState::possible_orphans).sum::<u32>(), 1);
}

#[test]
fn a_newer_format_and_an_unknown_event_are_refused() {
    let encode = |line: &serde_json::Value, before: &[u8]| {
        // As `line::encode`, for what no `Line` can say.
        let chain = before.split(|&byte| byte == b'\n').rfind(|line| !line.is_empty()).map_or(0, |line| {
            u64::from_str_radix(std::str::from_utf8(&line[line.len() - 18..line.len() - 2]).unwrap(), 16)
                .unwrap()
        });
        let body = line.to_string();
        let body = &body.as_bytes()[..body.len() - 1];
        let sum = xxhash_rust::xxh3::xxh3_64_with_seed(body, chain);
        [before, body, format!(",\"sum\":\"{sum:016x}\"}}\n").as_bytes()].concat()
    };
    let newer = serde_json::json!({ "n": 1, "time": "2026-01-31T12:00:00Z", "event": "header", "format": 2, "other": 1 });
    assert!(matches!(recovered(&encode(&newer, b"")), Err(JournalError::Newer { format: 2, .. })));

    let (bytes, states) = written(vec![]);
    let unknown = serde_json::json!({ "n": 3, "time": "2026-01-31T12:00:00Z", "event": "merged" });
    let error = recovered(&encode(&unknown, &bytes)).unwrap_err();
    assert!(
        matches!(error, JournalError::Damaged { line: 3, source: Damage::Line(LineError::Format(_)), .. }),
        "{error:?}"
    );

    let more = serde_json::json!({ "n": 3, "time": "2026-01-31T12:00:00Z", "event": "finished", "exit": 0, "later": [1] });
    let state = recovered(&encode(&more, &bytes)).unwrap();
    assert_eq!((state.finished, state.lines), (Some(0), states[0].1.lines + 1));
}

#[test]
fn a_link_in_the_journals_place_is_not_followed() {
    let (temp, dir) = dir();
    let precious = temp.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    std::os::unix::fs::symlink(&precious, temp.path().join(FILE_NAME)).unwrap();
    assert!(matches!(Journal::open(&dir), Err(JournalError::Io { action: "open", .. })));
    Journal::create(&dir, header(), plan()).unwrap();
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
}

#[test]
fn the_format_of_every_line_is_as_documented() {
    let time: Timestamp = "2026-01-31T12:00:00.123Z".parse().unwrap();
    let mut events =
        vec![Event::Header(Box::new(header())), Event::Plan(Plan { chunks: vec![planned(&name(1), 1, 2)] })];
    events.push(Event::Target { target: Target::Sandbox });
    events.extend(story().into_iter().take(6));
    events.extend([
        failed(&name(1)),
        Event::Resumed { tool: "zbulk 0.1.1".to_owned() },
        Event::Finished { exit: 130 },
    ]);
    let (mut text, mut chain) = (String::new(), Chain::default());
    for (n, event) in events.into_iter().enumerate() {
        let (bytes, next) = line::encode(&Line { n: n as u64 + 1, time, event }, chain).unwrap();
        chain = next;
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    insta::assert_snapshot!(text);
}

#[test]
fn messages_name_the_file_and_the_line() {
    let (mut bytes, _) = written(story());
    bytes[3000] ^= 1;
    let error = recovered(&bytes).unwrap_err();
    let layers: Vec<String> = anyhow::Error::from(error).chain().map(ToString::to_string).collect();
    insta::assert_snapshot!(layers.join("\n"), @r"
    journal.jsonl:8: the journal is damaged
    its checksum does not fit
    ");
}

/// Something that a run may try to journal, fitting or not.
fn any_event() -> impl Strategy<Value = Event> {
    let chunk = prop_oneof![
        4 => (1_u32..=4).prop_map(name),
        1 => (1_u32..=3, "[ab]").prop_map(|(seq, letter)| format!("Contacts-{seq:05}{letter}.zip")),
    ];
    let text = "\\PC{0,12}|[\"\\\\\n\r\0\u{2028}]{0,4}";
    prop_oneof![
        3 => (chunk.clone(), "[4-6]").prop_map(|(chunk, sha)| packed(&chunk, sha.chars().next().unwrap())),
        4 => (chunk.clone(), 1_u32..9).prop_map(|(chunk, n)| attempt(&chunk, n)),
        1 => (chunk.clone(), 1_u32..9).prop_map(|(chunk, attempt)| Event::Ambiguous { chunk, attempt }),
        3 => (chunk.clone(), "[0-9]{1,2}").prop_map(|(chunk, id)| uploaded(&chunk, &id)),
        2 => (chunk, text, proptest::option::of(text), any::<u64>()).prop_map(|(chunk, reason, code, elapsed_ms)| {
            Event::Failed { chunk, reason, http_status: None, code, attempts: 1, elapsed_ms }
        }),
        1 => (1_u32..=4).prop_map(cut),
        1 => text.prop_map(|tool| Event::Resumed { tool }),
        1 => any::<u8>().prop_map(|exit| Event::Finished { exit }),
        1 => Just(Event::Target { target: Target::Undecided }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_appended_is_recovered_and_what_is_refused_leaves_no_trace(
        events in proptest::collection::vec(any_event(), 0..40),
        reopen in proptest::collection::vec(any::<bool>(), 40),
        cut_at: prop::sample::Index,
    ) {
        let (temp, dir) = dir();
        let mut journal = Journal::create(&dir, header(), plan()).unwrap();
        let mut states = vec![(journal.durable, journal.state().clone())];
        for (event, reopen) in events.into_iter().zip(reopen) {
            let before = journal.state().clone();
            match journal.append(event) {
                Ok(()) => states.push((journal.durable, journal.state().clone())),
                Err(JournalError::Contradiction(_)) => prop_assert_eq!(journal.state(), &before),
                Err(error) => panic!("{error:?}"),
            }
            if reopen {
                let state = journal.state().clone();
                drop(journal);
                journal = Journal::open(&dir).unwrap().unwrap();
                prop_assert_eq!(journal.state(), &state);
            }
        }
        let read = Journal::read(temp.path()).unwrap();
        prop_assert_eq!(read.as_ref(), Some(journal.state()));

        let ids: Vec<&str> = journal.state().chunks().filter_map(state::ChunkState::file_id).collect();
        let distinct: std::collections::HashSet<&&str> = ids.iter().collect();
        prop_assert_eq!(ids.len(), distinct.len());

        let bytes = fs::read(temp.path().join(FILE_NAME)).unwrap();
        let length = states[0].0 + cut_at.index(bytes.len() - states[0].0 + 1);
        let expected = &states.iter().rev().find(|(end, _)| *end <= length).unwrap().1;
        prop_assert_eq!(&recovered(&bytes[..length]).unwrap(), expected);
    }
}
