//! What goes in comes out: every record is in one archive, beside its parent and in its order, or is a reject.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prep::{Limits, RejectCode, RejectPolicy, Settings};
use proptest::prelude::*;

use crate::support::{entries, job, pack_all, rows};

/// Records as values, without the header.
type Records = Vec<Vec<String>>;

#[derive(Debug, Clone)]
struct Files {
    parents: Records,
    children: Vec<Records>,
    delimiter: u8,
    terminator: &'static str,
    quote_all: bool,
    bom: bool,
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9é]{0,6}",
        1 => "([a-z,;\"\n]|\r\n){0,10}",
        1 => Just("5\" pipe".to_owned()),
        1 => Just(" ".to_owned()),
    ]
}

/// A key, so few of them that parents share some and children miss some; one needs quotes.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![8 => (0..40_u32).prop_map(|n| format!("k{n}")), 1 => Just(String::new()), 1 => Just("q\",\n".to_owned())]
}

fn files() -> impl Strategy<Value = Files> {
    let parents = prop::collection::vec((key(), value(), value()), 0..50);
    let child = prop::collection::vec((value(), key()), 0..60);
    (
        parents,
        prop::collection::vec(child, 0..3),
        prop::sample::select(&b",;\t|"[..]),
        0..3_u8,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(parents, children, delimiter, terminator, quote_all, bom)| Files {
            parents: parents.into_iter().map(|(key, a, b)| vec![a, key, b]).collect(),
            children: children
                .into_iter()
                .map(|child| child.into_iter().map(|(value, key)| vec![key, value]).collect())
                .collect(),
            delimiter,
            terminator: ["\n", "\r\n", "\r"][usize::from(terminator)],
            quote_all,
            bom,
        })
}

impl Files {
    /// Writes P.csv, C0.csv, C1.csv.
    fn write(&self, dir: &Path) {
        self.write_one(dir, "P", &["name", "id", "note"], &self.parents);
        for (i, child) in self.children.iter().enumerate() {
            self.write_one(dir, &format!("C{i}"), &["of", "value"], child);
        }
    }

    fn write_one(&self, dir: &Path, module: &str, header: &[&str], records: &Records) {
        let style = if self.quote_all { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
        let mut text = if self.bom { b"\xEF\xBB\xBF".to_vec() } else { Vec::new() };
        // One record at a time, since the writer knows no lone CR.
        for record in
            std::iter::once(header.iter().map(|&name| name.to_owned()).collect()).chain(records.clone())
        {
            let mut writer = csv::WriterBuilder::new()
                .delimiter(self.delimiter)
                .quote_style(style)
                .from_writer(Vec::new());
            writer.write_record(&record).unwrap();
            let line = writer.into_inner().unwrap();
            text.extend_from_slice(&line[..line.len() - 1]);
            text.extend_from_slice(self.terminator.as_bytes());
        }
        std::fs::write(dir.join(format!("{module}.csv")), text).unwrap();
    }

    fn modules(&self) -> Vec<String> {
        (0..self.children.len()).map(|i| format!("C{i}")).collect()
    }
}

/// What becomes of every record, by the words of the contract and nothing else.
struct Expected {
    /// One-based record numbers of the parents that are sent.
    parents: Vec<usize>,
    /// For every child module the sent children's record numbers, by the parent's.
    children: Vec<BTreeMap<usize, Vec<usize>>>,
    rejects: BTreeMap<(usize, RejectCode), u64>,
}

fn expect(files: &Files, limits: &Limits) -> Expected {
    let mut rejects = BTreeMap::new();
    let mut reject = |input: usize, code| *rejects.entry((input, code)).or_insert(0) += 1;
    let mut bearers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, parent) in files.parents.iter().enumerate() {
        if !parent[1].is_empty() {
            bearers.entry(&parent[1]).or_default().push(i + 1);
        }
    }
    let mut rejected_parents = BTreeMap::new();
    let mut children = vec![BTreeMap::<usize, Vec<usize>>::new(); files.children.len()];
    for (module, records) in files.children.iter().enumerate() {
        for (i, child) in records.iter().enumerate() {
            match bearers.get(&child[0][..]).map_or(&[][..], Vec::as_slice) {
                _ if child[0].is_empty() => reject(module + 1, RejectCode::BlankParentKey),
                [] => reject(module + 1, RejectCode::Orphan),
                [parent] => children[module].entry(*parent).or_default().push(i + 1),
                several => {
                    reject(module + 1, RejectCode::AmbiguousParent);
                    rejected_parents.extend(several.iter().map(|&parent| (parent, RejectCode::DuplicateKey)));
                }
            }
        }
    }
    for of_parent in &children {
        for (&parent, records) in of_parent {
            if records.len() > limits.chunk_records as usize {
                rejected_parents.entry(parent).or_insert(RejectCode::TooManyChildren);
            }
        }
    }
    for code in rejected_parents.values() {
        reject(0, *code);
    }
    for (module, of_parent) in children.iter_mut().enumerate() {
        of_parent.retain(|parent, records| {
            let kept = !rejected_parents.contains_key(parent);
            if !kept {
                for _ in records {
                    reject(module + 1, RejectCode::ParentRejected);
                }
            }
            kept
        });
    }
    let parents = (1..=files.parents.len()).filter(|parent| !rejected_parents.contains_key(parent)).collect();
    Expected { parents, children, rejects }
}

