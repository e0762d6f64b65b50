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
pub(super) fn written(events: Vec<Event>) -> (Vec<u8>, Vec<(usize, State)>) {
    let (temp, dir) = dir();
    let mut journal = Journal::create(&dir, header(), plan()).unwrap();
    let mut states = vec![(journal.good, journal.state().clone())];
    for event in events {
        journal.append(event).unwrap();
        states.push((journal.good, journal.state().clone()));
    }
    (fs::read(temp.path().join(FILE_NAME)).unwrap(), states)
}

pub(super) fn recovered(bytes: &[u8]) -> Result<State> {
    recover(Path::new("journal.jsonl"), bytes).map(|recovered| recovered.state)
}

fn damaged_line(result: Result<State>) -> u64 {
    match result {
        Err(JournalError::Damaged { line, .. }) => line,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_journal_that_was_removed_takes_no_more_lines() {
    let resumed = || Event::Resumed { format: FORMAT, tool: TOOL.to_owned(), dropped: None };
    let (temp, dir) = dir();
    let mut journal = Journal::create(&dir, header(), plan()).unwrap();
    journal.append(resumed()).unwrap();
    fs::remove_file(temp.path().join(FILE_NAME)).unwrap();
    let error = journal.append(resumed()).unwrap_err();
    assert!(
        matches!(&error, JournalError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound),
        "{error:?}"
    );
    assert!(matches!(journal.append(resumed()), Err(JournalError::Broken { .. })));
    assert!(journal.durable_state().is_err(), "nothing of it is durable");
}

#[test]
fn a_cut_journal_is_as_it_was_found_until_the_run_goes_on_with_its_whole_lines() {
    let (bytes, states) = written(story());
    let (temp, dir) = dir();
    let path = temp.path().join(FILE_NAME);
    for (end, state) in &states {
        for length in [*end, end + 1, end + 40] {
            let Some(cut) = bytes.get(..length) else { continue };
            fs::write(&path, cut).unwrap();
            assert_eq!(&Journal::read(temp.path()).unwrap().unwrap(), state, "{length}");
            let mut journal = Journal::open(&dir).unwrap().unwrap();
            assert_eq!(journal.state(), state, "{length}");
            assert_eq!(fs::read(&path).unwrap(), cut, "{length}");
            journal.go_on().unwrap();
            let written = fs::read(&path).unwrap();
            assert_eq!(&written[..*end], &bytes[..*end], "{length}");
            assert_eq!(written[*end..].iter().filter(|&&byte| byte == b'\n').count(), 1, "{length}");
            assert_eq!(journal.state().lines, state.lines + 1);
            assert_eq!(&Journal::read(temp.path()).unwrap().unwrap(), journal.state());
        }
    }
}

#[test]
fn a_journal_that_is_gone_on_with_is_a_new_file_to_its_last_byte() {
    // The kernel may hold lines of the old one that never reached the disk: appending would not bring them there.
    use std::os::unix::fs::MetadataExt as _;
    let (bytes, _) = written(story());
    let (temp, dir) = dir();
    let path = temp.path().join(FILE_NAME);
    fs::write(&path, &bytes).unwrap();
    let inode = || fs::metadata(&path).unwrap().ino();
    let before = inode();
    let mut journal = Journal::open(&dir).unwrap().unwrap();
    assert_eq!(inode(), before);
    journal.append(failed(&name(3))).unwrap();
    let renewed = inode();
    assert_ne!(renewed, before);
    let written = fs::read(&path).unwrap();
    assert!(written.starts_with(&bytes));
    let lines: Vec<serde_json::Value> = written[bytes.len()..]
        .split_inclusive(|&b| b == b'\n')
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["resumed", "failed"], "whoever goes on says so first");
    assert_eq!((&lines[0]["format"], &lines[0]["dropped"]), (&FORMAT.into(), &serde_json::Value::Null));
    journal.append(Event::Finished { exit: 6 }).unwrap();
    assert_eq!(inode(), renewed, "once is enough");
}

#[test]
fn the_text_of_a_dropped_line_is_kept_in_the_line_that_takes_its_place() {
    let (bytes, states) = written(story());
    let last = states[states.len() - 2].0;
    let line = std::str::from_utf8(&bytes[last..]).unwrap().trim_end();
    let mut flipped = bytes.clone();
    flipped[last + 7] ^= 1;
    for (found, text, whole) in [
        (bytes[..last + 20].to_vec(), &line[..20], false),
        ([&bytes[..], b"\0\0\0\n"].concat(), "\0\0\0", false),
        (flipped.clone(), std::str::from_utf8(&flipped[last..]).unwrap().trim_end(), true),
    ] {
        let (temp, dir) = dir();
        let path = temp.path().join(FILE_NAME);
        fs::write(&path, &found).unwrap();
        let mut journal = Journal::open(&dir).unwrap().unwrap();
        let dropped = journal.dropped().unwrap().clone();
        assert_eq!((dropped.text.as_str(), dropped.whole), (text, whole));
        assert_eq!(dropped.bytes, found.len() - journal.good);
        journal.go_on().unwrap();
        let written = fs::read_to_string(&path).unwrap();
        let resumed: serde_json::Value = serde_json::from_str(written.lines().last().unwrap()).unwrap();
        assert_eq!(resumed["dropped"], text);
    }
    let (temp, dir) = dir();
    fs::write(temp.path().join(FILE_NAME), &bytes).unwrap();
    assert_eq!(Journal::open(&dir).unwrap().unwrap().dropped(), None);
    fs::write(temp.path().join(FILE_NAME), [&bytes[..], &[0xff; 5_000]].concat()).unwrap();
    let journal = Journal::open(&dir).unwrap().unwrap();
    let dropped = journal.dropped().unwrap();
    assert_eq!((dropped.bytes, dropped.text.chars().count(), dropped.whole), (5_000, 1_000, false));
}

#[test]
fn only_a_file_system_that_cannot_sync_at_all_is_believed_without() {
    assert!(synced(Ok(())).is_ok());
    assert!(synced(Err(io::ErrorKind::InvalidInput.into())).is_ok());
    assert_eq!(synced(Err(io::ErrorKind::Other.into())).unwrap_err().kind(), io::ErrorKind::Other);
}

#[test]
fn an_outcome_whose_line_is_lost_leaves_its_chunk_unknown_and_a_possible_orphan() {
    let events = vec![packed(&name(1), '4'), attempt(&name(1), 1), uploaded(&name(1), "7")];
    let (mut bytes, _) = written(events);
    let at = bytes.len() - 60;
    bytes[at] ^= 1;
    let state = recovered(&bytes).unwrap();
    let upload = state.chunk(&name(1)).unwrap().upload();
    assert_eq!((upload.state, upload.possible_orphans), (UploadStatus::Unknown, 1));
}

#[test]
fn a_journal_that_cannot_be_written_anew_stays_as_it_was_and_takes_no_lines() {
    let (bytes, states) = written(story());
    let (temp, dir) = dir();
    let path = temp.path().join(FILE_NAME);
    fs::write(&path, &bytes).unwrap();
    let mut journal = Journal::open(&dir).unwrap().unwrap();
    // A directory in the place of the file aside, as nothing can be written there.
    fs::create_dir_all(temp.path().join(".journal.jsonl.tmp/x")).unwrap();
    assert!(matches!(journal.go_on(), Err(JournalError::Io { action: "write", .. })));
    assert!(matches!(journal.go_on(), Err(JournalError::Broken { .. })));
    assert!(matches!(journal.append(failed(&name(3))), Err(JournalError::Broken { .. })));
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(journal.durable_state().unwrap(), states.last().unwrap().1);
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
fn a_last_line_that_is_whole_but_for_its_end_is_dropped_and_hides_nothing() {
    let (bytes, states) = written(story());
    let before_last = &states[states.len() - 2].1;
    let body = &bytes[..bytes.len() - 1];
    for end in [&b""[..], b" ", b"\0"] {
        assert_eq!(&recovered(&[body, end].concat()).unwrap(), before_last, "{end:?}");
    }
    // With more behind it a whole line was swallowed.
    assert_eq!(damaged_line(recovered(&[body, b" {"].concat())), states.last().unwrap().1.lines);
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
        Event::Plan(Plan { chunks: vec![planned("Contacts-00009.zip", 17, 18)] }),
        Event::Target { target: Target::Sandbox },
        attempt(&name(1), 2),
        attempt(&name(3), 1),
        attempt("Contacts-00009.zip", 1),
        uploaded(&name(1), "2"),
        uploaded(&name(2), "1"),
        uploaded(&name(2), "3"),
        Event::Resumed { format: FORMAT + 1, tool: String::new(), dropped: None },
        failed(&name(1)),
        failed(&name(2)),
        cut(1),
        packed(&name(1), '9'),
        Event::Ambiguous { chunk: name(2), attempt: 1 },
        Event::Cut { chunk: name(3), parts: [planned(&name(1), 1, 1), planned(&name(2), 1, 1)] },
        Event::Cut {
            chunk: name(3),
            parts: [planned("Contacts-00007a.zip", 1, 1), planned("Contacts-00007b.zip", 1, 1)],
        },
        Event::Cut {
            chunk: name(3),
            parts: [planned("Contacts-00003a.zip", 1, 1), planned("Contacts-00007b.zip", 1, 1)],
        },
        Event::Cut { chunk: name(3), parts: [planned("Contacts-00003a.zip", 1, 1), planned(&name(3), 1, 1)] },
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
    cut_off(&mut journal);
    assert!(matches!(
        journal.append(attempt(&name(1), 1)),
        Err(JournalError::Io { action: "append to", .. })
    ));
    journal.log = Log::Own(open_to_append(&temp.path().join(FILE_NAME)).unwrap());
    assert!(matches!(journal.append(attempt(&name(1), 1)), Err(JournalError::Broken { .. })));
    // What the failed write may have left on disk does not count either.
    let path = temp.path().join(FILE_NAME);
    fs::write(&path, [&fs::read(&path).unwrap()[..], b"{\"n\":4,\"time\":"].concat()).unwrap();
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
    let mut ids: Vec<&str> = state.file_ids().collect();
    ids.sort_unstable();
    assert_eq!(ids, ["111111000001000001", "111111000001000002"]);
    assert!(state.has_file_id("111111000001000002") && !state.has_file_id("111111000001000003"));
    let chunk = state.chunk(&name(1)).unwrap();
    assert_eq!((chunk.records(), chunk.csv_bytes()), (2, 30));
    assert_eq!((chunk.file_id(), chunk.status()), (Some("111111000001000001"), UploadStatus::Uploaded));
}

#[test]
fn a_line_says_when_it_was_appended_and_the_state_when_the_first_and_the_last_was() {
    let (_temp, dir) = dir();
    let before = Timestamp::now().as_millisecond();
    let mut journal = Journal::create(&dir, header(), plan()).unwrap();
    let begun = journal.state().begun;
    // The clock stands still for no longer than a millisecond.
    while Timestamp::now().as_millisecond() <= begun.as_millisecond() {
        std::thread::yield_now();
    }
    journal.append(packed(&name(1), '4')).unwrap();
    let State { begun: still, updated, .. } = *journal.state();
    let after = Timestamp::now().as_millisecond();
    assert!(begun == still && begun < updated, "{begun} {still} {updated}");
    assert!(before <= begun.as_millisecond() && updated.as_millisecond() <= after);
    assert_eq!(updated.subsec_nanosecond() % 1_000_000, 0, "milliseconds are enough");
}

#[test]
fn a_journal_begins_with_a_header_and_a_plan_of_chunks_with_names_of_their_own() {
    let time = Timestamp::UNIX_EPOCH;
    let first = |event| State::begin(Line { n: 1, time, event });
    assert!(matches!(first(Event::Plan(plan())), Err(StateError::Misplaced(_))));
    let header = || Event::Header(Box::new(header()));
    assert!(matches!(State::begin(Line { n: 2, time, event: header() }), Err(StateError::Number(2))));
    for (event, is_plan) in
        [(Event::Finished { exit: 0 }, false), (resumed(), false), (Event::Plan(plan()), true)]
    {
        let mut state = first(header()).unwrap();
        assert_eq!(state.apply(Line { n: 2, time, event }).is_ok(), is_plan);
        assert_eq!(state.lines, 1 + u64::from(is_plan), "what is refused changes nothing");
    }
    let chunk = planned(&name(1), 1, 2);
    let twice = Event::Plan(Plan { chunks: vec![chunk.clone(), chunk] });
    let twice = first(header()).unwrap().apply(Line { n: 2, time, event: twice });
    assert_eq!(twice, Err(StateError::TwoChunks(name(1))));
}

#[test]
fn a_run_is_complete_when_every_chunk_has_its_file_id() {
    let states = states(long_story(3));
    let complete: Vec<bool> = states.iter().map(State::is_complete).collect();
    let last = complete.iter().position(|&complete| complete).unwrap();
    assert!(complete[last..].iter().all(|&complete| complete));
    assert!(states[last].chunks().all(|chunk| chunk.file_id().is_some()));
    assert!(states[last - 1].chunks().any(|chunk| chunk.file_id().is_none()));
}

#[test]
fn a_status_is_called_the_same_in_tables_and_in_json() {
    use UploadStatus::{Failed, Pending, Unknown, Uploaded};
    for (status, name) in
        [(Pending, "pending"), (Uploaded, "uploaded"), (Failed, "failed"), (Unknown, "unknown")]
    {
        assert_eq!((status.as_str(), serde_json::to_value(status).unwrap()), (name, name.into()));
    }
}

#[test]
fn where_there_is_no_journal_there_is_no_run() {
    let (temp, dir) = dir();
    assert!(Journal::open(&dir).unwrap().is_none());
    assert!(Journal::read(temp.path()).unwrap().is_none());
    assert!(Journal::read(&temp.path().join("nowhere")).unwrap().is_none());
}

#[test]
fn after_its_end_a_process_tells_nothing_more() {
    let (temp, dir) = dir();
    let mut journal = Journal::create(&dir, header(), plan()).unwrap();
    journal.append(Event::Finished { exit: 5 }).unwrap();
    assert_eq!(journal.state().finished, Some(5));
    for event in
        [packed(&name(1), '4'), Event::Finished { exit: 0 }, Event::Target { target: Target::Sandbox }]
    {
        assert!(matches!(journal.append(event), Err(JournalError::Contradiction(StateError::Misplaced(_)))));
    }
    drop(journal);
    let mut journal = Journal::open(&dir).unwrap().unwrap();
    assert_eq!(journal.state().finished, Some(5), "opening it is no event");
    journal.append(packed(&name(1), '4')).unwrap();
    assert_eq!(journal.state().finished, None);
    assert_eq!(Journal::read(temp.path()).unwrap().unwrap().finished, None);
}

#[test]
fn an_attempt_under_way_is_a_possible_orphan_until_its_outcome_and_for_good_if_there_is_none() {
    let (_, states) = written(vec![
        packed(&name(1), '4'),
        attempt(&name(1), 1),
        // The first attempt had an answer: the client would have told of none.
        attempt(&name(1), 2),
        resumed(),
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
    let resumed = resumed();
    let (_, states) = written(vec![packed(&name(1), '4'), attempt(&name(1), 1), resumed, cut(1)]);
    assert_eq!(states.last().unwrap().1.chunks().map(state::ChunkState::possible_orphans).sum::<u32>(), 1);
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
        1 => proptest::option::of(text).prop_map(|dropped| Event::Resumed { format: FORMAT, tool: "zbulk".to_owned(), dropped }),
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
        let mut states = vec![(journal.good, journal.state().clone())];
        for (event, reopen) in events.into_iter().zip(reopen) {
            let before = journal.state().clone();
            match journal.append(event) {
                Ok(()) => states.push((journal.good, journal.state().clone())),
                Err(JournalError::Contradiction(_)) => prop_assert_eq!(journal.state(), &before),
                Err(error) => panic!("{error:?}"),
            }
            if reopen {
                let state = journal.state().clone();
                drop(journal);
                journal = Journal::open(&dir).unwrap().unwrap();
                prop_assert_eq!(journal.state(), &state);
                journal.go_on().unwrap();
                states.push((journal.good, journal.state().clone()));
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
