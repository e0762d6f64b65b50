//! Power loss by simulation. A run of the real binary is recorded call by call; for each seed it loses power after some
//! call, the disk keeps what it must and some of what it may keep, and what is found then is held against what was
//! known before.
//!
//! Whatever is left, the journal must be read as a prefix of what truly happened: never as damaged, never as anything
//! else. That prefix must hold every line that was durable, every `file_id` that a manifest showed, and an attempt for
//! every body of which a byte was sent. And for some of the seeds the same command is run again and must end as the
//! undisturbed run did, without sending again what has its `file_id`.
//!
//! `ZBULK_POWER_LOSS_SEEDS` is the number of seeds. A failure names its seed and where its recording is kept;
//! `ZBULK_POWER_LOSS_SEED` and `ZBULK_POWER_LOSS_RECORDING` bring it back.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::server::{Job, Server, run, zbulk};
use disk::{Chance, Disk};
use recording::{Op, Recording, is_possible, record};

mod disk;
mod recording;

/// One of so many seeds of a scenario is gone on with to its end; when there are very many, one in ten times as many.
const RUN_TO_ITS_END: usize = 25;

/// Each has a server whose ids, of eighteen digits, begin with its number.
const MOST_THREADS: usize = 8;

/// What is recorded, and how it is gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    /// To a server that loses an answer and is unavailable at times, with rejects set aside and archives kept.
    Run,
    /// The same, gone on with after its power was lost in the middle.
    GoOn,
    /// Archives only.
    Pack,
    /// And then sent.
    Upload,
    /// To the sandbox in the process, which keeps its bodies in the same directory.
    Rehearsal,
}

impl Scenario {
    const ALL: [Scenario; 5] =
        [Scenario::Run, Scenario::GoOn, Scenario::Pack, Scenario::Upload, Scenario::Rehearsal];

    fn command(self, root: &Path, server: &Server, token: &str) -> Command {
        let mut command = zbulk();
        command.arg(match self {
            Scenario::Run | Scenario::GoOn | Scenario::Rehearsal => "run",
            Scenario::Pack => "pack",
            Scenario::Upload => "upload",
        });
        command.arg(root.join("zbulk.toml"));
        match self {
            Scenario::Run | Scenario::GoOn => {
                command.args(["--rejects", "set-aside", "--keep-archives", "--concurrency", "3"]);
            }
            Scenario::Pack => drop(command.args(["--rejects", "set-aside"])),
            Scenario::Upload => {}
            Scenario::Rehearsal => drop(command.args(["--rejects", "set-aside", "--sandbox"])),
        }
        if matches!(self, Scenario::Run | Scenario::GoOn | Scenario::Upload) {
            server.point(&mut command);
            // One run fetches its token itself, and remembers that in its directory.
            if self != Scenario::Run || !token.is_empty() {
                command.env("ZOHO_ACCESS_TOKEN", token);
            }
        }
        command
    }

    /// DIR below the root.
    fn out(self) -> &'static str {
        if self == Scenario::Rehearsal { "zbulk.sandbox.zbulk" } else { "zbulk.zbulk" }
    }
}

/// A recording and what is known of it.
struct Recorded {
    scenario: Scenario,
    recording: Recording,
    /// What `zbulk status` says after so many lines of the true journal, by what it says.
    prefixes: HashMap<String, usize>,
    /// The chunks of the undisturbed run.
    result: BTreeMap<String, Value>,
}

fn status(dir: &Path) -> (Option<i32>, String, String) {
    run(zbulk().args(["status", "--json", "--out"]).arg(dir))
}

fn chunks(manifest: &Value) -> BTreeMap<String, Value> {
    let chunks = manifest["chunks"].as_array().unwrap();
    chunks.iter().map(|chunk| (chunk["name"].as_str().unwrap().to_owned(), chunk.clone())).collect()
}

fn file_of<'a>(disk: &'a Disk, out: &str, name: &str) -> Option<&'a [u8]> {
    Some(disk.content(disk.find(&Path::new(out).join(name))?))
}

fn lines(journal: &[u8]) -> usize {
    journal.iter().filter(|&&byte| byte == b'\n').count()
}

/// The job in a directory of its own; a few of its records are rejects.
fn job() -> Job {
    let job = Job::new(94);
    let mut csv = fs::read_to_string(job.path().join("things.csv")).unwrap();
    csv.push_str("95,a,b\n96\n");
    job.write("things.csv", csv);
    job
}

