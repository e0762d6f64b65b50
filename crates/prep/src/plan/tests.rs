//! The plan by hand: every limit to the last record and byte, and every cut.

use super::*;
use crate::column::Budget;
use crate::scan::Record;
use crate::sizes::ChildSizes;
use crate::table::Table;

/// An import of `Sites` with `Meters`; header bytes are 10 and 20. One parent each: its bytes as written, 0 for one that
/// is not packed, its children and their bytes.
struct Imports {
    members: Vec<Member>,
    parents: Table,
    children: Vec<ChildSizes>,
}

fn import(groups: &[(u32, u32, u32)]) -> Imports {
    let member = |input, module: &str, role, header_bytes| Member {
        input,
        module: module.to_owned(),
        role,
        kind: (role == Role::Child).then_some(ChildKind::Subform),
        columns: 2,
        key_index: Some(input as u32),
        header_bytes,
    };
    let mut parents = Table::new(0, &Budget::new(0, &std::env::temp_dir()));
    for &(len_out, ..) in groups {
        let reject = (len_out == 0).then_some(crate::reject::RejectCode::WrongFieldCount);
        let (blank_lines, rewritten, spans_lines) = (0, false, false);
        parents.push(&Record { len_raw: 1, len_out, blank_lines, rewritten, reject, spans_lines, key: () });
    }
    let children = ChildSizes::of(groups.iter().map(|&(_, records, bytes)| (records, bytes)));
    let members = vec![member(0, "Sites", Role::Parent, 10), member(1, "Meters", Role::Child, 20)];
    Imports { members, parents, children: vec![children] }
}

impl Imports {
    fn sizes(&self) -> Sizes<'_> {
        Sizes { members: &self.members, parents: &self.parents, children: &self.children }
    }
}

fn limits(chunk_records: u32, max_csv_bytes: Option<u64>) -> Limits {
    Limits { chunk_records, max_csv_bytes, ..Limits::default() }
}

/// The parents of each chunk, zero-based.
fn runs(groups: &[(u32, u32, u32)], limits: &Limits) -> Vec<Range<u32>> {
    let import = import(groups);
    let plan = ChunkPlan::new(&[import.sizes()], limits).unwrap();
    plan.chunks().iter().map(|chunk| chunk.parents.clone()).collect()
}

#[test]
fn a_chunk_is_closed_before_the_parent_that_would_pass_a_limit_and_not_before() {
    let none = limits(25_000, None);
    assert_eq!(runs(&[], &none), []);
    assert_eq!(runs(&[(5, 1, 5); 7], &none), vec![0..7; 1]);
    assert_eq!(runs(&[(5, 0, 0); 7], &limits(3, None)), [0..3, 3..6, 6..7], "parents");
    assert_eq!(runs(&[(5, 2, 5); 7], &limits(6, None)), [0..3, 3..6, 6..7], "children");
    assert_eq!(runs(&[(5, 2, 5); 7], &limits(5, None)), [0..2, 2..4, 4..6, 6..7], "children");
    // 10 of the header and 3 times 5; 20 of the header and 3 times 7.
    assert_eq!(runs(&[(5, 0, 0); 7], &limits(9, Some(25))), [0..3, 3..6, 6..7], "bytes of parents");
    assert_eq!(runs(&[(5, 0, 0); 7], &limits(9, Some(24))), [0..2, 2..4, 4..6, 6..7], "bytes of parents");
    assert_eq!(runs(&[(1, 1, 7); 7], &limits(9, Some(41))), [0..3, 3..6, 6..7], "bytes of children");
    assert_eq!(runs(&[(1, 1, 7); 7], &limits(9, Some(40))), [0..2, 2..4, 4..6, 6..7], "bytes of children");
    // A new chunk begins with the load of the parent that did not fit.
    assert_eq!(runs(&[(1, 1, 1), (1, 5, 1), (1, 1, 1), (1, 1, 1)], &limits(5, None)), [0..1, 1..2, 2..4]);
}

#[test]
fn parents_that_are_not_packed_count_for_nothing_and_begin_and_end_no_chunk() {
    let groups = [(0, 0, 0), (5, 0, 0), (0, 9, 9), (5, 0, 0), (0, 0, 0), (5, 0, 0), (0, 0, 0)];
    assert_eq!(runs(&groups, &limits(2, None)), [1..4, 5..6]);
    assert_eq!(runs(&[(0, 0, 0); 3], &limits(2, None)), []);
}

#[test]
fn a_chunk_says_what_is_in_it() {
    let import = import(&[(5, 0, 0), (6, 2, 7), (7, 1, 8), (0, 0, 0), (8, 0, 0)]);
    let plan = ChunkPlan::new(&[import.sizes(), import.sizes()], &limits(2, None)).unwrap();
    let told: Vec<String> = plan
        .chunks()
        .iter()
        .map(|chunk| {
            let entries: Vec<String> = chunk
                .entries
                .iter()
                .map(|entry| {
                    let PlannedEntry { name, records, csv_bytes, first_record, last_record, .. } = entry;
                    format!("{name} {records} records {csv_bytes} bytes {first_record:?} {last_record:?}")
                })
                .collect();
            format!("{} {} of {}: {}", chunk.id.seq, chunk.name, chunk.import, entries.join(", "))
        })
        .collect();
    assert_eq!(
        told,
        [
            "1 Sites-00001.zip of 0: Sites.csv 2 records 21 bytes Some(1) Some(2), Meters.csv 2 records 27 bytes None None",
            "2 Sites-00002.zip of 0: Sites.csv 2 records 25 bytes Some(3) Some(5), Meters.csv 1 records 28 bytes None None",
            "3 Sites-00003.zip of 1: Sites.csv 2 records 21 bytes Some(1) Some(2), Meters.csv 2 records 27 bytes None None",
            "4 Sites-00004.zip of 1: Sites.csv 2 records 25 bytes Some(3) Some(5), Meters.csv 1 records 28 bytes None None",
        ]
    );
    let entry = &plan.chunks()[0].entries[1];
    let rest = (entry.input, entry.module.as_str(), entry.role, entry.kind, entry.columns, entry.key_index);
    assert_eq!(rest, (1, "Meters", Role::Child, Some(ChildKind::Subform), 2, Some(1)));
    let childless = ChunkPlan::new(&[import.sizes()], &limits(1, None)).unwrap();
    assert_eq!(childless.chunks()[0].entries.len(), 1, "no entry without a record");
}

