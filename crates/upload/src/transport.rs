//! The narrow seam under client, throttle and auth: one request in, one outcome out, however it was carried.
//!
//! [`Http`](http::Http) carries it in production; tests put a simulated carrier here, since real sockets do not obey a
//! paused clock. A carrier does not retry, does not follow redirects and does not interpret: it reports.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Method};
use bytes::Bytes;
use url::Url;

use crate::multipart::Payload;
use crate::reporter::BoxFuture;

pub(crate) mod http;
mod sending;

/// How long each phase of a request may last. There is no total limit while bytes move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection: name, TCP and TLS together. Default 10 s.
    pub connect: Duration,
    /// Without one byte of the body accepted. Default 60 s.
    pub stall: Duration,
    /// Without an answer once the body is out, and for the answer's body. Default 120 s.
    pub silence: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(10),
            stall: Duration::from_mins(1),
            silence: Duration::from_mins(2),
        }
    }
}

/// Carries one request to its outcome.
pub(crate) trait Transport: Send + Sync {
    /// Sends once and never again. Dropping the future gives the request up.
    fn send(&self, request: Request, observer: Arc<dyn Observer>) -> BoxFuture<'_, Exchange>;
}

/// Hears of a request's progress, from whatever task carries it.
pub(crate) trait Observer: Send + Sync {
    /// So many more bytes of the body were handed to the socket.
    fn sent(&self, _bytes: u64) {}
    /// Status and headers of the answer are read; its body is not.
    fn head(&self, _status: u16, _headers: &HeaderMap) {}
}

impl Observer for () {}

/// One request. No `Debug`: its headers and its body hold secrets.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    /// For the whole of it, against a line that drips.
    pub(crate) guard: Duration,
}

/// What became of a request.
pub(crate) struct Exchange {
    pub(crate) outcome: Result<Answer, Failure>,
    /// Bytes of the body that were handed to the socket: an upper bound of what the server can have.
    pub(crate) bytes_sent: u64,
}

/// An answer, as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// What was read of the body: all of it, or up to the cap, or up to where the connection ended.
    pub(crate) body: Bytes,
}

/// Why there was no status.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// What the lowest layer says, e.g. the system's word on the socket.
    pub(crate) fn root(&self) -> Option<String> {
        let source: &(dyn std::error::Error + 'static) = self.source.as_deref()?;
        std::iter::successors(Some(source), |layer| layer.source()).last().map(ToString::to_string)
    }
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// No connection: name, TCP or TLS.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// The server's certificate is not trusted.
    Certificate,
    /// The proxy refuses.
    Proxy,
    /// No byte of the body was accepted for too long.
    Stalled,
    /// The body is out and no answer came in time.
    Silent,
    /// The whole request took longer than the slowest line that is worth waiting for.
    TooSlow,
    /// The connection ended.
    Lost,
    /// The answer is not HTTP.
    NotHttp,
}

impl FailureKind {
    /// All of them.
    pub const ALL: [FailureKind; 9] = [
        Self::Connect,
        Self::ConnectTimeout,
        Self::Certificate,
        Self::Proxy,
        Self::Stalled,
        Self::Silent,
        Self::TooSlow,
        Self::Lost,
        Self::NotHttp,
    ];

    /// Whether time ran out.
    pub fn is_timeout(self) -> bool {
        matches!(self, Self::ConnectTimeout | Self::Stalled | Self::Silent | Self::TooSlow)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "cannot connect",
            Self::ConnectTimeout => "cannot connect in time",
            Self::Certificate => "the server's certificate is not trusted",
            Self::Proxy => "the proxy refuses the connection",
            Self::Stalled => "the server stopped taking the body",
            Self::Silent => "the server did not answer in time",
            Self::TooSlow => "the connection is too slow",
            Self::Lost => "the connection was lost",
            Self::NotHttp => "the answer is not HTTP",
        })
    }
}
