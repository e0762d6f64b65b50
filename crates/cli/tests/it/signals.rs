//! What closed pipes and lost terminals do to commands: nothing. What a second Ctrl-C does: it leaves at once.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::{Job, Server, run};
use crate::workbench::Workbench;

fn send(signal: &str, child: &Child) {
    let kill = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
}

/// Waits until the journal holds so many attempts.
pub(crate) fn wait_for_attempts(out: &Path, attempts: usize) {
    let deadline = Instant::now() + Duration::from_mins(1);
    let journal = || std::fs::read_to_string(out.join("journal.jsonl")).unwrap_or_default();
    while journal().matches("\"event\":\"attempt\"").count() < attempts {
        assert!(Instant::now() < deadline, "attempt {attempts} never began");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_closed_standard_error_is_no_failure() {
    let bench = Workbench::new().file("c.csv", "A\n");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = bench.command(&["check", "--module", "Contacts", "--csv", "c.csv"]);
    // The header alone is warned of, into the closed pipe.
    let output = command.stdout(Stdio::piped()).stderr(writer).spawn().unwrap().wait_with_output().unwrap();
    let told = bench.told(&output);
    assert_eq!(told.code, 0);
    assert!(told.out.contains("to send: 0 records"), "{}", told.out);
}

#[test]
fn help_into_a_closed_pipe_is_no_failure() {
    let bench = Workbench::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        bench.command(&["man"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output();
    let told = bench.told(&output.unwrap());
    assert_eq!((told.code, told.err.as_str()), (0, ""));
}

#[test]
fn a_lost_terminal_and_closed_pipes_do_not_disturb_a_run() {
    let job = Job::new(40);
    let server = Server::start("[[rule]]\nrequest = 2\nfault = { stall = { seconds = 1 } }\n");
    let mut command = job.command("run");
    server.point(&mut command).args(["--concurrency", "1", "--progress", "always"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Nobody reads any more, as after `zbulk run | head`.
    drop((child.stdout.take(), child.stderr.take()));
    wait_for_attempts(&job.out(false), 2);
    send("HUP", &child);
    send("PIPE", &child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(job.states(false), ["uploaded"; 4]);
    assert_eq!((job.manifest(false)["run"]["exit"].as_i64(), server.kept()), (Some(0), 4));
}

#[test]
fn a_second_signal_leaves_at_once_and_the_last_line_goes_on() {
    let job = Job::new(40);
    for (second, code) in [("INT", 130), ("TERM", 143)] {
        // The first request is in flight until the second signal: with one at a time, there is no other.
        let server = Server::start("[[rule]]\nrequest = 1\nfault = { stall = { seconds = 600 } }\n");
        let mut command = job.command("run");
        let out = job.path().join(second);
        server.point(&mut command).args(["--concurrency", "1", "--out"]).arg(&out);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for_attempts(&out, 1);
        send("INT", &child);
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines().map(|line| line.unwrap());
        told.find(|line| line.contains("press Ctrl-C again to leave at once")).unwrap();
        send(second, &child);
        let last = told.last().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(last.contains("run the same command again to go on: zbulk run "), "{last}");
        let mut again = job.command("run");
        let (code, _, stderr) = run(server.point(&mut again).arg("--out").arg(&out));
        assert_eq!(code, Some(0), "{stderr}");
    }
}

#[test]
fn a_signal_in_the_scan_leaves_nothing_behind() {
    let job = Job::new(0);
    let mut command = job.command("run");
    command.arg("--sandbox");
    let toml = std::fs::read_to_string(job.path().join("zbulk.toml")).unwrap();
    job.write("zbulk.toml", toml.replace("things.csv", "-"));
    // Standard input does not end, and so does not the scan.
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    // Signals are heard before the directory is there.
    while !job.out(true).join("lock").exists() {
        assert!(Instant::now() < deadline, "it never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    let input = child.stdin.take();
    send("TERM", &child);
    let output = crate::silence::of(child.wait_with_output().unwrap());
    drop(input);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(143), "{stderr}");
    assert!(stderr.contains("interrupted by SIGTERM; nothing was sent"), "{stderr}");
    assert!(stderr.trim_end().lines().last().unwrap().contains("zbulk run "), "{stderr}");
    assert!(!job.out(true).exists());
}
