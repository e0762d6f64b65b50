//! What a disturbed run must come to: the undisturbed one's result, nothing sent twice, every orphan accounted for.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::server::{Server, run, zbulk};

/// The result of an undisturbed run, with its archives.
pub(crate) struct Expected {
    /// Everything of the manifest's chunks but their uploads, in order.
    chunks: Vec<Value>,
    totals: Value,
    archives: BTreeMap<String, Vec<u8>>,
    rejects: BTreeMap<String, Vec<u8>>,
}

/// What was seen of a run each time that it was stopped.
#[derive(Default)]
pub(crate) struct History {
    /// The journal's whole lines at the last stop.
    lines: Vec<String>,
    /// Attempts that were under way when it was stopped, all stops together.
    in_flight: u64,
}

impl Expected {
    /// From a run with `--keep-archives` that has ended well in `out`.
    pub(crate) fn of(out: &Path) -> Expected {
        let manifest = manifest(out);
        Expected {
            chunks: chunks(&manifest),
            totals: totals(&manifest),
            archives: files(&out.join("archives")),
            rejects: files(&out.join("rejects")),
        }
    }

    /// Holds a run that has come to its end against this, and what the server has kept of it.
    pub(crate) fn hold(&self, out: &Path, server: &Server, history: &History, about: &str) {
        let manifest = manifest(out);
        assert_eq!(manifest["run"]["exit"], 0, "{about}");
        assert_eq!(chunks(&manifest), self.chunks, "{about}");
        assert_eq!(totals(&manifest), self.totals, "{about}");
        assert_eq!(files(&out.join("rejects")), self.rejects, "{about}");
        self.hold_archives(out, about);
        if out.join("archives").exists() {
            assert_eq!(files(&out.join("archives")).len(), self.archives.len(), "{about}");
        }
        let bodies = server.bodies();
        let mut orphans = 0;
        for chunk in manifest["chunks"].as_array().unwrap() {
            let (name, upload) = (chunk["name"].as_str().unwrap(), &chunk["upload"]);
            let archive = &self.archives[name];
            let file_id = upload["file_id"].as_str().unwrap();
            assert_eq!(upload["state"], "uploaded", "{about}: {name}");
            assert!(bodies.get(file_id) == Some(archive), "{about}: the server has not {name} as {file_id}");
            let possible = upload["possible_orphans"].as_u64().unwrap();
            let sent = bodies.values().filter(|&body| body == archive).count() as u64;
            assert!(
                sent <= 1 + possible,
                "{about}: {name} is {sent} times at the server, {possible} possible orphans"
            );
            orphans += possible;
        }
        assert!(bodies.values().all(|body| self.archives.values().any(|archive| archive == body)), "{about}");
        history.hold(&journal(out), orphans, about);
    }

    /// Whatever has its name is whole, also when a run was stopped.
    pub(crate) fn hold_names(&self, out: &Path, about: &str) {
        self.hold_archives(out, about);
        for (name, bytes) in files(&out.join("rejects")) {
            assert!(self.rejects.get(&name) == Some(&bytes), "{about}: rejects/{name} is not whole");
        }
        if let Ok(json) = std::fs::read(out.join("manifest.json")) {
            let manifest: Value =
                serde_json::from_slice(&json).unwrap_or_else(|error| panic!("{about}: {error}"));
            assert_eq!(manifest["chunks"].as_array().unwrap().is_empty(), self.chunks.is_empty(), "{about}");
        }
        if let Ok(csv) = std::fs::read_to_string(out.join("manifest.csv")) {
            assert!(csv.ends_with('\n') && csv.lines().count() > 1, "{about}: {csv}");
        }
    }

    fn hold_archives(&self, out: &Path, about: &str) {
        for (name, bytes) in files(&out.join("archives")) {
            assert!(self.archives.get(&name) == Some(&bytes), "{about}: archives/{name} is not whole");
        }
    }
}

impl History {
    /// Looks at a run that was stopped.
    pub(crate) fn note(&mut self, out: &Path) {
        let lines = journal(out);
        assert!(lines.starts_with(&self.lines), "a line that was durable is another one, or gone");
        let mut open: BTreeMap<String, bool> = BTreeMap::new();
        for line in &lines {
            let line: Value = serde_json::from_str(line).unwrap();
            match (line["event"].as_str().unwrap(), line["chunk"].as_str()) {
                ("attempt", Some(chunk)) => open.insert(chunk.to_owned(), true),
                ("ambiguous" | "uploaded" | "failed", Some(chunk)) => open.insert(chunk.to_owned(), false),
                ("resumed", _) => {
                    open.clear();
                    None
                }
                _ => None,
            };
        }
        // A process that was stopped before it journaled anything has nothing in flight of its own.
        if lines.len() > self.lines.len() {
            self.in_flight += open.values().filter(|&&open| open).count() as u64;
        }
        self.lines = lines;
    }

    /// The journal at its end goes on from what it was at every stop, and no chunk with a `file_id` was sent again.
    fn hold(&self, journal: &[String], orphans: u64, about: &str) {
        assert!(journal.starts_with(&self.lines), "{about}: a line that was durable is another one, or gone");
        let mut ids: BTreeMap<String, String> = BTreeMap::new();
        let mut ambiguous = 0;
        for line in journal {
            let line: Value = serde_json::from_str(line).unwrap();
            let Some(chunk) = line["chunk"].as_str() else { continue };
            match line["event"].as_str().unwrap() {
                "attempt" => {
                    assert!(!ids.contains_key(chunk), "{about}: {chunk} has a file_id and is sent again");
                }
                "ambiguous" => ambiguous += 1,
                "uploaded" => {
                    let id = line["file_id"].as_str().unwrap().to_owned();
                    assert!(ids.insert(chunk.to_owned(), id).is_none(), "{about}: {chunk} has two file_ids");
                }
                _ => {}
            }
        }
        let most = self.in_flight + ambiguous;
        assert!(
            orphans <= most,
            "{about}: {orphans} possible orphans, {most} attempts in flight or without an answer"
        );
    }
}

/// `zbulk verify` finds nothing.
pub(crate) fn verify(command: &mut Command, about: &str) {
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, Some(0), "{about}: {stdout}{stderr}");
}

/// `zbulk verify` on a directory alone.
pub(crate) fn verify_dir(out: &Path, about: &str) {
    verify(zbulk().arg("verify").arg("--out").arg(out), about);
}

/// The journal's whole lines; none if there is no journal.
pub(crate) fn journal(out: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(out.join("journal.jsonl")).unwrap_or_default();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    text[..whole].lines().map(str::to_owned).collect()
}

fn manifest(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap()
}

fn chunks(manifest: &Value) -> Vec<Value> {
    let mut chunks = manifest["chunks"].as_array().unwrap().clone();
    for chunk in &mut chunks {
        chunk.as_object_mut().unwrap().remove("upload");
    }
    chunks
}

/// Without what a disturbance may add.
fn totals(manifest: &Value) -> Value {
    let mut totals = manifest["totals"].clone();
    totals.as_object_mut().unwrap().remove("possible_orphans").unwrap();
    totals
}

/// The files in a directory that have their final names; none if it is not there.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(dir) else { return BTreeMap::new() };
    let named = entries.map(|entry| entry.unwrap());
    named
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect()
}