/// Records all scenarios into a directory.
fn record_all(kept: &Path) {
    let faults = "[[rule]]\nrequest = 2\nfault = \"lose_answer\"\n\n[[rule]]\nrequest = 4\nfault = { answer = { status = 503 } }\n";
    for scenario in Scenario::ALL {
        let job = job();
        let kept = kept.join(format!("{scenario:?}"));
        let server = Server::start_after(faults, &format!("1111110000020{}0000", scenario as u8));
        let token = if scenario == Scenario::Run { String::new() } else { server.access_token() };
        match scenario {
            Scenario::GoOn => {
                // Power was lost in the middle of another recording; not every loss leaves a journal that goes on.
                let before = Recording::load(&kept.with_file_name("Run"));
                let journal = |disk: &Disk| file_of(disk, scenario.out(), "journal.jsonl").map_or(0, lines);
                let ops = (0..before.ops.len()).find(|&ops| journal(&before.live(ops)) > 20).unwrap();
                fs::remove_dir_all(job.path()).unwrap();
                fs::create_dir(job.path()).unwrap();
                let found = (0..).map(|seed| before.crashed(ops, &mut Chance(seed)));
                let torn = found.into_iter().find(|disk| {
                    file_of(disk, scenario.out(), "journal.jsonl")
                        .is_some_and(|journal| !journal.ends_with(b"\n"))
                });
                torn.unwrap().write_to(job.path());
            }
            Scenario::Upload => {
                let (code, _, stderr) = run(&mut Scenario::Pack.command(job.path(), &server, &token));
                assert_eq!(code, Some(0), "{stderr}");
            }
            Scenario::Run | Scenario::Pack | Scenario::Rehearsal => {}
        }
        let (code, stderr) = record(job.path(), &scenario.command(job.path(), &server, &token), &kept);
        assert_eq!(code, Some(0), "{scenario:?}: {stderr}");
    }
}

impl Recorded {
    fn load(scenario: Scenario, kept: &Path) -> Recorded {
        let recording = Recording::load(&kept.join(format!("{scenario:?}")));
        let end = recording.live(recording.ops.len());
        let journal = file_of(&end, scenario.out(), "journal.jsonl").unwrap();
        let manifest = file_of(&end, scenario.out(), "manifest.json").unwrap();
        let result = chunks(&serde_json::from_slice(manifest).unwrap());
        let sent = recording.ops.iter().filter(|op| matches!(op, Op::Sent { .. })).count();
        let sends = scenario != Scenario::Pack;
        assert!(if sends { sent >= 5 } else { sent == 0 }, "{scenario:?}: {sent} bodies were seen");
        assert!(recording.ops.iter().filter(|op| matches!(op, Op::Sync { .. })).count() > 20);

        let temp = tempfile::tempdir().unwrap();
        recording.base.write_to(temp.path());
        let dir = temp.path().join(scenario.out());
        fs::create_dir_all(&dir).unwrap();
        let (mut prefix, mut prefixes) = (Vec::new(), HashMap::new());
        for (line, number) in journal.split_inclusive(|&byte| byte == b'\n').zip(1..) {
            prefix.extend_from_slice(line);
            if number >= 2 {
                fs::write(dir.join("journal.jsonl"), &prefix).unwrap();
                let (code, stdout, stderr) = status(&dir);
                assert_eq!(code, Some(0), "{stderr}");
                prefixes.insert(stdout, number);
            }
        }
        Recorded { scenario, recording, prefixes, result }
    }

    /// Loses power, and looks at what is left. With a server the run is also gone on with.
    fn lose_power(&self, seed: u64, server: Option<(&Server, &str)>) {
        let Recorded { scenario, recording, prefixes, .. } = self;
        let mut chance = Chance(seed);
        let ops = chance.of(recording.ops.len() + 1);
        let at = format!("{scenario:?} after {ops} operations, the last {:?}", recording.ops[..ops].last());
        let temp = tempfile::tempdir().unwrap();
        recording.crashed(ops, &mut chance).write_to(temp.path());
        let (live, durable) = (recording.live(ops), recording.durable(ops));

        let promised = file_of(&durable, scenario.out(), "journal.jsonl").map_or(0, lines);
        let shown =
            file_of(&live, scenario.out(), "manifest.json").map(|json| serde_json::from_slice(json).unwrap());
        let shown = shown.as_ref().map(chunks).unwrap_or_default();
        let (code, stdout, stderr) = status(&temp.path().join(scenario.out()));
        let found: BTreeMap<String, Value> = match code {
            Some(0) => {
                let Some(&prefix) = prefixes.get(&stdout) else {
                    panic!("{at}: this is no prefix: {stdout}")
                };
                assert!(prefix >= promised, "{at}: {prefix} lines are left of {promised} durable ones");
                chunks(&serde_json::from_str(&stdout).unwrap())
            }
            Some(2)
                if stderr.contains("it has no journal")
                    || stderr.contains("there is no output directory") =>
            {
                assert_eq!(promised, 0, "{at}: the journal is gone");
                BTreeMap::new()
            }
            _ => panic!("{at}: the journal cannot be read: {stderr}"),
        };
        for (name, chunk) in shown {
            if chunk["upload"]["state"] == "uploaded" {
                let found = &found.get(&name).unwrap_or(&Value::Null)["upload"];
                assert_eq!(
                    found["file_id"], chunk["upload"]["file_id"],
                    "{at}: {name} was shown as uploaded"
                );
            }
        }
        for op in &recording.ops[..ops] {
            let Op::Sent { archive } = op else { continue };
            let attempts = found.get(archive).and_then(|chunk| chunk["upload"]["attempts"].as_u64());
            assert!(
                attempts.is_some_and(|attempts| attempts > 0),
                "{at}: {archive} was sent, and nothing tells"
            );
        }
        if let Some((server, token)) = server {
            self.go_on(temp.path(), &found, server, token, &at);
        }
    }

