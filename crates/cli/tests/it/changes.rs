//! A run goes on only with what it began with: other inputs, settings, targets and later formats are refused with 7,
//! naming what differs, and nothing is sent and nothing in the directory changes.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::Value;

use crate::server::{Job, Server, run};

/// Everything in a directory.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        // Who holds the lock, and when tokens were fetched, is of each start.
        .filter(|path| {
            path.is_file() && !path.ends_with("lock") && !path.to_str().unwrap().contains("refresh")
        })
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// A job of 5 chunks of which one was refused, so that there is something left to send.
fn unfinished(server: &Server) -> Job {
    let job = Job::new(50);
    let (code, _, stderr) = run(server.point(job.command("run").args(["--concurrency", "1"])));
    assert_eq!(code, Some(6), "{stderr}");
    assert_eq!(job.states(false).iter().filter(|state| *state == "uploaded").count(), 4);
    job
}

const REFUSED: &str = "[[rule]]\nrequest = 4\nfault = { answer = { code = \"INVALID_FILE_FORMAT\" } }\n";

/// Runs a command that must be refused because of `what`.
fn refused(job: &Job, server: &Server, command: &mut Command, what: &str) {
    let before = (files(&job.out(false)), server.kept());
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, Some(7), "{what}: {stdout}{stderr}");
    assert!(stderr.contains(what), "{what}: {stderr}");
    assert!((files(&job.out(false)), server.kept()) == before, "{what}: nothing is sent, nothing changes");
}

#[test]
fn an_input_that_was_changed_is_refused_also_with_its_size_and_times_kept() {
    let server = Server::start(REFUSED);
    let job = unfinished(&server);
    let path = job.path().join("things.csv");
    let (bytes, metadata) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
    let restore = || {
        fs::write(&path, &bytes).unwrap();
        let times = FileTimes::new()
            .set_accessed(metadata.accessed().unwrap())
            .set_modified(metadata.modified().unwrap());
        File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    };
    let other = String::from_utf8(bytes.clone()).unwrap().replace("thing, 33", "thing, 99");
    fs::write(&path, &other).unwrap();
    let times = FileTimes::new().set_modified(metadata.modified().unwrap());
    File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    let now = fs::metadata(&path).unwrap();
    assert_eq!((now.len(), now.modified().unwrap()), (metadata.len(), metadata.modified().unwrap()));
    refused(&job, &server, server.point(&mut job.command("run")), "the same length, other content");
    refused(&job, &server, &mut job.command("pack"), "the same length, other content");
    refused(&job, &server, &mut job.command("verify"), "the same length, other content");

    fs::write(&path, [&bytes[..], b"51,x\n"].concat()).unwrap();
    let what = format!(
        "input Things (`{}`): {} bytes in the journal, {} now",
        path.display(),
        bytes.len(),
        bytes.len() + 5
    );
    refused(&job, &server, server.point(&mut job.command("run")), &what);

    // Written anew, with other times, it is what it was.
    restore();
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(server.kept(), 5);
}

