//! A long run on a bad network: what it holds at its end is what it held at its beginning.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::kills::{self, FAULTS};
use crate::outcome::{Expected, History, verify};
use crate::server::{Job, Server, run};

const CHUNKS: usize = 1000;
const RECORDS_PER_CHUNK: usize = 200;

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Sample {
    descriptors: usize,
    rss_kib: u64,
}

impl Sample {
    /// `None` once the process has ended.
    fn of(process: u32) -> Option<Sample> {
        let proc = Path::new("/proc").join(process.to_string());
        let status = std::fs::read_to_string(proc.join("status")).ok()?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let rss_kib = rss.trim().trim_end_matches(" kB").parse().unwrap();
        Some(Sample { descriptors: std::fs::read_dir(proc.join("fd")).ok()?.count(), rss_kib })
    }

    /// The most of each.
    fn most(samples: &[Sample]) -> Sample {
        Sample {
            descriptors: samples.iter().map(|sample| sample.descriptors).max().unwrap(),
            rss_kib: samples.iter().map(|sample| sample.rss_kib).max().unwrap(),
        }
    }
}

#[test]
#[ignore = "takes minutes, and needs Linux's /proc: see CONTRIBUTING.md"]
fn a_thousand_chunks_on_a_bad_network_leave_nothing_open_and_take_no_more_memory_in_the_end() {
    let job = Job::new(0);
    let (mut things, mut state) = ("Id,Name\n".to_owned(), 1_u64);
    for i in 1..=CHUNKS * RECORDS_PER_CHUNK {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        writeln!(things, "{i},{state:016x}{:016x}", state.rotate_left(17)).unwrap();
    }
    job.write("things.csv", things);
    let records = RECORDS_PER_CHUNK.to_string();
    let command = |server: &Server, out: &Path| {
        let mut command = kills::command(&job, server, &server.access_token(), out);
        // glibc keeps what was freed for each thread by itself, more and more for the first seconds; with one heap for
        // all, what grows is what the program has not freed.
        command.args(["--chunk-records", &records]).env("MALLOC_ARENA_MAX", "1");
        command
    };
    let undisturbed = job.path().join("undisturbed");
    let (code, _, stderr) = run(command(&Server::start(""), &undisturbed).arg("--keep-archives"));
    assert_eq!(code, Some(0), "{stderr}");
    let expected = Expected::of(&undisturbed);

    let server = Server::start(FAULTS);
    let out = job.path().join("soak");
    let mut child = command(&server, &out).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut samples = Vec::new();
    while let Some(sample) = Sample::of(child.id()) {
        if out.join("journal.jsonl").exists() {
            samples.push(sample);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(child.wait().unwrap().success());
    expected.hold(&out, &server, &History::default(), "soak");
    verify(job.command("verify").arg("--out").arg(&out).args(["--chunk-records", &records]), "soak");

    let third = samples.len() / 3;
    assert!(third > 50, "{} samples", samples.len());
    let (first, last) = (Sample::most(&samples[..third]), Sample::most(&samples[2 * third..]));
    eprintln!("{} samples; the first third's most: {first:?}; the last third's: {last:?}", samples.len());
    // Connections come and go: as many again as are open at once.
    assert!(last.descriptors <= first.descriptors + 8, "{first:?}, then {last:?}");
    assert!(last.rss_kib <= first.rss_kib + 8 * 1024, "{first:?}, then {last:?}");
}
