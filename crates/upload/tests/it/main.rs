//! The crate over real sockets.

mod plain_server;
mod requests;
#[cfg(feature = "sandbox")]
mod sandbox;
#[cfg(feature = "sandbox")]
mod sandbox_client;
#[cfg(feature = "sandbox")]
mod sandbox_faults;
