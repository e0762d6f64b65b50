//! Help, version, completions, manual page, and what is typed wrongly.

use std::time::{Duration, Instant};

use crate::workbench::Workbench;

const COMMANDS: [&str; 15] = [
    "",
    "run",
    "check",
    "plan",
    "pack",
    "upload",
    "status",
    "verify",
    "auth",
    "auth check",
    "sandbox",
    "schema",
    "schema manifest",
    "completions",
    "man",
];

#[test]
fn the_help_of_every_command_reads_well() {
    let bench = Workbench::new();
    for command in COMMANDS {
        let told = bench.run(&format!("{command} --help"));
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{command}");
        let name =
            if command.is_empty() { "help".to_owned() } else { format!("help {command}").replace(' ', "-") };
        insta::assert_snapshot!(name, told.out);
    }
}

#[test]
fn the_short_help_of_every_command_has_a_line_for_every_option() {
    let bench = Workbench::new();
    for command in COMMANDS {
        let told = bench.run(&format!("{command} -h"));
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{command}");
    }
    insta::assert_snapshot!("short-help-run", bench.run("run -h").out);
}

#[test]
fn without_a_command_the_help_is_shown_and_the_code_is_2() {
    let told = Workbench::new().run("");
    assert_eq!(told.code, 2);
    assert!(told.err.contains("Usage: zbulk <COMMAND>"), "{}", told.err);
}

#[test]
fn the_version_comes_at_once() {
    let bench = Workbench::new();
    // The first start reads the binary from the disk.
    let told = bench.run("--version");
    assert_eq!((told.code, told.out.as_str()), (0, concat!("zbulk ", env!("CARGO_PKG_VERSION"), "\n")));
    // On a busy machine one start may wait for its turn, but not twenty.
    let fastest = (0..20)
        .map(|_| {
            let start = Instant::now();
            bench.run("--version");
            start.elapsed()
        })
        .min()
        .unwrap();
    assert!(fastest < Duration::from_millis(20), "{fastest:?}");
}

#[test]
fn completions_know_every_command() {
    let bench = Workbench::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let told = bench.run(&format!("completions {shell}"));
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{shell}");
        for word in ["verify", "sandbox", "max-archive-bytes"] {
            assert!(told.out.contains(word), "{shell} lacks {word}");
        }
    }
}

#[test]
fn the_manual_page_holds_every_command_and_the_exit_codes() {
    let told = Workbench::new().run("man");
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    assert!(told.out.contains(".TH zbulk 1"), "{}", &told.out[..200]);
    for command in COMMANDS.iter().filter(|command| !["", "auth", "schema"].contains(command)) {
        let heading = format!(".SH \"ZBULK {}\"", command.to_uppercase());
        assert!(told.out.contains(&heading), "{heading}");
    }
    assert!(told.out.contains("another process works in the output directory"));
}

#[test]
fn what_is_typed_wrongly_ends_with_2_and_says_what_is_meant() {
    let bench = Workbench::new();
    for (arguments, expected) in [
        ("rnu", "unrecognized subcommand 'rnu'"),
        ("run --concurency 2", "a similar argument exists: '--concurrency'"),
        ("run --dc mars", "[possible values: us, eu, in, au, jp, cn, ca, sa]"),
        ("run --module Contacts", "--csv <FILE>"),
        ("run job.toml --module Contacts --csv c.csv", "cannot be used with"),
        ("run --client-secret x", "unexpected argument '--client-secret'"),
        ("check --quiet --verbose", "cannot be used with"),
        ("sandbox", "--dir <DIR>"),
        ("completions tcsh", "invalid value 'tcsh'"),
    ] {
        let told = bench.run(arguments);
        assert_eq!(told.code, 2, "{arguments}");
        assert_eq!(told.out, "", "{arguments}");
        assert!(told.err.contains(expected), "{arguments}: {}", told.err);
    }
}
