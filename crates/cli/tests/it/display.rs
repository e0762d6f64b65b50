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

#[test]
fn names_and_keys_from_inputs_reach_no_terminal_as_they_are() {
    let evil = "a\u{1b}[2J\nerror: b.csv";
    let bench =
        Workbench::new().file(evil, "Id,Na\u{1b}[31mme\nk\u{1b}]0;x\u{7},1\nk\u{1b}]0;x\u{7},1,2\n").file(
            "z.toml",
            format!("[[import]]\nmodule = \"Things\"\nkey = \"Id\"\ncsv = {evil:?}\n")
                .replace("\\u{1b}", "\\u001b"),
        );
    for arguments in
        ["check z.toml", "run z.toml --sandbox", "plan z.toml", "run z.toml --sandbox --rejects set-aside"]
    {
        let told = bench.run(arguments);
        let text = format!("{}{}", told.out, told.err);
        assert!(text.contains("wrong-field-count") || told.code == 0, "{arguments}: {text}");
        let bare: Vec<char> = text.chars().filter(|&c| c.is_control() && c != '\n').collect();
        assert!(bare.is_empty(), "{arguments}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("error: b.csv")), "{arguments}: {text}");
    }
    let told = bench.run("check --module A\u{1b}[2J --csv z.toml");
    assert_eq!(told.code, 2);
    assert!(!told.err.contains('\u{1b}'), "{:?}", told.err);
}
