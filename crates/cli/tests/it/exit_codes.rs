//! Every exit code of the README, reached as a user would reach it.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::server::{Job, Server, run, zbulk};

#[test]
fn code_0_the_job_is_done() {
    let job = Job::new(5);
    assert_eq!(run(job.command("run").arg("--sandbox")).0, Some(0));
}

#[test]
fn code_1_the_file_system_fails() {
    let job = Job::new(5);
    // A directory stands where the manifest must go.
    std::fs::create_dir_all(job.out(true).join("manifest.json/x")).unwrap();
    let (code, _, stderr) = run(job.command("run").arg("--sandbox"));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("manifest") && stderr.contains("run the same command again"), "{stderr}");
    std::fs::remove_dir_all(job.out(true).join("manifest.json")).unwrap();
    assert_eq!(run(job.command("run").arg("--sandbox")).0, Some(0));
}

#[test]
fn code_2_something_is_missing() {
    let job = Job::new(5);
    let (code, _, stderr) = run(&mut job.command("run"));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("ZOHO_REFRESH_TOKEN") && stderr.contains("--org"), "{stderr}");
    std::fs::remove_file(job.path().join("things.csv")).unwrap();
    let (code, _, stderr) = run(job.command("run").arg("--sandbox"));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("there is no file") && stderr.contains("things.csv"), "{stderr}");
    assert!(!job.out(true).exists(), "nothing is left behind");
    assert_eq!(run(zbulk().arg("--no-such-flag")).0, Some(2));
}

#[test]
fn code_3_an_input_is_wrong_and_nothing_is_sent() {
    let job = Job::new(5);
    job.write("things.csv", "Id,Name\n1,a\n2\n");
    let server = Server::start("");
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("things.csv") && stderr.contains("wrong-field-count"), "{stderr}");
    assert_eq!(server.kept(), 0);
    assert!(!job.out(false).exists(), "nothing is left behind");
}

#[test]
fn code_4_the_credentials_are_wrong() {
    let job = Job::new(5);
    let server = Server::start("");
    let (code, _, stderr) =
        run(server.point(&mut job.command("run")).env("ZOHO_REFRESH_TOKEN", "1000.canary.wrong"));
    assert_eq!(code, Some(4), "{stderr}");
    assert!(!stderr.contains("canary"), "{stderr}");
}

#[test]
fn code_5_running_again_can_help() {
    let job = Job::new(25);
    let server = Server::start("[[rule]]\nfrom = 2\nto = 1000\nfault = { answer = { status = 503 } }\n");
    let (code, _, stderr) = run(server.point(job.command("run").args(["--max-wait", "1s"])));
    assert_eq!(code, Some(5), "{stderr}");
    assert!(
        stderr.trim_end().lines().last().unwrap().contains("zbulk run"),
        "the last line goes on: {stderr}"
    );
    let better = Server::start_after("", "222222000000000001");
    let (code, _, stderr) = run(better.point(&mut job.command("run")));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(job.states(false), ["uploaded"; 3]);
    assert_eq!(server.kept() + better.kept() - 1, 3, "nothing twice");
}

#[test]
fn code_6_the_run_is_refused_for_good() {
    let job = Job::new(5);
    let server = Server::start("[[rule]]\nfault = { redirect = {} }\n");
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(6), "{stderr}");
}

#[test]
fn code_7_the_inputs_are_others_or_the_journal_is_damaged() {
    let job = Job::new(5);
    assert_eq!(run(job.command("run").arg("--sandbox")).0, Some(0));
    let things = std::fs::read_to_string(job.path().join("things.csv")).unwrap();
    job.write("things.csv", things.replace("thing, 3", "thing, 9"));
    let (code, _, stderr) = run(job.command("run").arg("--sandbox"));
    assert_eq!(code, Some(7), "{stderr}");
    assert!(stderr.contains("the same length, other content"), "{stderr}");
    job.write("things.csv", things);
    let (code, _, stderr) = run(job.command("run").args(["--sandbox", "--level", "1"]));
    assert_eq!(code, Some(7), "{stderr}");
    assert!(stderr.contains("level: 6 in the journal, 1 now"), "{stderr}");
    let journal = job.out(true).join("journal.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, text.replacen("Things", "things", 1)).unwrap();
    let (code, _, stderr) = run(job.command("run").arg("--sandbox"));
    assert_eq!(code, Some(7), "{stderr}");
    assert!(stderr.contains("journal.jsonl:1"), "{stderr}");
}

#[test]
fn code_8_another_process_works_here() {
    let job = Job::new(5);
    std::fs::create_dir(job.out(true)).unwrap();
    let lock = std::fs::File::create(job.out(true).join("lock")).unwrap();
    lock.lock().unwrap();
    let (code, _, stderr) = run(job.command("run").arg("--sandbox"));
    assert_eq!(code, Some(8), "{stderr}");
    drop(lock);
    assert_eq!(run(job.command("run").arg("--sandbox")).0, Some(0));
}

#[test]
fn codes_130_and_143_the_run_is_interrupted_and_goes_on_later() {
    for (signal, expected) in [("INT", 130), ("TERM", 143)] {
        let job = Job::new(40);
        // The second request gets no answer for a long time.
        let server = Server::start("[[rule]]\nrequest = 2\nfault = { stall = { seconds = 60 } }\n");
        let child = server
            .point(job.command("run").args(["--concurrency", "1"]))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The journal says when the second attempt is under way.
        let journal = job.out(false).join("journal.jsonl");
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::fs::read_to_string(&journal).unwrap_or_default().matches("\"attempt\"").count() < 4 {
            assert!(Instant::now() < deadline, "the second attempt never began");
            std::thread::sleep(Duration::from_millis(5));
        }
        let kill = std::process::Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        let signalled = Instant::now();
        let output = crate::silence::of(child.wait_with_output().unwrap());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{stderr}");
        assert!(signalled.elapsed() < Duration::from_secs(40), "the stall was not waited for");
        assert!(
            stderr.trim_end().lines().last().unwrap().contains("zbulk run"),
            "the last line goes on: {stderr}"
        );
        let manifest = job.manifest(false);
        assert_eq!(manifest["run"]["exit"], expected);
        let (code, _, stderr) = run(server.point(&mut job.command("run")));
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(job.states(false), ["uploaded"; 4]);
        let orphans = job.manifest(false)["totals"]["possible_orphans"].as_u64().unwrap();
        assert!(orphans <= 1 && server.kept() as u64 <= 4 + orphans);
    }
}

#[test]
fn what_a_run_writes_is_for_its_owner_alone() {
    let job = Job::new(5);
    assert_eq!(run(job.command("run").args(["--sandbox", "--keep-archives"])).0, Some(0));
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let out = job.out(true);
    assert_eq!(mode(&out), 0o700);
    for name in ["journal.jsonl", "manifest.json", "manifest.csv", "lock", "archives/Things-00001.zip"] {
        assert_eq!(mode(&out.join(name)), 0o600, "{name}");
    }
}