fn check(files: &Files, chunk_records: u32, max_archive_bytes: u64) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    files.write(dir.path());
    let modules = files.modules();
    let modules: Vec<&str> = modules.iter().map(String::as_str).collect();
    let limits = Limits { chunk_records, max_archive_bytes, ..Limits::default() };
    let settings = Settings { limits, rejects: RejectPolicy::SetAside, threads: 2, ..Settings::default() };
    let prepared = prep::prepare(&job(dir.path(), &modules, settings.clone()), &()).unwrap();
    prop_assert!(prepared.faults().is_empty());

    let expected = expect(files, &limits);
    let mut counts = expected.rejects.clone();
    let found: BTreeMap<_, _> =
        prepared.reject_counts().into_iter().map(|(input, code, count)| ((input, code), count)).collect();
    // Whether a lone group passes the archive limit is deflate's to say.
    let too_large = found.keys().any(|(_, code)| *code == RejectCode::ArchiveTooLarge);
    if too_large {
        prop_assert!(max_archive_bytes < 1_000);
        return Ok(());
    }
    counts.retain(|_, count| *count > 0);
    prop_assert_eq!(&found, &counts);
    for input in prepared.inputs() {
        prop_assert_eq!(input.records, input.packed + input.rejected);
    }

    // Rejects are found alike one by one and in one pass.
    for input in 0..prepared.inputs().len() {
        let mut in_one_pass = Vec::new();
        prepared
            .for_each_reject(input, &mut |reject, raw| {
                assert_eq!(reject.len_bytes, raw.len() as u64);
                in_one_pass.push(reject.clone());
                Ok(())
            })
            .unwrap()
            .unwrap();
        let mut one_by_one: Vec<_> = RejectCode::ALL
            .into_iter()
            .flat_map(|code| prepared.first_rejects(input, code, usize::MAX).unwrap())
            .collect();
        one_by_one.sort_by_key(|reject| reject.position.record);
        prop_assert_eq!(in_one_pass, one_by_one);
    }

    let output = pack_all(&prepared);
    let mut parents = Vec::new();
    let mut children = vec![BTreeMap::<usize, Vec<Vec<String>>>::new(); files.children.len()];
    for archive in output.archives.values() {
        prop_assert!(archive.bytes.len() as u64 <= max_archive_bytes);
        let entries = entries(&archive.bytes);
        prop_assert_eq!(&entries[0].0, "P.csv", "the parent comes first");
        let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
        prop_assert!(names[1..].is_sorted(), "then the children in the job's order");
        // A child's parent must be in this very archive.
        let mut here = BTreeSet::new();
        for (name, csv) in &entries {
            let rows = rows(csv);
            prop_assert!(rows.len() > 1 && rows.len() - 1 <= chunk_records as usize);
            for row in rows.into_iter().skip(1) {
                if name == "P.csv" {
                    here.insert(row[1].clone());
                    parents.push(row);
                } else {
                    prop_assert!(here.contains(&row[0]), "a child without its parent beside it");
                    let module: usize = name[1..2].parse().unwrap();
                    let parent = files.parents.iter().position(|parent| parent[1] == row[0]).unwrap() + 1;
                    children[module].entry(parent).or_default().push(row);
                }
            }
        }
        for (entry, (name, csv)) in archive.entries.iter().zip(&entries) {
            prop_assert_eq!(&entry.name, name);
            prop_assert_eq!(entry.csv_bytes, csv.len() as u64);
            prop_assert_eq!(&entry.csv_xxh3_128, &format!("{:032x}", xxhash_rust::xxh3::xxh3_128(csv)));
        }
    }
    let sent: Records = expected.parents.iter().map(|&parent| files.parents[parent - 1].clone()).collect();
    prop_assert_eq!(parents, sent, "all parents, in order");
    for ((found, expected), records) in children.iter().zip(&expected.children).zip(&files.children) {
        let expected: BTreeMap<usize, Vec<Vec<String>>> = expected
            .iter()
            .map(|(&parent, numbers)| (parent, numbers.iter().map(|&n| records[n - 1].clone()).collect()))
            .collect();
        prop_assert_eq!(found, &expected, "all children, each parent's in order");
    }

    // The same again with other numbers of threads and everything spilled: pages of the fewest records, the keys'
    // index in as many parts as may be.
    let threads = if chunk_records.is_multiple_of(2) { 1 } else { 7 };
    let spilled = Settings { threads, memory_bytes: 0, spill_dir: dir.path().to_owned(), ..settings };
    let again = prep::prepare(&job(dir.path(), &modules, spilled), &()).unwrap();
    prop_assert_eq!(again.plan().digest(), prepared.plan().digest());
    let again = pack_all(&again);
    prop_assert_eq!(again.cuts.iter().collect::<BTreeSet<_>>(), output.cuts.iter().collect::<BTreeSet<_>>());
    for (name, archive) in &output.archives {
        prop_assert_eq!(&again.archives[name].bytes, &archive.bytes);
        prop_assert_eq!(&again.archives[name].entries, &archive.entries);
    }
    prop_assert_eq!(again.archives.len(), output.archives.len());
    Ok(())
}

fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("PREP_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(default);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn what_goes_in_comes_out(files in files(), chunk_records in 1..20_u32) {
        check(&files, chunk_records, 25_000_000)?;
    }

    #[test]
    fn what_goes_in_comes_out_of_cut_chunks_too(files in files(), max_archive_bytes in 450..900_u64) {
        check(&files, 25_000, max_archive_bytes)?;
    }
}
