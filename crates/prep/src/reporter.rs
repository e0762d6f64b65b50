//! What the crate tells while it works; nothing here changes a result.

/// Hears of progress. `()` is the silent one. Called from many threads.
pub trait Reporter: Sync {
    /// `bytes` more of an input have been scanned, holding `records` more record ends.
    fn scanned(&self, bytes: u64, records: u64) {
        let _ = (bytes, records);
    }

    /// `bytes` more of child inputs have been routed to their chunks.
    fn routed(&self, bytes: u64) {
        let _ = bytes;
    }
}

impl Reporter for () {}
