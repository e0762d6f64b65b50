//! Kills and failures at single system calls of a run, and what the next run makes of it.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::five_chunks::FiveChunks;
use crate::outcome::{History, verify_dir};
use crate::server::{Server, run};
use crate::strace::{self, Point};

/// What touches files or sockets.
const FILES_AND_SOCKETS: &str = "%file,%desc,%network";

/// Points of each command in a run of all tests.
const SAMPLES: [usize; 3] = [60, 10, 10];

/// Which command is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Run,
    Pack,
    Upload,
}

impl Which {
    const ALL: [Which; 3] = [Which::Run, Which::Pack, Which::Upload];

    fn command(self, five: &FiveChunks, server: &Server, out: &Path) -> Command {
        match self {
            Which::Run => five.command(server, out),
            Which::Pack => five.pack(out),
            Which::Upload => five.upload(server, out),
        }
    }

    /// An empty place for it, or one with what must be there before.
    fn make_ready(self, five: &FiveChunks, out: &Path) {
        if out.exists() {
            std::fs::remove_dir_all(out).unwrap();
        }
        if self == Which::Upload {
            assert_eq!(run(&mut five.pack(out)).0, Some(0));
        }
    }
}

/// Kills a command at a point, and goes on. `false` if it ended before it came there.
fn kill_and_go_on(which: Which, five: &FiveChunks, reference: &Path, point: &Point) -> bool {
    let server = Server::start("");
    let out = five.out("killed");
    which.make_ready(five, &out);
    let about = format!("{which:?}: {point:?}");
    let command = which.command(five, &server, &out);
    let point = point.moved(reference, &out);
    let status =
        strace::disturbed(&command, &point, "signal=KILL", "/dev/null".as_ref()).output().unwrap().status;
    let killed = status.code() != Some(0);
    assert!(!killed || status.signal() == Some(9), "{about}: {status}");
    five.expected.hold_names(&out, &about);
    let mut history = History::default();
    history.note(&out);
    let (code, _, stderr) = run(&mut which.command(five, &server, &out));
    assert_eq!(code, Some(0), "{about}: {stderr}");
    if which == Which::Pack {
        let (code, _, stderr) = run(&mut five.upload(&server, &out));
        assert_eq!(code, Some(0), "{about}: {stderr}");
    }
    five.expected.hold(&out, &server, &history, &about);
    verify_dir(&out, &about);
    killed
}

#[test]
fn killed_at_a_system_call_a_run_goes_on_to_the_result_of_an_undisturbed_one() {
    kill_everywhere(SAMPLES);
}

#[test]
#[ignore = "takes minutes: see CONTRIBUTING.md"]
fn killed_at_every_system_call_a_run_goes_on_to_the_result_of_an_undisturbed_one() {
    kill_everywhere([usize::MAX; 3]);
}

/// All files of a run, by their paths in its directory.
fn files_of_run(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let names = ["archives", "rejects", "manifest.csv", "manifest.json", "journal.jsonl"];
    let paths = names.into_iter().flat_map(|name| match std::fs::read_dir(dir.join(name)) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) if dir.join(name).exists() => vec![dir.join(name)],
        Err(_) => Vec::new(),
    });
    paths.map(|path| (path.strip_prefix(dir).unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn killed_while_it_sets_a_run_aside_a_restart_loses_nothing_of_it() {
    if !strace::is_usable() {
        return;
    }
    let five = FiveChunks::new();
    let mut reached = 0;
    for nth in 1.. {
        let server = Server::start("");
        let out = five.out(&format!("restarted-{nth}"));
        assert_eq!(run(&mut five.command(&server, &out)).0, Some(0));
        let before = files_of_run(&out);
        let mut command = five.command(&server, &out);
        command.arg("--restart");
        // Without its path: whatever is renamed up to the new run's journal.
        let point = Point { call: "rename".to_owned(), path: None, nth };
        let status =
            strace::disturbed(&command, &point, "signal=KILL", "/dev/null".as_ref()).output().unwrap().status;
        let aside = out.join("set-aside-1");
        let mut found = files_of_run(&aside);
        found.extend(
            files_of_run(&out)
                .into_iter()
                .filter(|(path, _)| before.contains_key(path) && !aside.join(path).exists()),
        );
        assert!(found == before, "{nth}: of the old run there are {:?}", found.keys());
        if status.success() || aside.join("journal.jsonl").exists() {
            break;
        }
        reached += 1;
        let (code, _, stderr) = run(&mut command);
        assert_eq!(code, Some(0), "{nth}: {stderr}");
        assert!(files_of_run(&aside) == before, "{nth}: set aside are {:?}", files_of_run(&aside).keys());
        five.expected.hold_names(&out, &format!("restart {nth}"));
        verify_dir(&out, &format!("restart {nth}"));
        verify_dir(&aside, &format!("set aside {nth}"));
    }
    assert!(reached >= 5, "{reached}");
}

fn kill_everywhere(samples: [usize; 3]) {
    if !strace::is_usable() {
        return;
    }
    let five = FiveChunks::new();
    let reference = five.out("reference");
    for (which, many) in Which::ALL.into_iter().zip(samples) {
        let server = Server::start("");
        which.make_ready(&five, &reference);
        let command = which.command(&five, &server, &reference);
        let points = strace::points(&command, FILES_AND_SOCKETS, five.dir());
        let all = points.len();
        assert!(all > 300, "{which:?}: {all}");
        let points = strace::spread(points, many);
        // A point that a run has not come to, since its threads took turns in another way, is tried again.
        let kill = |point: &Point| (0..3).any(|_| kill_and_go_on(which, &five, &reference, point));
        let (killed, missed) = strace::at_each(&points, kill);
        eprintln!("{which:?}: {killed} kills at {} of {all} points; none came to {missed:#?}", points.len());
        // Whether the last calls of a process are made depends on how its threads end.
        assert!(killed * 10 >= points.len() * 9, "{which:?}: {killed} of {} points", points.len());
    }
}
