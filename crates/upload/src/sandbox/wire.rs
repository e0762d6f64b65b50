//! The socket under the HTTP server: reads no faster than told, counts nothing, and can end in a reset.
//!
//! Invariant: without a pace and without [`WireControl::reset`] it is the plain socket.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// One accepted connection.
pub(super) struct Wire {
    stream: TcpStream,
    control: Arc<WireControl>,
    /// The pace that all connections share.
    all: Option<Arc<Pace>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, all: Option<Arc<Pace>>) -> Wire {
        Wire { stream, control: Arc::default(), all, pause: None }
    }

    /// What the exchange on this connection steers it with.
    pub(super) fn control(&self) -> Arc<WireControl> {
        self.control.clone()
    }
}

/// The exchange's hold on its connection.
#[derive(Debug, Default)]
pub(super) struct WireControl {
    reset: AtomicBool,
    pace: Mutex<Option<Arc<Pace>>>,
}

impl WireControl {
    /// Makes the end of this connection a reset (RST) instead of an orderly close.
    pub(super) fn reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    /// Reads this connection at that pace from now on; `None` is as fast as it comes.
    pub(super) fn read_at(&self, pace: Option<Pace>) {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = pace.map(Arc::new);
    }

    fn pace(&self) -> Option<Arc<Pace>> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How much unused time is made up for: timers fire a little late, and without this a lone connection would come
/// out some percent below the pace. Longer idle time is lost, so that no burst follows it.
const CATCH_UP: Duration = Duration::from_millis(50);

/// A rate of bytes, kept by reserving time for every byte read.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Pace {
    /// A pace of that many bytes a second, at least one.
    pub(super) fn new(bytes_per_second: u64) -> Pace {
        Pace { bytes_per_second: bytes_per_second.max(1), free_at: Mutex::new(Instant::now()) }
    }

    /// The most that one read may take: a fiftieth of a second's worth, so that bytes flow evenly.
    fn slice_len(&self) -> usize {
        usize::try_from(self.bytes_per_second / 50).unwrap_or(usize::MAX).clamp(1, 64 << 10)
    }

    /// Takes the time of `len` bytes and says when it is over.
    fn reserve(&self, len: usize) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = Duration::from_secs_f64(len as f64 / self.bytes_per_second as f64);
        let now = Instant::now();
        *free_at = now.checked_sub(CATCH_UP).unwrap_or(now).max(*free_at) + cost;
        *free_at
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if let Some(pause) = &mut wire.pause {
            ready!(pause.as_mut().poll(cx));
            wire.pause = None;
        }
        let own = wire.control.pace();
        let paces = [own.as_deref(), wire.all.as_deref()];
        let Some(len) = paces.iter().flatten().map(|pace| pace.slice_len()).min() else {
            return Pin::new(&mut wire.stream).poll_read(cx, buf);
        };
        let len = len.min(buf.remaining());
        let mut slice = ReadBuf::new(buf.initialize_unfilled_to(len));
        ready!(Pin::new(&mut wire.stream).poll_read(cx, &mut slice))?;
        let len = slice.filled().len();
        buf.advance(len);
        if let Some(until) = paces.iter().flatten().map(|pace| pace.reserve(len)).max() {
            wire.pause = Some(Box::pin(tokio::time::sleep_until(until)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.control.reset.load(Ordering::Relaxed)
            && let Err(error) = self.stream.set_zero_linger()
        {
            // The connection ends either way; only the kind of its end is lost.
            tracing::warn!(%error, "the sandbox could not make a close a reset");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reservations_of_all_connections_add_up_to_the_pace() {
        let pace = Pace::new(1_000_000);
        let start = Instant::now();
        let mut until = start;
        for _ in 0..10 {
            until = pace.reserve(100_000);
        }
        assert_eq!((until - start).as_millis(), 1000);
        // Time that nobody used is not saved up, but for the little that timers lose.
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!((pace.reserve(500_000) - Instant::now()).as_millis(), 450);
    }

    #[test]
    fn a_slice_is_small_enough_to_flow_and_never_nothing() {
        assert_eq!(Pace::new(0).slice_len(), 1);
        assert_eq!(Pace::new(1_000_000).slice_len(), 20_000);
        assert_eq!(Pace::new(u64::MAX).slice_len(), 64 << 10);
    }
}
