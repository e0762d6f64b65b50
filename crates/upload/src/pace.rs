//! The bandwidth limit: one queue of moments for all workers, so that together they never pass it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long one piece may take at the limit: small enough that the line runs smoothly with several workers.
const PIECE: Duration = Duration::from_millis(100);
/// The largest piece handed to the socket at once.
const PIECE_BYTES: usize = 64 << 10;

/// Gives each piece of any body its moment.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: Option<u64>,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// `None` is no limit. A limit of zero would never send anything and is taken as one byte a second.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Pace {
        Pace { bytes_per_second: bytes_per_second.map(|limit| limit.max(1)), next: Mutex::new(None) }
    }

    /// The most bytes to hand over at once.
    pub(crate) fn piece_bytes(&self) -> usize {
        let Some(limit) = self.bytes_per_second else { return PIECE_BYTES };
        let piece = limit.saturating_mul(PIECE.as_millis() as u64) / 1000;
        usize::try_from(piece).unwrap_or(PIECE_BYTES).clamp(1, PIECE_BYTES)
    }

    /// When a piece of that size may go; the line is taken until then and for its length. `None`: at once.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<Instant> {
        let limit = self.bytes_per_second?;
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = next.map_or(now, |next| next.max(now));
        *next = Some(at + Duration::from_secs_f64(bytes as f64 / limit as f64));
        (at > now).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pieces_of_several_workers_share_one_line() {
        let pace = Pace::new(Some(1000));
        assert_eq!(pace.piece_bytes(), 100);
        let begun = Instant::now();
        assert_eq!(pace.reserve(100), None);
        assert_eq!(pace.reserve(100), Some(begun + Duration::from_millis(100)));
        assert_eq!(pace.reserve(50), Some(begun + Duration::from_millis(200)));
        tokio::time::advance(Duration::from_mins(1)).await;
        // An idle minute is not saved up for a burst.
        assert_eq!(pace.reserve(100), None);
        assert!(pace.reserve(100).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        let pace = Pace::new(None);
        assert_eq!((pace.reserve(1 << 30), pace.reserve(1 << 30)), (None, None));
        assert_eq!(pace.piece_bytes(), PIECE_BYTES);
        assert_eq!(Pace::new(Some(0)).piece_bytes(), 1);
    }
}
