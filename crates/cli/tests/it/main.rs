//! `zbulk` as its users meet it: the binary, real files, real sockets.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped check is told")]

mod args;
mod auth;
mod changes;
mod check;
mod config;
mod display;
mod exit_codes;
mod failures;
mod faults;
mod files;
mod five_chunks;
mod kills;
mod outcome;
mod plan;
mod power_loss;
mod restart;
mod resume;
mod run;
mod sandbox;
mod secrets;
mod server;
mod signals;
mod silence;
mod soak;
mod starts;
mod strace;
mod syscalls;
mod testdata;
mod verify;
mod workbench;
