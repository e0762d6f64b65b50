//! What is wrong with the records of the inputs: how many of which kind, with the first places. The same report for
//! every command.

use std::path::PathBuf;

use prep::{Fault, Prepared, Reject, RejectCode};
use serde_json::{Value, json};

use crate::exit_code::ExitCode;
use crate::failure::{Failure, Problem};
use crate::output::{count, counted};

/// How many places of each kind in each input are shown.
const PLACES: usize = 3;

/// Rejects by input and kind, and faults.
#[derive(Debug)]
pub(crate) struct Report {
    kinds: Vec<Kind>,
    faults: Vec<(Input, Fault)>,
}

/// The rejects of one kind in one input.
#[derive(Debug)]
struct Kind {
    input: Input,
    code: RejectCode,
    count: u64,
    first: Vec<Reject>,
}

/// The input that a problem is in.
#[derive(Debug, Clone)]
struct Input {
    module: String,
    path: PathBuf,
}

impl Report {
    /// Collects what the scan found. The first records of each kind are read again.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn of(prepared: &Prepared) -> Result<Report, prep::Error> {
        let input = |index: usize| {
            let report = &prepared.inputs()[index];
            Input { module: report.module.clone(), path: report.path.clone() }
        };
        let mut kinds = Vec::new();
        for (index, code, count) in prepared.reject_counts() {
            let first = prepared.first_rejects(index, code, PLACES)?;
            kinds.push(Kind { input: input(index), code, count, first });
        }
        let faults = prepared.faults().iter().map(|fault| (input(fault.input), fault.clone())).collect();
        Ok(Report { kinds, faults })
    }

    /// Whether there is nothing to report.
    pub(crate) fn is_clean(&self) -> bool {
        self.kinds.is_empty() && self.faults.is_empty()
    }

    /// How many records are rejects.
    pub(crate) fn rejected(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.count).sum()
    }

    /// The report as text, a line each, places indented by two spaces. Not escaped yet: a place shows a key as it is.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (title, places, hint) in self.findings() {
            lines.push(title);
            lines.extend(places.iter().map(|place| format!("  {place}")));
            lines.push(format!("  hint: {hint}"));
        }
        lines
    }

    /// The report for programs: `rejected`, `rejects` and `faults`, each with file, module, code and places. Lines and
    /// records are one-based, bytes zero-based.
    pub(crate) fn to_json(&self) -> Value {
        let rejects: Vec<Value> = self
            .kinds
            .iter()
            .map(|kind| {
                let first: Vec<Value> = kind.first.iter().map(place_json).collect();
                json!({
                    "file": kind.input.path.to_string_lossy(),
                    "module": kind.input.module,
                    "code": kind.code.as_str(),
                    "count": kind.count,
                    "hint": kind.code.hint(),
                    "first": first,
                })
            })
            .collect();
        let faults: Vec<Value> = self
            .faults
            .iter()
            .map(|(input, fault)| {
                json!({
                    "file": input.path.to_string_lossy(),
                    "module": input.module,
                    "code": fault.code.as_str(),
                    "line": fault.position.line,
                    "byte": fault.position.byte,
                    "record": fault.position.record,
                    "noticed_line": fault.noticed_line,
                    "message": fault.code.to_string(),
                })
            })
            .collect();
        json!({ "rejected": self.rejected(), "rejects": rejects, "faults": faults })
    }

    /// The report as the failure of a command that stops because of it: exit code 3, everything told.
    pub(crate) fn failure(&self) -> Failure {
        let mut problems: Vec<Problem> = self
            .findings()
            .map(|(title, places, hint)| Problem::message(title).details(places).hint(hint))
            .collect();
        problems.push(self.summary());
        Failure::many(ExitCode::Input, problems)
    }

    /// Only the sum, for a command that has told the rest on standard output.
    pub(crate) fn short_failure(&self) -> Failure {
        Failure::many(ExitCode::Input, vec![self.summary()])
    }

    fn summary(&self) -> Problem {
        let rejected = self.rejected();
        match (rejected, self.faults.len()) {
            (_, 0) => Problem::message(format!(
                "{} cannot be sent, and nothing was sent",
                counted(rejected, "record")
            ))
            .hint("mend them in the source and export again, or leave them out with --rejects set-aside"),
            (0, faults) => Problem::message(format!(
                "{} cannot be read to the end, and nothing was sent",
                counted(faults as u64, "input")
            ))
            .hint("mend the quotes there: nobody can tell where the records after them begin"),
            (_, faults) => Problem::message(format!(
                "{} cannot be sent, {} cannot be read to the end, and nothing was sent",
                counted(rejected, "record"),
                counted(faults as u64, "input")
            ))
            .hint("mend the quotes first: nobody can tell where the records after them begin"),
        }
    }

    /// Title, places and hint of each finding; faults first.
    fn findings(&self) -> impl Iterator<Item = (String, Vec<String>, &'static str)> {
        let faults = self.faults.iter().map(|(input, fault)| {
            let path = input.path.display();
            let title =
                format!("{path}:{}: record {}: {}", fault.position.line, fault.position.record, fault.code);
            let place = format!(
                "noticed in line {}; the record begins at byte {}",
                fault.noticed_line, fault.position.byte
            );
            (
                title,
                vec![place],
                "look at the quotes of this record; a quote inside a quoted field is doubled",
            )
        });
        let kinds = self.kinds.iter().map(|kind| {
            let path = kind.input.path.display();
            let title = format!("{path}: {} cannot be sent: {}", counted(kind.count, "record"), kind.code);
            let mut places: Vec<String> = kind
                .first
                .iter()
                .map(|reject| {
                    let key = reject.key.as_ref().map_or(String::new(), |key| format!(", key `{key}`"));
                    let position = reject.position;
                    format!(
                        "{path}:{}: record {}{key}: {}",
                        position.line,
                        count(position.record),
                        reject.message
                    )
                })
                .collect();
            let more = kind.count.saturating_sub(kind.first.len() as u64);
            if more > 0 {
                places.push(format!("and {} more", count(more)));
            }
            (title, places, kind.code.hint())
        });
        faults.chain(kinds)
    }
}

fn place_json(reject: &Reject) -> Value {
    json!({
        "line": reject.position.line,
        "byte": reject.position.byte,
        "record": reject.position.record,
        "bytes": reject.len_bytes,
        "key": reject.key,
        "message": reject.message,
    })
}
