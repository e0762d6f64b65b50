//! `zbulk sandbox`: says where it is, and runs until it is told to end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use crate::workbench::Workbench;

/// A sandbox that ends with the test.
pub(crate) struct Running {
    child: Child,
    /// What it announced.
    pub(crate) announcement: serde_json::Value,
}

impl Running {
    pub(crate) fn start(bench: &Workbench, arguments: &[&str]) -> Running {
        let arguments: Vec<&str> =
            ["sandbox", "--dir", "accepted"].iter().chain(arguments).copied().collect();
        let mut child =
            bench.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        // Read to the line's end and no further: the sandbox goes on.
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let announcement = serde_json::from_str(&line).unwrap_or_else(|error| {
            child.kill().unwrap();
            let mut told = String::new();
            child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
            panic!("{error}: {line:?}: {told}")
        });
        Running { child, announcement }
    }

    pub(crate) fn text(&self, key: &str) -> String {
        self.announcement[key].as_str().unwrap().to_owned()
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(mut self, signal: &str) -> Option<i32> {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; that is what most tests are about.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_first_line_is_one_json_object_with_all_that_a_client_needs() {
    let bench = Workbench::new();
    let sandbox = Running::start(&bench, &[]);
    let announcement = sandbox.announcement.as_object().unwrap();
    let mut keys: Vec<&str> = announcement.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["accounts_url", "api_url", "client_id", "client_secret", "org", "refresh_token", "upload_url"]
    );
    assert!(sandbox.text("upload_url").starts_with("http://127.0.0.1:"));
    assert_eq!(bench.files(), ["accepted"]);
}

#[test]
fn ctrl_c_and_sigterm_end_it_well() {
    for signal in ["-INT", "-TERM"] {
        let bench = Workbench::new();
        assert_eq!(Running::start(&bench, &[]).end(signal), Some(0), "{signal}");
    }
}

#[test]
fn a_lost_terminal_does_not_end_it() {
    let bench = Workbench::new();
    let sandbox = Running::start(&bench, &[]);
    let sent = Command::new("kill").args(["-HUP", &sandbox.child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    // Had the hangup ended it, its exit would show that signal.
    assert_eq!(sandbox.end("-INT"), Some(0));
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    insta::assert_snapshot!(Workbench::new().run("sandbox --dir d --listen 0.0.0.0:0").failure(), @r"
    error: `--listen 0.0.0.0:0` is not an address of this machine alone
    hint: the sandbox listens on loopback only, as in --listen 127.0.0.1:8400
    exit 2
    ");
}

#[test]
fn an_address_that_is_taken_is_told() {
    let bench = Workbench::new();
    let sandbox = Running::start(&bench, &[]);
    let address = sandbox.text("accounts_url").replace("http://", "");
    let told = bench.run(&format!("sandbox --dir other --listen {address}"));
    assert_eq!(told.code, 2);
    assert!(told.err.starts_with("error: cannot start the sandbox\n  caused by: "), "{}", told.err);
}

#[test]
fn a_fault_plan_that_cannot_be_read_is_told() {
    let bench = Workbench::new().file("faults.toml", "[[fault]]\nnonsense = true\n");
    let told = bench.run("sandbox --dir d --faults faults.toml");
    assert_eq!(told.code, 2);
    assert!(told.err.starts_with("error: cannot start the sandbox\n  caused by: "), "{}", told.err);
    assert_eq!(bench.run("sandbox --dir d --faults none.toml").code, 2);
}