#[test]
fn other_settings_and_targets_are_refused_and_what_decides_nothing_may_differ() {
    let server = Server::start(REFUSED);
    let job = unfinished(&server);
    for (arguments, what) in [
        (&["--level", "9"][..], "level: 6 in the journal, 9 now"),
        (&["--chunk-records", "11"], "limits.chunk_records: 10 in the journal, 11 now"),
        (&["--max-csv-bytes", "none"], "limits.max_csv_bytes: 25000000 in the journal, null now"),
        (
            &["--max-archive-bytes", "20000000"],
            "limits.max_archive_bytes: 25000000 in the journal, 20000000 now",
        ),
        (&["--rejects", "set-aside"], "rejects: \"stop\" in the journal, \"set-aside\" now"),
    ] {
        refused(&job, &server, server.point(job.command("run").args(arguments)), what);
    }
    let toml = fs::read_to_string(job.path().join("zbulk.toml")).unwrap();
    for (from, to, what) in [
        ("module = \"Things\"", "module = \"Parts\"", "modules: Things in the journal, Parts now"),
        ("key = \"Id\"", "key = \"Name\"", "imports[1].parent.key: \"Id\" in the journal, \"Name\" now"),
    ] {
        job.write("zbulk.toml", toml.replace(from, to));
        refused(&job, &server, server.point(&mut job.command("run")), what);
    }
    job.write("zbulk.toml", &toml);

    for (arguments, what) in
        [(&["--sandbox"][..], "target: Zoho us, org"), (&["--dc", "eu"], "in the journal, Zoho eu, org")]
    {
        for command in ["run", "upload"] {
            let mut command = job.command(command);
            command.args(arguments).arg("--out").arg(job.out(false));
            if arguments != ["--sandbox"] {
                server.point(&mut command);
            }
            refused(&job, &server, &mut command, what);
        }
    }
    let mut command = Command::new("true");
    let arguments: Vec<String> =
        server.point(&mut command).get_args().map(|argument| argument.to_str().unwrap().to_owned()).collect();
    let org = arguments.iter().position(|argument| argument == "--org").unwrap() + 1;
    let mut other = job.command("run");
    other.args(&arguments[..org]).arg("77777777").env("ZOHO_ACCESS_TOKEN", server.access_token());
    refused(&job, &server, &mut other, "now");

    let free = [
        "--concurrency",
        "7",
        "--memory",
        "64MiB",
        "--threads",
        "1",
        "--max-wait",
        "5m",
        "--bwlimit",
        "50MB",
    ];
    let (code, _, stderr) = run(server.point(job.command("run").args(free)));
    assert_eq!(code, Some(0), "{stderr}");
}

/// A journal with its lines changed and its checksums as they must be then.
fn rewritten(journal: &[u8], mut change: impl FnMut(&mut Value)) -> Vec<u8> {
    let (mut written, mut sum) = (Vec::new(), 0);
    for line in journal.split_inclusive(|&byte| byte == b'\n') {
        let mut line: Value = serde_json::from_slice(line).unwrap();
        line.as_object_mut().unwrap().remove("sum");
        change(&mut line);
        let body = line.to_string();
        let body = &body[..body.len() - 1];
        sum = xxhash_rust::xxh3::xxh3_64_with_seed(body.as_bytes(), sum);
        writeln!(written, "{body},\"sum\":\"{sum:016x}\"}}").unwrap();
    }
    written
}

#[test]
fn a_journal_of_a_later_format_is_refused_by_every_command() {
    let server = Server::start(REFUSED);
    let job = unfinished(&server);
    let path = job.out(false).join("journal.jsonl");
    let journal = fs::read(&path).unwrap();
    let header = rewritten(&journal, |line| {
        if line["event"] == "header" {
            line["format"] = 2.into();
            line.as_object_mut().unwrap().remove("limits");
        }
    });
    let resumed = rewritten(&journal, |line| {
        if line["event"] == "finished" {
            line["event"] = "resumed".into();
            line["format"] = 7.into();
        }
    });
    for (journal, format) in [(header, 2), (resumed, 7)] {
        fs::write(&path, journal).unwrap();
        let what = format!("was written by a newer zbulk: its format is {format}, the highest known is 1");
        for command in ["run", "upload"] {
            refused(&job, &server, server.point(&mut job.command(command)), &what);
        }
        for command in ["pack", "status", "verify"] {
            refused(&job, &server, &mut job.command(command), &what);
        }
    }
    // The rewriting itself is not what is refused.
    fs::write(&path, rewritten(&journal, |_| {})).unwrap();
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn archives_that_come_out_with_other_bytes_but_the_same_records_are_noted_journaled_and_sent() {
    let server = Server::start(REFUSED);
    let job = unfinished(&server);
    let path = job.out(false).join("journal.jsonl");
    let chunks = job.manifest(false)["chunks"].clone();
    let chunk = chunks.as_array().unwrap().iter().find(|chunk| chunk["upload"]["state"] == "failed").unwrap();
    // As another version of deflate would have packed it.
    let journal = fs::read(&path).unwrap();
    let other = rewritten(&journal, |line| {
        if line["event"] == "packed" && line["chunk"] == chunk["name"] {
            line["archive_sha256"] = "5".repeat(64).into();
            line["archive_bytes"] = 77.into();
        }
    });
    fs::write(&path, other).unwrap();
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(0), "{stderr}");
    let name = chunk["name"].as_str().unwrap();
    assert!(
        stderr.contains(&format!(
            "{name}: the same records as before, packed to other bytes; these are sent from now on"
        )),
        "{stderr}"
    );
    let after = job.manifest(false)["chunks"].clone();
    let after = after.as_array().unwrap().iter().find(|after| after["name"] == chunk["name"]).unwrap();
    assert_eq!(after["archive_sha256"], chunk["archive_sha256"], "it is journaled anew");
    assert_eq!(
        server.bodies()[after["upload"]["file_id"].as_str().unwrap()].len() as u64,
        after["archive_bytes"]
    );
    assert_eq!((server.kept(), job.states(false)), (5, vec!["uploaded".to_owned(); 5]));
}

