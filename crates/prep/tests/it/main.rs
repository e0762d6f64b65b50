//! What the crate promises, through its public interface and on real files.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod inputs;
mod law;
mod support;
