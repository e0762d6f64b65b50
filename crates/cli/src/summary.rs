//! The result of a run on standard output: the manifest as a table with its sums, or as JSON. The same for every
//! command.

use std::io::{self, Write};

use prep::Role;

use crate::exit_code::ExitCode;
use crate::failure::{OrFail, Result};
use crate::identity::target_name;
use crate::journal::event::Target;
use crate::journal::state::State;
use crate::manifest::{Manifest, Totals};
use crate::output::{self, Results, Table, bytes, count, counted, escape};

#[cfg(test)]
mod tests;

/// Prints where every chunk stands.
///
/// # Errors
/// `Unexpected` if standard output takes nothing; a closed pipe is none.
pub(crate) fn print(state: &State, json: bool) -> Result<()> {
    let mut out = output::stdout();
    let printed = if json { out.json(&Manifest::new(state)) } else { print_text(&mut out, state) };
    printed.and_then(|()| out.finish()).or_fail(ExitCode::Unexpected, || "cannot print the result")
}

fn print_text<W: Write>(out: &mut Results<W>, state: &State) -> io::Result<()> {
    out.table(&table(state))?;
    out.line("")?;
    for chunk in state.chunks() {
        if let Some(reason) = chunk.upload().reason {
            out.line(&format!("{} failed: {}", chunk.name(), escape(&reason)))?;
        }
    }
    for line in sums(state) {
        out.line(&line)?;
    }
    Ok(())
}

fn table(state: &State) -> Table {
    let mut table =
        Table::new(["archive", "records", "children", "bytes", "file_id", "state"]).right([1, 2, 3]);
    for chunk in state.chunks() {
        let records = |role| {
            let entries = chunk.planned.entries.iter().filter(|entry| entry.role == role);
            count(entries.map(|entry| entry.records).sum())
        };
        table.row([
            chunk.name().to_owned(),
            records(Role::Parent),
            records(Role::Child),
            chunk.packed.as_ref().map_or_else(|| "-".to_owned(), |packed| count(packed.archive_bytes)),
            chunk.file_id().unwrap_or("-").to_owned(),
            chunk.status().as_str().to_owned(),
        ]);
    }
    table
}

fn sums(state: &State) -> [String; 2] {
    let totals = Totals::of(state);
    let mut chunks = format!(
        "{} records in, {} packed, {} rejected; {} chunks: {} uploaded",
        count(totals.records),
        count(totals.packed),
        count(totals.rejected),
        count(totals.chunks),
        count(totals.uploaded)
    );
    for (number, what) in
        [(totals.pending, "pending"), (totals.failed, "failed"), (totals.unknown, "unknown")]
    {
        if number > 0 {
            chunks.extend([", ", &count(number), " ", what]);
        }
    }
    let mut archives = format!("{} of archives", bytes(totals.archive_bytes));
    if state.header.target != Target::Undecided {
        archives.extend([", to ", &escape(&target_name(&state.header.target))]);
    }
    if totals.possible_orphans > 0 {
        let attempts = counted(totals.possible_orphans, "attempt");
        archives.extend([
            "; ",
            &attempts,
            " without an answer may have left a file there that no chunk knows",
        ]);
    }
    [chunks, archives]
}
