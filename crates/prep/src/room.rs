//! Room for archives being built: workers wait until the memory that their chunk takes is free.
//!
//! One chunk always has room, however large it is, so that nothing waits for ever.

use std::sync::{Condvar, Mutex, PoisonError};

/// So many bytes of memory, shared by workers.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: u64,
    taken: Mutex<u64>,
    freed: Condvar,
}

/// A share of the room, given back when dropped.
#[derive(Debug)]
#[must_use = "the room is given back when this is dropped"]
pub(crate) struct Place<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: u64) -> Room {
        Room { bytes, taken: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits until so many bytes are free, or nothing is taken.
    pub(crate) fn take(&self, bytes: u64) -> Place<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut u64| *taken > 0 && *taken + bytes > self.bytes;
        let mut taken = self.freed.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner);
        *taken += bytes;
        Place { room: self, bytes }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.room.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.room.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_save_by_one_alone() {
        let room = Room::new(10);
        let (held, done) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for bytes in [1, 3, 5, 7, 10, 30, 2, 4] {
                let (room, held, done) = (&room, &held, &done);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let place = room.take(bytes);
                        let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        assert!(now <= 10 || now == bytes, "{now} bytes are held");
                        held.fetch_sub(bytes, Ordering::SeqCst);
                        drop(place);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(done.load(Ordering::SeqCst), 8 * 200);
        assert_eq!(*room.taken.lock().unwrap(), 0);
    }
}
