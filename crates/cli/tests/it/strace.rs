//! The binary under strace, which kills it, or lets a system call fail, at a point that is chosen.
//!
//! strace counts the calls of each thread by itself, so that a point is the n-th call of one name, on one path if it has
//! one: on a path all calls of a name come from one thread, but for a few that change nothing. With one worker of each
//! kind a run makes the same calls every time.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A certificate authority; it is good for nothing but to be read.
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../upload/tests/it/tls/authority.pem");

/// A system call of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    /// Its name.
    pub(crate) call: String,
    /// The file that it is about; `None`: whatever it is about.
    pub(crate) path: Option<PathBuf>,
    /// One-based, among the calls of one thread.
    pub(crate) nth: usize,
}

impl Point {
    /// The same point of a run in another directory.
    pub(crate) fn moved(&self, from: &Path, to: &Path) -> Point {
        // Collected anew, for joining an empty rest would add a slash.
        let moved = |path: &PathBuf| {
            path.strip_prefix(from).map_or(path.clone(), |rest| to.iter().chain(rest.iter()).collect())
        };
        Point { path: self.path.as_ref().map(moved), ..self.clone() }
    }
}

/// Whether strace is there and may trace; if not it says so, and what needs it is skipped.
pub(crate) fn is_usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| {
        let tried = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=close", "true"])
            .stdin(Stdio::null())
            .output();
        let usable = tried.as_ref().is_ok_and(|output| output.status.success());
        if !usable {
            eprintln!("strace is not installed, or may not trace here: what it would check is not checked: {tried:?}");
        }
        usable
    })
}

/// A command that is traced: `options` for strace, which writes to `log`.
pub(crate) fn traced(command: &Command, options: &[String], log: &Path) -> Command {
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o"]).arg(log).args(options).arg("--");
    traced.arg(command.get_program()).args(command.get_args()).env_clear().stdin(Stdio::null());
    traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // One worker of each kind, and one file of certificates instead of this system's many.
    traced
        .env("TOKIO_WORKER_THREADS", "1")
        .env("SSL_CERT_DIR", "/nonexistent")
        .env("SSL_CERT_FILE", AUTHORITY);
    traced
}

/// The same with a disturbance, such as `signal=KILL`, at a point.
pub(crate) fn disturbed(command: &Command, point: &Point, what: &str, log: &Path) -> Command {
    let Point { call, path, nth } = point;
    let mut options = Vec::new();
    if let Some(path) = path {
        options.extend(["-P".to_owned(), path.to_str().unwrap().to_owned()]);
    }
    options.extend(["-e".to_owned(), format!("trace={call}")]);
    options.extend(["-e".to_owned(), format!("inject={call}:{what}:when={nth}")]);
    traced(command, &options, log)
}

/// All calls of these kinds that a command makes, run once to its end: those that are about a file under `dir` by that
/// file, and all by their name alone.
pub(crate) fn points(command: &Command, kinds: &str, dir: &Path) -> Vec<Point> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let options = ["-y".to_owned(), "-e".to_owned(), format!("trace={kinds}")];
    let output = crate::silence::of(traced(command, &options, log.path()).output().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&std::fs::read(log.path()).unwrap()).into_owned();
    let mut counts: BTreeMap<(String, Option<PathBuf>), BTreeMap<String, usize>> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        // Neither `<... read resumed>` nor `+++ exited with 0 +++`.
        let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let arguments = match name {
            // strace looks at the first path of a rename only.
            "rename" => arguments.split(", ").next().unwrap_or_default(),
            // strace's own.
            "execve" => continue,
            _ => arguments,
        };
        let about = paths(arguments, dir).into_iter().map(Some).chain([None]);
        for path in about {
            let threads = counts.entry((name.to_owned(), path)).or_default();
            *threads.entry(thread.to_owned()).or_default() += 1;
        }
    }
    let mut points = Vec::new();
    for ((call, path), threads) in counts {
        let most = threads.into_values().max().unwrap_or_default();
        points.extend((1..=most).map(|nth| Point { call: call.clone(), path: path.clone(), nth }));
    }
    points
}

/// The paths under `dir` in a call's arguments, where they stand as `"path"` and, for descriptors, as `<path>`.
fn paths(arguments: &str, dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let dir = dir.to_str().unwrap();
    for (at, _) in arguments.match_indices(dir) {
        let end = match arguments[..at].chars().next_back() {
            Some('"') => '"',
            Some('<') => '>',
            _ => continue,
        };
        let Some(length) = arguments[at..].find(end) else { continue };
        let path = &arguments[at..at + length];
        // A file that has lost its name cannot be named.
        if !path.ends_with("(deleted)") && !path.contains("/#") {
            found.insert(PathBuf::from(path));
        }
    }
    found
}

/// Does something at each point; all that panic are told together. How many said `true`, and those that said `false`.
pub(crate) fn at_each(points: &[Point], mut act: impl FnMut(&Point) -> bool) -> (usize, Vec<&Point>) {
    let (mut yes, mut no, mut failed) = (0, Vec::new(), Vec::new());
    for point in points {
        match catch_unwind(AssertUnwindSafe(|| act(point))) {
            Ok(true) => yes += 1,
            Ok(false) => no.push(point),
            Err(_) => failed.push(point),
        }
    }
    assert!(failed.is_empty(), "{} of {} points failed, see above: {failed:#?}", failed.len(), points.len());
    (yes, no)
}

/// Every `n`-th of them, so that about `many` are left.
pub(crate) fn spread(points: Vec<Point>, many: usize) -> Vec<Point> {
    let all = points.len();
    let keep = |&(index, _): &(usize, Point)| index * many / all != (index + 1) * many / all;
    if all <= many {
        return points;
    }
    points.into_iter().enumerate().filter(keep).map(|(_, point)| point).collect()
}
