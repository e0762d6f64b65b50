//! `zbulk verify`: whatever is damaged, it ends with 7 and says where: which chunk, which file, which entry, which input.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::server::{Job, run};

/// A rehearsal whose archives are kept: ten sites with two meters each, in two chunks.
fn rehearsed() -> Job {
    let job = Job::new(0);
    job.write(
        "zbulk.toml",
        "[[import]]\nmodule = \"Sites\"\ncsv = \"sites.csv\"\nkey = \"Id\"\n\n  [[import.child]]\n  kind = \"subform\"\n  \
         module = \"Meters\"\n  csv = \"meters.csv\"\n  parent_key = \"Site\"\n\n[limits]\nchunk_records = 10\n",
    );
    let rows = |row: fn(u32) -> String| (1..=10).map(row).collect::<String>();
    job.write("sites.csv", format!("Id,Name\n{}", rows(|i| format!("{i},site {i}\n"))));
    job.write("meters.csv", format!("Site,Serial\n{}", rows(|i| format!("{i},a{i}\n{i},b{i}\n"))));
    let (code, _, stderr) = run(job.command("run").args(["--sandbox", "--keep-archives"]));
    assert_eq!(code, Some(0), "{stderr}");
    job
}

fn verify(job: &Job) -> Command {
    let mut command = job.command("verify");
    command.arg("--out").arg(job.out(true));
    command
}

/// The place of an entry's compressed bytes in an archive.
fn data_of(archive: &[u8], entry: &str) -> usize {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
    usize::try_from(zip.by_name(entry).unwrap().data_start().unwrap()).unwrap()
}

/// What is damaged, where, how; what must be told of it, and what not.
type Case = (&'static str, PathBuf, Box<dyn Fn(&mut Vec<u8>)>, Vec<&'static str>, Vec<&'static str>);

#[test]
fn damage_is_located() {
    let job = rehearsed();
    let (code, stdout, stderr) = run(&mut verify(&job));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(
        stdout,
        "2 archives and 2 bodies of the sandbox read: 8 entries, 60 records\n\
         2 inputs read: 2 chunks built again\n\
         all is as it is journaled\n"
    );
    let manifest = job.manifest(true);
    let file_id = manifest["chunks"][1]["upload"]["file_id"].as_str().unwrap();
    let archive = job.out(true).join("archives/Sites-00001.zip");
    let body = job.out(true).join(format!("sandbox/{file_id}.zip"));
    let flip = |entry: &'static str| {
        move |bytes: &mut Vec<u8>| {
            let at = data_of(bytes, entry) + 1;
            bytes[at] ^= 1;
        }
    };
    let cases: Vec<Case> = vec![
        (
            "a byte of the parent",
            archive.clone(),
            Box::new(flip("Sites.csv")),
            vec!["chunk Sites-00001.zip", "its SHA-256 is", "entry Sites.csv: "],
            vec!["entry Meters.csv"],
        ),
        (
            "a byte of the child",
            archive.clone(),
            Box::new(flip("Meters.csv")),
            vec!["chunk Sites-00001.zip", "entry Meters.csv: "],
            vec!["entry Sites.csv"],
        ),
        (
            "a truncated archive",
            archive.clone(),
            Box::new(|bytes| bytes.truncate(100)),
            vec!["chunk Sites-00001.zip", "it has 100 bytes, ", "it cannot be read as a ZIP"],
            vec!["Sites-00002"],
        ),
        (
            "a byte behind",
            archive.clone(),
            Box::new(|bytes| bytes.push(0)),
            vec!["chunk Sites-00001.zip", "bytes, ", "the damage is outside their bytes"],
            vec!["entry "],
        ),
        (
            "a body of the sandbox",
            body,
            Box::new(flip("Meters.csv")),
            vec!["chunk Sites-00002.zip", "sandbox/", "entry Meters.csv: "],
            vec!["Sites-00001", "entry Sites.csv"],
        ),
        (
            "a changed parent",
            job.path().join("sites.csv"),
            Box::new(|bytes| *bytes.last_mut().unwrap() = b' '),
            vec!["input Sites (`", "sites.csv`): the same length, other content"],
            vec!["Meters", "Sites-0000"],
        ),
        (
            "a changed child",
            job.path().join("meters.csv"),
            Box::new(|bytes| bytes.extend(b"1,c1\n")),
            vec!["input Meters (`", "meters.csv`): "],
            vec!["Sites"],
        ),
    ];
    for (what, path, damage, told, not_told) in cases {
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let (code, stdout, stderr) = run(&mut verify(&job));
        assert_eq!(code, Some(7), "{what}: {stdout}{stderr}");
        // Where the files are is the same for all.
        let stderr = stderr.replace(job.path().to_str().unwrap(), "");
        let places = stderr.replace("archives/Sites", "archives/").replace("output directory", "");
        for text in told {
            assert!(stderr.contains(text), "{what}: `{text}` is missing: {stderr}");
        }
        for text in not_told {
            assert!(!places.contains(text), "{what}: `{text}` is told: {stderr}");
        }
        fs::write(&path, whole).unwrap();
    }
    fs::remove_file(&archive).unwrap();
    let (code, _, stderr) = run(&mut verify(&job));
    assert_eq!(code, Some(7), "{stderr}");
    assert!(stderr.contains("chunk Sites-00001.zip") && stderr.contains("No such file"), "{stderr}");
    assert!(!stderr.contains("Sites-00002"), "{stderr}");

    // As the hint says, `pack` brings back what is missing, with the bytes that it had.
    let (code, _, stderr) = run(job.command("pack").arg("--sandbox"));
    assert_eq!(code, Some(0), "{stderr}");
    let (code, stdout, stderr) = run(&mut verify(&job));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

#[test]
fn without_the_inputs_the_archives_are_still_verified() {
    let job = rehearsed();
    fs::remove_file(job.path().join("zbulk.toml")).unwrap();
    let verify = || {
        let mut command = crate::server::zbulk();
        command.args(["verify", "--out"]).arg(job.out(true)).current_dir(job.path());
        run(&mut command)
    };
    let (code, stdout, stderr) = verify();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(
        stdout,
        "2 archives and 2 bodies of the sandbox read: 8 entries, 60 records\nall is as it is journaled\n"
    );
    fs::remove_file(job.out(true).join("archives/Sites-00002.zip")).unwrap();
    let (code, stdout, stderr) = verify();
    assert_eq!(code, Some(7), "{stdout}");
    assert!(stderr.contains("chunk Sites-00002.zip"), "{stderr}");
}
