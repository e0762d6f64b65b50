//! The journal of a run of fifty chunks, cut at every length and with bits flipped: what is recovered is a prefix state,
//! or nothing.
//!
//! A prefix state is the state after the header, the plan and some first few of the events that truly happened, in
//! their order: what an observer would have seen at some moment of the run. A wrong state is any other. A cut that
//! leaves header and plan must give the longest prefix whose lines are whole. A flip must be refused with its line's
//! number; only one in the last line may give a state instead, that without the last line, and then the line is told
//! as dropped.
//!
//! A run of all tests flips 10,000 bits, chosen by a seed, and reads a journal that is cut within a line from that line
//! on: what comes before it is read once. With `ZBULK_JOURNAL_DAMAGE=all` each bit is flipped, and each cut journal
//! read from its beginning.

use std::ops::Range;
use std::path::Path;

use super::fixture::{header, long_story, plan_of};
use super::line::{self, Chain};
use super::recovery::{Lines, Recovered, recover};
use super::state::State;
use super::{Dropped, Event, JournalError, Line};

/// A journal, and after each line from the plan on its length and state.
struct Written {
    bytes: Vec<u8>,
    states: Vec<(usize, State)>,
}

fn written() -> Written {
    const CHUNKS: u32 = 50;
    let time = "2026-01-31T12:00:00.123Z".parse().unwrap();
    let mut events = vec![Event::Header(Box::new(header())), Event::Plan(plan_of(CHUNKS.into()))];
    events.extend(long_story(CHUNKS));
    let (mut bytes, mut chain, mut states) = (Vec::new(), Chain::default(), Vec::<(usize, State)>::new());
    let mut state: Option<State> = None;
    for (n, event) in (1..).zip(events) {
        let line = Line { n, time, event };
        let (encoded, next) = line::encode(&line, chain).unwrap();
        bytes.extend(encoded);
        chain = next;
        match &mut state {
            None => state = Some(State::begin(line).unwrap()),
            Some(state) => {
                state.apply(line).unwrap();
                states.push((bytes.len(), state.clone()));
            }
        }
    }
    assert!(states.last().unwrap().1.is_complete());
    Written { bytes, states }
}

/// Tests every number of a range, on all cores.
fn each(range: Range<usize>, test: impl Fn(usize) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..threads {
            let (range, test) = (range.clone(), &test);
            scope.spawn(move || range.skip(first).step_by(threads).for_each(test));
        }
    });
}

fn recovered(bytes: &[u8]) -> super::Result<Recovered> {
    recover(Path::new("journal.jsonl"), bytes)
}

fn all() -> bool {
    std::env::var("ZBULK_JOURNAL_DAMAGE").is_ok_and(|damage| damage == "all")
}

#[test]
fn cut_at_any_length_it_gives_the_longest_prefix_of_whole_lines() {
    let Written { bytes, states } = written();
    each(0..states[0].0, |length| match recovered(&bytes[..length]) {
        // Header and plan come about together: a journal without both is none that a crash has left.
        Err(JournalError::Damaged { line: 1 | 2, .. }) => {}
        other => panic!("cut to {length} bytes: {:?}", other.map(|found| found.state)),
    });
    let ends: Vec<usize> = states.iter().map(|(end, _)| *end).chain([bytes.len() + 1]).collect();
    each(0..states.len(), |index| {
        let (end, state) = &states[index];
        let Recovered { state: found, chain, good } = recovered(&bytes[..*end]).unwrap();
        assert_eq!((&found, good), (state, *end), "cut to {end} bytes");
        for length in end + 1..ends[index + 1] {
            let cut = &bytes[..length];
            if all() {
                let found = recovered(cut).unwrap();
                assert_eq!((&found.state, found.good), (state, *end), "cut to {length} bytes");
            }
            let path = Path::new("journal.jsonl");
            let mut rest = Lines { path, bytes: cut, at: *end, number: state.lines, chain };
            assert_eq!((rest.next().unwrap(), rest.at), (None, *end), "cut to {length} bytes");
        }
    });
}

#[test]
fn with_any_bit_flipped_it_is_refused_with_the_line_or_loses_its_last_line_which_is_told() {
    let Written { bytes, states } = written();
    let bits = bytes.len() * 8;
    let line_of = |at: usize| bytes[..at].iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
    let (without_last, last_state) = &states[states.len() - 2];
    let test = |bit: usize| {
        let (at, mask) = (bit / 8, 1 << (bit % 8));
        let mut flipped = bytes.clone();
        flipped[at] ^= mask;
        match recovered(&flipped) {
            Ok(found) => {
                assert!(at >= *without_last, "byte {at} with {mask:#x} is not in the last line");
                assert_eq!(
                    (&found.state, found.good),
                    (last_state, *without_last),
                    "byte {at} with {mask:#x}"
                );
                assert!(Dropped::of(&flipped[found.good..]).is_some(), "byte {at} with {mask:#x}");
            }
            Err(JournalError::Damaged { line, .. }) => {
                assert_eq!(line, line_of(at), "byte {at} with {mask:#x}");
            }
            Err(error) => panic!("byte {at} with {mask:#x}: {error:?}"),
        }
    };
    if all() {
        each(0..bits, test);
    } else {
        each(0..10_000, |number| test(chosen(number) % bits));
        // Those of the last line, which are the only ones that may pass.
        each(without_last * 8..bits, test);
    }
}

/// The same number for the same seed, and far from the next one's.
fn chosen(seed: usize) -> usize {
    xxhash_rust::xxh3::xxh3_64(&seed.to_le_bytes()) as usize
}
