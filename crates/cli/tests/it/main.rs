//! `zbulk` as its users meet it: the binary, real files, real sockets.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped check is told")]

mod exit_codes;
mod run;
mod server;
