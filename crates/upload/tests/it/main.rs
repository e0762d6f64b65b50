//! The crate's behaviour from outside, over real sockets where there are any.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod byte_faults;
#[cfg(feature = "sandbox")]
mod conduct;
mod decisions;
mod plain_server;
mod requests;
#[cfg(feature = "sandbox")]
mod sandbox;
#[cfg(feature = "sandbox")]
mod sandbox_client;
#[cfg(feature = "sandbox")]
mod sandbox_faults;
mod sdk_requests;
mod secure;
