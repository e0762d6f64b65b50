//! Real kills: SIGKILL at random times, and the same command again until it ends.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use crate::server::{Job, Server, run};

/// Kills in a run of all tests; the full count is named in CONTRIBUTING.md.
fn kills() -> u32 {
    std::env::var("ZBULK_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(15)
}

#[test]
fn killed_at_any_time_a_run_goes_on_to_the_result_of_an_undisturbed_one() {
    // Slow enough that kills meet every part of the way.
    let faults = "[[rule]]\nprobability = 0.1\nfault = { answer = { status = 503 } }\n\n\
                  [[rule]]\nprobability = 0.5\nfault = { slow_answer = { seconds = 0.02 } }\n";
    let server = Server::start(faults);
    let token = server.access_token();
    let command = |job: &Job| {
        let mut command = job.command("run");
        server.point(&mut command).env("ZOHO_ACCESS_TOKEN", &token);
        command
    };
    let mut state = 88_172_645_463_325_252_u64;
    let mut left = kills();
    while left > 0 {
        let job = Job::new(400);
        loop {
            let mut child = command(&job).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // The time of the kill is what the test varies, not something that it waits for.
            std::thread::sleep(Duration::from_millis(state % 400));
            child.kill().unwrap();
            if child.wait().unwrap().success() {
                break;
            }
            left = left.saturating_sub(1);
            if left == 0 {
                let (code, _, stderr) = run(&mut command(&job));
                assert_eq!(code, Some(0), "{stderr}");
                break;
            }
        }
        assert_eq!(job.states(false), ["uploaded"; 40]);
        let manifest = job.manifest(false);
        let chunks = manifest["chunks"].as_array().unwrap();
        let ids: BTreeSet<&str> =
            chunks.iter().map(|chunk| chunk["upload"]["file_id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 40);
        for chunk in chunks {
            let kept = server.body(chunk["upload"]["file_id"].as_str().unwrap());
            assert_eq!(kept.len() as u64, chunk["archive_bytes"].as_u64().unwrap(), "{}", chunk["name"]);
        }
        let (code, stdout, stderr) = run(&mut job.command("verify"));
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        let orphans = manifest["totals"]["possible_orphans"].as_u64().unwrap();
        let kept = server.kept_now();
        assert!(kept <= 40 + orphans, "{kept} bodies for 40 chunks and {orphans} possible orphans");
    }
}
