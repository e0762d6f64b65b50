use std::path::Path;

use prep::{ChildKind, Import, Limits, Settings};

use super::*;
use crate::journal::event::{Event, Line};
use crate::journal::fixture;

/// A job of one plain module.
fn job(dir: &Path, csv: &str) -> Job {
    let path = dir.join("things.csv");
    std::fs::write(&path, csv).unwrap();
    let input = |module: &str| prep::Input {
        module: module.to_owned(),
        path: path.clone(),
        key: Some("Id".to_owned()),
        delimiter: None,
        encoding: None,
    };
    Job {
        imports: vec![Import { parent: input("Things"), children: Vec::new() }],
        settings: Settings { spill_dir: dir.to_owned(), ..Settings::default() },
    }
}

fn header_of(job: &Job) -> Header {
    header("things", Target::Sandbox, job, &prep::prepare(job, &()).unwrap())
}

#[test]
fn the_same_job_has_the_same_header_and_no_difference() {
    let dir = tempfile::tempdir().unwrap();
    let mut job = job(dir.path(), "Id,Name\n1,a\n");
    let old = header_of(&job);
    // What does not decide the plan or its bytes.
    job.settings.threads = 3;
    job.settings.memory_bytes = 64 << 20;
    // Named, it is the one that was found.
    job.imports[0].parent.delimiter = Some(b',');
    assert_eq!(header_of(&job), old);
    assert_eq!(differences(&old, &header_of(&job), Some(&Target::Sandbox)), Vec::<String>::new());
}

