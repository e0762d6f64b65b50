//! The body of an answer on the wire, which may break off before its Content-Length is reached.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Bytes to send and the length to announce for them.
///
/// Invariant: where fewer bytes than announced are sent, the body ends in an error after they were handed to the
/// socket, so that the connection closes in the middle of the answer.
#[derive(Debug)]
pub(super) struct Reply {
    bytes: Option<Bytes>,
    missing: u64,
    flushed: bool,
}

impl Reply {
    /// The whole of `bytes`.
    pub(super) fn whole(bytes: Bytes) -> Reply {
        Reply::broken_off(bytes, 0)
    }

    /// `bytes`, announced as `missing` bytes longer than they are.
    pub(super) fn broken_off(bytes: Bytes, missing: u64) -> Reply {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Reply { bytes, missing, flushed: false }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.missing == 0 {
            return Poll::Ready(None);
        }
        // An error discards what the server has buffered; it flushes while it waits.
        if !self.flushed {
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(io::Error::other("the fault plan breaks the answer off here"))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.missing == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64) + self.missing)
    }
}
