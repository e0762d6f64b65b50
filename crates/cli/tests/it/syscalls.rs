//! Kills and failures at single system calls of a run, and what the next run makes of it.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use crate::five_chunks::FiveChunks;
use crate::outcome::{History, verify_dir};
use crate::server::{Server, run};
use crate::strace::{self, Point};

/// What touches files or sockets.
const FILES_AND_SOCKETS: &str = "%file,%desc,%network";

/// Points in a run of all tests.
const SAMPLE: usize = 60;

/// Kills a run at a point, and goes on. `false` if it ended before it came there.
fn kill_and_go_on(five: &FiveChunks, reference: &Path, point: &Point) -> bool {
    let server = Server::start("");
    let out = five.out("killed");
    if out.exists() {
        std::fs::remove_dir_all(&out).unwrap();
    }
    let about = format!("{point:?}");
    let command = five.command(&server, &out);
    let point = point.moved(reference, &out);
    let status =
        strace::disturbed(&command, &point, "signal=KILL", "/dev/null".as_ref()).output().unwrap().status;
    let killed = status.code() != Some(0);
    assert!(!killed || status.signal() == Some(9), "{about}: {status}");
    five.expected.hold_names(&out, &about);
    let mut history = History::default();
    history.note(&out);
    let (code, _, stderr) = run(&mut five.command(&server, &out));
    assert_eq!(code, Some(0), "{about}: {stderr}");
    five.expected.hold(&out, &server, &history, &about);
    verify_dir(&out, &about);
    killed
}

#[test]
fn killed_at_a_system_call_a_run_goes_on_to_the_result_of_an_undisturbed_one() {
    kill_everywhere(SAMPLE);
}

#[test]
#[ignore = "takes minutes: see CONTRIBUTING.md"]
fn killed_at_every_system_call_a_run_goes_on_to_the_result_of_an_undisturbed_one() {
    kill_everywhere(usize::MAX);
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

fn kill_everywhere(many: usize) {
    if !strace::is_usable() {
        return;
    }
    let five = FiveChunks::new();
    let reference = five.out("reference");
    let server = Server::start("");
    let points = strace::points(&five.command(&server, &reference), FILES_AND_SOCKETS, five.dir());
    assert!(points.len() > 500, "{}", points.len());
    let all = points.len();
    let points = strace::spread(points, many);
    // A point that a run has not come to, since its threads took turns in another way, is tried again.
    let (killed, missed) =
        strace::at_each(&points, |point| (0..3).any(|_| kill_and_go_on(&five, &reference, point)));
    eprintln!("{killed} kills at {} of {all} points; no run came to {missed:#?}", points.len());
    // The last calls of a process may be made or not, as its threads end.
    assert!(killed * 10 >= points.len() * 9, "{killed} of {} points were reached", points.len());
}