#[test]
fn every_difference_is_named_with_both_values() {
    let dir = tempfile::tempdir().unwrap();
    let mut changed = job(dir.path(), "Id,Name\n1,a\n");
    let old = header_of(&changed);
    let mut told = String::new();
    let mut tell = |what: &str, new: &Header, target: Option<&Target>| {
        for line in differences(&old, new, target) {
            let line = line.replace(dir.path().to_str().unwrap(), "DIR");
            told.push_str(&[what, ": ", &line, "\n"].concat());
        }
    };
    tell("target", &old, Some(&Target::Zoho { dc: "eu".to_owned(), org: "1".to_owned() }));
    tell("nowhere", &old, None);
    changed.settings.level = 1;
    changed.settings.limits = Limits { chunk_records: 5, max_csv_bytes: None, ..Limits::default() };
    changed.settings.rejects = RejectPolicy::SetAside;
    changed.imports[0].parent.key = None;
    tell("settings", &header_of(&changed), None);
    let changed = job(dir.path(), "Id,Name\n1,b\n");
    tell("bytes", &header_of(&changed), None);
    let changed = job(dir.path(), "Id;Name\n1;abc\n");
    tell("more", &header_of(&changed), None);
    let mut moved = job(dir.path(), "Id,Name\n1,a\n");
    std::fs::rename(&moved.imports[0].parent.path, dir.path().join("moved.csv")).unwrap();
    moved.imports[0].parent.path = dir.path().join("moved.csv");
    tell("moved", &header_of(&moved), None);
    std::fs::write(dir.path().join("moved.csv"), "Id,Name\n").unwrap();
    tell("moved and changed", &header_of(&moved), None);
    let mut family = job(dir.path(), "Id,Name\n1,a\n");
    let mut input = family.imports[0].parent.clone();
    input.module = "Parts".to_owned();
    family.imports[0].children.push(prep::Child { kind: ChildKind::Subform, input });
    tell("modules", &header_of(&family), None);
    let planned = Header { plan_digest: "0".repeat(32), tool: "zbulk 9.9.9".to_owned(), ..old.clone() };
    tell("plan", &planned, None);
    insta::assert_snapshot!(told, @r#"
    target: target: the sandbox in the journal, Zoho eu, org 1 now
    settings: limits.chunk_records: 25000 in the journal, 5 now
    settings: limits.max_csv_bytes: 25000000 in the journal, null now
    settings: imports[1].parent.key: "Id" in the journal, null now
    settings: level: 6 in the journal, 1 now
    settings: rejects: "stop" in the journal, "set-aside" now
    bytes: input Things (`DIR/things.csv`): the same length, other content (12 bytes)
    more: input Things (`DIR/things.csv`): 12 bytes in the journal, 14 now
    more: imports[1].parent.delimiter: "," in the journal, ";" now
    moved and changed: input Things (`DIR/moved.csv`, `DIR/things.csv` in the journal): 12 bytes in the journal, 8 now
    modules: modules: Things in the journal, Things, Parts now
    modules: imports[1].children: [] in the journal, [{"delimiter":",","encoding":"UTF-8","key":"Id","kind":"subform","module":"Parts"}] now
    plan: the same inputs and settings give another plan: zbulk 0.1.0 in the journal, zbulk 9.9.9 now
    "#);
}

#[test]
fn an_undecided_target_differs_from_none_and_a_rehearsal_from_the_real_thing() {
    let zoho = |org: &str| Target::Zoho { dc: "us".to_owned(), org: org.to_owned() };
    assert!(target_difference(&Target::Undecided, &zoho("1")).is_none());
    assert!(target_difference(&zoho("1"), &zoho("1")).is_none());
    assert!(target_difference(&zoho("1"), &zoho("2")).is_some());
    assert!(target_difference(&Target::Sandbox, &zoho("1")).is_some());
    assert!(target_difference(&zoho("1"), &Target::Sandbox).is_some());
}

#[test]
fn journaled_cuts_are_made_again_in_their_chunks_place() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = (0..40).map(|i| format!("{i},thing {i}\n")).collect();
    let mut job = job(dir.path(), &format!("Id,Name\n{rows}"));
    job.settings.limits.chunk_records = 20;
    let prepared = prep::prepare(&job, &()).unwrap();
    let time = "2026-01-31T12:00:00Z".parse().unwrap();
    let header = header("things", Target::Sandbox, &job, &prepared);
    let mut state = State::begin(Line { n: 1, time, event: Event::Header(Box::new(header)) }).unwrap();
    state.apply(Line { n: 2, time, event: Event::Plan(plan(&prepared)) }).unwrap();
    let names = |state: &State| -> Vec<String> {
        leaves(state, &prepared).unwrap().into_iter().map(|chunk| chunk.name).collect()
    };
    assert_eq!(names(&state), ["Things-00001.zip", "Things-00002.zip"]);

    let whole = &prepared.plan().chunks()[0];
    let parts = prepared.cut(whole).unwrap().unwrap();
    let planned = parts.each_ref().map(PlannedChunk::from);
    let cut = Event::Cut { chunk: whole.name.clone(), parts: planned.clone() };
    state.apply(Line { n: 3, time, event: cut.clone() }).unwrap();
    let again = prepared.cut(&parts[0]).unwrap().unwrap().each_ref().map(PlannedChunk::from);
    state
        .apply(Line { n: 4, time, event: Event::Cut { chunk: parts[0].name.clone(), parts: again } })
        .unwrap();
    assert_eq!(
        names(&state),
        ["Things-00001aa.zip", "Things-00001ab.zip", "Things-00001b.zip", "Things-00002.zip"]
    );

    // A cut that does not come out as it was journaled is refused: its parts would not be those that were sent.
    let mut state =
        State::begin(Line { n: 1, time, event: Event::Header(Box::new(fixture::header())) }).unwrap();
    state.apply(Line { n: 2, time, event: Event::Plan(plan(&prepared)) }).unwrap();
    let Event::Cut { chunk, mut parts } = cut else { unreachable!() };
    parts[0].entries[0].records -= 1;
    state.apply(Line { n: 3, time, event: Event::Cut { chunk, parts } }).unwrap();
    assert_eq!(leaves(&state, &prepared).unwrap_err().exit(), ExitCode::Journal);
}

#[test]
fn an_archive_fits_by_its_records_first_and_its_bytes_second() {
    let Event::Packed { archive_sha256, entries, .. } = fixture::packed("x", '4') else { unreachable!() };
    let known = PackedState { archive_bytes: 150, archive_sha256, entries: entries.clone(), kept: false };
    let mut archive = Archive {
        id: prep::ChunkId { seq: 1, cuts: String::new() },
        name: "x".to_owned(),
        bytes: Vec::new(),
        sha256: known.archive_sha256.clone(),
        entries,
    };
    assert_eq!(fit(None, &archive), Fit::New);
    assert_eq!(fit(Some(&known), &archive), Fit::Same);
    archive.sha256 = "5".repeat(64);
    assert_eq!(fit(Some(&known), &archive), Fit::OtherArchive);
    archive.entries[0].csv_xxh3_128 = "9".repeat(32);
    assert_eq!(fit(Some(&known), &archive), Fit::OtherRecords("Contacts.csv".to_owned()));
    archive.entries.clear();
    assert_eq!(fit(Some(&known), &archive), Fit::OtherRecords("Contacts.csv".to_owned()));
}
