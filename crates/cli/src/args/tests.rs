//! Laws about the arguments that no single command's test would notice.

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory as _};

use super::*;
use crate::config::setting_flags;

/// Every command with its path, such as `zbulk auth check`.
fn commands() -> Vec<Command> {
    fn collect(command: &Command, found: &mut Vec<Command>) {
        found.push(command.clone());
        for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
            collect(subcommand, found);
        }
    }
    let mut root = Cli::command();
    root.build();
    let mut found = Vec::new();
    collect(&root, &mut found);
    found
}

fn is_ours(arg: &Arg) -> bool {
    !["help", "version"].contains(&arg.get_id().as_str())
}

#[test]
fn clap_finds_no_contradiction_in_the_arguments() {
    Cli::command().debug_assert();
}

#[test]
fn every_argument_has_help_that_says_enough() {
    let mut sloppy = Vec::new();
    for command in commands() {
        for arg in command.get_arguments().filter(|arg| is_ours(arg)) {
            let short = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let long = arg.get_long_help().map(ToString::to_string).unwrap_or_default();
            let mut complain =
                |what: &str| sloppy.push(format!("{} {}: {what}", command.get_name(), arg.get_id()));
            if short.is_empty() {
                complain("has no help");
            }
            if short.ends_with('.') || short.contains('\n') {
                complain("the short help is a fragment on one line, without a period");
            }
            if !short.starts_with(|c: char| c.is_uppercase()) {
                complain("the short help begins with a capital");
            }
            if short.len() > 80 {
                complain("the short help is longer than a line");
            }
            let positional = arg.is_positional();
            if !positional && long.is_empty() {
                complain("has no long help");
            }
            if !long.is_empty() && !long.ends_with('.') {
                complain("the long help is sentences, with periods");
            }
            let takes_value = arg.get_action().takes_values();
            let says_default =
                short.contains("[default:") || long.contains("Default:") || long.contains("Without it");
            let stands_alone = ["module", "csv", "dir", "shell", "org"].contains(&arg.get_id().as_str());
            if takes_value && !says_default && !stands_alone {
                complain("the help does not say the default");
            }
            if !positional && takes_value && arg.get_value_names().is_none() {
                complain("has no name for its value");
            }
        }
    }
    assert!(sloppy.is_empty(), "{}", sloppy.join("\n"));
}

#[test]
fn every_command_says_what_it_does_and_shows_examples() {
    for command in commands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(
            !about.is_empty() && !about.ends_with('.') && !about.contains('`'),
            "{}: {about}",
            command.get_name()
        );
        let leaf = command.get_subcommands().next().is_none();
        if leaf && command.get_name() != "manifest" {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.starts_with("Examples:\n  zbulk "), "{}: {after}", command.get_name());
        }
    }
}

#[test]
fn no_argument_takes_a_secret() {
    for command in commands() {
        for arg in command.get_arguments() {
            let name = arg.get_id().as_str();
            for word in ["token", "secret", "password", "client_id", "client-id"] {
                assert!(!name.contains(word), "{}: --{name}", command.get_name());
            }
        }
    }
}

#[test]
fn every_setting_with_a_flag_has_that_flag_and_no_other_flag_is_forgotten() {
    // Given on the command line only: what to work on, what to show, and the sandbox's own.
    const ONLY_TYPED: [&str; 18] = [
        "job",
        "module",
        "csv",
        "sandbox",
        "dry-run",
        "restart",
        "ca-file",
        "json",
        "quiet",
        "verbose",
        "listen",
        "dir",
        "faults",
        "seed",
        "shell",
        "help",
        "version",
        "keep-archives",
    ];
    let mut typed: Vec<String> = commands()
        .iter()
        .flat_map(|command| {
            command.get_arguments().map(|arg| arg.get_id().as_str().replace('_', "-")).collect::<Vec<_>>()
        })
        .filter(|name| !ONLY_TYPED.contains(&name.as_str()))
        .collect();
    typed.sort();
    typed.dedup();
    let mut settings: Vec<String> = setting_flags()
        .into_iter()
        .map(|flag| flag.trim_start_matches("--").to_owned())
        // A switch, and a command that could hold a secret.
        .filter(|name| !["keep-archives", "token-command"].contains(&name.as_str()))
        .collect();
    settings.sort();
    assert_eq!(typed, settings);
}

#[test]
fn what_was_typed_is_quoted_for_a_shell() {
    let line = |arguments: &[&str]| CommandLine::of(arguments.iter().map(OsString::from)).typed;
    assert_eq!(line(&["/usr/bin/zbulk", "run", "a.toml", "--level=9"]), "zbulk run a.toml --level=9");
    assert_eq!(
        line(&["zbulk", "run", "my job.toml", "", "it's", "$HOME"]),
        r"zbulk run 'my job.toml' '' 'it'\''s' '$HOME'"
    );
}

#[test]
fn the_command_that_goes_on_does_not_begin_anew() {
    let line = |arguments: &[&str]| CommandLine::of(arguments.iter().map(OsString::from));
    let restarted = line(&["zbulk", "run", "--restart", "my job.toml", "--sandbox"]);
    assert_eq!(restarted.typed, "zbulk run --restart 'my job.toml' --sandbox");
    assert_eq!(restarted.onward, "zbulk run 'my job.toml' --sandbox");
    // After `--` it is a job file's name.
    assert_eq!(line(&["zbulk", "run", "--", "--restart"]).onward, "zbulk run -- --restart");
}

#[test]
fn the_fault_plan_in_the_help_of_the_sandbox_is_one() {
    let help = texts::SANDBOX_EXAMPLES;
    let plan = &help[help.find("  [limits]").unwrap()..help.find("Faults:").unwrap()];
    upload::sandbox::FaultPlan::parse(plan).unwrap();
    // What it lists is all there is: each fault's name, as the plan's own errors tell them.
    let error = upload::sandbox::FaultPlan::parse("[[rule]]\nfault = \"none\"").unwrap_err().to_string();
    for name in error.split('`').skip(1).step_by(2).filter(|name| *name != "none") {
        assert!(help.contains(name), "{name}: {error}");
    }
    assert!(error.matches('`').count() > 20, "{error}");
}
