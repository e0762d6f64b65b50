//! What `zbulk pack` costs beyond deflate: CPU and wall of the release binary beside those of the same deflate on the
//! same entries, at the same level and with as many threads, one after the other in the same session.
//!
//! `ZBULK_BENCH_JOB=crm/zbulk.toml cargo bench -p cli --bench cost` packs that job, `ZBULK_BENCH_LEVELS=1,6` at these
//! levels (6 where nothing is said), five times each, and prints medians. A job must have no rejects. CPU is user and
//! system time of the whole process, from Linux's /proc in ticks of 10 ms, so that a job should take seconds.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a bench that fails may panic")]
#![allow(clippy::print_stdout, reason = "its result")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rayon::prelude::*;

const RUNS: usize = 5;
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

fn main() {
    // Cargo runs benches as tests too, and says `--bench` only where they are meant.
    let Some(job) = std::env::var_os("ZBULK_BENCH_JOB").filter(|_| std::env::args().any(|a| a == "--bench"))
    else {
        println!("cost: nothing to do without ZBULK_BENCH_JOB, a job file");
        return;
    };
    let levels = std::env::var("ZBULK_BENCH_LEVELS").unwrap_or_else(|_| "6".to_owned());
    let threads = rayon::current_num_threads();
    println!("medians of {RUNS} runs, {threads} threads; seconds");
    println!("level  pack wall  pack CPU  deflate wall  deflate CPU  CPU ratio  wall / (CPU / threads)");
    for level in levels.split(',').map(|level| level.parse::<u32>().unwrap()) {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        run_pack(Path::new(&job), &out, level);
        let entries = entries(&out.join("archives"));
        let (mut pack, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            fs::remove_dir_all(&out).unwrap();
            pack.push(cost(children_ticks, || run_pack(Path::new(&job), &out, level)));
            alone.push(cost(own_ticks, || deflate(&entries, level)));
        }
        let (pack, alone) = (median(pack), median(alone));
        println!(
            "{level:>5}  {:>9.2}  {:>8.2}  {:>12.2}  {:>11.2}  {:>9.3}  {:>22.3}",
            pack.wall,
            pack.cpu,
            alone.wall,
            alone.cpu,
            pack.cpu / alone.cpu,
            pack.wall / (pack.cpu / threads as f64)
        );
    }
}

fn run_pack(job: &Path, out: &Path, level: u32) {
    let status = Command::new(env!("CARGO_BIN_EXE_zbulk"))
        .args(["pack", "--quiet", "--level", &level.to_string(), "--out"])
        .args([out, job])
        .stdout(File::create("/dev/null").unwrap())
        .status();
    assert!(status.unwrap().success(), "zbulk pack failed");
}

/// Every entry of the archives in a directory.
fn entries(dir: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    let unzip = |path: &PathBuf| {
        let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
        (0..archive.len())
            .map(|i| {
                let mut csv = Vec::new();
                archive.by_index(i).unwrap().read_to_end(&mut csv).unwrap();
                csv
            })
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(unzip).collect()
}

fn deflate(entries: &[Vec<u8>], level: u32) {
    let sizes = entries.par_iter().map(|csv| {
        let out = Vec::with_capacity(csv.len() / 3);
        let mut encoder = flate2::write::DeflateEncoder::new(out, flate2::Compression::new(level));
        encoder.write_all(csv).unwrap();
        encoder.finish().unwrap().len()
    });
    assert!(sizes.sum::<usize>() > 0);
}

fn cost(ticks: fn() -> f64, work: impl FnOnce()) -> Cost {
    let (start, before) = (Instant::now(), ticks());
    work();
    Cost { wall: start.elapsed().as_secs_f64(), cpu: ticks() - before }
}

fn median(mut costs: Vec<Cost>) -> Cost {
    let mut of = |key: fn(&Cost) -> f64| {
        costs.sort_by(|a, b| key(a).total_cmp(&key(b)));
        key(&costs[costs.len() / 2])
    };
    Cost { wall: of(|cost| cost.wall), cpu: of(|cost| cost.cpu) }
}

fn own_ticks() -> f64 {
    ticks(13..15)
}

fn children_ticks() -> f64 {
    ticks(15..17)
}

/// Seconds of CPU from the fields of `proc_pid_stat(5)`, zero-based: 13 and 14 are this process's user and system time,
/// 15 and 16 its children's.
fn ticks(fields: std::ops::Range<usize>) -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // The second field is the program's name in parentheses and may hold spaces.
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields_after: Vec<&str> = after_name.split_whitespace().collect();
    let sum: f64 = fields.map(|field| fields_after[field - 2].parse::<f64>().unwrap()).sum();
    sum / TICKS_PER_SECOND
}
