//! `zbulk`: moves data into Zoho CRM in bulk. The only crate that prints, exits and reads the environment.
#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "in a binary nothing is reachable: `pub` says what a module offers to the others"
)]

mod archive_file;
mod args;
mod commands;
mod config;
mod connect;
mod coordinator;
mod exit_code;
mod failure;
mod identity;
mod inputs;
mod interrupt;
mod journal;
mod link;
mod lock;
mod log;
mod manifest;
mod output;
mod output_dir;
mod pipeline;
mod progress;
mod publish;
mod rejects;
mod report;
mod runtime;
mod session;
mod set_aside;
mod summary;
mod work;

use clap::Parser as _;

use crate::args::Cli;
use crate::config::Environment;
use crate::exit_code::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = Environment::of_process();
    let paint = config::error_paint(&cli, &environment);
    let command_line = args::CommandLine::of(std::env::args_os());
    config::resolve(&cli, &environment, &command_line)
        .and_then(commands::execute)
        .unwrap_or_else(|failure| failure.report(paint))
}
