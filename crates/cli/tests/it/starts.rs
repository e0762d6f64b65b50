//! Many processes that start on one directory at the same time.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::five_chunks::FiveChunks;
use crate::outcome::{History, verify_dir};
use crate::server::Server;

/// Processes that start at once.
const STARTS: usize = 50;

/// Rounds of the whole test.
const ROUNDS: u32 = 20;

#[test]
fn of_fifty_simultaneous_starts_one_runs_and_the_others_say_who() {
    let begun = Instant::now();
    let rounds = (0..ROUNDS).take_while(|&round| {
        let goes_on = round == 0 || begun.elapsed() < Duration::from_secs(10);
        if goes_on {
            start_together(round);
        }
        goes_on
    });
    eprintln!("{} rounds", rounds.count());
}

#[test]
#[ignore = "takes a minute: see CONTRIBUTING.md"]
fn twenty_times_of_fifty_simultaneous_starts_one_runs_and_the_others_say_who() {
    (0..ROUNDS).for_each(start_together);
}

fn start_together(round: u32) {
    let five = FiveChunks::new();
    let server = Server::start("");
    let (out, go) = (five.out("together"), five.out("go"));
    let token =
        format!("until [ -e '{}' ]; do sleep 0.02; done; echo {}", go.display(), server.access_token());
    // Whoever runs waits for its token until all others have ended.
    let mut command = five.command(&server, &out);
    for name in ["ZOHO_CLIENT_ID", "ZOHO_CLIENT_SECRET", "ZOHO_REFRESH_TOKEN"] {
        command.env_remove(name);
    }
    command.env("ZBULK_TOKEN_COMMAND", token).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running: Vec<Child> = (0..STARTS).map(|_| command.spawn().unwrap()).collect();
    let deadline = Instant::now() + Duration::from_mins(2);
    let mut told = Vec::new();
    while told.len() < STARTS - 1 {
        assert!(Instant::now() < deadline, "round {round}: {} of {STARTS} still run", running.len());
        let mut still = Vec::new();
        for mut child in running {
            if child.try_wait().unwrap().is_none() {
                still.push(child);
            } else {
                let output = crate::silence::of(child.wait_with_output().unwrap());
                told.push((output.status.code(), String::from_utf8(output.stderr).unwrap()));
            }
        }
        running = still;
        std::thread::sleep(Duration::from_millis(5));
    }
    for (code, stderr) in &told {
        assert_eq!(*code, Some(8), "round {round}: {stderr}");
        assert!(stderr.contains("another zbulk works in"), "round {round}: {stderr}");
    }
    std::fs::write(&go, "").unwrap();
    let [one]: [Child; 1] = running.try_into().unwrap();
    let runner = format!("process {}", one.id());
    let output = crate::silence::of(one.wait_with_output().unwrap());
    assert_eq!(output.status.code(), Some(0), "round {round}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(told.iter().any(|(_, stderr)| stderr.contains(&runner)), "round {round}: nobody names {runner}");
    five.expected.hold(&out, &server, &History::default(), &format!("round {round}"));
    assert_eq!(server.kept(), 5, "round {round}");
    verify_dir(&out, &format!("round {round}"));
}
