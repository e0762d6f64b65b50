//! What a run costs that has nothing left to do, and what can be told of a run whose inputs are gone.

use std::process::Stdio;

use crate::server::{Job, Server, run, zbulk};
use crate::signals::wait_for_attempts;

#[test]
fn with_nothing_to_do_a_run_says_so_after_a_look_at_the_fingerprints_alone() {
    let job = Job::new(25);
    let server = Server::start("");
    assert_eq!(run(server.point(&mut job.command("run"))).0, Some(0));
    let manifest = job.manifest(false);
    for _ in 0..2 {
        let (code, stdout, stderr) = run(server.point(&mut job.command("run")));
        assert_eq!(code, Some(0), "{stderr}");
        assert!(
            stderr
                .contains("nothing to send: every chunk has its file_id, and the inputs are what they were"),
            "{stderr}"
        );
        assert!(stdout.contains("3 chunks: 3 uploaded"), "{stdout}");
    }
    assert_eq!((job.manifest(false)["chunks"].clone(), server.kept()), (manifest["chunks"].clone(), 3));

    // What the fingerprints do not settle is settled by a scan, and told in its words.
    let things = std::fs::read_to_string(job.path().join("things.csv")).unwrap();
    job.write("things.csv", things.replacen("\"thing, 7\"", "\"thing, 8\"", 1));
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(7), "{stderr}");
    assert!(stderr.contains("the same length, other content"), "{stderr}");
    job.write("things.csv", &things);
    let (code, _, stderr) = run(server.point(job.command("run").args(["--max-csv-bytes", "none"])));
    assert_eq!(code, Some(7), "{stderr}");
    assert!(stderr.contains("limits.max_csv_bytes: 25000000 in the journal, null now"), "{stderr}");
    std::fs::remove_file(job.path().join("things.csv")).unwrap();
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(2), "{stderr}");
    assert_eq!(server.kept(), 3);
}

#[test]
fn what_is_missing_of_the_rejects_is_written_again() {
    let job = Job::new(5);
    let things = std::fs::read_to_string(job.path().join("things.csv")).unwrap();
    job.write("things.csv", things + "6,one,too many\n");
    let command = || {
        let mut command = job.command("run");
        command.args(["--sandbox", "--rejects", "set-aside"]);
        command
    };
    assert_eq!(run(&mut command()).0, Some(0));
    let rejects = job.out(true).join("rejects/Things.csv");
    let before = std::fs::read(&rejects).unwrap();
    std::fs::remove_file(&rejects).unwrap();
    let (code, _, stderr) = run(&mut command());
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(std::fs::read(&rejects).unwrap(), before);
    let (_, _, stderr) = run(&mut command());
    assert!(stderr.contains("the inputs are what they were"), "{stderr}");
}

#[test]
fn status_tells_all_of_a_run_whose_inputs_are_gone() {
    let job = Job::new(60);
    let server = Server::start(
        "[[rule]]\nrequest = 2\nfault = { answer = { code = \"INVALID_FILE_FORMAT\" } }\n\n\
         [[rule]]\nrequest = 4\nfault = \"lose_answer\"\n\n\
         [[rule]]\nfrom = 5\nto = 1000\nfault = { answer = { status = 503 } }\n",
    );
    let mut command = job.command("run");
    server.point(&mut command).args(["--concurrency", "1", "--max-wait", "1s"]);
    let (code, table, stderr) = run(&mut command);
    assert_eq!(code, Some(5), "{stderr}");
    for name in ["things.csv", "zbulk.toml"] {
        std::fs::remove_file(job.path().join(name)).unwrap();
    }
    let status = || {
        let mut command = zbulk();
        command.arg("status").arg("--out").arg(job.out(false));
        command
    };
    let (code, told, stderr) = run(&mut status());
    assert_eq!((code, told.as_str()), (Some(0), table.as_str()), "{stderr}");
    for part in [
        ".zip failed: the server refuses the archive: 400",
        "60 records in, 60 packed, 0 rejected; 6 chunks: 2 uploaded",
        "1 attempt without an answer may have left a file there that no chunk knows",
        "to Zoho us, org ",
    ] {
        assert!(told.contains(part), "{part:?} is missing: {told}");
    }
    // As JSON it is the manifest.
    let (code, json, stderr) = run(status().arg("--json"));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), job.manifest(false));
}

#[test]
fn status_is_told_beside_a_run_that_goes_on_and_after_one_that_was_killed() {
    let job = Job::new(40);
    let server = Server::start("[[rule]]\nrequest = 2\nfault = { stall = { seconds = 600 } }\n");
    let mut command = job.command("run");
    server.point(&mut command).args(["--concurrency", "1"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for_attempts(&job.out(false), 2);
    let told = "40 records in, 40 packed, 0 rejected; 4 chunks: 1 uploaded, 2 pending, 1 unknown";
    let (code, stdout, stderr) = run(&mut job.command("status"));
    child.kill().unwrap();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains(told), "{stdout}");
    child.wait().unwrap();
    let (code, stdout, stderr) = run(&mut job.command("status"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains(told), "{stdout}");
}
