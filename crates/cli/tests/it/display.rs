//! Progress, colours and where the output goes.

use std::process::Stdio;

use crate::workbench::{Told, Workbench};

fn check(flags: &str) -> Told {
    Workbench::new().file("c.csv", "A\n1\n").run(&format!("check --module Contacts --csv c.csv {flags}"))
}

#[test]
fn bars_are_drawn_where_there_is_no_terminal_only_if_asked_for() {
    assert_eq!(check("").err, "");
    assert_eq!(check("--progress never").err, "");
    assert_eq!(check("--progress always --quiet").err, "");
    let drawn = check("--progress always").err;
    assert!(drawn.contains("scanning: ") && drawn.contains('\u{1b}'), "{drawn:?}");
}

#[test]
fn colours_are_used_where_there_is_no_terminal_only_if_asked_for() {
    let red = "\u{1b}[1;31merror:\u{1b}[0m";
    for (flags, coloured) in [("", false), ("--color never", false), ("--color always", true)] {
        let told = check(&format!("--level 10 {flags}"));
        assert_eq!(told.err.starts_with(red), coloured, "{flags}: {:?}", told.err);
    }
    let by_variable = Workbench::new().env("ZBULK_COLOR", "always").run("check");
    assert!(by_variable.err.starts_with(red), "{:?}", by_variable.err);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_standard_output_is_told_and_ends_with_1() {
    let bench = Workbench::new().file("c.csv", "A\n1\n");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = bench.command(&["check", "--module", "Contacts", "--csv", "c.csv"]);
    let output = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let told = bench.told(&output);
    assert_eq!(told.code, 1);
    assert!(
        told.err.starts_with("error: cannot print the result\n  caused by: No space left"),
        "{}",
        told.err
    );
}
