//! The result of a run on standard output: the manifest as a table, or as JSON.

use prep::Role;

use crate::config::Output;
use crate::exit_code::ExitCode;
use crate::failure::{OrFail as _, Result};
use crate::identity;
use crate::journal::state::{State, UploadStatus};
use crate::manifest::{Manifest, Totals};
use crate::output::{self, Table, bytes, count};

/// Prints where every chunk stands.
pub(crate) fn print(state: &State, output: &Output) -> Result<()> {
    let mut out = output::stdout();
    let printed = if output.json {
        out.json(&Manifest::new(state))
    } else {
        out.table(&table(state)).and_then(|()| {
            for line in totals(state) {
                out.line(&line)?;
            }
            Ok(())
        })
    };
    printed
        .and_then(|()| out.finish())
        .or_fail(ExitCode::Unexpected, || "cannot write the result to standard output".to_owned())
}

fn table(state: &State) -> Table {
    let mut table =
        Table::new(["archive", "records", "children", "bytes", "file_id", "state"]).right([1, 2, 3]);
    for chunk in state.chunks() {
        let records = |role| {
            let entries = chunk.planned.entries.iter().filter(|entry| entry.role == role);
            entries.map(|entry| entry.records).sum::<u64>()
        };
        table.row([
            chunk.planned.name.clone(),
            count(records(Role::Parent)),
            count(records(Role::Child)),
            chunk.packed.as_ref().map_or_else(|| "-".to_owned(), |packed| count(packed.archive_bytes)),
            chunk.upload.file_id.clone().unwrap_or_else(|| "-".to_owned()),
            word(chunk.upload.state).to_owned(),
        ]);
    }
    table
}

fn totals(state: &State) -> Vec<String> {
    let totals = Totals::of(state);
    let mut first = format!(
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
            first.extend([", ", &count(number), " ", what]);
        }
    }
    let mut second =
        format!("{} of archives, to {}", bytes(totals.archive_bytes), identity::shown(&state.header.target));
    if totals.possible_orphans > 0 {
        second += "; ";
        second += &count(totals.possible_orphans);
        second += " attempts without an answer may have left a file there that no chunk knows";
    }
    vec![String::new(), first, second]
}

fn word(status: UploadStatus) -> &'static str {
    match status {
        UploadStatus::Pending => "pending",
        UploadStatus::Uploaded => "uploaded",
        UploadStatus::Failed => "failed",
        UploadStatus::Unknown => "unknown",
    }
}