#[test]
fn an_archive_that_comes_out_with_other_records_is_never_sent() {
    let server = Server::start(REFUSED);
    let job = unfinished(&server);
    let path = job.out(false).join("journal.jsonl");
    let other = rewritten(&fs::read(&path).unwrap(), |line| {
        if line["event"] == "packed" {
            line["entries"][0]["csv_xxh3_128"] = "0".repeat(32).into();
        }
    });
    fs::write(&path, other).unwrap();
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(7), "{stderr}");
    assert!(
        stderr.contains("does not come out as it was journaled: Things.csv holds other records"),
        "{stderr}"
    );
    assert_eq!(server.kept(), 4);
}

#[test]
fn a_last_line_that_is_lost_is_told_and_its_chunk_sent_again_as_a_possible_orphan() {
    let torn = |journal: &mut Vec<u8>, last: usize| journal.truncate(last + 30);
    let damaged = |journal: &mut Vec<u8>, last: usize| journal[last + 8] ^= 1;
    let told = [
        "the journal's last line was cut short by a crash and is dropped: 30 bytes",
        "warning: the journal's last line is damaged and is dropped",
    ];
    for (harm, told) in [torn as fn(&mut Vec<u8>, usize), damaged].into_iter().zip(told) {
        let server = Server::start("");
        let job = Job::new(30);
        assert_eq!(run(server.point(job.command("run").args(["--concurrency", "1"]))).0, Some(0));
        // As it was when the last outcome was recorded.
        let path = job.out(false).join("journal.jsonl");
        let mut journal = fs::read(&path).unwrap();
        let finished = journal[..journal.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
        journal.truncate(finished);
        let last = journal[..journal.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
        let uploaded: Value = serde_json::from_slice(&journal[last..]).unwrap();
        assert_eq!(uploaded["event"], "uploaded");
        harm(&mut journal, last);
        fs::write(&path, &journal).unwrap();

        let (code, stdout, stderr) = run(job.command("status").arg("--json"));
        assert_eq!(code, Some(0), "{stderr}");
        let status: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(
            (&status["totals"]["unknown"], &status["totals"]["possible_orphans"]),
            (&1.into(), &1.into())
        );
        assert_eq!(fs::read(&path).unwrap(), journal, "`status` changes nothing");

        let (code, _, stderr) = run(server.point(&mut job.command("run")));
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
        let id = uploaded["file_id"].as_str().unwrap();
        assert_eq!(
            stderr.contains(id),
            told.starts_with("warning"),
            "what can be read of it is told: {stderr}"
        );
        let manifest = job.manifest(false);
        assert_eq!((server.kept(), manifest["totals"]["possible_orphans"].as_u64()), (4, Some(1)));
        let journal = fs::read_to_string(&path).unwrap();
        let resumed = journal.lines().find(|line| line.contains("\"event\":\"resumed\"")).unwrap();
        let resumed: Value = serde_json::from_str(resumed).unwrap();
        assert!(resumed["dropped"].as_str().unwrap().starts_with("{\"n\":"), "{resumed}");
    }
}

/// Stands before a server and lets nothing through until it is opened.
struct Gate {
    address: std::net::SocketAddr,
    opened: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    fn before(server: std::net::SocketAddr) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Gate { address: listener.local_addr().unwrap(), opened: Arc::default() };
        let opened = Arc::clone(&gate.opened);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, opened) = (client.unwrap(), Arc::clone(&opened));
                std::thread::spawn(move || {
                    let (open, changed) = &*opened;
                    drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
                    let server = TcpStream::connect(server).unwrap();
                    let pipe = |mut from: TcpStream, mut to: TcpStream| {
                        // However it ends, the other side is to see an end.
                        drop(io::copy(&mut from, &mut to));
                        drop(to.shutdown(Shutdown::Write));
                    };
                    let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                    std::thread::spawn(move || pipe(back.0, back.1));
                    pipe(client, server);
                });
            }
        });
        gate
    }

    fn open(&self) {
        *self.opened.0.lock().unwrap() = true;
        self.opened.1.notify_all();
    }
}

