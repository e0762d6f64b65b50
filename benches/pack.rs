//! Preparation end to end against its limit, deflate alone.
//!
//! `scan` finds and validates the records of a plain module; `scan and relate` prepares a parent and two shuffled
//! children up to the plan; `archive` turns that plan into archives; `whole` does all of it; `deflate alone` runs the same
//! deflate on the same entries, level and threads and does nothing else. The ratio of the whole to deflate alone is what
//! the tool costs; it is printed last, from runs of the two in turn.
//!
//! `cargo bench -p prep --bench pack`; criterion prints bytes of CSV a second for each.

#![allow(missing_docs, reason = "criterion's macros write undocumented items")]
#![allow(clippy::unwrap_used, reason = "a bench that fails may panic")]
#![allow(clippy::print_stdout, reason = "its result")]

use std::fmt::Write as _;
use std::io::{Cursor, Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prep::{Child, ChildKind, Import, Input, Job, Packed, Prepared, Settings};
use rayon::prelude::*;

const PARENTS: u64 = 100_000;
const LEVEL: u8 = 6;
const RATIOS: usize = 9;

/// A generator that is the same on every machine.
struct Noise(u64);

impl Noise {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Words as they stand in a CRM's notes.
const WORDS: [&str; 16] = [
    "renewal",
    "call",
    "quote",
    "invoice",
    "Zürich",
    "delayed",
    "contract",
    "demo",
    "budget",
    "owner",
    "review",
    "seats",
    "shipment",
    "legal",
    "partner",
    "follow-up",
];

fn write_inputs(dir: &Path) -> u64 {
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    let mut parents = "Record Id,Name,Status,Amount,Street,Note\n".to_owned();
    for i in 0..PARENTS {
        let mut note = String::new();
        for _ in 0..noise.below(12) {
            note.push_str(WORDS[noise.below(16) as usize]);
            note.push_str(if noise.below(20) == 0 { ",\n" } else { " " });
        }
        writeln!(
            parents,
            "zcrm_{:016},Account {},{},{}.{:02},\"{} Main St, Apt {}\",\"{note},\"",
            i * 7919 % 99_999_989,
            noise.below(1_000_000),
            ["Active", "Inactive", "Prospect"][noise.below(3) as usize],
            noise.below(100_000),
            noise.below(100),
            noise.below(9999),
            noise.below(300),
        )
        .unwrap();
    }
    let mut child = |columns: &str, records: u64| {
        let mut csv = format!("Record Id,Parent Id,{columns}\n");
        for i in 0..records {
            let parent = noise.below(PARENTS) * 7919 % 99_999_989;
            writeln!(csv, "c_{i:012},zcrm_{parent:016},{},{}", noise.below(40), noise.below(1 << 40))
                .unwrap();
        }
        csv
    };
    let files =
        [("parents", &parents), ("a", &child("Model,Number", 150_000)), ("b", &child("Role,Deal", 50_000))]
            .map(|(name, csv)| (name, csv.clone()));
    for (name, csv) in &files {
        std::fs::write(dir.join(format!("{name}.csv")), csv).unwrap();
    }
    files.iter().map(|(_, csv)| csv.len() as u64).sum()
}

fn job(dir: &Path) -> Job {
    let input = |module: &str, file: &str, key: &str| Input {
        module: module.to_owned(),
        path: dir.join(file),
        key: Some(key.to_owned()),
        delimiter: None,
        encoding: None,
    };
    let child = |module, file| Child { kind: ChildKind::Subform, input: input(module, file, "Parent Id") };
    Job {
        imports: vec![Import {
            parent: input("Accounts", "parents.csv", "Record Id"),
            children: vec![child("A", "a.csv"), child("B", "b.csv")],
        }],
        settings: Settings { level: LEVEL, ..Settings::default() },
    }
}

fn whole(job: &Job) -> Vec<Vec<u8>> {
    archive(&prep::prepare(job, &()).unwrap())
}

fn archive(prepared: &Prepared) -> Vec<Vec<u8>> {
    let archives = Mutex::new(Vec::new());
    let sink = |packed| {
        if let Packed::Archive(archive) = packed {
            archives.lock().unwrap().push(archive.bytes);
        }
        ControlFlow::Continue(())
    };
    prep::pack(prepared, prepared.plan().chunks(), &sink, &()).unwrap();
    archives.into_inner().unwrap()
}

fn unzip(archive: &[u8]) -> Vec<Vec<u8>> {
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    (0..zip.len())
        .map(|i| {
            let mut csv = Vec::new();
            zip.by_index(i).unwrap().read_to_end(&mut csv).unwrap();
            csv
        })
        .collect()
}

fn deflate(entries: &[Vec<u8>]) -> usize {
    let one = |csv: &Vec<u8>| {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(LEVEL.into()));
        encoder.write_all(csv).unwrap();
        encoder.finish().unwrap().len()
    };
    entries.par_iter().map(one).sum()
}

fn benches(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let bytes = write_inputs(dir.path());
    let job = job(dir.path());
    let mut plain = job.clone();
    plain.imports[0].children.clear();
    plain.imports[0].parent.key = None;
    let parent_bytes = std::fs::metadata(&plain.imports[0].parent.path).unwrap().len();
    let prepared = prep::prepare(&job, &()).unwrap();
    let entries: Vec<Vec<u8>> = archive(&prepared).iter().flat_map(|archive| unzip(archive)).collect();
    let mut group = c.benchmark_group("prep");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Bytes(parent_bytes));
    group.bench_function("scan", |b| b.iter(|| prep::prepare(&plain, &()).unwrap()));
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("scan and relate", |b| b.iter(|| prep::prepare(&job, &()).unwrap()));
    group.bench_function("archive", |b| b.iter(|| archive(&prepared)));
    group.bench_function("whole", |b| b.iter(|| whole(&job)));
    group.bench_function("deflate alone", |b| b.iter(|| deflate(&entries)));
    group.finish();

    let seconds = |work: &dyn Fn()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    let mut ratios: Vec<f64> = (0..RATIOS)
        .map(|_| {
            let whole = seconds(&|| drop(whole(&job)));
            whole / seconds(&|| assert!(deflate(&entries) > 0))
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!("whole / deflate alone at level {LEVEL}: {:.3}, the median of {RATIOS}", ratios[RATIOS / 2]);
}

criterion_group!(all, benches);
criterion_main!(all);
