//! Who may see what zbulk writes, and that it writes through no link.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::five_chunks::FiveChunks;
use crate::server::{Job, Server, run};

/// Everything under a directory, itself included.
fn everything(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(everything(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// The same command where the system would let everybody in.
fn with_open_umask(command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "umask 0; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

#[test]
fn all_that_is_written_is_for_its_owner_alone_whatever_the_umask() {
    let five = FiveChunks::new();
    let server = Server::start("");
    let out = five.out("private");
    assert_eq!(run(&mut with_open_umask(&five.command(&server, &out))).0, Some(0));
    assert_eq!(run(&mut with_open_umask(five.command(&server, &out).arg("--restart"))).0, Some(0));
    let job = Job::new(5);
    assert_eq!(run(&mut with_open_umask(job.command("run").arg("--sandbox"))).0, Some(0));
    let (mut files, mut dirs) = (0, 0);
    for path in everything(&out).into_iter().chain(everything(&job.out(true))) {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let (expected, counter) = if metadata.is_dir() { (0o700, &mut dirs) } else { (0o600, &mut files) };
        *counter += 1;
        assert_eq!(metadata.permissions().mode() & 0o7777, expected, "{}", path.display());
    }
    // DIR, archives, rejects, the same set aside; DIR and sandbox of the rehearsal.
    assert_eq!(dirs, 1 + 2 + 1 + 2 + 2);
    assert!(files >= 2 * (5 + 2 + 3) + 2, "{files}");
}

#[test]
fn no_link_is_followed_to_what_is_not_ours() {
    for name in ["journal.jsonl", "manifest.json", "manifest.csv", "token-refreshes.json", "lock"] {
        let job = Job::new(15);
        let server = Server::start("");
        std::fs::create_dir(job.out(false)).unwrap();
        let precious = job.path().join("precious");
        std::fs::write(&precious, "").unwrap();
        symlink(&precious, job.out(false).join(name)).unwrap();
        let (code, _, stderr) = run(server.point(&mut job.command("run")));
        assert_eq!(std::fs::read(&precious).unwrap(), b"", "{name}");
        // What is only ever replaced is replaced; what is opened is refused.
        if ["journal.jsonl", "lock"].contains(&name) {
            assert_eq!(code, Some(1), "{name}: {stderr}");
            assert!(stderr.contains(name), "{name}: {stderr}");
            assert_eq!(server.kept(), 0, "{name}");
        } else {
            assert_eq!(code, Some(0), "{name}: {stderr}");
            assert!(std::fs::symlink_metadata(job.out(false).join(name)).unwrap().is_file(), "{name}");
        }
    }
}

#[test]
fn no_directory_is_entered_through_a_link() {
    for name in ["", "archives", "rejects", "sandbox"] {
        let job = Job::new(5);
        let things = std::fs::read_to_string(job.path().join("things.csv")).unwrap();
        job.write("things.csv", things + "6,one,too many\n");
        let elsewhere = job.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        if name.is_empty() {
            symlink(&elsewhere, job.out(true)).unwrap();
        } else {
            std::fs::create_dir(job.out(true)).unwrap();
            symlink(&elsewhere, job.out(true).join(name)).unwrap();
        }
        let mut command = job.command("run");
        let (code, _, stderr) = run(command.args(["--sandbox", "--keep-archives", "--rejects", "set-aside"]));
        assert!(matches!(code, Some(1 | 2)), "{name}: {code:?} {stderr}");
        assert!(stderr.contains("symbolic link"), "{name}: {stderr}");
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0, "{name}");
    }
}
