//! `zbulk` as a user starts it, and `zbulk sandbox` as a process of its own to send to.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::silence::{self, SilentDir};

/// The binary with a clean environment.
pub(crate) fn zbulk() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zbulk"));
    command.env_clear().stdin(Stdio::null());
    for name in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs a command to its end: exit code, standard output, standard error.
pub(crate) fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = silence::of(command.output().unwrap());
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A running sandbox; killed when dropped.
pub(crate) struct Server {
    child: Child,
    said: serde_json::Value,
    dir: SilentDir,
}

impl Server {
    /// Starts a sandbox on a free port, with this fault plan.
    pub(crate) fn start(faults: &str) -> Server {
        Server::start_in(faults, SilentDir::new())
    }

    /// The same for a sandbox that has kept a body under this `file_id` before, so that its next ones are higher.
    pub(crate) fn start_after(faults: &str, file_id: &str) -> Server {
        let dir = SilentDir::new();
        dir.give(format!("kept/{file_id}.zip"), "kept before");
        Server::start_in(faults, dir)
    }

    fn start_in(faults: &str, dir: SilentDir) -> Server {
        let plan = dir.path().join("faults.toml");
        std::fs::write(&plan, faults).unwrap();
        let mut child = zbulk()
            .args(["sandbox", "--listen", "127.0.0.1:0", "--seed", "1", "--dir"])
            .arg(dir.path().join("kept"))
            .arg("--faults")
            .arg(&plan)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Server { child, said, dir }
    }

    fn said(&self, key: &str) -> &str {
        self.said[key].as_str().unwrap()
    }

    /// Gives a command the way to this server and its credentials.
    pub(crate) fn point<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .args(["--upload-url", self.said("upload_url"), "--accounts-url", self.said("accounts_url")])
            .args(["--org", self.said("org"), "--starts-per-second", "0"])
            .env("ZOHO_CLIENT_ID", self.said("client_id"))
            .env("ZOHO_CLIENT_SECRET", self.said("client_secret"))
            .env("ZOHO_REFRESH_TOKEN", self.said("refresh_token"))
    }

    /// A fresh access token, as the SDKs fetch one.
    ///
    /// A run remembers its refreshes across starts and waits rather than make too many, so that a test that starts
    /// many runs brings its own token.
    pub(crate) fn access_token(&self) -> String {
        let address = self.said("accounts_url").strip_prefix("http://").unwrap();
        let form = format!(
            "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
            self.said("client_id"),
            self.said("client_secret"),
            self.said("refresh_token")
        );
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /oauth/v2/token HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body: serde_json::Value = serde_json::from_str(&answer[answer.find('{').unwrap()..]).unwrap();
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// The secrets that no output may hold.
    pub(crate) fn secrets(&self) -> [&str; 3] {
        [self.said("client_secret"), self.said("refresh_token"), self.said("client_id")]
    }

    /// How many bodies it has kept.
    pub(crate) fn kept(&self) -> usize {
        let zips = |path: PathBuf| path.extension().is_some_and(|extension| extension == "zip");
        match std::fs::read_dir(self.dir.path().join("kept")) {
            Ok(entries) => entries.filter(|entry| zips(entry.as_ref().unwrap().path())).count(),
            Err(_) => 0,
        }
    }
}

impl Server {
    /// All bodies that it has kept, by `file_id`.
    pub(crate) fn bodies(&self) -> std::collections::BTreeMap<String, Vec<u8>> {
        let kept =
            std::fs::read_dir(self.dir.path().join("kept")).unwrap().map(|entry| entry.unwrap().path());
        // What is still being accepted has no such name yet.
        kept.filter(|path| path.extension().is_some_and(|extension| extension == "zip"))
            .map(|path| {
                (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
            })
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is as well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A job of `records` plain records in chunks of ten, in a directory of its own.
pub(crate) struct Job {
    pub(crate) dir: SilentDir,
}

impl Job {
    pub(crate) fn new(records: usize) -> Job {
        let dir = SilentDir::new();
        let job = Job { dir };
        job.write("zbulk.toml", "[[import]]\nmodule = \"Things\"\ncsv = \"things.csv\"\nkey = \"Id\"\n\n[limits]\nchunk_records = 10\n");
        let mut csv = "Id,Name\n".to_owned();
        for i in 1..=records {
            writeln!(csv, "{i},\"thing, {i}\"").unwrap();
        }
        job.write("things.csv", csv);
        job
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        self.dir.give(name, text);
    }

    /// DIR of a run, of a rehearsal with `sandbox`.
    pub(crate) fn out(&self, sandbox: bool) -> PathBuf {
        self.path().join(if sandbox { "zbulk.sandbox.zbulk" } else { "zbulk.zbulk" })
    }

    /// A command on this job.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = zbulk();
        command.arg(name).arg(self.path().join("zbulk.toml"));
        command
    }

    pub(crate) fn manifest(&self, sandbox: bool) -> serde_json::Value {
        let text = std::fs::read(self.out(sandbox).join("manifest.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// The state of every chunk of a manifest, in order.
    pub(crate) fn states(&self, sandbox: bool) -> Vec<String> {
        let manifest = self.manifest(sandbox);
        let chunks = manifest["chunks"].as_array().unwrap();
        chunks.iter().map(|chunk| chunk["upload"]["state"].as_str().unwrap().to_owned()).collect()
    }
}