    /// The same command again ends as the undisturbed run did.
    fn go_on(&self, root: &Path, found: &BTreeMap<String, Value>, server: &Server, token: &str, at: &str) {
        let Recorded { scenario, result, .. } = self;
        let before = server.kept();
        let (code, _, stderr) = run(&mut scenario.command(root, server, token));
        let is_uploaded = |chunk: &Value| chunk["upload"]["state"] == "uploaded";
        assert_eq!(code, Some(0), "{at}: {stderr}");
        let dir = root.join(scenario.out());
        let manifest: Value = serde_json::from_slice(&fs::read(dir.join("manifest.json")).unwrap()).unwrap();
        let now = chunks(&manifest);
        assert!(now.keys().eq(result.keys()), "{at}: other chunks: {:?}", now.keys());
        for (name, chunk) in &now {
            for same in ["archive_sha256", "archive_bytes", "entries"] {
                assert_eq!(chunk[same], result[name][same], "{at}: {name}: {same}");
            }
            assert_eq!(chunk["upload"]["state"], result[name]["upload"]["state"], "{at}: {name}");
            if let Some(earlier) = found.get(name).filter(|chunk| is_uploaded(chunk)) {
                assert_eq!(
                    chunk["upload"]["file_id"], earlier["upload"]["file_id"],
                    "{at}: {name} was sent again"
                );
            }
        }
        if !matches!(scenario, Scenario::Pack | Scenario::Rehearsal) {
            let to_send = now.len() - found.values().filter(|chunk| is_uploaded(chunk)).count();
            assert_eq!(server.kept() - before, to_send, "{at}");
        }
        let ids = now.values().filter_map(|chunk| chunk["upload"]["file_id"].as_str());
        let ids: std::collections::BTreeSet<&str> = ids.collect();
        assert_eq!(
            ids.len(),
            now.values().filter(|chunk| is_uploaded(chunk)).count(),
            "{at}: one id for two chunks"
        );
        let rejects = fs::read_to_string(dir.join("rejects/Things.csv")).unwrap();
        assert_eq!(rejects, "Id,Name\n95,a,b\n96\n", "{at}");
        let (code, stdout, stderr) = run(zbulk()
            .arg("verify")
            .arg(root.join("zbulk.toml"))
            .args(["--rejects", "set-aside", "--out"])
            .arg(&dir));
        assert_eq!(code, Some(0), "{at}: {stdout}{stderr}");
        let leftover = |path: PathBuf| path.extension().is_some_and(|extension| extension == "tmp");
        let found: Vec<PathBuf> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| leftover(path.clone()))
            .collect();
        assert_eq!(found, Vec::<PathBuf>::new(), "{at}: left aside");
    }
}

#[test]
fn whatever_a_power_loss_leaves_nothing_that_was_told_is_lost_and_the_run_goes_on() {
    let number = |name: &str| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let temp = tempfile::tempdir().unwrap();
    let kept = match std::env::var_os("ZBULK_POWER_LOSS_RECORDING") {
        Some(kept) => PathBuf::from(kept),
        None if is_possible() => {
            record_all(temp.path());
            temp.path().to_owned()
        }
        None => return,
    };
    let recorded = Scenario::ALL.map(|scenario| Recorded::load(scenario, &kept));
    let (first, seeds) = match number("ZBULK_POWER_LOSS_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("ZBULK_POWER_LOSS_SEEDS").unwrap_or(1_000)),
    };
    let every = if seeds > 10_000 { 10 * RUN_TO_ITS_END } else { RUN_TO_ITS_END };
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (next, recorded, failed) = (&next, &recorded, &failed);
            scope.spawn(move || {
                // Its ids are none that was given before.
                let server = Server::start_after("", &format!("1111110000030{thread}0000"));
                let token = server.access_token();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index as u64 >= seeds || failed.lock().unwrap().is_some() {
                        return;
                    }
                    let seed = first + index as u64;
                    let recorded = &recorded[seed as usize % Scenario::ALL.len()];
                    let to_its_end =
                        seeds == 1 || (seed as usize / Scenario::ALL.len()).is_multiple_of(every);
                    let server = to_its_end.then_some((&server, token.as_str()));
                    let outcome = catch_unwind(AssertUnwindSafe(|| recorded.lose_power(seed, server)));
                    if let Err(cause) = outcome {
                        *failed.lock().unwrap() = Some((seed, cause));
                    }
                }
            });
        }
    });
    if let Some((seed, cause)) = failed.into_inner().unwrap() {
        let kept = if kept == temp.path() { temp.keep() } else { kept };
        eprintln!(
            "ZBULK_POWER_LOSS_SEED={seed} ZBULK_POWER_LOSS_RECORDING={} brings it back",
            kept.display()
        );
        resume_unwind(cause);
    }
}
