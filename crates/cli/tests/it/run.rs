//! The whole way over TCP, and what a run leaves behind.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::{Job, Server, run, zbulk};
use crate::silence::SilentDir;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata")
}

/// A copy of the README's job, so that nothing is written into the source tree.
fn sites() -> SilentDir {
    let dir = SilentDir::new();
    for entry in std::fs::read_dir(testdata().join("sites")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    dir
}

/// Whether a program is installed; tests that need one are skipped, loudly, where it is not.
fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--help").output().is_ok();
    if !found {
        eprintln!("{program} is not installed: what it would check is not checked");
    }
    found
}

fn validate(manifest: &serde_json::Value) {
    let (code, schema, _) = run(zbulk().args(["schema", "manifest"]));
    assert_eq!(code, Some(0));
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(manifest).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn the_readmes_job_ends_in_a_table_and_everything_is_there_once() {
    let dir = sites();
    let job = dir.path().join("zbulk.toml");
    let (code, stdout, stderr) = run(zbulk().arg("run").arg(&job).arg("--sandbox"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stdout.contains("Sites-00001.zip") && stdout.contains("65 records in, 65 packed, 0 rejected"),
        "{stdout}"
    );
    let out = dir.path().join("sites.sandbox.zbulk");
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    validate(&manifest);
    assert_eq!(manifest["run"]["exit"], 0);
    assert!(!out.join("archives").exists(), "archives are kept only when asked");
    if installed("python3") {
        let check = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent_check.py"))
            .arg(&out)
            .arg("5")
            .args([
                format!("Sites={}:Legacy_ID", dir.path().join("sites.csv").display()),
                format!("Meters={}:Site_Legacy_ID", dir.path().join("meters.csv").display()),
                format!("SitesXProducts={}:Site", dir.path().join("sites_x_products.csv").display()),
                "--".to_owned(),
                format!("Products={}", dir.path().join("products.csv").display()),
            ])
            .output()
            .unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    }

    // The same command again has nothing to do, and says the same.
    let kept = || std::fs::read_dir(out.join("sandbox")).unwrap().count();
    let before = kept();
    let (code, again, _) = run(zbulk().arg("run").arg(&job).arg("--sandbox"));
    assert_eq!((code, again, kept()), (Some(0), stdout, before));
}

#[test]
fn archives_are_accepted_by_other_unpackers_and_the_same_on_every_run_and_thread_count() {
    let dir = sites();
    let job = dir.path().join("zbulk.toml");
    let mut runs = Vec::new();
    for (name, threads) in [("one", "1"), ("three", "3")] {
        let out = dir.path().join(name);
        let (code, _, stderr) =
            run(zbulk().arg("pack").arg(&job).arg("--out").arg(&out).args(["--threads", threads]));
        assert_eq!(code, Some(0), "{stderr}");
        let mut archives: Vec<_> = std::fs::read_dir(out.join("archives"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()))
            .collect();
        archives.sort();
        runs.push(archives);
    }
    assert_eq!(runs[0].len(), 9);
    assert_eq!(runs[0], runs[1]);
    for (name, _) in &runs[0] {
        let path = dir.path().join("one/archives").join(name);
        for (program, arguments) in [
            ("unzip", &["-tqq"][..]),
            ("7zz", &["t", "-bso0"][..]),
            ("python3", &["-m", "zipfile", "-t"][..]),
        ] {
            if installed(program) {
                let tested = Command::new(program).args(arguments).arg(&path).output().unwrap();
                assert!(tested.status.success(), "{program}: {}", String::from_utf8_lossy(&tested.stderr));
            }
        }
    }
}

#[test]
fn what_was_packed_is_uploaded_without_the_inputs_and_verified() {
    let job = Job::new(35);
    let (code, stdout, stderr) = run(&mut job.command("pack"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("4 pending"), "{stdout}");
    assert_eq!(job.states(false), ["pending"; 4]);
    validate(&job.manifest(false));
    let (code, stdout, stderr) = run(&mut job.command("verify"));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(
        stdout,
        "4 archives and 0 bodies of the sandbox read: 4 entries, 35 records\n\
         1 inputs read: 4 chunks built again\n\
         all is as it is journaled\n"
    );

    let away = job.path().join("away.csv");
    std::fs::rename(job.path().join("things.csv"), &away).unwrap();
    let server = Server::start("");
    let (code, stdout, stderr) = run(server.point(&mut job.command("upload")));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("4 chunks: 4 uploaded"), "{stdout}");
    assert_eq!(server.kept(), 4);
    let (code, status, _) = run(&mut job.command("status"));
    assert_eq!((code, status), (Some(0), stdout));
    for secret in server.secrets() {
        assert!(!stderr.contains(secret));
        for name in ["journal.jsonl", "manifest.json", "manifest.csv"] {
            assert!(!std::fs::read_to_string(job.out(false).join(name)).unwrap().contains(secret));
        }
    }

    std::fs::rename(&away, job.path().join("things.csv")).unwrap();
    let archive = job.out(false).join("archives/Things-00002.zip");
    let mut bytes = std::fs::read(&archive).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    let (code, stdout, stderr) = run(&mut job.command("verify"));
    assert_eq!(code, Some(7), "{stdout}{stderr}");
    assert!(stderr.contains("chunk Things-00002.zip") && stderr.contains("entry Things.csv"), "{stderr}");
}

#[test]
fn a_damaged_archive_is_never_sent() {
    let job = Job::new(15);
    assert_eq!(run(&mut job.command("pack")).0, Some(0));
    let archive = job.out(false).join("archives/Things-00001.zip");
    let mut bytes = std::fs::read(&archive).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    let server = Server::start("");
    let (code, _, stderr) = run(server.point(&mut job.command("upload")));
    assert_eq!(code, Some(7), "{stderr}");
    assert!(stderr.contains("is not the archive that was packed"), "{stderr}");
    assert_eq!(server.kept(), 0);
}

#[test]
fn a_rehearsal_never_stands_in_for_the_real_run() {
    let job = Job::new(30);
    assert_eq!(run(job.command("run").arg("--sandbox")).0, Some(0));
    assert_eq!(job.states(true), ["uploaded"; 3]);
    let server = Server::start("");
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!((job.states(false), server.kept()), (vec!["uploaded".to_owned(); 3], 3));
    // Even in the same directory the target tells them apart.
    let shared = job.path().join("shared");
    assert_eq!(run(job.command("run").arg("--sandbox").arg("--out").arg(&shared)).0, Some(0));
    let (code, _, stderr) = run(server.point(job.command("run").arg("--out").arg(&shared)));
    assert_eq!(code, Some(7), "{stderr}");
    assert!(stderr.contains("target: the sandbox in the journal, Zoho us, org"), "{stderr}");
}

#[test]
fn a_chunk_that_was_refused_is_the_only_one_sent_again() {
    let job = Job::new(50);
    let server =
        Server::start("[[rule]]\nrequest = 2\nfault = { answer = { code = \"INVALID_FILE_FORMAT\" } }\n");
    let (code, stdout, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(6), "{stdout}{stderr}");
    let states = job.states(false);
    assert_eq!(states.iter().filter(|state| *state == "failed").count(), 1, "{states:?}");
    assert_eq!(server.kept(), 4);
    let ids = |manifest: serde_json::Value| -> BTreeSet<String> {
        let chunks = manifest["chunks"].as_array().unwrap();
        chunks.iter().filter_map(|chunk| chunk["upload"]["file_id"].as_str()).map(str::to_owned).collect()
    };
    let before = ids(job.manifest(false));
    let (code, _, stderr) = run(server.point(&mut job.command("run")));
    assert_eq!(code, Some(0), "{stderr}");
    let after = ids(job.manifest(false));
    assert!(before.is_subset(&after) && after.len() == 5);
    assert_eq!(server.kept(), 5);
    validate(&job.manifest(false));
}

#[test]
fn one_file_id_is_never_recorded_for_two_chunks() {
    let job = Job::new(20);
    let server = Server::start("[[rule]]\nrequest = 2\nfault = \"repeat_file_id\"\n");
    let (code, _, stderr) = run(server.point(job.command("run").args(["--concurrency", "1"])));
    let manifest = job.manifest(false);
    let ids: Vec<_> = manifest["chunks"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|chunk| chunk["upload"]["file_id"].as_str())
        .collect();
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "{stderr}");
    assert!(code == Some(6) || (code == Some(0) && ids.len() == 2), "{stderr}");
}

#[test]
fn rejects_are_set_aside_in_their_original_shape_and_counts_reconcile() {
    let job = Job::new(0);
    job.write("things.csv", "Id,Name\r\n1,a\r\n2,b,c\r\n3,\"x\r\ny\"\r\n4,\"q\"z\r\n5,e");
    let (code, _, stderr) = run(job.command("run").arg("--sandbox"));
    assert_eq!(code, Some(3), "{stderr}");
    assert!(!job.out(true).join("journal.jsonl").exists(), "a run that ends 3 leaves no journal");
    let (code, stdout, stderr) = run(job.command("run").args(["--sandbox", "--rejects", "set-aside"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("5 records in, 3 packed, 2 rejected"), "{stdout}");
    let rejects = job.out(true).join("rejects");
    assert_eq!(std::fs::read(rejects.join("Things.csv")).unwrap(), b"Id,Name\r\n2,b,c\r\n4,\"q\"z\r\n");
    let reasons = std::fs::read_to_string(rejects.join("Things.reasons.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(reasons.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.unwrap()).collect();
    let places: Vec<_> = rows.iter().map(|row| (&row[1], &row[3], &row[4], &row[5])).collect();
    assert_eq!(places, [("3", "2", "2", "wrong-field-count"), ("6", "4", "4", "text-after-quote")]);
}

#[test]
fn chunks_over_the_archive_limit_are_cut_the_same_way_on_every_run() {
    let job = Job::new(0);
    let mut state = 1_u64;
    let mut rows = String::new();
    for i in 0..200 {
        write!(rows, "{i},").unwrap();
        for _ in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            write!(rows, "{state:016x}").unwrap();
        }
        rows.push('\n');
    }
    job.write("things.csv", format!("Id,Name\n{rows}"));
    let limits = ["--chunk-records", "200", "--max-archive-bytes", "6000"];
    let (code, stdout, stderr) = run(job.command("run").arg("--sandbox").args(limits));
    assert_eq!(code, Some(0), "{stderr}");
    let names = |manifest: serde_json::Value| -> Vec<String> {
        let chunks = manifest["chunks"].as_array().unwrap();
        chunks.iter().map(|chunk| chunk["name"].as_str().unwrap().to_owned()).collect()
    };
    let cut = names(job.manifest(true));
    assert!(
        cut.len() > 2
            && cut.iter().all(|name| name.starts_with("Things-00001a") || name.starts_with("Things-00001b")),
        "{cut:?}"
    );
    assert!(cut.is_sorted());
    validate(&job.manifest(true));
    // Gone on with, and begun anew elsewhere, it is cut alike.
    let (code, again, _) = run(job.command("run").arg("--sandbox").args(limits));
    assert_eq!((code, again), (Some(0), stdout));
    let out = job.path().join("other");
    assert_eq!(run(job.command("run").arg("--sandbox").args(limits).arg("--out").arg(&out)).0, Some(0));
    let other: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(names(other), cut);
}

#[test]
fn a_dry_run_sends_nothing_and_leaves_nothing() {
    let job = Job::new(25);
    let server = Server::start("");
    let (code, stdout, stderr) = run(server.point(job.command("run").arg("--dry-run")));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("3 pending"), "{stdout}");
    assert_eq!(server.kept(), 0);
    assert!(!job.out(false).exists());
}
