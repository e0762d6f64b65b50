//! Finds the bytes that can end or quote a field, 64 bytes at a time; it knows nothing of what they mean.
//!
//! `wide` holds the SIMD: it compares sixteen bytes at once on every target and needs no unsafe code here.
//! Walking set bits of such a mask costs a few nanoseconds per field, where a `memchr3` per field restarts its
//! vector loop every dozen bytes.

use wide::u8x16;

/// An iterator over the positions of the delimiter, the quote, LF and CR in a buffer, in order.
pub(super) struct Structurals<'a> {
    buf: &'a [u8],
    delimiter: u8x16,
    /// Start of the 64 bytes that `mask` speaks of.
    base: usize,
    /// Bit i is set where `buf[base + i]` is structural and has not been returned.
    mask: u64,
}

const QUOTE: u8x16 = u8x16::splat(b'"');
const LF: u8x16 = u8x16::splat(b'\n');
const CR: u8x16 = u8x16::splat(b'\r');

impl<'a> Structurals<'a> {
    /// Starts at `buf[from]`.
    pub(super) fn new(buf: &'a [u8], from: usize, delimiter: u8) -> Structurals<'a> {
        let mut structurals =
            Structurals { buf, delimiter: u8x16::splat(delimiter), base: from & !63, mask: 0 };
        structurals.load();
        structurals.mask &= u64::MAX << (from & 63);
        structurals
    }

    /// The next position, or the buffer's length when there is none.
    #[inline]
    pub(super) fn next(&mut self) -> usize {
        while self.mask == 0 {
            self.base += 64;
            if self.base >= self.buf.len() {
                self.base = self.buf.len();
                return self.buf.len();
            }
            self.load();
        }
        let position = self.base + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        position
    }

    #[inline]
    fn load(&mut self) {
        let rest = self.buf.get(self.base..).unwrap_or(&[]);
        self.mask = if let Some(block) = rest.first_chunk::<64>() {
            self.mask_of(block)
        } else {
            let mut block = [0; 64];
            block[..rest.len()].copy_from_slice(rest);
            // The padding must not look structural, whatever the delimiter.
            self.mask_of(&block) & !(u64::MAX << rest.len())
        };
    }

    #[inline]
    fn mask_of(&self, block: &[u8; 64]) -> u64 {
        let (lanes, _) = block.as_chunks::<16>();
        let mut mask = 0;
        for (i, lane) in lanes.iter().enumerate() {
            let v = u8x16::new(*lane);
            let hit = v.simd_eq(self.delimiter) | v.simd_eq(QUOTE) | v.simd_eq(LF) | v.simd_eq(CR);
            mask |= u64::from(hit.to_bitmask()) << (16 * i);
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Structurals;

    proptest! {
        #[test]
        fn every_structural_byte_is_found_once_and_in_order(
            buf in prop::collection::vec(prop::sample::select(&b"a,\"\n\r;\0x"[..]), 0..300),
            from in 0usize..80,
            delimiter in prop::sample::select(&b",;\0"[..]),
        ) {
            let from = from.min(buf.len());
            let mut structurals = Structurals::new(&buf, from, delimiter);
            let mut found = Vec::new();
            loop {
                let position = structurals.next();
                if position == buf.len() { break; }
                found.push(position);
            }
            prop_assert_eq!(structurals.next(), buf.len(), "the end stays the end");
            let expected: Vec<usize> = (from..buf.len())
                .filter(|&i| buf[i] == delimiter || b"\"\n\r".contains(&buf[i]))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