#[test]
fn an_input_that_changes_while_the_run_goes_on_ends_it_before_a_changed_chunk_is_sent() {
    /// What happens to the input, by its last record.
    type Change = fn(&File, u64);
    let in_place: Change = |file, length| file.write_all_at(b"X", length - 3).unwrap();
    let shorter: Change = |file, length| file.set_len(length - 20).unwrap();
    for change in [in_place, shorter] {
        let job = Job::new(600);
        let server = Server::start("");
        let mut pointed = Command::new("true");
        let arguments: Vec<String> = server
            .point(&mut pointed)
            .get_args()
            .map(|argument| argument.to_str().unwrap().to_owned())
            .collect();
        let url = &arguments[arguments.iter().position(|argument| argument == "--upload-url").unwrap() + 1];
        let host = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
        let gate = Gate::before(host.parse().unwrap());
        let through = url.replace(host, &gate.address.to_string());
        let token = server.access_token();
        let mut command = job.command("run");
        command.args(arguments.iter().map(|argument| if argument == url { &through } else { argument }));
        command.args(["--concurrency", "1"]).env("ZOHO_ACCESS_TOKEN", &token);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();

        // With its first attempt the scan is over; and as long as the gate is closed, few archives are built ahead.
        let journal = job.out(false).join("journal.jsonl");
        while !fs::read_to_string(&journal).unwrap_or_default().contains("\"attempt\"") {
            assert!(child.try_wait().unwrap().is_none(), "the run has ended");
            std::thread::yield_now();
        }
        let path = job.path().join("things.csv");
        let original = fs::read(&path).unwrap();
        change(&File::options().write(true).open(&path).unwrap(), original.len() as u64);
        gate.open();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(7), "{stderr}");
        assert!(stderr.contains("things.csv") && stderr.contains("changed since it was scanned"), "{stderr}");
        let states = job.states(false);
        let sent = states.iter().filter(|state| *state != "pending").count();
        assert!((1..30).contains(&sent), "{states:?}");

        // What was sent before is of the original; with that back in its place the run goes on.
        fs::write(&path, &original).unwrap();
        let (code, _, stderr) = run(server.point(&mut job.command("run")).env("ZOHO_ACCESS_TOKEN", &token));
        assert_eq!(code, Some(0), "{stderr}");
        let manifest = job.manifest(false);
        let mut records = BTreeSet::new();
        for chunk in manifest["chunks"].as_array().unwrap() {
            let body = &server.bodies()[chunk["upload"]["file_id"].as_str().unwrap()];
            let mut zip = zip::ZipArchive::new(io::Cursor::new(body)).unwrap();
            let mut csv = String::new();
            zip.by_name("Things.csv").unwrap().read_to_string(&mut csv).unwrap();
            records.extend(csv.lines().skip(1).map(str::to_owned));
        }
        let expected: BTreeSet<String> =
            String::from_utf8(original).unwrap().lines().skip(1).map(str::to_owned).collect();
        assert_eq!(records, expected);
        assert_eq!(server.kept(), 60);
    }
}
