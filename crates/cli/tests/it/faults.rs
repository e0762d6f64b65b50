//! The ten faults that the usual clients are measured by, each met by a whole run over TCP.

use std::net::TcpListener;

use serde_json::json;

use crate::server::{Job, Server, run};

/// What a run of three chunks comes to whose second request meets this fault: exit code, states of the chunks in
/// alphabetical order, attempts of all chunks together, possible orphans.
struct Row {
    name: &'static str,
    fault: String,
    exit: i32,
    states: [&'static str; 3],
    attempts: u64,
    possible_orphans: u64,
}

fn rows(elsewhere: &TcpListener) -> Vec<Row> {
    let away = format!("http://{}/crm/v2/upload", elsewhere.local_addr().unwrap());
    let row = |name, fault: &str, attempts, possible_orphans| Row {
        name,
        fault: fault.to_owned(),
        exit: 0,
        states: ["uploaded"; 3],
        attempts,
        possible_orphans,
    };
    vec![
        row("200 and HTML", "{ html = {} }", 4, 1),
        row("200 and JSON cut short", "{ cut_answer = {} }", 4, 1),
        row("a success without file_id", "\"no_file_id\"", 4, 1),
        Row {
            exit: 6,
            states: ["failed", "uploaded", "uploaded"],
            ..row("200 and an error", r#"{ answer = { status = 200, code = "INVALID_FILE_FORMAT" } }"#, 3, 0)
        },
        row("401 INVALID_TOKEN", r#"{ answer = { status = 401, code = "INVALID_TOKEN" } }"#, 4, 0),
        row("429", r#"{ answer = { status = 429, code = "TOO_MANY_REQUESTS", retry_after = 1 } }"#, 4, 0),
        row("503 without a body", "{ answer = { status = 503 } }", 4, 0),
        row("20 s of silence", "{ slow_answer = { seconds = 20 } }", 3, 0),
        Row {
            exit: 6,
            states: ["failed", "pending", "uploaded"],
            ..row("307 to elsewhere", &format!("{{ redirect = {{ location = {away:?} }} }}"), 2, 0)
        },
        // So small a body had left for the system's buffers as a whole: nobody can know how much of it came.
        row("a reset within the body", "{ reset = { at_byte = 200 } }", 4, 1),
    ]
}

#[test]
fn ten_of_ten_faults_end_in_the_right_manifest() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let right = |row: &Row| {
        let job = Job::new(30);
        let server = Server::start(&format!("[[rule]]\nrequest = 2\nfault = {}\n", row.fault));
        let mut command = job.command("run");
        let (code, _, stderr) =
            run(server.point(&mut command).args(["--concurrency", "1", "--keep-archives"]));
        let about = format!("{}: {stderr}", row.name);
        assert_eq!(code, Some(row.exit), "{about}");
        // Whichever archive was built first was sent first.
        let mut states = job.states(false);
        states.sort_unstable();
        assert_eq!(states, row.states, "{about}");
        let manifest = job.manifest(false);
        let chunks = manifest["chunks"].as_array().unwrap();
        let attempts = chunks.iter().map(|chunk| chunk["upload"]["attempts"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(attempts, row.attempts, "{about}");
        assert_eq!(manifest["totals"]["possible_orphans"], json!(row.possible_orphans), "{about}");
        // Each file_id names the body of its own chunk.
        let bodies = server.bodies();
        for chunk in chunks {
            if let Some(file_id) = chunk["upload"]["file_id"].as_str() {
                let archive = job.out(false).join("archives").join(chunk["name"].as_str().unwrap());
                assert!(bodies[file_id] == std::fs::read(archive).unwrap(), "{about}");
            }
        }
        let orphans = server.kept() - row.states.iter().filter(|state| **state == "uploaded").count();
        assert!(orphans as u64 <= row.possible_orphans, "{about}");
    };
    std::thread::scope(|scope| {
        let rows = rows(&elsewhere);
        assert_eq!(rows.len(), 10);
        for row in rows {
            scope.spawn(move || right(&row));
        }
    });
    let nobody = elsewhere.accept().map(|(_, address)| address).map_err(|error| error.kind());
    assert_eq!(nobody, Err(std::io::ErrorKind::WouldBlock), "nothing goes where a redirect points");
}
