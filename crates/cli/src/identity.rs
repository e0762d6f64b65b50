//! What must not change while a run goes on, and what differs where it has: target, inputs, settings, plan.

use prep::{Job, Prepared};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::config::Destination;
use crate::journal::event::{FORMAT, Header, Input, Plan, PlannedChunk, Target};

/// Program and version, as journal and manifest name them.
pub(crate) const TOOL: &str = concat!("zbulk ", env!("CARGO_PKG_VERSION"));

/// The journal's header for a job that is prepared.
pub(crate) fn header(name: &str, target: Target, job: &Job, prepared: &Prepared) -> Header {
    let settings = settings(job, prepared);
    let inputs = prepared
        .inputs()
        .iter()
        .map(|input| Input {
            module: input.module.clone(),
            role: input.role,
            kind: input.kind,
            path: input.path.display().to_string(),
            fingerprint: input.fingerprint.clone(),
            records: input.records,
            packed: input.packed,
            rejected: input.rejected,
            blank_lines: input.blank_lines,
        })
        .collect();
    Header {
        format: FORMAT,
        tool: TOOL.to_owned(),
        name: name.to_owned(),
        target,
        inputs,
        settings_digest: format!("{:032x}", xxh3_128(settings.to_string().as_bytes())),
        settings,
        plan_digest: prepared.plan().digest(),
    }
}

/// The journal's second line.
pub(crate) fn plan(job: &Job, prepared: &Prepared) -> Plan {
    Plan {
        chunks: prepared.plan().chunks().iter().map(PlannedChunk::from).collect(),
        limits: job.settings.limits,
    }
}

/// The settings that decide the plan or its bytes. Pace, URLs, credentials and output may differ from run to run.
fn settings(job: &Job, prepared: &Prepared) -> Value {
    let mut reports = prepared.inputs().iter();
    let mut input = |input: &prep::Input| {
        let report = reports.next().expect("invariant: every input has its report");
        json!({
            "module": input.module,
            "key": input.key,
            "delimiter": char::from(report.delimiter).to_string(),
            "encoding": report.encoding,
        })
    };
    let imports: Vec<Value> = job
        .imports
        .iter()
        .map(|import| {
            let parent = input(&import.parent);
            let children: Vec<Value> = import
                .children
                .iter()
                .map(|child| {
                    let mut value = input(&child.input);
                    value["kind"] = json!(child.kind);
                    value
                })
                .collect();
            json!({ "parent": parent, "children": children })
        })
        .collect();
    json!({
        "imports": imports,
        "limits": job.settings.limits,
        "level": job.settings.level,
        "rejects": job.settings.rejects,
    })
}

/// Where archives go, as the journal names it.
pub(crate) fn target(destination: &Destination) -> Target {
    match destination {
        Destination::Sandbox => Target::Sandbox,
        Destination::Zoho(zoho) => Target::Zoho { dc: zoho.dc.as_str().to_owned(), org: zoho.org.clone() },
    }
}

/// Everything in which a run that would go on differs from the one in the journal, a line each; empty if nothing.
pub(crate) fn differences(journal: &Header, now: &Header) -> Vec<String> {
    let mut differences = target_difference(&journal.target, &now.target).into_iter().collect::<Vec<_>>();
    if journal.settings != now.settings {
        value_differences("", &journal.settings, &now.settings, &mut differences);
    }
    if journal.inputs.len() == now.inputs.len() {
        for (was, is) in journal.inputs.iter().zip(&now.inputs) {
            if was.fingerprint != is.fingerprint {
                let bytes = (was.fingerprint.bytes, is.fingerprint.bytes);
                let how = if bytes.0 == bytes.1 {
                    "the same length, other content".to_owned()
                } else {
                    format!("{} bytes in the journal, {} now", bytes.0, bytes.1)
                };
                differences.push(format!("input {} ({}): {how}", is.module, is.path));
            }
        }
    } else {
        differences.push(format!("{} inputs in the journal, {} now", journal.inputs.len(), now.inputs.len()));
    }
    if differences.is_empty() && journal.plan_digest != now.plan_digest {
        differences
            .push(format!("the same inputs and settings give another plan: it was made by {}", journal.tool));
    }
    differences
}

/// In what two targets differ. One that is undecided differs from none.
pub(crate) fn target_difference(journal: &Target, now: &Target) -> Option<String> {
    if journal == now || *journal == Target::Undecided || *now == Target::Undecided {
        return None;
    }
    Some(format!("target: {} in the journal, {} now", shown(journal), shown(now)))
}

/// A target as messages name it.
pub(crate) fn shown(target: &Target) -> String {
    match target {
        Target::Sandbox => "the sandbox".to_owned(),
        Target::Zoho { dc, org } => format!("Zoho {dc}, org {org}"),
        Target::Undecided => "not decided".to_owned(),
    }
}

fn value_differences(path: &str, was: &Value, is: &Value, differences: &mut Vec<String>) {
    let inner = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            let keys: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
            for key in keys {
                let side = |of: &serde_json::Map<String, Value>| of.get(key).cloned().unwrap_or(Value::Null);
                value_differences(&inner(key), &side(was), &side(is), differences);
            }
        }
        (Value::Array(was), Value::Array(is)) if was.len() == is.len() => {
            for (i, (was, is)) in was.iter().zip(is).enumerate() {
                value_differences(&format!("{path}[{}]", i + 1), was, is, differences);
            }
        }
        (was, is) if was != is => {
            differences.push(format!("{path}: {was} in the journal, {is} now"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_of_settings_is_named_with_both_values() {
        let was = json!({ "level": 6, "imports": [{ "key": "a" }], "limits": { "chunk_records": 5 } });
        let is =
            json!({ "level": 1, "imports": [{ "key": "b" }], "limits": { "chunk_records": 5, "max": 1 } });
        let mut found = Vec::new();
        value_differences("", &was, &is, &mut found);
        assert_eq!(
            found,
            [
                "imports[1].key: \"a\" in the journal, \"b\" now",
                "level: 6 in the journal, 1 now",
                "limits.max: null in the journal, 1 now",
            ]
        );
    }

    #[test]
    fn a_rehearsal_is_another_target_than_the_real_thing() {
        let zoho = |org: &str| Target::Zoho { dc: "us".to_owned(), org: org.to_owned() };
        assert!(target_difference(&Target::Sandbox, &zoho("1")).is_some());
        assert!(target_difference(&zoho("1"), &zoho("2")).is_some());
        assert!(target_difference(&Target::Undecided, &zoho("2")).is_none());
    }
}
