//! `zbulk check`: every problem of the inputs, and what would be sent.

use std::io;

use prep::{InputReport, Prepared, Profile, Role};
use serde_json::{Value, json};

use crate::config::Check;
use crate::exit_code::ExitCode;
use crate::failure::{OrFail, Result};
use crate::inputs::prepare;
use crate::output::{self, Table, bytes, count, escape};
use crate::progress::Progress;
use crate::report::Report;

/// Scans the inputs and prints the findings.
///
/// # Errors
/// `Usage` or `Input` if an input cannot be scanned; `Input` if a run would stop.
pub(super) fn execute(config: &Check, progress: &Progress) -> Result<ExitCode> {
    let prepared = prepare(&config.job, progress)?;
    let report = Report::of(&prepared)?;
    let profiles = (0..prepared.inputs().len()).map(|input| prepared.profile(input));
    let profiles = profiles.collect::<std::result::Result<Vec<_>, _>>()?;
    progress.finish();
    let printed = if config.output.json {
        print_json(&config.name, &prepared, &profiles, &report)
    } else {
        print_text(&prepared, &profiles, &report)
    };
    printed.or_fail(ExitCode::Unexpected, || "cannot print the result")?;
    if prepared.must_stop() { Err(report.short_failure()) } else { Ok(ExitCode::Done) }
}

fn print_text(prepared: &Prepared, profiles: &[Profile], report: &Report) -> io::Result<()> {
    let mut out = output::stdout();
    let mut table = Table::new([
        "module",
        "role",
        "file",
        "records",
        "rejected",
        "blank",
        "bytes",
        "delimiter",
        "encoding",
        "widest",
        "most children",
    ])
    .right([3, 4, 5, 6, 9, 10]);
    for input in prepared.inputs() {
        let children = if input.role == Role::Child { count(input.max_children) } else { String::new() };
        table.row([
            input.module.clone(),
            role(input).to_owned(),
            input.path.display().to_string(),
            count(input.records),
            count(input.rejected),
            count(input.blank_lines),
            bytes(input.fingerprint.bytes),
            delimiter(input.delimiter),
            encoding(input),
            bytes(input.widest_record_bytes),
            children,
        ]);
    }
    out.table(&table)?;
    let findings: Vec<String> = prepared.inputs().iter().zip(profiles).flat_map(findings).collect();
    if !findings.is_empty() {
        out.line("")?;
        for line in &findings {
            out.line(&escape(line))?;
        }
    }
    if !report.is_clean() {
        out.line("")?;
        for line in report.lines() {
            out.line(&escape(&line))?;
        }
    }
    out.line("")?;
    let sum = Sum::of(prepared);
    out.line(&if prepared.must_stop() {
        "to send: nothing, until the above is mended".to_owned()
    } else {
        format!(
            "to send: {} records, {} of CSV, in {} archives",
            count(sum.records),
            bytes(sum.csv_bytes),
            count(sum.chunks)
        )
    })?;
    out.finish()
}

fn print_json(name: &str, prepared: &Prepared, profiles: &[Profile], report: &Report) -> io::Result<()> {
    let sum = Sum::of(prepared);
    let mut document = json!({
        "name": name,
        "must_stop": prepared.must_stop(),
        "inputs": prepared.inputs().iter().zip(profiles).map(input_json).collect::<Vec<_>>(),
        "warnings": prepared.warnings().iter().map(|warning| json!({
            "file": prepared.inputs()[warning.input].path.to_string_lossy(),
            "message": warning.message,
        })).collect::<Vec<_>>(),
        "to_send": { "chunks": sum.chunks, "records": sum.records, "csv_bytes": sum.csv_bytes },
    });
    if let (Value::Object(document), Value::Object(report)) = (&mut document, report.to_json()) {
        document.extend(report);
    }
    let mut out = output::stdout();
    out.json(&document)?;
    out.finish()
}

/// What else there is to say of an input, a line each.
fn findings((input, profile): (&InputReport, &Profile)) -> Vec<String> {
    let path = input.path.display();
    let mut lines = Vec::new();
    let names: Vec<String> =
        profile.columns_never_filled.iter().map(|&i| format!("`{}`", input.header[i])).collect();
    if !names.is_empty() {
        let columns = if names.len() == 1 { "column is" } else { "columns are" };
        lines.push(format!("{path}: {} {columns} never filled: {}", names.len(), names.join(", ")));
    }
    if let Some(keys @ 1..) = input.duplicate_keys {
        let borne = if keys == 1 { "key is" } else { "keys are" };
        lines.push(format!("{path}: {} {borne} borne by several records", count(keys)));
    }
    if input.parents_above_200 > 0 {
        let parents = if input.parents_above_200 == 1 { "parent has" } else { "parents have" };
        lines.push(format!("{path}: {} {parents} more than 200 children", count(input.parents_above_200)));
    }
    let orphans: Vec<String> = profile
        .orphan_keys
        .iter()
        .map(|orphan| {
            format!("`{}` {} (first in line {})", orphan.key, count(orphan.records), orphan.first_line)
        })
        .collect();
    if !orphans.is_empty() {
        lines.push(format!("{path}: keys with the most orphans: {}", orphans.join(", ")));
    }
    lines
}

fn input_json((input, profile): (&InputReport, &Profile)) -> Value {
    json!({
        "module": input.module,
        "role": input.role,
        "kind": input.kind,
        "file": input.path.to_string_lossy(),
        "bytes": input.fingerprint.bytes,
        "xxh3_128": input.fingerprint.xxh3_128,
        "delimiter": char::from(input.delimiter).to_string(),
        "encoding": input.encoding,
        "bom": input.bom,
        "columns": input.header,
        "key_index": input.key_index,
        "records": input.records,
        "packed": input.packed,
        "rejected": input.rejected,
        "blank_lines": input.blank_lines,
        "widest_record_bytes": input.widest_record_bytes,
        "columns_never_filled": profile.columns_never_filled.iter().map(|&i| &input.header[i]).collect::<Vec<_>>(),
        "duplicate_keys": input.duplicate_keys,
        "orphan_keys": profile.orphan_keys.iter().map(|orphan| json!({
            "key": orphan.key,
            "records": orphan.records,
            "first_line": orphan.first_line,
        })).collect::<Vec<_>>(),
        "max_children": (input.role == Role::Child).then_some(input.max_children),
        "parents_above_200": (input.role == Role::Child).then_some(input.parents_above_200),
    })
}

/// What the plan comes to.
struct Sum {
    chunks: u64,
    records: u64,
    csv_bytes: u64,
}

impl Sum {
    /// Nothing, if a run would stop.
    fn of(prepared: &Prepared) -> Sum {
        let chunks = if prepared.must_stop() { &[] } else { prepared.plan().chunks() };
        let entries = || chunks.iter().flat_map(|chunk| &chunk.entries);
        Sum {
            chunks: chunks.len() as u64,
            records: entries().map(|entry| entry.records).sum(),
            csv_bytes: entries().map(|entry| entry.csv_bytes).sum(),
        }
    }
}

fn role(input: &InputReport) -> &'static str {
    input.kind.map_or("parent", super::kind_name)
}

fn delimiter(byte: u8) -> String {
    if byte == b'\t' { "tab".to_owned() } else { char::from(byte).to_string() }
}

fn encoding(input: &InputReport) -> String {
    if input.bom { format!("{} with BOM", input.encoding) } else { input.encoding.clone() }
}