/// The parents of both parts of a chunk of all parents.
fn cut(groups: &[(u32, u32, u32)]) -> Option<[Range<u32>; 2]> {
    let import = import(groups);
    let sizes = import.sizes();
    let plan = ChunkPlan::new(&[sizes], &limits(25_000, None)).unwrap();
    let parts = import.sizes().cut(&plan.chunks()[0]).unwrap()?;
    for (part, letter) in parts.iter().zip(["a", "b"]) {
        assert_eq!(part.name, format!("Sites-00001{letter}.zip"));
        assert_eq!((part.id.seq, part.id.cuts.as_str(), part.import), (1, letter, 0));
        let first = &part.entries[0];
        assert_eq!(first.first_record, Some(u64::from(part.parents.start) + 1));
        assert_eq!(first.last_record, Some(u64::from(part.parents.end)));
    }
    Some(parts.map(|part| part.parents))
}

#[test]
fn a_chunk_is_cut_after_the_parent_where_half_of_its_bytes_is_reached() {
    let alone = |bytes: &[u32]| bytes.iter().map(|&bytes| (bytes, 0, 0)).collect::<Vec<_>>();
    assert_eq!(cut(&alone(&[9])), None, "one parent cannot be parted");
    assert_eq!(cut(&alone(&[1, 1])), Some([0..1, 1..2]));
    assert_eq!(cut(&alone(&[1, 1, 1, 1])), Some([0..2, 2..4]), "half is reached exactly");
    assert_eq!(cut(&alone(&[1, 1, 1, 1, 1])), Some([0..3, 3..5]), "half is passed");
    assert_eq!(cut(&alone(&[9, 1, 1, 1])), Some([0..1, 1..4]));
    assert_eq!(cut(&alone(&[1, 1, 9, 1])), Some([0..3, 3..4]));
    // At least one parent on each side, also where half is reached with the last.
    assert_eq!(cut(&alone(&[1, 1, 9])), Some([0..2, 2..3]));
    assert_eq!(cut(&alone(&[1, 9])), Some([0..1, 1..2]));
    // The bytes of the children count as those of their parent.
    assert_eq!(cut(&[(1, 0, 0), (1, 0, 0), (1, 0, 0), (1, 1, 9), (1, 0, 0)]), Some([0..4, 4..5]));
    assert_eq!(cut(&[(1, 1, 9), (1, 0, 0), (1, 0, 0)]), Some([0..1, 1..3]));
    // What is not packed stands in neither part's first or last place.
    let groups =
        [(0, 0, 0), (1, 0, 0), (0, 0, 0), (1, 0, 0), (0, 0, 0), (0, 0, 0), (1, 0, 0), (1, 0, 0), (0, 0, 0)];
    assert_eq!(cut(&groups), Some([1..4, 6..8]));
    assert_eq!(cut(&[(0, 0, 0), (5, 0, 0), (0, 0, 0)]), None);
}

#[test]
fn parts_are_cut_again_one_letter_more_each() {
    let import = import(&[(1, 0, 0); 4]);
    let plan = ChunkPlan::new(&[import.sizes()], &limits(25_000, None)).unwrap();
    let [a, b] = import.sizes().cut(&plan.chunks()[0]).unwrap().unwrap();
    let [aa, ab] = import.sizes().cut(&a).unwrap().unwrap();
    let names = [&aa, &ab, &b].map(|chunk| chunk.name.as_str());
    assert_eq!(names, ["Sites-00001aa.zip", "Sites-00001ab.zip", "Sites-00001b.zip"]);
    assert_eq!([&aa, &ab, &b].map(|chunk| chunk.parents.clone()), [0..1, 1..2, 2..4]);
    assert!(import.sizes().cut(&aa).unwrap().is_none());
}

#[test]
fn the_digest_is_the_same_for_the_same_plan_alone_and_in_all_versions() {
    let groups = [(5, 1, 5), (5, 1, 5), (5, 0, 0)];
    let plan = |groups: &[(u32, u32, u32)], limits: &Limits| {
        let import = import(groups);
        ChunkPlan::new(&[import.sizes()], limits).unwrap()
    };
    let digest = |groups: &[(u32, u32, u32)], records| plan(groups, &limits(records, None)).digest();
    let digests = [
        digest(&groups, 2),
        digest(&groups, 3),
        digest(&[(5, 1, 5), (5, 1, 6), (5, 0, 0)], 2),
        digest(&[(5, 1, 5), (5, 2, 5), (5, 0, 0)], 2),
        digest(&[(5, 1, 5), (5, 1, 5), (6, 0, 0)], 2),
        digest(&[(5, 1, 5), (5, 1, 5), (0, 0, 0), (5, 0, 0)], 2),
        digest(&[], 2),
    ];
    let different: std::collections::BTreeSet<&String> = digests.iter().collect();
    assert_eq!(different.len(), digests.len(), "{digests:?}");
    assert_eq!(digest(&groups, 2), digests[0]);
    // Journals hold it.
    assert_eq!(digests[0], "05879c38d13fe593686d5ec927a37c05");
}
