//! Single system calls that fail: a full disk, a broken one, no descriptors left, a file system gone read-only.

use std::path::Path;
use std::process::Stdio;

use crate::five_chunks::FiveChunks;
use crate::outcome::{History, verify_dir};
use crate::server::{Job, Server, run};
use crate::signals::wait_for_attempts;
use crate::strace::{self, Point};

/// Calls that fail, how, and what users read of it.
const FAILURES: [(&str, &str, &str); 5] = [
    ("write,fsync,fdatasync,rename,openat,ftruncate,mkdir,unlink", "ENOSPC", "No space left on device"),
    ("write,fsync,fdatasync,rename,openat,ftruncate,mkdir,unlink", "EIO", "Input/output error"),
    ("read,pread64,statx,flock,lseek,getdents64", "EIO", "Input/output error"),
    ("rename,openat,mkdir,unlink", "EROFS", "Read-only file system"),
    ("openat,socket", "EMFILE", "Too many open files"),
];

/// Points of each kind in a run of all tests.
const SAMPLE: usize = 10;

#[test]
fn a_failing_system_call_stops_the_run_cleanly_and_the_next_one_goes_on() {
    fail_everywhere(SAMPLE);
}

#[test]
#[ignore = "takes minutes: see CONTRIBUTING.md"]
fn every_failing_system_call_stops_the_run_cleanly_and_the_next_one_goes_on() {
    fail_everywhere(usize::MAX);
}

fn fail_everywhere(many: usize) {
    if !strace::is_usable() {
        return;
    }
    let five = FiveChunks::new();
    let reference = five.out("reference");
    let server = Server::start("");
    let (mut tried, mut stopped) = (0, 0);
    for (calls, error, message) in FAILURES {
        std::fs::remove_dir_all(&reference).unwrap_or_default();
        let points = strace::points(&five.command(&server, &reference), calls, five.dir());
        // What is about no file of the run is what the system's libraries do, and how threads wake each other.
        let ours =
            points.into_iter().filter(|point| point.path.is_some() || point.call == "socket").collect();
        let points = strace::spread(ours, many);
        let act = |point: &Point| fail_and_go_on(&five, &reference, point, error, message);
        stopped += strace::at_each(&points, act).0;
        tried += points.len();
    }
    eprintln!("{tried} failures, of which {stopped} stopped the run");
    assert!(stopped * 2 > tried, "{stopped} of {tried} failures stopped the run");
}

/// Neither a warning nor a hint.
fn is_of_error(line: &&str) -> bool {
    line.starts_with("error:") || line.starts_with("  caused by:")
}

/// Lets a call fail, and goes on. `false` if the run reached its end all the same.
fn fail_and_go_on(five: &FiveChunks, reference: &Path, point: &Point, error: &str, message: &str) -> bool {
    let server = Server::start("");
    let out = five.out("failed");
    if out.exists() {
        std::fs::remove_dir_all(&out).unwrap();
    }
    let about = format!("{error} at {point:?}");
    let command = five.command(&server, &out);
    let point = point.moved(reference, &out);
    let mut disturbed = strace::disturbed(&command, &point, &format!("error={error}"), "/dev/null".as_ref());
    let (code, _, stderr) = run(&mut disturbed);
    let about = format!("{about}: exit {code:?}: {stderr}");
    let mut history = History::default();
    if out.exists() {
        five.expected.hold_names(&out, &about);
        history.note(&out);
    }
    match code {
        Some(0) => five.expected.hold(&out, &server, &history, &about),
        Some(1) => {
            assert!(
                stderr.lines().filter(is_of_error).any(|line| line.contains(message)),
                "the cause is not told: {about}"
            );
            let place = five.dir().to_str().unwrap();
            assert!(stderr.lines().filter(is_of_error).any(|line| line.contains(place)), "no path: {about}");
        }
        _ => panic!("{about}"),
    }
    let (again, _, stderr) = run(&mut five.command(&server, &out));
    assert_eq!(again, Some(0), "{about}\nthen: {stderr}");
    five.expected.hold(&out, &server, &history, &about);
    verify_dir(&out, &about);
    code == Some(1)
}

#[test]
fn a_sync_of_the_journal_that_fails_is_never_tried_again() {
    if !strace::is_usable() {
        return;
    }
    let five = FiveChunks::new();
    for nth in [1, 2, 5, 11, 16] {
        let server = Server::start("");
        let out = five.out(&format!("sync-{nth}"));
        let journal = out.join("journal.jsonl");
        let log = five.dir().join("strace.log");
        let options = ["-y", "-P", journal.to_str().unwrap(), "-e", "trace=write,fsync,fdatasync", "-e"];
        let mut options = options.map(str::to_owned).to_vec();
        options.push(format!("inject=fdatasync:error=EIO:when={nth}"));
        let (code, _, stderr) = run(&mut strace::traced(&five.command(&server, &out), &options, &log));
        assert_eq!(code, Some(1), "{nth}: {stderr}");
        assert!(
            stderr.contains("cannot sync the journal") && stderr.contains("Input/output error"),
            "{nth}: {stderr}"
        );
        let calls = std::fs::read_to_string(&log).unwrap();
        let (before, after) = calls.split_once("(INJECTED)").unwrap();
        assert_eq!(before.matches("fdatasync(").count(), nth);
        // What is traced is named; what ends a thread is not.
        assert!(
            !after.contains("journal"),
            "{nth}: after a failed sync nothing touches the journal: {after}"
        );
        let mut history = History::default();
        history.note(&out);
        let (code, _, stderr) = run(&mut five.command(&server, &out));
        assert_eq!(code, Some(0), "{nth}: {stderr}");
        five.expected.hold(&out, &server, &history, &format!("sync {nth}"));
    }
}

#[test]
fn a_directory_that_vanishes_stops_the_run_before_more_is_sent() {
    let job = Job::new(100);
    // The second request is held up until the directory is gone.
    let server = Server::start("[[rule]]\nrequest = 2\nfault = { stall = { seconds = 2 } }\n");
    let mut command = job.command("run");
    server.point(&mut command).args(["--concurrency", "1"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_attempts(&job.out(false), 2);
    // Renamed first, so that nothing is created in it meanwhile.
    std::fs::rename(job.out(false), job.path().join("away")).unwrap();
    std::fs::remove_dir_all(job.path().join("away")).unwrap();
    let output = crate::silence::of(child.wait_with_output().unwrap());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("journal.jsonl") && stderr.contains("it was removed"), "{stderr}");
    // The second is given up if another line was to be journaled before its answer came.
    assert!(server.kept() <= 2, "nothing is begun that nobody would know of: {stderr}");
    // What was removed is not known any more; what is there is right.
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(job.states(false), ["uploaded"; 10]);
}
