//! Whether a run may go on from a journal: what must be the same, and what differs in words. Pure.

use std::collections::BTreeSet;

use prep::{Archive, ChildKind, Chunk, Fingerprint, Identity, InputReport, Job, Prepared, RejectPolicy};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::journal::event::{FORMAT, Header, Input, Plan, PlannedChunk, TOOL, Target};
use crate::journal::state::{PackedState, State};
use crate::output::count;

#[cfg(test)]
mod tests;

/// What a run is about, from what was found in its inputs.
pub(crate) fn header(name: &str, target: Target, job: &Job, prepared: &Prepared) -> Header {
    let limits = job.settings.limits;
    let settings = settings(job, prepared.inputs().iter().map(Dialect::from));
    let digest = xxh3_128(json!([limits, settings]).to_string().as_bytes());
    Header {
        format: FORMAT,
        tool: TOOL.to_owned(),
        name: name.to_owned(),
        target,
        inputs: prepared.inputs().iter().map(input).collect(),
        limits,
        settings,
        settings_digest: format!("{digest:032x}"),
        plan_digest: prepared.plan().digest(),
    }
}

/// Whether the inputs and settings are those of a journal, by fingerprints alone. Only the program that wrote the
/// journal is sure to make the same plan of them.
pub(crate) fn is_unchanged(old: &Header, job: &Job, inputs: &[Identity]) -> bool {
    let same = |(old, new): (&Input, &Identity)| {
        old.module == new.module && old.kind == new.kind && old.fingerprint == new.fingerprint
    };
    old.tool == TOOL
        && old.limits == job.settings.limits
        && old.settings == settings(job, inputs.iter().map(Dialect::from))
        && old.inputs.len() == inputs.len()
        && old.inputs.iter().zip(inputs).all(same)
}

/// All chunks, none cut.
pub(crate) fn plan(prepared: &Prepared) -> Plan {
    Plan { chunks: prepared.plan().chunks().iter().map(PlannedChunk::from).collect() }
}

/// What differs between the run of a journal and this one, each difference in words; empty if this one may go on.
///
/// `target` is where this run sends to; `None` if it sends nothing.
pub(crate) fn differences(old: &Header, new: &Header, target: Option<&Target>) -> Vec<String> {
    let mut found: Vec<String> =
        target.and_then(|target| target_difference(&old.target, target)).into_iter().collect();
    found.extend(input_differences(&old.inputs, &new.inputs));
    compare("limits", &json!(old.limits), &json!(new.limits), &mut found);
    compare("", &old.settings, &new.settings, &mut found);
    if found.is_empty() && old.settings_digest != new.settings_digest {
        found.push("the settings' digest differs".to_owned());
    }
    if found.is_empty() && old.plan_digest != new.plan_digest {
        found.push(format!(
            "the same inputs and settings give another plan: {} in the journal, {} now",
            old.tool, new.tool
        ));
    }
    found
}

/// How the target of a journal differs from another; an undecided one differs from none.
pub(crate) fn target_difference(old: &Target, new: &Target) -> Option<String> {
    (old != new && *old != Target::Undecided)
        .then(|| format!("target: {} in the journal, {} now", target_name(old), target_name(new)))
}

/// A target in words.
pub(crate) fn target_name(target: &Target) -> String {
    match target {
        Target::Sandbox => "the sandbox".to_owned(),
        Target::Zoho { dc, org } => format!("Zoho {dc}, org {org}"),
        Target::Undecided => "not decided yet".to_owned(),
    }
}

/// The chunks of the plan with the journaled cuts made again, in order.
///
/// # Errors
/// `Journal` if a cut does not come out as it was journaled.
pub(crate) fn leaves(state: &State, prepared: &Prepared) -> Result<Vec<Chunk>> {
    let mut leaves = Vec::new();
    // A stack, so that the parts of a cut come in their chunk's place.
    let mut rest: Vec<Chunk> = prepared.plan().chunks().iter().rev().cloned().collect();
    while let Some(chunk) = rest.pop() {
        let Some(names) = state.parts(&chunk.name) else {
            if state.chunk(&chunk.name).is_none_or(|known| known.planned != PlannedChunk::from(&chunk)) {
                return Err(other_cut(&chunk.name));
            }
            leaves.push(chunk);
            continue;
        };
        match prepared.cut(&chunk)? {
            Some(parts) if parts.iter().map(|part| &part.name).eq(names) => {
                rest.extend(parts.into_iter().rev());
            }
            _ => return Err(other_cut(&chunk.name)),
        }
    }
    Ok(leaves)
}

fn other_cut(name: &str) -> Failure {
    Failure::message(ExitCode::Journal, format!("`{name}` is not cut as the journal says"))
        .hint("go on with the version of zbulk that began the run")
}

