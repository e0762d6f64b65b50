//! What deflate costs and gains at every level, per core, on chunk-sized entries: the deflate that archives are made
//! with (flate2 on zlib-rs, through the `zip` crate) beside libdeflate.
//!
//! `cargo bench -p prep --bench deflate -- FILE...` on CSV files of yours, cut into entries of about 8 MB; medians of
//! three runs on one thread. On one core of a 2-core cloud machine, 40 MB of a generated contacts export (22 columns,
//! quoted commas, notes that span lines):
//!
//! | level | zlib-rs MB/s | ratio | libdeflate MB/s | ratio |
//! |---|---|---|---|---|
//! | 1 | 234 | 2.23 | 229 | 3.08 |
//! | 2 | 128 | 3.00 | 159 | 3.13 |
//! | 3 | 102 | 3.24 | 110 | 3.20 |
//! | 4 | 77 | 3.33 | 108 | 3.24 |
//! | 5 | 83 | 3.39 | 84 | 3.34 |
//! | 6 | 62 | 3.40 | 64 | 3.36 |
//! | 7 | 40 | 3.45 | 51 | 3.39 |
//! | 8 | 43 | 3.46 | 46 | 3.50 |
//! | 9 | 47 | 3.36 | 42 | 3.51 |
//!
//! By time and size zlib-rs ties libdeflate from level 3 to 8, and it is what `zip` writes with, in one pass and
//! without another copy. libdeflate would pay at level 1, at the price of archives put together
//! by hand. Level 9 of zlib-rs packs such text worse than its level 8: archives at 9 are made with 8.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a bench that fails may panic")]
#![allow(clippy::print_stdout, reason = "its result")]

use std::io::Write as _;
use std::time::Instant;

const ENTRY_BYTES: usize = 8 << 20;
const RUNS: usize = 3;

fn main() {
    let files: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let entries: Vec<Vec<u8>> = files
        .iter()
        .flat_map(|file| {
            std::fs::read(file).unwrap().chunks(ENTRY_BYTES).map(<[u8]>::to_vec).collect::<Vec<_>>()
        })
        .collect();
    if entries.is_empty() {
        println!("deflate: nothing to do without files");
        return;
    }
    println!("| level | zlib-rs MB/s | ratio | libdeflate MB/s | ratio |");
    println!("|---|---|---|---|---|");
    for level in 1..=9 {
        let zlib_rs = measure(&entries, |csv| {
            let out = Vec::with_capacity(csv.len() / 3);
            let mut encoder = flate2::write::DeflateEncoder::new(out, flate2::Compression::new(level));
            encoder.write_all(csv).unwrap();
            encoder.finish().unwrap().len()
        });
        let mut compressor =
            libdeflater::Compressor::new(libdeflater::CompressionLvl::new(level.cast_signed()).unwrap());
        let mut out = vec![0; compressor.deflate_compress_bound(ENTRY_BYTES)];
        let libdeflate = measure(&entries, |csv| compressor.deflate_compress(csv, &mut out).unwrap());
        println!(
            "| {level} | {:.0} | {:.2} | {:.0} | {:.2} |",
            zlib_rs.0, zlib_rs.1, libdeflate.0, libdeflate.1
        );
    }
}

/// MB/s and the ratio, medians.
fn measure(entries: &[Vec<u8>], mut deflate: impl FnMut(&[u8]) -> usize) -> (f64, f64) {
    let bytes: usize = entries.iter().map(Vec::len).sum();
    let mut seconds = Vec::new();
    let mut deflated = 0;
    for _ in 0..RUNS {
        let start = Instant::now();
        deflated = entries.iter().map(|csv| deflate(csv)).sum();
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    (bytes as f64 / 1e6 / seconds[RUNS / 2], bytes as f64 / deflated as f64)
}
