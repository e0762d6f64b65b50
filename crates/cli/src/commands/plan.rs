//! `zbulk plan`: the chunks of a run, and what they cost.

use std::io;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use prep::{Chunk, Packed, Prepared};
use serde_json::{Value, json};

use crate::config::Plan;
use crate::exit_code::ExitCode;
use crate::failure::{OrFail, Result};
use crate::inputs::prepare;
use crate::output::{self, Table, bytes, count, duration};
use crate::progress::{Activity, Amount, Progress};
use crate::report::Report;

/// API credits of one bulk write job (API limits page, "Bulk Write": 500 credits for each create job call). One archive
/// is one job.
const CREDITS_PER_JOB: u64 = 500;

/// Plans the run and prints the plan.
///
/// # Errors
/// `Usage` or `Input` if an input cannot be scanned; `Input` if a run would stop.
pub(super) fn execute(config: &Plan, progress: &Progress) -> Result<ExitCode> {
    let prepared = prepare(&config.job, progress)?;
    if prepared.must_stop() {
        progress.finish();
        return Err(Report::of(&prepared)?.failure());
    }
    let estimates = Estimates::from_first_chunks(&prepared, progress)?;
    progress.finish();
    let totals = Totals::new(prepared.plan().chunks(), &estimates, config.bandwidth);
    let printed = if config.output.json {
        print_json(config, prepared.plan().chunks(), &estimates, &totals)
    } else {
        print_text(config, prepared.plan().chunks(), &estimates, &totals)
    };
    printed.or_fail(ExitCode::Unexpected, || "cannot print the plan")?;
    Ok(ExitCode::Done)
}

/// How large archives are in relation to their CSVs, by import: as the import's first chunk turned out when it was
/// packed.
struct Estimates {
    by_import: Vec<Option<Sample>>,
}

/// A chunk that was packed.
#[derive(Clone, Copy)]
struct Sample {
    csv_bytes: u64,
    archive_bytes: u64,
}

impl Estimates {
    fn from_first_chunks(prepared: &Prepared, progress: &Progress) -> Result<Estimates> {
        let chunks = prepared.plan().chunks();
        let imports = chunks.iter().map(|chunk| chunk.import + 1).max().unwrap_or(0);
        let first: Vec<Chunk> = (0..imports)
            .filter_map(|import| chunks.iter().find(|chunk| chunk.import == import).cloned())
            .collect();
        let total = amount(&first);
        progress.sending(Activity::Packing, total, Amount::default());
        let packed = Mutex::new(vec![0_u64; imports]);
        prep::pack(
            prepared,
            &first,
            &|result| {
                if let Packed::Archive(archive) = result
                    && let Some(chunk) = first.iter().find(|chunk| chunk.id.seq == archive.id.seq)
                {
                    let mut packed = packed.lock().unwrap_or_else(PoisonError::into_inner);
                    packed[chunk.import] += archive.bytes.len() as u64;
                }
                ControlFlow::Continue(())
            },
            progress,
        )?;
        let packed = packed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut by_import = vec![None; imports];
        for chunk in &first {
            let sample = Sample { csv_bytes: csv_bytes(chunk), archive_bytes: packed[chunk.import] };
            by_import[chunk.import] = Some(sample);
        }
        Ok(Estimates { by_import })
    }

    /// Archive bytes of a chunk.
    fn archive_bytes(&self, chunk: &Chunk) -> Option<u64> {
        let sample = self.by_import.get(chunk.import).copied().flatten()?;
        let scaled = u128::from(csv_bytes(chunk)) * u128::from(sample.archive_bytes);
        u64::try_from(scaled.checked_div(sample.csv_bytes.into())?).ok()
    }
}

/// What the plan comes to.
struct Totals {
    amount: Amount,
    /// `None` where there is nothing to estimate from.
    archive_bytes: Option<u64>,
    upload: Option<Duration>,
}

