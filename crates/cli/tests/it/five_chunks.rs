//! A run of five chunks in which everything happens that happens in a run: children, a reject that is set aside, a chunk
//! that is cut, archives that are kept, a token that is fetched.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::outcome::Expected;
use crate::server::{Job, Server, run};

/// The job, and what it comes to.
pub(crate) struct FiveChunks {
    job: Job,
    /// The undisturbed run's.
    pub(crate) expected: Expected,
}

impl FiveChunks {
    pub(crate) fn new() -> FiveChunks {
        let job = Job::new(0);
        job.write(
            "zbulk.toml",
            "[[import]]\nmodule = \"Things\"\ncsv = \"things.csv\"\nkey = \"Id\"\n\n\
             [[import.child]]\nkind = \"subform\"\nmodule = \"Parts\"\ncsv = \"parts.csv\"\nparent_key = \"Thing\"\n\n\
             [limits]\nchunk_records = 10\nmax_archive_bytes = 2000\n",
        );
        let (mut things, mut parts) = ("Id,Name\n".to_owned(), "Thing,Part\n".to_owned());
        let mut state = 1_u64;
        for i in 1..=40 {
            write!(things, "{i},\"thing, ").unwrap();
            // The second chunk packs badly, and is cut.
            for _ in 0..if (11..=20).contains(&i) { 32 } else { 1 } {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                write!(things, "{state:016x}").unwrap();
            }
            things.push_str("\"\n");
            writeln!(parts, "{},of {i}", 41 - i).unwrap();
        }
        things.push_str("41,one,too many\n");
        job.write("things.csv", things);
        job.write("parts.csv", parts);
        let server = Server::start("");
        let out = job.path().join("undisturbed");
        let (code, _, stderr) = run(&mut command(&job, &server, &out));
        assert_eq!(code, Some(0), "{stderr}");
        let expected = Expected::of(&out);
        let names = std::fs::read_dir(out.join("archives")).unwrap().count();
        assert_eq!(names, 5);
        FiveChunks { job, expected }
    }

    /// Where the run of this name leaves what it leaves.
    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.job.path().join(name)
    }

    /// The directory of the inputs and all DIRs.
    pub(crate) fn dir(&self) -> &Path {
        self.job.path()
    }

    /// The same without sending.
    pub(crate) fn pack(&self, out: &Path) -> Command {
        let mut command = self.job.command("pack");
        command.arg("--out").arg(out).args(["--rejects", "set-aside", "--threads", "1"]);
        command
    }

    /// Sends what was packed.
    pub(crate) fn upload(&self, server: &Server, out: &Path) -> Command {
        let mut command = self.job.command("upload");
        server.point(&mut command).arg("--out").arg(out);
        command
    }

    /// The run.
    pub(crate) fn command(&self, server: &Server, out: &Path) -> Command {
        command(&self.job, server, out)
    }
}

fn command(job: &Job, server: &Server, out: &Path) -> Command {
    let mut command = job.command("run");
    server.point(&mut command).arg("--out").arg(out);
    command.args(["--keep-archives", "--rejects", "set-aside", "--threads", "1"]);
    command
}
