//! Real kills: SIGKILL at random times of a parallel run on a bad network, and the same command again until it ends.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::outcome::{Expected, History, verify};
use crate::server::{Job, Server, run};

/// Every twentieth request goes wrong, each way differently, and the others take their time.
pub(crate) const FAULTS: &str = r#"
[[rule]]
probability = 0.02
fault = { answer = { status = 503 } }

[[rule]]
probability = 0.01
fault = "lose_answer"

[[rule]]
probability = 0.01
fault = { reset = { at_byte = 200 } }

[[rule]]
probability = 0.005
fault = { cut_answer = { break_off = true } }

[[rule]]
probability = 0.005
fault = "no_file_id"

[[rule]]
probability = 0.5
fault = { slow_answer = { seconds = 0.1 } }
"#;

/// Kills in a run of all tests; the full count is named in CONTRIBUTING.md.
fn kills() -> u32 {
    std::env::var("ZBULK_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(15)
}

pub(crate) fn command(job: &Job, server: &Server, token: &str, out: &Path) -> Command {
    let mut command = job.command("run");
    server.point(&mut command).env("ZOHO_ACCESS_TOKEN", token);
    command.arg("--out").arg(out).args(["--concurrency", "8"]);
    command
}

#[test]
fn killed_at_any_time_a_run_goes_on_to_the_result_of_an_undisturbed_one() {
    let job = Job::new(2000);
    let undisturbed = job.path().join("undisturbed");
    let server = Server::start("");
    let (code, _, stderr) =
        run(command(&job, &server, &server.access_token(), &undisturbed).arg("--keep-archives"));
    assert_eq!(code, Some(0), "{stderr}");
    let expected = Expected::of(&undisturbed);

    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut left, mut runs) = (kills(), 0);
    while left > 0 {
        runs += 1;
        let server = Server::start(FAULTS);
        // One for all kills: the server gives ten in ten minutes.
        let token = server.access_token();
        let out = job.path().join(format!("run-{runs}"));
        let log = job.path().join("stderr.txt");
        let mut history = History::default();
        let mut killed = 0;
        loop {
            let mut child = command(&job, &server, &token, &out)
                .stdout(Stdio::null())
                .stderr(File::create(&log).unwrap())
                .spawn()
                .unwrap();
            if left > 0 {
                // The time of the kill is what the test varies, not something that it waits for.
                std::thread::sleep(Duration::from_millis(random() % 1000));
                child.kill().unwrap();
            }
            let status = child.wait().unwrap();
            if status.success() {
                break;
            }
            let stderr = std::fs::read_to_string(&log).unwrap();
            assert_eq!(status.signal(), Some(9), "{status} after {killed} kills: {stderr}");
            killed += 1;
            left = left.saturating_sub(1);
            history.note(&out);
            expected.hold_names(&out, &format!("run {runs}, kill {killed}"));
        }
        let about = format!("run {runs}, {killed} kills");
        expected.hold(&out, &server, &history, &about);
        verify(job.command("verify").arg("--out").arg(&out), &about);
        std::fs::remove_dir_all(&out).unwrap();
    }
    eprintln!("{} kills in {runs} runs", kills());
}