impl Totals {
    fn new(chunks: &[Chunk], estimates: &Estimates, bandwidth: Option<u64>) -> Totals {
        let archive_bytes = chunks.iter().map(|chunk| estimates.archive_bytes(chunk)).sum::<Option<u64>>();
        let upload = match (archive_bytes, bandwidth) {
            (Some(bytes), Some(bandwidth)) => Some(Duration::from_secs(bytes.div_ceil(bandwidth))),
            _ => None,
        };
        Totals { amount: amount(chunks), archive_bytes, upload }
    }

    fn credits(&self) -> u64 {
        self.amount.chunks * CREDITS_PER_JOB
    }
}

fn print_text(config: &Plan, chunks: &[Chunk], estimates: &Estimates, totals: &Totals) -> io::Result<()> {
    let mut out = output::stdout();
    let mut table = Table::new([
        "chunk",
        "archive",
        "module",
        "role",
        "records",
        "CSV bytes",
        "archive bytes (estimate)",
    ])
    .right([0, 4, 5, 6]);
    for chunk in chunks {
        for (i, entry) in chunk.entries.iter().enumerate() {
            let first = i == 0;
            let estimate = estimates.archive_bytes(chunk).filter(|_| first).map(bytes).unwrap_or_default();
            table.row([
                if first { chunk.id.seq.to_string() } else { String::new() },
                if first { chunk.name.clone() } else { String::new() },
                entry.module.clone(),
                entry.kind.map_or("parent", super::kind_name).to_owned(),
                count(entry.records),
                bytes(entry.csv_bytes),
                estimate,
            ]);
        }
    }
    out.table(&table)?;
    out.line("")?;
    let amount = totals.amount;
    out.line(&format!(
        "{} archives, {} records, {} of CSV",
        count(amount.chunks),
        count(amount.records),
        bytes(amount.csv_bytes)
    ))?;
    if let Some(estimate) = totals.archive_bytes {
        out.line(&format!(
            "about {} of archives at level {} (an estimate, from the first archive of each import)",
            bytes(estimate),
            config.job.settings.level
        ))?;
    }
    out.line(&format!(
        "{} API credits for the bulk write jobs, {CREDITS_PER_JOB} each",
        count(totals.credits())
    ))?;
    match (totals.upload, config.bandwidth) {
        (Some(time), Some(bandwidth)) => {
            let line = format!("about {} to upload at {}/s (an estimate)", duration(time), bytes(bandwidth));
            out.line(&line)?;
        }
        _ => out.line("upload time: give --bandwidth, as in --bandwidth 50Mbit, for an estimate")?,
    }
    out.finish()
}

fn print_json(config: &Plan, chunks: &[Chunk], estimates: &Estimates, totals: &Totals) -> io::Result<()> {
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|chunk| {
            json!({
                "seq": chunk.id.seq,
                "name": chunk.name,
                "estimated_archive_bytes": estimates.archive_bytes(chunk),
                "entries": chunk.entries.iter().map(|entry| json!({
                    "module": entry.module,
                    "role": entry.role,
                    "kind": entry.kind,
                    "name": entry.name,
                    "records": entry.records,
                    "columns": entry.columns,
                    "key_index": entry.key_index,
                    "csv_bytes": entry.csv_bytes,
                    "first_record": entry.first_record,
                    "last_record": entry.last_record,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let mut out = output::stdout();
    out.json(&json!({
        "name": config.name,
        "chunks": chunks,
        "totals": {
            "chunks": totals.amount.chunks,
            "records": totals.amount.records,
            "csv_bytes": totals.amount.csv_bytes,
            "estimated_archive_bytes": totals.archive_bytes,
            "jobs": totals.amount.chunks,
            "api_credits": totals.credits(),
            "bandwidth_bytes_per_second": config.bandwidth,
            "estimated_upload_seconds": totals.upload.map(|time| time.as_secs()),
        },
    }))?;
    out.finish()
}

fn amount(chunks: &[Chunk]) -> Amount {
    let records = chunks.iter().flat_map(|chunk| &chunk.entries).map(|entry| entry.records).sum();
    Amount { chunks: chunks.len() as u64, records, csv_bytes: chunks.iter().map(csv_bytes).sum() }
}

fn csv_bytes(chunk: &Chunk) -> u64 {
    chunk.entries.iter().map(|entry| entry.csv_bytes).sum()
}
