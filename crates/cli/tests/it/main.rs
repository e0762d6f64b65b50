//! `zbulk` as its users meet it: the binary, real files, real sockets.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped check is told")]

mod args;
mod auth;
mod check;
mod config;
mod display;
mod exit_codes;
mod kills;
mod plan;
mod restart;
mod run;
mod sandbox;
mod secrets;
mod server;
mod signals;
mod testdata;
mod workbench;
