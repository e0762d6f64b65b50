//! No secret in anything that is printed or written, in any test: `look` is called with the output of every command,
//! and a directory that a test works in looks at all its files when the test ends well.
//!
//! Secrets are known by their form, which the sandbox's have in common with Zoho's: `1000.` and 32 hexadecimal digits
//! begin a client id, a refresh token and an access token, and a client secret is 42 hexadecimal digits. A canary is
//! what a test calls its own.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;

use tempfile::TempDir;

/// Fails when there is a secret in what was written to `place`.
#[track_caller]
pub(crate) fn look(place: &str, bytes: &[u8]) {
    if let Some(at) = secret(bytes) {
        let around = &bytes[at.saturating_sub(80)..bytes.len().min(at + 80)];
        panic!("a secret in {place}, at byte {at}: {}", String::from_utf8_lossy(around));
    }
}

/// The output of a command that was not waited for in the common way, looked at.
#[track_caller]
pub(crate) fn of(output: Output) -> Output {
    look("standard output", &output.stdout);
    look("standard error", &output.stderr);
    output
}

/// Where the first secret begins, from 0.
fn secret(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let token = bytes
        .windows(5)
        .enumerate()
        .find(|&(at, begins)| begins == b"1000." && digits(at + 5) >= 32)
        .map(|(at, _)| at);
    let canary = bytes.windows(6).position(|word| word.eq_ignore_ascii_case(b"canary"));
    let mut at = 0;
    let client_secret = std::iter::from_fn(|| {
        at += bytes[at..].iter().position(u8::is_ascii_hexdigit)?;
        let run = (at, digits(at));
        at += run.1;
        Some(run)
    })
    .find(|&(_, length)| length == 42)
    .map(|(at, _)| at);
    [token, canary, client_secret].into_iter().flatten().min()
}

/// A directory of a test, gone when it is dropped, after a look at what is in it.
pub(crate) struct SilentDir {
    dir: TempDir,
    given: Mutex<Vec<PathBuf>>,
}

impl SilentDir {
    pub(crate) fn new() -> SilentDir {
        SilentDir { dir: tempfile::tempdir().unwrap(), given: Mutex::default() }
    }

    /// Writes a file that is the test's own and may hold what it likes. Its directories are made.
    pub(crate) fn give(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        self.given.lock().unwrap().push(path);
    }

    fn look_into(&self, dir: &Path) {
        // What a test has made unreadable, or has removed meanwhile, nobody else reads either.
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                self.look_into(&path);
            } else if kind.is_file() && !self.given.lock().unwrap().contains(&path) {
                look(path.to_str().unwrap(), &std::fs::read(&path).unwrap_or_default());
            }
        }
    }
}

impl Deref for SilentDir {
    type Target = TempDir;
    fn deref(&self) -> &TempDir {
        &self.dir
    }
}

impl Drop for SilentDir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.look_into(self.path());
        }
    }
}

#[test]
fn secrets_are_found_by_their_form() {
    let server = crate::server::Server::start("");
    let token = server.access_token();
    for told in server.secrets().into_iter().chain([token.as_str(), "a Canary"]) {
        assert!(secret(format!("line 1\nAuthorization: x {told}\n").as_bytes()).is_some(), "{told}");
    }
    let digest = "a".repeat(64);
    for told in ["1000.zip", "chunk 1000.", "1000.0123456789abcdef", &digest, ""] {
        assert_eq!(secret(told.as_bytes()), None, "{told}");
    }
}

#[test]
#[should_panic(expected = "a secret in")]
fn a_secret_in_a_file_fails_the_test() {
    let dir = SilentDir::new();
    dir.give("mine", "a canary");
    std::fs::create_dir(dir.path().join("out")).unwrap();
    std::fs::write(dir.path().join("out/journal.jsonl"), format!("{{\"token\":\"1000.{:032x}\"}}", 7))
        .unwrap();
}
