//! A directory of its own for each test, and the binary in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::silence::{self, SilentDir};

/// An empty directory that is home and working directory of the binary.
pub(crate) struct Workbench {
    dir: SilentDir,
    environment: Vec<(String, String)>,
}

/// What a command left behind.
pub(crate) struct Told {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Workbench {
    pub(crate) fn new() -> Workbench {
        Workbench { dir: SilentDir::new(), environment: Vec::new() }
    }

    /// With a file in it; directories are made.
    pub(crate) fn file(self, name: &str, text: impl AsRef<[u8]>) -> Workbench {
        self.dir.give(name, text);
        self
    }

    /// With a file that only its owner can use.
    pub(crate) fn private_file(self, name: &str, text: &str) -> Workbench {
        let bench = self.file(name, text);
        fs::set_permissions(bench.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        bench
    }

    /// With a variable in the environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Workbench {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The binary with arguments, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("zbulk"));
        command.args(arguments).current_dir(self.dir.path()).env_clear().env("HOME", self.dir.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the binary to its end. The arguments are separated by spaces.
    pub(crate) fn run(&self, arguments: &str) -> Told {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        self.told(&self.command(&arguments).output().unwrap())
    }

    /// Text that is the same on every machine: the directory is called `HERE`.
    pub(crate) fn told(&self, output: &Output) -> Told {
        silence::look("standard output", &output.stdout);
        silence::look("standard error", &output.stderr);
        let here = self.dir.path().to_str().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().replace(here, "HERE");
        // A signal leaves no code; tests that send one look at the status themselves.
        Told {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// All that is in the directory, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(root).unwrap().display().to_string());
                if path.is_dir() {
                    walk(root, &path, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.dir.path(), self.dir.path(), &mut found);
        found.sort();
        found
    }
}

impl Told {
    /// Exit code and standard error, for snapshots of failures; nothing may stand on standard output.
    pub(crate) fn failure(&self) -> String {
        assert_eq!(self.out, "", "a failure prints no result");
        format!("{}exit {}", self.err, self.code)
    }

    /// Exit code, standard output and standard error, for snapshots of the whole.
    pub(crate) fn all(&self) -> String {
        format!("{}---\n{}exit {}", self.out, self.err, self.code)
    }
}
