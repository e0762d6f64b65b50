//! Whom the upload tells: a [`Reporter`] of progress, and a [`Witness`] that must have recorded an attempt first.

use std::future::Future;
use std::pin::Pin;

/// A boxed future, so that [`Witness`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The owner of the run says no: its journal cannot be written, or it was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// Hears of each attempt, and must have recorded it durably before it returns: the body's first byte goes out after
/// that.
pub trait Witness: Send + Sync {
    /// `attempt` counts from 1 within this run.
    fn attempt<'a>(&'a self, archive: &'a str, attempt: u32) -> BoxFuture<'a, Result<(), Refused>>;
    /// The body of that attempt went out whole and no answer told its outcome: the server may have kept it.
    fn ambiguous<'a>(&'a self, archive: &'a str, attempt: u32) -> BoxFuture<'a, Result<(), Refused>>;
}

/// Hears of progress. `()` is the silent one. Called from many tasks; must not block.
pub trait Reporter: Send + Sync {
    /// So many more bytes of this archive's request were handed to the socket. A retry counts them again.
    fn bytes_sent(&self, _archive: &str, _bytes: u64) {}
    /// A line for people, e.g. "waiting 61 s: the server answered 429"; also retries with their reason.
    fn notice(&self, _message: &str) {}
    /// How many uploads may run at once from now on.
    fn concurrency(&self, _now: usize) {}
}

impl Reporter for () {}