/// How an archive that was built compares with what the journal knows of its chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Nothing is known yet.
    New,
    /// The same bytes.
    Same,
    /// The same records, packed to other bytes, as another version of zbulk may do.
    OtherArchive,
    /// Other records: the inputs are not what they were. Names the entry.
    OtherRecords(String),
}

/// Compares an archive with what is journaled of its chunk.
pub(crate) fn fit(known: Option<&PackedState>, archive: &Archive) -> Fit {
    let Some(known) = known else { return Fit::New };
    let digests = |entries: &[prep::Entry]| -> BTreeSet<(String, String)> {
        entries.iter().map(|entry| (entry.name.clone(), entry.csv_xxh3_128.clone())).collect()
    };
    let (old, new) = (digests(&known.entries), digests(&archive.entries));
    match old.symmetric_difference(&new).next() {
        Some((name, _)) => Fit::OtherRecords(name.clone()),
        None if known.archive_sha256 == archive.sha256 => Fit::Same,
        None => Fit::OtherArchive,
    }
}

fn input(report: &InputReport) -> Input {
    Input {
        module: report.module.clone(),
        role: report.role,
        kind: report.kind,
        path: report.path.to_string_lossy().into_owned(),
        fingerprint: report.fingerprint.clone(),
        records: report.records,
        packed: report.packed,
        rejected: report.rejected,
        blank_lines: report.blank_lines,
    }
}

/// What an input is, besides its content.
#[derive(Clone, Copy)]
struct Dialect<'a> {
    module: &'a str,
    kind: Option<ChildKind>,
    delimiter: u8,
    encoding: &'a str,
}

impl<'a> From<&'a InputReport> for Dialect<'a> {
    fn from(input: &'a InputReport) -> Dialect<'a> {
        let InputReport { module, kind, delimiter, encoding, .. } = input;
        Dialect { module, kind: *kind, delimiter: *delimiter, encoding }
    }
}

impl<'a> From<&'a Identity> for Dialect<'a> {
    fn from(input: &'a Identity) -> Dialect<'a> {
        let Identity { module, kind, delimiter, encoding, .. } = input;
        Dialect { module, kind: *kind, delimiter: *delimiter, encoding }
    }
}

/// What decides the plan or its bytes besides the limits. The delimiter and the encoding are those that were used, so
/// that naming the one that was found changes nothing.
fn settings<'a>(job: &Job, mut inputs: impl Iterator<Item = Dialect<'a>>) -> Value {
    let mut next = |key: &Option<String>| {
        let input = inputs.next();
        json!({
            "module": input.map(|input| input.module),
            "kind": input.and_then(|input| input.kind),
            "key": key,
            "delimiter": input.map(|input| char::from(input.delimiter)),
            "encoding": input.map(|input| input.encoding),
        })
    };
    let imports: Vec<Value> = job
        .imports
        .iter()
        .map(|import| {
            let parent = next(&import.parent.key);
            let children: Vec<Value> = import.children.iter().map(|child| next(&child.input.key)).collect();
            json!({ "parent": parent, "children": children })
        })
        .collect();
    let rejects = match job.settings.rejects {
        RejectPolicy::Stop => "stop",
        RejectPolicy::SetAside => "set-aside",
    };
    json!({ "level": job.settings.level, "rejects": rejects, "imports": imports })
}

fn input_differences(old: &[Input], new: &[Input]) -> Vec<String> {
    let modules = |inputs: &[Input]| inputs.iter().map(|input| input.module.clone()).collect::<Vec<_>>();
    if modules(old) != modules(new) {
        return vec![format!(
            "modules: {} in the journal, {} now",
            modules(old).join(", "),
            modules(new).join(", ")
        )];
    }
    old.iter()
        .zip(new)
        .filter_map(|(old, new)| {
            let what = fingerprint_difference(&old.fingerprint, &new.fingerprint)?;
            let before =
                if old.path == new.path { String::new() } else { format!(", `{}` in the journal", old.path) };
            Some(format!("input {} (`{}`{before}): {what}", new.module, new.path))
        })
        .collect()
}

fn fingerprint_difference(old: &Fingerprint, new: &Fingerprint) -> Option<String> {
    if old.bytes != new.bytes {
        Some(format!("{} bytes in the journal, {} now", count(old.bytes), count(new.bytes)))
    } else if old.xxh3_128 != new.xxh3_128 {
        Some(format!("the same length, other content ({} bytes)", count(new.bytes)))
    } else {
        None
    }
}

/// Names every place where two values differ; the places of arrays are one-based.
fn compare(place: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let join = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                compare(&join(key), &of(old), &of(new), found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{place}[{}]", i + 1), old, new, found);
            }
        }
        _ if old != new => found.push(format!("{place}: {old} in the journal, {new} now")),
        _ => {}
    }
}
