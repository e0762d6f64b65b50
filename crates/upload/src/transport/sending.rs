//! A body on its way: hands its pieces to the socket at the pace allowed, and counts what it handed over.
//!
//! Its length is announced exactly, so that the request has a Content-Length.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::multipart::Payload;
use crate::pace::Pace;
use crate::transport::Observer;

/// How far a request has come; shared between the body, which the connection's task owns, and who watches the time.
#[derive(Debug)]
pub(super) struct Progress(Mutex<Phase>);

#[derive(Debug, Clone, Copy)]
pub(super) struct Phase {
    pub(super) sent: u64,
    /// When the last byte went, or the request began.
    pub(super) moved: Instant,
    pub(super) whole: bool,
    pub(super) head: bool,
    given_up: bool,
}

impl Progress {
    pub(super) fn new(empty: bool) -> Progress {
        Progress(Mutex::new(Phase {
            sent: 0,
            moved: Instant::now(),
            whole: empty,
            head: false,
            given_up: false,
        }))
    }

    pub(super) fn phase(&self) -> Phase {
        *self.lock()
    }

    pub(super) fn headed(&self) {
        let mut phase = self.lock();
        phase.head = true;
        phase.moved = Instant::now();
    }

    /// Whatever is left of the body will not be handed over.
    pub(super) fn give_up(&self) {
        self.lock().given_up = true;
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Sending {
    segments: VecDeque<Bytes>,
    left: u64,
    piece: Option<Bytes>,
    wait: Option<Pin<Box<Sleep>>>,
    pace: Arc<Pace>,
    progress: Arc<Progress>,
    observer: Arc<dyn Observer>,
}

impl Sending {
    pub(super) fn new(
        payload: Payload,
        pace: Arc<Pace>,
        progress: Arc<Progress>,
        observer: Arc<dyn Observer>,
    ) -> Sending {
        let left = payload.len_bytes();
        let segments = payload.segments.into_iter().filter(|segment| !segment.is_empty()).collect();
        Sending { segments, left, piece: None, wait: None, pace, progress, observer }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = &mut *self;
        if this.progress.phase().given_up {
            return Poll::Ready(Some(Err(std::io::Error::other("the request was given up"))));
        }
        if this.piece.is_none() {
            let Some(segment) = this.segments.front_mut() else { return Poll::Ready(None) };
            let bytes = segment.len().min(this.pace.piece_bytes());
            let piece = segment.split_to(bytes);
            if segment.is_empty() {
                this.segments.pop_front();
            }
            this.wait = this.pace.reserve(bytes).map(|at| Box::pin(tokio::time::sleep_until(at)));
            this.piece = Some(piece);
        }
        if let Some(wait) = &mut this.wait {
            ready!(wait.as_mut().poll(cx));
            this.wait = None;
        }
        let Some(piece) = this.piece.take() else { return Poll::Ready(None) };
        let bytes = piece.len() as u64;
        this.left -= bytes;
        {
            let mut phase = this.progress.lock();
            phase.sent += bytes;
            phase.whole = this.left == 0;
            if !phase.head {
                phase.moved = Instant::now();
            }
        }
        this.observer.sent(bytes);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt as _;

    use super::*;

    static LONG: [u8; 200_000] = [b'x'; 200_000];

    fn sending(segments: &[&'static [u8]], limit: Option<u64>) -> (Sending, Arc<Progress>) {
        let segments = segments.iter().map(|segment| Bytes::from_static(segment)).collect();
        let progress = Arc::new(Progress::new(false));
        let sending = Sending::new(
            Payload { segments },
            Arc::new(Pace::new(limit)),
            Arc::clone(&progress),
            Arc::new(()),
        );
        (sending, progress)
    }

    #[tokio::test]
    async fn the_segments_come_out_whole_in_order_and_counted() {
        let (sending, progress) = sending(&[b"abc", b"", &LONG, b"end"], None);
        assert_eq!(sending.size_hint().exact(), Some(200_006));
        let body = sending.collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), 200_006);
        assert!(body.starts_with(b"abcxxx") && body.ends_with(b"xxxend"));
        assert_eq!(progress.phase().sent, 200_006);
        assert!(progress.phase().whole);
    }

    #[tokio::test(start_paused = true)]
    async fn the_bandwidth_limit_is_kept() {
        let begun = Instant::now();
        let (sending, _) = sending(&[&[b'x'; 10_000]], Some(1000));
        sending.collect().await.unwrap();
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(9900) && took <= Duration::from_secs(10), "{took:?}");
    }

    #[tokio::test]
    async fn a_request_given_up_hands_over_nothing_more() {
        let (mut sending, progress) = sending(&[&LONG], None);
        sending.frame().await.unwrap().unwrap();
        let before = progress.phase().sent;
        progress.give_up();
        assert!(sending.frame().await.unwrap().is_err());
        assert_eq!(progress.phase().sent, before);
    }
}
